//! Deletes through io_uring: the one way in that never passes the system call `unlink`.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;

/// How the completions came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) eperm: u64,
    pub(crate) other: u64,
}

const BATCH: usize = 32;
/// Names are taken from the working directory (they are absolute anyway); the kernel's AT_FDCWD.
const AT_FDCWD: i32 = -100;

/// Submits an unlink for every file below a directory, in batches that the kernel works on side by
/// side.
pub(crate) fn unlink_all(dir: &Path) -> Result<Tally> {
    let mut ring = IoUring::new(BATCH as u32).context("io_uring is not available")?;
    let mut tally = Tally::default();
    for batch in super::helper::files_below(dir)?.chunks(BATCH) {
        let names = batch
            .iter()
            .map(|path| CString::new(path.as_os_str().as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        for name in &names {
            let entry = opcode::UnlinkAt::new(types::Fd(AT_FDCWD), name.as_ptr()).build();
            push(&mut ring, &entry)?;
        }
        ring.submit_and_wait(names.len())?;
        for completion in ring.completion() {
            match completion.result() {
                0 => tally.ok += 1,
                code if code == -Errno::PERM.raw_os_error() => tally.eperm += 1,
                _ => tally.other += 1,
            }
        }
    }
    Ok(tally)
}

/// Puts an entry into the submission queue.
#[expect(
    unsafe_code,
    reason = "the crate leaves it to the caller that what an entry points at stays alive"
)]
fn push(ring: &mut IoUring, entry: &io_uring::squeue::Entry) -> Result<()> {
    // SAFETY: the only pointer is a path name; its owner outlives the wait for this batch's
    // completions.
    unsafe { ring.submission().push(entry) }.context("the submission queue is full")
}
