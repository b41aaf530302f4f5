//! Scenarios on a real kernel: real tools destroy real trees, and what is left is counted.
//!
//! One static binary that runs as root inside a throw-away VM. It owns the scenarios, the demo, the
//! benchmark, the day that is learnt from and what goes on while the power fails. It never runs on
//! a machine that matters: it loads programs into the kernel, kills agents, mounts and deletes.

mod bench;
mod day;
mod demo;
mod harness;
mod package;
mod powercut;
mod runner;
mod scenarios;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Scenarios, demo and benchmark of holdfast. Runs as root inside a VM that can be thrown away.
#[derive(Debug, Parser)]
#[command(name = "holdfast-tests", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios; succeeds only if all passed and at least one ran.
    Run {
        /// How the VM was booted: the scenarios made for it are run.
        #[arg(long, value_enum, default_value_t = runner::Boot::Normal)]
        boot: runner::Boot,
        /// Run only those whose name contains this text, or one of several between commas.
        #[arg(long)]
        filter: Option<String>,
        /// Run only this part of them; can be repeated.
        #[arg(long, value_enum)]
        part: Vec<runner::Part>,
        /// Run long scenarios in full.
        #[arg(long)]
        nightly: bool,
    },
    /// Install, restart, upgrade and remove the package in /run/payload (needs a VM with systemd
    /// and apt).
    Package {
        /// Go on after a step that failed: the ones after it then stand on what it left.
        #[arg(long)]
        go_on: bool,
    },
    /// Name every scenario, with the boot it needs.
    List,
    /// Run a mass-deletion script twice, without the guard and with it, and compare.
    Demo,
    /// Count kernel instructions per unlink, guarded and not (needs a VM with one instruction per
    /// nanosecond).
    Bench,
    /// Release and allow, each acknowledged on standard output, until the power fails; so many
    /// times.
    Powercut {
        /// How often the power fails before this ends by itself.
        #[arg(long)]
        cuts: u32,
    },
    /// Live through two days on a hosting node, learn from the first and enforce the second (needs
    /// a VM that skips idle time).
    Day {
        /// How long a day is.
        #[arg(long)]
        hours: u64,
    },
    /// Small programs the scenarios start as other processes.
    #[command(hide = true, subcommand)]
    Helper(harness::helper::Helper),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run { boot, filter, part, nightly } => {
            Ok(runner::run(boot, filter.as_deref(), &part, nightly))
        }
        Command::Package { go_on } => Ok(package::run(go_on)),
        Command::List => Ok(runner::list()),
        Command::Demo => demo::run(),
        Command::Bench => bench::run().map(|()| true),
        Command::Day { hours } => day::run(hours).map(|()| true),
        Command::Powercut { cuts } => powercut::run(cuts).map(|()| true),
        Command::Helper(helper) => harness::helper::run(helper),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("holdfast-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
