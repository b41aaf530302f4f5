//! Real kernels in a VM: boots one, runs one thing in it, and says what came of it.
//!
//! It never loads anything into the kernel of this machine, and no run changes what the next one
//! starts from.

mod accel;
mod cpio;
mod initramfs;
mod log;
mod modules;
mod ports;
mod power;
mod qemu;
mod report;
mod room;
mod scratch;
mod supervise;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::setup::emulator::Emulator;
use crate::setup::guest::Guest;
use crate::setup::kernels::Kernel;
use crate::{build, setup, ui};
pub use accel::Accel;
pub use initramfs::Task;
pub use ports::Stream;
pub use power::Power;
pub use report::{exit_status, terminal};
use scratch::Scratch;
pub use supervise::{End, Outcome};

/// Everything that makes up a boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The kernel.
    pub kernel: Kernel,
    /// The rest of the guest.
    pub guest: Guest,
    /// Whether systemd runs there. Then a reboot stays in the emulator, and the root disk stays as
    /// it is.
    pub systemd: bool,
    /// What runs it.
    pub emulator: Emulator,
    /// Files for `/run/payload`.
    pub payload: Vec<PathBuf>,
    /// A disk of further programs, for /opt.
    pub programs: Option<PathBuf>,
    /// What to do there.
    pub task: Task,
    /// More words for the kernel's command line.
    pub append: Vec<String>,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The guest's clock counts instructions (and there is one processor).
    pub counted: bool,
    /// How to run it; by default what works here.
    pub accel: Option<Accel>,
    /// How long it may take.
    pub limit: Duration,
    /// At most so many boots: one that asks for more goes round in circles.
    pub boots: u32,
    /// What can make its power fail.
    pub power: Power,
    /// A port of this machine's loopback that leads to the guest's port 22. There is no other
    /// network, and no way out of it.
    pub login: Option<u16>,
}

impl Boot {
    /// A boot with the usual settings; sets up what is missing.
    pub fn new(kernel: &str, task: Task) -> Result<Self> {
        let (kernel, guest, emulator) = setup::for_vm(kernel, false)?;
        Ok(Self {
            kernel,
            guest,
            systemd: false,
            emulator,
            payload: Vec::new(),
            programs: None,
            task,
            append: Vec::new(),
            cpus: 2,
            memory: 1024,
            counted: false,
            accel: None,
            limit: Duration::from_secs(600),
            boots: 8,
            power: Power::default(),
            login: None,
        })
    }

    /// The same with systemd as process 1.
    pub fn with_systemd(mut self) -> Result<Self> {
        self.guest = setup::for_systemd_vm(&self.kernel.name)?.1;
        self.systemd = true;
        Ok(self)
    }

    /// The same as a host of a fleet, which this port of loopback leads to.
    pub fn with_login(mut self, guest: Guest, login: u16) -> Self {
        (self.guest, self.systemd, self.login) = (guest, true, Some(login));
        self
    }

    /// The same with the project's binaries, which are built first.
    pub fn with_binaries(mut self) -> Result<Self> {
        self.payload.extend(build::everything(true)?);
        Ok(self)
    }

    /// Boots, and returns when the guest is gone.
    pub fn run(&self, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<Outcome> {
        let accel = match self.accel {
            Some(accel) => accel,
            None => accel::choose(self)?,
        };
        let clock = if self.counted { ", clock counts instructions" } else { "" };
        ui::say(&format!(
            "── VM: Linux {} ({}, {}{clock}) ──",
            self.kernel.release,
            self.kernel.name,
            accel.name(),
        ));
        let outcome = supervise::run(self, accel, on_output)?;
        report::print(self, &outcome)?;
        Ok(outcome)
    }
}
