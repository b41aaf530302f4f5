//! Puts a policy in force: writes the bank that is not in use, then flips one word.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    io,
    path::{Path, PathBuf},
};

use aya::maps::{MapError, PerCpuValues};
use holdfast_abi as abi;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::maps::{self, Maps};
use super::{
    ActiveZone, BPF_NOEXIST, Desired, DesiredBase, DesiredPattern, DesiredRoot, DesiredZone,
    error::KernelError, holds, learn, prove,
};

/// Everything that the programs go by, as it was written to the bank in force.
#[derive(Default)]
pub(super) struct Written {
    bank: u32,
    zones: Vec<abi::ZoneConf>,
    roots: HashMap<abi::RootKey, abi::RootConf>,
    filesystems: HashMap<abi::FsKey, abi::FsConf>,
    patterns: HashMap<abi::PatternKey, abi::PatternConf>,
    names: HashMap<u64, abi::NameConf>,
}

/// The directories of the bases in force, with what the kernel calls them.
type Bases = Vec<(PathBuf, abi::Learned)>;

/// Puts `desired` (and the directories of the self-test) in force, or changes nothing. `before` are
/// the zones that were in force as the agent knows them: the maps may have been edited since. What
/// the programs entered since `surveyed_ns` stays.
pub(super) fn apply(
    maps: &mut Maps,
    canary_dir: &Path,
    desired: &Desired,
    (before, written_before): (&[ActiveZone], Option<&Written>),
    surveyed_ns: u64,
) -> Result<(Vec<ActiveZone>, Bases, Written), KernelError> {
    let control = maps.control()?;
    let bank = 1 - control.bank();
    let in_force = roots_in(maps, control.bank())?;
    let mut written = Written { bank, ..Written::default() };
    let (slots, fresh) = assign_slots(maps, control.bank(), desired, before)?;
    let mut active = Vec::new();
    let (mut confs, mut kept_confs) = (Vec::new(), Vec::new());
    for (zone, &slot) in desired.zones.iter().zip(&slots) {
        let mut roots = Vec::new();
        for root in &zone.roots {
            let learned = match learn_path(maps, &root.path, ResolveFlags::NO_SYMLINKS) {
                // It went after it was found, and keeps no other out. The next survey sees it.
                Err(KernelError::Io { source, .. }) if is_gone(&source) => continue,
                learned => learned?,
            };
            confs.push((learned, root_conf(zone, slot, root, learned.generation)));
            roots.push((root.path.clone(), learned));
        }
        let mut kept_roots = Vec::new();
        if zone.keep_roots {
            for (root, conf) in kept(&in_force, slot, &roots, written_before) {
                kept_confs.push((root, kept_conf(zone, &root, conf)));
                kept_roots.push(root);
            }
        }
        active.push(ActiveZone { slot, name: zone.name.clone(), roots, kept_roots });
    }
    let mut bases = Vec::new();
    for base in &desired.bases {
        match learn_path(maps, &base.path, ResolveFlags::NO_SYMLINKS) {
            Ok(learned) => bases.push((base, learned)),
            Err(KernelError::Io { source, .. }) if is_gone(&source) => {}
            // A mount that does not work, or numbers its directories as it likes, keeps no policy
            // out.
            Err(error) => tracing::warn!(
                %error,
                path = %base.path.display(),
                "what comes to match a pattern there is guarded only when the agent has seen it"
            ),
        }
    }
    let canary = learn_path(maps, canary_dir, ResolveFlags::empty())?;
    let allowed = learn_path(maps, &prove::allowed_dir(canary_dir), ResolveFlags::empty())?;

    drop_overflow_accounts(maps)?;
    clear(maps, bank)?;
    let mut filesystems = HashMap::from([(canary.dev, abi::FsConf::NO_ZONE)]);
    for (base, learned) in &bases {
        add_base(&mut written, base, learned, &slots);
        if base.is_guarded {
            filesystems.insert(learned.dev, abi::FsConf::NO_ZONE);
        }
    }
    write_patterns(maps, &written, &in_force)?;
    for (zone, learned) in [(abi::CANARY_ZONE, &canary), (abi::SELF_TEST_ZONE, &allowed)] {
        let (generation, tenant) = (learned.generation, learned.ino);
        let conf = abi::RootConf { zone, generation, tenant, ..abi::RootConf::default() };
        add_root(&mut written, learned, conf);
    }
    // Kept roots first: one that another zone's path leads to now belongs to that zone.
    for (root, conf) in kept_confs.iter().chain(&confs) {
        add_root(&mut written, root, *conf);
    }
    for (index, zone) in active.iter().enumerate() {
        let found = zone.roots.iter().map(|(_, root)| root);
        for root in found.chain(&zone.kept_roots) {
            let strict = filesystems.entry(root.dev).or_insert(abi::FsConf::NO_ZONE);
            if is_stricter(desired, &active, index, *strict) {
                *strict = zone.slot;
            }
        }
    }
    let filesystems =
        filesystems.into_iter().map(|(dev, zone)| (abi::FsKey { dev, bank }, fs_conf(zone, 0)));
    written.filesystems = filesystems.collect();
    for (key, conf) in &written.roots {
        maps.roots
            .insert(key, conf, 0)
            .map_err(|error| KernelError::refused("write the map of roots", error))?;
    }
    for (key, conf) in &written.filesystems {
        maps.filesystems
            .insert(key, conf, 0)
            .map_err(|error| KernelError::refused("write the filesystem map", error))?;
    }
    written.zones = write_zones(maps, bank, control.bank(), desired, &slots)?;
    let stays = |zone: u32| slots.contains(&zone) && !fresh.contains(&zone);
    carry_provisional(maps, (control.bank(), bank), surveyed_ns, &stays)?;
    for slot in fresh {
        zero_counters(maps, slot)?;
        holds::forget_zone(maps, slot)?;
    }
    let control = maps.control()?;
    maps.set_control(abi::Control { flips: control.flips.wrapping_add(1), ..control })?;
    let bases = bases.into_iter().map(|(base, learned)| (base.path.clone(), learned)).collect();
    Ok((active, bases, written))
}

