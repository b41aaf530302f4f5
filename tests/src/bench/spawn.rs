//! What a new thread costs: every one is looked at, because it may have to inherit an allowance's
//! mark.

use anyhow::{Result, anyhow};

use rustix::time::ClockId;

use super::now;

const THREADS: u64 = 1000;
const ROUNDS: usize = 3;

/// The best round's instructions for one thread, from its making to its end.
pub(super) fn measure() -> Result<u64> {
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        let before = now(ClockId::Monotonic);
        for _ in 0..THREADS {
            std::thread::spawn(|| {}).join().map_err(|_| anyhow!("a thread panicked"))?;
        }
        best = best.min((now(ClockId::Monotonic) - before) / THREADS);
    }
    Ok(best)
}
