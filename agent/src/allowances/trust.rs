//! Reads who may sign and what this host is called. It judges nothing but whether somebody else
//! could have written the files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use holdfast_policy::Signing;
use holdfast_policy::allowance::{HostNames, Refused, RefusedReason};
use holdfast_policy::signers::{RevokedKeys, Signers};
use rustix::fs::OFlags;

/// A file of keys longer than this is none.
const MAX_FILE: u64 = 1 << 20;
/// Bytes of /etc/machine-id that are looked at.
const MAX_ID: u64 = 64;

/// Everything about people and this host that a judgement needs.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Whose key is whose.
    pub(crate) signers: Signers,
    /// Keys that are not trusted any more.
    pub(crate) revoked: RevokedKeys,
    /// What this host is called.
    pub(crate) host: HostNames,
}

/// Reads it all, as it is now.
pub(crate) fn read_trust(signing: &Signing) -> Result<Trust, Refused> {
    let text = read("the allowed signers", &signing.signers)?;
    let text = String::from_utf8(text)
        .map_err(|_| unreadable(format!("{} is not UTF-8 text", signing.signers)))?;
    let signers = Signers::parse(&signing.signers, &text)
        .map_err(|problems| unreadable(problems.to_string().trim_end()))?;
    let revoked = match &signing.revoked {
        None => RevokedKeys::default(),
        Some(path) => {
            let text = read("the revoked keys", path)?;
            RevokedKeys::parse(path, &text)
                .map_err(|problems| unreadable(problems.to_string().trim_end()))?
        }
    };
    Ok(Trust { signers, revoked, host: host_names() })
}

/// What this host is called.
pub(crate) fn host_names() -> HostNames {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut id = String::new();
    let read =
        File::open("/etc/machine-id").and_then(|file| file.take(MAX_ID).read_to_string(&mut id));
    let id = id.trim();
    let machine_id = (read.is_ok() && !id.is_empty()).then(|| id.to_owned());
    HostNames { name, machine_id }
}

fn unreadable(why: impl std::fmt::Display) -> Refused {
    let help = "no allowance counts until it can be read: put it right, owned by root and writable \
                by root only";
    Refused::new(RefusedReason::SignersUnreadable, why, help)
}

fn read(what: &str, path: &str) -> Result<Vec<u8>, Refused> {
    let own = rustix::process::geteuid().as_raw();
    let mut bytes = Vec::new();
    let read = || -> io::Result<()> {
        let file = open(Path::new(path), own)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(())
    };
    let mut read = read;
    match read() {
        Ok(()) => Ok(bytes),
        Err(error) => Err(unreadable(format!("cannot read {what} in {path}: {error}"))),
    }
}

/// Opens a file that nobody but root and `own` can have written: neither it, nor a link to it, nor
/// its directory.
fn open(path: &Path, own: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    only(&metadata, own, "it")?;
    let link = fs::symlink_metadata(path)?;
    if link.is_symlink() {
        owned(&link, own, "the link that leads to it")?;
    }
    for dir in directories(path)? {
        let metadata = fs::metadata(&dir)?;
        // In a sticky directory nobody can replace another's file, but whom the directory belongs
        // to.
        let check = if metadata.mode() & 0o1000 == 0 { only } else { owned };
        check(&metadata, own, "its directory")?;
    }
    Ok(file)
}

/// The directory of its name, and that of the file to which the name leads.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let real = fs::canonicalize(path)?;
    Ok([path, real.as_path()].into_iter().filter_map(Path::parent).map(Path::to_owned).collect())
}

fn only(metadata: &Metadata, own: u32, what: &str) -> io::Result<()> {
    owned(metadata, own, what)?;
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(io::Error::other(format!("{what} can be written by others (mode {mode:04o})")));
    }
    Ok(())
}

fn owned(metadata: &Metadata, own: u32, what: &str) -> io::Result<()> {
    let uid = metadata.uid();
    if uid == 0 || uid == own {
        return Ok(());
    }
    Err(io::Error::other(format!("{what} belongs to user {uid}, not to root")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn file_writable_by_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed_signers");
        fs::write(&path, "x").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&path, 0o644);
        assert!(open(&path, own()).is_ok());
        for wrong in [0o664, 0o646] {
            mode(&path, wrong);
            let error = open(&path, own()).unwrap_err().to_string();
            assert!(error.contains("written by others"), "{error}");
        }
        mode(&path, 0o600);
        mode(dir.path(), 0o777);
        let error = open(&path, own()).unwrap_err().to_string();
        assert!(error.contains("its directory"), "{error}");
        mode(dir.path(), 0o1777);
        assert!(open(&path, own()).is_ok(), "sticky");
        if own() == 0 {
            // Whom a sticky directory belongs to can replace what is in it.
            std::os::unix::fs::chown(dir.path(), Some(12_345), None).unwrap();
            let error = open(&path, 0).unwrap_err().to_string();
            assert!(error.contains("its directory belongs to user 12345"), "{error}");
            std::os::unix::fs::chown(dir.path(), Some(0), None).unwrap();
        }
        mode(dir.path(), 0o700);
        let metadata = fs::metadata(&path).unwrap();
        if metadata.uid() == 0 {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            let error = open(&path, 0).unwrap_err().to_string();
            assert!(error.contains("belongs to user 12345"), "{error}");
        } else {
            let error = open(&path, own() + 1).unwrap_err().to_string();
            assert!(error.contains("belongs to user"), "{error}");
        }
    }

    #[test]
    fn link_target_is_checked_too() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open(&link, own()).is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(open(&link, own()).is_err());
        assert!(open(dir.path(), own()).is_err(), "a directory");
    }

    #[test]
    fn this_host_has_a_name() {
        assert!(!host_names().name.is_empty());
    }

    #[test]
    fn missing_signers_file_is_named() {
        let signing =
            Signing { signers: "/nonexistent/allowed_signers".to_owned(), ..Signing::default() };
        let refused = read_trust(&signing).unwrap_err();
        assert_eq!(refused.reason, RefusedReason::SignersUnreadable);
        assert!(refused.message.contains("/nonexistent/allowed_signers"), "{refused}");
    }
}
