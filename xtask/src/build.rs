//! Builds the kernel programs, then the static binaries with the programs inside.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::toolchain::{self, Toolchain};
use crate::{paths, process, setup, ui};

/// The binaries that go into a guest.
pub const BINARIES: [&str; 2] = ["holdfast", "holdfast-tests"];

/// Options of `build`.
#[derive(Args, Debug)]
pub struct Options {
    /// Without optimisation, to be faster; the kernel programs are always optimised
    #[arg(long)]
    debug: bool,
    /// With optimisation (this is the default)
    #[arg(long, conflicts_with = "debug")]
    release: bool,
}

impl Options {
    /// Builds, and says what came out.
    pub fn run(&self) -> Result<i32> {
        let built = everything(self.release || !self.debug)?;
        describe(&built)?;
        Ok(0)
    }
}

/// Builds everything; returns the binaries in the order of [`BINARIES`].
pub fn everything(release: bool) -> Result<Vec<PathBuf>> {
    let object = kernel_programs()?;
    binaries(&object, release)
}

/// Builds the kernel programs.
pub fn kernel_programs() -> Result<PathBuf> {
    let (toolchain, linker) = setup::for_build()?;
    let mut command = ebpf_cargo(&toolchain, "build");
    let flags = ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];
    command.env("CARGO_ENCODED_RUSTFLAGS", encoded(&flags)?);
    // Not among the flags: these are part of what symbols are named by.
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker);
    process::step("building the kernel programs", &mut command)?;
    let object = paths::ebpf_object();
    if !object.is_file() {
        bail!("the build of the kernel programs left no {}", object.display());
    }
    Ok(object)
}

/// A cargo command in the workspace of the kernel programs.
pub fn ebpf_cargo(toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut command = match toolchain {
        Toolchain::System => {
            // Full paths, so that rustup's stand-ins of the same names are not taken.
            let program = match subcommand {
                "clippy" => toolchain::SYSTEM_CLIPPY,
                _ => "/usr/bin/cargo",
            };
            let mut command = process::cargo(Path::new(program));
            command.env("CARGO", "/usr/bin/cargo").env("RUSTC", "/usr/bin/rustc");
            command.env("RUSTC_BOOTSTRAP", "1").arg(subcommand);
            command
        }
        Toolchain::Nightly => {
            let mut command = process::cargo(Path::new("cargo"));
            command.arg("+nightly").arg(subcommand).arg("-Zbuild-std=core");
            command
        }
    };
    command.args(["--quiet", "--release", "--bin", "holdfast", "--target", paths::BPF_TARGET]);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTFLAGS");
    // Another profile makes other programs, of which the verifier takes some and refuses others.
    let profiles = env::vars_os().map(|(name, _)| name);
    for name in profiles.filter(|name| name.to_string_lossy().starts_with("CARGO_PROFILE_")) {
        command.env_remove(name);
    }
    command.env("CARGO_INCREMENTAL", "0");
    command.env("CARGO_TARGET_DIR", paths::ebpf().join("target")).current_dir(paths::ebpf());
    command
}

fn binaries(object: &Path, release: bool) -> Result<Vec<PathBuf>> {
    let mut command = process::own_cargo();
    command.args(["build", "--quiet", "--target", paths::HOST_TARGET]);
    for name in BINARIES {
        command.args(["--package", name]);
    }
    if release {
        command.arg("--release");
    }
    // With a target named, build scripts and procedural macros keep their own flags.
    command
        .env("CARGO_ENCODED_RUSTFLAGS", encoded(&["-Ctarget-feature=+crt-static"])?)
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", paths::root().join("target"))
        .env("HOLDFAST_EBPF_OBJECT", object)
        .current_dir(paths::root());
    process::step("building holdfast and holdfast-tests", &mut command)?;
    let built = built(release);
    if built.len() != BINARIES.len() {
        bail!("the build left no {}", BINARIES.join(" or no "));
    }
    Ok(built)
}

/// Flags for the compiler, and such that the directories of this machine are in nothing that comes
/// out: wherever and by whomever it is built, it is the same to the byte. The encoded form keeps a
/// path with spaces together.
fn encoded(flags: &[&str]) -> Result<String> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let remaps = [remap(&cargo_home, "/cargo"), remap(&paths::root(), "/holdfast")];
    let remaps = remaps.iter().map(String::as_str);
    Ok(flags.iter().copied().chain(remaps).collect::<Vec<_>>().join("\x1f"))
}

/// The binaries that are there, without building any.
pub fn built(release: bool) -> Vec<PathBuf> {
    let all = BINARIES.iter().map(|name| paths::static_binary(name, release));
    all.filter(|path| path.is_file()).collect()
}

/// One line about each file that was built.
fn describe(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let size =
            fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        let shown = file.strip_prefix(paths::root()).unwrap_or(file);
        ui::say(&format!("  {} ({} KiB)", shown.display(), size / 1024));
    }
    Ok(())
}
