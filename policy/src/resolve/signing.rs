//! Whom the policy trusts: groups whose people are people, and needs that can be met.

use holdfast_abi::MAX_ZONES;

use super::fields::{file_path, flag, required, take, word};
use crate::allowance::MAX_SIGNATURES;
use crate::model::Role;
use crate::problem::{Fault, Mistakes, Source};
use crate::raw::{At, Field, RawAllowances, RawGroup, RawNeed, RawSigning, RawTrust};
use crate::signing::{Group, Need, Signing, Trust, assign, person, same_person};
use crate::units::parse_max_length;
use crate::words::{did_you_mean, quoted};

/// How many groups a policy can have: more than it can have zones helps nobody.
const MAX_GROUPS: usize = MAX_ZONES;
/// How many people a group can have.
const MAX_PEOPLE: usize = 256;

/// A group as far as it could be read.
struct Known {
    line: usize,
    group: Group,
    /// Whether all of its people could be read: without that nothing can be said about how many
    /// there are.
    whole: bool,
}

/// What could be read.
pub(super) fn resolve(raw: &RawSigning, source: &Source<'_>, mistakes: &mut Mistakes) -> Signing {
    let mut signing = Signing::default();
    if let Field::Given(given) = &raw.allowances {
        allowances(&given.value, &mut signing, mistakes);
    }
    let groups = match &raw.groups {
        Field::Given(groups) => self::groups(&groups.value, source, mistakes),
        Field::Missing | Field::Bad => Vec::new(),
    };
    if let Field::Given(entries) = &raw.trust {
        let mut seen: Vec<(Role, usize)> = Vec::new();
        for entry in &entries.value {
            let role = role(entry, &mut seen, source, mistakes);
            signing.trust.extend(trust(entry, role, &groups, mistakes));
        }
    }
    signing.groups = groups.into_iter().map(|known| known.group).collect();
    signing
}

fn allowances(raw: &RawAllowances, signing: &mut Signing, mistakes: &mut Mistakes) {
    if let Field::Given(given) = &raw.signers
        && let Some(path) = take(file_path(&given.value), given, mistakes)
    {
        signing.signers = path;
    }
    if let Field::Given(given) = &raw.revoked {
        signing.revoked = take(file_path(&given.value), given, mistakes);
    }
    if let Field::Given(given) = &raw.max_length
        && let Some(length) = take(parse_max_length(&given.value), given, mistakes)
    {
        signing.max_length = length;
    }
    signing.any_host = flag(&raw.any_host, false).unwrap_or(false);
}

fn groups(raw: &[RawGroup], source: &Source<'_>, mistakes: &mut Mistakes) -> Vec<Known> {
    if let Some(first_too_many) = raw.get(MAX_GROUPS) {
        let message = format!("there are {} groups, {MAX_GROUPS} can be", raw.len());
        let help = "leave out groups that no `[[trust]]` needs";
        mistakes.wrong(&first_too_many.span, Fault::new(message, help));
    }
    let mut known: Vec<Known> = Vec::new();
    for raw in raw {
        let example = "name = \"ops\"";
        let name = required(&raw.name, &raw.span, "group", "name", example, mistakes)
            .and_then(|given| take(group_name(given, &known), given, mistakes));
        let (people, whole) = people(raw, &known, mistakes);
        if let Some(name) = name {
            let line = source.line(raw.span.start);
            known.push(Known { line, group: Group { name, people }, whole });
        }
    }
    known
}

fn group_name(given: &At<String>, known: &[Known]) -> Result<String, Fault> {
    let name = &given.value;
    if let Some(other) = known.iter().find(|other| other.group.name == *name) {
        let message = format!("the group on line {} is already named `{name}`", other.line);
        return Err(Fault::new(message, "put all its people into one of them"));
    }
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let other = |c: char| first(c) || matches!(c, '.' | '_' | '-');
    if !name.starts_with(first) || !name.chars().all(other) || name.len() > 63 {
        let help =
            "a name has 1 to 63 characters: a-z, 0-9, `.`, `_` and `-`, a letter or digit first";
        return Err(Fault::new(format!("{} cannot be a group's name", quoted(name)), help));
    }
    Ok(name.clone())
}

/// The people of a group, and whether these are all.
fn people(raw: &RawGroup, known: &[Known], mistakes: &mut Mistakes) -> (Vec<String>, bool) {
    let example = "people = [\"alice@example.com\"]";
    let Some(given) = required(&raw.people, &raw.span, "group", "people", example, mistakes) else {
        return (Vec::new(), false);
    };
    if given.value.is_empty() {
        let fault = Fault::new("a group needs at least one person", format!("as in `{example}`"));
        mistakes.wrong(&given.span, fault);
    }
    if let Some(first_too_many) = given.value.get(MAX_PEOPLE) {
        let message = format!("this group has {} people, {MAX_PEOPLE} can be", given.value.len());
        mistakes.wrong(&first_too_many.span, Fault::new(message, "name those who really sign"));
    }
    let mut people: Vec<String> = Vec::new();
    for item in &given.value {
        let Some(name) = take(person(&item.value), item, mistakes) else {
            continue;
        };
        let others = known.iter().flat_map(|known| &known.group.people);
        if people.iter().any(|other| same_person(other, &name)) {
            let message = format!("`{name}` is in this group twice");
            let help = "keep one of the two: each person counts once, however the name is written";
            mistakes.wrong(&item.span, Fault::new(message, help));
        } else if let Some(other) = others.clone().find(|o| same_person(o, &name) && **o != name) {
            let message = format!("`{name}` is written `{other}` in another group");
            let help = "write a person's name the same everywhere, as `allowed_signers` does";
            mistakes.wrong(&item.span, Fault::new(message, help));
        } else {
            people.push(name);
        }
    }
    let whole = !people.is_empty() && people.len() == given.value.len();
    (people, whole)
}

