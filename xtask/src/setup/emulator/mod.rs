//! The emulator: a QEMU that runs a guest with several processors faithfully.
//!
//! A kernel rewrites its own code while it runs. Before 8.1, QEMU could go on executing what it had
//! translated from the old code, and a sound guest died of `Oops: int3` (fixed by "accel/tcg:
//! Always lock pages before translation"). Where the machine's own QEMU is older, a newer one is
//! unpacked into the cache, and installed nowhere.

mod choose;
mod fetch;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::apt;
use crate::{paths, process};
use choose::{OLDEST, Origin, Version};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where packages put firmware, and where they put libraries.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// An emulator that starts here.
#[derive(Clone, Debug)]
pub struct Emulator {
    program: PathBuf,
    /// Where it and its libraries are unpacked, unless it is installed.
    tree: Option<PathBuf>,
    introduction: String,
    version: Version,
}

impl Emulator {
    /// A command that starts it.
    pub fn command(&self) -> Command {
        command(&self.program, self.tree.as_deref())
    }

    /// The line in which it says what it is.
    pub fn introduction(&self) -> &str {
        &self.introduction
    }

    fn in_path() -> Result<Self> {
        let program =
            process::find_program(PROGRAM).with_context(|| format!("no {PROGRAM} here"))?;
        Self::open(program, None)
    }

    fn unpacked(tree: &Path) -> Result<Self> {
        Self::open(tree.join("usr/bin").join(PROGRAM), Some(tree.to_path_buf()))
    }

    fn open(program: PathBuf, tree: Option<PathBuf>) -> Result<Self> {
        let text = process::output(command(&program, tree.as_deref()).arg("--version"))?;
        let introduction = text.lines().next().unwrap_or_default().to_owned();
        let version = Version::of_program(&introduction)
            .with_context(|| format!("{} does not say its version", program.display()))?;
        Ok(Self { program, tree, introduction, version })
    }
}

/// An emulator that is new enough: one that is here, or else one that is installed or fetched.
pub fn ensure() -> Result<Emulator> {
    let tree = paths::cache("qemu");
    let (here, kept) = (Emulator::in_path().ok(), Emulator::unpacked(&tree).ok());
    let version = |emulator: &Option<Emulator>| emulator.as_ref().map(|found| found.version);
    let offered = || Version::of_package(&apt::candidate(PACKAGE)?);
    match choose::origin(version(&here), version(&kept), offered) {
        Origin::Path => here.context("it was in PATH a moment ago"),
        Origin::Cache => kept.context("it was in the cache a moment ago"),
        Origin::Apt => apt::install(&[PACKAGE], "QEMU").and_then(|()| installed()),
        // What to do comes last: apt says much.
        Origin::Backports => fetch::emulator(&tree)
            .map_err(|error| anyhow!("{error:#}\n{}", complaint(here.as_ref()))),
    }
}

fn installed() -> Result<Emulator> {
    let found = Emulator::in_path()?;
    if found.version < OLDEST {
        bail!("{}", complaint(Some(&found)));
    }
    Ok(found)
}

fn complaint(old: Option<&Emulator>) -> String {
    let here = match old {
        None => format!("there is no {PROGRAM} here"),
        Some(Emulator { program, version, .. }) => {
            let program = program.display();
            format!("{program} is QEMU {version}, which may crash a guest that is sound")
        }
    };
    format!("{here}: put QEMU {OLDEST} or later first in PATH, then run this again")
}

fn command(program: &Path, tree: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    if let Some(tree) = tree {
        for dir in FIRMWARE {
            command.arg("-L").arg(tree.join(dir));
        }
        let libraries = LIBRARIES.map(|dir| tree.join(dir).display().to_string());
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_emulator_finds_its_parts() {
        let command = command(Path::new("/c/usr/bin/q"), Some(Path::new("/c")));
        assert!(process::shown(&command).starts_with("/c/usr/bin/q -L /c/usr/share/qemu -L "));
        let (_, libraries) = command.get_envs().next().unwrap();
        assert!(libraries.unwrap().to_string_lossy().starts_with("/c/usr/lib/"));
        assert_eq!(super::command(Path::new("/usr/bin/q"), None).get_envs().count(), 0);
    }

    #[test]
    fn old_emulator_is_named_with_fix() {
        let old = Emulator {
            program: "/usr/bin/q".into(),
            tree: None,
            introduction: String::new(),
            version: Version(7, 2),
        };
        let text = complaint(Some(&old));
        assert!(text.contains("/usr/bin/q is QEMU 7.2") && text.contains("QEMU 8.1"), "{text}");
        assert!(complaint(None).contains("no qemu-system-x86_64"));
    }
}
