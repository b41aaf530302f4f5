//! Everything that has to pass before a change goes in.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{build, paths, process, setup, test, ui};

type Check = (&'static str, fn() -> Result<()>);

/// Runs all checks, also after one has failed; 0 if all of them passed.
pub fn run() -> Result<i32> {
    let start = Instant::now();
    let checks: [Check; 5] = [
        ("format", format),
        ("lints", lints),
        ("docs", docs),
        ("dependencies", dependencies),
        ("tests", tests),
    ];
    let mut results: Vec<(&str, bool, Duration)> = Vec::new();
    setup::for_ci()?;
    for (name, check) in checks {
        ui::say(&format!("── {name} ──"));
        let begin = Instant::now();
        let result = check();
        if let Err(error) = &result {
            ui::say(&format!("error: {error:#}"));
        }
        results.push((name, result.is_ok(), begin.elapsed()));
    }
    println!();
    for (name, passed, time) in &results {
        let verdict = if *passed { "ok" } else { "FAILED" };
        println!("{name:<14} {verdict:<7} {}", ui::elapsed(*time));
    }
    let failed = results.iter().any(|(_, passed, _)| !passed);
    println!("ci: {} in {}", if failed { "FAILED" } else { "ok" }, ui::elapsed(start.elapsed()));
    Ok(i32::from(failed))
}

fn format() -> Result<()> {
    for dir in [paths::root(), paths::ebpf(), paths::fuzz()] {
        let mut command = process::own_cargo();
        command.args(["fmt", "--all", "--check"]).current_dir(dir);
        process::run(&mut command)?;
    }
    Ok(())
}

fn lints() -> Result<()> {
    let mut command = process::own_cargo();
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--features",
        "holdfast/pages",
    ]);
    command.args(["--", "-D", "warnings"]);
    process::run(command.current_dir(paths::root()))?;
    setup::for_fuzz()?;
    let mut command = process::own_cargo();
    command.args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
    process::run(command.current_dir(paths::fuzz()))?;
    let (toolchain, _) = setup::for_build()?;
    process::run(build::ebpf_cargo(&toolchain, "clippy").args(["--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    let mut command = process::own_cargo();
    command.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings").current_dir(paths::root()))
}

/// Known vulnerabilities are left to a scheduled job: their database is not part of a package
/// registry.
fn dependencies() -> Result<()> {
    let deny = setup::for_ci()?;
    ui::say(
        "bans, licenses and sources; `cargo deny check advisories` needs its database, so not here",
    );
    for dir in [paths::root(), paths::ebpf(), paths::fuzz()] {
        let mut command = process::cargo(&deny);
        command.arg("--manifest-path").arg(dir.join("Cargo.toml"));
        command.arg("--config").arg(paths::root().join("deny.toml"));
        command.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
        process::run(&mut command)?;
    }
    Ok(())
}

fn tests() -> Result<()> {
    match test::run(&test::Options::default())? {
        0 => Ok(()),
        _ => bail!("tests failed"),
    }
}
