//! `holdfast`: the agent that keeps the guard, and the command line that asks it.
//!
//! The kernel programs decide; this program tells them what to guard, and people what happened.

mod allowances;
mod api;
mod audit;
mod break_glass;
mod carryover;
mod cli;
mod clock;
mod control;
mod daemon;
mod files;
mod holds;
mod incident;
mod journal;
pub mod kernel;
mod manifest;
mod metrics;
mod notify;
mod past;
mod report;
mod roots;
mod text;
mod units;
mod webhook;

fn main() -> std::process::ExitCode {
    cli::main()
}
