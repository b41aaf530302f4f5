//! Development commands of holdfast: `cargo xtask --help`.
//!
//! It owns how things are installed, built, booted and checked. It knows nothing about what
//! holdfast does.

#![expect(unreachable_pub, reason = "`pub` says what a module offers; a program has no outside")]

mod build;
mod ci;
mod command;
mod fleet;
mod fuzz;
mod house;
mod package;
mod paths;
mod powercut;
mod process;
mod scenarios;
mod setup;
mod test;
mod ui;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Development commands of holdfast.
///
/// Each command first installs or fetches what it needs and does not find (see `setup`), so any of
/// them can be the first thing you run in a fresh clone. Everything it makes goes into `.cache`,
/// `target` and `ebpf/target`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install and fetch whatever is missing: compilers, QEMU, kernels, the guest's disk
    Setup {
        /// Look for newer kernels, too
        #[arg(long)]
        refresh: bool,
    },
    /// Build the kernel programs, and the static binaries with them inside
    Build(build::Options),
    /// Make the Debian package: binary, service, policy, man pages, completions
    Package(package::Options),
    /// Run something on a real kernel in a VM
    #[command(subcommand)]
    Vm(command::Vm),
    /// Run all tests: on the host, then on each kernel in a VM
    Test(test::Options),
    /// Watch a mass deletion succeed without holdfast, and fail with it
    Demo(scenarios::Demo),
    /// Count kernel instructions per operation, guarded and not
    Bench(scenarios::Bench),
    /// Feed made-up files to what holdfast reads: signatures, signers, allowances
    Fuzz(fuzz::Options),
    /// Cut the power of a VM again and again while it records what it lets through, and look for
    /// what is missing
    Powercut(powercut::Options),
    /// Live through a day on a hosting node, learn budgets from it, enforce them for another, and
    /// run the script of 2012
    Day(scenarios::Day),
    /// Roll holdfast out to two VMs with the Ansible role, and see that it goes on only from a host
    /// that is guarded
    Fleet(fleet::Options),
    /// Count what the house is made of: lines, functions, module cycles, names of types and tests
    House,
    /// Everything that has to pass before a change goes in: format, lints, docs, dependencies,
    /// tests
    Ci,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            ui::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<i32> {
    match task {
        Task::Setup { refresh } => setup::everything(refresh).map(|()| 0),
        Task::Build(options) => options.run(),
        Task::Package(options) => options.run(),
        Task::Vm(options) => options.run(),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => options.run(),
        Task::Bench(options) => options.run(),
        Task::Fuzz(options) => options.run(),
        Task::Powercut(options) => options.run(),
        Task::Day(options) => options.run(),
        Task::Fleet(options) => options.run(),
        Task::House => house::run(),
        Task::Ci => ci::run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_after_dashes_reach_the_guest() {
        let cli = Cli::try_parse_from(["x", "vm", "run", "--kernel", "6.1", "--", "ls", "--help"]);
        let Ok(Cli { command: Task::Vm(command::Vm::Run(run)) }) = cli else { panic!("{cli:?}") };
        assert_eq!(run.words(), ["ls", "--help"]);
    }
}
