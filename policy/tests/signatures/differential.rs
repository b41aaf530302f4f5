//! Hundreds of signatures, right and wrong: `ssh-keygen -Y verify` and holdfast have to agree about
//! every one.

use std::collections::BTreeMap;

use crate::cases::Workshop;
use crate::verdict::Case;
use crate::{blobs, cases, files};

#[test]
fn verdict_equals_that_of_ssh_keygen() {
    let shop = Workshop::new();
    let mut all: Vec<Case> = cases::all(&shop);
    all.extend(files::all(&shop));
    all.extend(blobs::all(&shop));
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut disagreements = Vec::new();
    for case in &all {
        let theirs = shop.keygen.accepts(case);
        let ours = case.verdict();
        if ours.is_ok() != theirs || case.right.is_some_and(|right| right != theirs) {
            disagreements.push(format!(
                "{} ({}): ssh-keygen {theirs}, holdfast {ours:?}, expected {:?}\n{}\n{}",
                case.kind,
                case.what,
                case.right,
                case.allowed,
                String::from_utf8_lossy(&case.armour)
            ));
        }
        let count = counts.entry(case.kind).or_default();
        *(if theirs { &mut count.0 } else { &mut count.1 }) += 1;
    }
    let accepted: usize = counts.values().map(|(accepted, _)| accepted).sum();
    println!("{:<42} {:>8} {:>8}", "cases", "accepted", "refused");
    for (kind, (accepted, refused)) in &counts {
        println!("{kind:<42} {accepted:>8} {refused:>8}");
    }
    println!("{:<42} {accepted:>8} {:>8}", "all", all.len() - accepted);
    println!("disagreements: {}", disagreements.len());
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n\n"));
    assert!(all.len() >= 200, "only {} cases", all.len());
    assert!(accepted >= 100 && all.len() - accepted >= 100, "one-sided: {accepted} accepted");
}
