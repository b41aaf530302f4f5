//! Packages of other Debian releases, fetched and unpacked without installing anything.
//!
//! apt keeps its private lists in the cache; signatures are checked with the archive keyring that
//! is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::sources::{Mirror, SUITES, find_mirror};
use super::{apt, relations};
use crate::{paths, process, ui};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ALL_SUITES: &str = "sources.list";
const ONE_RELEASE: &str = "release.list";
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// The Debian archive with all its suites.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    mirror: Mirror,
}

impl Archive {
    /// Opens the archive; gets its package lists if there are none of today (or if `refresh`).
    pub fn open(refresh: bool) -> Result<Self> {
        let archive = Self { dir: paths::cache("apt"), mirror: mirror()? };
        fs::create_dir_all(archive.dir.join("lists/partial"))?;
        fs::create_dir_all(archive.dir.join("cache/archives/partial"))?;
        let list: String = SUITES.iter().map(|suite| archive.mirror.line(suite)).collect();
        let path = archive.dir.join(ALL_SUITES);
        let same = fs::read_to_string(&path).is_ok_and(|old| old == list);
        fs::write(&path, &list)?;
        if refresh || !same || !archive.is_fresh() {
            archive.update()?;
        }
        Ok(archive)
    }

    /// The versions of a package in all suites.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let text = process::output(self.apt("apt-cache").args(["madison", package]))?;
        let versions = relations::madison(&text);
        if versions.is_empty() {
            bail!(
                "the Debian archive offers no `{package}`; look at {} and run `cargo xtask setup \
                 --refresh`",
                self.dir.join(ALL_SUITES).display()
            );
        }
        Ok(versions)
    }

    /// The `Depends` field of one version of a package.
    pub fn depends(&self, package: &str, version: &str) -> Result<String> {
        let wanted = format!("{package}={version}");
        let text = process::output(self.apt("apt-cache").args(["show", &wanted]))?;
        Ok(relations::field(&text, "Depends").unwrap_or_default().to_owned())
    }

    /// A package from the backports for a release, and all that it depends on, as `name=version`.
    ///
    /// What this machine has installed does not matter, nor what is in any other release.
    pub fn with_dependencies(&self, package: &str, release: &str) -> Result<Vec<String>> {
        let backports = format!("{release}-backports");
        let list = self.mirror.line(release) + &self.mirror.line(&backports);
        fs::write(self.dir.join(ONE_RELEASE), list)?;
        let mut command = self.apt_with("apt-get", ONE_RELEASE);
        command.args(["-o", "Dir::State::status=/dev/null", "--simulate", "-q"]);
        command.args(["--no-install-recommends", "-t", &backports, "install", package]);
        Ok(relations::to_install(&process::output(&mut command)?))
    }

    /// Downloads packages (`name=version` or `name/suite`) and unpacks them into a directory.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let downloads = into.join(".deb");
        fs::create_dir_all(&downloads)?;
        let mut command = self.apt("apt-get");
        process::output(command.args(["-q", "download"]).args(packages).current_dir(&downloads))?;
        for entry in fs::read_dir(&downloads)? {
            let file = entry?.path();
            process::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(into))?;
        }
        fs::remove_dir_all(&downloads)?;
        Ok(())
    }

    fn update(&self) -> Result<()> {
        ui::step("Debian archive: package lists of its suites", || {
            let updated = process::output(self.apt("apt-get").args(["-q", "update"]));
            // A mirror may lack a suite: what is missing shows when a package is looked for.
            if let Err(error) = &updated {
                ui::say("    some lists cannot be had; going on with the others:");
                let text = error.to_string();
                text.lines().filter(|line| line.starts_with("E: ")).for_each(ui::say);
            }
            fs::write(self.dir.join("updated"), "").map_err(Into::into)
        })
    }

    fn is_fresh(&self) -> bool {
        let modified = fs::metadata(self.dir.join("updated")).and_then(|file| file.modified());
        modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < FRESH))
    }

    fn apt(&self, program: &str) -> Command {
        self.apt_with(program, ALL_SUITES)
    }

    fn apt_with(&self, program: &str, list: &str) -> Command {
        let mut command = Command::new(program);
        let options = [
            format!("Dir::State::Lists={}", self.dir.join("lists").display()),
            format!("Dir::Cache={}", self.dir.join("cache").display()),
            format!("Dir::Etc::SourceList={}", self.dir.join(list).display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// The archive this machine itself is installed from.
pub fn mirror() -> Result<Mirror> {
    if !apt::is_debian() {
        bail!(
            "kernels, QEMU and the guest come from Debian packages, and this is no Debian system. \
             Run this in a Debian 12 (or newer) machine or container"
        );
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "list" || e == "sources"));
    let texts: Vec<(String, String)> = files
        .iter()
        .filter_map(|file| Some((file.display().to_string(), fs::read_to_string(file).ok()?)))
        .collect();
    let codename = apt::codename()?;
    let pairs = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let mirror = find_mirror(pairs, &codename).with_context(|| {
        format!(
            "no file under /etc/apt names an archive with suite `{codename}` and component main"
        )
    })?;
    // One keyring holds the keys of all suites; the machine's own entry may name a narrower one.
    Ok(if Path::new(KEYRING).exists() { mirror.signed_by(KEYRING) } else { mirror })
}
