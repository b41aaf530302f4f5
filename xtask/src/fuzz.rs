//! Builds the fuzz targets of `policy/fuzz` and lets them run. What a target makes of its input is
//! its own business.
//!
//! The targets are ordinary programs with libFuzzer inside: this sets the compiler's flags for
//! coverage, keeps what was learnt in `.cache/fuzz`, and puts inputs that went wrong where one
//! finds them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{paths, process, setup, ui};

/// Tells the fuzzer which parts of a program an input reaches, and what it is compared with.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// Longest input in bytes; the longest signature file that is read.
const MAX_INPUT: usize = 16 * 1024;
/// Most files of a corpus in the repository.
const MAX_CORPUS: usize = 40;
/// Longest file of a corpus in the repository.
const MAX_KEPT: u64 = 4096;

/// Options of `fuzz`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    cargo xtask fuzz\n  \
    cargo xtask fuzz --minutes 1 signature\n  \
    cargo xtask fuzz signature --again policy/fuzz/findings/signature-crash-…")]
pub struct Options {
    /// For how long, each target
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Add to the corpus in the repository what reaches new code
    #[arg(long)]
    keep: bool,
    /// Only run this input once more, and show what happens
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "keep")]
    again: Option<PathBuf>,
    /// What to feed; everything by default
    target: Option<Target>,
}

/// The fuzz targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Signature files
    Signature,
    /// `allowed_signers` files and lists of revoked keys
    Signers,
    /// Allowance documents
    Document,
}

/// How a run ended.
struct Outcome {
    target: Target,
    summary: String,
    findings: Vec<PathBuf>,
}

impl Options {
    /// Builds and runs the targets; 0 if none of them found anything.
    pub fn run(&self) -> Result<i32> {
        setup::for_fuzz()?;
        build()?;
        if let (Some(target), Some(file)) = (self.target, &self.again) {
            return again(target, file);
        }
        let mut outcomes = Vec::new();
        for &target in Target::value_variants() {
            if self.target.is_none_or(|only| only == target) {
                outcomes.push(target.fuzz(self.minutes)?);
                if self.keep {
                    target.keep()?;
                }
            }
        }
        for outcome in &outcomes {
            println!("{:<10} {}", outcome.target.name(), outcome.summary);
        }
        let found: Vec<&Outcome> = outcomes.iter().filter(|o| !o.findings.is_empty()).collect();
        for outcome in &found {
            outcome.tell();
        }
        Ok(i32::from(!found.is_empty()))
    }
}

fn build() -> Result<()> {
    let mut command = process::own_cargo();
    command.args(["build", "--quiet", "--release", "--target", paths::HOST_TARGET]);
    // Named by target, so that build scripts and procedural macros keep their own flags.
    let flags = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
    command
        .env(flags, COVERAGE.join(" "))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target_dir())
        .current_dir(paths::fuzz());
    process::step("building the fuzz targets", &mut command)
}

