//! Scenarios on real kernels, in VMs.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Place;
use super::count::Count;
use crate::vm::{Boot, End, Outcome, Stream, Task};
use crate::{build, setup};

/// A way to boot that some tests need.
struct Way {
    name: &'static str,
    append: &'static [&'static str],
    limit: Duration,
}

const WAYS: [Way; 3] = [
    Way { name: "normal", append: &[], limit: Duration::from_secs(3600) },
    // The list of active security modules without `bpf`.
    Way {
        name: "no-bpf",
        append: &["lsm=lockdown,capability,yama"],
        limit: Duration::from_secs(300),
    },
    // The guest asks to be booted again, with the same data disk.
    Way { name: "reboot", append: &[], limit: Duration::from_secs(900) },
];

/// Runs the scenarios on these kernels, in each way to boot them. The kernels run at the same time: a scenario rarely keeps
/// more than one CPU busy, and often waits.
pub fn run(kernels: &[String], filter: Option<&str>) -> Result<Vec<Place>> {
    // Once, and before the clocks start.
    let binaries = &build::everything(true)?;
    thread::scope(|scope| {
        let one =
            |kernel| move || WAYS.iter().map(|way| boot(kernel, way, filter, binaries)).collect();
        let threads: Vec<_> = kernels.iter().map(|kernel| scope.spawn(one(kernel))).collect();
        let mut places = Vec::new();
        for thread in threads {
            let outcome: Result<Vec<Place>> =
                thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            places.extend(outcome?);
        }
        Ok(places)
    })
}

fn boot(kernel: &str, way: &Way, filter: Option<&str>, binaries: &[PathBuf]) -> Result<Place> {
    let start = Instant::now();
    let mut words = ["holdfast-tests", "run", "--boot", way.name].map(str::to_owned).to_vec();
    if let Some(filter) = filter {
        words.extend(["--filter".to_owned(), filter.to_owned()]);
    }
    let mut boot = Boot::new(kernel, Task::Run(words))?;
    boot.payload.extend_from_slice(binaries);
    boot.programs = Some(setup::monitoring_disk()?);
    boot.append = way.append.iter().map(|word| (*word).to_owned()).collect();
    boot.limit = way.limit;
    let mut count = Count::default();
    let (mut out, mut err) = (Lines::default(), Lines::default());
    let outcome = boot.run(&mut |stream, bytes| match stream {
        Stream::Out => out.add(bytes, |line| {
            count.guest_line(line);
            show(kernel, line);
        }),
        Stream::Err => err.add(bytes, |line| show(kernel, line)),
    })?;
    let nothing = count.passed + count.failed == 0 && filter.is_none();
    let problem = problem(&outcome, &count).or_else(|| nothing.then(|| "no test ran".to_owned()));
    let name = match way.name == WAYS[0].name {
        true => kernel.to_owned(),
        false => format!("{kernel}, {}", way.name),
    };
    Ok(Place { name, count, problem, time: start.elapsed() })
}

/// Prints a line of a guest, whole: others print too.
fn show(kernel: &str, line: &str) {
    // Whoever reads this may have gone away; the tests go on.
    let _ = writeln!(stdout(), "{kernel:>6} | {line}");
}

fn problem(outcome: &Outcome, count: &Count) -> Option<String> {
    if let Some(line) = outcome.trouble.first() {
        return Some(format!("the kernel said: {line}"));
    }
    match outcome.end {
        End::TimedOut => Some("the time was up".to_owned()),
        End::Died => Some("the guest died".to_owned()),
        End::Exit(0) => count.doubt(),
        End::Exit(_) if count.failed > 0 => count.doubt(),
        End::Exit(status) => {
            Some(format!("the runner exited with {status}, though no test had failed"))
        }
    }
}

/// Puts lines together from pieces.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        self.partial.extend_from_slice(bytes);
        while let Some(at) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=at).collect();
            each(String::from_utf8_lossy(&line).trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_pieces() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in ["te", "st a\ntest", " b\n", "rest"] {
            lines.add(piece.as_bytes(), |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["test a", "test b"]);
    }

    fn outcome(end: End) -> Outcome {
        Outcome {
            end,
            trouble: Vec::new(),
            log: "none".into(),
            boot_time: None,
            total_time: Duration::ZERO,
        }
    }

    #[test]
    fn a_run_that_ends_badly_is_a_problem() {
        let good = Count { passed: 1, claimed: Some((1, 0)), ..Count::default() };
        assert_eq!(problem(&outcome(End::Exit(0)), &good), None);
        assert!(problem(&outcome(End::Exit(1)), &good).is_some());
        assert!(problem(&outcome(End::Died), &good).is_some());
        assert!(problem(&outcome(End::TimedOut), &good).is_some());
        assert!(problem(&outcome(End::Exit(0)), &Count::default()).is_some());
    }
}
