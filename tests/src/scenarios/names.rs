//! Names made of any bytes a filesystem takes come through to events and audit unharmed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::{Budget, Ctx, Tool, check, check_eq, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("names_with_every_byte", every_byte).traced(),
    Scenario::each("names_with_every_byte_are_denied", stopped),
];

/// A name around each byte, and one name that has them all.
fn names() -> BTreeSet<Vec<u8>> {
    let bytes = || (1..=255_u8).filter(|&byte| byte != b'/');
    let mut names: BTreeSet<_> = bytes().map(|byte| vec![b'<', byte, byte, b'>']).collect();
    names.insert(bytes().collect());
    names
}

fn make(dir: &Path) -> Result<u64> {
    fs::create_dir_all(dir)?;
    for name in names() {
        fs::write(dir.join(OsString::from_vec(name)), "x")?;
    }
    Ok(names().len() as u64)
}

/// The bytes of an event's path. JSON is text: where a path is not UTF-8, the agent says so byte by
/// byte.
fn path_of(event: &Value) -> Result<Vec<u8>> {
    if let Some(Value::Array(bytes)) = event.get("path_bytes") {
        return bytes
            .iter()
            .map(|byte| byte.as_u64().and_then(|n| u8::try_from(n).ok()).context("not a byte"))
            .collect();
    }
    let text = event.get("path").and_then(Value::as_str).context("an event without a path")?;
    Ok(text.as_bytes().to_vec())
}

fn every_byte(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let dir = root.join("tenant");
    let total = make(&dir)?;
    ctx.enforce(&root, Budget::files(1000))?;
    Tool::new("find").arg(&dir).args(["-type", "f", "-delete"]).ok()?;
    let seen = until("an event for every file", Duration::from_secs(60), || {
        let events = ctx.events()?;
        Ok((events.len() as u64 >= total).then_some(events))
    })?;
    let mut found = BTreeSet::new();
    for event in &seen {
        let path = OsString::from_vec(path_of(event)?);
        let name = Path::new(&path).file_name().context("a path without a name")?;
        found.insert(name.as_bytes().to_vec());
    }
    let missing: Vec<_> = names().difference(&found).cloned().collect();
    check!(missing.is_empty(), "names that did not come through: {missing:?}");
    check_eq!(found.len() as u64, total, "different names in events");
    Ok(())
}

fn stopped(ctx: &mut Ctx<'_>) -> Result<()> {
    let root = ctx.base.join("zone");
    let dir = root.join("tenant");
    let total = make(&dir)?;
    ctx.enforce(&root, Budget::files(100))?;
    Tool::new("rm").arg("-rf").arg(&dir).run()?.refused()?;
    check_eq!(crate::harness::tree::count(&dir)?.files, total - 100, "files left");
    Ok(())
}
