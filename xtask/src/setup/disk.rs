//! Disk images.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Makes an ext4 image of a directory, with some room left.
pub fn make(from: &Path, image: &Path, label: &str) -> Result<()> {
    let used = process::output(Command::new("du").args(["-sm", "--apparent-size"]).arg(from))?;
    let used: u64 = used.split_whitespace().next().unwrap_or("0").parse().unwrap_or(0);
    // The image is sparse: room costs nothing.
    let size = format!("{}M", used * 2 + 256);
    let mut command = process::program("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", label, "-d"]).arg(from).arg(image).arg(size);
    process::output(&mut command).map(drop)
}
