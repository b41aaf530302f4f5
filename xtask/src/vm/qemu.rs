//! The command line of the emulator.

use std::path::Path;
use std::process::Command;

use super::accel::Accel;
use super::initramfs::Task;
use super::{Boot, Scratch, ports};
use crate::process;
use crate::setup::emulator::Emulator;

/// QEMU with everything that this boot needs, the run's `number`th. A guest that reboots ends it,
/// unless systemd runs there.
pub fn command(boot: &Boot, accel: Accel, scratch: &Scratch, number: u32) -> Command {
    let mut qemu = killed_with_us(&boot.emulator);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    if !boot.systemd {
        qemu.arg("-no-reboot");
    }
    qemu.args(["-name", "holdfast", "-m", &format!("{}M", boot.memory)]);
    match (boot.counted, accel) {
        (true, _) => {
            qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]);
            qemu.args(["-cpu", "max"]);
        }
        (false, Accel::Tcg) => {
            qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
        }
        (false, Accel::Kvm) => {
            qemu.args(["-accel", "kvm", "-cpu", "host"]);
        }
    }
    if !boot.counted {
        qemu.args(["-smp", &boot.cpus.to_string()]);
    }
    qemu.arg("-kernel").arg(boot.kernel.image());
    qemu.arg("-initrd").arg(&scratch.initramfs);
    qemu.args(["-append", &append(boot, number)]);
    // Appended to: an earlier boot's lines stay.
    let log = scratch.log.display().to_string().replace(',', ",,");
    qemu.arg("-chardev").arg(format!("file,id=log,append=on,path={log}"));
    qemu.args(["-serial", "chardev:log"]);
    add_disk(&mut qemu, "hf-root", &boot.guest.root_disk, "snapshot=on");
    add_disk(&mut qemu, "hf-modules", &boot.kernel.modules_disk(), "read-only=on");
    if let Some(programs) = &boot.programs {
        add_disk(&mut qemu, "hf-programs", programs, "read-only=on");
    }
    if let Some(data) = &scratch.data_disk {
        add_disk(&mut qemu, "hf-data", data, "cache=unsafe");
    }
    add_ports(&mut qemu, boot, scratch);
    if let Some(port) = boot.login {
        let net = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22");
        qemu.args(["-netdev", &net, "-device", "virtio-net-pci,netdev=net,romfile="]);
    }
    // Temporary overlays belong into the directory that is removed after the run.
    qemu.env("TMPDIR", &scratch.dir);
    qemu
}

/// The kernel's command line. Later words win, so `--append` can override.
fn append(boot: &Boot, number: u32) -> String {
    // Level 5 shows warnings; the generous limits are for emulation on a busy machine.
    let mut words = "console=ttyS0 panic=-1 oops=panic loglevel=5 \
                     rcupdate.rcu_cpu_stall_timeout=60 watchdog_thresh=30"
        .to_owned();
    if matches!(boot.task, Task::Probe) {
        words += " holdfast.probe";
    }
    if boot.programs.is_some() {
        words += " holdfast.programs";
    }
    if number > 1 {
        words += &format!(" holdfast.boot={number}");
    }
    for extra in &boot.append {
        words.push(' ');
        words += extra;
    }
    words
}

fn add_disk(qemu: &mut Command, serial: &str, file: &Path, mode: &str) {
    // A comma would end the value.
    let file = file.display().to_string().replace(',', ",,");
    qemu.arg("-drive").arg(format!("id={serial},if=none,format=raw,file={file},{mode}"));
    qemu.arg("-device").arg(format!("virtio-blk-pci,drive={serial},serial={serial}"));
}

fn add_ports(qemu: &mut Command, boot: &Boot, scratch: &Scratch) {
    qemu.args(["-device", "virtio-serial-pci"]);
    for (name, socket) in ports::NAMES.iter().zip(&scratch.ports) {
        qemu.arg("-chardev").arg(format!("socket,id={name},path={}", socket.display()));
        qemu.arg("-device").arg(format!("virtserialport,chardev={name},name=hf.{name}"));
    }
    if matches!(boot.task, Task::Shell { .. }) {
        qemu.args(["-chardev", "stdio,id=terminal,signal=off,mux=on"]);
        qemu.args(["-device", "virtconsole,chardev=terminal"]);
    }
}

/// Even when this process is killed with no chance to clean up, no emulator must stay behind.
fn killed_with_us(emulator: &Emulator) -> Command {
    let bare = emulator.command();
    let Some(setpriv) = process::find_program("setpriv") else {
        return bare;
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(bare.get_program()).args(bare.get_args());
    command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