impl Written {
    /// Whether the programs still go by what was written; if not, what differs.
    pub(super) fn check(&self, maps: &Maps) -> Result<(), String> {
        let told = |error: KernelError| error.to_string();
        let bank = maps.control().map_err(told)?.bank();
        if bank != self.bank {
            return Err(format!("the bank in force is {bank}, and {} was written", self.bank));
        }
        for (slot, conf) in (0..).zip(&self.zones) {
            if read_zone(maps, bank, slot).map_err(told)? != *conf {
                let name = zone_name(conf);
                return Err(format!(
                    "the configuration of zone `{name}` (slot {slot}) was changed"
                ));
            }
        }
        let mut roots = roots_in(maps, bank).map_err(told)?;
        // In the place of a root that is gone, with its numbers, there can be one that the programs
        // entered.
        let entered: HashSet<_> = provisional(&roots).map(|(key, _)| key).collect();
        roots.retain(|key, _| !entered.contains(key));
        let mut written = self.roots.clone();
        written.retain(|key, _| !entered.contains(key));
        differ("protected paths", &written, &roots)?;
        let devices = maps::entries(&maps.filesystems, 0, "read the filesystems").map_err(told)?;
        let devices = devices
            .into_iter()
            .filter(|(key, conf)| key.bank == bank && conf.provisional == 0)
            .collect();
        differ("filesystems", &self.filesystems, &devices)?;
        // Those of the other bank are there as well.
        let patterns = maps::entries(&maps.patterns, 0, "read the patterns").map_err(told)?;
        let patterns = patterns.into_iter().filter(|(key, _)| self.patterns.contains_key(key));
        differ("patterns", &self.patterns, &patterns.collect())?;
        let names = maps::entries(&maps.names, 0, "read their names").map_err(told)?;
        let names = names.into_iter().filter(|(key, _)| self.names.contains_key(key)).collect();
        differ("names of patterns", &self.names, &names)
    }
}

