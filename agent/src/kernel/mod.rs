//! The kernel side as the agent sees it: loading, pins, maps, the proof that it works.
//!
//! This is the only place of the agent with unsafe code. It never decides anything about policy: it
//! is told what to guard ([`Desired`]) and reports what the kernel counted.

mod allowances;
mod apply;
mod btf;
mod claim;
mod collect;
mod destroyed;
mod enforced;
mod error;
mod events;
mod holds;
mod learn;
mod load;
mod maps;
mod offsets;
mod probe;
mod programs;
mod prove;
mod ring;
mod task_storage;

use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use holdfast_abi as abi;
use rustix::thread::{MembarrierCommand, membarrier};

pub use allowances::{AllowanceRow, DesiredAllowance, DesiredGrant};
pub use claim::Claim;
pub use destroyed::{DestroyedStream, Gone, Lost};
pub use enforced::Enforced;
pub use error::KernelError;
pub use events::EventStream;
pub use holds::{Heart, HoldRow};
use load::Pins;
use maps::Maps;
pub use programs::Program;

/// How to start the guard.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory on bpffs for pins; a subdirectory named for the ABI version is made in it.
    pub pin_dir: PathBuf,
    /// A directory of the agent's own, on a filesystem that can be guarded, where every op is
    /// denied.
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

/// The tenants that each account has touched: inode number of the directory, and its row.
pub type Tenants = HashMap<abi::AccountKey, Vec<(u64, abi::TenantSpend)>>;

/// What one actor has spent of one budget, and the tenants it has touched.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    /// The account.
    pub window: abi::Window,
    /// As in [`Tenants`].
    pub tenants: Vec<(u64, abi::TenantSpend)>,
}

/// Budgets in force, and accounts.
pub type Spent = (Vec<abi::BudgetConf>, (Vec<(abi::AccountKey, abi::Account)>, Tenants));

/// What to guard, compiled from a policy, with its paths resolved to open directories.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The zones.
    pub zones: Vec<DesiredZone>,
    /// Where their patterns go on.
    pub bases: Vec<DesiredBase>,
}

/// A directory below which names are compared with patterns.
#[derive(Clone, Debug)]
pub struct DesiredBase {
    /// Its path.
    pub path: PathBuf,
    /// Whether that is done for ops on its own filesystem; else only for what is mounted below.
    pub is_guarded: bool,
    /// At most [`abi::MAX_BASE_PATTERNS`].
    pub patterns: Vec<DesiredPattern>,
}

/// One pattern that goes on there.
#[derive(Clone, Debug)]
pub struct DesiredPattern {
    /// Which of the zones a directory that matches belongs to.
    pub zone: usize,
    /// What the inode numbers of tenants are combined with.
    pub tenant: u64,
    /// Levels below it at which tenants live.
    pub depth: u32,
    /// At most [`abi::MAX_PATTERN_NAMES`], each with its key.
    pub names: Vec<(u64, abi::NameConf)>,
}

/// One zone to guard.
#[derive(Clone, Debug)]
pub struct DesiredZone {
    /// Its name (at most 63 bytes).
    pub name: String,
    /// Whether an op over budget is stopped.
    pub mode: abi::Mode,
    /// How, if it is.
    pub on_trip: abi::OnTrip,
    /// Levels below a root at which tenants live.
    pub tenant_depth: u32,
    /// Whether what is destroyed is told, op by op.
    pub manifest: bool,
    /// At most [`abi::MAX_BUDGETS`].
    pub budgets: Vec<abi::BudgetConf>,
    /// Directories that exist now.
    pub roots: Vec<DesiredRoot>,
    /// Roots that are in force for a zone of this name and not among `roots` stay in force: their
    /// path was renamed or mounted over, and a zone is its inodes, not their path. False only where
    /// the policy no longer names them.
    pub keep_roots: bool,
}

