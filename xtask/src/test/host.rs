//! Unit and property tests, on the host.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::Place;
use super::count::Count;
use super::seed::Seed;
use crate::{paths, process, setup, ui};

/// Runs `cargo test` for the whole workspace.
pub fn run(filter: Option<&str>, seed: Seed) -> Result<Place> {
    setup::for_host_tests()?;
    let start = Instant::now();
    let mut command = process::own_cargo();
    command.args(["test", "--workspace", "--quiet", "--no-fail-fast", "--", "--format=pretty"]);
    command.args(filter.iter().flat_map(|texts| texts.split(','))).current_dir(paths::root());
    seed.give(&mut command);
    let mut count = Count::default();
    let mut text = String::new();
    let output = ui::step("unit and property tests", || Ok(command.output()?))?;
    text += &String::from_utf8_lossy(&output.stdout);
    text.lines().for_each(|line| count.host_line(line));
    let mut problem = None;
    if !output.status.success() {
        ui::say(&text);
        ui::say(&String::from_utf8_lossy(&output.stderr));
        problem = (count.failed == 0).then(|| format!("`cargo test` ended with {}", output.status));
    } else if count.passed == 0 && filter.is_none() {
        problem = Some("no test ran".to_owned());
    }
    Ok(Place { name: "host".to_owned(), count, problem, time: start.elapsed() })
}

/// Where host tests draw at random: packages, and parts of the tests' names (none: all of the
/// package).
const RANDOM: [(&str, &[&str]); 3] = [
    ("holdfast-abi", &[]),
    ("holdfast-policy", &[]),
    ("holdfast", &["audit::verify", "audit::trouble", "carryover::window"]),
];

/// Runs the tests that draw at random, each time with a new seed; 0 if all of them passed.
pub fn run_with_new_seeds(runs: u32) -> Result<i32> {
    setup::for_host_tests()?;
    let start = Instant::now();
    let mut failed = 0;
    for run in 1..=runs {
        if run % 10 == 0 {
            println!("run {run} of {runs}, {failed} failures");
        }
        let seed = Seed::new();
        for (package, filters) in RANDOM {
            let mut command = process::own_cargo();
            command.args(["test", "--package", package, "--quiet", "--no-fail-fast", "--"]);
            command.args(filters);
            seed.give(command.current_dir(paths::root()));
            if let Some(text) = failure(&mut command)? {
                failed += 1;
                ui::say(&text);
                let again = format!("cargo test --package {package} -- {}", filters.join(" "));
                println!("FAILED in run {run}; again: {} {again}", seed.assignments());
            }
        }
    }
    let verdict = if failed > 0 { "FAILED" } else { "ok" };
    println!("{verdict}: {runs} seeds, {failed} failures in {}", ui::elapsed(start.elapsed()));
    Ok(i32::from(failed > 0))
}

/// What a command said, if it failed.
fn failure(command: &mut Command) -> Result<Option<String>> {
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned()))
}
