//! The command `fleet`: the Ansible role against hosts. Two VMs with systemd, a ring each, and a
//! real `ansible-playbook` on this machine.
//!
//! What goes from here to them goes over loopback, and there is no way out of them. It owns how
//! hosts come up and what a play said; what is to be shown is in `story`.

mod host;
mod play;
mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::setup::kernels;
use crate::{package, paths, setup, ui};
use host::Host;
use play::Ansible;

/// Options of `fleet`.
#[derive(Args, Debug)]
pub struct Options {
    /// The kernel of both hosts
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// End the guests after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

impl Options {
    /// Exits with 0 only if everything was shown.
    pub fn run(&self) -> Result<i32> {
        let start = Instant::now();
        let (guest, ansible) = setup::for_fleet()?;
        let package = package::deb()?;
        let next = package::next(&package)?;
        let dir = Place::new()?;
        let limit = Duration::from_secs(self.timeout);
        host::key(&dir.0.join("login_key"))?;
        let hosts = [
            Host::new("a", &self.kernel, &guest, &dir.0, limit)?,
            Host::new("b", &self.kernel, &guest, &dir.0, limit)?,
        ];
        let ansible = prepare(ansible, &dir.0, &package, &next, &hosts)?;
        let shown = with_hosts(&hosts, || story::tell(&ansible, &hosts))?;
        ui::say(&format!("fleet: {shown} things shown, {}", ui::elapsed(start.elapsed())));
        Ok(0)
    }
}

/// The directory as docs/fleet.md says: a copy of the one that is shipped, with package, signers
/// and inventory beside the playbook.
fn prepare(
    place: PathBuf,
    dir: &Path,
    package: &Path,
    next: &Path,
    hosts: &[Host],
) -> Result<Ansible> {
    let ansible = Ansible { place, dir: dir.to_path_buf() };
    let own = dir.join("ansible");
    play::copy(&paths::root().join("agent/dist/ansible"), &own)?;
    // Nothing of whoever runs this has a say.
    fs::write(dir.join("none.cfg"), "")?;
    fs::copy(package, own.join("holdfast.deb")).context("the package")?;
    fs::copy(next, own.join("next.deb")).context("the next package")?;
    let signer = fs::read_to_string(dir.join("login_key.pub"))?;
    fs::write(own.join("allowed_signers"), format!("somebody@fleet {signer}"))?;
    let good = fs::read_to_string(own.join("policy.toml.j2"))?;
    fs::write(own.join("bad.toml.j2"), format!("{good}\nnonsense = 1\n"))?;
    let other = good.replace("files = 2000\n", "files = 1999\n");
    if other == good {
        bail!("policy.toml.j2 has no budget of 2000 files any more: say here what else to change");
    }
    fs::write(own.join("other.toml.j2"), other)?;
    ansible.inventory("inventory.yml", hosts, None)?;
    ansible.inventory("lost.yml", hosts, Some(("a", host::free_port()?)))?;
    Ok(ansible)
}

/// Boots the hosts, does something with them, and switches them off, however it ended.
fn with_hosts<T>(hosts: &[Host], work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (sender, ready) = mpsc::channel();
    thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .map(|host| {
                let sender = sender.clone();
                scope.spawn(move || host.run(&sender))
            })
            .collect();
        drop(sender);
        let done = all_ready(hosts, &threads, &ready).and_then(|()| work());
        for host in hosts {
            if done.is_err() || host.sudo("touch /run/fleet-over").is_err() {
                host.power.cut_in(Duration::ZERO);
            }
        }
        for (host, thread) in hosts.iter().zip(threads) {
            let status = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            if status != 0 && done.is_ok() {
                bail!("host {} ended with {status}: see above", host.name);
            }
        }
        done
    })
}

fn all_ready(
    hosts: &[Host],
    threads: &[ScopedJoinHandle<'_, Result<i32>>],
    ready: &Receiver<&'static str>,
) -> Result<()> {
    for _ in hosts {
        loop {
            match ready.recv_timeout(Duration::from_millis(500)) {
                Ok(_) => break,
                Err(RecvTimeoutError::Timeout)
                    if threads.iter().any(ScopedJoinHandle::is_finished) =>
                {
                    bail!("a host is gone before it could be reached");
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("no host came up"),
            }
        }
    }
    Ok(())
}

/// A directory that goes away with the run. Its name is short: there are sockets in it.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("holdfast-fleet-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing depends on it: at worst a directory stays behind in the temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
