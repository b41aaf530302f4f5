//! Signed allowances as the agent keeps them: which were ever used here, which are open, what is
//! left of them, and what time it really is.
//!
//! [`Book`] is pure: it knows everything and says what follows. [`Store`] keeps it on disk. Beside
//! them are the few looks at the host that an allowance needs: who may sign, where its patterns
//! lead, whether a command is the one that was signed, and which process is which.
//!
//! It never judges a document or a signature (the policy crate does), never talks to the kernel
//! programs, and never decides about an op: the kernel spends an open allowance whether or not the
//! agent is there.

mod book;
mod clock;
mod command;
mod entry;
mod process;
mod store;
mod subtrees;
mod trust;

pub(crate) use book::{Book, Survey};
pub(crate) use command::{Wanted, check_files, check_run};
pub(crate) use entry::{Bound, Entry, EntryState, Granted, Revoked, Tree, Why};
pub(crate) use process::{ProcessId, is_gone, look, may_join};
pub(crate) use store::{Change, Loaded, Store};
pub(crate) use subtrees::{At, Looking, Lost, expand, open};
pub(crate) use trust::{Trust, host_names, read_trust};

#[cfg(test)]
pub(crate) use {clock::Floor, entry::tests as test_entries};
