//! The emergency override as the agent keeps it: codes, challenges, the one break-glass that can be
//! open, and what became of those before it.
//!
//! [`Book`] is pure: it knows everything and says what follows; time comes in. Beside it are the
//! format of a code, how long a wrong one is made to wait, and the one loud thing: telling
//! everybody.
//!
//! It never decides about an op: the kernel spends a break-glass whether or not the agent is there,
//! and ends it in time.

mod backoff;
mod book;
mod code;
mod entry;
mod shout;

pub(crate) use book::{Book, CHALLENGE_LASTS, Challenge, Found, MOST_CODES, Survey};
pub(crate) use code::{Code, CodeRow, random};
pub(crate) use entry::{Entry, Proof};
pub(crate) use shout::shout;

#[cfg(test)]
pub(crate) use {book::tests as test_book, code::tests as test_codes};
