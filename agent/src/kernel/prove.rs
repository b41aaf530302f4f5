//! The self-test: tries each kind of op in a directory of its own, where every op is denied, and
//! one that goes on in another.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use holdfast_abi::{self as abi, Op, Verdict};
use rustix::thread::gettid;

use super::{Coverage, Outcome, error::KernelError, ring::Ring};

/// One way to destroy something in the canary directory.
type Attempt<'a> = &'a dyn Fn() -> io::Result<()>;

const FILE: &str = "file";
const OTHER: &str = "other";
const DIR: &str = "directory";

/// Makes the canary directory and what is in it, as far as it is not there.
pub(super) fn prepare(dir: &Path) -> Result<(), KernelError> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(dir.join(DIR))?;
        let full = allowed_dir(dir).join(DIR);
        fs::create_dir_all(&full)?;
        if !full.join(FILE).exists() {
            fs::write(full.join(FILE), "")?;
        }
        for name in [FILE, OTHER] {
            let path = dir.join(name);
            if fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0) == 0 {
                fs::write(&path, "holdfast tries here whether deleting is really stopped\n")?;
            }
        }
        Ok(())
    };
    make().map_err(|error| KernelError::io(format!("prepare {}", dir.display()), error))
}

/// Tries each op. One that goes through is reported, and what it destroyed is put back. `denied`
/// says how many ops of a kind the programs have denied in the canary: only what they count as
/// theirs was stopped by them, and not by an immutable file or another guard.
pub(super) fn prove(dir: &Path, denied: &dyn Fn(Op) -> Result<u64, KernelError>) -> Coverage {
    let outside = dir.with_extension("out");
    let tries: [(Op, &str, Attempt<'_>); 6] = [
        (Op::Remove, "unlink", &|| fs::remove_file(dir.join(FILE))),
        (Op::Remove, "rmdir", &|| fs::remove_dir(dir.join(DIR))),
        (Op::Replace, "rename over a file", &|| fs::rename(dir.join(FILE), dir.join(OTHER))),
        (Op::Truncate, "truncate", &|| {
            OpenOptions::new().write(true).truncate(true).open(dir.join(FILE)).map(drop)
        }),
        (Op::MoveOut, "rename of a file out", &|| fs::rename(dir.join(FILE), &outside)),
        (Op::Detach, "rename of a directory out", &|| fs::rename(dir.join(DIR), &outside)),
    ];
    let mut coverage = Coverage::default();
    for (op, what, attempt) in tries {
        let outcome = try_one(dir, op, attempt, denied).map_err(|why| format!("{what}: {why}"));
        let _ = fs::remove_file(&outside).or_else(|_| fs::remove_dir(&outside));
        match coverage.ops.iter_mut().find(|(known, _)| *known == op) {
            Some((_, before)) if before.is_ok() => *before = outcome,
            Some(_) => {}
            None => coverage.ops.push((op, outcome)),
        }
    }
    coverage
}

/// The directory beside the canary's in which ops go on.
pub(super) fn allowed_dir(canary: &Path) -> PathBuf {
    canary.with_extension("allowed")
}

/// How often an op is tried for which the kernel had no memory: it says so, and then nothing else
/// can be told from it.
const TRIES: usize = 3;
/// What to do where the exit programs do not run.
const NO_EXIT: &str = "the programs at the exit of calls do not run: ops that fail spend budgets, \
                       and the deletion log has gaps";

/// What the kernel counts where ops of the self-test go on.
pub(super) struct AllowedCounts<'a> {
    /// Removals with an outcome, and their files.
    pub(super) removed: &'a dyn Fn(Outcome) -> Result<(u64, u64), KernelError>,
    /// Charges that the kernel could not remember, and records that found the ring full.
    pub(super) inconclusive: &'a dyn Fn() -> Result<(u64, u64), KernelError>,
}

