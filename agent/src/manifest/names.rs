//! What the numbers in the kernel's records stand for. The daemon's loop fills it in, the keeper
//! looks things up.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::roots::{self, RootName};
use crate::kernel::ActiveZone;
use holdfast_abi as abi;

/// Allowances and roots that are remembered after they are gone: records of theirs can still be in
/// the ring.
const KEPT: usize = abi::MAX_ROOTS as usize;

/// Shared between the daemon's loop and the keeper. Neither holds it for longer than a look-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNames(Arc<Mutex<Names>>);

impl SharedNames {
    /// The names.
    pub(crate) fn get(&self) -> MutexGuard<'_, Names> {
        // A reader that panicked has left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A zone in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneNames {
    /// Slot in the kernel.
    pub(crate) slot: u32,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is recorded.
    pub(crate) manifest: bool,
}

/// Everything that has a name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Zones in force; `None` before the first policy is.
    pub(crate) zones: Option<Vec<ZoneNames>>,
    zone_ids: HashMap<u64, String>,
    roots: Recent<roots::Key, RootName>,
    /// Those that are guarded now, and whether that is news.
    guarded: BTreeSet<roots::Key>,
    is_news: bool,
    allowances: Recent<u64, String>,
    /// How often something got another name.
    changes: u64,
}

impl Names {
    /// A policy is in force. `named`: what a root is called that has this real path.
    pub(crate) fn in_force(
        &mut self,
        active: &[ActiveZone],
        is_recorded: impl Fn(&str) -> bool,
        named: impl Fn(&Path) -> RootName,
    ) {
        let mut zones = Vec::new();
        // Those that are guarded although no path leads to them keep the name they had.
        let kept = active.iter().flat_map(|zone| &zone.kept_roots);
        let found = active.iter().flat_map(|zone| zone.roots.iter().map(|(_, root)| root));
        let guarded: BTreeSet<_> = found.chain(kept).map(|root| (root.dev, root.ino)).collect();
        self.roots.keep(&guarded);
        self.is_news |= guarded != self.guarded;
        self.guarded = guarded;
        for zone in active {
            let (slot, name) = (zone.slot, zone.name.clone());
            let is_new = self.zone_ids.insert(abi::name_id(&name), name.clone()).is_none();
            self.changes += u64::from(is_new);
            zones.push(ZoneNames { slot, manifest: is_recorded(&name), name });
            for (path, root) in &zone.roots {
                let (key, name) = ((root.dev, root.ino), named(path));
                let is_new = self.roots.get(&key) != Some(&name);
                self.is_news |= is_new;
                self.changes += u64::from(is_new);
                self.roots.insert(key, name);
            }
        }
        self.zones = Some(zones);
    }

    /// An allowance is about to be open, or was when the agent started.
    pub(crate) fn allowance(&mut self, serial: u64, id: &str) {
        self.allowances.insert(serial, id.to_owned());
        self.changes += 1;
    }

    /// Changes whenever something got another name.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Name of a zone, that of a former policy included.
    pub(super) fn zone(&self, id: u64) -> String {
        self.zone_ids.get(&id).cloned().unwrap_or_else(|| format!("zone#{id:016x}"))
    }

    /// What a root is called, also one that has left its path.
    pub(super) fn root(&self, dev: u32, ino: u64) -> Option<&RootName> {
        self.roots.get(&(dev, ino))
    }

    /// What an agent before this one called them, where that is not known better.
    pub(super) fn learn(&mut self, roots: Vec<(roots::Key, RootName)>) {
        for (key, name) in roots {
            if self.roots.get(&key).is_none() {
                self.changes += 1;
                self.roots.insert(key, name);
            }
        }
    }

    /// What the roots that are guarded are called, if that has changed since it was asked for.
    pub(super) fn new_roots(&mut self) -> Option<Vec<(roots::Key, RootName)>> {
        let named = |key: &roots::Key| Some((*key, self.roots.get(key)?.clone()));
        let is_news = std::mem::take(&mut self.is_news);
        is_news.then(|| self.guarded.iter().filter_map(named).collect())
    }

