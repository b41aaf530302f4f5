//! Which emulator to take. Pure.

use std::fmt;

/// The first one in which code that the guest rewrites is never executed in its old form.
pub const OLDEST: Version = Version(8, 1);

/// A version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// Where to take the emulator from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program in PATH will do.
    Path,
    /// The one that was unpacked before will do.
    Cache,
    /// The machine's own release has one to install.
    Apt,
    /// It has to be unpacked from the backports for the machine's release.
    Backports,
}

impl Version {
    /// From what the program says:
    /// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)`.
    pub fn of_program(line: &str) -> Option<Self> {
        Self::parse(line.strip_prefix("QEMU emulator version ")?)
    }

    /// From a package's version: `1:10.0.2+ds-2+deb13u1~bpo12+1`.
    pub fn of_package(version: &str) -> Option<Self> {
        Self::parse(version.split_once(':').map_or(version, |(_epoch, rest)| rest))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The origin that changes least; `offered` is asked only if nothing that is here will do.
pub fn origin(
    in_path: Option<Version>,
    in_cache: Option<Version>,
    offered: impl FnOnce() -> Option<Version>,
) -> Origin {
    let will_do = |version: Option<Version>| version.is_some_and(|version| version >= OLDEST);
    if will_do(in_path) {
        Origin::Path
    } else if will_do(in_cache) {
        Origin::Cache
    } else if will_do(offered()) {
        Origin::Apt
    } else {
        Origin::Backports
    }
}

/// Of packages as `name=version`, the version of the emulator if it is new enough.
pub fn version_among<'a>(packages: &'a [String], name: &str) -> Option<&'a str> {
    let mut pairs = packages.iter().filter_map(|package| package.split_once('='));
    let (_, version) = pairs.find(|(found, _)| *found == name)?;
    (Version::of_package(version)? >= OLDEST).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Option<Version> = Some(Version(7, 2));
    const NEW: Option<Version> = Some(Version(10, 0));

    #[test]
    fn versions_of_programs() {
        let version = |text| Version::of_program(text);
        assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+b3)"), OLD);
        assert_eq!(version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)"), NEW);
        assert_eq!(version("QEMU emulator version 11.1"), Some(Version(11, 1)));
        assert_eq!(version("QEMU emulator version unknown"), None);
        assert_eq!(version("qemu-img version 7.2.22"), None);
    }

    #[test]
    fn versions_of_packages() {
        assert_eq!(Version::of_package("1:7.2+dfsg-7+deb12u18+b3"), OLD);
        assert_eq!(Version::of_package("1:10.0.2+ds-2+deb13u1~bpo12+1"), NEW);
        assert_eq!(Version::of_package("10.0-1"), NEW);
        assert_eq!(Version::of_package("(none)"), None);
    }

    #[test]
    fn ten_is_later_than_eight() {
        assert!(NEW.unwrap() > OLDEST && OLD.unwrap() < OLDEST);
        assert!(Version(8, 0) < OLDEST && Version(9, 0) > OLDEST);
    }

    #[test]
    fn what_is_here_comes_first() {
        let unasked = || unreachable!("what is here is new enough");
        assert_eq!(origin(NEW, NEW, unasked), Origin::Path);
        assert_eq!(origin(Some(OLDEST), None, unasked), Origin::Path);
        assert_eq!(origin(OLD, NEW, unasked), Origin::Cache);
        assert_eq!(origin(None, NEW, unasked), Origin::Cache);
    }

    #[test]
    fn an_old_one_is_never_taken() {
        assert_eq!(origin(OLD, None, || NEW), Origin::Apt);
        assert_eq!(origin(OLD, OLD, || OLD), Origin::Backports);
        assert_eq!(origin(None, None, || None), Origin::Backports);
    }

    #[test]
    fn the_version_among_packages() {
        let packages = ["libc6=2.36-9", "q-data=1:7.2-1", "q=1:10.0.2+ds-2"].map(str::to_owned);
        assert_eq!(version_among(&packages, "q"), Some("1:10.0.2+ds-2"));
        assert_eq!(version_among(&packages, "q-data"), None);
        assert_eq!(version_among(&packages, "other"), None);
    }
}
