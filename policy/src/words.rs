//! Quoting what somebody wrote, and guessing what they meant. It never decides whether a word is
//! right.

/// Characters of somebody's text that are shown before it is cut.
const QUOTE_ROOM: usize = 80;

/// `text` in backquotes, fit to be shown in one line of a terminal.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTE_ROOM).map(printable).collect();
    if text.chars().nth(QUOTE_ROOM).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The character itself, or a stand-in if it could steer a terminal or hide.
pub(crate) fn printable(c: char) -> char {
    if is_hidden(c) { '\u{fffd}' } else { c }
}

/// Whether a character shows nothing of itself: controls, marks of direction, blanks other than the
/// one of the space bar, what has no meaning yet, and whatever is drawn as nothing.
pub(crate) fn is_hidden(c: char) -> bool {
    // What Unicode says is drawn as nothing though it is a letter or mark
    // (Default_Ignorable_Code_Point of Unicode 16, DerivedCoreProperties.txt), and the empty
    // Braille pattern.
    let ignorable = matches!(c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}');
    // A string's debug form escapes what is not printable by its general category, but no mark that
    // stands on a letter.
    let escaped = || format!("a{c}").escape_debug().nth(1) == Some('\\');
    ignorable || (!c.is_ascii_graphic() && escaped())
}

/// The words as a list to choose from: `a`, `b` or `c`.
pub(crate) fn choice(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// A `help:` for a wrong word: the closest right one if there is one, and all of them.
pub(crate) fn did_you_mean(wrong: &str, right: &[&str]) -> String {
    match closest(wrong, right) {
        Some(word) => format!("did you mean `{word}`? Possible here: {}", choice(right)),
        None => format!("possible here: {}", choice(right)),
    }
}

/// The right word nearest to `wrong`, if it is near enough to be a slip.
fn closest<'a>(wrong: &str, right: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    if wrong.chars().count() > 40 {
        return None;
    }
    let near = |word: &str| (word.chars().count() / 3).max(1);
    right
        .iter()
        .map(|&word| (distance(&wrong, word), word))
        .filter(|(distance, word)| *distance <= near(word))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the
/// other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_typos_are_recognised() {
        let words = ["files", "bytes", "tenants", "window"];
        assert_eq!(closest("fiels", &words), Some("files"));
        assert_eq!(closest("Windows", &words), Some("window"));
        assert_eq!(closest("limit", &words), None);
        assert_eq!(closest("move-out", &["move_out", "remove"]), Some("move_out"));
    }

    #[test]
    fn quoted_text_cannot_steer_a_terminal() {
        assert_eq!(quoted("a\x1b[2Jb"), "`a\u{fffd}[2Jb`");
        assert_eq!(quoted("a\u{202e}b"), "`a\u{fffd}b`");
        for c in [
            '\0',
            '\t',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{2028}',
            '\u{2060}',
            '\u{2066}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e000}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{10ffff}',
        ] {
            assert!(is_hidden(c), "U+{:04X}", u32::from(c));
        }
        for c in " aZ~\\\"'äßéłжñ–„“…€→漢かな한\u{301}हिู".chars() {
            assert!(!is_hidden(c), "U+{:04X}", u32::from(c));
        }
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTE_ROOM + 3);
    }

    #[test]
    fn a_choice_reads_like_a_sentence() {
        assert_eq!(choice(&["a"]), "`a`");
        assert_eq!(choice(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