/// One directory to guard.
#[derive(Clone, Debug)]
pub struct DesiredRoot {
    /// Its path.
    pub path: PathBuf,
    /// Levels from the protected path down to it, by their names.
    pub level: u32,
    /// As in [`abi::RootConf::tenant`].
    pub tenant: u64,
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
    /// Roots that stay in force although no path of the policy leads to them now.
    pub kept_roots: Vec<abi::Learned>,
}

/// What became of ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They were decided like this, and those that went on may have failed for another reason.
    Decided(abi::Verdict),
    /// They went on with this verdict and failed: nothing was destroyed.
    GivenBack(abi::Verdict),
}

/// Ops of one kind with one outcome in one zone, since the maps were made.
#[derive(Clone, Copy, Debug)]
pub struct CounterRow {
    /// Zone slot.
    pub zone: u32,
    /// The op.
    pub op: abi::Op,
    /// What became of them.
    pub outcome: Outcome,
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
    /// What else users rely on: `allowed` (an op that goes on), `programs`, [`CONFIGURATION`].
    pub checks: Vec<Check>,
}

/// The name of the check that the maps say what the agent wrote.
pub const CONFIGURATION: &str = "configuration";

impl Coverage {
    /// Whether every op that was tried was stopped, and nothing else was found wrong.
    pub fn is_complete(&self) -> bool {
        let stopped = !self.ops.is_empty() && self.ops.iter().all(|(_, outcome)| outcome.is_ok());
        stopped && self.checks.iter().all(|check| check.ok)
    }

    /// Whether the maps do not say what the agent wrote: it can write that again.
    pub fn is_edited(&self) -> bool {
        self.checks.iter().any(|check| check.name == CONFIGURATION && !check.ok)
    }
}

/// One thing `doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
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
pub fn probe(pin_dir: &Path) -> Vec<Check> {
    probe::probe(pin_dir)
}

/// What came of taking the guard off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpinned {
    /// How many pins were removed.
    pub pins: usize,
    /// Whether the kernel has let go of the programs.
    pub off: bool,
}

/// Removes every pin, and with them the guard; waits for at most `patience` until it is off.
pub fn unpin(pin_dir: &Path, patience: Duration) -> Result<Unpinned, KernelError> {
    load::unpin(pin_dir, patience)
}

/// Fails if the kernel runs a guard that is not pinned in `pin_dir`.
pub fn refuse_another(pin_dir: &Path) -> Result<(), KernelError> {
    claim::refuse_another(pin_dir)
}

/// Every zone that is enforced according to what is pinned, without an agent; none if nothing is.
pub fn enforced(pin_dir: &Path) -> Result<Vec<Enforced>, KernelError> {
    enforced::enforced(&Pins::new(pin_dir))
}

/// Every thread that is paused according to what is pinned, without an agent; none if nothing is.
pub fn paused(pin_dir: &Path) -> Result<Vec<(abi::TaskKey, abi::Held)>, KernelError> {
    let pins = Pins::new(pin_dir);
    if maps::check_pins(&pins.maps)? < maps::PINNED.len() {
        return Ok(Vec::new());
    }
    holds::held(&Maps::open(&pins.maps)?)
}

/// The budgets in force, every account and its tenants according to what is pinned, without an
/// agent; nothing if nothing is.
pub fn spent(pin_dir: &Path) -> Result<Spent, KernelError> {
    let pins = Pins::new(pin_dir);
    if maps::check_pins(&pins.maps)? < maps::PINNED.len() {
        return Ok(Spent::default());
    }
    let maps = Maps::open(&pins.maps)?;
    Ok((
        maps.budgets()?,
        (collect::accounts(&maps).collect::<Result<_, _>>()?, collect::tenants(&maps)?),
    ))
}

/// Every program of the guard that is pinned; none if none is.
pub fn programs(pin_dir: &Path) -> Result<Vec<Program>, KernelError> {
    programs::programs(pin_dir)
}

