//! What a policy says about allowances, as a document.

use std::ops::Range;

use toml::de::DeTable;

use super::table::{At, Field, Table};
use crate::problem::Mistakes;

/// `[allowances]`, `[[group]]` and `[[trust]]`.
#[derive(Debug, Default)]
pub(crate) struct RawSigning {
    pub(crate) allowances: Field<RawAllowances>,
    pub(crate) groups: Field<Vec<RawGroup>>,
    pub(crate) trust: Field<Vec<RawTrust>>,
}

/// `[allowances]`.
#[derive(Debug)]
pub(crate) struct RawAllowances {
    pub(crate) signers: Field<String>,
    pub(crate) revoked: Field<String>,
    pub(crate) max_length: Field<String>,
    pub(crate) any_host: Field<bool>,
}

/// One `[[group]]`.
#[derive(Debug)]
pub(crate) struct RawGroup {
    /// Its header.
    pub(crate) span: Range<usize>,
    pub(crate) name: Field<String>,
    pub(crate) people: Field<Vec<At<String>>>,
}

/// One `[[trust]]`.
#[derive(Debug)]
pub(crate) struct RawTrust {
    /// Its header.
    pub(crate) span: Range<usize>,
    pub(crate) role: Field<String>,
    pub(crate) needs: Field<Vec<RawNeed>>,
    pub(crate) requester_may_sign: Field<bool>,
    pub(crate) hardware: Field<bool>,
    pub(crate) verified: Field<bool>,
}

/// One of the `needs` of a `[[trust]]`.
#[derive(Debug)]
pub(crate) struct RawNeed {
    /// The whole of it.
    pub(crate) span: Range<usize>,
    pub(crate) group: Field<String>,
    pub(crate) people: Field<i128>,
}

impl RawSigning {
    pub(super) fn read(policy: &mut Table<'_, '_, '_>) -> Self {
        Self {
            allowances: policy.table("allowances", "[allowances]", allowances),
            groups: policy.tables("group", "[[group]]", group),
            trust: policy.tables("trust", "[[trust]]", trust),
        }
    }
}

fn allowances(table: &DeTable<'_>, _: Range<usize>, mistakes: &mut Mistakes) -> RawAllowances {
    let known = ["signers", "revoked", "max_length", "any_host"];
    let mut table = Table::new(table, "`[allowances]`", &known, mistakes);
    RawAllowances {
        signers: table.text("signers", "/etc/holdfast/allowed_signers"),
        revoked: table.text("revoked", "/etc/holdfast/revoked_keys"),
        max_length: table.text("max_length", "8h"),
        any_host: table.flag("any_host", false),
    }
}

fn group(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawGroup {
    let mut table = Table::new(table, "a group", &["name", "people"], mistakes);
    RawGroup {
        span,
        name: table.text("name", "ops"),
        people: table.texts("people", "alice@example.com"),
    }
}

fn trust(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawTrust {
    let known = ["role", "needs", "requester_may_sign", "hardware", "verified"];
    let mut table = Table::new(table, "a trust", &known, mistakes);
    let needs = "a list, as in `needs = [{ group = \"ops\", people = 2 }]`";
    RawTrust {
        span,
        role: table.text("role", "primary"),
        needs: table.list("needs", needs, need),
        requester_may_sign: table.flag("requester_may_sign", false),
        hardware: table.flag("hardware", false),
        verified: table.flag("verified", false),
    }
}

fn need(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawNeed {
    let mut table = Table::new(table, "a need", &["group", "people"], mistakes);
    RawNeed { span, group: table.text("group", "ops"), people: table.number("people", 2) }
}
