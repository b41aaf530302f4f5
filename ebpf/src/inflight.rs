//! What the running task has charged for an op that is not over yet, so that it can be given back
//! if the op fails.
//!
//! A hook sets it, the exit of the function that called the hook consumes it. It lives in task
//! storage: no other task can touch it, and it goes when the task goes.

use aya_ebpf::{
    bindings::BPF_LOCAL_STORAGE_GET_F_CREATE,
    helpers::{
        bpf_get_current_task_btf,
        generated::{bpf_spin_lock, bpf_spin_unlock, bpf_task_storage_get},
    },
};
use holdfast_abi::{
    Account, AccountKey, Cost, Destroyed, HoldKey, MAX_RECORDS, OVERFLOW_ACTOR, Op, Receipt,
    TenantKey, Trip, counter_index, moves_slot,
};

use crate::{
    allow::return_grant,
    decide::Request,
    destroyed::{Told, tell, tell_unseen, undo_told},
    kernel::{Victim, add, has_links, inode_of, offset, opaque, probe},
    maps::{ACCOUNTS, COUNTERS, HOLDS, IN_FLIGHT, MOVES, OVERFLOW, TENANTS},
};

/// Charges one call can make: a rename can be an op in each of two zones with eight budgets.
const MAX_CHARGES: usize = 16;
/// Ops one call can be.
const MAX_OPS: usize = 4;

/// The kernel function whose exit settles an op.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    Unlink = 1,
    Rmdir = 2,
    Rename = 3,
    Setattr = 4,
    Link = 5,
}

/// One account that was charged, one release, or one grant.
#[repr(C)]
pub struct Charge {
    /// A [`Source`].
    pub source: u32,
    pub zone: u32,
    pub user: u32,
    pub pad: u32,
    /// For [`Source::Release`] its `actor` is the unit, and its `budget` the hold's number; for
    /// [`Source::Grant`] they are the grant's number and the allowance's serial, and `zone` is the
    /// op.
    pub key: AccountKey,
    pub receipt: Receipt,
    pub cost: Cost,
}

/// What a charge was taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Source {
    Account = 0,
    Release = 1,
    Grant = 2,
}

/// One op that was counted.
#[repr(C)]
pub struct Counted {
    pub cost: Cost,
    pub zone: u32,
    pub op: u8,
    /// Row of the counter map that takes it back.
    pub row: u8,
    pub pad: u16,
}

/// What the deciding budget said, for the event.
#[repr(C)]
pub struct Outcome {
    pub budget: u64,
    pub actor: u64,
    pub files_left: u64,
    pub bytes_left: u64,
    pub latched_until: u64,
    /// What has tripped the account; all 0 while nothing has.
    pub trip: Trip,
    /// When the budget's next bucket starts.
    pub retry_ns: u64,
    /// Serial of the allowance that covers the op, or 0.
    pub allowance: u64,
    pub suppressed: u32,
    pub pad: u32,
}

#[repr(C)]
pub struct InFlight {
    /// The op that is decided now, or was last.
    pub request: Request,
    /// A [`Call`], or 0.
    pub armed: u32,
    pub charges: u32,
    pub counted: u32,
    /// Whether the rename under way exchanges both names: 0, or how.
    pub exchange: u32,
    /// Directories that the call moves, and their slot of [`MOVES`].
    moves: u32,
    moves_slot: u32,
    /// A dentry the call is about: its exit is recognised by it.
    dentry: u64,
    /// Whether one of the ops is a replace, and where its charges and its count start.
    replaces: u32,
    replace_charges: u32,
    replace_counted: u32,
    /// The zone in which the task is paused, if it is.
    pub held_zone: u32,
    /// Since when it is paused; 0 if it is not. It outlives the call: the call is made again.
    pub held_ns: u64,
    pub outcome: Outcome,
    charge: [Charge; MAX_CHARGES],
    count: [Counted; MAX_OPS],
    /// For the first of the counted ops: whether it has a record that was not sent yet.
    pub pending: [u32; MAX_RECORDS],
    /// Whether the first record was sent before the call had ended.
    pub told: u32,
    pad: u32,
    pub records: [Destroyed; MAX_RECORDS],
    /// Their directories.
    pub told_dirs: [Told; MAX_RECORDS],
}

