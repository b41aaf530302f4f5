//! The proof that the guard works: tries each kind of op in a directory of its own, where every op is denied.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
};

use holdfast_abi::Op;

use super::{Coverage, error::KernelError};

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

/// Tries each op. One that goes through is reported, and what it destroyed is put back.
pub(super) fn prove(dir: &Path) -> Coverage {
    let outside = dir.with_extension("out");
    let tries: [(Op, &dyn Fn() -> io::Result<()>); 5] = [
        (Op::Remove, &|| {
            let removed = fs::remove_file(dir.join(FILE));
            let rmdir = fs::remove_dir(dir.join(DIR));
            removed.and(rmdir)
        }),
        (Op::Replace, &|| fs::rename(dir.join(FILE), dir.join(OTHER))),
        (Op::Truncate, &|| {
            OpenOptions::new().write(true).truncate(true).open(dir.join(FILE)).map(drop)
        }),
        (Op::MoveOut, &|| fs::rename(dir.join(FILE), &outside)),
        (Op::Detach, &|| fs::rename(dir.join(DIR), &outside)),
    ];
    let mut coverage = Coverage::default();
    for (op, attempt) in tries {
        if let Err(error) = prepare(dir) {
            coverage.ops.push((op, Err(error.to_string())));
            continue;
        }
        let outcome = match attempt() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(format!("failed with {error} instead of being denied")),
            Ok(()) => Err("went through".to_owned()),
        };
        let _ = fs::remove_file(&outside).or_else(|_| fs::remove_dir(&outside));
        coverage.ops.push((op, outcome));
    }
    coverage
}
