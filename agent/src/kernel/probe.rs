//! What `doctor` looks at: everything the guard needs from this kernel, without loading or changing
//! anything.

use std::{fs, path::Path};

use super::{Check, claim, error::KernelError, load, offsets};

const SECURITYFS: &str = "/sys/kernel/security";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const OS_RELEASE: &str = "/etc/os-release";
const LSM_LIST: &str = "/sys/kernel/security/lsm";
const BTF: &str = "/sys/kernel/btf/vmlinux";
const KALLSYMS: &str = "/proc/kallsyms";
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// Looks at all of it.
pub(super) fn probe(pin_dir: &Path) -> Vec<Check> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let wanted = NEEDED.iter().map(|(name, ..)| *name).chain([TRACER]);
    let wanted: Vec<&str> = wanted.chain(offsets::ATTACHES_MOUNT).collect();
    let present = offsets::functions(&wanted).ok();
    let present = present.as_deref();
    let switch = fs::read_to_string(FTRACE).ok();
    vec![
        kernel_check(&release, present),
        securityfs(),
        lsm(),
        lockdown(),
        btf(),
        layout(),
        ftrace_check(switch.as_deref(), present),
        mounts(
            present,
            &fs::read_to_string(KALLSYMS).unwrap_or_default(),
            load::is_pinned(pin_dir, load::ON_MOUNT),
        ),
        bpffs(pin_dir),
        guard(pin_dir),
        privileges(),
    ]
}

/// Fails unless `bpf` is in the list of active LSMs. Without it programs load, attach and never
/// run.
pub(super) fn require_lsm() -> Result<(), KernelError> {
    let check = lsm();
    if check.ok { Ok(()) } else { Err(KernelError::LsmInactive { found: check.found }) }
}

/// Functions whose presence tells what this kernel can do, with the release of Linux that brought
/// them. Enterprise distributions backport them: RHEL 9 calls its kernel 5.14.
const NEEDED: &[(&str, &str, &str)] = &[
    ("bpf_task_storage_get", "5.11", "task storage"),
    ("bpf_loop", "5.17", "bpf_loop"),
    // Before, an LSM program was skipped where one ran already on that CPU.
    ("__bpf_prog_enter_recur", "6.1", "LSM programs that are never skipped"),
];
/// What attaches programs to functions and hooks. arm64 has it since Linux 6.4.
const TRACER: &str = "register_ftrace_direct";

/// `present`: which of [`NEEDED`] the kernel has; `None` without BTF, which is a check of its own.
fn kernel_check(release: &str, present: Option<&[&str]>) -> Check {
    let lacking: Vec<String> = NEEDED
        .iter()
        .filter(|(name, ..)| present.is_some_and(|present| !present.contains(name)))
        .map(|(_, since, what)| format!("{what} (Linux {since})"))
        .collect();
    let ok = lacking.is_empty();
    let found =
        if ok { release.to_owned() } else { format!("{release} lacks {}", lacking.join(", ")) };
    let fix = "run Linux 6.1 or later, or a distribution's kernel that has all of this, such as \
               that of RHEL 9.4";
    Check { name: "kernel", ok, found, fix: (!ok).then(|| fix.to_owned()) }
}

fn securityfs() -> Check {
    let ok = Path::new(SECURITYFS).join("lsm").exists();
    let found = if ok { "mounted" } else { "not mounted: the active LSMs cannot be read" };
    let fix = format!("`mount -t securityfs securityfs {SECURITYFS}`");
    let found = format!("{SECURITYFS} is {found}");
    Check { name: "securityfs", ok, found, fix: (!ok).then_some(fix) }
}

fn lsm() -> Check {
    let (ok, found, fix) = match fs::read_to_string(LSM_LIST) {
        Ok(list) => {
            let os_release = fs::read_to_string(OS_RELEASE).unwrap_or_default();
            let fix = lsm_fix(list.trim(), &os_release);
            (has_bpf(&list), format!("active LSMs: {}", list.trim()), fix)
        }
        // The check of securityfs has the fix.
        Err(error) => {
            let found = format!("cannot read {LSM_LIST}: {error}");
            return Check { name: "bpf-lsm", ok: false, found, fix: None };
        }
    };
    Check { name: "bpf-lsm", ok, found, fix: (!ok).then_some(fix) }
}

