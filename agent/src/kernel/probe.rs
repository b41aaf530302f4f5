//! What `doctor` looks at: everything the guard needs from this kernel, without loading or changing anything.

use std::{fs, io, path::Path};

use super::{Check, claim, error::KernelError, offsets};

const LSM_LIST: &str = "/sys/kernel/security/lsm";
const BTF: &str = "/sys/kernel/btf/vmlinux";
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// Looks at all of it.
pub(super) fn probe(pin_dir: &Path) -> Vec<Check> {
    vec![kernel(), lsm(), btf(), layout(), ftrace(), bpffs(pin_dir), guard(pin_dir), privileges()]
}

/// Fails unless `bpf` is in the list of active LSMs. Without it programs load, attach and never run.
pub(super) fn require_lsm() -> Result<(), KernelError> {
    let check = lsm();
    if check.ok { Ok(()) } else { Err(KernelError::LsmInactive { found: check.found }) }
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    Check { name: "kernel", ok: true, found: release, fix: None }
}

fn lsm() -> Check {
    let (ok, found) = match fs::read_to_string(LSM_LIST) {
        Ok(list) => (has_bpf(&list), format!("active LSMs: {}", list.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            false,
            format!(
                "{LSM_LIST} is missing; is securityfs mounted (`mount -t securityfs none /sys/kernel/security`)?"
            ),
        ),
        Err(error) => (false, format!("cannot read {LSM_LIST}: {error}")),
    };
    let fix = "add `bpf` to the `lsm=` list on the kernel command line \
               (for example GRUB_CMDLINE_LINUX=\"lsm=landlock,lockdown,yama,integrity,apparmor,bpf\" in \
               /etc/default/grub, then `update-grub`) and reboot";
    Check { name: "bpf-lsm", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

fn has_bpf(list: &str) -> bool {
    list.trim().split(',').any(|name| name == "bpf")
}

fn btf() -> Check {
    let (ok, found) = match fs::metadata(BTF) {
        Ok(meta) => (true, format!("{BTF}, {} bytes", meta.len())),
        Err(error) => (false, format!("cannot read {BTF}: {error}")),
    };
    let fix =
        "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is)";
    Check { name: "btf", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

fn layout() -> Check {
    let (ok, found) = match offsets::read() {
        Ok(_) => (true, "every structure and hook is laid out as the programs expect".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    let fix = "this kernel needs a newer holdfast; please report the line above";
    Check { name: "layout", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

/// Whether the kernel runs LSM programs at all.
pub(super) fn ftrace() -> Check {
    let (ok, found) = match fs::read_to_string(FTRACE) {
        Ok(value) => (value.trim() != "0", format!("kernel.ftrace_enabled = {}", value.trim())),
        // Without the switch nobody can turn it off.
        Err(_) => (true, "kernel.ftrace_enabled is not there".to_owned()),
    };
    let fix = "`sysctl kernel.ftrace_enabled=1`: at 0 the kernel silently skips every LSM program";
    Check { name: "ftrace", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

fn bpffs(pin_dir: &Path) -> Check {
    let existing = pin_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let (ok, found) = match rustix::fs::statfs(existing) {
        Ok(stat) if stat.f_type as u64 == BPFFS_MAGIC => {
            (true, format!("{} is on bpffs", pin_dir.display()))
        }
        Ok(_) => (false, format!("{} is not on bpffs", pin_dir.display())),
        Err(error) => (false, format!("cannot look at {}: {error}", existing.display())),
    };
    let fix = "`mount -t bpf bpf /sys/fs/bpf`";
    Check { name: "bpffs", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

/// Whether the guard that the kernel runs is the one that is pinned here.
fn guard(pin_dir: &Path) -> Check {
    match claim::refuse_another(pin_dir) {
        Ok(()) => {
            let found = "no guard is loaded that is not pinned there".to_owned();
            Check { name: "guard", ok: true, found, fix: None }
        }
        Err(error) => {
            let text = error.to_string();
            let (found, fix) =
                text.split_once("\n  help: ").unwrap_or((&text, "see the agent's log"));
            Check { name: "guard", ok: false, found: found.to_owned(), fix: Some(fix.to_owned()) }
        }
    }
}

fn privileges() -> Check {
    let ok = rustix::process::geteuid().is_root();
    let found = if ok { "running as root" } else { "not running as root" };
    let fix = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN";
    Check { name: "privileges", ok, found: found.to_owned(), fix: (!ok).then(|| fix.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::has_bpf;

    #[test]
    fn only_the_whole_word_counts() {
        assert!(has_bpf("lockdown,capability,yama,bpf\n"));
        assert!(!has_bpf("lockdown,capability,nobpf\n"));
        assert!(!has_bpf(""));
    }
}
