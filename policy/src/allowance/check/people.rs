//! Whether the right people have signed, and enough of them: each person counts for one need, and
//! who asks counts for none.

use super::faults::some;
use super::signatures::Judged;
use super::{Allowance, Faults, RefusedReason};
use crate::allowance::Signer;
use crate::model::{Policy, Role};
use crate::signing::{Group, Need, Signing, Trust, assign, same_person};
use crate::words::quoted;

const TRUST_HELP: &str = "add a `[[trust]]` to the policy that says who signs for this role";

/// Refused if no signature could ever count here.
pub(super) fn anybody(policy: &Policy) -> Faults {
    let mut faults = Faults::default();
    if policy.signing.trust.is_empty() {
        let message = "this host's policy trusts nobody to sign: it has no `[[trust]]`";
        faults.add(RefusedReason::NobodyTrusted, message, TRUST_HELP);
    }
    faults
}

/// Those whose signatures count, each once.
pub(super) fn check(
    policy: &Policy,
    allowance: &Allowance,
    roles: &[Role],
    judged: &[Judged<'_>],
    faults: &mut Faults,
) -> Vec<Signer> {
    let mut signers: Vec<Signer> = Vec::new();
    for role in roles {
        let Some(trust) = policy.signing.trust(*role) else {
            let message =
                format!("this host's policy trusts nobody to sign for `{}` zones", role.word());
            faults.add(RefusedReason::NobodyTrusted, message, TRUST_HELP);
            continue;
        };
        let quorum = Quorum::new(&policy.signing, trust, allowance, judged);
        quorum.check(faults);
        for signer in &quorum.counting {
            if !signers.iter().any(|known| known.person == signer.person) {
                signers.push((*signer).clone());
            }
        }
    }
    signers
}

/// Who is needed for a role, and who is there.
struct Quorum<'a> {
    signing: &'a Signing,
    trust: &'a Trust,
    allowance: &'a Allowance,
    judged: &'a [Judged<'a>],
    /// The first signature of each person who is in a needed group, without who asks if that one
    /// cannot sign.
    counting: Vec<&'a Signer>,
}

