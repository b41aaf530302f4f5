//! Opening and closing allowances in the kernel's maps, and marking processes.
//!
//! What makes an allowance count is its entry in `ALLOWANCES`, written last and removed first.
//! Everything else is found only through its serial.

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
};

use aya::maps::{HashMap as MapOfBoth, MapData, MapError};
use holdfast_abi as abi;

use super::{
    BPF_F_LOCK, BPF_NOEXIST,
    error::KernelError,
    grace,
    maps::{Maps, entries},
    task_storage,
};

const CLEAR: &str = "clear an allowance";

type MapOf<K, V> = MapOfBoth<MapData, K, V>;

/// An allowance to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredAllowance {
    /// A number that was never used before in this boot; not 0.
    pub serial: u64,
    /// Boot-time nanoseconds after which it is over.
    pub until_ns: u64,
    /// Whether only marked processes may spend it.
    pub tree: bool,
    /// Only this cgroup may.
    pub unit: Option<u64>,
    /// Only this user (login user where set, else real user) may.
    pub user: Option<u32>,
    /// Everybody in this zone may.
    pub zone: Option<String>,
    /// Whether it is a break-glass: its grant is good everywhere in its zone, whatever its
    /// subtrees.
    pub break_glass: bool,
    /// At least one, at most [`abi::MAX_GRANTS`].
    pub grants: Vec<DesiredGrant>,
}

/// One grant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredGrant {
    /// Name of the zone.
    pub zone: String,
    /// The ops.
    pub ops: abi::OpMask,
    /// Most files.
    pub files: u64,
    /// Most bytes.
    pub bytes: u64,
    /// Most tenants.
    pub tenants: u64,
    /// Where: directories with all that is below, and files.
    pub subtrees: Vec<abi::Learned>,
}

/// An allowance as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowanceRow {
    /// Its serial.
    pub serial: u64,
    /// Until when, and for whom.
    pub conf: abi::AllowanceConf,
    /// Its grants and what was spent, in order.
    pub grants: Vec<abi::GrantAccount>,
}

impl AllowanceRow {
    /// Whether it is a break-glass.
    pub fn is_break_glass(&self) -> bool {
        self.conf.kind == abi::AllowanceConf::BREAK_GLASS
    }
}

/// Opens an allowance, or changes nothing.
pub(super) fn open(maps: &mut Maps, desired: &DesiredAllowance) -> Result<(), KernelError> {
    let opened = write(maps, desired);
    if opened.is_err() {
        // What was written so far means nothing without its entry, but takes room.
        let _ = clear(maps, &|serial| serial == desired.serial);
    }
    opened
}

fn write(maps: &mut Maps, desired: &DesiredAllowance) -> Result<(), KernelError> {
    let serial = desired.serial;
    let refused = |error| KernelError::refused("open an allowance", error);
    if desired.grants.is_empty() || desired.grants.len() > abi::MAX_GRANTS {
        let what =
            format!("{} grants where there can be 1 to {}", desired.grants.len(), abi::MAX_GRANTS);
        return Err(KernelError::TooMany { what });
    }
    for (index, grant) in (0u32..).zip(&desired.grants) {
        let account = abi::GrantAccount::new(
            abi::name_id(&grant.zone),
            grant.ops,
            grant.files,
            grant.bytes,
            grant.tenants,
        );
        let key = abi::GrantKey { serial, index, pad: 0 };
        maps.grants.insert(key, account, BPF_NOEXIST).map_err(refused)?;
    }
    for (key, subtree) in subtrees(desired) {
        maps.subtrees.insert(key, subtree, BPF_NOEXIST).map_err(refused)?;
    }
    if let Some(key) = binds(desired) {
        maps.binds.insert(key, serial, BPF_NOEXIST).map_err(refused)?;
    }
    let control = maps.control()?;
    maps.set_control(abi::Control { flags: control.flags | abi::FLAG_ALLOWANCES, ..control })?;
    let conf = abi::AllowanceConf {
        until_ns: desired.until_ns,
        unit: desired.unit.unwrap_or(0),
        user: desired.user.unwrap_or(abi::AllowanceConf::ANY_USER),
        grants: desired.grants.len() as u32,
        tree: desired.tree.into(),
        kind: if desired.break_glass {
            abi::AllowanceConf::BREAK_GLASS
        } else {
            abi::AllowanceConf::SIGNED
        },
    };
    maps.allowances.insert(serial, conf, BPF_NOEXIST).map_err(refused)
}