impl InFlight {
    /// The running task's, if it ever had one.
    #[inline(always)]
    pub unsafe fn current() -> Option<&'static mut Self> {
        Self::get(0).as_mut()
    }

    /// The running task's, made if need be. `None` when memory is short or storage is contended.
    #[inline(always)]
    pub unsafe fn create() -> Option<&'static mut Self> {
        Self::get(BPF_LOCAL_STORAGE_GET_F_CREATE.into()).as_mut()
    }

    #[inline(always)]
    unsafe fn get(flags: u64) -> *mut Self {
        let task = bpf_get_current_task_btf();
        bpf_task_storage_get(IN_FLIGHT.as_ptr(), task.cast(), core::ptr::null_mut(), flags).cast()
    }

    /// Settles the op before, if that is not done: nobody looks at how an unlink ends, and an exit
    /// can be missed.
    #[inline(always)]
    pub unsafe fn start_anew(&mut self) {
        if self.armed | self.moves != 0 {
            hf_settle_late(self);
        }
    }

    /// The same at the start of a rename. Returns [`Self::exchange`]: the second call of two goes
    /// on.
    #[inline(always)]
    pub unsafe fn start_rename() -> u32 {
        let Some(inflight) = Self::current() else { return 0 };
        let exchange = inflight.exchange;
        if exchange == 0 {
            inflight.start_anew();
        }
        exchange
    }

    /// Directories are moved no longer, by this task.
    #[inline(always)]
    unsafe fn end_moves(&mut self) {
        let count = self.moves;
        if count != 0
            && let Some(moves) = MOVES.get_ptr_mut(self.moves_slot)
        {
            self.moves = 0;
            add(&raw mut (*moves).epoch, 1);
            add(&raw mut (*moves).under_way, (count as u64).wrapping_neg());
        }
    }

    /// Ops from number `first` on, and the charges from number `charges` on, have failed: takes all
    /// of it back.
    #[inline(always)]
    unsafe fn undo(&mut self, first: u32, charges: u32) {
        self.return_charges(charges);
        self.uncount(first);
        undo_told(self);
        if first == 0 {
            self.pending[0] = 0;
        }
        if first <= 1 {
            self.pending[1] = 0;
        }
    }

    /// Forgets the op under way: it is settled.
    #[inline(always)]
    fn disarm(&mut self) {
        let zero = opaque(0) as u32;
        self.armed = zero;
        self.charges = zero;
        self.counted = zero;
        self.replaces = zero;
        self.told = zero;
    }

    /// Remembers a charge. There is room: a call makes at most one for each budget of two zones.
    #[inline(always)]
    pub fn remember(&mut self, budget: u64, actor: u64, receipt: &Receipt) {
        let cost = &self.request.cost;
        let index = self.charges;
        self.charges = index + 1;
        let entry = &mut self.charge[opaque(index.into()) as usize % MAX_CHARGES];
        entry.source = Source::Account as u32;
        // Field by field: a copy of the whole would be a call to memmove.
        entry.key.budget = budget;
        entry.key.actor = actor;
        entry.receipt.bucket = receipt.bucket;
        entry.receipt.epoch = receipt.epoch;
        entry.receipt.kind = receipt.kind;
        entry.cost.files = cost.files;
        entry.cost.bytes = cost.bytes;
        entry.cost.tenant = cost.tenant;
    }

    /// Remembers what was taken from a release.
    #[inline(always)]
    pub fn remember_release(&mut self, key: &HoldKey, hold: u64, files: u64) {
        let index = self.charges;
        self.charges = index + 1;
        let entry = &mut self.charge[opaque(index.into()) as usize % MAX_CHARGES];
        entry.source = Source::Release as u32;
        entry.zone = key.zone;
        entry.user = key.user;
        entry.key.budget = hold;
        entry.key.actor = key.unit;
        entry.cost.files = files;
    }

    /// Remembers what was spent of a grant.
    #[inline(always)]
    pub fn remember_grant(&mut self, serial: u64, grant: u32) {
        let cost = &self.request.cost;
        let index = self.charges;
        self.charges = index + 1;
        let entry = &mut self.charge[opaque(index.into()) as usize % MAX_CHARGES];
        entry.source = Source::Grant as u32;
        entry.zone = self.request.op as u32;
        entry.key.budget = serial;
        entry.key.actor = grant as u64;
        entry.cost.files = cost.files;
        entry.cost.bytes = cost.bytes;
        entry.cost.tenant = cost.tenant;
    }

    /// Remembers an op that goes on, for the exit of its call. Its charges are those from
    /// `first_charge` on.
    #[inline(always)]
    pub fn arm(&mut self, row: u32, first_charge: u32) {
        let request = &self.request;
        let index = self.counted;
        self.counted = index + 1;
        let entry = &mut self.count[opaque(index.into()) as usize % MAX_OPS];
        entry.cost.files = request.cost.files;
        entry.cost.bytes = request.cost.bytes;
        entry.cost.tenant = request.cost.tenant;
        entry.zone = request.zone;
        entry.op = request.op;
        entry.row = row as u8;
        self.armed = request.call as u32;
        self.dentry = request.dentry;
        if request.op == Op::Replace as u8 {
            self.replaces = 1;
            self.replace_charges = first_charge;
            self.replace_counted = index;
        }
    }

    /// Gives back every charge from number `first` on.
    #[inline(always)]
    pub unsafe fn return_charges(&mut self, first: u32) {
        for step in 0..MAX_CHARGES as u32 {
            let index = first + step;
            if index >= self.charges {
                break;
            }
            hf_return(&self.charge[opaque(index.into()) as usize % MAX_CHARGES]);
        }
        self.charges = first;
    }

    /// Counts ops from number `first` on as given back.
    #[inline(always)]
    unsafe fn uncount(&self, first: u32) {
        for step in 0..MAX_OPS as u32 {
            let index = first + step;
            if index >= self.counted {
                break;
            }
            let counted = &self.count[opaque(index.into()) as usize % MAX_OPS];
            count(counted.zone, counted.op, counted.row, &counted.cost);
        }
    }
}