/// Has the kernel count the runs of every BPF program on this host until what is returned is
/// dropped, or this process ends.
pub fn count_runs() -> Result<OwnedFd, KernelError> {
    programs::count_runs()
}

/// The attached kernel programs and their maps.
pub struct Guard {
    maps: Maps,
    events: Option<RingBuf<MapData>>,
    destroyed: Option<DestroyedStream>,
    heart: Option<Heart>,
    canary_dir: PathBuf,
    pins: Pins,
    attached: Vec<load::Attached>,
    ring: ring::Ring,
    zones: Vec<ActiveZone>,
    /// The bases in force, with what the kernel calls them.
    bases: Vec<(PathBuf, abi::Learned)>,
    /// What the programs go by; `None` until a policy is in force.
    written: Option<apply::Written>,
    /// When the directories that are put in force next were looked for, in boot-time nanoseconds.
    surveyed_ns: u64,
    /// Until a policy is in force: beside the pins those of another version may still be.
    took_over: bool,
    _claim: Claim,
}

/// Waits until no op sees what was in force before: the programs run as RCU readers, and the kernel
/// waits for all of them.
fn grace() {
    // Longer than any op takes to be decided, where no CPU is taken away: a kernel with `nohz_full`
    // does not offer it.
    const LONG: Duration = Duration::from_millis(500);
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(LONG);
    }
}

/// What to do where programs do not run.
const ATTACH_ANEW: &str =
    "restart the agent (`systemctl restart holdfast`): it attaches a whole set anew";
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;
/// Reads a value under its spin lock.
const BPF_F_LOCK: u64 = 4;

impl Guard {
    /// Loads and attaches the programs, or adopts those that are pinned.
    pub fn start(options: &Options, claim: Claim) -> Result<(Self, Started), KernelError> {
        probe::require_lsm()?;
        let pins = Pins::new(&options.pin_dir);
        prove::prepare(&options.canary_dir)?;
        let (mut maps, started) = load::start(&pins, options.trace_ops)?;
        let cleared = allowances::clear_leftovers(&mut maps)?;
        if cleared > 0 {
            tracing::info!(entries = cleared, "cleared what an earlier agent left of allowances");
        }
        let events = Some(maps::open_ring(&pins.maps, "EVENTS")?);
        let destroyed = Some(DestroyedStream::open(&pins.maps)?);
        let mut heart = Heart::open(&pins.maps)?;
        heart.beat()?;
        let heart = Some(heart);
        let canary_dir = options.canary_dir.clone();
        let attached = load::attached(&pins, maps.control()?.instance)?;
        let ring = ring::Ring::new(&maps::pinned(&pins.maps, destroyed::RING)?)?;
        let guard = Self {
            maps,
            events,
            destroyed,
            heart,
            canary_dir,
            pins,
            attached,
            ring,
            zones: Vec::new(),
            bases: Vec::new(),
            written: None,
            surveyed_ns: 0,
            took_over: true,
            _claim: claim,
        };
        Ok((guard, started))
    }

    /// Puts `desired` in force in one step, or changes nothing.
    pub fn apply(&mut self, desired: &Desired) -> Result<(), KernelError> {
        // No op may still be reading the bank that is about to be written.
        grace();
        let before = (&self.zones[..], self.written.as_ref());
        let since = self.surveyed_ns;
        let (zones, bases, written) =
            apply::apply(&mut self.maps, &self.canary_dir, desired, before, since)?;
        self.zones = zones;
        self.bases = bases;
        self.written = Some(written);
        if std::mem::take(&mut self.took_over) {
            load::drop_other_versions(&self.pins)?;
        }
        Ok(())
    }

    /// A survey begins: what the programs entered before now is in force from the next
    /// [`Guard::apply`] on only if it is among what that is told.
    pub fn survey_begins(&mut self) {
        self.surveyed_ns = boot_time_ns();
    }

    /// Whether the programs entered roots before the last survey began, so that it is time to
    /// confirm or remove them.
    pub fn has_provisional(&self) -> Result<bool, KernelError> {
        apply::has_provisional(&self.maps, self.surveyed_ns)
    }