/// Says how many entries were removed, added or changed.
fn differ<K: Eq + Hash, V: PartialEq>(
    what: &str,
    written: &HashMap<K, V>,
    found: &HashMap<K, V>,
) -> Result<(), String> {
    let same = written.iter().filter(|(key, conf)| found.get(*key) == Some(*conf)).count();
    if (same, same) == (written.len(), found.len()) {
        return Ok(());
    }
    Err(format!(
        "the map of {what} was changed: of {} entries {} are as they were written, beside {} \
         others",
        written.len(),
        same,
        found.len() - same
    ))
}

/// The roots and bases in `bank`.
fn roots_in(maps: &Maps, bank: u32) -> Result<HashMap<abi::RootKey, abi::RootConf>, KernelError> {
    let roots = maps::entries(&maps.roots, 0, "read the map of roots")?;
    Ok(roots.into_iter().filter(|(key, _)| key.bank == bank).collect())
}

/// Those that the kernel programs entered.
fn provisional(
    roots: &HashMap<abi::RootKey, abi::RootConf>,
) -> impl Iterator<Item = (abi::RootKey, abi::RootConf)> {
    roots.iter().filter(|(_, conf)| conf.made_ns != 0).map(|(key, conf)| (*key, *conf))
}

/// Whether the programs entered roots before that time: a survey that began then has seen what they
/// are for.
pub(super) fn has_provisional(maps: &Maps, before_ns: u64) -> Result<bool, KernelError> {
    let roots = roots_in(maps, maps.control()?.bank())?;
    Ok(provisional(&roots).any(|(_, conf)| conf.made_ns < before_ns))
}

/// Enters what the programs have entered since that time in the other bank as well. The programs
/// enter each in both, also meanwhile: what was written over something newer is put right by going
/// on until there is nothing to do.
fn carry_provisional(
    maps: &mut Maps,
    (from, to): (u32, u32),
    since_ns: u64,
    stays: &dyn Fn(u32) -> bool,
) -> Result<(), KernelError> {
    const PASSES: usize = 100;
    let refused = |error| KernelError::refused("write the map of roots", error);
    for _ in 0..PASSES {
        let mut is_done = true;
        for (key, conf) in provisional(&roots_in(maps, from)?) {
            // A base goes on as long as its patterns do.
            let goes_on =
                if conf.is_base() { is_kept(maps, &conf, stays)? } else { stays(conf.zone) };
            if conf.made_ns < since_ns || !goes_on {
                continue;
            }
            let key = abi::RootKey { bank: to, ..key };
            let is_newer = |there: abi::RootConf| {
                there.generation != conf.generation && there.made_ns < conf.made_ns
            };
            if maps.roots.get(&key, 0).map_or(true, is_newer) {
                maps.roots.insert(key, conf, 0).map_err(refused)?;
                is_done = false;
            }
            let filesystem = abi::FsKey { dev: key.dev, bank: to };
            if maps.filesystems.get(&filesystem, 0).is_err() {
                let zone = if conf.is_base() { abi::FsConf::NO_ZONE } else { conf.zone };
                maps.filesystems.insert(filesystem, fs_conf(zone, 1), 0).map_err(refused)?;
            }
        }
        if is_done {
            break;
        }
    }
    Ok(())
}

/// Adds a base with the list of its patterns.
fn add_base(written: &mut Written, base: &DesiredBase, learned: &abi::Learned, slots: &[u32]) {
    let patterns: Vec<_> =
        base.patterns.iter().map(|pattern| pattern_conf(pattern, slots)).collect();
    let list = abi::name_id(&format!("{patterns:?}"));
    let mask = u32::MAX >> (abi::MAX_BASE_PATTERNS as usize - patterns.len());
    for (index, conf) in (0..).zip(patterns) {
        written.patterns.insert(abi::PatternKey { list, index, pad: 0 }, conf);
    }
    written.names.extend(base.patterns.iter().flat_map(|pattern| pattern.names.iter().copied()));
    let key = abi::RootKey { ino: learned.ino, dev: learned.dev, bank: written.bank };
    let (zone, generation) = (abi::RootConf::BASE, learned.generation);
    let conf = abi::RootConf { zone, generation, tenant: list, depth: 0, level: mask, made_ns: 0 };
    written.roots.insert(key, conf);
}

