//! Where a zone's trees are. It never looks at the filesystem: the agent expands patterns.

use std::fmt;

use crate::glob::Component;
use crate::problem::Fault;
use crate::words::quoted;

/// Longest path Linux takes in one call, without its closing NUL.
const MAX_PATH: usize = 4095;

/// An absolute path whose components may be globs (`*`, `?`, `[…]`). Never the root of the
/// filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    components: Vec<Component>,
}

impl PathPattern {
    /// Reads a pattern such as `/srv/customers` or `/home/*/www`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let Some(below_root) = text.strip_prefix('/') else {
            let message = format!("{} is not an absolute path", quoted(text));
            return Err(Fault::new(message, "a path starts with `/`"));
        };
        let below_root = below_root.strip_suffix('/').unwrap_or(below_root);
        if below_root.is_empty() {
            return Err(Fault::new(
                "the root of the filesystem cannot be a zone",
                "name the trees that hold the data, such as `/srv/customers`: a host must be able \
                 to delete its own files",
            ));
        }
        if text.len() > MAX_PATH {
            let message = format!("the path is longer than {MAX_PATH} bytes");
            return Err(Fault::new(message, "no such path can be opened: check it"));
        }
        let components = below_root.split('/').map(Component::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: format!("/{below_root}"), components })
    }

    /// The pattern as written, without a `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its components, from the root downwards; at least one.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The one path it matches, if it has no globs.
    pub fn literal(&self) -> Option<String> {
        let names: Option<Vec<&str>> = self.components.iter().map(Component::literal).collect();
        names.map(|names| format!("/{}", names.join("/")))
    }

    /// Whether a directory matched by one could be the same as, or below, one matched by the other.
    ///
    /// By name only, and when in doubt yes. Symbolic links and bind mounts can still lead two
    /// patterns to one directory: whoever opens the directories has to compare what was opened.
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.components.iter().zip(&other.components).all(|(a, b)| a.may_meet(b))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_is_kept_as_written() {
        assert_eq!(pattern("/srv/customers/").as_str(), "/srv/customers");
        assert_eq!(pattern("/home/*/www").as_str(), "/home/*/www");
        assert_eq!(pattern("/home/*/www").literal(), None);
        assert_eq!(pattern("/srv/a[*]").literal().as_deref(), Some("/srv/a*"));
        assert_eq!(pattern("/a/b").components().len(), 2);
    }

    #[test]
    fn invalid_pattern_says_why() {
        for (text, message) in [
            ("", "not an absolute path"),
            ("srv", "`srv` is not an absolute path"),
            ("/", "root of the filesystem"),
            ("//", "root of the filesystem"),
            ("/srv//", "`//`"),
            ("/srv//x", "`//`"),
            ("/srv/../etc", "`..`"),
            ("/srv/**/x", "`**`"),
            ("/srv/\0", "control character"),
        ] {
            let outcome = PathPattern::parse(text);
            let fault = outcome.expect_err(text);
            assert!(fault.message.contains(message), "{text}: {fault}");
        }
        assert!(PathPattern::parse(&"/x".repeat(2048)).is_err());
    }

    /// Equal and nested trees overlap; neighbours do not.
    #[test]
    fn equal_and_nested_trees_overlap() {
        for (a, b) in [
            ("/srv", "/srv"),
            ("/srv", "/srv/customers"),
            ("/srv/*", "/srv/customers/x"),
            ("/home/*/www", "/home/bob"),
            ("/home/*/www", "/home/b*/w?w"),
        ] {
            assert!(pattern(a).may_overlap(&pattern(b)), "{a} {b}");
            assert!(pattern(b).may_overlap(&pattern(a)), "{b} {a}");
        }
        for (a, b) in
            [("/srv/a", "/srv/ab"), ("/home/*/www", "/home/*/mail"), ("/a/x", "/b/x"), ("/a", "/b")]
        {
            assert!(!pattern(a).may_overlap(&pattern(b)), "{a} {b}");
        }
    }
}