fn role(
    raw: &RawTrust,
    seen: &mut Vec<(Role, usize)>,
    source: &Source<'_>,
    mistakes: &mut Mistakes,
) -> Option<Role> {
    let given = required(&raw.role, &raw.span, "trust", "role", "role = \"primary\"", mistakes)?;
    let role = word(given, "role", Role::ALL, Role::word, mistakes)?;
    if let Some((_, line)) = seen.iter().find(|(other, _)| *other == role) {
        let message =
            format!("the trust on line {line} already says who signs for `{}` zones", role.word());
        let help = "keep one for each role; what it needs can name several groups";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    seen.push((role, source.line(raw.span.start)));
    Some(role)
}

fn trust(
    raw: &RawTrust,
    role: Option<Role>,
    groups: &[Known],
    mistakes: &mut Mistakes,
) -> Option<Trust> {
    let requester_may_sign = flag(&raw.requester_may_sign, false);
    let hardware = flag(&raw.hardware, false);
    let verified = flag(&raw.verified, false);
    if let (Some(false), Some(true), Field::Given(given)) = (hardware, verified, &raw.verified) {
        let message = "`verified = true` does nothing here: keys in files count too";
        let help = "only a hardware key asks for its PIN or fingerprint: add `hardware = true`";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    let needs = needs(raw, groups, mistakes);
    Some(Trust {
        role: role?,
        needs: needs?,
        requester_may_sign: requester_may_sign?,
        hardware: hardware?,
        verified: verified?,
    })
}

fn needs(raw: &RawTrust, groups: &[Known], mistakes: &mut Mistakes) -> Option<Vec<Need>> {
    let example = "needs = [{ group = \"ops\", people = 2 }]";
    let given = required(&raw.needs, &raw.span, "trust", "needs", example, mistakes)?;
    if given.value.is_empty() {
        let message = "a trust that needs nobody would let anybody through";
        mistakes.wrong(&given.span, Fault::new(message, format!("say who, as in `{example}`")));
        return None;
    }
    let mut needs: Vec<(Need, &Known)> = Vec::new();
    for raw in &given.value {
        let Some((need, known)) = need(raw, groups, mistakes) else {
            continue;
        };
        if needs.iter().any(|(other, _)| other.group == need.group) {
            let message = format!("group `{}` is needed twice", need.group);
            let help = "add the numbers up in one of the two: each person counts for one need";
            mistakes.wrong(&raw.span, Fault::new(message, help));
        }
        needs.push((need, known));
    }
    if needs.len() == given.value.len() && needs.iter().all(|(_, known)| known.whole) {
        together(&needs, given, mistakes);
    }
    Some(needs.into_iter().map(|(need, _)| need).collect())
}

fn need<'k>(
    raw: &RawNeed,
    groups: &'k [Known],
    mistakes: &mut Mistakes,
) -> Option<(Need, &'k Known)> {
    let group = required(&raw.group, &raw.span, "need", "group", "group = \"ops\"", mistakes);
    let people = required(&raw.people, &raw.span, "need", "people", "people = 2", mistakes);
    let known = group.and_then(|group| {
        let known = groups.iter().find(|known| known.group.name == group.value);
        if known.is_none() {
            let names: Vec<&str> = groups.iter().map(|known| known.group.name.as_str()).collect();
            let help = match names[..] {
                [] => "add a `[[group]]` with name and people".to_owned(),
                _ => did_you_mean(&group.value, &names),
            };
            let message = format!("there is no group {}", quoted(&group.value));
            mistakes.wrong(&group.span, Fault::new(message, help));
        }
        known
    });
    let people = people?;
    let number = u32::try_from(people.value).ok().filter(|number| *number > 0);
    let Some(number) = number else {
        let message = format!("a need of {} people cannot be", people.value);
        mistakes.wrong(&people.span, Fault::new(message, "write at least 1"));
        return None;
    };
    let known = known?;
    let has = known.group.people.len();
    if known.whole && number as usize > has {
        let message =
            format!("{number} people of group `{}` are needed, it has {has}", known.group.name);
        let help = format!("need at most {has}, or add people to the group");
        mistakes.wrong(&people.span, Fault::new(message, help));
        return None;
    }
    Some((Need { people: number, group: known.group.name.clone() }, known))
}

/// Whether there are people for all needs at once, and no more than can sign.
fn together(needs: &[(Need, &Known)], given: &At<Vec<RawNeed>>, mistakes: &mut Mistakes) {
    let total: usize = needs.iter().map(|(need, _)| need.people as usize).sum();
    if total > MAX_SIGNATURES {
        let message = format!("{total} people are needed, {MAX_SIGNATURES} can sign");
        mistakes.wrong(&given.span, Fault::new(message, "need fewer"));
        return;
    }
    let places: Vec<&Group> = needs
        .iter()
        .flat_map(|(need, known)| std::iter::repeat_n(&known.group, need.people as usize))
        .collect();
    let mut people: Vec<&String> = places.iter().flat_map(|group| &group.people).collect();
    people.sort_unstable();
    people.dedup();
    let filled =
        assign(places.len(), people.len(), |place, who| places[place].people.contains(people[who]));
    if filled.contains(&None) {
        let have = filled.iter().flatten().count();
        let message = format!(
            "these needs can never be met: they take {total} different people, and the groups have \
             {have} for them"
        );
        let help = "each person counts for one need: add people, or need fewer";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
}