fn pattern_conf(pattern: &DesiredPattern, slots: &[u32]) -> abi::PatternConf {
    let mut names = [0; abi::MAX_PATTERN_NAMES];
    for (to, (key, _)) in names.iter_mut().zip(&pattern.names) {
        *to = *key;
    }
    let (zone, count) = (slots[pattern.zone], pattern.names.len() as u32);
    abi::PatternConf { tenant: pattern.tenant, zone, depth: pattern.depth, count, pad: 0, names }
}

/// Writes what bases refer to, and forgets what none in either bank refers to.
fn write_patterns(
    maps: &mut Maps,
    written: &Written,
    in_force: &HashMap<abi::RootKey, abi::RootConf>,
) -> Result<(), KernelError> {
    let refused = |error| KernelError::refused("write the patterns", error);
    let bases = in_force.values().filter(|conf| conf.is_base()).map(|conf| conf.tenant);
    let lists: HashSet<u64> = bases.chain(written.patterns.keys().map(|key| key.list)).collect();
    let mut names: HashSet<u64> = written.names.keys().copied().collect();
    for (key, conf) in maps::entries(&maps.patterns, 0, "read the patterns")? {
        if lists.contains(&key.list) {
            names.extend(conf.names);
        } else {
            maps.patterns.remove(&key).map_err(refused)?;
        }
    }
    for (key, _) in maps::entries(&maps.names, 0, "read their names")? {
        if !names.contains(&key) {
            maps.names.remove(&key).map_err(refused)?;
        }
    }
    // First the names: a pattern without them matches nothing.
    for (key, conf) in &written.names {
        maps.names.insert(key, conf, 0).map_err(refused)?;
    }
    for (key, conf) in &written.patterns {
        maps.patterns.insert(key, conf, 0).map_err(refused)?;
    }
    Ok(())
}

/// Whether all patterns of a base belong to zones that stay.
fn is_kept(
    maps: &Maps,
    base: &abi::RootConf,
    stays: &dyn Fn(u32) -> bool,
) -> Result<bool, KernelError> {
    for index in (0..abi::MAX_BASE_PATTERNS).filter(|index| base.level >> index & 1 == 1) {
        match maps.patterns.get(&abi::PatternKey { list: base.tenant, index, pad: 0 }, 0) {
            Ok(pattern) if stays(pattern.zone) => {}
            Ok(_) | Err(MapError::KeyNotFound) => return Ok(false),
            Err(error) => return Err(KernelError::refused("read the patterns", error)),
        }
    }
    Ok(true)
}

fn fs_conf(strict_zone: u32, provisional: u32) -> abi::FsConf {
    abi::FsConf { strict_zone, provisional }
}

/// Roots of the zone in `slot` that are not among `found`, and those that the map has lost. A
/// provisional one is none that the zone's paths ever led to; where it has the numbers of a root,
/// that is gone.
fn kept(
    in_force: &HashMap<abi::RootKey, abi::RootConf>,
    slot: u32,
    found: &[(PathBuf, abi::Learned)],
    before: Option<&Written>,
) -> Vec<(abi::Learned, abi::RootConf)> {
    let found: HashSet<(u64, u32)> = found.iter().map(|(_, root)| (root.ino, root.dev)).collect();
    let known: HashSet<(u64, u32)> = in_force.keys().map(|key| (key.ino, key.dev)).collect();
    let lost = before.into_iter().flat_map(|written| &written.roots);
    let lost = lost.filter(|(key, _)| !known.contains(&(key.ino, key.dev)));
    let roots = in_force.iter().filter(|(_, conf)| conf.made_ns == 0).chain(lost);
    let kept =
        roots.filter(|(key, conf)| conf.zone == slot && !found.contains(&(key.ino, key.dev)));
    let learned = |(key, conf): (&abi::RootKey, &abi::RootConf)| {
        let (ino, dev, generation) = (key.ino, key.dev, conf.generation);
        (abi::Learned { serial: 0, ino, dev, generation }, *conf)
    };
    kept.map(learned).collect()
}

