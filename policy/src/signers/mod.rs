//! Whose key is whose: OpenSSH's `allowed_signers` file, and a list of revoked keys. It never looks
//! at a signature, and never decides whom the policy needs.

mod line;
mod options;
mod pattern;
mod revoked;
#[cfg(test)]
mod tests;
mod time;

pub use revoked::RevokedKeys;

use crate::problem::{Mistakes, Problems, Source};
use crate::sshsig::PublicKey;
use pattern::PatternList;

/// An `allowed_signers` file.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    entries: Vec<Entry>,
}

/// What an `allowed_signers` file says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is these people's; exactly one, unless the file is ambiguous, or none if the key is for
    /// none of those asked about.
    People(Vec<String>),
    /// No line has this key.
    Unknown,
    /// There are lines with this key, but none is for this namespace.
    NotForNamespace,
    /// There are lines with this key and namespace, but none is valid yet; the first will be at
    /// this time.
    NotYetValid(i64),
    /// There are lines with this key and namespace, but none is valid any more; the last was until
    /// this time.
    Expired(i64),
}

/// One line.
#[derive(Clone, Debug)]
struct Entry {
    principals: PatternList,
    /// `None`: for every namespace.
    namespaces: Option<PatternList>,
    /// Seconds since 1970, UTC; this second is the first that counts.
    valid_after: Option<i64>,
    /// Seconds since 1970, UTC; this second is the last that counts.
    valid_before: Option<i64>,
    key: PublicKey,
}

impl Signers {
    /// Reads the file. `path` is only used to say where a problem is; all problems come at once.
    ///
    /// What OpenSSH would pass over (a line it cannot read) or guess (a time without a zone) is a
    /// problem here.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problems> {
        let mut mistakes = Mistakes::default();
        let entries = lines(text)
            .filter_map(|(start, line)| line::read(line, start, &mut mistakes))
            .collect();
        match mistakes.into_problems(path, &Source::new(text)) {
            None => Ok(Self { entries }),
            Some(problems) => Err(problems),
        }
    }

    /// Which of `people` may sign with `key` for `namespace` at `at` (seconds since 1970, UTC).
    ///
    /// All lines with the key count; principals can be patterns. People come in the order of
    /// `people`.
    pub fn owner(&self, key: &PublicKey, namespace: &str, at: i64, people: &[&str]) -> Owner {
        let mut lines: Vec<&Entry> = self.entries.iter().filter(|line| line.key == *key).collect();
        if lines.is_empty() {
            return Owner::Unknown;
        }
        lines.retain(|line| line.is_for(namespace));
        if lines.is_empty() {
            return Owner::NotForNamespace;
        }
        let (valid, other): (Vec<&Entry>, Vec<&Entry>) =
            lines.into_iter().partition(|line| line.is_valid(at));
        if valid.is_empty() {
            return when(&other, at);
        }
        let is_theirs =
            |person: &&&str| valid.iter().any(|line| line.principals.matches(person.as_bytes()));
        let mut found: Vec<String> = Vec::new();
        for person in people.iter().filter(is_theirs) {
            if !found.iter().any(|known| known == person) {
                found.push((*person).to_owned());
            }
        }
        Owner::People(found)
    }

    /// What `ssh-keygen -Y verify -I identity` asks: whether `identity` may sign with `key`.
    pub fn allows(&self, identity: &str, key: &PublicKey, namespace: &str, at: i64) -> bool {
        self.owner(key, namespace, at, &[identity]) == Owner::People(vec![identity.to_owned()])
    }
}

impl Entry {
    fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|list| list.matches(namespace.as_bytes()))
    }

    fn is_valid(&self, at: i64) -> bool {
        self.valid_after.is_none_or(|after| after <= at)
            && self.valid_before.is_none_or(|before| at <= before)
    }
}

/// Why none of the lines is valid now. One that will be is better news than one that was.
fn when(lines: &[&Entry], at: i64) -> Owner {
    let next = lines.iter().filter_map(|line| line.valid_after).filter(|&after| at < after).min();
    let last = lines.iter().filter_map(|line| line.valid_before).filter(|&end| end < at).max();
    match (next, last) {
        (Some(time), _) => Owner::NotYetValid(time),
        (None, Some(time)) => Owner::Expired(time),
        (None, None) => unreachable!("a line that is not valid has a time that says so"),
    }
}

/// The lines that say something, and where each starts.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.zip(text.split('\n')).filter_map(|(start, line)| {
        let said = line.trim_start_matches(BLANKS);
        let start = start + (line.len() - said.len());
        let said = said.trim_end_matches(BLANKS);
        (!said.is_empty() && !said.starts_with('#')).then_some((start, said))
    })
}

/// What separates words.
const BLANKS: [char; 3] = [' ', '\t', '\r'];
