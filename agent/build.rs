//! Puts the object file with the kernel programs where the agent includes it:
//! `OUT_DIR/holdfast.bpf.o`.
//!
//! `cargo xtask build` makes the object first and names it in `HOLDFAST_EBPF_OBJECT`. Without that,
//! the last one that was built is taken; and without any, an empty file, so that the agent can be
//! checked and unit-tested alone (it then says that it was built without its kernel programs).

use std::path::{Path, PathBuf};
use std::{env, fs};

const VARIABLE: &str = "HOLDFAST_EBPF_OBJECT";
const DEFAULT: &str = "../ebpf/target/bpfel-unknown-none/release/holdfast";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let place = out.join("holdfast.bpf.o");
    let object = match env::var_os(VARIABLE) {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(PathBuf::from(DEFAULT)).filter(|path| path.is_file()),
    };
    match object {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            fs::copy(&object, &place).map(drop).map_err(|error| failed(&object, &error))
        }
        None => fs::write(&place, []).map_err(|error| failed(&place, &error)),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!(
        "cannot copy the kernel programs ({}): {error}. Run `cargo xtask build`",
        path.display()
    )
}