/// A slot for each zone: the one its name had before, or a free one. A slot keeps the name of a
/// zone that is gone, so that its counters are never taken for another's, until there is no other
/// slot left.
///
/// Also returns the slots that take over another name.
fn assign_slots(
    maps: &Maps,
    bank: u32,
    desired: &Desired,
    before: &[ActiveZone],
) -> Result<(Vec<u32>, Vec<u32>), KernelError> {
    let mut names = vec![String::new(); abi::SELF_TEST_ZONE as usize];
    for slot in 1..abi::SELF_TEST_ZONE {
        names[slot as usize] = zone_name(&read_zone(maps, bank, slot)?);
    }
    for zone in before {
        names[zone.slot as usize].clone_from(&zone.name);
    }
    let wanted: Vec<&str> = desired.zones.iter().map(|zone| zone.name.as_str()).collect();
    if wanted.len() > abi::MAX_POLICY_ZONES {
        let most = abi::MAX_POLICY_ZONES;
        return Err(KernelError::TooMany {
            what: format!("{} zones where one host can have {most}", wanted.len()),
        });
    }
    let mut slots = Vec::new();
    let mut fresh = Vec::new();
    for name in &wanted {
        let known = names.iter().position(|known| known == name);
        let free = || (1..names.len()).find(|&slot| names[slot].is_empty());
        let abandoned = || (1..names.len()).find(|&slot| !wanted.contains(&names[slot].as_str()));
        let slot = known.or_else(free).or_else(abandoned).ok_or_else(|| KernelError::TooMany {
            what: "there is no free zone slot".to_owned(),
        })?;
        if names[slot] != *name {
            fresh.push(slot as u32);
        }
        names[slot] = (*name).to_owned();
        slots.push(slot as u32);
    }
    Ok((slots, fresh))
}

/// A zone that takes over a slot starts counting at zero.
fn zero_counters(maps: &mut Maps, slot: u32) -> Result<(), KernelError> {
    let refused = |error| KernelError::refused("clear the counters", error);
    let cpus = aya::util::nr_cpus()
        .map_err(|(what, error)| KernelError::io(format!("read {what}"), error))?;
    let zero = |cpus| PerCpuValues::try_from(vec![abi::Cost::default(); cpus]);
    for &op in abi::Op::ALL {
        for row in 0..abi::COUNTER_ROWS as u32 {
            let values = zero(cpus).map_err(|error| KernelError::io("count the CPUs", error))?;
            maps.counters.set(abi::counter_index(slot, op, row), values, 0).map_err(refused)?;
        }
    }
    let values = PerCpuValues::try_from(vec![abi::ZoneCounters::default(); cpus])
        .map_err(|error| KernelError::io("count the CPUs", error))?;
    maps.zone_counters.set(slot, values, 0).map_err(refused)
}

/// Whether zone `index` is to be charged for ops in unknown places rather than the zone in slot
/// `current`: one that enforces before one that observes, then the one that lets fewer files go.
fn is_stricter(desired: &Desired, active: &[ActiveZone], index: usize, current: u32) -> bool {
    let strictness = |zone: &DesiredZone| {
        let files = zone.budgets.iter().map(|budget| budget.limit.files).min().unwrap_or(u64::MAX);
        (zone.mode == abi::Mode::Observe, files)
    };
    match active.iter().position(|zone| zone.slot == current) {
        None => true,
        Some(other) => strictness(&desired.zones[index]) < strictness(&desired.zones[other]),
    }
}

fn clear(maps: &mut Maps, bank: u32) -> Result<(), KernelError> {
    let refused = |error| KernelError::refused("clear the map of roots", error);
    let roots: Vec<_> = maps.roots.keys().collect::<Result<_, _>>().map_err(refused)?;
    for key in roots.iter().filter(|key| key.bank == bank) {
        maps.roots.remove(key).map_err(refused)?;
    }
    let filesystems: Vec<_> = maps.filesystems.keys().collect::<Result<_, _>>().map_err(refused)?;
    for key in filesystems.iter().filter(|key| key.bank == bank) {
        maps.filesystems.remove(key).map_err(refused)?;
    }
    Ok(())
}

