//! The allowance as a document: which fields it has, of which types, and where.

use std::ops::Range;

use toml::de::DeTable;
use toml::value::Datetime;

use crate::problem::Mistakes;
use crate::raw::{At, Field, RawBytes, Table, document};

/// The whole document.
pub(super) struct RawAllowance {
    pub(super) version: Field<i128>,
    pub(super) id: Field<String>,
    pub(super) reason: Field<String>,
    pub(super) requested_by: Field<String>,
    pub(super) hosts: Field<Vec<At<String>>>,
    pub(super) not_before: Field<Datetime>,
    pub(super) not_after: Field<Datetime>,
    pub(super) grants: Field<Vec<RawGrant>>,
    pub(super) bind: Field<RawBind>,
    pub(super) rehearsal: Field<Field<String>>,
}

/// One `[[grant]]`.
pub(super) struct RawGrant {
    /// Its header.
    pub(super) span: Range<usize>,
    pub(super) zone: Field<String>,
    pub(super) subtrees: Field<Vec<At<String>>>,
    pub(super) ops: Field<Vec<At<String>>>,
    pub(super) files: Field<i128>,
    pub(super) bytes: Field<RawBytes>,
    pub(super) tenants: Field<i128>,
}

/// `[bind]`.
pub(super) struct RawBind {
    pub(super) user: Field<String>,
    pub(super) unit: Field<String>,
    pub(super) command: Field<RawCommand>,
}

/// `[bind.command]`.
pub(super) struct RawCommand {
    pub(super) path: Field<String>,
    pub(super) sha256: Field<String>,
    pub(super) script: Field<String>,
    pub(super) script_sha256: Field<String>,
}

/// Reads a document as far as it can be read.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> RawAllowance {
    let document = document(text, mistakes);
    let known = [
        "version",
        "id",
        "reason",
        "requested_by",
        "hosts",
        "not_before",
        "not_after",
        "grant",
        "bind",
        "rehearsal",
    ];
    let mut table = Table::new(document.get_ref(), "an allowance", &known, mistakes);
    RawAllowance {
        version: table.number("version", 1),
        id: table.text("id", "CHG-1042"),
        reason: table.text("reason", "remove the caches of the old release"),
        requested_by: table.text("requested_by", "alice@example.com"),
        hosts: table.texts("hosts", "web1"),
        not_before: table.time("not_before", "2026-07-01T22:00:00+02:00"),
        not_after: table.time("not_after", "2026-07-02T00:00:00+02:00"),
        grants: table.tables("grant", "[[grant]]", grant),
        bind: table.table("bind", "[bind]", bind),
        rehearsal: table.table("rehearsal", "[rehearsal]", rehearsal),
    }
}

fn grant(table: &DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes) -> RawGrant {
    let known = ["zone", "subtrees", "ops", "files", "bytes", "tenants"];
    let mut table = Table::new(table, "a grant", &known, mistakes);
    RawGrant {
        span,
        zone: table.text("zone", "customers"),
        subtrees: table.texts("subtrees", "/srv/customers/*/cache"),
        ops: table.texts("ops", "remove"),
        files: table.number("files", 1000),
        bytes: table.bytes("bytes"),
        tenants: table.number("tenants", 20),
    }
}

fn bind(table: &DeTable<'_>, _: Range<usize>, mistakes: &mut Mistakes) -> RawBind {
    let mut table = Table::new(table, "`[bind]`", &["user", "unit", "command"], mistakes);
    RawBind {
        user: table.text("user", "root"),
        unit: table.text("unit", "maintenance.service"),
        command: table.table("command", "[bind.command]", command),
    }
}

fn command(table: &DeTable<'_>, _: Range<usize>, mistakes: &mut Mistakes) -> RawCommand {
    let known = ["path", "sha256", "script", "script_sha256"];
    let mut table = Table::new(table, "`[bind.command]`", &known, mistakes);
    RawCommand {
        path: table.text("path", "/usr/bin/bash"),
        sha256: table.text("sha256", "64 digits of `sha256sum`"),
        script: table.text("script", "/root/maintenance.sh"),
        script_sha256: table.text("script_sha256", "64 digits of `sha256sum`"),
    }
}

fn rehearsal(table: &DeTable<'_>, _: Range<usize>, mistakes: &mut Mistakes) -> Field<String> {
    let mut table = Table::new(table, "`[rehearsal]`", &["sha256"], mistakes);
    table.text("sha256", "64 digits of `sha256sum`")
}
