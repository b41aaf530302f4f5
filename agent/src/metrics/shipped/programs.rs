//! Prometheus' own programs. A test that needs one and does not find it fails.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where a program is: in the cache, or else in PATH.
pub(super) fn find(name: &str) -> PathBuf {
    let cached = super::path(".cache/prometheus/usr/bin").join(name);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&paths).map(|dir| dir.join(name));
    let found = std::iter::once(cached).chain(in_path).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: `cargo xtask setup` fetches it"))
}

/// Runs a program that has to succeed, and returns all that it says.
pub(super) fn run(command: &mut Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
    said
}
