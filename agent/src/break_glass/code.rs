//! One-time codes: what they look like, telling a slip of the pen from a wrong one, and what is
//! kept of them.
//!
//! A code is 24 letters of 5 random bits each and one letter that checks them, in five groups of
//! five: `7M2QX-4TB9K-...`. The letters are Crockford's (no I, L, O and U), so that what is read
//! over the phone can be written down; either case, blanks and dashes do not matter, and I, L and O
//! are taken for the digits they look like. The check letter makes the sum of all letters, each
//! times a different power of a generator of GF(32), zero: every single wrong letter and every
//! exchange of two is noticed.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::Person;
use crate::text;

/// Letters that carry the secret: 120 bits.
const DATA: usize = 24;
/// Random bytes of a code.
pub(crate) const BYTES: usize = DATA * 5 / 8;
/// Letters of a group.
const GROUP: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What the hash begins with: it is of nothing else.
const DOMAIN: &[u8] = b"holdfast-break-glass-code\0";

/// A code. It has no `Debug`: it is shown once, on purpose.
#[derive(Clone)]
pub(crate) struct Code([u8; DATA]);

/// Why a text cannot be a code: nobody has guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mistyped {
    /// It has so many letters.
    Length(usize),
    /// No code has this letter.
    Letter(char),
    /// The letters do not fit together.
    Check,
}

/// What is kept of a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeRow {
    /// Its number, as printed beside it.
    pub(crate) number: u64,
    /// Random, for this code only; hexadecimal.
    pub(crate) salt: String,
    /// SHA-256 of salt and code; hexadecimal.
    pub(crate) hash: String,
    /// When it was made, nanoseconds since 1970 UTC.
    pub(crate) made_ns: i64,
    /// By whom.
    pub(crate) made_by: Person,
    /// When and by whom it was used.
    pub(crate) used: Option<Used>,
}

/// That a code was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Used {
    /// When, nanoseconds since 1970 UTC.
    pub(crate) at_ns: i64,
    /// By whom.
    pub(crate) by: Person,
}

/// So many random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let got =
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        match got {
            Ok(0) => return Err("the kernel gives no random numbers".to_owned()),
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("the kernel gives no random numbers: {error}")),
        }
    }
    Ok(bytes)
}

impl Code {
    /// The code of these random bytes.
    pub(crate) fn new(bytes: &[u8; BYTES]) -> Self {
        let mut letters = [0; DATA];
        for (index, letter) in letters.iter_mut().enumerate() {
            *letter = (0..5).fold(0, |value, bit| {
                let at = index * 5 + bit;
                value << 1 | bytes[at / 8] >> (7 - at % 8) & 1
            });
        }
        Self(letters)
    }

    /// Reads a code as somebody typed it.
    pub(crate) fn parse(text: &str) -> Result<Self, Mistyped> {
        let mut letters = Vec::with_capacity(DATA + 1);
        for c in text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_' | '.')) {
            letters.push(value(c).ok_or(Mistyped::Letter(c))?);
            if letters.len() > 4 * DATA {
                break;
            }
        }
        let Some((&check, data)) = letters.split_last().filter(|(_, data)| data.len() == DATA)
        else {
            return Err(Mistyped::Length(letters.len()));
        };
        let mut code = [0; DATA];
        code.copy_from_slice(data);
        if check_of(&code) == check { Ok(Self(code)) } else { Err(Mistyped::Check) }
    }

    /// As it is printed.
    pub(crate) fn show(&self) -> String {
        let letters = self.0.into_iter().chain([check_of(&self.0)]);
        let letters: Vec<u8> = letters.map(|letter| ALPHABET[usize::from(letter & 31)]).collect();
        let groups = letters.chunks(GROUP).map(|group| String::from_utf8_lossy(group).into_owned());
        groups.collect::<Vec<_>>().join("-")
    }

    fn hash(&self, salt: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update((salt.len() as u64).to_be_bytes());
        hasher.update(salt.as_bytes());
        hasher.update(self.0);
        text::hex(&hasher.finalize())
    }
}

impl CodeRow {
    /// What is kept of a new code.
    pub(crate) fn new(number: u64, code: &Code, salt: [u8; 16], at_ns: i64, by: Person) -> Self {
        let salt = text::hex(&salt);
        let hash = code.hash(&salt);
        Self { number, salt, hash, made_ns: at_ns, made_by: by, used: None }
    }

    /// Whether it is this code's. It takes as long whatever the answer is.
    pub(super) fn is(&self, code: &Code) -> bool {
        let (own, other) = (self.hash.as_bytes(), code.hash(&self.salt));
        let other = other.as_bytes();
        let differs = own.iter().zip(other).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        (black_box(differs) == 0) & (own.len() == other.len())
    }
}

