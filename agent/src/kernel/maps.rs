//! Typed handles on the pinned maps.

use std::{fs, path::Path};

use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo, PerCpuArray, RingBuf};
use holdfast_abi as abi;

use super::{BPF_EXIST, BPF_F_LOCK, error::KernelError};

/// Every map that is pinned, with its value size: what adopting it relies on. (What a task has in
/// flight is not: it is of no use to other programs than those that wrote it.)
pub(super) const PINNED: &[(&str, u32)] = &[
    ("CONTROL", size_of::<abi::Control>() as u32),
    ("ZONES", size_of::<abi::ZoneConf>() as u32),
    ("ROOTS", size_of::<abi::RootConf>() as u32),
    ("FILESYSTEMS", size_of::<abi::FsConf>() as u32),
    ("ACCOUNTS", size_of::<abi::Account>() as u32),
    ("OVERFLOW", size_of::<abi::Account>() as u32),
    ("TENANTS", size_of::<abi::TenantSpend>() as u32),
    ("EMPTY_TENANT", size_of::<abi::TenantSpend>() as u32),
    ("EMPTY_ACCOUNT", size_of::<abi::Account>() as u32),
    ("COUNTERS", size_of::<abi::Cost>() as u32),
    ("ZONE_COUNTERS", size_of::<abi::ZoneCounters>() as u32),
    ("LEARNED", size_of::<abi::Learned>() as u32),
    ("EVENTS", 0),
    ("DESTROYED", 0),
    ("HEARTBEAT", size_of::<abi::Heartbeat>() as u32),
    ("HELD", size_of::<abi::Held>() as u32),
    ("EMPTY_HELD", size_of::<abi::Held>() as u32),
    ("HOLDS", size_of::<abi::Hold>() as u32),
    ("RELEASES", size_of::<abi::Release>() as u32),
    ("ALLOWANCES", size_of::<abi::AllowanceConf>() as u32),
    ("BINDS", size_of::<u64>() as u32),
    ("GRANTS", size_of::<abi::GrantAccount>() as u32),
    ("SUBTREES", size_of::<abi::Subtree>() as u32),
    ("GRANT_TENANTS", size_of::<abi::GrantTenant>() as u32),
    ("PATTERNS", size_of::<abi::PatternConf>() as u32),
    ("NAMES", size_of::<abi::NameConf>() as u32),
    ("FRESH", size_of::<abi::Made>() as u32),
    ("MOVES", size_of::<abi::Moves>() as u32),
    ("MARKS", size_of::<abi::Mark>() as u32),
    ("NUMBERS", size_of::<u64>() as u32),
];

/// The maps the agent reads and writes.
pub(super) struct Maps {
    pub(super) control: Array<MapData, abi::Control>,
    pub(super) zones: Array<MapData, abi::ZoneConf>,
    pub(super) roots: HashMap<MapData, abi::RootKey, abi::RootConf>,
    pub(super) filesystems: HashMap<MapData, abi::FsKey, abi::FsConf>,
    pub(super) patterns: HashMap<MapData, abi::PatternKey, abi::PatternConf>,
    pub(super) names: HashMap<MapData, u64, abi::NameConf>,
    pub(super) accounts: HashMap<MapData, abi::AccountKey, abi::Account>,
    pub(super) overflow: HashMap<MapData, u64, abi::Account>,
    pub(super) tenants: HashMap<MapData, abi::TenantKey, abi::TenantSpend>,
    pub(super) counters: PerCpuArray<MapData, abi::Cost>,
    pub(super) zone_counters: PerCpuArray<MapData, abi::ZoneCounters>,
    pub(super) learned: Array<MapData, abi::Learned>,
    pub(super) held: HashMap<MapData, abi::TaskKey, abi::Held>,
    pub(super) holds: HashMap<MapData, abi::HoldKey, abi::Hold>,
    pub(super) releases: HashMap<MapData, abi::HoldKey, abi::Release>,
    pub(super) allowances: HashMap<MapData, u64, abi::AllowanceConf>,
    pub(super) binds: HashMap<MapData, abi::BindKey, u64>,
    pub(super) grants: HashMap<MapData, abi::GrantKey, abi::GrantAccount>,
    pub(super) subtrees: HashMap<MapData, abi::SubtreeKey, abi::Subtree>,
    pub(super) grant_tenants: HashMap<MapData, abi::GrantTenantKey, abi::GrantTenant>,
    pub(super) marks: MapData,
    pub(super) numbers: Array<MapData, u64>,
}