    /// They could not be written down.
    pub(super) const fn ask_again(&mut self) {
        self.is_news = true;
    }

    /// Id of an allowance; its serial if that is not known.
    pub(super) fn allowance_id(&self, serial: u64) -> Option<String> {
        let known = || self.allowances.get(&serial).cloned();
        (serial != 0).then(|| known().unwrap_or_else(|| format!("serial {serial}")))
    }
}

/// A map that forgets what was added first.
#[derive(Debug)]
struct Recent<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Ord + std::hash::Hash + Copy, V> Recent<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
            if self.order.len() > KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
        }
    }

    /// Has these forgotten last.
    fn keep(&mut self, keys: &BTreeSet<K>) {
        let order = std::mem::take(&mut self.order);
        let (kept, others): (Vec<K>, Vec<K>) =
            order.into_iter().partition(|key| keys.contains(key));
        self.order = others.into_iter().chain(kept).collect();
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn name(path: &Path) -> RootName {
        RootName { path: path.to_owned(), level: 0 }
    }

    /// A root that is still guarded lost its name once enough others had come and gone.
    #[test]
    fn directory_in_force_keeps_its_name() {
        let mut names = Names::default();
        let root = |ino| abi::Learned { serial: 0, ino, dev: 1, generation: 0 };
        let path = |ino: u64| PathBuf::from(format!("/srv/{ino}"));
        let zone = |roots, kept_roots| ActiveZone { slot: 3, name: "z".into(), roots, kept_roots };
        names.in_force(&[zone(vec![(path(7), root(7))], vec![])], |_| true, name);
        for round in 1..=3 * KEPT as u64 / 1000 {
            let roots = (0..1000).map(|n| round * 1000 + n).map(|ino| (path(ino), root(ino)));
            names.in_force(&[zone(roots.collect(), vec![root(7)])], |_| true, name);
        }
        assert_eq!(names.root(1, 7), Some(&name(Path::new("/srv/7"))));
        assert_eq!(names.root(1, 1000), None, "others are forgotten");
        assert!(names.roots.map.len() <= KEPT);
    }

    #[test]
    fn names_outlive_their_policy() {
        let mut names = Names::default();
        assert!(names.zones.is_none());
        let root = abi::Learned { serial: 0, ino: 7, dev: 1, generation: 0 };
        let zone = |name: &str, roots| ActiveZone {
            slot: 3,
            name: name.into(),
            roots,
            kept_roots: vec![],
        };
        names.in_force(&[zone("a", vec![("/srv/a".into(), root)])], |_| true, name);
        names.in_force(&[zone("b", vec![])], |name| name != "b", name);
        assert_eq!(names.zone(abi::name_id("a")), "a");
        assert_eq!(names.root(1, 7), Some(&name(Path::new("/srv/a"))));
        assert_eq!(names.zone(1), "zone#0000000000000001");
        let zones = names.zones.clone().unwrap();
        assert_eq!(zones, [ZoneNames { slot: 3, name: "b".into(), manifest: false }]);
        names.allowance(9, "CHG-1");
        assert_eq!(names.allowance_id(9).as_deref(), Some("CHG-1"));
        assert_eq!(
            (names.allowance_id(0), names.allowance_id(8).unwrap().as_str()),
            (None, "serial 8")
        );
    }

    /// [`abi::MAX_PATHS`] can be guarded at once.
    #[test]
    fn every_root_has_its_name() {
        let mut names = Names::default();
        let root = |ino| abi::Learned { serial: 0, ino, dev: 1, generation: 0 };
        let roots = (1..=10_000).map(|ino| (PathBuf::from(format!("/srv/{ino}")), root(ino)));
        let zone =
            ActiveZone { slot: 3, name: "z".into(), roots: roots.collect(), kept_roots: vec![] };
        names.in_force(&[zone], |_| true, name);
        let unnamed = (1..=10_000).filter(|&ino| names.root(1, ino).is_none()).count();
        assert_eq!(unnamed, 0);
    }
}
