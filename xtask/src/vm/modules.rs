//! Which module files the initramfs needs, in the order in which they are loaded.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the guest needs before its disks are there; what is built into the kernel is left out.
pub const EARLY: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"];

/// The files (relative to the modules directory) for `wanted`, each after what it depends on.
///
/// `text` is a `modules.dep`: `file: direct and indirect dependencies, last needed first`.
pub fn load_order(text: &str, wanted: &[&str]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = text.lines().filter_map(|line| line.split_once(':'));
        let Some((file, needs)) = line.into_iter().find(|(file, _)| module_name(file) == *name)
        else {
            continue;
        };
        for file in needs.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    order
}

/// The content of a module file, unpacked.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let unpack = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {
            return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        }
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is no kernel module", path.display()),
    };
    let output = Command::new(unpack).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("cannot start `{unpack}`"))?;
    if !output.status.success() {
        bail!("{} cannot be unpacked: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// `kernel/drivers/block/virtio_blk.ko.xz` is `virtio_blk`; file names may use dashes instead.
pub fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

/// Whether loading is unnecessary: used to tell a missing module from one that is built in.
pub fn is_built_in(builtin: &str, name: &str) -> bool {
    builtin.lines().any(|file| module_name(file) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko \
kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko \
kernel/drivers/virtio/virtio.ko
kernel/drivers/char/hw_random/virtio-rng.ko:
";

    #[test]
    fn dependencies_first_and_nothing_twice() {
        let order = load_order(DEP, &["virtio_pci", "virtio_blk", "not_there"]);
        let names: Vec<String> = order.iter().map(|file| module_name(file)).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci", "virtio_blk"]);
    }

    #[test]
    fn dashes_are_underscores() {
        assert_eq!(load_order(DEP, &["virtio_rng"]).len(), 1);
        assert!(is_built_in("kernel/fs/ext4/ext4.ko\n", "ext4"));
        assert!(!is_built_in("kernel/fs/ext4/ext4.ko\n", "xfs"));
    }
}
