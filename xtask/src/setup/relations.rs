//! Reading what apt prints about packages. Pure.

/// Versions in the output of `apt-cache madison`.
pub fn madison(text: &str) -> Vec<String> {
    let mut versions: Vec<String> = text
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect();
    versions.dedup();
    versions
}

/// A field of the first stanza that `apt-cache show` prints.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// What `apt-get --simulate install` would install, as `name=version`.
pub fn to_install(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let (_, version) = rest.split_once('(')?;
            Some(format!("{name}={}", version.split(' ').next()?))
        })
        .collect()
}

/// The packages in a `Depends` field that carry a kernel, with the version they are pinned to.
///
/// Up to 7.2 an image is one package; from 7.3 on it is split into `binary`, `modules` and `base`.
pub fn kernel_parts(depends: &str) -> Vec<(String, String)> {
    depends
        .split([',', '|'])
        .filter_map(|relation| {
            let (name, version) = relation.trim().split_once(" (= ")?;
            is_kernel_part(name)
                .then(|| (name.to_owned(), version.trim_end_matches(')').to_owned()))
        })
        .collect()
}

fn is_kernel_part(name: &str) -> bool {
    ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"].iter().any(|prefix| {
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_lists_versions() {
        let text = "linux-image-cloud-amd64 | 7.3.4-1~bpo13+1 | http://m.test/debian tb/main \
                    amd64\n\
                    linux-image-cloud-amd64 |   7.2.13-1 | http://m.test/debian sid/main amd64\n";
        assert_eq!(madison(text), ["7.3.4-1~bpo13+1", "7.2.13-1"]);
        assert!(madison("").is_empty());
    }

    #[test]
    fn what_apt_would_install() {
        let text = "Reading package lists...\n\
                    Inst libfdt1 (1.6.1-4+b1 Debian:12.9/oldstable [amd64])\n\
                    Inst q [1:7.2-1] (1:10.0.2-2~bpo12+1 Debian Backports:12 [amd64]) []\n\
                    Conf q (1:10.0.2-2~bpo12+1 Debian Backports:12 [amd64])\n";
        assert_eq!(to_install(text), ["libfdt1=1.6.1-4+b1", "q=1:10.0.2-2~bpo12+1"]);
    }

    #[test]
    fn field_is_of_first_stanza() {
        let text = "Package: a\nPre-Depends: x\nDepends: b (= 1)\n\nPackage: a\nSection: s\n";
        assert_eq!(field(text, "Depends"), Some("b (= 1)"));
        assert_eq!(field(text, "Section"), None);
    }

    #[test]
    fn one_package_image() {
        let parts = kernel_parts("linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)");
        assert_eq!(parts, [("linux-image-6.1.0-50-cloud-amd64".into(), "6.1.176-1".into())]);
    }

    #[test]
    fn split_image() {
        let depends = "dracut | initramfs-tools (>= 0.120+deb8u2), kmod, \
                       linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), \
                       linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), \
                       linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), \
                       linux-modules-cloud-amd64 (= 7.3.4-1), linux-base (>= 4.12~)";
        let names: Vec<String> = kernel_parts(depends).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "linux-base-7.3.4+deb13-cloud-amd64",
                "linux-binary-7.3.4+deb13-cloud-amd64",
                "linux-modules-7.3.4+deb13-cloud-amd64"
            ]
        );
    }
}
