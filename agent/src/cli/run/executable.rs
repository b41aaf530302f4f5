//! Finds a command as a shell would, before anything is submitted for it.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use thiserror::Error;

use crate::cli::out;
use crate::text;

/// Where commands are looked for if PATH is not set, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A command that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Executable {
    /// As it is started.
    pub(in crate::cli) path: PathBuf,
    /// The file it leads to.
    pub(in crate::cli) real: PathBuf,
}

impl Executable {
    /// Its own name, in the directory where that really is.
    pub(in crate::cli) fn named(&self) -> io::Result<PathBuf> {
        match (self.path.parent(), self.path.file_name()) {
            (Some(directory), Some(name)) => {
                let here = directory.as_os_str().is_empty();
                Ok(if here { Path::new(".") } else { directory }.canonicalize()?.join(name))
            }
            _ => Ok(self.real.clone()),
        }
    }
}

/// Why it cannot be started.
#[derive(Debug, Error)]
pub(in crate::cli) enum NoExecutable {
    /// There is none.
    #[error("{0}: command not found")]
    NotFound(String),
    /// There is something else.
    #[error("{path}: {why}")]
    NotExecutable {
        /// What was found.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The file that a command's name leads to.
pub(in crate::cli) fn find(name: &OsStr) -> Result<Executable, NoExecutable> {
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    find_in(name, &path)
}

fn find_in(name: &OsStr, path: &OsStr) -> Result<Executable, NoExecutable> {
    let shown = text::for_terminal(name.as_encoded_bytes());
    if name.is_empty() {
        return Err(NoExecutable::NotFound("``".to_owned()));
    }
    if name.as_encoded_bytes().contains(&b'/') {
        return look(Path::new(name)).unwrap_or(Err(NoExecutable::NotFound(shown)));
    }
    let mut wrong = None;
    for directory in env::split_paths(path) {
        // An empty entry is the directory one is in.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        match look(&directory.join(name)) {
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => wrong = wrong.or(Some(error)),
            None => {}
        }
    }
    Err(wrong.unwrap_or(NoExecutable::NotFound(shown)))
}

/// Whether this can be started; `None` if nothing is there.
fn look(path: &Path) -> Option<Result<Executable, NoExecutable>> {
    let wrong = |why: &str| {
        Some(Err(NoExecutable::NotExecutable { path: out::path(path), why: why.to_owned() }))
    };
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return None;
        }
        Err(error) => return wrong(&error.to_string()),
    };
    match real.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(metadata) if metadata.is_dir() => return wrong("is a directory"),
        Ok(_) => return wrong("is no regular file"),
        Err(error) => return wrong(&error.to_string()),
    }
    if let Err(error) = access(&real, Access::EXEC_OK) {
        return wrong(&format!("cannot be executed: {}", io::Error::from(error)));
    }
    if is_bare_script(&real) {
        return wrong(
            "is a script without a `#!` line; start it with its shell, such as `sh FILE`",
        );
    }
    Some(Ok(Executable { path: path.to_owned(), real }))
}

/// Whether the kernel would refuse it as a text that does not say who reads it: that would use up
/// an allowance for nothing.
fn is_bare_script(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(128).read_to_end(&mut start));
    read.is_ok()
        && !start.starts_with(b"#!")
        && start.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn place() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, mode) in [
            ("tool", "#!/bin/sh\n", 0o755),
            ("data", "#!/bin/sh\n", 0o644),
            ("bare", "echo hello\n", 0o755),
            ("empty", "", 0o755),
        ] {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(dir.path().join("directory")).unwrap();
        symlink("tool", dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("broken")).unwrap();
        dir
    }

    #[test]
    fn links_are_followed_name_is_kept() {
        let dir = place();
        let path = format!("/nonexistent:{}", dir.path().display());
        let found = find_in(OsStr::new("link"), OsStr::new(&path)).unwrap();
        assert_eq!(found.path, dir.path().join("link"));
        assert_eq!(found.real, dir.path().join("tool").canonicalize().unwrap());
        assert_eq!(found.named().unwrap(), dir.path().canonicalize().unwrap().join("link"));
        let by_path = find_in(dir.path().join("tool").as_os_str(), OsStr::new("")).unwrap();
        assert_eq!(by_path.real, found.real);
    }

    #[test]
    fn absent_differs_from_not_executable() {
        let dir = place();
        for name in ["absent", "broken", ""] {
            let error = find_in(OsStr::new(name), dir.path().as_os_str()).unwrap_err();
            assert!(matches!(error, NoExecutable::NotFound(_)), "{name}: {error}");
        }
        for (name, why) in [
            ("data", "cannot be executed"),
            ("directory", "is a directory"),
            ("bare", "`#!` line"),
            ("empty", "`#!` line"),
        ] {
            let error = find_in(OsStr::new(name), dir.path().as_os_str()).unwrap_err();
            assert!(matches!(error, NoExecutable::NotExecutable { .. }), "{name}: {error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        let file = dir.path().join("tool/x");
        assert!(matches!(
            find_in(file.as_os_str(), OsStr::new("")),
            Err(NoExecutable::NotFound(_))
        ));
    }

    #[test]
    fn search_continues_past_unusable_files() {
        let (first, second) = (place(), place());
        std::fs::set_permissions(
            second.path().join("data"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let path = env::join_paths([first.path(), second.path()]).unwrap();
        let found = find_in(OsStr::new("data"), &path).unwrap();
        assert_eq!(found.path, second.path().join("data"));
    }
}
