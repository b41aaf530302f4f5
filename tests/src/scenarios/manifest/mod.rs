//! The manifest against the disk: what it lists is what is gone, tenant by tenant, and nothing
//! else.

pub(crate) mod agent;
pub(crate) mod bounds;
pub(crate) mod moves;
pub(crate) mod recovery;
pub(crate) mod volume;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::harness::{Outcome, Tool, agent::BINARY, check, check_eq, cli};

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    inode: u64,
    is_dir: bool,
    bytes: u64,
}

/// Every name below a directory, from there.
type Snapshot = BTreeMap<Vec<u8>, Entry>;

fn snapshot(dir: &Path) -> Result<Snapshot> {
    let (mut found, mut todo) = (Snapshot::new(), vec![dir.to_owned()]);
    while let Some(current) = todo.pop() {
        let Ok(entries) = fs::read_dir(&current) else { continue };
        for entry in entries {
            let entry = entry?;
            let metadata = entry.path().symlink_metadata()?;
            let path = entry.path();
            let name = path.strip_prefix(dir)?.as_os_str().as_bytes().to_vec();
            let (inode, is_dir) = (metadata.ino(), metadata.is_dir());
            // Only regular files have any.
            let bytes = if metadata.is_file() { metadata.len() } else { 0 };
            found.insert(name, Entry { inode, is_dir, bytes });
            if is_dir {
                todo.push(path);
            }
        }
    }
    Ok(found)
}

/// `holdfast manifest ARGS --zone ZONE`.
fn manifest<S: AsRef<OsStr>>(zone: &str, args: impl IntoIterator<Item = S>) -> Result<Outcome> {
    Tool::new(BINARY).arg("manifest").args(args).args(["--zone", zone]).run()
}

fn document(outcome: &Outcome) -> Result<Value> {
    serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))
}

/// What the manifest says about a tenant.
fn of(zone: &str, tenant: &OsStr) -> Result<Value> {
    let args = [OsStr::new("--json"), OsStr::new("--tenant"), tenant];
    document(&manifest(zone, args)?.ok()?)
}

fn records(document: &Value) -> Result<&Vec<Value>> {
    document["records"].as_array().context("no records")
}

/// A name as JSON has it.
fn bytes(value: &Value) -> Result<Vec<u8>> {
    match (value.as_str(), value["hex"].as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(hex)) => (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).context("not hexadecimal"))
            .collect(),
        (None, None) => bail!("not a name: {value}"),
    }
}

/// Insists that removals and replacements are exactly of the inodes that are gone, each once, under
/// a name it had.
fn matches(document: &Value, before: &Snapshot, after: &Snapshot) -> Result<usize> {
    let mut gone = BTreeMap::new();
    for entry in before.values() {
        if !after.values().any(|other| other.inode == entry.inode) {
            gone.insert(entry.inode, entry.clone());
        }
    }
    let expected = gone.len();
    for record in records(document)? {
        let op = cli::text(record, "op");
        if !["remove", "replace"].contains(&op) {
            continue;
        }
        let path = bytes(&record["path"])?;
        let inode = cli::number(record, "inode")?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let entry = gone.remove(&inode);
        let entry = entry.with_context(|| {
            format!("{shown:?} is listed, and is there or was listed before: {record}")
        })?;
        let known = before.get(&path);
        check_eq!(known.map(|known| known.inode), Some(inode), "what {shown:?} was");
        check_eq!(
            cli::text(record, "kind") == "directory",
            entry.is_dir,
            "{shown:?} is a directory"
        );
        check_eq!(cli::number(record, "bytes")?, entry.bytes, "bytes of {shown:?}");
    }
    check!(gone.is_empty(), "{} of {expected} that are gone are not listed: {gone:?}", gone.len());
    Ok(expected)
}
