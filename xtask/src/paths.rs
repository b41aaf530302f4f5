//! Where things are. Everything fetched or made lives under `.cache`, which git ignores.

use std::path::{Path, PathBuf};

/// The target of the static binaries.
pub const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";
/// The target of the kernel programs.
pub const BPF_TARGET: &str = "bpfel-unknown-none";

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A path inside the cache.
pub fn cache(inside: &str) -> PathBuf {
    root().join(".cache").join(inside)
}

/// Where tools that are built from source go.
pub fn tools() -> PathBuf {
    cache("tools")
}

/// The workspace of the kernel programs.
pub fn ebpf() -> PathBuf {
    root().join("ebpf")
}

/// The workspace of the fuzz targets.
pub fn fuzz() -> PathBuf {
    root().join("policy/fuzz")
}

/// The object file with the kernel programs.
pub fn ebpf_object() -> PathBuf {
    ebpf().join("target").join(BPF_TARGET).join("release/holdfast")
}

/// A static binary, built with or without optimisation.
pub fn static_binary(name: &str, release: bool) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    root().join("target").join(HOST_TARGET).join(profile).join(name)
}