    /// The zones in force.
    pub fn zones(&self) -> &[ActiveZone] {
        &self.zones
    }

    /// The directories that the programs know by more than their names: roots, and bases.
    pub fn places(&self) -> Vec<(PathBuf, abi::Learned)> {
        self.zones.iter().flat_map(|zone| &zone.roots).chain(&self.bases).cloned().collect()
    }

    /// Ops by zone, op and outcome, summed over CPUs; rows without ops are left out.
    pub fn counters(&self) -> Result<Vec<CounterRow>, KernelError> {
        let mut rows = Vec::new();
        for zone in &self.zones {
            for &op in abi::Op::ALL {
                for row in 0..abi::COUNTER_ROWS as u32 {
                    let sum = self.counter(zone.slot, op, row)?;
                    if sum.tenant == 0 {
                        continue;
                    }
                    let (ops, files, bytes) = (sum.tenant, sum.files, sum.bytes);
                    let outcome = match row {
                        abi::ROW_GIVEN_BACK => Outcome::GivenBack(abi::Verdict::Allow),
                        abi::ROW_OBSERVED_GIVEN_BACK => Outcome::GivenBack(abi::Verdict::Observe),
                        _ => match abi::Verdict::from_number(row as u8) {
                            Some(verdict) => Outcome::Decided(verdict),
                            None => continue,
                        },
                    };
                    rows.push(CounterRow { zone: zone.slot, op, outcome, ops, files, bytes });
                }
            }
        }
        Ok(rows)
    }

    fn counter(&self, zone: u32, op: abi::Op, row: u32) -> Result<abi::Cost, KernelError> {
        let per_cpu = self
            .maps
            .counters
            .get(&abi::counter_index(zone, op, row), 0)
            .map_err(|error| KernelError::refused("read the counters", error))?;
        Ok(per_cpu.iter().fold(abi::Cost::default(), |sum, cpu| abi::Cost {
            files: sum.files.wrapping_add(cpu.files),
            bytes: sum.bytes.wrapping_add(cpu.bytes),
            tenant: sum.tenant.wrapping_add(cpu.tenant),
        }))
    }

    /// What each zone in force counts besides ops, by slot.
    pub fn zone_counters(&self) -> Result<Vec<(u32, abi::ZoneCounters)>, KernelError> {
        self.zones.iter().map(|zone| Ok((zone.slot, self.zone_counter(zone.slot)?))).collect()
    }

    fn zone_counter(&self, slot: u32) -> Result<abi::ZoneCounters, KernelError> {
        let per_cpu = self.maps.zone_counters.get(&slot, 0);
        let per_cpu =
            per_cpu.map_err(|error| KernelError::refused("read the zone counters", error))?;
        Ok(per_cpu.iter().fold(abi::ZoneCounters::default(), |sum, cpu| abi::ZoneCounters {
            trips: sum.trips + cpu.trips,
            events_lost: sum.events_lost + cpu.events_lost,
            events_suppressed: sum.events_suppressed + cpu.events_suppressed,
            strict: sum.strict + cpu.strict,
            overflow: sum.overflow + cpu.overflow,
            untracked: sum.untracked + cpu.untracked,
            manifest_lost: sum.manifest_lost + cpu.manifest_lost,
            manifest_lost_ns: sum.manifest_lost_ns.max(cpu.manifest_lost_ns),
        }))
    }

    /// Every account, the overflow accounts among them. Each is read under its lock.
    pub fn accounts(
        &self,
    ) -> impl Iterator<Item = Result<(abi::AccountKey, abi::Account), KernelError>> {
        collect::accounts(&self.maps)
    }

    /// The tenants that accounts have touched.
    pub fn tenants(&self) -> Result<Tenants, KernelError> {
        collect::tenants(&self.maps)
    }

