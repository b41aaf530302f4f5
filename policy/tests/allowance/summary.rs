//! What a signer reads.

use crate::support::{DOCUMENT, allowance, replaced};

#[test]
fn everything_that_is_granted_is_said() {
    let text = allowance(include_str!("../golden/allowance.toml")).summary();
    assert_eq!(text, include_str!("../golden/allowance-summary.txt"));
}

/// The summary says in capitals what the allowance leaves open.
#[test]
fn summary_shouts_missing_bounds() {
    let text = allowance(&replaced(DOCUMENT, "web1", "*")).summary();
    assert!(text.contains("\n  where  EVERY HOST whose policy has `any_host = true`\n"), "{text}");
    assert!(
        text.contains("\n  by     ANY COMMAND started with `holdfast run`, and what it starts\n"),
        "{text}"
    );
    let text = allowance(&format!("{DOCUMENT}\n[bind]\nuser = \"root\"\n")).summary();
    assert!(text.contains("\n  by     any process of user root\n"), "{text}");
    assert!(text.contains("\n  when   2026-07-01 20:00:00 to 22:00:00 UTC (2 hours)\n"), "{text}");
    assert!(text.contains("\n  where  host web1, and no other\n"), "{text}");
    let command = format!(
        "{DOCUMENT}\n[bind.command]\npath = \"/bin/sh\"\nsha256 = \"{}\"\n",
        "0".repeat(64)
    );
    assert!(allowance(&command).summary().contains("with ANY ARGUMENTS"));
}