/// Each directory and file once, with every grant that names it.
fn subtrees(desired: &DesiredAllowance) -> HashMap<abi::SubtreeKey, abi::Subtree> {
    let mut subtrees: HashMap<abi::SubtreeKey, abi::Subtree> = HashMap::new();
    for (index, grant) in desired.grants.iter().enumerate() {
        for place in &grant.subtrees {
            let (ino, dev) = (place.ino, place.dev);
            let key = abi::SubtreeKey { serial: desired.serial, ino, dev, pad: 0 };
            let entry = subtrees.entry(key).or_default();
            if entry.generation != place.generation {
                // It was made anew while the patterns were followed: only the later one is there.
                *entry = abi::Subtree { generation: place.generation, grants: 0 };
            }
            entry.grants |= 1 << index;
        }
    }
    subtrees
}

/// How ops without a mark find it: by unit, or if it has none by user, or by zone.
fn binds(desired: &DesiredAllowance) -> Option<abi::BindKey> {
    if desired.tree {
        return None;
    }
    let unit = desired.unit.map(|id| abi::BindKey { id, kind: abi::BindKey::UNIT, pad: 0 });
    let user = |id: u32| abi::BindKey { id: id.into(), kind: abi::BindKey::USER, pad: 0 };
    let zone =
        |name: &String| abi::BindKey { id: abi::name_id(name), kind: abi::BindKey::ZONE, pad: 0 };
    unit.or(desired.user.map(user)).or(desired.zone.as_ref().map(zone))
}

/// Marks a process as started under an allowance.
pub(super) fn mark(
    maps: &mut Maps,
    serial: u64,
    process: BorrowedFd<'_>,
) -> Result<(), KernelError> {
    let mark = abi::Mark { serial };
    task_storage::update(&maps.marks, process, &mark)
        .map_err(|error| KernelError::io("mark a process", error))
}

/// Every allowance, oldest first.
pub(super) fn rows(maps: &Maps) -> Result<Vec<AllowanceRow>, KernelError> {
    let mut rows = Vec::new();
    for (serial, conf) in entries(&maps.allowances, 0, "read the allowances")? {
        let grants = grants(maps, serial, conf.grants)?;
        rows.push(AllowanceRow { serial, conf, grants });
    }
    rows.sort_by_key(|row| row.serial);
    Ok(rows)
}

fn grants(maps: &Maps, serial: u64, count: u32) -> Result<Vec<abi::GrantAccount>, KernelError> {
    let read = |index| maps.grants.get(&abi::GrantKey { serial, index, pad: 0 }, BPF_F_LOCK);
    let grants: Result<_, _> = (0..count).map(read).collect();
    grants.map_err(|error| KernelError::refused("read the grants of an allowance", error))
}

/// Closes an allowance: nothing is spent of it from now on.
pub(super) fn close(maps: &mut Maps, serial: u64) -> Result<Option<AllowanceRow>, KernelError> {
    let refused = |error| KernelError::refused("close an allowance", error);
    let conf = match maps.allowances.get(&serial, 0) {
        Ok(conf) => conf,
        Err(MapError::KeyNotFound) => {
            // An agent that was killed while it closed it may have left the rest behind.
            clear(maps, &|found| found == serial)?;
            return Ok(None);
        }
        Err(error) => return Err(refused(error)),
    };
    maps.allowances.remove(&serial).map_err(refused)?;
    // An op that found it open may still be spending it.
    grace();
    let grants = grants(maps, serial, conf.grants)?;
    clear(maps, &|found| found == serial)?;
    if maps.allowances.keys().next().is_none() {
        let control = maps.control()?;
        maps.set_control(abi::Control { flags: control.flags & !abi::FLAG_ALLOWANCES, ..control })?;
    }
    Ok(Some(AllowanceRow { serial, conf, grants }))
}

