//! Asks the kernel what it calls an inode. stat(2) would not do: on some file systems its device
//! number is not the superblock's, and it has no generation.

use std::os::fd::AsFd;

use holdfast_abi as abi;
use rustix::{
    fs::{FlockOperation, flock, fstat},
    thread::gettid,
};

use super::error::KernelError;
use super::maps::Maps;
use super::{Check, probe};

/// What the kernel calls the inode behind `file`, which must not be open with `O_PATH`. The program
/// on `file_lock` answers when this thread asks for a lock, whether or not it gets it.
pub(super) fn learn(
    maps: &mut Maps,
    file: &impl AsFd,
    name: &str,
) -> Result<abi::Learned, KernelError> {
    let read = |maps: &Maps| {
        maps.learned.get(&0, 0).map_err(|error| KernelError::refused("read the answer map", error))
    };
    let before = read(maps)?;
    let control = maps.control()?;
    maps.set_control(abi::Control { learner: gettid().as_raw_nonzero().get() as u32, ..control })?;
    let locked = flock(file, FlockOperation::NonBlockingLockShared);
    maps.set_control(abi::Control { learner: 0, ..control })?;
    if locked.is_ok() {
        // Nobody waits for it, and it would go with the descriptor anyway.
        let _ = flock(file, FlockOperation::Unlock);
    }
    let after = read(maps)?;
    // A thread of another PID namespace could have the same number.
    let expected =
        fstat(file).map_err(|error| KernelError::io(format!("look at {name}"), error))?;
    if after.serial != before.serial + 1 || after.ino != expected.st_ino {
        let why = match probe::ftrace() {
            Check { fix: Some(fix), found, .. } => format!("{found}: {fix}"),
            Check { fix: None, .. } => "is the agent in the host's PID namespace?".to_owned(),
        };
        return Err(KernelError::NotLearned { what: name.to_owned(), why });
    }
    Ok(after)
}
