//! Names of files and processes as text. A name on Unix is any bytes: what is kept is lossless, and
//! what goes to a terminal can neither move the cursor nor change the direction of the text.

use std::fmt::Write as _;

/// `bytes` for a JSON document: the text, with bytes that are not UTF-8 written as `\xNN`; and the
/// bytes themselves if the text alone would not tell them.
pub(crate) fn lossless(bytes: &[u8]) -> (String, Option<Vec<u8>>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() + 16);
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                push_hex_escapes(&mut text, chunk.invalid());
            }
            (text, Some(bytes.to_vec()))
        }
    }
}

/// The bytes that [`lossless`] was given.
pub(crate) fn original<'a>(text: &'a str, bytes: Option<&'a [u8]>) -> &'a [u8] {
    bytes.unwrap_or(text.as_bytes())
}

/// `bytes` for a person: nothing in it can control a terminal, and two different names never look
/// the same because of an escape (a backslash is doubled).
pub(crate) fn for_terminal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_ascii_control() => push_hex_escapes(&mut text, &[c as u8]),
                c if c.is_control() || steers_text(c) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        push_hex_escapes(&mut text, chunk.invalid());
    }
    text
}

/// `1 directory`, `2 directories`.
pub(crate) fn directories(n: usize) -> String {
    if n == 1 { "1 directory".to_owned() } else { format!("{n} directories") }
}

/// `1 process`, `2 processes`.
pub(crate) fn processes(n: usize) -> String {
    if n == 1 { "1 process".to_owned() } else { format!("{n} processes") }
}

/// `1 allowance is`, `2 allowances are`.
pub(crate) fn allowances(n: usize) -> String {
    if n == 1 { "1 allowance is".to_owned() } else { format!("{n} allowances are") }
}

/// What there is to say about roots that no path leads to.
pub(crate) fn kept_roots(n: usize) -> String {
    let what = if n == 1 { "has left its path and is" } else { "have left their paths and are" };
    format!("{} {what} still guarded", directories(n))
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `bytes` with everything but unreserved characters and `/` percent-encoded, for a query.
pub(crate) fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, &byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

/// The reverse of [`percent_encode`]; `None` if an escape is cut or not hexadecimal.
pub(crate) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

/// A count of bytes in the largest binary unit that keeps it readable, such as `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number and its noun, such as `1 file` and `2 files`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A text of at most so many characters: of a longer one the start, and `…`.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn push_hex_escapes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Characters that are invisible or change how their neighbours are laid out.
fn steers_text(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_clipped_between_characters() {
        assert_eq!((clipped("äöü", 3).as_str(), clipped("äöü", 2).as_str()), ("äöü", "äö…"));
        assert_eq!((clipped("", 0).as_str(), clipped("a", 0).as_str()), ("", "…"));
    }

    #[test]
    fn every_byte_survives_a_json_document() {
        let all: Vec<u8> = (0..=255).collect();
        let (text, bytes) = lossless(&all);
        let json = serde_json::to_string(&text).unwrap();
        assert!(json.chars().all(|c| c >= ' '), "{json}");
        let back: String = serde_json::from_str(&json).unwrap();
        assert_eq!(original(&back, bytes.as_deref()), all);
        assert_eq!(lossless("süß\n".as_bytes()), ("süß\n".to_owned(), None));
    }

    #[test]
    fn literal_escape_and_escaped_byte_differ() {
        let (literal, none) = lossless(br"a\xff");
        let (escaped, some) = lossless(b"a\xff");
        assert_eq!(literal, escaped);
        assert_ne!(original(&literal, none.as_deref()), original(&escaped, some.as_deref()));
        assert_ne!(for_terminal(br"a\xff"), for_terminal(b"a\xff"));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let hostile = "a\x1b[2J\r\n\u{9b}31m\u{202e}fdp\u{7f}".as_bytes();
        assert_eq!(for_terminal(hostile), r"a\x1b[2J\x0d\x0a\u{9b}31m\u{202e}fdp\x7f");
        let all: Vec<u8> = (0..=255).collect();
        assert!(!for_terminal(&all).chars().any(char::is_control));
    }

    #[test]
    fn queries_carry_any_path() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(percent_decode(&percent_encode(&all)).unwrap(), all);
        assert_eq!(percent_decode("%4"), None);
        assert_eq!(percent_decode("%zz"), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(2 << 30), "2.0 GiB");
    }
}
