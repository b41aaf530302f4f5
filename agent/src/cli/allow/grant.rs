//! `--grant`: a whole grant in one argument.

/// One grant as it was given: words that nobody has looked at yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GrantWords {
    pub(super) zone: Option<String>,
    pub(super) subtrees: Vec<String>,
    pub(super) ops: Option<String>,
    pub(super) files: Option<String>,
    pub(super) bytes: Option<String>,
    pub(super) tenants: Option<String>,
}

impl GrantWords {
    /// Reads `zone=customers subtree=/srv/a subtree='/srv/b c' ops=remove files=1000 bytes=10GiB
    /// tenants=1`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut grant = Self::default();
        for word in words(text)? {
            let Some((field, value)) = word.split_once('=') else {
                return Err(format!("`{}` is not FIELD=VALUE", word.escape_debug()));
            };
            let value = value.to_owned();
            let place = match field {
                "subtree" => {
                    grant.subtrees.push(value);
                    continue;
                }
                "zone" => &mut grant.zone,
                "ops" => &mut grant.ops,
                "files" => &mut grant.files,
                "bytes" => &mut grant.bytes,
                "tenants" => &mut grant.tenants,
                _ => {
                    let field = field.escape_debug();
                    return Err(format!(
                        "a grant has no `{field}` (it has zone, subtree, ops, files, bytes and \
                         tenants)"
                    ));
                }
            };
            if place.replace(value).is_some() {
                return Err(format!("it gives `{field}` twice"));
            }
        }
        Ok(grant)
    }

    /// Whether nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is not given, as the flags are called.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let Self { zone, subtrees, ops, files, bytes, tenants } = self;
        [
            ("zone", zone.is_none()),
            ("subtree", subtrees.is_empty()),
            ("ops", ops.is_none()),
            ("files", files.is_none()),
            ("bytes", bytes.is_none()),
            ("tenants", tenants.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect()
    }
}

/// Words with blanks between them; quotes of either kind keep blanks in a word.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_ascii_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} is never closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_in_one_argument() {
        let grant = GrantWords::parse(
            "zone=customers subtree=/srv/a subtree='/srv/b c' ops=remove,truncate  files=1000 \
             bytes=10GiB tenants=1",
        )
        .unwrap();
        assert_eq!(grant.zone.as_deref(), Some("customers"));
        assert_eq!(grant.subtrees, ["/srv/a", "/srv/b c"]);
        assert_eq!(grant.ops.as_deref(), Some("remove,truncate"));
        assert!(grant.missing().is_empty());
        assert_eq!(GrantWords::parse("zone=a").unwrap().missing().len(), 5);
        assert!(GrantWords::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_grant_says_why() {
        for (text, why) in [
            ("customers", "not FIELD=VALUE"),
            ("zones=a", "has no `zones`"),
            ("zone=a zone=b", "twice"),
            ("subtree='/srv", "never closed"),
        ] {
            assert!(GrantWords::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