fn again(target: Target, file: &Path) -> Result<i32> {
    let status = target.command().arg(file).status().context("cannot start the fuzz target")?;
    ui::say(if status.success() { "nothing went wrong" } else { "it still goes wrong" });
    Ok(i32::from(!status.success()))
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Signers => "signers",
            Self::Document => "document",
        }
    }

    fn command(self) -> Command {
        let dir = target_dir().join(paths::HOST_TARGET).join("release");
        Command::new(dir.join(self.name()))
    }

    /// What is in the repository.
    fn corpus(self) -> PathBuf {
        paths::fuzz().join("corpus").join(self.name())
    }

    /// What earlier runs have learnt.
    fn learnt(self) -> PathBuf {
        paths::cache("fuzz").join(self.name())
    }

    fn fuzz(self, minutes: u64) -> Result<Outcome> {
        let before = self.findings()?;
        fs::create_dir_all(self.learnt())?;
        fs::create_dir_all(findings_dir())?;
        let log = paths::cache("fuzz").join(format!("{}.log", self.name()));
        let mut command = self.command();
        command
            .arg(format!("-max_total_time={}", Duration::from_secs(minutes * 60).as_secs()))
            .arg(format!("-max_len={MAX_INPUT}"))
            .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/{}-", findings_dir().display(), self.name()))
            .args([self.learnt(), self.corpus()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        let mut status = None;
        ui::step(&format!("feeding `{}` for {minutes} min", self.name()), || {
            status = Some(command.status().context("cannot start the fuzz target")?);
            Ok(())
        })?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let findings: Vec<PathBuf> =
            self.findings()?.into_iter().filter(|file| !before.contains(file)).collect();
        if !findings.is_empty() {
            ui::say(&process::tail(&said, 40));
        } else if !status.is_some_and(|status| status.success()) {
            bail!("the target `{}` could not run:\n{}", self.name(), process::tail(&said, 20));
        }
        let summary = summary(&said, findings.len());
        Ok(Outcome { target: self, summary, findings })
    }

    fn findings(self) -> Result<Vec<PathBuf>> {
        let Ok(dir) = fs::read_dir(findings_dir()) else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in dir {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.name())) {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// Adds the smallest inputs that reach what the corpus in the repository does not.
    fn keep(self) -> Result<()> {
        let more = paths::cache("fuzz").join(format!("{}.more", self.name()));
        let _ = fs::remove_dir_all(&more);
        fs::create_dir_all(&more)?;
        copy_files(&self.corpus(), &more)?;
        let mut command = self.command();
        command.args(["-set_cover_merge=1", &format!("-max_len={MAX_KEPT}")]);
        command.args([&more, &self.learnt()]).stderr(Stdio::null()).stdout(Stdio::null());
        process::run(&mut command)?;
        let old = self.corpus();
        let mut new: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&more)? {
            let entry = entry?;
            if !old.join(entry.file_name()).exists() {
                new.push((entry.metadata()?.len(), entry.path()));
            }
        }
        new.sort();
        let room = MAX_CORPUS.saturating_sub(fs::read_dir(&old)?.count());
        for (_, path) in new.iter().filter(|(size, _)| *size <= MAX_KEPT).take(room) {
            fs::copy(path, old.join(path.file_name().context("a file has a name")?))?;
        }
        ui::say(&format!("{}: kept {} of {}", self.name(), room.min(new.len()), new.len()));
        Ok(())
    }
}

impl Outcome {
    fn tell(&self) {
        let name = self.target.name();
        for file in &self.findings {
            let file = file.strip_prefix(paths::root()).unwrap_or(file).display();
            ui::say(&format!(
                "FOUND by `{name}`: {file}\n  see it again: cargo xtask fuzz {name} --again \
                 {file}\n  once it is mended, move it to policy/fuzz/corpus/{name}, where every \
                 test run tries it"
            ));
        }
    }
}

fn target_dir() -> PathBuf {
    paths::fuzz().join("target")
}

fn findings_dir() -> PathBuf {
    paths::fuzz().join("findings")
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// One line about a run, from what libFuzzer said.
fn summary(said: &str, findings: usize) -> String {
    let number = |mark: &str| {
        let (_, rest) = said.rsplit_once(mark)?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let runs = number("stat::number_of_executed_units:").map_or("?".to_owned(), |n| n.to_string());
    let places = number(" cov: ").map_or("?".to_owned(), |n| n.to_string());
    let found = match findings {
        0 => "nothing found".to_owned(),
        n => format!("FOUND {n}"),
    };
    format!("{runs} runs, {places} places reached, {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_one_line() {
        let said = "#8 NEW cov: 12 ft: 3\n#9 pulse  cov: 990 ft: 1816 corp: 4/8b\n\
                    stat::number_of_executed_units: 8388608\nstat::average_exec_per_sec:     7\n";
        assert_eq!(summary(said, 0), "8388608 runs, 990 places reached, nothing found");
        assert_eq!(summary("", 2), "? runs, ? places reached, FOUND 2");
    }

    #[test]
    fn every_target_has_a_corpus() {
        for target in Target::value_variants() {
            let files = fs::read_dir(target.corpus()).unwrap().count();
            assert!((1..=MAX_CORPUS).contains(&files), "{}: {files} files", target.name());
        }
    }
}
