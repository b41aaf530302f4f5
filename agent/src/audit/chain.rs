//! One line of the log: how it is written, what of it is hashed, and what is signed.
//!
//! `prev` of a line is the SHA-256 of all bytes of the line before it, its newline included: `sed
//! -n 7p FILE | sha256sum` gives what line 8 says. What is signed of a signed line is everything
//! before `,"sig":"`.

use std::borrow::Cow;
use std::fmt;

use base64ct::{Base64, Encoding as _};
use ring::digest;
use serde::Deserialize;

use super::key::{HostKey, PublicKey, SIGNATURE};
use crate::text;

/// What comes before a signature, which is the last field of its line.
const SIG: &[u8] = b",\"sig\":\"";
/// What comes after it.
const END: &[u8] = b"\"}\n";
/// Fewest hexadecimal digits by which a hash can be named: as many as the metric has.
pub(crate) const SHORT: usize = 13;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    /// What stands for the hash of the line before the first.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// Of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::finished(digest::digest(&digest::SHA256, bytes))
    }

    /// Of what was fed.
    pub(super) fn finished(digest: digest::Digest) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// Reads 64 lower-case digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Some(Self(hash))
    }

    /// Its first 52 bits, the [`SHORT`] digits it begins with: a number that a metric holds
    /// exactly.
    pub(crate) fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, ..] = self.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) >> 4
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The last line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number; 0 before the first.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: Hash,
}

impl Head {
    /// Of a log without lines.
    pub(crate) const NONE: Self = Self { seq: 0, hash: Hash::NONE };

    /// The line after this one. `body` is a JSON object that begins with `type`.
    pub(super) fn line(&self, time: &str, body: &[u8]) -> Vec<u8> {
        let start =
            format!("{{\"seq\":{},\"time\":\"{time}\",\"prev\":\"{}\",", self.seq + 1, self.hash);
        let mut line = start.into_bytes();
        // Both are objects: the second goes on where the first ends.
        line.extend_from_slice(body.get(1..).unwrap_or_default());
        line.push(b'\n');
        line
    }

    /// The head of a log that ends with `line`, which follows this one.
    pub(super) fn after(&self, line: &[u8]) -> Self {
        Self { seq: self.seq + 1, hash: Hash::of(line) }
    }
}

/// Signs a line, or a document of one line.
pub(super) fn sign(mut line: Vec<u8>, key: &HostKey) -> Vec<u8> {
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'}')) {
        let is_brace = line.pop() == Some(b'}');
        if is_brace {
            break;
        }
    }
    let signature = key.sign(&line);
    line.extend_from_slice(SIG);
    line.extend_from_slice(Base64::encode_string(&signature).as_bytes());
    line.extend_from_slice(END);
    line
}

/// Whether `line` is signed with `key`, in the one form a signature has.
pub(super) fn is_signed(line: &[u8], key: &PublicKey) -> bool {
    let Some(rest) = line.strip_suffix(END) else { return false };
    let length = Base64::encode_string(&[0; SIGNATURE]).len();
    let Some((before, signature)) =
        rest.len().checked_sub(length).map(|middle| rest.split_at(middle))
    else {
        return false;
    };
    let Some(message) = before.strip_suffix(SIG) else { return false };
    let mut bytes = [0; SIGNATURE];
    match Base64::decode(signature, &mut bytes) {
        Ok(signature) => key.has_signed(message, signature),
        Err(_) => false,
    }
}

/// What every line has.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    /// Its number.
    pub(super) seq: u64,
    /// When it was added.
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    /// Hash of the line before; a log of before there was a chain has none.
    #[serde(borrow)]
    pub(super) prev: Option<Cow<'a, str>>,
    /// What it is.
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
}

/// A line's envelope; the line is without its newline.
pub(super) fn envelope(line: &[u8]) -> Result<Envelope<'_>, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line is hashed with its newline.
    #[test]
    fn hash_matches_sha256sum_of_line() {
        let first = Head::NONE.line("T", b"{\"type\":\"stop\"}");
        let zeros = "0".repeat(64);
        let text = format!("{{\"seq\":1,\"time\":\"T\",\"prev\":\"{zeros}\",\"type\":\"stop\"}}\n");
        assert_eq!(String::from_utf8(first.clone()).unwrap(), text);
        let head = Head::NONE.after(&first);
        // printf '%s\n' '{"seq":1,"time":"T","prev":"000…","type":"stop"}' | sha256sum
        assert_eq!(head.seq, 1);
        assert_eq!(head.hash, Hash::of(text.as_bytes()));
        // printf abc | sha256sum
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(b"abc").to_string(), abc);
        assert_eq!(Hash::parse(abc), Some(Hash::of(b"abc")));
        assert_eq!(Hash::parse(&abc.to_uppercase()), None, "there is one way to write a hash");
        assert_eq!(format!("{:013x}", Hash::of(b"abc").short()), abc[..SHORT]);
    }

    /// A signature is of all that comes before it, and has one form.
    #[test]
    fn signature_covers_the_whole_line() {
        let key = HostKey::make().unwrap();
        let line = sign(Head::NONE.line("T", b"{\"type\":\"checkpoint\"}"), &key);
        assert!(is_signed(&line, &key.public()));
        assert!(envelope(&line[..line.len() - 1]).is_ok(), "it is still JSON");
        for index in 0..line.len() {
            for bit in 0..8 {
                let mut edited = line.clone();
                edited[index] ^= 1 << bit;
                assert!(!is_signed(&edited, &key.public()), "byte {index} bit {bit}");
            }
        }
        assert!(!is_signed(&line, &HostKey::make().unwrap().public()));
        assert!(!is_signed(b"", &key.public()) && !is_signed(END, &key.public()));
    }
}