fn root_conf(zone: &DesiredZone, slot: u32, root: &DesiredRoot, generation: u32) -> abi::RootConf {
    let depth = zone.tenant_depth.saturating_sub(root.level);
    let (tenant, level) = (root.tenant, root.level);
    abi::RootConf { zone: slot, generation, tenant, depth, level, made_ns: 0 }
}

/// The same for a root that stays in force, where tenants may live at another level than before.
fn kept_conf(zone: &DesiredZone, root: &abi::Learned, before: abi::RootConf) -> abi::RootConf {
    let depth = zone.tenant_depth.saturating_sub(before.level);
    let tenant = match (before.depth, depth) {
        (0, 1..) | (1.., 0) => before.tenant ^ root.ino,
        _ => before.tenant,
    };
    abi::RootConf { tenant, depth, ..before }
}

fn add_root(written: &mut Written, root: &abi::Learned, conf: abi::RootConf) {
    let key = abi::RootKey { ino: root.ino, dev: root.dev, bank: written.bank };
    written.roots.insert(key, conf);
}

fn write_zones(
    maps: &mut Maps,
    bank: u32,
    old_bank: u32,
    desired: &Desired,
    slots: &[u32],
) -> Result<Vec<abi::ZoneConf>, KernelError> {
    let mut confs = Vec::with_capacity(abi::MAX_ZONES);
    for slot in 0..abi::MAX_ZONES as u32 {
        let conf = match slots.iter().position(|&used| used == slot) {
            Some(index) => zone_conf(&desired.zones[index])?,
            None if slot == abi::SELF_TEST_ZONE => zone_conf(&self_test_zone())?,
            // Not in use; keeps its name.
            None => {
                abi::ZoneConf { in_use: 0, budget_count: 0, ..read_zone(maps, old_bank, slot)? }
            }
        };
        for budget in &conf.budgets[..conf.budget_count as usize] {
            make_overflow_account(maps, budget)?;
        }
        maps.zones
            .set(abi::zone_index(bank, slot), conf, 0)
            .map_err(|error| KernelError::refused("write the map of zones", error))?;
        confs.push(conf);
    }
    Ok(confs)
}

/// Where the self-test destroys what it has made. No zone of a policy can have this name.
fn self_test_zone() -> DesiredZone {
    DesiredZone {
        name: "(self-test)".to_owned(),
        mode: abi::Mode::Observe,
        on_trip: abi::OnTrip::Deny,
        tenant_depth: 0,
        manifest: true,
        budgets: Vec::new(),
        roots: Vec::new(),
        keep_roots: false,
    }
}

/// The account everybody shares once there is no room for more: made beforehand, so that there is
/// always one.
fn make_overflow_account(maps: &mut Maps, budget: &abi::BudgetConf) -> Result<(), KernelError> {
    if maps.overflow.get(&budget.id, 0).is_ok() {
        return Ok(());
    }
    maps.overflow
        .insert(budget.id, abi::Account::new(), BPF_NOEXIST)
        .map_err(|error| KernelError::refused("make an overflow account", error))
}

/// Forgets the overflow accounts of budgets that are in neither bank.
fn drop_overflow_accounts(maps: &mut Maps) -> Result<(), KernelError> {
    let used: HashSet<u64> = maps.budgets()?.iter().map(|budget| budget.id).collect();
    let refused = |error| KernelError::refused("clear the overflow accounts", error);
    let ids: Vec<u64> = maps.overflow.keys().collect::<Result<_, _>>().map_err(refused)?;
    for id in ids.iter().filter(|id| !used.contains(id)) {
        maps.overflow.remove(id).map_err(refused)?;
    }
    Ok(())
}