/// Tries an op that is within budget from end to end: one that fails is given back, and one that
/// goes on is counted, and its record is in the ring when the call has ended.
pub(super) fn allowed(
    canary: &Path,
    counts: &AllowedCounts<'_>,
    ring: &Ring,
) -> Result<(), String> {
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        let before = (counts.inconclusive)().map_err(told)?;
        outcome = fails_and_is_given_back(canary, counts)
            .and_then(|()| goes_on_and_is_recorded(canary, counts, ring));
        if outcome.is_ok() {
            return Ok(());
        }
        let after = (counts.inconclusive)().map_err(told)?;
        if after.1 != before.1 {
            // The ring is full, and the kernel has counted that: nobody takes records off it.
            return Ok(());
        }
        if after.0 == before.0 {
            return outcome;
        }
    }
    outcome
}

fn fails_and_is_given_back(canary: &Path, counts: &AllowedCounts<'_>) -> Result<(), String> {
    prepare(canary).map_err(told)?;
    let net = || -> Result<i128, String> {
        let of = |outcome| (counts.removed)(outcome).map_err(told);
        let (done, back) =
            (of(Outcome::Decided(Verdict::Allow))?, of(Outcome::GivenBack(Verdict::Allow))?);
        Ok(i128::from(done.0) - i128::from(back.0))
    };
    let before = net()?;
    match fs::remove_dir(allowed_dir(canary).join(DIR)) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(error) => return Err(format!("rmdir of a full directory failed with {error}")),
        Ok(()) => return Err("rmdir of a full directory went through".to_owned()),
    }
    if net()? != before {
        return Err(format!("an rmdir that failed was not given back: {NO_EXIT}"));
    }
    Ok(())
}

fn goes_on_and_is_recorded(
    canary: &Path,
    counts: &AllowedCounts<'_>,
    ring: &Ring,
) -> Result<(), String> {
    let file = allowed_dir(canary).join(FILE);
    if let Err(error) = fs::write(&file, "holdfast removes this to see that it is recorded\n") {
        use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        return match error.kind() {
            // A full disk says nothing about the guard.
            QuotaExceeded | ReadOnlyFilesystem | StorageFull => Ok(()),
            _ => Err(format!("cannot write {}: {error}", file.display())),
        };
    }
    let done = || (counts.removed)(Outcome::Decided(Verdict::Allow)).map_err(told);
    let (before, start) = (done()?, ring.end());
    let cut = OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(1));
    cut.map_err(|error| format!("truncate within budget failed with {error}"))?;
    fs::remove_file(&file).map_err(|error| format!("unlink within budget failed with {error}"))?;
    if done()? != (before.0 + 1, before.1 + 1) {
        return Err("unlink within budget was not counted as one file".to_owned());
    }
    let thread = gettid().as_raw_nonzero().get() as u32;
    // A truncation is recorded by the programs at its exit, a removal by those of its hook.
    for op in [Op::Truncate, Op::Remove] {
        let is_ours = |record: &abi::Destroyed| {
            (record.slot, record.tid, record.op) == (abi::SELF_TEST_ZONE, thread, op as u8)
                && record.flags & abi::GONE_UNSEEN == 0
        };
        if !ring.has(start, is_ours) {
            return Err(format!("{} was not recorded: {NO_EXIT}", op.word()));
        }
    }
    Ok(())
}

fn told(error: KernelError) -> String {
    error.to_string()
}

fn try_one(
    dir: &Path,
    op: Op,
    attempt: Attempt<'_>,
    denied: &dyn Fn(Op) -> Result<u64, KernelError>,
) -> Result<(), String> {
    prepare(dir).map_err(told)?;
    let before = denied(op).map_err(told)?;
    match attempt() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(format!("failed with {error} instead of being denied")),
        Ok(()) => return Err("went through".to_owned()),
    }
    if denied(op).map_err(told)? == before {
        return Err("was denied, but not by holdfast".to_owned());
    }
    Ok(())
}
