//! The Debian package, made with Debian's own `dpkg-deb` from a tree of files: the same to the
//! byte, whoever makes it.
//!
//! There is no cargo-deb: the binary is built by `cargo xtask build` with the kernel programs
//! inside, and pages and completions are made here, so that it would be one more tool with a list
//! of files to keep.

mod manual;
mod next;
mod tree;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, paths, process, setup, ui};
pub use next::next;
use tree::Tree;

/// Options of `package`.
#[derive(Args, Debug)]
pub struct Options {
    /// Make it twice, the second time from a copy of the sources at another place, and compare
    #[arg(long)]
    twice: bool,
}

impl Options {
    /// Makes it, and says what came out.
    pub fn run(&self) -> Result<i32> {
        let package = deb()?;
        let digest = sha256(&package)?;
        ui::say(&format!("  {digest}  {}", shown(&package)));
        if self.twice {
            twice::compare(&package, &digest)?;
            ui::say("  made twice, at two places: the same to the byte");
        }
        Ok(0)
    }
}

/// Makes the package in `target/package`.
pub fn deb() -> Result<PathBuf> {
    setup::for_package()?;
    let built = build::everything(true)?;
    let binary = built.first().context("the build left no holdfast")?;
    let place = paths::root().join("target/package");
    let pages = place.join("pages");
    remove(&pages)?;
    manual::write(&pages)?;
    let root = place.join("tree");
    remove(&root)?;
    let version = version()?;
    let tree = Tree { root: &root, epoch: epoch()? };
    fill(&tree, binary, &pages, &version)?;
    tree.settle()?;
    let package = place.join(format!("holdfast_{version}_amd64.deb"));
    pack(&root, &package, tree.epoch)?;
    Ok(package)
}

