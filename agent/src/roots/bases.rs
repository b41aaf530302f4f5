//! Base directories: where patterns go on with a glob or with a name that does not exist, so that a
//! directory that matches can come to exist at any moment. The kernel programs match names there.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_abi::{MAX_BASE_PATTERNS, MAX_PATTERN_NAMES, name_id};
use holdfast_policy::{Component, PathPattern, Policy};

use super::{Host, Identity, ZoneRoots, branch, filesystem};

/// A directory below which patterns go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Whether it counts only where a filesystem is mounted on it: what the patterns lead to from
    /// there exists, or another base above it covers it.
    pub(crate) on_mount: bool,
    /// The patterns.
    pub(crate) patterns: Vec<BasePattern>,
    identity: Identity,
}

/// One pattern that goes on there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BasePattern {
    /// Which zone of the policy it belongs to.
    pub(crate) zone: usize,
    /// Its names below the base.
    pub(crate) names: Vec<Component>,
    /// What the inode numbers of the zone's tenants on that filesystem are combined with.
    pub(crate) tenant: u64,
}

/// A directory that a pattern leads through.
#[derive(Clone, Debug)]
pub(super) struct Way {
    dir: PathBuf,
    identity: Identity,
    /// `None` if a base above it covers it.
    on_mount: Option<bool>,
    zone: usize,
    pattern: usize,
    /// Names of the pattern that lead to it.
    names: usize,
}

/// The ways of one pattern.
pub(super) struct Ways<'a> {
    pub(super) zone: usize,
    pub(super) index: usize,
    pub(super) pattern: &'a PathPattern,
    pub(super) found: &'a mut Vec<Way>,
}

impl Ways<'_> {
    /// Takes note that the pattern goes on in `dir` after so many names. `covered`: the filesystem
    /// on which a base above covers it. Returns that for what is below.
    pub(super) fn through(
        &mut self,
        dir: &Path,
        names: usize,
        covered: Option<u64>,
    ) -> Option<u64> {
        let components = self.pattern.components();
        let behind_glob = components[..names].iter().any(|name| name.literal().is_none());
        // Links are not followed from the first glob on.
        let metadata = if behind_glob { fs::symlink_metadata(dir) } else { fs::metadata(dir) };
        let Some(metadata) = metadata.ok().filter(fs::Metadata::is_dir) else { return covered };
        let identity = Identity { dev: metadata.dev(), ino: metadata.ino() };
        let next = components[names].literal().map(|name| dir.join(name));
        let goes_on = next.is_some_and(|next| fs::symlink_metadata(next).is_ok());
        let is_covered = covered == Some(identity.dev);
        self.found.push(Way {
            dir: dir.to_owned(),
            identity,
            on_mount: (!is_covered).then_some(goes_on),
            zone: self.zone,
            pattern: self.index,
            names,
        });
        if goes_on { covered } else { Some(identity.dev) }
    }
}

/// The bases, each with all the patterns that lead through it.
pub(super) fn find(policy: &Policy, ways: Vec<Way>, zones: &[ZoneRoots], host: &Host) -> Vec<Base> {
    let salts: Vec<_> = zones.iter().map(|zone| branch::salts(&zone.roots)).collect();
    let mut bases: HashMap<Identity, Base> = HashMap::new();
    for way in ways.iter().filter(|way| way.on_mount.is_some()) {
        let (path, identity) = (way.dir.clone(), way.identity);
        let new = || Base { path, on_mount: true, patterns: Vec::new(), identity };
        bases.entry(identity).or_insert_with(new).on_mount &= way.on_mount == Some(true);
    }
    for way in &ways {
        let Some(base) = bases.get_mut(&way.identity) else { continue };
        let names = &policy.zones[way.zone].paths[way.pattern].components()[way.names..];
        let salts = &salts[way.zone];
        let own = || match salts.is_empty() {
            true => 0,
            false => name_id(&base.path.to_string_lossy()) | 1 << 63,
        };
        let tenant = salts.get(&way.identity.dev).copied().unwrap_or_else(own);
        let pattern = BasePattern { zone: way.zone, names: names.to_owned(), tenant };
        let fits =
            names.len() <= MAX_PATTERN_NAMES && base.patterns.len() < MAX_BASE_PATTERNS as usize;
        let is_known = names.iter().all(|name| name.conf().is_some());
        if fits && is_known && !base.patterns.contains(&pattern) {
            base.patterns.push(pattern);
        }
    }
    let is_root = |base: &Base| {
        zones.iter().flat_map(|zone| &zone.roots).any(|root| root.identity == base.identity)
    };
    let mut bases: Vec<Base> = bases.into_values().collect();
    bases.retain(|base| {
        let Some(first) = base.patterns.first() else { return false };
        let zone = &policy.zones[first.zone];
        !is_root(base) && (base.on_mount || filesystem::problem(zone, &base.path, host).is_none())
    });
    bases.sort_by(|a, b| a.path.cmp(&b.path));
    bases
}
