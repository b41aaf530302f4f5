//! Scenarios on real kernels, in VMs.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::Command;
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
    /// Whether the guest is the one with systemd and apt. It is a host as one has it, not a kernel to be tested: one is enough.
    systemd: bool,
    /// Whether its guest runs beside the others: it rarely needs a CPU.
    beside: bool,
    limit: Duration,
}

impl Way {
    const fn new(name: &'static str, minutes: u64) -> Self {
        let limit = Duration::from_secs(minutes * 60);
        Self { name, append: &[], systemd: false, beside: false, limit }
    }
}

const WAYS: [Way; 5] = [
    Way::new("normal", 60),
    Way { beside: true, ..Way::new("waiting", 60) },
    // The list of active security modules without `bpf`.
    Way { append: &["lsm=lockdown,capability,yama"], ..Way::new("no-bpf", 5) },
    // The guest asks to be booted again, with the same data disk.
    Way::new("reboot", 15),
    // The package, in its own chain of steps.
    Way { systemd: true, beside: true, ..Way::new("package", 15) },
];

/// Runs the scenarios on these kernels, in each way to boot them. The kernels run at the same time,
/// and what waits beside the rest: a scenario rarely keeps more than one CPU busy. What one kernel
/// is enough for is run on the first or the last of them, unless it is named or it is night.
pub fn run(
    kernels: &[String],
    filter: Option<&str>,
    nightly: bool,
    seed: Seed,
) -> Result<Vec<Place>> {
    // Once, and before the clocks start.
    let binaries = &build::everything(true)?;
    let listed = &process::output(Command::new(&binaries[1]).arg("list"))?;
    let wanted: &Vec<&Way> = &WAYS.iter().filter(|way| is_wanted(way, filter, listed)).collect();
    let packages = &match wanted.iter().any(|way| way.systemd) {
        true => {
            let package = package::deb()?;
            vec![package::next(&package)?, package]
        }
        false => Vec::new(),
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, kernel) in kernels.iter().enumerate() {
            let mut parts = vec!["kernel"];
            parts.extend((number == 0).then_some("agent"));
            parts.extend((number + 1 == kernels.len()).then_some("heavy"));
            if nightly || filter.is_some() {
                parts.clear();
            }
            for beside in [false, true] {
                let is_here =
                    move |way: &&&Way| way.beside == beside && (!way.systemd || number == 0);
                let parts = parts.clone();
                let each =
                    move |way: &&Way| boot(kernel, way, (filter, &parts), seed, binaries, packages);
                threads
                    .push(scope.spawn(move || wanted.iter().filter(is_here).map(each).collect()));
            }
        }
        let mut places = Vec::new();
        for thread in threads {
            let outcome: Result<Vec<Place>> =
                thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            places.extend(outcome?);
        }
        Ok(places)
    })
}

/// Whether a test for this way to boot has such a name. `listed` is what `holdfast-tests list` prints: `name` or `name (boot: way)`.
fn is_wanted(way: &Way, filter: Option<&str>, listed: &str) -> bool {
    let Some(filter) = filter else { return true };
    listed.lines().any(|line| {
        let (name, boot) = line.split_once(" (boot: ").unwrap_or((line, WAYS[0].name));
        let boot = boot.split([',', ')']).next().unwrap_or(boot);
        boot == way.name && filter.split(',').any(|text| name.contains(text))
    })
}

fn boot(
    kernel: &str,
    way: &Way,
    (filter, parts): (Option<&str>, &[&str]),
    seed: Seed,
    binaries: &[PathBuf],
    packages: &[PathBuf],
) -> Result<Place> {
    let start = Instant::now();
    // The steps of a chain stand on each other: all of them or none.
    let mut words = match way.systemd {
        true => ["holdfast-tests", "package"].map(str::to_owned).to_vec(),
        false => ["env", &seed.assignment(), "holdfast-tests", "run", "--boot", way.name]
            .map(str::to_owned)
            .to_vec(),
    };
    if let (Some(filter), false) = (filter, way.systemd) {
        words.extend(["--filter".to_owned(), filter.to_owned()]);
    }
    for part in parts.iter().filter(|_| !way.systemd) {
        words.extend(["--part".to_owned(), (*part).to_owned()]);
    }
    let mut boot = Boot::new(kernel, Task::Run(words))?;
    if way.systemd {
        boot = boot.with_systemd()?;
        // `holdfast` is there when the package has been installed, and not before.
        boot.payload.extend_from_slice(&binaries[1..]);
        boot.payload.extend_from_slice(packages);
    } else {
        boot.payload.extend_from_slice(binaries);
        boot.programs = Some(setup::monitoring_disk()?);
    }
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

    #[test]
    fn only_ways_with_a_test_of_that_name_are_booted() {
        let listed = "rm_rf::ext4\ndrains (boot: waiting)\nwithout (boot: no-bpf)\ncodes (boot: reboot, 3 times)\npackage_x (boot: package)\n";
        let wanted = |filter| -> Vec<&str> {
            WAYS.iter().filter(|way| is_wanted(way, filter, listed)).map(|way| way.name).collect()
        };
        assert_eq!(wanted(None), ["normal", "waiting", "no-bpf", "reboot", "package"]);
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
    fn a_run_that_ends_badly_is_a_problem() {
        let good = Count { passed: 1, claimed: Some((1, 0)), ..Count::default() };
        assert_eq!(problem(&outcome(End::Exit(0)), &good), None);
        assert!(problem(&outcome(End::Exit(1)), &good).is_some());
        assert!(problem(&outcome(End::Died), &good).is_some());
        assert!(problem(&outcome(End::TimedOut), &good).is_some());
        assert!(problem(&outcome(End::Exit(0)), &Count::default()).is_some());
    }
}
