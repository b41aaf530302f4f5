//! What actors have spent, kept over a reboot: `budgets.json` in the state directory. Without it a
//! window of seven days would begin anew at each boot.
//!
//! The document holds the kernel's windows as they are. A window carries on where it stopped: its
//! account time goes on from what it was when it was written, by the boot time since then. Time in
//! which the host was off, and time between the last write and the end of the boot, do not count:
//! what was spent stays counted longer by that much, never shorter.
//!
//! A unit is kept by its path, as a reboot gives cgroup ids anew: until a unit of that path is
//! there its window waits. A unit that has ended is not kept, nor is a login session: what has its
//! name later is another one, which has a budget of its own without a reboot, too.

mod keeper;
mod window;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_abi::{Account, AccountKey, BudgetConf, OVERFLOW_ACTOR, Per, UNKNOWN_PLACE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::files::write_whole;
use crate::kernel::{Spending, Tenants};
use crate::text;

pub(crate) use keeper::Keeper;
pub(crate) use window::{Stored, merged};
use window::{StoredRow, is_drained, moment, row_of, store};

/// Its name in the state directory.
const FILE: &str = "budgets.json";
/// Nothing that is kept here is larger: the kernel has room for so many accounts.
const MAX_FILE: u64 = 256 << 20;
const VERSION: u32 = 2;
/// Length of a SHA-256 in hexadecimal.
const SUM: usize = 64;

/// Whose window it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spender {
    /// The unit with this path.
    Unit(String),
    /// The user with this number.
    User(u32),
    /// Everyone together.
    Zone,
    /// The actors for whom there was no room.
    Overflow,
}

/// One window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// The budget.
    pub(crate) budget: u64,
    /// Whose it is.
    pub(crate) spender: Spender,
    /// Length of the budget's window, nanoseconds.
    pub(crate) window_ns: u64,
    /// Whether the kernel does not have it: it waits for its unit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) waits: bool,
    /// What was spent, in the boot time of whoever holds it.
    #[serde(flatten)]
    pub(crate) window: Stored,
    /// The tenants that count, or have lost something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<StoredRow>,
}

impl Carried {
    /// Whether nothing of it counts any more.
    pub(crate) fn is_drained(&self, now_ns: u64) -> bool {
        is_drained(&self.spending(), self.window_ns, now_ns)
    }

    /// What was spent.
    pub(crate) fn spending(&self) -> Spending {
        let tenants = self.tenants.iter().map(row_of).collect();
        Spending { window: self.window.window(), tenants }
    }
}

/// Everything that is kept, as it is on the disk behind a line with the SHA-256 of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    version: u32,
    /// The boot it was written in.
    pub(crate) boot_id: String,
    /// Boot time then.
    pub(crate) boot_ns: u64,
    /// Every window that is not empty.
    pub(crate) windows: Vec<Carried>,
}

/// Budgets whose accounts are kept. One that is in no zone any more may come back with the next
/// policy.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By id: whose accounts they are, and the length of the window in nanoseconds.
    budgets: HashMap<u64, (Per, u64)>,
}

impl Known {
    /// Takes note of budgets in force.
    pub(crate) fn in_force(&mut self, budgets: &[BudgetConf]) {
        self.budgets.extend(budgets.iter().map(|budget| {
            let per = Per::from_number(budget.per).unwrap_or(Per::Zone);
            (budget.id, (per, budget.limit.window_ns))
        }));
    }

    /// Takes note of budgets that were in force in an earlier boot.
    pub(crate) fn carried(&mut self, windows: &[Carried]) {
        self.budgets.extend(windows.iter().filter_map(|carried| {
            let per = match carried.spender {
                Spender::Unit(_) => Per::Unit,
                Spender::User(_) => Per::User,
                Spender::Zone => Per::Zone,
                Spender::Overflow => return None,
            };
            Some((carried.budget, (per, carried.window_ns)))
        }));
    }
}

