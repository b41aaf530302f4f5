//! Base directories: the roots of mounts that patterns of the policy lead through. Below one, a
//! directory can come to match at any moment (by mkdir, a rename, a mount), and the kernel programs
//! compare names with the patterns. What matches already is a root, and met first.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_abi::{MAX_BASE_PATTERNS, MAX_PATTERN_NAMES, MAX_PATTERNS, name_id};
use holdfast_policy::{Component, PathPattern, Policy};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::{Host, Identity, Mounts, ZoneRoots, branch, filesystem};

/// The root of a mount that patterns lead through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Its path, without links.
    pub(crate) path: PathBuf,
    /// Whether directories on its own filesystem can come to match: it can be guarded, and not all
    /// patterns lead to another mount.
    pub(crate) is_guarded: bool,
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

/// A pattern that leads through the root of a mount.
#[derive(Clone, Debug)]
pub(super) struct Way {
    path: PathBuf,
    identity: Identity,
    zone: usize,
    pattern: usize,
    /// Names of the pattern that lead to it.
    names: usize,
    /// Whether it leads to another mount from there, whatever a glob in it matches.
    goes_on: bool,
}

/// The ways of one pattern.
pub(super) struct Ways<'a> {
    zone: usize,
    index: usize,
    pub(super) pattern: &'a PathPattern,
    mounts: &'a Mounts,
    found: &'a mut Vec<Way>,
    /// The directory before the first glob, as the pattern has it and without links.
    before_glob: Option<(PathBuf, PathBuf)>,
    /// Where the last of its ways is.
    last: Option<usize>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(
        (zone, index): (usize, usize),
        pattern: &'a PathPattern,
        mounts: &'a Mounts,
        found: &'a mut Vec<Way>,
    ) -> Self {
        Self { zone, index, pattern, mounts, found, before_glob: None, last: None }
    }

    /// Takes note that the pattern goes on in `dir` after so many names.
    pub(super) fn through(&mut self, dir: &Path, names: usize) {
        let is_glob = |name: &Component| name.literal().is_none();
        let behind_glob = self.pattern.components()[..names].iter().any(is_glob);
        let real = match &self.before_glob {
            // Links are not followed from the first glob on.
            Some((literal, real)) if behind_glob => {
                dir.strip_prefix(literal).ok().map(|below| real.join(below))
            }
            _ => fs::canonicalize(dir).ok(),
        };
        let Some(path) = real else { return };
        if is_glob(&self.pattern.components()[names]) && !behind_glob {
            self.before_glob = Some((dir.to_owned(), path.clone()));
        }
        let is_root = self.mounts.of(&path).is_some_and(|mount| mount.point == path);
        // A link can lead to what may never answer.
        if !is_root || self.mounts.unanswering(&path).is_some() {
            return;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let Ok(stat) = opened.and_then(fstat) else { return };
        let identity = Identity { dev: stat.st_dev, ino: stat.st_ino };
        if let Some(last) = self.last.filter(|_| !behind_glob) {
            self.found[last].goes_on = true;
        }
        self.last = Some(self.found.len());
        let (zone, pattern) = (self.zone, self.index);
        self.found.push(Way { path, identity, zone, pattern, names, goes_on: false });
    }
}

/// The bases, each with all the patterns that lead through it.
pub(super) fn find(policy: &Policy, ways: Vec<Way>, zones: &[ZoneRoots], host: &Host) -> Vec<Base> {
    let salts: Vec<_> = zones.iter().map(|zone| branch::salts(&zone.roots)).collect();
    let mut first: Vec<Option<u64>> = vec![None; zones.len()];
    let mut bases: HashMap<Identity, Base> = HashMap::new();
    for way in ways {
        let Way { path, identity, zone, .. } = way;
        let names = policy.zones[zone].paths[way.pattern].components()[way.names..].to_owned();
        if names.len() > MAX_PATTERN_NAMES || names.iter().any(|name| name.conf().is_none()) {
            continue;
        }
        // A zone without roots knows its filesystems by nothing yet.
        let is_first = *first[zone].get_or_insert(identity.dev) == identity.dev;
        let own = || match salts[zone].is_empty() && is_first {
            true => 0,
            false => name_id(&path.to_string_lossy()) | 1 << 63,
        };
        let tenant = salts[zone].get(&identity.dev).copied().unwrap_or_else(own);
        let new = || Base { path, is_guarded: false, patterns: Vec::new(), identity };
        let base = bases.entry(identity).or_insert_with(new);
        base.is_guarded |= !way.goes_on;
        let pattern = BasePattern { zone, names, tenant };
        if !base.patterns.contains(&pattern) {
            base.patterns.push(pattern);
        }
    }
    let mut bases: Vec<Base> = bases.into_values().collect();
    bases.sort_by(|a, b| a.path.cmp(&b.path));
    let protected = branch::places(zones, host);
    bases.retain(|base| !branch::is_protected(&base.path, host, &protected));
    // Half of the room: the patterns that were in force before are there, too.
    let mut room = MAX_PATTERNS as usize / 2;
    for base in &mut bases {
        // What can be matched by anything comes before what somebody has to make anew.
        base.patterns
            .sort_by_key(|pattern| pattern.names.iter().all(|name| name.literal().is_some()));
        base.patterns.truncate(room.min(MAX_BASE_PATTERNS as usize));
        room -= base.patterns.len();
        let zone = base.patterns.first().map(|pattern| &policy.zones[pattern.zone]);
        let is_guardable = |zone| filesystem::problem(zone, &base.path, host).is_none();
        base.is_guarded &= zone.is_some_and(is_guardable);
    }
    bases.retain(|base| !base.patterns.is_empty());
    bases
}
