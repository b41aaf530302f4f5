//! From a text to an [`Allowance`]: every field, and everything that is wrong with one. It asks
//! neither what time it is nor what this host is called.

mod bind;
mod grant;
mod raw;
mod values;

use holdfast_abi::MAX_GRANTS;

use self::raw::RawAllowance;
use super::{ALLOWANCE_VERSION, Allowance, Bind, Grant, MAX_DOCUMENT};
use crate::problem::{Fault, Mistakes, Problems, Source};
use crate::raw::Field;
use crate::resolve::fields::{required, take};
use crate::signing::person;

pub(super) fn parse(path: &str, text: &str) -> Result<Allowance, Problems> {
    let mut mistakes = Mistakes::default();
    if text.len() > MAX_DOCUMENT {
        let message = format!("the document has {} bytes, {MAX_DOCUMENT} can be", text.len());
        mistakes.wrong(&(0..0), Fault::new(message, SMALLER));
        // Whatever else is wrong with it is not looked for.
        let start = text.lines().next().unwrap_or_default();
        let start: String = start.chars().take(80).collect();
        return finish(None, path, &Source::new(&start), mistakes);
    }
    let source = Source::new(text);
    let raw = raw::read(text, &mut mistakes);
    if let Field::Given(version) = &raw.version
        && version.value != i128::from(ALLOWANCE_VERSION)
    {
        let mut mistakes = Mistakes::default();
        let message = format!("version {} of allowances is not known here", version.value);
        let help =
            format!("write `version = {ALLOWANCE_VERSION}`, or use the holdfast it was made for");
        mistakes.wrong(&version.span, Fault::new(message, help));
        return finish(None, path, &source, mistakes);
    }
    let allowance = resolve(&raw, &mut mistakes);
    if let Some(allowance) = &allowance {
        let length = allowance.canonical().len();
        if length > MAX_DOCUMENT {
            let message =
                format!("its canonical text would have {length} bytes, {MAX_DOCUMENT} can be");
            mistakes.wrong(&(0..0), Fault::new(message, SMALLER));
        }
    }
    finish(allowance, path, &source, mistakes)
}

const SMALLER: &str = "nobody reads that much before signing: name a directory above the subtrees, \
                       or make several allowances";

fn finish(
    allowance: Option<Allowance>,
    path: &str,
    source: &Source<'_>,
    mistakes: Mistakes,
) -> Result<Allowance, Problems> {
    match (mistakes.into_problems(path, source), allowance) {
        (Some(problems), _) => Err(problems),
        (None, Some(allowance)) => Ok(allowance),
        (None, None) => {
            // Whatever could not be read has said so. If that is ever wrong, it is refused and no
            // panic.
            let mut mistakes = Mistakes::default();
            mistakes.wrong(&(0..0), Fault::new("this is no allowance", "see `holdfast allow new`"));
            Err(mistakes.into_problems(path, source).expect("a mistake was just added"))
        }
    }
}

fn resolve(raw: &RawAllowance, mistakes: &mut Mistakes) -> Option<Allowance> {
    let span = 0..0;
    let what = "allowance";
    required(&raw.version, &span, what, "version", "version = 1", mistakes);
    let id = required(&raw.id, &span, what, "id", "id = \"CHG-1042\"", mistakes)
        .and_then(|id| take(values::id(&id.value), id, mistakes));
    let example = "reason = \"remove the caches of the old release\"";
    let reason = required(&raw.reason, &span, what, "reason", example, mistakes)
        .and_then(|reason| take(values::reason(&reason.value), reason, mistakes));
    let example = "requested_by = \"alice@example.com\"";
    let requested_by = required(&raw.requested_by, &span, what, "requested_by", example, mistakes)
        .and_then(|who| take(person(&who.value), who, mistakes));
    let hosts = required(&raw.hosts, &span, what, "hosts", "hosts = [\"web1\"]", mistakes)
        .and_then(|hosts| values::hosts(hosts, mistakes));
    let example = "not_before = 2026-07-01T22:00:00+02:00";
    let not_before = required(&raw.not_before, &span, what, "not_before", example, mistakes)
        .and_then(|time| take(values::time(&time.value), time, mistakes));
    let example = "not_after = 2026-07-02T00:00:00+02:00";
    let after = required(&raw.not_after, &span, what, "not_after", example, mistakes);
    let not_after = after.and_then(|time| take(values::time(&time.value), time, mistakes));
    if let (Some(from), Some(until), Some(after)) = (not_before, not_after, after)
        && until <= from
    {
        let message = "the allowance is over before it begins";
        let help = "`not_after` has to be later than `not_before`; mind the zones of both";
        mistakes.wrong(&after.span, Fault::new(message, help));
    }
    let grants = grants(raw, mistakes);
    let bind = match &raw.bind {
        Field::Given(bind) => bind::resolve(bind, mistakes),
        Field::Missing => Some(Bind::default()),
        Field::Bad => None,
    };
    let rehearsal = match &raw.rehearsal {
        Field::Given(given) => {
            let what = "rehearsal";
            values::required_sha256(&given.value, &given.span, what, "sha256", mistakes).map(Some)
        }
        Field::Missing => Some(None),
        Field::Bad => None,
    };
    Some(Allowance {
        id: id?,
        reason: reason?,
        requested_by: requested_by?,
        hosts: hosts?,
        not_before: not_before?,
        not_after: not_after?,
        grants: grants?,
        bind: bind?,
        rehearsal: rehearsal?,
    })
}

fn grants(raw: &RawAllowance, mistakes: &mut Mistakes) -> Option<Vec<Grant>> {
    let nothing = || {
        Fault::new(
            "an allowance without a grant allows nothing",
            "add a `[[grant]]` with zone, subtrees, ops, files, bytes and tenants",
        )
    };
    let given = match &raw.grants {
        Field::Given(grants) => grants,
        Field::Bad => return None,
        Field::Missing => {
            mistakes.missing(&(0..0), nothing());
            return None;
        }
    };
    if given.value.is_empty() {
        mistakes.missing(&given.span, nothing());
    }
    if let Some(first_too_many) = given.value.get(MAX_GRANTS) {
        let message = format!("there are {} grants, {MAX_GRANTS} can be", given.value.len());
        let help = "one grant can name several subtrees; or make another allowance";
        mistakes.wrong(&first_too_many.span, Fault::new(message, help));
    }
    let grants: Vec<Grant> =
        given.value.iter().filter_map(|raw| grant::resolve(raw, mistakes)).collect();
    (!grants.is_empty()).then_some(grants)
}
