//! The policy file as a document: which fields it has, of which types, and where. It finds what is
//! not TOML, unknown fields and wrong types, and goes on behind each; it never asks what a value
//! means.

mod break_glass;
mod manifest;
mod signing;
mod table;

use std::ops::Range;

use toml::de::DeTable;

pub(crate) use break_glass::RawBreakGlass;
pub(crate) use manifest::RawManifest;
pub(crate) use signing::{RawAllowances, RawGroup, RawNeed, RawSigning, RawTrust};
pub(crate) use table::{At, Field, RawBytes, Table, document};

use crate::problem::Mistakes;

/// The whole document.
#[derive(Debug, Default)]
pub(crate) struct RawPolicy {
    pub(crate) zones: Field<Vec<RawZone>>,
    pub(crate) signing: RawSigning,
    pub(crate) on_audit_failure: Field<String>,
    pub(crate) break_glass: Field<RawBreakGlass>,
    pub(crate) manifest: Field<RawManifest>,
}

/// One `[[zone]]`.
#[derive(Debug)]
pub(crate) struct RawZone {
    /// Its header.
    pub(crate) span: Range<usize>,
    pub(crate) name: Field<String>,
    pub(crate) role: Field<String>,
    pub(crate) paths: Field<Vec<At<String>>>,
    pub(crate) tenant_depth: Field<i128>,
    pub(crate) tenant_counts_after: Field<String>,
    pub(crate) manifest: Field<bool>,
    pub(crate) mode: Field<String>,
    pub(crate) on_trip: Field<String>,
    pub(crate) hold_timeout: Field<String>,
    pub(crate) tell_terminal: Field<bool>,
    pub(crate) budgets: Field<Vec<RawBudget>>,
}

/// One `[[zone.budget]]`.
#[derive(Debug)]
pub(crate) struct RawBudget {
    /// Its header.
    pub(crate) span: Range<usize>,
    pub(crate) per: Field<String>,
    pub(crate) who: Field<String>,
    pub(crate) ops: Field<Vec<At<String>>>,
    pub(crate) files: Field<i128>,
    pub(crate) bytes: Field<RawBytes>,
    pub(crate) tenants: Field<i128>,
    pub(crate) window: Field<String>,
    pub(crate) latch: Field<String>,
}

/// Reads a document as far as it can be read.
pub(crate) fn read(text: &str, mistakes: &mut Mistakes) -> RawPolicy {
    let document = document(text, mistakes);
    let known =
        ["zone", "allowances", "group", "trust", "manifest", "break_glass", "on_audit_failure"];
    let mut table = Table::new(document.get_ref(), "a policy", &known, mistakes);
    RawPolicy {
        zones: table.tables("zone", "[[zone]]", zone),
        signing: RawSigning::read(&mut table),
        on_audit_failure: table.text("on_audit_failure", "deny"),
        break_glass: RawBreakGlass::read(&mut table),
        manifest: table.table("manifest", "[manifest]", manifest::manifest),
    }
}

fn zone(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawZone {
    let known = [
        "name",
        "role",
        "paths",
        "tenant_depth",
        "tenant_counts_after",
        "manifest",
        "mode",
        "on_trip",
        "hold_timeout",
        "tell_terminal",
        "budget",
    ];
    let mut table = Table::new(table, "a zone", &known, mistakes);
    RawZone {
        span,
        name: table.text("name", "customers"),
        role: table.text("role", "primary"),
        paths: table.texts("paths", "/srv/customers"),
        tenant_depth: table.number("tenant_depth", 1),
        tenant_counts_after: table.text("tenant_counts_after", "100 files"),
        manifest: table.flag("manifest", false),
        mode: table.text("mode", "observe"),
        on_trip: table.text("on_trip", "hold"),
        hold_timeout: table.text("hold_timeout", "30m"),
        tell_terminal: table.flag("tell_terminal", false),
        budgets: table.tables("budget", "[[zone.budget]]", budget),
    }
}

fn budget(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawBudget {
    let known = ["per", "who", "ops", "files", "bytes", "tenants", "window", "latch"];
    let mut table = Table::new(table, "a budget", &known, mistakes);
    RawBudget {
        span,
        per: table.text("per", "unit"),
        who: table.text("who", "operators"),
        ops: table.texts("ops", "remove"),
        files: table.number("files", 200),
        bytes: table.bytes("bytes"),
        tenants: table.number("tenants", 3),
        window: table.text("window", "10m"),
        latch: table.text("latch", "10m"),
    }
}
