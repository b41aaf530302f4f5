//! Debian's paragraphs of fields (deb822). Pure.

/// The paragraphs of a text, each with its fields; continued lines are joined by a space.
pub fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            all.push(Vec::new());
        } else if let Some(stanza) = all.last_mut() {
            match (line.starts_with([' ', '\t']), stanza.last_mut(), line.split_once(':')) {
                (true, Some((_, value)), _) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (false, _, Some((key, value))) => {
                    stanza.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                _ => {}
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_comments_and_continued_lines() {
        let all = stanzas("A: 1\n# no: no\n 2\n\n\nB: x:y\n");
        let all: Vec<_> = all.into_iter().filter(|stanza| !stanza.is_empty()).collect();
        assert_eq!(all, [vec![("A".into(), "1 2".into())], vec![("B".into(), "x:y".into())]]);
    }
}