/// A directory is about to be moved: until the call has ended no label counts, and none from before
/// afterwards. Without memory to remember that, none counts from now on.
#[inline(always)]
pub unsafe fn begin_move(dev: u32) {
    let slot = moves_slot(dev);
    if let Some(moves) = MOVES.get_ptr_mut(slot) {
        add(&raw mut (*moves).under_way, 1);
    }
    if let Some(inflight) = InFlight::create() {
        inflight.moves += 1;
        inflight.moves_slot = slot;
    }
}

/// The exit of a call that may have moved directories, also if another load of the programs counts
/// by now. `dev`: of one that was moved; its filesystem may have come to host a zone meanwhile.
#[inline(always)]
pub unsafe fn end_moves(dev: Option<u32>) {
    match InFlight::current() {
        Some(inflight) if inflight.moves != 0 => inflight.end_moves(),
        _ => {
            if let Some(dev) = dev {
                forget_labels(dev);
            }
        }
    }
}

/// Labels from before do not count any more.
#[inline(always)]
pub unsafe fn forget_labels(dev: u32) {
    if let Some(moves) = MOVES.get_ptr_mut(moves_slot(dev)) {
        add(&raw mut (*moves).epoch, 1);
    }
}

/// The exit of a call about `dentry`: gives back what was charged if it failed.
///
/// The dentry is compared because an exit can be missed: what another call left behind is not this
/// call's to give back. A truncation through a stacked filesystem ends with the dentry of that.
#[inline(always)]
pub unsafe fn settle(call: Call, dentry: u64, status: i32) {
    let Some(inflight) = InFlight::current() else { return };
    if inflight.armed != call as u32
        || inflight.dentry != dentry
            && !is_stacked(call, inflight.told, dentry, inflight.request.dev)
    {
        return;
    }
    if status != 0 {
        inflight.undo(0, 0);
    }
    tell(inflight);
    inflight.disarm();
}

#[inline(always)]
fn is_stacked(call: Call, told: u32, dentry: u64, dev: u32) -> bool {
    let sb: u64 = probe(inode_of(dentry), offset!(inode_sb), 0);
    call == Call::Setattr && told == 0 && probe(sb, offset!(sb_dev), dev) != dev
}

