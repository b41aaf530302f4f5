//! One run of `ansible-playbook`, and its recap.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::host::{self, Host};
use crate::setup::ansible;
use crate::{process, ui};

/// Where it runs from: a copy of the directory that the project ships, as docs/fleet.md says.
#[derive(Debug)]
pub struct Ansible {
    pub place: PathBuf,
    pub dir: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Played {
    status: Option<i32>,
    text: String,
    time: Duration,
}

impl Ansible {
    /// Writes the inventory: two rings of one host. `lost` has a port that nobody listens on.
    pub fn inventory(&self, file: &str, hosts: &[Host], lost: Option<(&str, u16)>) -> Result<()> {
        let mut text = format!(
            "all:\n  vars:\n    ansible_host: 127.0.0.1\n    ansible_user: {}\n    \
             ansible_ssh_private_key_file: {}\n    \
             ansible_python_interpreter: /usr/bin/python3\n  \
             children:\n    holdfast:\n      vars:\n        \
             holdfast_package: holdfast.deb\n        holdfast_policy: policy.toml.j2\n        \
             holdfast_allowed_signers: allowed_signers\n      children:\n",
            host::USER,
            self.dir.join("login_key").display()
        );
        for (ring, host) in hosts.iter().enumerate() {
            let port =
                lost.filter(|(name, _)| *name == host.name).map_or(host.port, |(_, port)| port);
            text += &format!(
                "        ring{ring}:\n          hosts:\n            {}:\n              \
                 ansible_port: {port}\n",
                host.name
            );
        }
        fs::write(self.dir.join("ansible").join(file), text).context("cannot write the inventory")
    }

    /// Runs the playbook with these words.
    pub fn play(&self, inventory: &str, words: &[&str]) -> Result<Played> {
        let start = Instant::now();
        let mut command = ansible::playbook(&self.place);
        command.args(["-i", inventory, "site.yml"]).args(words);
        let mut ssh = host::options(&self.dir);
        ssh.extend(["-o", "ControlMaster=auto", "-o", "ControlPersist=30s"].map(str::to_owned));
        command.current_dir(self.dir.join("ansible"));
        command
            .env("ANSIBLE_CONFIG", self.dir.join("none.cfg"))
            .env("ANSIBLE_HOME", self.dir.join("home"));
        command.env("ANSIBLE_LOCAL_TEMP", self.dir.join("tmp"));
        command.env("ANSIBLE_SSH_CONTROL_PATH_DIR", self.dir.join("cp"));
        command.env("ANSIBLE_SSH_ARGS", ssh.join(" ")).env("ANSIBLE_PIPELINING", "1");
        command.env("ANSIBLE_TIMEOUT", "60").env("ANSIBLE_NOCOLOR", "1").env("LC_ALL", "C.UTF-8");
        let output = command.output().context("cannot start ansible-playbook")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let played = Played { status: output.status.code(), text, time: start.elapsed() };
        ui::say(&format!("  ansible-playbook {} ({})", words.join(" "), ui::elapsed(played.time)));
        for line in recap(&played.text) {
            ui::say(&format!("    {line}"));
        }
        Ok(played)
    }
}

impl Played {
    /// Insists that all went well.
    pub fn went_well(&self) -> Result<()> {
        match self.status {
            Some(0) => Ok(()),
            _ => bail!("the play failed, and should not have:\n{}", process::tail(&self.text, 60)),
        }
    }

    /// Insists that it failed, and said why.
    pub fn failed_saying(&self, why: &str) -> Result<()> {
        if self.status == Some(0) {
            bail!("the play went well, and should have failed:\n{}", process::tail(&self.text, 60));
        }
        if !self.text.contains(why) {
            bail!("the play should have said {why:?}:\n{}", process::tail(&self.text, 60));
        }
        Ok(())
    }

    /// How much it changed on a host.
    pub fn changed(&self, host: &str) -> Result<u32> {
        self.count(host, "changed")
            .with_context(|| format!("nothing about {host} in:\n{}", self.text))
    }

    /// Insists that nothing at all was done on a host.
    pub fn never_touched(&self, host: &str) -> Result<()> {
        match recap(&self.text).iter().find(|line| line.split(' ').next() == Some(host)) {
            None => Ok(()),
            Some(line) => bail!("host {host} should not have been touched: {line}"),
        }
    }

    fn count(&self, host: &str, what: &str) -> Option<u32> {
        let lines = recap(&self.text);
        let line = lines.iter().find(|line| line.split(' ').next() == Some(host))?;
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(what)?.strip_prefix('=')?.parse().ok())
    }
}

/// What it says at the end, host by host.
fn recap(text: &str) -> Vec<&str> {
    let after = text.split_once("PLAY RECAP").map_or("", |(_, after)| after);
    after.lines().skip(1).filter(|line| line.contains("unreachable=")).map(str::trim).collect()
}

/// Copies what the project ships.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    process::output(process::program("cp").arg("-r").arg(from).arg(to)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(status: i32, text: &str) -> Played {
        Played { status: Some(status), text: text.to_owned(), time: Duration::ZERO }
    }

    const TEXT: &str = "TASK [x] ***\nfatal: [a]: FAILED! => why\n\nPLAY RECAP ****\n\
        a      : ok=3    changed=12   unreachable=0    failed=1    skipped=0    rescued=0    \
        ignored=0   \n\n";

    #[test]
    fn the_recap_is_read() {
        let played = played(2, TEXT);
        assert_eq!(played.changed("a").unwrap(), 12);
        assert!(played.changed("b").is_err());
        assert!(played.never_touched("b").is_ok() && played.never_touched("a").is_err());
        assert!(played.failed_saying("why").is_ok() && played.failed_saying("else").is_err());
        assert!(played.went_well().is_err());
    }
}
