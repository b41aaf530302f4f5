//! The commands `demo` and `bench`: one boot, one command, its output as it comes.

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

impl Demo {
    /// Exits with 0 only if the promise held.
    pub fn run(&self) -> Result<i32> {
        scenario(&self.kernel, "demo", false, self.timeout)
    }
}

impl Bench {
    /// Exits with the benchmark's own status.
    pub fn run(&self) -> Result<i32> {
        scenario(&self.kernel, "bench", true, self.timeout)
    }
}

fn scenario(kernel: &str, name: &str, counted: bool, seconds: u64) -> Result<i32> {
    let words = ["holdfast-tests", name].map(str::to_owned).to_vec();
    let mut boot = Boot::new(kernel, Task::Run(words))?.with_binaries()?;
    boot.counted = counted;
    boot.limit = Duration::from_secs(seconds);
    Ok(vm::exit_status(&boot.run(&mut vm::terminal)?))
}
