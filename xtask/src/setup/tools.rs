//! Tools besides the compilers: the BPF linker, cargo-deny, rustfmt and clippy.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::apt;
use super::toolchain::{SYSTEM_CLIPPY, Toolchain};
use crate::{paths, process, ui};

const LINKER: &str = "0.13.0";
/// LLVM versions that this bpf-linker can be built for.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];
const DENY: &str = "0.20.2";

/// Finds or builds the linker that fits a toolchain.
pub fn ensure_linker(toolchain: &Toolchain) -> Result<PathBuf> {
    let own = paths::tools().join("bin/bpf-linker");
    if own.is_file() {
        return Ok(own);
    }
    let llvm = toolchain.llvm()?;
    if !LINKER_LLVM.contains(&llvm) {
        bail!("bpf-linker {LINKER} cannot be built for LLVM {llvm}, which this rustc has");
    }
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !Path::new(&prefix).join("bin/llvm-config").is_file() {
        apt::install(&[&format!("llvm-{llvm}-dev")], "LLVM for bpf-linker")?;
    }
    ensure_c_compiler()?;
    ui::step(&format!("bpf-linker {LINKER}: building for LLVM {llvm} (about 90 s)"), || {
        let mut command = install("bpf-linker", LINKER);
        command.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
        // One is read by bpf-linker's own build script, the other by llvm-sys.
        command.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix);
        process::output(&mut command).map(drop)
    })?;
    Ok(own)
}

/// Finds or builds cargo-deny.
pub fn ensure_deny() -> Result<PathBuf> {
    let own = paths::tools().join("bin/cargo-deny");
    if !own.is_file() {
        ensure_c_compiler()?;
        ui::step(&format!("cargo-deny {DENY}: building (a few minutes, once)"), || {
            process::output(&mut install("cargo-deny", DENY)).map(drop)
        })?;
    }
    Ok(own)
}

/// Finds or installs rustfmt and clippy, and the clippy of the toolchain for the kernel programs.
pub fn ensure_components(toolchain: &Toolchain) -> Result<()> {
    if *toolchain == Toolchain::System && !Path::new(SYSTEM_CLIPPY).is_file() {
        let web = process::output(Command::new("dpkg-query").args(["-W", "rustc-web"])).is_ok();
        apt::install(&[if web { "rust-web-clippy" } else { "rust-clippy" }], "clippy for BPF")?;
    }
    let there =
        |tool: &str| process::output(process::own_cargo().args([tool, "--version"])).is_ok();
    if there("fmt") && there("clippy") {
        return Ok(());
    }
    if process::find_program("rustup").is_none() {
        bail!(
            "rustfmt or clippy is missing: install them beside your cargo (Debian: rustfmt, \
             rust-clippy)"
        );
    }
    ui::step("rustup: adding rustfmt and clippy", || {
        let mut command = Command::new("rustup");
        process::output(command.args(["component", "add", "rustfmt", "clippy"])).map(drop)
    })
}

fn install(crate_name: &str, version: &str) -> Command {
    let mut command = process::own_cargo();
    command.args(["install", "--locked", "--quiet", "--version", version, "--root"]);
    command.arg(paths::tools()).arg(crate_name);
    command.env_remove("RUSTFLAGS");
    command
}

/// Finds or installs a compiler for C and C++.
pub fn ensure_c_compiler() -> Result<()> {
    if process::find_program("cc").is_some() && process::find_program("c++").is_some() {
        return Ok(());
    }
    apt::install(&["g++", "libc6-dev"], "a C and C++ compiler")
}