impl Document {
    /// What the kernel's accounts have of budgets that are known. `name` gives the path of a unit
    /// that is there.
    pub(crate) fn of<E>(
        boot_id: &str,
        known: &Known,
        accounts: impl Iterator<Item = Result<(AccountKey, Account), E>>,
        mut tenants: Tenants,
        name: &mut dyn FnMut(u64) -> Option<String>,
        boot_ns: u64,
    ) -> Result<Self, E> {
        let mut carried = |(key, Account { window, .. }): (AccountKey, Account)| {
            let &(per, window_ns) = known.budgets.get(&key.budget)?;
            let mut tenants = tenants.remove(&key).unwrap_or_default();
            tenants.sort_by_key(|(tenant, _)| *tenant);
            let spending = Spending { window, tenants };
            if is_drained(&spending, window_ns, boot_ns) {
                return None;
            }
            let spender = match per {
                _ if key.actor == OVERFLOW_ACTOR => Spender::Overflow,
                // What was spent nobody knows where starts anew.
                _ if key.actor & UNKNOWN_PLACE != 0 => return None,
                Per::Unit => Spender::Unit(name(key.actor).filter(|path| !is_session(path))?),
                Per::User => Spender::User(u32::try_from(key.actor).ok()?),
                Per::Zone => Spender::Zone,
            };
            let now = moment(&window, window_ns, boot_ns);
            let rows = spending.tenants.iter().filter(|(_, row)| row.matters(now));
            let tenants = rows.map(|(tenant, row)| store(*tenant, row, now)).collect();
            let window = Stored::of(&window);
            let budget = key.budget;
            Some((key, Carried { budget, spender, window_ns, waits: false, window, tenants }))
        };
        let rows = accounts.filter_map(|row| row.map(&mut carried).transpose());
        let mut rows = rows.collect::<Result<Vec<_>, E>>()?;
        rows.sort_by_key(|(key, _)| (key.budget, key.actor));
        let windows = rows.into_iter().map(|(_, carried)| carried).collect();
        Ok(Self { version: VERSION, boot_id: boot_id.to_owned(), boot_ns, windows })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'\n'; SUM + 1];
        // Plain structures, and memory to write to: this cannot fail.
        let _ = serde_json::to_writer(&mut bytes, self);
        let sum = text::hex(&Sha256::digest(&bytes[SUM + 1..]));
        bytes[..SUM].copy_from_slice(sum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let at = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
        let (sum, body) = (&bytes[..at], &bytes[at + 1..]);
        if sum != text::hex(&Sha256::digest(body)).as_bytes() {
            return Err("its SHA-256 is another than its first line says".to_owned());
        }
        let document: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if document.version != VERSION {
            return Err(format!("its version is {}, not {VERSION}", document.version));
        }
        Ok(document)
    }

    /// Writes it to the disk. All of it is there afterwards, or what was there before.
    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<()> {
        write_whole(state_dir, FILE, &self.encode(), 0o600)
    }

    /// Reads what was written; `None`: there is no such file. One that cannot be read is kept under
    /// another name, as the next write would take its place.
    pub(crate) fn read(state_dir: &Path) -> Result<Option<Self>, String> {
        let path = state_dir.join(FILE);
        let read = || match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(metadata) if !metadata.is_file() => Err("it is not a regular file".to_owned()),
            Ok(metadata) if metadata.len() > MAX_FILE => Err("it is too large".to_owned()),
            Ok(_) => {
                let bytes = fs::read(&path).map_err(|error| error.to_string())?;
                Self::decode(&bytes).map(Some)
            }
        };
        read().map_err(|why| {
            let kept = damaged(&path);
            let kept = match fs::rename(&path, &kept) {
                Ok(()) => format!("it is kept as {}", kept.display()),
                Err(error) => format!("it cannot be moved away: {error}"),
            };
            format!("{} cannot be read: {why}; {kept}", path.display())
        })
    }

    /// The windows as the boot with this id has them; nothing in them is younger than it was, or
    /// older than it is.
    pub(crate) fn carry(self, boot_id: &str) -> Vec<Carried> {
        let passed = if self.boot_id == boot_id { 0 } else { self.boot_ns };
        let mut windows = self.windows;
        windows.iter_mut().for_each(|carried| carried.window.carry(passed));
        windows
    }
}