/// Settles what the running task did last, of which no exit was seen. A global function, like
/// [`crate::decide::hf_decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_settle_late(inflight: *mut InFlight) -> u32 {
    if inflight.is_null() {
        return 0;
    }
    let inflight = &mut *inflight;
    inflight.end_moves();
    if inflight.armed == Call::Unlink as u32 {
        if is_still_there(&inflight.request) {
            inflight.undo(0, 0);
        }
    } else {
        tell_unseen(inflight);
    }
    inflight.disarm();
    0
}

/// Whether the file of the last op has its name still. One that is gone has no links, and what
/// comes to its memory is another inode. Its owner can give that the same number and generation
/// (`FS_IOC_SETVERSION`), and no time of change that lies before this op.
#[inline(always)]
fn is_still_there(request: &Request) -> bool {
    let victim = Victim::at(request.inode);
    has_links(request.inode)
        && victim.ctime() == request.ctime
        && victim.ino() == request.ino
        && victim.generation() == request.generation
        && probe(probe(request.inode, offset!(inode_sb), 0), offset!(sb_dev), 0) == request.dev
}

/// The exit of a rename of the first dentry to the second.
#[inline(always)]
pub unsafe fn settle_rename(dentries: (u64, u64), status: i32) {
    let Some(inflight) = InFlight::current() else { return };
    inflight.exchange = 0;
    let (old, new) = dentries;
    if inflight.armed != Call::Rename as u32 || (inflight.dentry != old && inflight.dentry != new) {
        return;
    }
    if status != 0 {
        inflight.undo(0, 0);
    } else if inflight.replaces != 0 && has_links(inode_of(new)) {
        // The name was replaced, but the file lives on under another: nothing was destroyed.
        inflight.undo(inflight.replace_counted, inflight.replace_charges);
    }
    tell(inflight);
    inflight.disarm();
}

/// Gives one charge back to its account, release or grant. A global function: the verifier checks
/// it once, for any charge.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn hf_return(charge: *const Charge) -> u32 {
    if charge.is_null() {
        return 0;
    }
    let charge = &*charge;
    if charge.source == Source::Grant as u32 {
        let (serial, grant) = (charge.key.budget, charge.key.actor as u32);
        return_grant(serial, grant, charge.zone as u8, &charge.cost);
        return 0;
    }
    if charge.source == Source::Release as u32 {
        let key = HoldKey { unit: charge.key.actor, zone: charge.zone, user: charge.user };
        if let Some(hold) = HOLDS.get_ptr_mut(key) {
            // Of another hold, if the one it was taken from is over.
            let files = if (*hold).id == charge.key.budget { charge.cost.files } else { 0 };
            let lock = (&raw mut (*hold).lock).cast();
            bpf_spin_lock(lock);
            (*hold).used = (*hold).used.saturating_sub(files);
            bpf_spin_unlock(lock);
        }
        return 0;
    }
    let key = AccountKey { budget: charge.key.budget, actor: charge.key.actor };
    if let Some(account) = known_account(key) {
        let (receipt, cost) = (charge.receipt, charge.cost);
        let row = if receipt.has_tenant_spend() {
            let (budget, actor) = (key.budget, key.actor);
            TENANTS.get_ptr_mut(TenantKey { budget, actor, tenant: cost.tenant })
        } else {
            None
        };
        let row = row.map(|row| &mut *row);
        let lock = (&raw mut (*account).lock).cast();
        bpf_spin_lock(lock);
        (*account).window.give_back(&receipt, &cost, row);
        bpf_spin_unlock(lock);
    }
    0
}

/// The account that was charged under this key; the shared one if everybody's was.
#[inline(always)]
pub unsafe fn known_account(key: AccountKey) -> Option<*mut Account> {
    match key.actor {
        OVERFLOW_ACTOR => OVERFLOW.get_ptr_mut(key.budget),
        _ => ACCOUNTS.get_ptr_mut(key),
    }
}

/// Adds one op and its cost to a row of the counter map.
#[inline(always)]
pub unsafe fn count(zone: u32, op: u8, row: u8, cost: &Cost) {
    let Some(op) = holdfast_abi::Op::from_number(op) else { return };
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(zone, op, row as u32)) {
        add(&raw mut (*counter).files, cost.files);
        add(&raw mut (*counter).bytes, cost.bytes);
        add(&raw mut (*counter).tenant, 1);
    }
}
