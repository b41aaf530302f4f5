//! A Rust that can build the kernel programs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::{paths, process};

/// Clippy of the distribution's toolchain; it is another program than rustup's of the same name.
pub const SYSTEM_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// A Rust that can build the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// From the distribution, with a libcore for BPF ready to use.
    System,
    /// Nightly from rustup, which builds libcore itself from `rust-src`.
    Nightly,
}

impl Toolchain {
    /// The one that is here, if any.
    pub fn find() -> Option<Self> {
        let core = Path::new("/usr/lib/rustlib").join(paths::BPF_TARGET).join("lib");
        let ready = Path::new("/usr/bin/rustc").is_file() && Path::new("/usr/bin/cargo").is_file();
        if ready && core.is_dir() {
            return Some(Self::System);
        }
        let mut rustc = Command::new("rustc");
        let sysroot = process::output(rustc.args(["+nightly", "--print", "sysroot"])).ok()?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
        source.is_dir().then_some(Self::Nightly)
    }

    /// Its compiler.
    pub fn rustc(&self) -> Command {
        match self {
            Self::System => Command::new("/usr/bin/rustc"),
            Self::Nightly => {
                let mut command = Command::new("rustc");
                command.arg("+nightly");
                command
            }
        }
    }

    /// The major version of the LLVM in it, which the linker's must match.
    pub fn llvm(&self) -> Result<u32> {
        let text = process::output(self.rustc().arg("-vV"))?;
        llvm_major(&text).with_context(|| format!("rustc -vV names no LLVM version:\n{text}"))
    }
}

/// Finds or installs a toolchain for the kernel programs.
pub fn ensure_bpf() -> Result<Toolchain> {
    if let Some(found) = Toolchain::find() {
        return Ok(found);
    }
    if !apt::is_debian() {
        bail!(
            "no Rust here can build for {}. Run `rustup toolchain install nightly --component \
             rust-src`, or use a Debian machine, where `cargo xtask setup` installs one",
            paths::BPF_TARGET
        );
    }
    if !has_candidate_after_update("libstd-rust-web-dev-bpf")? {
        apt::install(&["rustc", "cargo", "libstd-rust-dev-bpf"], "Rust for BPF")?;
    } else {
        apt::install(&["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"], "Rust for BPF")?;
    }
    Toolchain::find().context("the Rust packages are installed, but bring no libcore for BPF")
}

fn has_candidate_after_update(package: &str) -> Result<bool> {
    if !apt::has_candidate(package) {
        apt::update()?;
    }
    Ok(apt::has_candidate(package))
}

fn llvm_major(verbose_version: &str) -> Option<u32> {
    let version = verbose_version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_of_a_compiler() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
