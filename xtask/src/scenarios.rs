//! The commands `demo`, `bench` and `day`: one boot, one command, its output as it comes.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::setup::kernels;
use crate::vm::{self, Boot, Task};

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
    /// The kernel to count on
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// End the guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
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
        run(boot(&self.kernel, &["demo"])?, self.timeout)
    }
}

impl Bench {
    /// Exits with the benchmark's own status.
    pub fn run(&self) -> Result<i32> {
        run(counted(boot(&self.kernel, &["bench"])?), self.timeout)
    }
}

impl Day {
    /// Exits with 0 only if the proposal let both days through and stopped the script.
    pub fn run(&self) -> Result<i32> {
        let mut boot = counted(boot(&self.kernel, &["day", "--hours", &self.hours.to_string()])?);
        // The emulator goes on with that timer once the kernel has set it, needed or not: a day would take an hour.
        boot.append.push("hpet=disable".to_owned());
        run(boot, self.timeout)
    }
}

fn boot(kernel: &str, words: &[&str]) -> Result<Boot> {
    let words = ["holdfast-tests"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    Boot::new(kernel, Task::Run(words))?.with_binaries()
}

/// Its clock counts instructions, and skips the time in which nothing happens.
fn counted(boot: Boot) -> Boot {
    Boot { counted: true, ..boot }
}

fn run(mut boot: Boot, seconds: u64) -> Result<i32> {
    boot.limit = Duration::from_secs(seconds);
    Ok(vm::exit_status(&boot.run(&mut vm::terminal)?))
}
