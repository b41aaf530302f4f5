//! The commands `demo`, `bench` and `day`: one boot, one command, its output as it comes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::setup::{self, kernels};
use crate::vm::{self, Boot, Stream, Task};
use crate::{paths, ui};

/// Options of `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// The kernel to show it on
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// End the guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    timeout: u64,
}

/// Options of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// Count on this kernel alone, and leave docs/benchmarks.md as it is
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// End a guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

/// Options of `day`.
#[derive(Args, Debug)]
pub struct Day {
    /// How long a day is
    #[arg(long, value_name = "N", default_value_t = 24)]
    hours: u64,
    /// The kernel of the machine
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// End the guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5400)]
    timeout: u64,
}

impl Demo {
    /// Exits with 0 only if the promise held.
    pub fn run(&self) -> Result<i32> {
        run(boot(&self.kernel, &["demo"])?, self.timeout, &mut vm::terminal)
    }
}

impl Bench {
    /// Exits with the benchmark's own status. With all kernels it writes docs/benchmarks.md.
    pub fn run(&self) -> Result<i32> {
        let kernels = match &self.kernel {
            Some(kernel) => vec![kernel.as_str()],
            None => kernels::TESTED.to_vec(),
        };
        let mut found = Vec::new();
        for kernel in kernels {
            let boot = counted(boot(kernel, &["bench"])?);
            let boot = Boot { guest: setup::for_bench()?, ..boot };
            let status = run(boot, self.timeout, &mut |stream, bytes| {
                if stream == Stream::Out {
                    found.extend_from_slice(bytes);
                }
                vm::terminal(stream, bytes);
            })?;
            if status != 0 {
                return Ok(status);
            }
            found.push(b'\n');
        }
        if self.kernel.is_none() {
            let path = paths::root().join("docs/benchmarks.md");
            let text = [ABOUT_BENCHMARKS.as_bytes(), found.trim_ascii_end(), b"\n"].concat();
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            ui::say("docs/benchmarks.md is written");
        }
        Ok(0)
    }
}

impl Day {
    /// Exits with 0 only if the proposal let both days through and stopped the script.
    pub fn run(&self) -> Result<i32> {
        let mut boot = counted(boot(&self.kernel, &["day", "--hours", &self.hours.to_string()])?);
        // The emulator goes on with that timer once the kernel has set it, needed or not: a day
        // would take an hour.
        boot.append.push("hpet=disable".to_owned());
        run(boot, self.timeout, &mut vm::terminal)
    }
}

const ABOUT_BENCHMARKS: &str = "\
# What the guard costs

Written by `cargo xtask bench`. The unit is the instruction: a VM with one processor whose clock
advances one nanosecond an instruction (QEMU, `-icount`), Debian's kernels. *thread* is the thread
that makes the calls; *machine* is everything meanwhile, the agent and the disk among it. The
number after a figure is its ratio to the figure without the guard for the same files.

A figure is the best of three rounds of 1,000 calls. Rounds are repeated until the last three agree
within 1 % on the thread's clock, at most ten times; below each kernel is which figures did not.
Everything is written to the disk before a round, so that no commit of the journal falls into one
round and not into another.

The policy is the shipped one with higher limits: three budgets are charged for each op in a zone,
and the deletion log is kept. tmpfs is the cheapest filesystem there is, so its ratios are the worst
case. The kernel's maps hold 16,384 accounts and 62 zones, so there are no rows with more. Where a
row says *in turn*, each removal is in another tenant's directory. The start is by the machine's
clock. The memory of the kernel's maps is the kernel's own figure: before Linux 6.4 the most that
they can take, since then what they take.

Other tools are Debian 12's packages as they are shipped. Each runs alone, after the guard was
unloaded, and watches the directory of the row without the guard. They do not do the same: AppArmor
decides by path, and the others tell of a deletion afterwards.
*Deletions seen* is what the tool's own output has of those that were made; bpftrace counts those of
every process. The time of real processors is not measured here.

";

fn boot(kernel: &str, words: &[&str]) -> Result<Boot> {
    let words = ["holdfast-tests"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    Boot::new(kernel, Task::Run(words))?.with_binaries()
}

/// Its clock counts instructions, and skips the time in which nothing happens.
fn counted(boot: Boot) -> Boot {
    Boot { counted: true, ..boot }
}

fn run(mut boot: Boot, seconds: u64, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<i32> {
    boot.limit = Duration::from_secs(seconds);
    Ok(vm::exit_status(&boot.run(on_output)?))
}
