//! The offsets the programs need, for the running kernel.

use holdfast_abi::Offsets;

use super::{btf::Btf, error::KernelError};

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
const WANTED: &[&str] = &[
    "dentry",
    "inode",
    "super_block",
    "iattr",
    "file",
    "task_struct",
    "cred",
    "renamedata",
    "mount",
    "bpf_lsm_inode_unlink",
    "bpf_lsm_inode_rmdir",
    "bpf_lsm_inode_rename",
    "bpf_lsm_inode_link",
    "bpf_lsm_inode_setattr",
    "bpf_lsm_file_lock",
    "vfs_rmdir",
    "vfs_rename",
    "vfs_link",
    "do_truncate",
    "exit_signals",
    "security_inode_init_security",
    ATTACHES_MOUNT[0],
    ATTACHES_MOUNT[1],
];
/// What attaches a mount, after it got its place: since 6.17 or so, and before.
pub(super) const ATTACHES_MOUNT: [&str; 2] = ["make_visible", "__attach_mnt"];

/// What the programs and their loader need to know of the running kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) offsets: Offsets,
    /// The hook `inode_setattr` takes the mount's id mapping first (6.8 and later, or so).
    pub(super) setattr_has_idmap: bool,
    /// One of [`ATTACHES_MOUNT`], if the kernel has one: its compiler may have made it part of
    /// another function.
    pub(super) attaches_mount: Option<&'static str>,
}

/// Which of these functions the running kernel has.
pub(super) fn functions<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, KernelError> {
    let btf = running(names)?;
    Ok(names.iter().copied().filter(|name| btf.has_function(name)).collect())
}

/// Reads it, and checks that the hooks take the arguments the programs expect.
pub(super) fn read() -> Result<Layout, KernelError> {
    from_btf(&running(WANTED)?)
}

fn running(wanted: &[&str]) -> Result<Btf, KernelError> {
    let data = std::fs::read(BTF_PATH)
        .map_err(|source| KernelError::Io { what: format!("read {BTF_PATH}"), source })?;
    Btf::parse(data, wanted)
}

