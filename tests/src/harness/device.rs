//! A disk of which one can see what it would hold if the power failed now: an image behind a loop
//! device behind device-mapper.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::sys::{Mapper, mapper};
use super::{Tool, cli};

const SECTOR: u64 = 512;

/// Such a disk, with ext4, mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    control: File,
    name: &'static str,
    image: PathBuf,
    looped: String,
    place: PathBuf,
}

impl Disk {
    /// Makes an image of so many bytes and mounts it.
    pub(crate) fn mount(
        name: &'static str,
        image: &Path,
        bytes: u64,
        place: &Path,
    ) -> Result<Self> {
        Tool::new("modprobe").arg("dm-mod").ok()?;
        make_ext4(image, bytes, &["-b", "1024"])?;
        let looped = Tool::new("losetup").args(["--find", "--show"]).arg(image).ok()?;
        let looped = looped.stdout.trim().to_owned();
        let control = File::options().read(true).write(true).open("/dev/mapper/control");
        let control = control.context("/dev/mapper/control")?;
        let minor = mapper(&control, Mapper::Create, name, None)?;
        let table = format!("{looped} 0");
        mapper(&control, Mapper::Load, name, Some((bytes / SECTOR, "linear", &table)))?;
        mapper(&control, Mapper::Resume, name, None)?;
        fs::create_dir_all(place)?;
        Tool::new("mount").args(["-t", "ext4"]).arg(format!("/dev/dm-{minor}")).arg(place).ok()?;
        Ok(Self { control, name, image: image.to_owned(), looped, place: place.to_owned() })
    }

    /// Everything the disk has been given by this moment, and nothing of what is still in memory.
    /// Whoever writes to it waits meanwhile.
    pub(crate) fn cut(&self) -> Result<Vec<u8>> {
        mapper(&self.control, Mapper::Suspend, self.name, None)?;
        let image = fs::read(&self.image);
        mapper(&self.control, Mapper::Resume, self.name, None)?;
        Ok(image?)
    }

    /// Takes it away again.
    pub(crate) fn remove(self) -> Result<()> {
        Tool::new("umount").arg(&self.place).ok()?;
        mapper(&self.control, Mapper::Remove, self.name, None)?;
        Tool::new("losetup").arg("-d").arg(&self.looped).ok()?;
        Ok(fs::remove_file(&self.image)?)
    }
}

/// Makes an image of so many bytes with an ext4.
pub(crate) fn make_ext4(image: &Path, bytes: u64, options: &[&str]) -> Result<()> {
    Tool::new("modprobe").arg("loop").ok()?;
    File::create(image)?.set_len(bytes)?;
    Tool::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).args(options).arg(image).ok().map(drop)
}

/// Mounts such an image.
pub(crate) fn mount_ext4(image: &Path, place: &Path) -> Result<()> {
    Tool::new("mount").args(["-o", "loop", "-t", "ext4"]).arg(image).arg(place).ok().map(drop)
}

/// Mounts what a disk held, as a machine does that starts again, and hands it to `look`.
pub(crate) fn after_a_cut<T>(
    image: &[u8],
    file: &Path,
    place: &Path,
    look: impl FnOnce() -> Result<T>,
) -> Result<T> {
    fs::write(file, image)?;
    fs::create_dir_all(place)?;
    mount_ext4(file, place)?;
    let outcome = look();
    Tool::new("umount").arg(place).ok()?;
    outcome
}

/// Opens and closes the log below `state_dir` as an agent does that starts after a crash, without
/// one: nothing is pinned in `pin_dir`. Forced: the guard of this machine, which is pinned
/// elsewhere, is refused otherwise.
pub(crate) fn recover(state_dir: &Path, pin_dir: &Path) -> Result<()> {
    let arguments = ["--state-dir".as_ref(), state_dir.as_os_str(), "--run-dir".as_ref()];
    let nowhere = ["/nonexistent/run".as_ref(), "--pin-dir".as_ref(), pin_dir.as_os_str()];
    let all = arguments.into_iter().chain(nowhere).chain(["unpin".as_ref(), "--force".as_ref()]);
    let outcome = cli::holdfast(all)?.ok()?;
    super::check!(!outcome.stderr.contains("not in the audit log"), "{}", outcome.stderr);
    Ok(())
}
