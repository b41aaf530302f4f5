//! Finds the Debian mirror in this machine's apt configuration, in its old and its new format.
//!
//! Pure: text in, mirror out. The project itself names no mirror.

use super::deb822;

/// Suites that kernels and the emulator are taken from.
pub const SUITES: [&str; 5] =
    ["bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"];

/// A Debian archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Mirror {
    /// A line for a one-line-style source list.
    pub fn line(&self, suite: &str) -> String {
        let options = self.signed_by.as_ref().map(|key| format!("[signed-by={key}] "));
        format!("deb {}{} {suite} main\n", options.unwrap_or_default(), self.uri)
    }

    /// The same archive, checked with another keyring.
    pub fn signed_by(mut self, keyring: &str) -> Self {
        self.signed_by = Some(keyring.to_owned());
        self
    }
}

/// The archive that carries `suite` itself (so neither its security updates nor somebody else's
/// packages).
pub fn find_mirror<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)>,
    suite: &str,
) -> Option<Mirror> {
    files
        .flat_map(
            |(name, text)| {
                if name.ends_with(".sources") { new_format(text) } else { one_line(text) }
            },
        )
        .find(|(_, suites, components)| {
            suites.iter().any(|s| s == suite) && components.iter().any(|c| c == "main")
        })
        .map(|(mirror, ..)| mirror)
}

type Entry = (Mirror, Vec<String>, Vec<String>);

fn one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Entry> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    let mut words = rest.split_whitespace().map(str::to_owned);
    let uri = words.next().filter(|uri| !uri.starts_with("cdrom:"))?;
    Some((Mirror { uri, signed_by }, vec![words.next()?], words.collect()))
}

fn new_format(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stanza in deb822::stanzas(text) {
        let field = |name: &str| {
            stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
        };
        let words = |name: &str| {
            field(name).unwrap_or("").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let enabled = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if !enabled || !words("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        // A key can also be written into the stanza itself; only a file can be referred to.
        let signed_by =
            field("Signed-By").filter(|value| value.starts_with('/')).map(str::to_owned);
        for uri in words("URIs") {
            let mirror = Mirror { uri, signed_by: signed_by.clone() };
            entries.push((mirror, words("Suites"), words("Components")));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# a comment inside
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /keys/debian.gpg
";

    fn find(name: &str, text: &str) -> Option<Mirror> {
        find_mirror([(name, text)].into_iter(), "bookworm")
    }

    #[test]
    fn the_new_format() {
        let mirror = find("debian.sources", DEB822).unwrap();
        assert_eq!(
            mirror.line("sid"),
            "deb [signed-by=/keys/debian.gpg] http://mirror.test/debian sid main\n"
        );
    }

    #[test]
    fn disabled_and_source_stanzas_are_ignored() {
        let disabled = DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb");
        assert_eq!(find("debian.sources", &disabled), None);
        assert_eq!(find("debian.sources", &DEB822.replace("deb deb-src", "deb-src")), None);
    }

    #[test]
    fn the_old_format() {
        let text = "# deb http://no.test/debian bookworm main\n\
                    deb-src http://no.test/debian bookworm main\n\
                    deb cdrom:[Debian]/ bookworm main\n\
                    deb http://sec.test/debian-security bookworm-security main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian/ bookworm main \
                    # x\n";
        let mirror = find("sources.list", text).unwrap();
        assert_eq!(
            mirror.line("sid"),
            "deb [signed-by=/k.gpg] http://mirror.test/debian/ sid main\n"
        );
    }

    #[test]
    fn without_options() {
        let mirror = find("sources.list", "deb http://m.test/d bookworm main non-free").unwrap();
        assert_eq!(mirror.line("trixie"), "deb http://m.test/d trixie main\n");
        assert_eq!(
            mirror.signed_by("/k").line("sid"),
            "deb [signed-by=/k] http://m.test/d sid main\n"
        );
    }

    #[test]
    fn somebody_elses_packages_are_not_debian() {
        assert_eq!(find("node.sources", &DEB822.replace("bookworm", "nodistro")), None);
        assert_eq!(find("a.list", "deb http://other.test/debian bookworm contrib"), None);
    }
}
