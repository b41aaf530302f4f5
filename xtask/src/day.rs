//! The command `day`: two days on a hosting node, in a machine whose clock skips the time in which nothing happens.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::setup::kernels;
use crate::vm::{self, Boot, Task};

/// Options of `day`.
#[derive(Args, Debug)]
pub struct Options {
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

impl Options {
    /// Exits with 0 only if the proposal let both days through and stopped the script.
    pub fn run(&self) -> Result<i32> {
        let words = ["holdfast-tests", "day", "--hours"].map(str::to_owned);
        let words = words.into_iter().chain([self.hours.to_string()]).collect();
        let mut boot = Boot::new(&self.kernel, Task::Run(words))?.with_binaries()?;
        boot.counted = true;
        // The emulator goes on with that timer once the kernel has set it, needed or not: a day would take an hour.
        boot.append.push("hpet=disable".to_owned());
        boot.limit = Duration::from_secs(self.timeout);
        Ok(vm::exit_status(&boot.run(&mut vm::terminal)?))
    }
}