fn zone_conf(zone: &DesiredZone) -> Result<abi::ZoneConf, KernelError> {
    let mut name = [0; 64];
    if zone.name.len() >= name.len() || zone.budgets.len() > abi::MAX_BUDGETS {
        return Err(KernelError::TooMany {
            what: format!(
                "zone {}: a name can have 63 bytes and a zone {} budgets",
                zone.name,
                abi::MAX_BUDGETS
            ),
        });
    }
    name[..zone.name.len()].copy_from_slice(zone.name.as_bytes());
    let mut budgets = [NO_BUDGET; abi::MAX_BUDGETS];
    budgets[..zone.budgets.len()].copy_from_slice(&zone.budgets);
    budgets[..zone.budgets.len()].sort_unstable_by_key(abi::BudgetConf::rank);
    Ok(abi::ZoneConf {
        id: abi::name_id(&zone.name),
        name,
        mode: zone.mode as u32,
        tenant_depth: zone.tenant_depth,
        budget_count: zone.budgets.len() as u32,
        in_use: 1,
        on_trip: zone.on_trip as u32,
        manifest: u32::from(zone.manifest),
        budgets,
    })
}

const NO_BUDGET: abi::BudgetConf = abi::BudgetConf {
    id: 0,
    limit: abi::Limit {
        window_ns: 1,
        bucket_ns: 1,
        files: 0,
        bytes: 0,
        latch_ns: 0,
        after_files: 0,
        after_bytes: 0,
        tenants: 0,
        pad: 0,
    },
    ops: 0,
    per: 0,
    who: 0,
    pad: 0,
};

pub(super) fn read_zone(maps: &Maps, bank: u32, slot: u32) -> Result<abi::ZoneConf, KernelError> {
    maps.zones
        .get(&abi::zone_index(bank, slot), 0)
        .map_err(|error| KernelError::refused("read the map of zones", error))
}

pub(super) fn zone_name(conf: &abi::ZoneConf) -> String {
    let end = conf.name.iter().position(|&byte| byte == 0).unwrap_or(conf.name.len());
    String::from_utf8_lossy(&conf.name[..end]).into_owned()
}

/// Whether there is no such directory any more.
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    gone.iter().any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

/// Opens a directory and learns what the kernel calls it. Whatever has taken its place since it was
/// found must neither make us wait nor lead elsewhere: its owner may be anybody.
fn learn_path(
    maps: &mut Maps,
    path: &Path,
    resolve: ResolveFlags,
) -> Result<abi::Learned, KernelError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dir = openat2(CWD, path, flags, Mode::empty(), resolve)
        .map_err(|error| KernelError::io(format!("open {}", path.display()), error))?;
    learn::learn(maps, &dir, &path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(ino: u64, generation: u32, made_ns: u64) -> (abi::RootKey, abi::RootConf) {
        let key = abi::RootKey { ino, dev: 7, bank: 0 };
        (key, abi::RootConf { zone: 1, generation, made_ns, ..abi::RootConf::default() })
    }

    fn inodes(kept: Vec<(abi::Learned, abi::RootConf)>) -> Vec<(u64, u32)> {
        let mut inodes: Vec<_> = kept.iter().map(|(root, _)| (root.ino, root.generation)).collect();
        inodes.sort_unstable();
        inodes
    }

    /// From 2,048 on, directories that had left their path were dropped for others.
    #[test]
    fn guarded_roots_are_never_dropped() {
        let in_force: HashMap<_, _> = (0..10_000).map(|ino| root(ino, 0, 0)).collect();
        let found = [(PathBuf::from("/x"), abi::Learned { ino: 5, dev: 7, ..Default::default() })];
        assert_eq!(kept(&in_force, 1, &found, None).len(), 9_999);
        assert!(kept(&in_force, 2, &found, None).is_empty(), "another zone's");
    }

    /// What the kernel programs entered was never where a path leads to; where it has the numbers
    /// of a root, that is gone.
    #[test]
    fn provisional_roots_are_not_kept() {
        let in_force = HashMap::from([root(1, 0, 0), root(2, 9, 5)]);
        let roots = HashMap::from([root(1, 0, 0), root(2, 8, 0), root(3, 0, 0)]);
        let written = Written { roots, ..Written::default() };
        assert_eq!(inodes(kept(&in_force, 1, &[], Some(&written))), [(1, 0), (3, 0)]);
        let entered: Vec<_> = provisional(&in_force).map(|(key, _)| key.ino).collect();
        assert_eq!(entered, [2]);
    }
}
