//! Who may spend an allowance: names that mean one user, one unit, one command.

use holdfast_abi::AllowanceConf;

use super::raw::{RawBind, RawCommand};
use super::values::required_sha256;
use crate::allowance::{Bind, BoundCommand};
use crate::problem::{Fault, Mistakes};
use crate::raw::{At, Field};
use crate::resolve::fields::{file_path, required, take};
use crate::words::quoted;

/// Longest name of a user or unit.
const MAX_NAME: usize = 255;

pub(super) fn resolve(given: &At<RawBind>, mistakes: &mut Mistakes) -> Option<Bind> {
    let raw = &given.value;
    if let (Field::Missing, Field::Missing, Field::Missing) = (&raw.user, &raw.unit, &raw.command) {
        let message = "`[bind]` is empty";
        let help = "remove it or fill it: it takes user, unit and `[bind.command]`";
        mistakes.wrong(&given.span, Fault::new(message, help));
    }
    let user = optional(&raw.user, user, mistakes);
    let unit = optional(&raw.unit, unit, mistakes);
    let command = match &raw.command {
        Field::Given(given) => command(given, mistakes).map(Some),
        Field::Missing => Some(None),
        Field::Bad => None,
    };
    Some(Bind { user: user?, unit: unit?, command: command? })
}

fn optional(
    field: &Field<String>,
    read: fn(&str) -> Result<String, Fault>,
    mistakes: &mut Mistakes,
) -> Option<Option<String>> {
    match field {
        Field::Given(given) => take(read(&given.value), given, mistakes).map(Some),
        Field::Missing => Some(None),
        Field::Bad => None,
    }
}

fn user(text: &str) -> Result<String, Fault> {
    let fits = |c: char| c.is_ascii_graphic() && !":/,\"'`*?!#".contains(c);
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(fits) {
        let help =
            "write the login name, such as `root`, or the number as a string, such as `\"1000\"`";
        return Err(Fault::new(format!("{} cannot be a user", quoted(text)), help));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        // The last number is how the kernel says "no user", and the guard "any user".
        let number = text.parse().ok().filter(|number: &u32| *number != AllowanceConf::ANY_USER);
        if number.map(|number| number.to_string()).as_deref() != Some(text) {
            let help = "a user's number is from 0 to 4294967294, without zeros in front";
            return Err(Fault::new(format!("{} cannot be a user's number", quoted(text)), help));
        }
    }
    Ok(text.to_owned())
}

fn unit(text: &str) -> Result<String, Fault> {
    if text.starts_with('/') {
        if text == "/" {
            let help = "name the unit it is for, such as `maintenance.service`";
            return Err(Fault::new("the root of all cgroups cannot be a unit", help));
        }
        return file_path(text);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let stem = [".service", ".scope"].iter().find_map(|kind| text.strip_suffix(kind));
    match stem {
        Some(stem) if !stem.is_empty() && text.len() <= MAX_NAME && text.chars().all(fits) => {
            Ok(text.to_owned())
        }
        _ => {
            let help = "write a service or scope of systemd, such as `maintenance.service`, or a \
                        cgroup's path, such as `/system.slice/maintenance.service`";
            Err(Fault::new(format!("{} cannot be a unit", quoted(text)), help))
        }
    }
}

fn command(given: &At<RawCommand>, mistakes: &mut Mistakes) -> Option<BoundCommand> {
    let (raw, what) = (&given.value, "command");
    let path = required(&raw.path, &given.span, what, "path", "path = \"/usr/bin/bash\"", mistakes)
        .and_then(|path| take(file_path(&path.value), path, mistakes));
    let sha256 = required_sha256(&raw.sha256, &given.span, what, "sha256", mistakes);
    let script = match (&raw.script, &raw.script_sha256) {
        (Field::Missing, Field::Missing) => Some(None),
        (Field::Missing, Field::Given(digest)) => {
            let message = "`script_sha256` does nothing without `script`";
            let help = "add the script's path, as in `script = \"/root/maintenance.sh\"`";
            mistakes.wrong(&digest.span, Fault::new(message, help));
            None
        }
        (Field::Missing, Field::Bad) => None,
        (script, digest) => {
            let example = "script = \"/root/maintenance.sh\"";
            let script = required(script, &given.span, what, "script", example, mistakes)
                .and_then(|script| take(file_path(&script.value), script, mistakes));
            let digest = required_sha256(digest, &given.span, what, "script_sha256", mistakes);
            script.zip(digest).map(Some)
        }
    };
    Some(BoundCommand { path: path?, sha256: sha256?, script: script? })
}
