//! Hardware acceleration, only where it has been seen to work.
//!
//! A present `/dev/kvm` proves nothing: on some machines a guest hangs in it. So a kernel is booted
//! with it once, with a time limit, and the answer is kept for this host kernel and this emulator.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::initramfs::Task;
use super::{Boot, supervise};
use crate::{paths, process, ui};

const PROBE_LIMIT: Duration = Duration::from_secs(15);
const PASSED: &str = "holdfast-guest: probe passed";

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// Emulated: works everywhere.
    Tcg,
    /// By the processor itself.
    Kvm,
}

impl Accel {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "emulated",
            Self::Kvm => "KVM",
        }
    }
}

/// KVM if it works here, else emulation.
pub fn choose(boot: &Boot) -> Result<Accel> {
    if boot.counted || !Path::new("/dev/kvm").exists() {
        return Ok(Accel::Tcg);
    }
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        ui::say("  /dev/kvm is there, but not for you: emulating (join group kvm to be faster)");
        return Ok(Accel::Tcg);
    }
    let key = key(boot)?;
    let path = paths::cache("vm/kvm");
    let known = fs::read_to_string(&path).unwrap_or_default();
    let works = match known.strip_prefix(&key) {
        Some(answer) => answer.trim() == "works",
        None => {
            let limit = PROBE_LIMIT.as_secs();
            let works = ui::step(&format!("probing KVM (up to {limit} s, once)"), || probe(boot))?;
            fs::create_dir_all(paths::cache("vm"))?;
            fs::write(&path, format!("{key}{}\n", if works { "works" } else { "hangs" }))?;
            if !works {
                ui::say("  /dev/kvm is there, but a guest does not boot with it: emulating");
            }
            works
        }
    };
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn probe(boot: &Boot) -> Result<bool> {
    let boot = Boot { task: Task::Probe, payload: Vec::new(), limit: PROBE_LIMIT, ..boot.clone() };
    let outcome = supervise::run(&boot, Accel::Kvm, &mut |_, _| {})?;
    Ok(fs::read_to_string(&outcome.log).unwrap_or_default().contains(PASSED))
}

/// What the answer depends on.
fn key(boot: &Boot) -> Result<String> {
    let host = process::output(Command::new("uname").arg("-rv"))?;
    Ok(format!("{} | {}: ", host.trim(), boot.emulator.introduction()))
}
