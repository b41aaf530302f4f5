//! The kernel side as the agent sees it: loading, pins, maps, the proof that it works.
//!
//! This is the only place of the agent with unsafe code. It never decides anything about policy: it is told
//! what to guard ([`Desired`]) and reports what the kernel counted.

mod error;

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use holdfast_abi as abi;

pub use error::KernelError;

/// How to start the guard.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory on bpffs for pins; a subdirectory named for the ABI version is made in it.
    pub pin_dir: PathBuf,
    /// A directory of the agent's own, on a filesystem that can be guarded, where every op is denied.
    pub canary_dir: PathBuf,
    /// Send an event for every op, also those within budget.
    pub trace_ops: bool,
}

/// How the guard came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// Nothing was pinned: programs and maps are new.
    Fresh,
    /// Programs of this same build were pinned and stay attached; budgets go on.
    Adopted,
    /// Programs of another build were replaced without a gap; budgets go on.
    Upgraded,
}

/// What to guard, compiled from a policy, with its paths resolved to open directories.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The zones.
    pub zones: Vec<DesiredZone>,
}

/// One zone to guard.
#[derive(Clone, Debug)]
pub struct DesiredZone {
    /// Its name (at most 63 bytes).
    pub name: String,
    /// What happens to an op over budget.
    pub mode: abi::Mode,
    /// Levels below a root at which tenants live.
    pub tenant_depth: u32,
    /// At most [`abi::MAX_BUDGETS`].
    pub budgets: Vec<abi::BudgetConf>,
    /// Directories that exist now.
    pub roots: Vec<PathBuf>,
}

/// A zone as it is in force.
#[derive(Clone, Debug)]
pub struct ActiveZone {
    /// Slot in the kernel; events and counters refer to it.
    pub slot: u32,
    /// Its name.
    pub name: String,
    /// Its roots, with what the kernel calls them.
    pub roots: Vec<(PathBuf, abi::Learned)>,
}

/// Ops of one kind with one outcome in one zone, since the maps were made.
#[derive(Clone, Copy, Debug)]
pub struct CounterRow {
    /// Zone slot.
    pub zone: u32,
    /// The op.
    pub op: abi::Op,
    /// `None`: allowed and charged, but the op failed and was given back (subtract it from `Allow`).
    pub verdict: Option<abi::Verdict>,
    /// How many ops.
    pub ops: u64,
    /// Their files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whether each kind of op was really stopped in the canary directory just now.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// One entry for each op that can be tried: `Ok` if it was denied, else what happened instead.
    pub ops: Vec<(abi::Op, Result<(), String>)>,
}

impl Coverage {
    /// Whether every op that was tried was stopped.
    pub fn is_complete(&self) -> bool {
        !self.ops.is_empty() && self.ops.iter().all(|(_, outcome)| outcome.is_ok())
    }
}

/// One thing `doctor` looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// Short name, such as `bpf-lsm`.
    pub name: &'static str,
    /// Whether it is as needed.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do if it is not ok.
    pub fix: Option<String>,
}

/// Looks at everything the guard needs from this kernel, without loading or changing anything.
pub fn probe() -> Vec<Check> {
    Vec::new()
}

/// Removes every pin, and with them the guard. Returns how many pins were removed.
pub fn unpin(_pin_dir: &Path) -> Result<usize, KernelError> {
    Err(KernelError::NotBuilt)
}

/// The attached kernel programs and their maps.
#[derive(Debug)]
pub struct Guard {}

impl Guard {
    /// Loads and attaches the programs, or adopts those that are pinned.
    pub fn start(_options: &Options) -> Result<(Self, Started), KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// Puts `desired` in force in one step, or changes nothing.
    pub fn apply(&mut self, _desired: &Desired) -> Result<(), KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// The zones in force.
    pub fn zones(&self) -> &[ActiveZone] {
        &[]
    }

    /// Ops by zone, op and outcome, summed over CPUs; rows without ops are left out.
    pub fn counters(&self) -> Result<Vec<CounterRow>, KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// What each zone in force counts besides ops, by slot.
    pub fn zone_counters(&self) -> Result<Vec<(u32, abi::ZoneCounters)>, KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// Every account. Each is read under its lock.
    pub fn accounts(&self) -> Result<Vec<(abi::AccountKey, abi::Account)>, KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// What the kernel calls the inode behind an open (not `O_PATH`) file or directory.
    pub fn learn(&self, _file: BorrowedFd<'_>) -> Result<abi::Learned, KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// Tries each kind of op in the canary directory.
    pub fn prove(&self) -> Coverage {
        Coverage::default()
    }

    /// Takes the event stream; it can be taken once.
    pub fn take_events(&mut self) -> Option<EventStream> {
        None
    }
}

/// Events from the kernel. Wait for the descriptor to become readable, then call [`EventStream::next`] until it
/// returns `None`.
#[derive(Debug)]
pub struct EventStream {}

impl EventStream {
    /// The next event, if there is one now.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means 'not now'")]
    pub fn next(&mut self) -> Option<abi::Event> {
        None
    }
}

impl AsRawFd for EventStream {
    fn as_raw_fd(&self) -> RawFd {
        -1
    }
}

/// Boot-time nanoseconds now, the clock of every time in events and accounts.
pub fn boot_time_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
