//! What a policy says about the manifest, as a document.

use std::ops::Range;

use toml::de::DeTable;

use super::table::{Field, RawBytes, Table};
use crate::problem::Mistakes;

/// `[manifest]`.
#[derive(Debug)]
pub(crate) struct RawManifest {
    pub(crate) max_bytes: Field<RawBytes>,
}

pub(super) fn manifest(
    table: &DeTable<'_>,
    _: Range<usize>,
    mistakes: &mut Mistakes,
) -> RawManifest {
    let mut table = Table::new(table, "`[manifest]`", &["max_bytes"], mistakes);
    RawManifest { max_bytes: table.bytes("max_bytes") }
}
