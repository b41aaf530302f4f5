//! OpenSSH's lists of patterns: `*@example.com,!eve@example.com`. Case counts.

/// Patterns, of which one has to match and no negated one may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PatternList {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// It began with `!`.
    negated: bool,
    /// `*` is any bytes, `?` any byte.
    bytes: Vec<u8>,
}

impl PatternList {
    /// Patterns with commas between them. An empty one is matched by nothing that has a name.
    pub(super) fn new(text: &str) -> Self {
        let pattern = |word: &str| match word.strip_prefix('!') {
            Some(rest) => Pattern { negated: true, bytes: rest.into() },
            None => Pattern { negated: false, bytes: word.into() },
        };
        Self { patterns: text.split(',').map(pattern).collect() }
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let mut matching = self.patterns.iter().filter(|p| glob(&p.bytes, name)).peekable();
        matching.peek().is_some() && !matching.any(|pattern| pattern.negated)
    }
}

/// Takes the shortest run for each `*`, and comes back only to the last one: any other choice that
/// works has this one, too.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(list: &str, name: &str) -> bool {
        PatternList::new(list).matches(name.as_bytes())
    }

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("alice", "alice", true),
            ("alice", "Alice", false),
            ("alice", "alicea", false),
            ("*", "", true),
            ("*", "x", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("*@example.com", "a@example.com", true),
            ("*@example.com", "a@example.com.evil", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**", "x", true),
            ("*a", "baa", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// One pattern has to match, and no negated one may.
    #[test]
    fn negated_pattern_excludes() {
        assert!(matches("*@a,!eve@a", "bob@a"));
        assert!(!matches("*@a,!eve@a", "eve@a"));
        assert!(!matches("!eve@a,*@a", "eve@a"));
        assert!(!matches("!eve@a", "bob@a"), "a negated pattern alone lets nobody in");
        assert!(matches("x,,bob", "bob"));
    }

    /// Many stars take no longer than the product of both lengths.
    #[test]
    fn many_stars_match_in_quadratic_time() {
        assert!(!matches(&"*a".repeat(500), &format!("{}b", "a".repeat(1000))));
    }
}
