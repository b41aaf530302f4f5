//! Puts a kernel into the cache: its image, its modules, and a disk of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::META_PACKAGE;
use crate::setup::archive::Archive;
use crate::setup::relations::kernel_parts;
use crate::{paths, process, setup};

/// Fetches one version; the cache changes only when it is complete.
pub fn kernel(name: &str, version: &str, archive: &Archive) -> Result<()> {
    let scratch = paths::cache("kernels").join(format!(".{name}.new"));
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let tree = scratch.join("tree");
    fs::create_dir_all(&tree)?;
    archive.unpack(&resolve(archive, version)?, &tree)?;

    let modules = [tree.join("lib/modules"), tree.join("usr/lib/modules")]
        .into_iter()
        .find(|dir| dir.is_dir())
        .with_context(|| format!("the packages of kernel {version} have no modules"))?;
    let release = only_entry(&modules)?;
    let image =
        [tree.join(format!("boot/vmlinuz-{release}")), modules.join(&release).join("vmlinuz")]
            .into_iter()
            .find(|file| file.is_file())
            .with_context(|| format!("the packages of kernel {version} have no vmlinuz"))?;
    fs::rename(image, scratch.join("vmlinuz"))?;
    // depmod wants to see lib/modules below its base.
    let base = modules.parent().and_then(Path::parent).context("modules have no base directory")?;
    process::output(process::program("depmod").arg("-b").arg(base).arg(&release))?;
    fs::rename(&modules, scratch.join("modules"))?;
    fs::remove_dir_all(&tree)?;
    let disk = scratch.join("modules.ext4");
    setup::disk::make(&scratch.join("modules"), &disk, "modules")?;
    fs::write(scratch.join("release"), &release)?;
    fs::write(scratch.join("version"), version)?;

    let place = paths::cache("kernels").join(name);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::rename(&scratch, &place).with_context(|| format!("cannot move to {}", place.display()))
}

/// Every package that carries a part of a kernel, as `name=version`.
fn resolve(archive: &Archive, version: &str) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut todo = vec![(META_PACKAGE.to_owned(), version.to_owned())];
    while let Some((package, version)) = todo.pop() {
        for part in kernel_parts(&archive.depends(&package, &version)?) {
            let wanted = format!("{}={}", part.0, part.1);
            if !found.contains(&wanted) {
                found.push(wanted);
                todo.push(part);
            }
        }
    }
    if found.is_empty() {
        bail!("package {META_PACKAGE} {version} depends on no kernel image");
    }
    Ok(found)
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = fs::read_dir(dir)?.flatten().map(|entry| entry.file_name());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.to_string_lossy().into_owned()),
        _ => bail!("expected exactly one directory in {}", dir.display()),
    }
}