/// Removes what agents before this one have left behind, killed while they opened or closed an
/// allowance: it means nothing, but takes room, and a user or unit that is bound cannot be bound
/// again. How many entries that was.
pub(super) fn clear_leftovers(maps: &mut Maps) -> Result<usize, KernelError> {
    let open: HashSet<u64> = keys(&maps.allowances)?.into_iter().collect();
    clear(maps, &|serial| !open.contains(&serial))
}

/// Removes everything that is found through these serials, which have no entry in `ALLOWANCES` (any
/// more). How much that was.
fn clear(maps: &mut Maps, is_over: &dyn Fn(u64) -> bool) -> Result<usize, KernelError> {
    let binds = entries(&maps.binds, 0, CLEAR)?.into_iter();
    let binds: Vec<_> = binds.filter(|(_, serial)| is_over(*serial)).map(|(key, _)| key).collect();
    let cleared = [
        remove_all(&mut maps.binds, binds)?,
        remove_over(&mut maps.subtrees, |key| is_over(key.serial))?,
        remove_over(&mut maps.grant_tenants, |key| is_over(key.serial))?,
        remove_over(&mut maps.grants, |key| is_over(key.serial))?,
    ];
    Ok(cleared.iter().sum())
}

fn remove_over<K: aya::Pod, V: aya::Pod>(
    map: &mut MapOf<K, V>,
    is_over: impl Fn(&K) -> bool,
) -> Result<usize, KernelError> {
    let over: Vec<K> = keys(map)?.into_iter().filter(is_over).collect();
    remove_all(map, over)
}

fn remove_all<K: aya::Pod, V: aya::Pod>(
    map: &mut MapOf<K, V>,
    over: Vec<K>,
) -> Result<usize, KernelError> {
    for key in &over {
        map.remove(key).map_err(|error| KernelError::refused(CLEAR, error))?;
    }
    Ok(over.len())
}

fn keys<K: aya::Pod, V: aya::Pod>(map: &MapOf<K, V>) -> Result<Vec<K>, KernelError> {
    map.keys().collect::<Result<_, _>>().map_err(|error| KernelError::refused(CLEAR, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(tree: bool, unit: Option<u64>, user: Option<u32>) -> DesiredAllowance {
        let place = |ino| abi::Learned { serial: 0, ino, dev: 5, generation: 9 };
        let grant = |subtrees| DesiredGrant {
            zone: "customers".to_owned(),
            ops: 1,
            files: 1,
            bytes: 1,
            tenants: 1,
            subtrees,
        };
        let grants = vec![grant(vec![place(1), place(2), place(1)]), grant(vec![place(2)])];
        DesiredAllowance {
            serial: 7,
            until_ns: 1,
            tree,
            unit,
            user,
            zone: None,
            break_glass: false,
            grants,
        }
    }

    #[test]
    fn shared_subtree_is_one_entry() {
        let subtrees = subtrees(&desired(true, None, None));
        let grants = |ino| subtrees[&abi::SubtreeKey { serial: 7, ino, dev: 5, pad: 0 }].grants;
        assert_eq!((subtrees.len(), grants(1), grants(2)), (2, 0b01, 0b11));
    }

    #[test]
    fn only_its_mark_finds_a_tree() {
        assert_eq!(binds(&desired(true, Some(3), Some(4))), None);
        let unit = abi::BindKey { id: 3, kind: abi::BindKey::UNIT, pad: 0 };
        assert_eq!(binds(&desired(false, Some(3), Some(4))), Some(unit));
        let user = abi::BindKey { id: 4, kind: abi::BindKey::USER, pad: 0 };
        assert_eq!(binds(&desired(false, None, Some(4))), Some(user));
        let zone = Some("customers".to_owned());
        let whole = DesiredAllowance { zone, break_glass: true, ..desired(false, None, None) };
        let id = abi::name_id("customers");
        assert_eq!(binds(&whole), Some(abi::BindKey { id, kind: abi::BindKey::ZONE, pad: 0 }));
        assert_eq!(binds(&DesiredAllowance { tree: true, ..whole }), None);
    }
}
