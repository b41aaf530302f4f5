//! How long the agent takes from its start until the guard is up, and the verifier's part of that.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::ClockId;

use super::{now, peers};
use crate::harness::agent;
use crate::harness::wait::PATIENCE;

/// Nanoseconds of the guest's clock.
pub(super) struct Start {
    /// Until the agent tells its service manager that it is ready.
    pub(super) ready: u64,
    /// Of that in the kernel's `bpf_check`.
    pub(super) verifier: u64,
    /// The agent's memory then.
    pub(super) memory: String,
}

/// Starts an agent with the policy that is there, and ends it. The guard stays.
pub(super) fn measure() -> Result<Start> {
    let manager = Path::new("/run/bench-manager");
    let socket = UnixDatagram::bind(manager).context("cannot be a service manager")?;
    socket.set_read_timeout(Some(3 * PATIENCE))?;
    let mut message = [0; 4096];
    let (mut ready, mut memory) = (0, String::new());
    let verifier = peers::time_in("bpf_check", || {
        let from = now(ClockId::Monotonic);
        let mut child = agent::command(None)?.env("NOTIFY_SOCKET", manager).spawn()?;
        let told = loop {
            let length = socket.recv(&mut message).context("the agent does not get ready")?;
            let told = String::from_utf8_lossy(&message[..length]);
            if told.contains("READY=1") {
                break told;
            }
        };
        ready = now(ClockId::Monotonic) - from;
        ensure!(told.contains("STATUS=GUARD UP"), "the agent said {told}");
        memory = super::memory(child.id())?;
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        child.wait().map(drop).context("the agent does not end")
    })?;
    Ok(Start { ready, verifier, memory })
}
