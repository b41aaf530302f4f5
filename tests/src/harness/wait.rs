//! Waiting for a condition instead of a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long something that takes seconds on real hardware may take in an emulated machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Calls `probe` until it gives a value; after `limit` says what did not happen.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain for this: {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