    /// The budgets of every zone in force; those of the policy before can be among them.
    pub fn budgets(&self) -> Result<Vec<abi::BudgetConf>, KernelError> {
        self.maps.budgets()
    }

    /// Puts what `merge` makes of what an actor has spent in its place; an actor without an account
    /// gets one. Returns whether there is an account for it now: an overflow account is made when
    /// its budget is put in force. `known`: what [`Self::tenants`] has said, asked for when it is
    /// needed first.
    ///
    /// An op that is charged between the reading and the writing of an account that is there is
    /// charged to nothing.
    pub fn carry_over(
        &mut self,
        key: abi::AccountKey,
        known: &mut Option<Tenants>,
        merge: &dyn Fn(&Spending) -> Spending,
    ) -> Result<bool, KernelError> {
        collect::carry_over(&mut self.maps, key, known, merge)
    }

    /// Forgets accounts that have long drained, once there are many: a host makes a new cgroup for
    /// every session and timer. Returns how many. To be called every minute or so.
    pub fn collect_accounts(&mut self) -> Result<usize, KernelError> {
        collect::collect(&mut self.maps)
    }

    /// What the kernel calls the inode behind an open (not `O_PATH`) file or directory.
    pub fn learn(&mut self, file: BorrowedFd<'_>) -> Result<abi::Learned, KernelError> {
        learn::learn(&mut self.maps, &file, "an open file")
    }

    /// The self-test: tries each kind of op in the canary directory, one that goes on in another,
    /// and looks whether programs and maps are as the agent left them.
    pub fn prove(&self) -> Coverage {
        let row = abi::Verdict::Deny as u32;
        let denied = |op| self.counter(abi::CANARY_ZONE, op, row).map(|sum| sum.tenant);
        let mut coverage = prove::prove(&self.canary_dir, &denied);
        let attached = load::check_attached(&self.attached, &self.pins);
        coverage.checks.push(check("programs", attached, ATTACH_ANEW));
        if let Some(written) = &self.written {
            coverage.checks.push(check(
                CONFIGURATION,
                written.check(&self.maps),
                "the agent puts the policy in force anew; find out who edits the kernel's maps",
            ));
            coverage.checks.push(check("allowed", self.prove_allowed(), ATTACH_ANEW));
        }
        coverage
    }

    fn prove_allowed(&self) -> Result<(), String> {
        let removed = |outcome| {
            let row = match outcome {
                Outcome::Decided(verdict) => verdict as u32,
                Outcome::GivenBack(_) => abi::ROW_GIVEN_BACK,
            };
            let sum = self.counter(abi::SELF_TEST_ZONE, abi::Op::Remove, row)?;
            Ok((sum.tenant, sum.files))
        };
        let inconclusive = || {
            let sum = self.zone_counter(abi::SELF_TEST_ZONE)?;
            Ok((sum.untracked, sum.manifest_lost))
        };
        let counts = prove::AllowedCounts { removed: &removed, inconclusive: &inconclusive };
        prove::allowed(&self.canary_dir, &counts, &self.ring)
    }

    /// How many runs of each program the kernel has skipped.
    pub fn skipped_runs(&self) -> Result<Vec<(&'static str, u64)>, KernelError> {
        load::skipped_runs(&self.attached)
    }
    /// Every paused thread, also those that an earlier agent left behind. A thread that was killed
    /// stays until [`Guard::forget_held`]; one that goes on, or is denied, is removed by the
    /// kernel.
    pub fn held(&self) -> Result<Vec<(abi::TaskKey, abi::Held)>, KernelError> {
        holds::held(&self.maps)
    }

    /// Every hold: also those whose threads are all gone, until [`Guard::forget_hold`].
    pub fn holds(&self) -> Result<Vec<HoldRow>, KernelError> {
        holds::holds(&self.maps)
    }