fn has_bpf(list: &str) -> bool {
    list.trim().split(',').any(|name| name == "bpf")
}

/// How to add `bpf` to what is active now: a list without the others would switch them off.
fn lsm_fix(active: &str, os_release: &str) -> String {
    // `capability` is always active, and no word for the list.
    let others = active.split(',').filter(|name| !matches!(*name, "" | "capability"));
    let list = others.chain(["bpf"]).collect::<Vec<_>>().join(",");
    let debian = format!(
        "`echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX lsm={list}\"' \
         > /etc/default/grub.d/holdfast.cfg && update-grub`"
    );
    let red_hat = format!("`grubby --update-kernel=ALL --args=\"lsm={list}\"`");
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split(' '))
        .collect();
    let command = if families.iter().any(|family| matches!(*family, "debian" | "ubuntu")) {
        debian
    } else if families.iter().any(|family| matches!(*family, "rhel" | "fedora" | "centos")) {
        red_hat
    } else {
        format!("{debian} with GRUB on Debian, {red_hat} where there is grubby")
    };
    format!("add `bpf` to the active LSMs on the kernel command line: {command}; then reboot")
}

/// In lockdown's mode `confidentiality` no BPF program may read kernel memory.
fn lockdown() -> Check {
    // Without the file the kernel has no lockdown.
    let modes = fs::read_to_string(LOCKDOWN).unwrap_or_default();
    lockdown_check(modes.trim())
}

fn lockdown_check(modes: &str) -> Check {
    let ok = !modes.contains("[confidentiality]");
    let found = match modes {
        "" => "the kernel has no lockdown".to_owned(),
        modes => format!("mode: {modes}"),
    };
    let fix = "boot with `lockdown=integrity` in place of `lockdown=confidentiality` on the kernel \
               command line: in that mode BPF programs cannot read what they decide about";
    Check { name: "lockdown", ok, found, fix: (!ok).then(|| fix.to_owned()) }
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
    ftrace_check(fs::read_to_string(FTRACE).ok().as_deref(), None)
}

/// `switch`: the value of `kernel.ftrace_enabled`, which only a kernel with a function tracer has.
/// `present`: as above.
fn ftrace_check(switch: Option<&str>, present: Option<&[&str]>) -> Check {
    const NO_TRACER: &str = "run a kernel built with CONFIG_FUNCTION_TRACER=y and \
                             CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y (Debian's and Red Hat's \
                             are; on arm64 from Linux 6.4 on)";
    let (found, fix) =
        match (switch.map(str::trim), present.map(|present| present.contains(&TRACER))) {
            (None, _) => ("the kernel has no function tracer".to_owned(), Some(NO_TRACER)),
            (_, Some(false)) => {
                ("the function tracer cannot call BPF programs".to_owned(), Some(NO_TRACER))
            }
            (Some("0"), _) => (
                "kernel.ftrace_enabled = 0".to_owned(),
                Some(
                    "`sysctl kernel.ftrace_enabled=1`: at 0 the kernel silently skips every LSM \
                     program",
                ),
            ),
            (Some(value), _) => (format!("kernel.ftrace_enabled = {value}"), None),
        };
    Check { name: "ftrace", ok: fix.is_none(), found, fix: fix.map(str::to_owned) }
}