fn from_btf(btf: &Btf) -> Result<Layout, KernelError> {
    expect_parameters(btf, "bpf_lsm_inode_unlink", &["dir", "dentry"])?;
    expect_parameters(btf, "bpf_lsm_inode_rmdir", &["dir", "dentry"])?;
    expect_parameters(
        btf,
        "bpf_lsm_inode_rename",
        &["old_dir", "old_dentry", "new_dir", "new_dentry"],
    )?;
    expect_parameters(btf, "bpf_lsm_inode_link", &["old_dentry", "dir", "new_dentry"])?;
    expect_parameters(btf, "bpf_lsm_file_lock", &["file", "cmd"])?;
    // The exits find the dentry where 6.1 to 7.3 have it, and the new inode is where it was.
    for (function, place, name) in [
        ("vfs_rmdir", 2, "dentry"),
        ("vfs_link", 0, "old_dentry"),
        ("do_truncate", 1, "dentry"),
        ("exit_signals", 0, "tsk"),
        ("security_inode_init_security", 0, "inode"),
    ] {
        let parameters = btf.parameters(function)?;
        if parameters.get(place).map(String::as_str) != Some(name) {
            let what = format!("{function} takes ({})", parameters.join(", "));
            return Err(KernelError::Layout { what });
        }
    }
    btf.parameters("vfs_rename")?;
    let setattr = btf.parameters("bpf_lsm_inode_setattr")?;
    let setattr_has_idmap = match setattr.len() {
        2 | 3 if setattr[setattr.len() - 2..] == ["dentry", "attr"] => setattr.len() == 3,
        _ => {
            return Err(KernelError::Layout {
                what: format!("the hook inode_setattr takes ({})", setattr.join(", ")),
            });
        }
    };
    let offsets = Offsets {
        dentry_parent: btf.offset("dentry", "d_parent")?,
        dentry_inode: btf.offset("dentry", "d_inode")?,
        dentry_name: btf.offset("dentry", "d_name.name")?,
        inode_mode: btf.offset("inode", "i_mode")?,
        inode_uid: btf.offset("inode", "i_uid.val")?,
        inode_ino: btf.offset("inode", "i_ino")?,
        inode_nlink: btf.offset("inode", "i_nlink")?,
        inode_size: btf.offset("inode", "i_size")?,
        inode_sb: btf.offset("inode", "i_sb")?,
        inode_generation: btf.offset("inode", "i_generation")?,
        sb_dev: btf.offset("super_block", "s_dev")?,
        sb_root: btf.offset("super_block", "s_root")?,
        iattr_valid: btf.offset("iattr", "ia_valid")?,
        iattr_size: btf.offset("iattr", "ia_size")?,
        file_inode: btf.offset("file", "f_inode")?,
        task_flags: btf.offset("task_struct", "flags")?,
        task_real_cred: btf.offset("task_struct", "real_cred")?,
        // Only in kernels with auditing.
        task_loginuid: btf.offset("task_struct", "loginuid").unwrap_or(Offsets::ABSENT),
        task_start: btf.offset("task_struct", "start_boottime")?,
        cred_uid: btf.offset("cred", "uid.val")?,
        rename_old_dentry: btf.offset("renamedata", "old_dentry")?,
        rename_new_dentry: btf.offset("renamedata", "new_dentry")?,
        rename_flags: btf.offset("renamedata", "flags")?,
        dentry_hash: btf.offset("dentry", "d_hash.pprev")?,
        dentry_children: either(btf, "d_children", "d_subdirs")?,
        dentry_sibling: either(btf, "d_sib", "d_child")?,
        dentry_alias: either(btf, "d_alias", "d_u.d_alias")?,
        inode_dentry: btf.offset("inode", "i_dentry")?,
        inode_rdev: btf.offset("inode", "i_rdev")?,
        inode_blocks: btf.offset("inode", "i_blocks")?,
        inode_ctime_sec: ctime(btf, "sec")?,
        inode_ctime_nsec: ctime(btf, "nsec")?,
        inode_pages: btf.offset("inode", "i_data.nrpages")?,
        task_cred: btf.offset("task_struct", "cred")?,
        cred_fsuid: btf.offset("cred", "fsuid.val")?,
        rename_delegated: btf.offset("renamedata", "delegated_inode")?,
        sb_magic: btf.offset("super_block", "s_magic")?,
        mount_root: btf.offset("mount", "mnt.mnt_root")?,
        mount_point: btf.offset("mount", "mnt_mountpoint")?,
        mount_parent: btf.offset("mount", "mnt_parent")?,
        mount_namespace: btf.offset("mount", "mnt_ns")?,
        mount_children: btf.offset("mount", "mnt_mounts")?,
        mount_sibling: btf.offset("mount", "mnt_child")?,
        page_size: page_size(),
    };
    let takes_mount = |function: &&str| {
        btf.parameters(function).is_ok_and(|names| names.first().map(String::as_str) == Some("mnt"))
    };
    let attaches_mount = ATTACHES_MOUNT.into_iter().find(takes_mount);
    Ok(Layout { offsets, setattr_has_idmap, attaches_mount })
}

#[expect(unsafe_code, reason = "a call into the C library")]
fn page_size() -> u32 {
    // SAFETY: the call has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u32 }
}

/// Offset of a member of `dentry` that newer kernels call one way and older ones another.
fn either(btf: &Btf, newer: &str, older: &str) -> Result<u32, KernelError> {
    btf.offset("dentry", newer).or_else(|_| btf.offset("dentry", older))
}

/// A part of an inode's time of change: before 6.6, before 6.11, and since.
fn ctime(btf: &Btf, part: &str) -> Result<u32, KernelError> {
    let names = ["i_ctime.tv_", "__i_ctime.tv_", "i_ctime_"].map(|name| format!("{name}{part}"));
    let [first, second, third] = names.each_ref().map(|name| btf.offset("inode", name));
    first.or(second).or(third)
}

fn expect_parameters(btf: &Btf, function: &str, expected: &[&str]) -> Result<(), KernelError> {
    let found = btf.parameters(function)?;
    if found == expected {
        return Ok(());
    }
    Err(KernelError::Layout {
        what: format!(
            "{function} takes ({}) where ({}) is expected",
            found.join(", "),
            expected.join(", ")
        ),
    })
}
