//! One line of an `allowed_signers` file: principals, perhaps options, a key, perhaps a comment.
//! All that is wrong with it, and where.

use std::ops::Range;

use super::options::{self, Options};
use super::pattern::PatternList;
use super::{BLANKS, Entry};
use crate::problem::{Fault, Mistakes};
use crate::sshsig::{KeyFault, PublicKey, is_a_kind, looks_like_a_kind};
use crate::words::quoted;

/// Longest pattern that OpenSSH looks at; behind a longer one it ignores the whole list.
const MAX_PATTERN: usize = 1022;

const EXAMPLE: &str =
    "a line is as in `alice@example.com namespaces=\"holdfast-allowance\" ssh-ed25519 AAAA…`";

/// What is left of a line, and where that stands in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a str,
    pub(super) at: usize,
}

/// Reads a line that is neither empty nor a comment. `start` is where it stands in the text.
pub(super) fn read(line: &str, start: usize, mistakes: &mut Mistakes) -> Option<Entry> {
    let mut cursor = Cursor { rest: line, at: start };
    let principals = principals(&mut cursor, mistakes)?;
    cursor.skip_blanks();
    let options = if looks_like_a_kind(cursor.peek_word()) {
        Some(Options::default())
    } else {
        options::read(&mut cursor, mistakes)
    };
    cursor.skip_blanks();
    if options.is_none() && cursor.rest.is_empty() {
        // A quote without an end has taken the key with it, or what is there is no option.
        return None;
    }
    let key = key(&mut cursor, start..start + line.len(), mistakes);
    let (principals, options, key) = (principals.list?, options?, key?);
    let Options { namespaces, valid_after, valid_before } = options;
    Some(Entry { principals, namespaces, valid_after, valid_before, key })
}

/// Principals that could be found; what is wrong with them has been said if there is no list.
struct Principals {
    list: Option<PatternList>,
}

/// `None`: where they end is not known.
fn principals(cursor: &mut Cursor<'_>, mistakes: &mut Mistakes) -> Option<Principals> {
    let start = cursor.at;
    let mut torn = false;
    let text = if cursor.rest.starts_with('"') {
        let Some((text, _)) = cursor.rest[1..].split_once('"') else {
            let span = start..start + cursor.rest.len();
            let fault = Fault::new("this quote has no end", "close it with `\"`");
            mistakes.wrong(&span, fault);
            return None;
        };
        cursor.skip(text.len() + 2);
        torn = !cursor.word().is_empty();
        text
    } else {
        cursor.word()
    };
    let span = start..cursor.at;
    let fault = if is_a_kind(text) {
        // Whatever follows is the key, and would only be misread.
        let fault = Fault::new("this line has a key, and does not say whose it is", EXAMPLE);
        mistakes.wrong(&span, fault);
        return None;
    } else if text.is_empty() {
        Some(Fault::new("this names nobody", EXAMPLE))
    } else if torn || text.contains('"') {
        let help =
            "quote all the principals, as in `\"alice@example.com,bob@example.com\"`, or none";
        Some(Fault::new("a quote in the middle of the principals", help))
    } else {
        too_long(text)
    };
    if let Some(fault) = fault {
        mistakes.wrong(&span, fault);
        return Some(Principals { list: None });
    }
    Some(Principals { list: Some(PatternList::new(text)) })
}

/// The fault of a list with a pattern that is too long.
pub(super) fn too_long(list: &str) -> Option<Fault> {
    let long = list.split(',').find(|pattern| pattern.len() > MAX_PATTERN)?;
    let message = format!("{} is too long", quoted(long));
    Some(Fault::new(message, format!("the longest name or pattern has {MAX_PATTERN} bytes")))
}

fn key(cursor: &mut Cursor<'_>, line: Range<usize>, mistakes: &mut Mistakes) -> Option<PublicKey> {
    let start = cursor.at;
    let kind = cursor.word();
    cursor.skip_blanks();
    let base64 = cursor.word();
    if kind.is_empty() {
        mistakes.wrong(&line, Fault::new("this line has no key", EXAMPLE));
        return None;
    }
    if base64.is_empty() {
        let fault = Fault::new(format!("there is no key behind {}", quoted(kind)), EXAMPLE);
        mistakes.wrong(&(start..start + kind.len()), fault);
        return None;
    }
    match PublicKey::from_words(kind, base64) {
        Ok(key) => Some(key),
        Err(fault) => {
            mistakes.wrong(&(start..cursor.at), key_fault(fault));
            None
        }
    }
}

/// What to say about a key that cannot count.
pub(super) fn key_fault(fault: KeyFault) -> Fault {
    let help = "use an Ed25519, ECDSA, RSA (2048 to 8192 bits) or hardware key";
    match fault {
        KeyFault::Malformed(what) => Fault::new(
            format!("this is no public key: {what}"),
            "copy the whole line of the `.pub` file",
        ),
        KeyFault::Weak(what) => Fault::new(format!("{what} is too weak"), help),
        KeyFault::Unsupported(what) => Fault::new(format!("{what} is not supported"), help),
    }
}

impl<'a> Cursor<'a> {
    /// Goes on behind the next `bytes`.
    pub(super) fn skip(&mut self, bytes: usize) -> &'a str {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.at += bytes;
        skipped
    }

    pub(super) fn skip_blanks(&mut self) {
        self.skip(self.rest.len() - self.rest.trim_start_matches(BLANKS).len());
    }

    /// Everything up to the next blank.
    pub(super) fn word(&mut self) -> &'a str {
        self.skip(self.peek_word().len())
    }

    fn peek_word(&self) -> &'a str {
        self.rest.split(BLANKS).next().unwrap_or_default()
    }
}