impl<'a> Quorum<'a> {
    fn new(
        signing: &'a Signing,
        trust: &'a Trust,
        allowance: &'a Allowance,
        judged: &'a [Judged<'a>],
    ) -> Self {
        let mut quorum = Self { signing, trust, allowance, judged, counting: Vec::new() };
        for signer in judged.iter().filter_map(|judged| judged.signer.as_ref()) {
            let again = quorum.counting.iter().any(|known| known.person == signer.person);
            if !again && quorum.may_sign(&signer.person) && quorum.is_needed(&signer.person) {
                quorum.counting.push(signer);
            }
        }
        quorum
    }

    fn check(&self, faults: &mut Faults) {
        let requested_by = &self.allowance.requested_by;
        if self.signed().any(|person| !self.may_sign(person)) {
            let message = format!(
                "{} asks for it and has signed it: for `{}` zones who asks cannot sign",
                quoted(requested_by),
                self.trust.role.word()
            );
            let help = "have other people sign; or let the policy say `requester_may_sign = true`";
            faults.add(RefusedReason::RequesterSigned, message, help);
        }
        let missing = self.missing();
        if missing.iter().all(|(_, missing)| *missing == 0) {
            return;
        }
        let (reason, notes) = self.why();
        let mut lines =
            vec![format!("not enough people have signed for `{}` zones:", self.trust.role.word())];
        lines.extend(missing.into_iter().map(|(line, _)| line));
        lines.extend(notes);
        let help = "collect what is missing with `holdfast allow sign`; `holdfast allow verify` \
                    says who is needed";
        faults.add(reason, lines.join("\n    "), help);
    }

    fn may_sign(&self, person: &str) -> bool {
        self.trust.requester_may_sign || !same_person(person, &self.allowance.requested_by)
    }

    fn is_needed(&self, person: &str) -> bool {
        self.needs().any(|(_, group)| group.people.iter().any(|member| member == person))
    }

    /// Everybody who has signed, as often as they did.
    fn signed(&self) -> impl Iterator<Item = &'a str> {
        self.judged.iter().filter_map(|judged| judged.person())
    }

    fn needs(&self) -> impl Iterator<Item = (&'a Need, &'a Group)> {
        let needs = self.trust.needs.iter();
        needs.filter_map(|need| Some((need, self.signing.group(&need.group)?)))
    }

    /// A line for each need, and how many people it lacks if as many needs as possible are met.
    fn missing(&self) -> Vec<(String, usize)> {
        // A need whose group is not there (which no policy has) is one that nobody meets.
        let places: Vec<&Need> = self
            .trust
            .needs
            .iter()
            .flat_map(|need| std::iter::repeat_n(need, need.people as usize))
            .collect();
        let fits = |place: usize, person: usize| {
            self.signing
                .group(&places[place].group)
                .is_some_and(|group| group.people.contains(&self.counting[person].person))
        };
        let filled = assign(places.len(), self.counting.len(), fits);
        let mut lines = Vec::new();
        for need in &self.trust.needs {
            let theirs = places.iter().zip(&filled).filter(|(place, _)| place.group == need.group);
            let people: Vec<&str> = theirs
                .filter_map(|(_, person)| {
                    person.map(|person| self.counting[person].person.as_str())
                })
                .collect();
            let missing = (need.people as usize).saturating_sub(people.len());
            lines.push((self.line(need, &people, missing), missing));
        }
        lines
    }

    fn line(&self, need: &Need, people: &[&str], missing: usize) -> String {
        let Need { people: needed, group } = need;
        let have = if people.is_empty() { String::new() } else { format!(" ({})", some(people)) };
        let signed =
            format!("{} of {needed} people of group `{group}` have signed{have}", people.len());
        if missing == 0 {
            return signed;
        }
        let members = self.signing.group(group).map(|group| &group.people[..]).unwrap_or_default();
        let counts = |person: &String| self.counting.iter().any(|signer| signer.person == *person);
        let left: Vec<&String> =
            members.iter().filter(|person| self.may_sign(person) && !counts(person)).collect();
        if left.len() < missing {
            return format!("{signed}; still needed: {missing}, and the group has too few others");
        }
        format!("{signed}; still needed: {missing} of {}", some(&left))
    }

    /// The reason if people are missing, and what is to be said about those who signed in vain.
    fn why(&self) -> (RefusedReason, Vec<String>) {
        let mut notes = Vec::new();
        let (mut same_key, mut same_person) = (false, false);
        let mut seen: Vec<(&Signer, &str)> = Vec::new();
        for judged in self.judged {
            let Some(signer) = &judged.signer else {
                continue;
            };
            let file = judged.file.name.as_str();
            let person = &signer.person;
            if let Some((_, first)) = seen.iter().find(|(other, _)| other.key == signer.key) {
                same_key = true;
                let files = format!("{} and {}", quoted(first), quoted(file));
                notes.push(format!("{files} are by one key, {}: it counts once", signer.key));
            } else if let Some((_, first)) = seen.iter().find(|(other, _)| other.person == *person)
            {
                same_person = true;
                let files = format!("{} and {}", quoted(first), quoted(file));
                notes.push(format!("{files} are by one person, {person}, who counts once"));
            } else if self.may_sign(person) && !self.is_needed(person) {
                notes.push(format!("{person} has signed, and is in none of these groups"));
            }
            seen.push((signer, file));
        }
        let mut people: Vec<&str> = self.signed().filter(|person| self.may_sign(person)).collect();
        people.sort_unstable();
        people.dedup();
        let reason = if same_key {
            RefusedReason::SameKey
        } else if same_person {
            RefusedReason::SamePerson
        } else if people.len() < self.trust.people() {
            RefusedReason::TooFewSigners
        } else {
            RefusedReason::GroupMissing
        };
        (reason, notes)
    }
}
