//! Paused processes: what is held now, what is news about it, and what follows.
//!
//! The kernel's maps are the truth and are read again and again ([`Survey`]); [`Book`] compares
//! what was read with what was known and says what changed. It is pure. Beside it are the few
//! things that touch a process: reading what /proc says about it, signalling it, and writing two
//! lines to its terminal.
//!
//! It never decides whether an op may go on: people do, and the kernel carries it out when a thread
//! tries again.

mod book;
mod changes;
mod deliver;
mod notice;
mod patience;
mod paused;
mod process;
mod rules;
mod signal;
mod stat;
mod survey;
mod terminal;
mod waking;

pub(crate) use book::Book;
pub(crate) use changes::{Changes, Decision, Ended, EndedPause, Outcome, Tell, left};
pub(crate) use deliver::{Delivered, deliver, is_paused_now, stopped};
pub(crate) use notice::{Notice, hold_notice, throttle_notice};
pub(crate) use paused::Paused;
pub(crate) use process::{Process, ancestors};
pub(crate) use rules::ZoneRule;
pub(crate) use signal::DeadlySignal;
pub(crate) use stat::Stat;
pub(crate) use survey::{Survey, look};
pub(crate) use terminal::tell;

#[cfg(test)]
pub(crate) use {book::tests as test_holds, survey::Thread};
