//! What the manifest may take of the disk.

use super::fields::take;
use crate::manifest::{Manifest, bounded, parse_max_bytes};
use crate::problem::Mistakes;
use crate::raw::{Field, RawBytes, RawManifest};

/// What could be read, or the default.
pub(super) fn resolve(raw: &Field<RawManifest>, mistakes: &mut Mistakes) -> Manifest {
    let mut manifest = Manifest::default();
    if let Field::Given(given) = raw
        && let Field::Given(bytes) = &given.value.max_bytes
    {
        let outcome = match &bytes.value {
            RawBytes::Number(number) => bounded(*number),
            RawBytes::Text(text) => parse_max_bytes(text),
        };
        if let Some(max_bytes) = take(outcome, bytes, mistakes) {
            manifest.max_bytes = max_bytes;
        }
    }
    manifest
}