/// Whether a unit is a login session: systemd numbers them anew in each boot.
fn is_session(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.starts_with("session-") && last.ends_with(".scope")
}

fn damaged(path: &Path) -> PathBuf {
    path.with_extension("json.damaged")
}

#[cfg(test)]
mod tests {
    use holdfast_abi::{Cost, Limit, Moment, TenantSpend, Window};

    use super::*;

    pub(super) fn document() -> Document {
        let mut window = Window::new();
        let window_ns = 600_000_000_000;
        let limit = Limit {
            window_ns,
            bucket_ns: Limit::bucket_for(window_ns),
            latch_ns: window_ns,
            files: 10,
            bytes: u64::MAX,
            after_files: 1,
            after_bytes: u64::MAX,
            tenants: 3,
            pad: 0,
        };
        let mut rows = Vec::new();
        for tenant in [7, 8] {
            let cost = Cost { files: 4, bytes: 1 << 40, tenant };
            let mut row = TenantSpend::new();
            let now = 90_000_000_000 * tenant;
            window.charge(&limit, now, 2, &cost, Some(&mut row)).unwrap();
            rows.push((tenant, row));
        }
        let cost = Cost { files: 4, bytes: 0, tenant: 9 };
        window.charge(&limit, 730_000_000_000, 2, &cost, None).unwrap_err();
        let now = 740_000_000_000;
        // Trips are counted in each boot.
        let stored = Stored::of(&window);
        assert_eq!(stored.window().spent(&limit, now), window.spent(&limit, now));
        let now = moment(&window, window_ns, now);
        let mut lost = TenantSpend::new();
        for number in now.part() - 7..=now.part() {
            let cost = Cost { files: number, bytes: u64::MAX / 9, tenant: 0 };
            lost.add(Moment::of_part(now.epoch, number), &cost);
        }
        rows.push((u64::MAX - 3, lost));
        let tenants: Vec<_> = rows.iter().map(|(tenant, row)| store(*tenant, row, now)).collect();
        let budget = u64::MAX - 1;
        let row = |spender, waits| Carried {
            budget,
            spender,
            window_ns,
            waits,
            window: stored.clone(),
            tenants: tenants.clone(),
        };
        let windows = vec![
            row(Spender::Unit("/a\u{1b} b".to_owned()), true),
            row(Spender::User(1000), false),
            row(Spender::Zone, false),
            row(Spender::Overflow, false),
        ];
        let boot_id = "first".to_owned();
        Document { version: VERSION, boot_id, boot_ns: 740_000_000_000, windows }
    }

    /// What is written is what is read, every number of it.
    #[test]
    fn document_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Document::read(dir.path()), Ok(None));
        document().write(dir.path()).unwrap();
        assert_eq!(Document::read(dir.path()), Ok(Some(document())));
        assert_eq!(document().carry("first"), document().windows, "in the same boot");
    }

    /// A file with a changed byte, or a part of one, is refused and kept under another name.
    #[test]
    fn damaged_file_is_kept_aside() {
        let bytes = document().encode();
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Document::decode(&changed).is_err(), "byte {at}");
            assert!(Document::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), &bytes[..99]).unwrap();
        let error = Document::read(dir.path()).unwrap_err();
        assert!(error.contains("budgets.json.damaged"), "{error}");
        assert_eq!(fs::read(dir.path().join("budgets.json.damaged")).unwrap(), &bytes[..99]);
        assert_eq!(Document::read(dir.path()), Ok(None), "it is said once");
    }
}
