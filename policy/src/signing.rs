//! Whom a policy trusts to sign allowances. It says who is needed; it never looks at a signature.

mod assign;

use std::time::Duration;

pub(crate) use assign::assign;

use crate::model::Role;
use crate::problem::Fault;
use crate::words::quoted;

/// Where people's keys are listed if the policy does not say.
pub const DEFAULT_SIGNERS: &str = "/etc/holdfast/allowed_signers";
/// The longest an allowance can be good if the policy does not say.
pub const DEFAULT_MAX_LENGTH: Duration = Duration::from_secs(8 * 3600);
/// The shortest `max_length` a policy can have: in less nobody starts anything.
pub(crate) const MIN_MAX_LENGTH: Duration = Duration::from_secs(60);
/// The longest `max_length` a policy can have: what is good for more than a week is no exception.
pub(crate) const MAX_MAX_LENGTH: Duration = Duration::from_secs(7 * 86_400);
/// Longest name of a person, in bytes.
const MAX_PERSON: usize = 255;

/// What a policy says about allowances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Absolute path of the `allowed_signers` file.
    pub signers: String,
    /// Absolute path of a list of revoked keys.
    pub revoked: Option<String>,
    /// The longest time from `not_before` to `not_after`.
    pub max_length: Duration,
    /// Whether an allowance may be for every host.
    pub any_host: bool,
    /// Named groups of people; no two with the same name.
    pub groups: Vec<Group>,
    /// Who is needed, at most one entry for each role. Without one for a role nobody can sign for
    /// its zones.
    pub trust: Vec<Trust>,
}

/// People under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Persons as in `allowed_signers`, at least one, none twice.
    pub people: Vec<String>,
}

/// Who is needed to sign for zones of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The role.
    pub role: Role,
    /// How many people of which groups; each person counts for one. At least one.
    pub needs: Vec<Need>,
    /// Whether who asks for an allowance can sign it too.
    pub requester_may_sign: bool,
    /// Whether only hardware keys count.
    pub hardware: bool,
    /// Whether a hardware key has to ask for its PIN or fingerprint.
    pub verified: bool,
}

/// So many people of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// How many; at least 1, at most as many as the group has.
    pub people: u32,
    /// Name of the group.
    pub group: String,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            signers: DEFAULT_SIGNERS.to_owned(),
            revoked: None,
            max_length: DEFAULT_MAX_LENGTH,
            any_host: false,
            groups: Vec::new(),
            trust: Vec::new(),
        }
    }
}

impl Signing {
    /// Everybody whom some group names, each once.
    pub fn people(&self) -> Vec<&str> {
        let mut people: Vec<&str> =
            self.groups.iter().flat_map(|group| &group.people).map(String::as_str).collect();
        people.sort_unstable();
        people.dedup();
        people
    }

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Who is needed for zones of this role. `None`: nobody can sign for them.
    pub fn trust(&self, role: Role) -> Option<&Trust> {
        self.trust.iter().find(|trust| trust.role == role)
    }
}

impl Trust {
    /// How many people it takes in all.
    pub fn people(&self) -> usize {
        self.needs.iter().map(|need| need.people as usize).sum()
    }
}

/// A person's name as a policy and an allowance write it: a principal of `allowed_signers`, and
/// never a pattern.
pub(crate) fn person(text: &str) -> Result<String, Fault> {
    let rule = "write one name as in `allowed_signers`, such as `alice@example.com`: at most 255 \
                printable ASCII characters, without blanks, commas, quotes and any of `*?!#`";
    let fits = |c: char| c.is_ascii_graphic() && !",\"'`*?!#".contains(c);
    if text.is_empty() || text.len() > MAX_PERSON || !text.chars().all(fits) {
        return Err(Fault::new(format!("{} cannot be a person", quoted(text)), rule));
    }
    Ok(text.to_owned())
}

/// Whether two names are the same person's: nobody is two people by writing a letter large.
pub(crate) fn same_person(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_that_can_and_cannot_be() {
        for name in
            ["alice", "alice@example.com", "Alice+ops@example.com", "o=x/cn=a", &"x".repeat(255)]
        {
            assert_eq!(person(name).as_deref(), Ok(name));
        }
        for name in [
            "",
            " ",
            "a b",
            "a,b",
            "a\"b",
            "a'b",
            "a`b",
            "*",
            "a?",
            "!a",
            "#a",
            "ä",
            "a\n",
            "a\u{200b}",
            &"x".repeat(256),
        ] {
            assert!(person(name).is_err(), "{name:?}");
        }
    }
}