/// Everything that is installed, and where.
fn fill(tree: &Tree<'_>, binary: &Path, pages: &Path, version: &str) -> Result<()> {
    let read = |file: &str| {
        let path = paths::root().join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    tree.file("usr/bin/holdfast", &fs::read(binary)?, 0o755)?;
    tree.file(
        "usr/lib/systemd/system/holdfast.service",
        &read("agent/dist/holdfast.service")?,
        0o644,
    )?;
    // No conffile, and the state's directory is not the package's: see the scripts.
    let policy = read("agent/dist/policy.toml")?;
    tree.file("usr/share/holdfast/policy.toml", &policy, 0o644)?;

    let man = "usr/share/man";
    for page in files(pages)? {
        let name = page.strip_prefix(pages)?.to_string_lossy().into_owned();
        let text = fs::read(&page)?;
        let (place, text) = match name.split_once('/') {
            Some(("bash", _)) => {
                ("usr/share/bash-completion/completions/holdfast".to_owned(), text)
            }
            Some(("zsh", _)) => ("usr/share/zsh/vendor-completions/_holdfast".to_owned(), text),
            Some(("fish", name)) => (format!("usr/share/fish/vendor_completions.d/{name}"), text),
            Some((section, name)) => {
                let page = manual::mended(&String::from_utf8(text)?);
                (format!("{man}/{section}/{name}.gz"), manual::gzip(page.as_bytes())?)
            }
            None => bail!("{} is neither a page nor a completion", page.display()),
        };
        tree.file(&place, &text, 0o644)?;
    }
    let about_policy = manual::policy(&String::from_utf8(policy)?);
    tree.file(
        &format!("{man}/man5/holdfast-policy.5.gz"),
        &manual::gzip(about_policy.as_bytes())?,
        0o644,
    )?;
    let allowance = read("agent/dist/man/holdfast-allowance.5")?;
    tree.file(&format!("{man}/man5/holdfast-allowance.5.gz"), &manual::gzip(&allowance)?, 0o644)?;

    let doc = "usr/share/doc/holdfast";
    tree.file(&format!("{doc}/copyright"), copyright(&read)?.as_bytes(), 0o644)?;
    tree.file(&format!("{doc}/changelog.gz"), &manual::gzip(&read("CHANGELOG.md")?)?, 0o644)?;
    for file in ["README.md", "SPECIFICATION.md", "THREAT_MODEL.md"] {
        tree.file(&format!("{doc}/{file}"), &read(file)?, 0o644)?;
    }
    // The index of `docs` leads through the repository, and has the name of the README above.
    let index = paths::root().join("docs/README.md");
    let is_text = |file: &Path| file.extension().is_some_and(|end| end == "md") && file != index;
    carry(tree, "docs", doc, is_text)?;
    // What a fleet is watched and rolled out with: to be taken from there.
    for part in ["prometheus", "grafana", "ansible"] {
        carry(tree, &format!("agent/dist/{part}"), &format!("usr/share/holdfast/{part}"), |_| {
            true
        })?;
    }
    let catalog = read("agent/dist/holdfast.catalog")?;
    tree.file("usr/lib/systemd/catalog/holdfast.catalog", &catalog, 0o644)?;

    let control = String::from_utf8(read("agent/dist/debian/control")?)?;
    let size = tree.size()?.div_ceil(1024);
    let control = control.replace("@VERSION@", version).replace("@SIZE@", &size.to_string());
    let control = control.replace("@MAINTAINER@", &maintainer(|name| std::env::var(name).ok()));
    tree.file("DEBIAN/md5sums", tree.md5sums()?.as_bytes(), 0o644)?;
    tree.file("DEBIAN/control", control.as_bytes(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.file(
            &format!("DEBIAN/{script}"),
            &read(&format!("agent/dist/debian/{script}"))?,
            0o755,
        )?;
    }
    Ok(())
}

/// Who answers for a package: whoever makes it, if DEBFULLNAME and DEBEMAIL say who that is, as for
/// Debian's own tools; else the administrator of the host on which it is installed, whom mail to
/// root reaches.
fn maintainer(variable: impl Fn(&str) -> Option<String>) -> String {
    let given = |name| variable(name).filter(|value| !value.contains(['\n', '<', '>']));
    match (given("DEBFULLNAME"), given("DEBEMAIL")) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (None, _) | (_, None) => "Local administrator <root@localhost>".to_owned(),
    }
}

/// Takes the files of a directory along, at the same places below another.
fn carry(tree: &Tree<'_>, from: &str, to: &str, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let dir = paths::root().join(from);
    for file in files(&dir)?.into_iter().filter(|file| wanted(file)) {
        let name = file.strip_prefix(&dir)?.to_string_lossy().into_owned();
        tree.file(&format!("{to}/{name}"), &fs::read(&file)?, 0o644)?;
    }
    Ok(())
}

fn copyright(read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<String> {
    let (mit, apache) = (read("LICENSE-MIT")?, read("LICENSE-APACHE")?);
    Ok(format!(
        "holdfast is licensed under MIT or Apache-2.0, at your choice; the kernel programs in it \
         under MIT or GPL-2.0\n\
         (/usr/share/common-licenses/GPL-2).\n\n== MIT ==\n\n{}\n== Apache-2.0 ==\n\n{}",
        String::from_utf8(mit)?,
        String::from_utf8(apache)?,
    ))
}

/// Puts a tree into a package. One thread: with several, what xz makes depends on how many there
/// are.
fn pack(tree: &Path, package: &Path, epoch: u64) -> Result<()> {
    let mut command = process::program("dpkg-deb");
    command
        .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
        .arg(tree)
        .arg(package);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    process::output(&mut command).map(drop)
}

/// The time that everything in the package has: that of the commit it is made from.
fn epoch() -> Result<u64> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return epoch
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={epoch} is no number of seconds"));
    }
    let mut command = Command::new("git");
    let text =
        process::output(command.args(["log", "-1", "--format=%ct"]).current_dir(paths::root()))
            .context(
                "without git, say which time files in the package have: SOURCE_DATE_EPOCH=SECONDS",
            )?;
    Ok(text.trim().parse()?)
}

/// The version of the workspace.
fn version() -> Result<String> {
    Ok(env!("CARGO_PKG_VERSION").to_owned())
}

/// SHA-256 of a file.
fn sha256(file: &Path) -> Result<String> {
    let text = process::output(process::program("sha256sum").arg(file))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Every file below a directory, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    file.strip_prefix(paths::root()).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintainer_comes_from_debian_variables() {
        let of = |name: Option<&str>, address: Option<&str>| {
            maintainer(|variable| match variable {
                "DEBFULLNAME" => name.map(str::to_owned),
                _ => address.map(str::to_owned),
            })
        };
        assert_eq!(of(Some("Ann Other"), Some("ann@example.com")), "Ann Other <ann@example.com>");
        assert_eq!(of(Some("Ann Other"), None), "Local administrator <root@localhost>");
        let field = of(Some("A\nDepends: x"), Some("ann@example.com"));
        assert_eq!(field, "Local administrator <root@localhost>");
        let control = include_str!("../../../agent/dist/debian/control");
        assert!(control.contains("\nMaintainer: @MAINTAINER@\n"), "{control}");
    }
}
