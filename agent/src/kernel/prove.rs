//! The proof that the guard works: tries each kind of op in a directory of its own, where every op is denied.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
};

use holdfast_abi::Op;

use super::{Coverage, error::KernelError};

/// One way to destroy something in the canary directory.
type Attempt<'a> = &'a dyn Fn() -> io::Result<()>;

const FILE: &str = "file";
const OTHER: &str = "other";
const DIR: &str = "directory";

/// Makes the canary directory and what is in it, as far as it is not there.
pub(super) fn prepare(dir: &Path) -> Result<(), KernelError> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(dir.join(DIR))?;
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

/// Tries each op. One that goes through is reported, and what it destroyed is put back. `denied` says how many ops of a
/// kind the programs have denied in the canary: only what they count as theirs was stopped by them, and not by an
/// immutable file or another guard.
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

fn try_one(
    dir: &Path,
    op: Op,
    attempt: Attempt<'_>,
    denied: &dyn Fn(Op) -> Result<u64, KernelError>,
) -> Result<(), String> {
    let told = |error: KernelError| error.to_string();
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
