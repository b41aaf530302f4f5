//! What ops cost beside unlink: those that destroy, and those that never do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use rustix::time::ClockId;

use super::now;

const COUNT: u64 = 1000;
const ROUNDS: usize = 2;

/// What is there before, and the op.
type Case = (&'static str, fn(&Path) -> Result<()>, fn(&Path) -> Result<()>);

const CASES: [Case; 7] = [
    ("create", nothing, file),
    ("mkdir", nothing, |path| Ok(fs::create_dir(path)?)),
    ("chmod", file, |path| Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)),
    ("rename", file, |path| Ok(fs::rename(path, path.with_extension("new"))?)),
    ("replace", both, |path| Ok(fs::rename(path, path.with_extension("old"))?)),
    ("truncate", |path| Ok(fs::write(path, "x")?), file),
    ("rmdir", |path| Ok(fs::create_dir(path)?), |path| Ok(fs::remove_dir(path)?)),
];

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn file(path: &Path) -> Result<()> {
    Ok(fs::File::create(path).map(drop)?)
}

fn both(path: &Path) -> Result<()> {
    file(path)?;
    file(&path.with_extension("old"))
}

/// A column: where, and what each op costs there.
pub(super) type Column = (&'static str, [u64; CASES.len()]);

/// What this thread does, without what the agent does meanwhile.
const CLOCK: ClockId = ClockId::ThreadCPUTime;

/// Measures all ops in one directory.
pub(super) fn measure(place: &'static str, dir: &Path) -> Result<Column> {
    let mut best = [u64::MAX; CASES.len()];
    for (best, (name, prepare, op)) in best.iter_mut().zip(CASES) {
        for _ in 0..ROUNDS {
            let dir = dir.join(name);
            fs::create_dir_all(&dir)?;
            let paths: Vec<_> = (0..COUNT).map(|n| dir.join(format!("f{n:05}"))).collect();
            paths.iter().try_for_each(|path| prepare(path))?;
            let before = now(CLOCK);
            paths.iter().try_for_each(|path| op(path))?;
            *best = (*best).min((now(CLOCK) - before) / COUNT);
            fs::remove_dir_all(&dir)?;
        }
    }
    Ok((place, best))
}

pub(super) fn print(columns: &[Column]) {
    print!("{:<16}", "other ops, tmpfs");
    columns.iter().for_each(|(place, _)| print!("{place:>14} {:>8}", "ratio"));
    println!();
    for (index, (name, ..)) in CASES.iter().enumerate() {
        print!("{name:<16}");
        for (_, figures) in columns {
            print!(
                "{:>14} {:>8.3}",
                figures[index],
                figures[index] as f64 / columns[0].1[index] as f64
            );
        }
        println!();
    }
}
