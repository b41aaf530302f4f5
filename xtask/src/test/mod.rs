//! Runs every test there is, and says how many ran where. A test that cannot run is a failure.

mod count;
mod guest;
mod host;
mod seed;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::setup::kernels;
use crate::ui;
use count::Count;
use seed::Seed;

/// Options of `test`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Only on this kernel; can be repeated [default: 6.1 and newest; with --nightly also 6.12]
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Only tests with this in their name, or with one of several texts between commas
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only unit and property tests, without any VM
    #[arg(long, conflicts_with_all = ["kernel", "vm_only"])]
    host_only: bool,
    /// Only in VMs
    #[arg(long)]
    vm_only: bool,
    /// Everything on every kernel, also what is otherwise run on one of them only, and long
    /// scenarios in full: hours
    #[arg(long, conflicts_with_all = ["host_only"])]
    nightly: bool,
    /// Run the host tests that draw at random so many times, each time with a new seed, and nothing
    /// else
    #[arg(long, value_name = "N", conflicts_with_all = ["kernel", "vm_only", "filter"])]
    seeds: Option<u32>,
}

/// What came of the tests in one place.
#[derive(Debug)]
struct Place {
    name: String,
    count: Count,
    /// What went wrong besides tests that failed.
    problem: Option<String>,
    time: Duration,
}

/// Runs the tests; 0 if all of them passed.
pub fn run(options: &Options) -> Result<i32> {
    let start = Instant::now();
    let filter = options.filter.as_deref();
    if let Some(runs) = options.seeds {
        return host::run_with_new_seeds(runs);
    }
    let seed = Seed::of_this_run()?;
    let mut places = Vec::new();
    if !options.vm_only {
        places.push(host::run(filter, seed)?);
    }
    if !options.host_only {
        let kernels = match (options.kernel.is_empty(), options.nightly) {
            (true, false) => kernels::TESTED.map(str::to_owned).to_vec(),
            (true, true) => kernels::NIGHTLY.map(str::to_owned).to_vec(),
            (false, _) => options.kernel.clone(),
        };
        places.extend(guest::run(&kernels, filter, options.nightly, seed)?);
    }
    Ok(summary(&places, filter.is_some(), seed, start.elapsed()))
}

fn summary(places: &[Place], filtered: bool, seed: Seed, total: Duration) -> i32 {
    println!("\n{:<18} {:>7} {:>7}   time", "tests on", "passed", "failed");
    let mut failed = false;
    for Place { name, count, problem, time } in places {
        println!("{name:<18} {:>7} {:>7}   {}", count.passed, count.failed, ui::elapsed(*time));
        failed |= problem.is_some() || count.failed > 0;
    }
    for Place { name, count, problem, .. } in places {
        for test in &count.failures {
            println!("FAILED on {name}: {test}");
        }
        if let Some(problem) = problem {
            println!("FAILED on {name}: {problem}");
        }
    }
    let passed: usize = places.iter().map(|place| place.count.passed).sum();
    // A filter may leave nothing in one place, but not in all of them.
    let nothing = passed == 0 && !failed;
    if nothing {
        let why = if filtered { "no test has that in its name" } else { "no test ran" };
        println!("FAILED: {why}");
    }
    let verdict = if failed || nothing { "FAILED" } else { "ok" };
    println!("{verdict}: {passed} tests passed in {}", ui::elapsed(total));
    if failed {
        println!(
            "One test again: {} cargo xtask test --filter NAME [--kernel K | --host-only]. To look \
             around: cargo xtask vm shell --kernel K",
            seed.assignment()
        );
    }
    i32::from(failed || nothing)
}