/// Whether the programs see a mount before it is there. `present`: as above. What the compiler has
/// changed is not under its name among the kernel's symbols. `is_pinned`: whether a guard that is
/// loaded has the program.
fn mounts(present: Option<&[&str]>, symbols: &str, is_pinned: Option<bool>) -> Check {
    let is_symbol = |name: &str| symbols.lines().any(|line| line.split(' ').nth(2) == Some(name));
    let mut found = offsets::ATTACHES_MOUNT.into_iter();
    let found =
        found.find(|name| present.is_none_or(|present| present.contains(name)) && is_symbol(name));
    let fix = "a filesystem that is mounted below a protected path is guarded only when the agent \
               has seen it, milliseconds later: let jobs that mount and delete wait a second, and \
               report this kernel";
    let ok = found.is_some() && is_pinned != Some(false);
    let found = match found {
        Some(name) if !ok => format!("the kernel refused a program on {name}: see the agent's log"),
        Some(name) => format!("new mounts are seen in {name}"),
        None => format!("the kernel has no function {}", offsets::ATTACHES_MOUNT.join(" or ")),
    };
    Check { name: "mounts", ok, found, fix: (!ok).then(|| fix.to_owned()) }
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
    use super::*;

    const DEBIAN: &str = "ID=debian\n";
    const ALMA: &str = "NAME=x\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n";

    #[test]
    fn only_the_whole_word_counts() {
        assert!(has_bpf("lockdown,capability,yama,bpf\n"));
        assert!(!has_bpf("lockdown,capability,nobpf\n"));
        assert!(!has_bpf(""));
    }

    /// The list in the fix was a fixed one: with it an SELinux host would have come up without
    /// SELinux.
    #[test]
    fn lsm_fix_keeps_active_modules() {
        let fix = lsm_fix("lockdown,capability,yama,selinux", ALMA);
        assert!(
            fix.contains("grubby --update-kernel=ALL --args=\"lsm=lockdown,yama,selinux,bpf\"")
        );
        assert!(!fix.contains("update-grub"), "{fix}");
        let fix = lsm_fix("lockdown,capability,apparmor", DEBIAN);
        assert!(fix.contains("$GRUB_CMDLINE_LINUX lsm=lockdown,apparmor,bpf"), "{fix}");
        assert!(fix.contains("/etc/default/grub.d/") && fix.contains("update-grub"), "{fix}");
        assert!(!fix.contains("grubby"), "{fix}");
        let fix = lsm_fix("capability", "ID=arch\n");
        assert!(fix.contains("lsm=bpf") && fix.contains("update-grub") && fix.contains("grubby"));
    }

    #[test]
    fn confidentiality_is_named() {
        assert!(lockdown_check("").ok && lockdown_check("none [integrity] confidentiality").ok);
        let check = lockdown_check("none integrity [confidentiality]");
        assert!(!check.ok && check.fix.unwrap().contains("lockdown=integrity"));
    }

    #[test]
    fn lacking_features_are_named() {
        let all: Vec<&str> = NEEDED.iter().map(|(name, ..)| *name).collect();
        // By what it can do, not by its number.
        assert!(kernel_check("5.14.0-427.el9.x86_64", Some(&all)).ok);
        assert!(kernel_check("6.1.0", None).ok, "without BTF that check fails");
        let check = kernel_check("5.15.0", Some(&all[..1]));
        assert!(!check.ok && check.found.contains("lacks bpf_loop (Linux 5.17)"), "{check:?}");
        assert!(check.fix.unwrap().contains("6.1"));
    }

    #[test]
    fn unseen_mounts_are_named() {
        let symbols = "0000000000000000 t __attach_mnt\n0000000000000000 t make_visible.isra.0\n";
        let check = mounts(Some(&["__attach_mnt"]), symbols, Some(false));
        assert!(!check.ok && check.found.contains("refused"), "{check:?}");
        let check = mounts(Some(&["__attach_mnt"]), symbols, Some(true));
        assert!(check.ok && check.found.contains("__attach_mnt"), "{check:?}");
        let check = mounts(Some(&["make_visible"]), symbols, None);
        assert!(!check.ok && check.fix.is_some(), "{check:?}");
    }

    #[test]
    fn absent_function_tracer_is_named() {
        let present: Option<&[&str]> = Some(&[TRACER]);
        assert!(ftrace_check(Some("1\n"), present).ok && ftrace_check(Some("1\n"), None).ok);
        assert!(ftrace_check(Some("0\n"), present).fix.unwrap().contains("sysctl"));
        for check in [ftrace_check(None, present), ftrace_check(Some("1"), Some(&[]))] {
            assert!(check.fix.unwrap().contains("CONFIG_FUNCTION_TRACER"));
        }
    }
}
