//! What a policy says about break-glass, as a document.

use std::ops::Range;

use toml::de::DeTable;

use super::table::{At, Field, RawBytes, Table};
use crate::problem::Mistakes;

/// `[break_glass]`.
#[derive(Debug)]
pub(crate) struct RawBreakGlass {
    /// Its header.
    pub(crate) span: Range<usize>,
    pub(crate) zones: Field<Vec<At<String>>>,
    pub(crate) max_length: Field<String>,
    pub(crate) max_files: Field<i128>,
    pub(crate) max_bytes: Field<RawBytes>,
    pub(crate) signers: Field<Vec<At<String>>>,
}

impl RawBreakGlass {
    pub(super) fn read(policy: &mut Table<'_, '_, '_>) -> Field<Self> {
        policy.table("break_glass", "[break_glass]", break_glass)
    }
}

fn break_glass(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawBreakGlass {
    let known = ["zones", "max_length", "max_files", "max_bytes", "signers"];
    let mut table = Table::new(table, "`[break_glass]`", &known, mistakes);
    RawBreakGlass {
        span,
        zones: table.texts("zones", "customers"),
        max_length: table.text("max_length", "1h"),
        max_files: table.number("max_files", 1_000_000),
        max_bytes: table.bytes("max_bytes"),
        signers: table.texts("signers", "alice@example.com"),
    }
}
