//! What the kernel knows of each program of a guard: its size, what the verifier followed, and its
//! runs. It works without an agent, and never changes a program.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

use super::{error::KernelError, load};

/// One program that is pinned, and with it attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// How it is attached and to what, such as `lsm inode_unlink`; `None` if this version does not
    /// know it.
    pub hook: Option<String>,
    /// The kernel's id of it, as bpftool shows it.
    pub id: u32,
    /// Its runs while the kernel counted them ([`count_runs`]), since it was loaded.
    pub runs: u64,
    /// Nanoseconds that those took.
    pub run_ns: u64,
    /// Runs that the kernel skipped since it was loaded, as it was running on that CPU already.
    pub skipped_runs: u64,
    /// Bytes of its machine code, its functions among them.
    pub jited_bytes: u32,
    /// Instructions that the verifier followed when it was loaded.
    pub verified_instructions: u32,
}

/// Every program that is pinned in `pin_dir`, by whatever version; in the order of their names.
pub(super) fn programs(pin_dir: &Path) -> Result<Vec<Program>, KernelError> {
    let pinned = load::pinned_programs(pin_dir)?;
    let (mut programs, mut refused) = (Vec::new(), None);
    for info in loaded_programs() {
        match info {
            Ok(info) => {
                if let Some(name) = pinned.get(&info.id()) {
                    programs.push(Program {
                        name: name.clone(),
                        hook: load::hook(name),
                        id: info.id(),
                        runs: info.run_count(),
                        run_ns: info.run_time().as_nanos() as u64,
                        skipped_runs: skipped_runs(&info)?.unwrap_or(0),
                        jited_bytes: info.size_jitted(),
                        verified_instructions: info.verified_instruction_count().unwrap_or(0),
                    });
                }
            }
            // One that is unloaded meanwhile is of no interest; without CAP_SYS_ADMIN all are.
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if programs.is_empty() && !pinned.is_empty() => {
            return Err(KernelError::refused("list its programs", error));
        }
        _ => {}
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// Has the kernel count the runs of every BPF program until what is returned is dropped, or this
/// process ends.
pub(super) fn count_runs() -> Result<OwnedFd, KernelError> {
    enable_stats(Stats::RunTime)
        .map_err(|error| KernelError::refused("count the runs of its programs", error))
}

/// How many runs of a program the kernel has skipped; `None` before Linux 5.12.
pub(super) fn skipped_runs(info: &ProgramInfo) -> Result<Option<u64>, KernelError> {
    // Not in what aya gives of `bpf_prog_info`.
    let fd = info.fd().map_err(|error| KernelError::refused("look at a program", error))?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path)
        .map_err(|error| KernelError::io(format!("read {path}"), error))?;
    let runs = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    Ok(runs.and_then(|runs| runs.trim().parse().ok()))
}