    /// Releases `files` more files to a hold, beyond every budget, to be spent until `until_ns`.
    /// Its threads have to be continued to notice.
    pub fn release_files(
        &mut self,
        key: &abi::HoldKey,
        files: u64,
        until_ns: u64,
    ) -> Result<(), KernelError> {
        holds::release(&mut self.maps, key, files, until_ns)
    }

    /// Starts every budget anew that latches a hold's actor. Returns how many. Its threads have to
    /// be continued to notice.
    pub fn reset_budgets(&mut self, key: &abi::HoldKey) -> Result<usize, KernelError> {
        holds::reset(&mut self.maps, key)
    }

    /// Resets one account, if there is such an account. Paused threads it concerns have to be told
    /// ([`Self::retry_held`]).
    pub fn reset_account(&mut self, key: abi::AccountKey) -> Result<(), KernelError> {
        holds::reset_actor(&mut self.maps, key)
    }

    /// Lets the threads of a hold be decided anew by the policy in force, once they are continued.
    pub fn retry_held(&mut self, key: &abi::HoldKey) -> Result<(), KernelError> {
        holds::retry(&mut self.maps, key)
    }

    /// Until `until_ns` ops of a hold are denied. Its threads have to be continued to notice.
    pub fn deny_held(&mut self, key: &abi::HoldKey, until_ns: u64) -> Result<(), KernelError> {
        holds::deny(&mut self.maps, key, until_ns)
    }

    /// Forgets a hold that is over: one without threads, without a release that is still good, and
    /// not denied.
    pub fn forget_hold(&mut self, key: &abi::HoldKey) -> Result<(), KernelError> {
        holds::forget_hold(&mut self.maps, key)
    }

    /// Forgets a paused thread that is gone.
    pub fn forget_held(&mut self, key: &abi::TaskKey) -> Result<(), KernelError> {
        holds::forget_held(&mut self.maps, key)
    }

    /// Opens an allowance in one step, or changes nothing. From then on the kernel spends it.
    pub fn open_allowance(&mut self, desired: &DesiredAllowance) -> Result<(), KernelError> {
        allowances::open(&mut self.maps, desired)
    }

    /// Marks a process as started under an allowance. It must have one thread; its children inherit
    /// the mark.
    pub fn mark(&mut self, serial: u64, process: BorrowedFd<'_>) -> Result<(), KernelError> {
        allowances::mark(&mut self.maps, serial, process)
    }

    /// Every allowance the kernel has, also those that are over: also those that an earlier agent
    /// opened.
    pub fn allowances(&self) -> Result<Vec<AllowanceRow>, KernelError> {
        allowances::rows(&self.maps)
    }

    /// Closes an allowance, and returns what was spent; `None` if the kernel has none with this
    /// serial.
    pub fn close_allowance(&mut self, serial: u64) -> Result<Option<AllowanceRow>, KernelError> {
        allowances::close(&mut self.maps, serial)
    }

    /// How many new processes could not be given the mark of who made them: they fell back to the
    /// budgets.
    pub fn marks_lost(&self) -> Result<u64, KernelError> {
        let lost = self.maps.numbers.get(&abi::NUMBER_MARKS_LOST, 0);
        lost.map_err(|error| KernelError::refused("read the count of lost marks", error))
    }

    /// Takes the event stream; it can be taken once.
    pub fn take_events(&mut self) -> Option<EventStream> {
        self.events.take().map(EventStream::new)
    }

    /// Takes what beats; it can be taken once.
    pub fn take_heart(&mut self) -> Option<Heart> {
        self.heart.take()
    }

    /// Takes the stream of what was destroyed; it can be taken once.
    pub fn take_destroyed(&mut self) -> Option<DestroyedStream> {
        self.destroyed.take()
    }
}

fn check(name: &'static str, outcome: Result<(), String>, fix: &str) -> Check {
    let ok = outcome.is_ok();
    let found = outcome.err().unwrap_or_else(|| "as it should be".to_owned());
    Check { name, ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

/// Boot-time nanoseconds now, the clock of every time in events and accounts.
pub fn boot_time_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
