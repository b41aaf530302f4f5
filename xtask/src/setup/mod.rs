//! Installs and fetches what the other commands need, and nothing twice.
//!
//! It changes the machine only by its package manager, and says so; everything else goes into
//! `.cache`. It never writes the name of a mirror down, and never touches anything that is in
//! order.

pub mod ansible;
mod apt;
mod archive;
mod deb822;
mod disk;
pub mod emulator;
pub mod guest;
pub mod kernels;
mod prometheus;
mod relations;
mod sources;
pub mod toolchain;
mod tools;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{paths, process, ui};
use emulator::Emulator;
use guest::Guest;
use kernels::Kernel;
use toolchain::Toolchain;

/// Sees to everything, for all commands.
pub fn everything(refresh: bool) -> Result<()> {
    let (toolchain, linker) = for_build()?;
    ui::say(&format!("kernel programs: {toolchain:?} toolchain, {}", linker.display()));
    for name in kernels::TESTED {
        let (kernel, _, emulator) = for_vm(name, refresh)?;
        ui::say(&format!("kernel {name}: {} ({})", kernel.release, kernel.package_version()));
        ui::say(&format!("  run by {}", emulator.introduction()));
    }
    for_systemd_vm(kernels::TESTED[0])?;
    for_fleet()?;
    for_bench()?;
    for_ci()?;
    for_host_tests()?;
    for_fuzz()?;
    ui::say("setup: everything is there");
    Ok(())
}

/// What building needs.
pub fn for_build() -> Result<(Toolchain, PathBuf)> {
    let _alone = alone()?;
    let toolchain = toolchain::ensure_bpf()?;
    let linker = tools::ensure_linker(&toolchain)?;
    Ok((toolchain, linker))
}

/// What making the package needs.
pub fn for_package() -> Result<()> {
    let _alone = alone()?;
    if process::find_program("dpkg-deb").is_none() {
        // Where it is missing this says what to install.
        apt::install(&["dpkg"], "dpkg-deb for the package")?;
    }
    Ok(())
}

/// What booting a kernel needs.
pub fn for_vm(kernel: &str, refresh: bool) -> Result<(Kernel, Guest, Emulator)> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the VM runs x86_64 kernels and binaries, and this machine is {}",
            std::env::consts::ARCH
        );
    }
    let _alone = alone()?;
    ensure_programs()?;
    let emulator = emulator::ensure()?;
    let kernel = kernels::ensure(kernel, refresh)?;
    Ok((kernel, guest::ensure()?, emulator))
}

/// A disk with Prometheus and Alertmanager, for scenarios.
pub fn monitoring_disk() -> Result<PathBuf> {
    let _alone = alone()?;
    prometheus::disk()
}

/// What booting a kernel with systemd needs.
pub fn for_systemd_vm(kernel: &str) -> Result<(Kernel, Guest, Emulator)> {
    let (kernel, _, emulator) = for_vm(kernel, false)?;
    let _alone = alone()?;
    Ok((kernel, guest::ensure_systemd()?, emulator))
}

/// The guest of the benchmark.
pub fn for_bench() -> Result<Guest> {
    let _alone = alone()?;
    ensure_programs()?;
    guest::ensure_bench()
}

/// What booting a host of a fleet needs, and what rolls out to it: where Ansible is.
pub fn for_fleet() -> Result<(Guest, PathBuf)> {
    for_host_tests()?;
    let _alone = alone()?;
    Ok((guest::ensure_fleet()?, ansible::ensure()?))
}

/// What `ci` needs on top.
pub fn for_ci() -> Result<PathBuf> {
    let _alone = alone()?;
    tools::ensure_components(&toolchain::ensure_bpf()?)?;
    tools::ensure_deny()
}

/// What the tests on the host need: OpenSSH is the reference for signatures, promtool and
/// Prometheus for alerts and dashboard.
pub fn for_host_tests() -> Result<()> {
    let _alone = alone()?;
    prometheus::ensure()?;
    if process::find_program("ssh-keygen").is_some() {
        return Ok(());
    }
    apt::install(&["openssh-client"], "ssh-keygen for the tests")
}

/// What building the fuzz targets needs.
pub fn for_fuzz() -> Result<()> {
    let _alone = alone()?;
    tools::ensure_c_compiler()
}

fn ensure_programs() -> Result<()> {
    let needed = [
        ("mmdebstrap", "mmdebstrap"),
        ("mke2fs", "e2fsprogs"),
        ("depmod", "kmod"),
        ("xz", "xz-utils"),
        ("zstd", "zstd"),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(program, _)| process::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() { Ok(()) } else { apt::install(&missing, "tools for the VM") }
}

/// Two commands started at the same time must not install the same thing.
fn alone() -> Result<File> {
    let path = paths::cache("lock");
    fs::create_dir_all(paths::cache(""))?;
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        ui::say("waiting for another `cargo xtask` to finish its setup");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
