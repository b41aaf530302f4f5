//! Every type of record that can be written is documented, and can be told in words.

use std::collections::BTreeSet;

use serde_json::json;

use crate::audit::read::Entry;
use crate::incident;

/// The variants of an enum in its source, as its records are called.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = source.split_once(&format!("enum {name} {{\n")).expect("the enum");
    let (body, _) = rest.split_once("\n}\n").expect("its end");
    let variant = |line: &str| {
        let name = line.strip_prefix("    ")?.split([' ', ',']).next()?;
        name.starts_with(|first: char| first.is_ascii_uppercase()).then(|| snake(name))
    };
    body.lines().filter_map(variant).collect()
}

/// As serde does it.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, c) in name.char_indices() {
        if c.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn written() -> BTreeSet<String> {
    let records = variants(include_str!("record.rs"), "Record");
    let own = variants(include_str!("own.rs"), "Own");
    assert!(records.contains("break_glass_open") && own.contains("checkpoint"));
    let body = super::own::Own::Unmarked { found_seq: 3 }.body();
    assert_eq!(body, br#"{"type":"unmarked","found_seq":3}"#, "as serde calls them");
    &records | &own
}

#[test]
fn record_types_have_documentation_and_sentence() {
    let page = include_str!("../../../docs/audit.md");
    let (_, rest) = page.split_once("\n## Types\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("its end");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let first = rows.filter_map(|row| row.split(" | ").next());
    let documented: BTreeSet<String> =
        first.flat_map(|cell| cell.split(", ")).map(|name| name.replace('`', "")).collect();
    let written = written();
    assert_eq!(written.difference(&documented).collect::<Vec<_>>(), [""; 0], "not documented");
    assert_eq!(documented.difference(&written).collect::<Vec<_>>(), [""; 0], "never written");
    for kind in &written {
        let line = json!({"seq": 1, "time": "2012-06-20T00:00:00.000Z", "type": kind}).to_string();
        let entry = Entry::parse("f", 1, line.as_bytes()).unwrap();
        assert!(incident::sentence(&entry).is_some(), "no sentence for {kind}");
    }
}
