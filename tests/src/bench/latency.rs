//! How long it takes from a person's release to the op being done, the agent having nothing else to
//! do.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::harness::agent::RUN_DIR;
use crate::harness::hold::{self, Hold};
use crate::harness::tree::make_files;
use crate::harness::wait::PATIENCE;
use crate::harness::worker::{Step, Worker};
use crate::harness::{Budget, Lab, Unit, Zone, proc, until};

const ROUNDS: usize = 20;
/// After which the agent has nothing to do any more.
const IDLE: Duration = Duration::from_secs(2);

/// Both ways to release.
pub(super) struct Latency {
    /// From starting `holdfast hold release`.
    pub(super) command: Spread,
    /// From sending the request to the control socket.
    pub(super) socket: Spread,
    /// Processor time of an op's thread until it is stopped.
    pub(super) held: u128,
    /// The same of one that is within budget, until it is done.
    pub(super) within: u128,
}

/// Some of the rounds' times.
pub(super) struct Spread {
    pub(super) median: Duration,
    pub(super) least: Duration,
    pub(super) most: Duration,
}

/// Holds an op and releases it, again and again. The agent has to be running.
pub(super) fn measure(lab: &mut Lab, dir: &Path) -> Result<Latency> {
    let files = make_files(&dir.join("held"), "file", 3 * ROUNDS as u64, 1)?;
    lab.apply(&[Zone::new("bench-hold", dir).hold().budget(Budget::files(ROUNDS as u64))])?;
    let unit = Unit::new("bench-hold")?;
    let mut worker = Worker::start(&unit, 0)?;
    let mut files = files.into_iter().map(Step::Unlink);
    let (mut within, mut held) = (Vec::new(), Vec::new());
    for step in files.by_ref().take(ROUNDS) {
        let before = proc::busy(worker.pid())?;
        ensure!(worker.step(&step)? == 0, "an op within budget failed");
        std::thread::sleep(IDLE);
        within.push(proc::busy(worker.pid())? - before);
    }
    let mut measure = |release: fn(&Hold) -> Result<()>| {
        let mut times = Vec::new();
        for step in files.by_ref().take(ROUNDS) {
            let (busy, time) = round(&mut worker, &step, release)?;
            held.push(busy);
            times.push(time);
        }
        Spread::of(times)
    };
    let command = measure(|held| held.release(1).map(drop))?;
    let socket = measure(release_by_socket)?;
    let median = |times| Spread::of(times).map(|spread| spread.median.as_nanos());
    Ok(Latency { command, socket, held: median(held)?, within: median(within)? })
}

/// For how long the worker had the processor until it was held, and the time from its release.
fn round(
    worker: &mut Worker,
    step: &Step,
    release: fn(&Hold) -> Result<()>,
) -> Result<(Duration, Duration)> {
    let pid = worker.pid();
    let before = proc::busy(pid)?;
    worker.begin(step)?;
    let held = until("the op is held", PATIENCE, || {
        let holds = if proc::is_stopped(pid)? { hold::all()? } else { Vec::new() };
        Ok(holds.into_iter().find(|hold| hold.pids().contains(&pid)))
    })?;
    let busy = proc::busy(pid)? - before;
    std::thread::sleep(IDLE);
    let released = Instant::now();
    release(&held)?;
    let answer = worker.answer()?;
    ensure!(answer.errno == 0, "the released op failed with error {}", answer.errno);
    // What it does after its answer is not the next op's.
    std::thread::sleep(IDLE);
    Ok((busy, answer.at.saturating_duration_since(released)))
}

/// What `holdfast hold release ID --files 1` asks the agent, without the start of a program.
fn release_by_socket(held: &Hold) -> Result<()> {
    let mut socket = UnixStream::connect(Path::new(RUN_DIR).join("control.sock"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let body = "{\"files\":1}";
    let request = format!(
        "POST /v1/holds/{}/release HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        held.id,
        body.len()
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the agent answered {answer:?}");
    Ok(())
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Result<Self> {
        times.sort_unstable();
        let (Some(&least), Some(&most)) = (times.first(), times.last()) else {
            anyhow::bail!("nothing was measured");
        };
        Ok(Self { median: times[times.len() / 2], least, most })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "median {:.1} ms of {ROUNDS} rounds ({:.1} to {:.1})",
            ms(self.median),
            ms(self.least),
            ms(self.most)
        )
    }
}
