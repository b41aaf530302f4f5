//! The commands `vm run`, `vm shell` and `vm list`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::setup::kernels;
use crate::vm::{self, Accel, Boot, Task};
use crate::{build, process, ui};

/// Commands of `vm`.
#[derive(Debug, Subcommand)]
pub enum Vm {
    /// Run a command in a guest and exit with its status
    ///
    /// One word is a line for the guest's shell ('rm -rf /data/x; echo $?'); several are a program
    /// and its arguments.
    ///
    /// The guest is a small Debian with a fresh ext4 disk at /data, a tmpfs at /mnt/tmpfs, and
    /// `holdfast` and `holdfast-tests` in PATH. Nothing in it outlives the run.
    ///
    /// Exit status: the command's own; 124 when the time is up; 125 when the guest died or its
    /// kernel complained (panic, BUG, lockup, RCU stall, WARNING).
    #[command(after_help = "Examples:\n  \
        cargo xtask vm run -- uname -a\n  \
        cargo xtask vm run --kernel newest -- 'holdfast doctor; echo $?'\n  \
        cargo xtask vm run --append lsm=lockdown,capability,yama -- holdfast doctor\n  \
        cargo xtask vm run --no-build --with ./my-static-program -- my-static-program")]
    Run(Run),
    /// Open a shell in a guest (leave it with `exit`; Ctrl-A X switches the guest off)
    Shell(Guest),
    /// List the kernels that are here
    List,
}

/// What the guest is like.
#[derive(Args, Debug)]
pub struct Guest {
    /// `6.1`, `newest`, or any version that Debian offers, such as `6.12`
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// More words for the kernel's command line; can be repeated
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    smp: u32,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    mem: u32,
    /// Let the guest's clock count instructions: one nanosecond is one instruction (implies one
    /// processor)
    #[arg(long)]
    icount: bool,
    /// How to run the guest; by default KVM if it has been seen to work here, else emulation
    #[arg(long, value_enum)]
    accel: Option<Accel>,
    /// Don't build; take the binaries that are there, if any
    #[arg(long)]
    no_build: bool,
    /// With systemd, apt and Prometheus, and without `holdfast` installed (its binary is in
    /// /run/payload)
    #[arg(long)]
    systemd: bool,
    /// Put one more file into /run/payload, which is in PATH; can be repeated
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
}

/// Options of `vm run`.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    guest: Guest,
    /// End the guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    words: Vec<String>,
}

impl Vm {
    /// Does what the command says.
    pub fn run(&self) -> Result<i32> {
        match self {
            Self::Run(run) => run.run(),
            Self::Shell(guest) => guest.shell(),
            Self::List => list(),
        }
    }
}

impl Run {
    /// The words of the command.
    #[cfg(test)]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    fn run(&self) -> Result<i32> {
        let mut boot = self.guest.boot(Task::Run(self.words.clone()))?;
        boot.limit = Duration::from_secs(self.timeout);
        Ok(vm::exit_status(&boot.run(&mut vm::terminal)?))
    }
}

impl Guest {
    fn boot(&self, task: Task) -> Result<Boot> {
        let mut boot = Boot::new(&self.kernel, task)?;
        if self.systemd {
            boot = boot.with_systemd()?;
        }
        for file in &self.with {
            if !file.is_file() {
                bail!("--with {}: there is no such file", file.display());
            }
        }
        boot.payload.clone_from(&self.with);
        boot.append.clone_from(&self.append);
        boot.cpus = self.smp;
        boot.memory = self.mem;
        boot.counted = self.icount;
        boot.accel = self.accel;
        if self.no_build {
            boot.payload.extend(build::built(true));
            return Ok(boot);
        }
        boot.with_binaries()
    }

    fn shell(&self) -> Result<i32> {
        let (rows, columns) = terminal_size()?;
        let mut boot = self.boot(Task::Shell { rows, columns })?;
        boot.limit = Duration::MAX;
        ui::say("  `exit` or Ctrl-D leaves; Ctrl-A X switches the guest off; Ctrl-A H helps.");
        ui::say(
            "  /data is a fresh ext4 disk, /mnt/tmpfs a tmpfs. Nothing in here outlives the shell.",
        );
        ui::say("  After resizing the window: stty rows R cols C");
        let outcome = boot.run(&mut vm::terminal);
        // The emulator may have had no chance to put the terminal back.
        let _ = Command::new("stty").arg("sane").stderr(Stdio::null()).status();
        Ok(vm::exit_status(&outcome?))
    }
}

fn terminal_size() -> Result<(u16, u16)> {
    let output = Command::new("stty").arg("size").stdin(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let size = text.split_once(' ').and_then(|(rows, columns)| {
        Some((rows.trim().parse().ok()?, columns.trim().parse().ok()?))
    });
    match size {
        Some((0, _) | (_, 0)) => Ok((24, 80)),
        Some(size) => Ok(size),
        None => bail!("a shell needs a terminal; without one, use `cargo xtask vm run`"),
    }
}

fn list() -> Result<i32> {
    let cached = kernels::cached();
    for kernel in &cached {
        println!("{:<8} {:<28} {}", kernel.name, kernel.release, kernel.package_version());
    }
    let missing = kernels::TESTED.iter().filter(|name| !cached.iter().any(|k| k.name == **name));
    for name in missing {
        println!(
            "{name:<8} not fetched yet: {}",
            process::shown(Command::new("cargo").args(["xtask", "setup"]))
        );
    }
    Ok(0)
}