impl std::fmt::Display for Mistyped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(n) => {
                write!(f, "a code has {} letters in groups of {GROUP}, this has {n}", DATA + 1)
            }
            Self::Letter(c) => {
                let shown = text::for_terminal(c.to_string().as_bytes());
                write!(f, "no code has the letter `{shown}`")
            }
            Self::Check => {
                f.write_str("this is not quite a code: a letter is wrong, or two are exchanged")
            }
        }
    }
}

/// The number that a letter stands for.
fn value(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        c => c,
    };
    let at = ALPHABET.iter().position(|&letter| char::from(letter) == c)?;
    u8::try_from(at).ok()
}

fn check_of(letters: &[u8; DATA]) -> u8 {
    let mut weight = 1;
    letters.iter().fold(0, |sum, &letter| {
        weight = times(weight, 2);
        sum ^ times(weight, letter)
    })
}

/// Product in GF(32), modulo x⁵ + x² + 1.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a <<= 1;
        if a & 0b10_0000 != 0 {
            a ^= 0b10_0101;
        }
        b >>= 1;
    }
    product
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Codes that are not random.
    pub(crate) fn code(seed: u8) -> Code {
        Code::new(&std::array::from_fn(|at| {
            seed.wrapping_mul(31).wrapping_add((at as u8).wrapping_mul(77))
        }))
    }

    pub(crate) fn person() -> Person {
        Person { uid: 0, pid: Some(700), login_uid: Some(1000), comm: Some("holdfast".to_owned()) }
    }

    fn read(text: &str) -> Result<String, Mistyped> {
        Code::parse(text).map(|code| code.show())
    }

    #[test]
    fn code_is_read_in_any_form() {
        for seed in 0..=255 {
            let shown = code(seed).show();
            assert_eq!(shown.len(), 29, "{shown}");
            assert!(shown.split('-').all(|group| group.len() == 5), "{shown}");
            assert_eq!(read(&shown), Ok(shown.clone()));
            assert_eq!(read(&shown.to_lowercase().replace('-', " ")), Ok(shown.clone()));
            let sloppy = shown.replace('0', "o").replace('1', "l");
            assert_eq!(read(&format!(" {sloppy}\n")), Ok(shown));
        }
    }

    /// It catches every wrong letter, and every exchange of two.
    #[test]
    fn check_letter_catches_slips() {
        let shown = code(7).show().replace('-', "");
        let letters = shown.as_bytes();
        for at in 0..letters.len() {
            for other in ALPHABET.iter().filter(|other| **other != letters[at]) {
                let mut wrong = letters.to_vec();
                wrong[at] = *other;
                assert_eq!(read(std::str::from_utf8(&wrong).unwrap()), Err(Mistyped::Check));
            }
            for with in (at + 1..letters.len()).filter(|with| letters[*with] != letters[at]) {
                let mut wrong = letters.to_vec();
                wrong.swap(at, with);
                assert_eq!(read(std::str::from_utf8(&wrong).unwrap()), Err(Mistyped::Check));
            }
        }
        assert_eq!(read(&shown[1..]), Err(Mistyped::Length(24)));
        assert_eq!(read(""), Err(Mistyped::Length(0)));
        assert_eq!(read("U"), Err(Mistyped::Letter('U')));
        assert!(read(&"A".repeat(1_000_000)).is_err());
    }

    #[test]
    fn code_contains_every_secret_bit() {
        let zero = Code::new(&[0; BYTES]).show();
        for bit in 0..BYTES * 8 {
            let mut bytes = [0; BYTES];
            bytes[bit / 8] = 1 << (bit % 8);
            assert_ne!(Code::new(&bytes).show(), zero, "bit {bit}");
        }
    }

    #[test]
    fn stored_row_recognizes_but_hides_code() {
        let row = CodeRow::new(1, &code(1), [7; 16], 5, person());
        assert!(row.is(&code(1)) && !row.is(&code(2)));
        let again = CodeRow::new(1, &code(1), [8; 16], 5, person());
        assert_ne!(row.hash, again.hash, "the same code under another salt");
        let json = serde_json::to_string(&row).unwrap();
        let shown = code(1).show();
        assert!(shown.split('-').all(|group| !json.contains(group)), "{json}");
        assert_eq!(serde_json::from_str::<CodeRow>(&json).unwrap(), row);
        assert!(!CodeRow { hash: String::new(), ..row }.is(&code(1)), "a damaged one");
    }

    #[test]
    fn random_codes_differ() {
        let codes: std::collections::HashSet<String> =
            (0..100).map(|_| Code::new(&random().unwrap()).show()).collect();
        assert_eq!(codes.len(), 100);
    }
}
