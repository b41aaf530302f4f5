//! Scenarios on real kernels, in VMs.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Place;
use super::count::Count;
use super::seed::Seed;
use crate::vm::{Boot, End, Outcome, Stream, Task};
use crate::{build, package, process, setup};

/// A way to boot that some tests need.
struct Way {
    name: &'static str,
    append: &'static [&'static str],
    /// Whether the guest is the one with systemd and apt. It is a host as one has it, not a kernel
    /// to be tested: one is enough.
    systemd: bool,
    limit: Duration,
}

impl Way {
    const fn new(name: &'static str, minutes: u64) -> Self {
        let limit = Duration::from_secs(minutes * 60);
        Self { name, append: &[], systemd: false, limit }
    }
}

/// Those that take longest come first.
const WAYS: [Way; 5] = [
    Way::new("normal", 60),
    Way::new("waiting", 60),
    // The package, in its own chain of steps.
    Way { systemd: true, ..Way::new("package", 15) },
    // The guest asks to be booted again, with the same data disk.
    Way::new("reboot", 15),
    // The list of active security modules without `bpf`.
    Way { append: &["lsm=lockdown,capability,yama"], ..Way::new("no-bpf", 5) },
];
/// So many guests run at a time: one rarely keeps more than one CPU busy, and much of it waits.
const AT_A_TIME: usize = 4;
/// A nightly run may take so many times as long.
const NIGHTLY: u32 = 4;

/// What all guests of a run have in common.
struct Run<'a> {
    filter: Option<&'a str>,
    nightly: bool,
    seed: Seed,
    binaries: Vec<PathBuf>,
}

/// Runs the scenarios on these kernels, in each way to boot them. What one kernel is enough for is
/// run on the first or the last of them, unless it is named or it is night.
pub fn run(
    kernels: &[String],
    filter: Option<&str>,
    nightly: bool,
    seed: Seed,
) -> Result<Vec<Place>> {
    // Once, and before the clocks start.
    let run = &Run { filter, nightly, seed, binaries: build::everything(true)? };
    let listed = &process::output(Command::new(&run.binaries[1]).arg("list"))?;
    let guests = WAYS.iter().filter(|way| is_wanted(way, filter, listed)).flat_map(|way| {
        let count = if way.systemd { 1 } else { kernels.len() };
        kernels[..count].iter().enumerate().map(move |(number, kernel)| {
            let mut parts = vec!["each"];
            parts.extend((number == 0).then_some("first"));
            parts.extend((number + 1 == count).then_some("last"));
            (kernel, way, parts)
        })
    });
    let queue = &Mutex::new(guests.enumerate());
    let next = || queue.lock().ok()?.next();
    let work = || -> Result<Vec<(usize, Place)>> {
        let guests = std::iter::from_fn(next);
        guests.map(|(n, guest)| Ok((n, run.boot(guest.0, guest.1, &guest.2)?))).collect()
    };
    let mut places = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            places.extend(worker.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        places.sort_by_key(|(number, _)| *number);
        Ok(places.into_iter().map(|(_, place)| place).collect())
    })
}

/// Whether a test for this way to boot has such a name. `listed` is what `holdfast-tests list`
/// prints: `name` or `name (boot: way)`.
fn is_wanted(way: &Way, filter: Option<&str>, listed: &str) -> bool {
    let Some(filter) = filter else { return true };
    listed.lines().any(|line| {
        let (name, boot) = line.split_once(" (boot: ").unwrap_or((line, WAYS[0].name));
        let boot = boot.split([',', ')']).next().unwrap_or(boot);
        boot == way.name && filter.split(',').any(|text| name.contains(text))
    })
}

impl Run<'_> {
    fn boot(&self, kernel: &str, way: &Way, parts: &[&str]) -> Result<Place> {
        let mut boot = Boot::new(kernel, Task::Run(self.words(way, parts)))?;
        if way.systemd {
            boot = boot.with_systemd()?;
            let package = package::deb()?;
            // `holdfast` is there when the package has been installed, and not before.
            boot.payload.extend_from_slice(&self.binaries[1..]);
            boot.payload.extend([package::next(&package)?, package]);
        } else {
            boot.payload.extend_from_slice(&self.binaries);
            boot.programs = Some(setup::monitoring_disk()?);
        }
        boot.append = way.append.iter().map(|word| (*word).to_owned()).collect();
        boot.limit = way.limit * if self.nightly { NIGHTLY } else { 1 };
        let start = Instant::now();
        let mut count = Count::default();
        let (mut out, mut err) = (Lines::default(), Lines::default());
        let outcome = boot.run(&mut |stream, bytes| match stream {
            Stream::Out => out.add(bytes, |line| {
                count.guest_line(line);
                show(kernel, line);
            }),
            Stream::Err => err.add(bytes, |line| show(kernel, line)),
        })?;
        let nothing = count.passed + count.failed == 0 && self.filter.is_none();
        let problem =
            problem(&outcome, &count).or_else(|| nothing.then(|| "no test ran".to_owned()));
        let name = match way.name == WAYS[0].name {
            true => kernel.to_owned(),
            false => format!("{kernel}, {}", way.name),
        };
        Ok(Place { name, count, problem, time: start.elapsed() })
    }

    /// The command for the guest.
    fn words(&self, way: &Way, parts: &[&str]) -> Vec<String> {
        let seed = self.seed.assignment();
        let mut words = match way.systemd {
            // The steps of a chain stand on each other: all of them or none.
            true => return ["holdfast-tests", "package"].map(str::to_owned).to_vec(),
            false => vec!["env", &seed, "holdfast-tests", "run", "--boot", way.name],
        };
        match self.filter {
            Some(filter) => words.extend(["--filter", filter]),
            None if self.nightly => {}
            None => parts.iter().for_each(|part| words.extend(["--part", *part])),
        }
        words.extend(self.nightly.then_some("--nightly"));
        words.into_iter().map(str::to_owned).collect()
    }
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

    #[test]
    fn only_matching_ways_are_booted() {
        let listed = "rm_rf::ext4\ndrains (boot: waiting)\nwithout (boot: no-bpf)\n\
                      codes (boot: reboot, 3 times)\npackage_x (boot: package)\n";
        let wanted = |filter| -> Vec<&str> {
            WAYS.iter().filter(|way| is_wanted(way, filter, listed)).map(|way| way.name).collect()
        };
        assert_eq!(wanted(None), ["normal", "waiting", "package", "reboot", "no-bpf"]);
        assert_eq!(wanted(Some("rm_rf,without")), ["normal", "no-bpf"]);
        assert_eq!(wanted(Some("drains")), ["waiting"]);
        assert_eq!(wanted(Some("codes")), ["reboot"]);
        assert_eq!(wanted(Some("package_")), ["package"]);
        assert!(wanted(Some("nothing")).is_empty());
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
    fn bad_end_is_a_problem() {
        let good = Count { passed: 1, claimed: Some((1, 0)), ..Count::default() };
        assert_eq!(problem(&outcome(End::Exit(0)), &good), None);
        assert!(problem(&outcome(End::Exit(1)), &good).is_some());
        assert!(problem(&outcome(End::Died), &good).is_some());
        assert!(problem(&outcome(End::TimedOut), &good).is_some());
        assert!(problem(&outcome(End::Exit(0)), &Count::default()).is_some());
    }
}
