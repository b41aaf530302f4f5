//! Signed allowances: what was signed goes through untouched, to the last file, for those it is
//! for; and nothing else does.
//!
//! Every document here is real: written down, shown in its canonical form, signed with `ssh-keygen`
//! and submitted.

pub(super) mod agent;
pub(super) mod attacks;
pub(super) mod exact;
pub(super) mod firstserver;
pub(super) mod outside;
pub(super) mod reboot;
pub(super) mod room;
pub(super) mod run;
pub(super) mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::allowance::{Doc, Draft, Grant};
use crate::harness::signing::Signing;
use crate::harness::{Budget, Ctx, Tree, check_eq};

impl Ctx<'_> {
    /// Makes a tree and guards it, with a budget of files for each unit, and the usual people to
    /// sign.
    fn signed_tree(&mut self, tenants: u64, files: u64, budget: u64) -> Result<Tree> {
        let tree = self.tree(tenants, files)?;
        let zone = self.new_zone(&tree.root).budget(Budget::files(budget).per(Per::Unit));
        self.guard_signed(&[zone], &Signing::usual()?)?;
        Ok(tree)
    }

    /// A signed allowance to remove so many files below these paths.
    fn removals(&self, name: &str, subtrees: &[&Path], files: u64) -> Result<Doc> {
        self.draft(name, subtrees, files)?.signed(self)
    }

    fn draft(&self, name: &str, subtrees: &[&Path], files: u64) -> Result<Draft> {
        Draft::new(self, name, vec![Grant::removals(&self.zone, subtrees, files)])
    }
}

/// This binary.
fn own() -> Result<PathBuf> {
    std::env::current_exe().context("it has no path")
}

/// `holdfast-tests helper unlink DIR`: removes every file below, whatever happens, and says how
/// many went.
fn unlink(dir: &Path) -> Result<Vec<String>> {
    let words = [own()?.display().to_string(), "helper".into(), "unlink".into()];
    Ok(words.into_iter().chain([dir.display().to_string()]).collect())
}

/// Everything below a directory: content of files, none of directories.
fn snapshot(root: &Path) -> Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path.clone());
                found.insert(path, None);
            } else {
                let content = fs::read(&path)?;
                found.insert(path, Some(content));
            }
        }
    }
    Ok(found)
}

/// Insists that a tree is as it was, byte by byte, but for what `is_gone` names, of which nothing
/// is left.
fn only_lost(
    root: &Path,
    before: &BTreeMap<PathBuf, Option<Vec<u8>>>,
    is_gone: impl Fn(&Path) -> bool,
) -> Result<()> {
    let after = snapshot(root)?;
    for (path, content) in before {
        let expected = if is_gone(path) { None } else { Some(content) };
        check_eq!(after.get(path), expected, "{}", path.display());
    }
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    check_eq!(new, Vec::<&PathBuf>::new(), "new files");
    Ok(())
}