impl Maps {
    /// Opens the pins in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, KernelError> {
        macro_rules! typed {
            ($name:literal) => {
                open_map(dir, $name)?
                    .try_into()
                    .map_err(|error| KernelError::refused(concat!("open the map ", $name), error))?
            };
        }
        Ok(Self {
            control: typed!("CONTROL"),
            zones: typed!("ZONES"),
            roots: typed!("ROOTS"),
            filesystems: typed!("FILESYSTEMS"),
            patterns: typed!("PATTERNS"),
            names: typed!("NAMES"),
            accounts: typed!("ACCOUNTS"),
            overflow: typed!("OVERFLOW"),
            tenants: typed!("TENANTS"),
            counters: typed!("COUNTERS"),
            zone_counters: typed!("ZONE_COUNTERS"),
            learned: typed!("LEARNED"),
            held: typed!("HELD"),
            holds: typed!("HOLDS"),
            releases: typed!("RELEASES"),
            allowances: typed!("ALLOWANCES"),
            binds: typed!("BINDS"),
            grants: typed!("GRANTS"),
            subtrees: typed!("SUBTREES"),
            grant_tenants: typed!("GRANT_TENANTS"),
            marks: pinned(dir, "MARKS")?,
            numbers: typed!("NUMBERS"),
        })
    }

    pub(super) fn control(&self) -> Result<abi::Control, KernelError> {
        self.control.get(&0, 0).map_err(|error| KernelError::refused("read the control map", error))
    }

    /// Every budget in either bank.
    pub(super) fn budgets(&self) -> Result<Vec<abi::BudgetConf>, KernelError> {
        let mut budgets = Vec::new();
        for index in 0..2 * abi::MAX_ZONES as u32 {
            budgets.extend(self.budgets_at(index)?);
        }
        Ok(budgets)
    }

    /// The budgets of a zone in force.
    pub(super) fn zone_budgets(&self, zone: u32) -> Result<Vec<abi::BudgetConf>, KernelError> {
        self.budgets_at(abi::zone_index(self.control()?.bank(), zone))
    }

    fn budgets_at(&self, index: u32) -> Result<Vec<abi::BudgetConf>, KernelError> {
        let conf = self
            .zones
            .get(&index, 0)
            .map_err(|error| KernelError::refused("read the map of zones", error))?;
        let count = (conf.budget_count as usize).min(abi::MAX_BUDGETS);
        Ok(conf.budgets[..count].to_vec())
    }

    /// One account, read under its lock; that of [`abi::OVERFLOW_ACTOR`] is everybody's.
    pub(super) fn account(&self, key: &abi::AccountKey) -> Result<Option<abi::Account>, MapError> {
        let account = match key.actor {
            abi::OVERFLOW_ACTOR => self.overflow.get(&key.budget, BPF_F_LOCK),
            _ => self.accounts.get(key, BPF_F_LOCK),
        };
        match account {
            Ok(account) => Ok(Some(account)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an account that is there, under its lock.
    pub(super) fn set_account(
        &mut self,
        key: abi::AccountKey,
        account: abi::Account,
    ) -> Result<(), MapError> {
        const FLAGS: u64 = BPF_F_LOCK | BPF_EXIST;
        match key.actor {
            abi::OVERFLOW_ACTOR => self.overflow.insert(key.budget, account, FLAGS),
            _ => self.accounts.insert(key, account, FLAGS),
        }
    }

    pub(super) fn set_control(&mut self, control: abi::Control) -> Result<(), KernelError> {
        self.control
            .set(0, control, 0)
            .map_err(|error| KernelError::refused("write the control map", error))
    }
}

/// Every entry of a map that the kernel may be changing.
pub(super) fn entries<K: aya::Pod, V: aya::Pod>(
    map: &HashMap<MapData, K, V>,
    flags: u64,
    what: &'static str,
) -> Result<Vec<(K, V)>, KernelError> {
    each(map, flags, what).collect()
}

/// The same, one entry after the other.
pub(super) fn each<K: aya::Pod, V: aya::Pod>(
    map: &HashMap<MapData, K, V>,
    flags: u64,
    what: &'static str,
) -> impl Iterator<Item = Result<(K, V), KernelError>> {
    map.keys().filter_map(move |key| match key.and_then(|key| Ok((key, map.get(&key, flags)?))) {
        Err(MapError::KeyNotFound) => None,
        row => Some(row.map_err(|error| KernelError::refused(what, error))),
    })
}

/// A ring buffer.
pub(super) fn open_ring(dir: &Path, name: &str) -> Result<RingBuf<MapData>, KernelError> {
    open_map(dir, name)?
        .try_into()
        .map_err(|error| KernelError::refused(format!("open the map {name}"), error))
}

pub(super) fn open_map(dir: &Path, name: &str) -> Result<Map, KernelError> {
    Map::from_map_data(pinned(dir, name)?)
        .map_err(|error| KernelError::refused(format!("open the map {name}"), error))
}

pub(super) fn pinned(dir: &Path, name: &str) -> Result<MapData, KernelError> {
    let path = dir.join(name);
    MapData::from_pin(&path)
        .map_err(|error| KernelError::refused(format!("open the pin {}", path.display()), error))
}

/// Checks that every map pinned in `dir` has the shape of this build (aya reuses a pin without
/// looking). Returns how many there are.
pub(super) fn check_pins(dir: &Path) -> Result<usize, KernelError> {
    let mut found = 0;
    for &(name, wanted) in PINNED {
        let path = dir.join(name);
        if !fs::exists(&path)
            .map_err(|error| KernelError::io(format!("look at {}", path.display()), error))?
        {
            continue;
        }
        found += 1;
        let info = MapInfo::from_pin(&path).map_err(|error| {
            KernelError::refused(format!("open the pin {}", path.display()), error)
        })?;
        if wanted != 0 && info.value_size() != wanted {
            return Err(KernelError::Incompatible {
                path,
                found: format!("values of {} bytes", info.value_size()),
                wanted: format!("{wanted}"),
            });
        }
    }
    Ok(found)
}
