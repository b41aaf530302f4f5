//! One host of the fleet: a VM, and the only way into it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::setup::guest::Guest;
use crate::vm::{self, Boot, Power, Stream, Task};

const SETUP: &str = include_str!("guest.sh");
const STATE: &str = include_str!("state.py");
/// Who logs in.
pub const USER: &str = "deploy";

/// A host.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    pub port: u16,
    pub power: Power,
    boot: Boot,
    dir: PathBuf,
}

impl Host {
    /// Makes its keys, and says how to boot it. The key it answers with is new in each run: nothing
    /// else can be taken for it.
    pub fn new(
        name: &'static str,
        kernel: &str,
        guest: &Guest,
        dir: &Path,
        limit: Duration,
    ) -> Result<Self> {
        let own = dir.join(name);
        fs::create_dir_all(&own)?;
        key(&own.join("host_key"))?;
        fs::write(own.join("state.py"), STATE)?;
        let port = free_port()?;
        let public = fs::read_to_string(own.join("host_key.pub"))?;
        let known = format!("[127.0.0.1]:{port} {public}");
        let all = fs::read_to_string(dir.join("known_hosts")).unwrap_or_default();
        fs::write(dir.join("known_hosts"), all + &known)?;
        let mut boot =
            Boot::new(kernel, Task::Run(vec![SETUP.to_owned()]))?.with_login(guest.clone(), port);
        boot.payload = vec![own.join("host_key"), own.join("state.py"), dir.join("login_key.pub")];
        boot.limit = limit;
        boot.boots = 1;
        Ok(Self { name, port, power: boot.power.clone(), boot, dir: dir.to_path_buf() })
    }

    /// Boots it, and returns when it is gone. Once it can be reached it says so.
    pub fn run(&self, ready: &Sender<&'static str>) -> Result<i32> {
        let mut said = String::new();
        let outcome = self.boot.run(&mut |stream, bytes| match stream {
            Stream::Out if !said.contains("ready") => {
                said += &String::from_utf8_lossy(bytes);
                if said.contains("ready") {
                    // Nobody may be waiting any more.
                    let _ = ready.send(self.name);
                }
            }
            _ => vm::terminal(stream, bytes),
        })?;
        Ok(vm::exit_status(&outcome))
    }

    /// Runs a line of shell there, as root; what it printed.
    pub fn sudo(&self, line: &str) -> Result<String> {
        process::output(&mut self.ssh(line)).with_context(|| format!("on host {}", self.name))
    }

    /// How holdfast is there.
    pub fn state(&self) -> Result<State> {
        Ok(State(self.sudo("fleet-state")?.trim().to_owned()))
    }

    fn ssh(&self, line: &str) -> Command {
        let mut command = process::program("ssh");
        command.args(options(&self.dir)).args(["-p", &self.port.to_string(), "-i"]);
        command.arg(self.dir.join("login_key")).arg(format!("{USER}@127.0.0.1"));
        command.arg(format!("sudo bash -c {}", process::quote(line)));
        command
    }
}

/// Nothing of whoever runs this has a say, and no host is known but those of this run.
pub fn options(dir: &Path) -> Vec<String> {
    let known = format!("UserKnownHostsFile={}", dir.join("known_hosts").display());
    let mut words = vec!["-F".to_owned(), "none".to_owned()];
    for option in [
        known.as_str(),
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "BatchMode=yes",
        "ConnectTimeout=60",
        "LogLevel=ERROR",
    ] {
        words.extend(["-o".to_owned(), option.to_owned()]);
    }
    words
}

/// A key without a passphrase.
pub fn key(place: &Path) -> Result<()> {
    let mut command = process::program("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f"]).arg(place);
    process::output(&mut command).map(drop)
}

/// A port that nobody listens on. If somebody takes it before the emulator does, the emulator says
/// so and ends.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

/// `name=value` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(pub String);

impl State {
    /// Insists on each `name=value`; the error shows all of them.
    pub fn has(&self, facts: &[&str]) -> Result<()> {
        match facts.iter().find(|fact| !self.0.split(' ').any(|word| word == **fact)) {
            None => Ok(()),
            Some(fact) => bail!("should be {fact}, and is: {}", self.0),
        }
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_the_whole_word() {
        let state = State("mode=observe pid=12".to_owned());
        assert!(state.has(&["mode=observe", "pid=12"]).is_ok());
        assert!(state.has(&["pid=1"]).is_err());
        assert!(state.has(&["held=0"]).is_err());
        assert_eq!((state.get("pid"), state.get("p")), (Some("12"), None));
    }
}
