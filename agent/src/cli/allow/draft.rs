//! An allowance that is being written: from flags and answers to a whole one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use holdfast_policy::allowance::{Allowance, Bind, BoundCommand, Grant, Hosts};
use sha2::{Digest as _, Sha256};

use super::args::NewArgs;
use super::ask::Ask;
use super::field::{self, Value};
use super::grant::GrantWords;
use super::time;
use crate::cli::run::find;
use crate::cli::{Exit, Failure, out};
use crate::text;

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    id: Option<String>,
    reason: Option<String>,
    requested_by: Option<String>,
    hosts: Option<Hosts>,
    from: Option<i64>,
    until: Option<Until>,
    grants: Vec<(String, GrantWords)>,
    bind: Bind,
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    At(i64),
    /// Seconds after its begin.
    For(i64),
}

/// What can be taken for granted if nobody says otherwise.
pub(super) struct Surroundings<'a> {
    /// Seconds since 1970, UTC.
    pub(super) now: i64,
    /// This host's name.
    pub(super) host: &'a str,
}

impl Draft {
    /// What the flags say, or everything that is wrong with them.
    pub(super) fn of(args: &NewArgs) -> Result<Self, Failure> {
        let mut wrong = Vec::new();
        let mut draft = Self {
            id: take("--id", args.id.as_deref(), field::id, &mut wrong),
            reason: take("--reason", args.reason.as_deref(), field::reason, &mut wrong),
            requested_by: take(
                "--requested-by",
                args.requested_by.as_deref(),
                field::person,
                &mut wrong,
            ),
            from: take("--from", args.from.as_deref(), field::moment, &mut wrong),
            ..Self::default()
        };
        let hosts = Some(&args.hosts[..]).filter(|hosts| !hosts.is_empty());
        draft.hosts = take("--host", hosts, field::hosts, &mut wrong);
        let until = take("--until", args.until.as_deref(), field::moment, &mut wrong);
        let length = take("--for", args.length.as_deref(), field::length, &mut wrong);
        draft.until = until.map(Until::At).or(length.map(Until::For));
        draft.grants = grants(args, &mut wrong);
        for (name, grant) in &draft.grants {
            // What is missing is asked for, or told, later.
            let _ = whole(name, grant, &mut wrong);
        }
        draft.bind.user = take("--user", args.user.as_deref(), field::user, &mut wrong);
        draft.bind.unit = take("--unit", args.unit.as_deref(), field::unit, &mut wrong);
        if let Some(path) = &args.command {
            let script = args.script.as_deref();
            draft.bind.command = command(path, script).map_err(|why| wrong.push(why)).ok();
        }
        if wrong.is_empty() { Ok(draft) } else { Err(usage(&wrong)) }
    }

    /// The flags that would say what is missing.
    pub(super) fn missing(&self) -> Vec<String> {
        let fields = [
            ("--id", self.id.is_none()),
            ("--reason", self.reason.is_none()),
            ("--requested-by", self.requested_by.is_none()),
            ("--host", self.hosts.is_none()),
            ("--until or --for", self.until.is_none()),
        ];
        let fields = fields.into_iter().filter(|(_, missing)| *missing);
        let mut missing: Vec<String> = fields.map(|(flag, _)| flag.to_owned()).collect();
        for (name, grant) in &self.grants {
            missing.extend(grant.missing().into_iter().map(|field| match name.as_str() {
                "" => format!("--{field}"),
                _ => format!("`{field}=` in {name}"),
            }));
        }
        missing
    }

    /// Asks for what is missing.
    pub(super) fn complete(
        &mut self,
        ask: &mut impl Ask,
        around: &Surroundings<'_>,
    ) -> Result<(), Failure> {
        if self.reason.is_none() {
            self.reason = Some(ask.ask("what is done, and why?", None, field::reason)?);
        }
        if self.requested_by.is_none() {
            let question = "who asks for it (as in allowed_signers)?";
            self.requested_by = Some(ask.ask(question, None, field::person)?);
        }
        if self.hosts.is_none() {
            let hosts = |text: &str| field::hosts(&blanks(text));
            self.hosts = Some(ask.ask("on which hosts?", Some(around.host), hosts)?);
        }
        for (name, grant) in &mut self.grants {
            self::ask(name, grant, ask)?;
        }
        if self.until.is_none() {
            self.until = Some(ask.ask("for how long, or until when?", Some("2h"), until)?);
        }
        if self.id.is_none() {
            let zone = self.grants.first().and_then(|(_, grant)| grant.zone.as_deref());
            let day =
                time::show(self.from.unwrap_or(around.now)).chars().take(10).collect::<String>();
            let id = format!("{day}-{}", zone.unwrap_or("maintenance"));
            let id = field::id(&id).is_ok().then_some(id);
            self.id = Some(ask.ask("what is it called?", id.as_deref(), field::id)?);
        }
        Ok(())
    }

    /// The whole allowance; problems between fields are told with the line of the document.
    pub(super) fn finish(self, around: &Surroundings<'_>) -> Result<Allowance, Failure> {
        let missing = self.missing();
        let mut wrong = Vec::new();
        let grants = self.grants.iter().map(|(name, grant)| whole(name, grant, &mut wrong));
        let grants: Option<Vec<Grant>> = grants.collect();
        let (Some(id), Some(reason), Some(requested_by), Some(hosts), Some(until), Some(grants)) =
            (self.id, self.reason, self.requested_by, self.hosts, self.until, grants)
        else {
            return Err(not_all(&missing));
        };
        let not_before = self.from.unwrap_or(around.now);
        let not_after = match until {
            Until::At(time) => time,
            Until::For(seconds) => not_before.saturating_add(seconds),
        };
        let bind = self.bind;
        let draft = Allowance {
            id,
            reason,
            requested_by,
            hosts,
            not_before,
            not_after,
            grants,
            bind,
            rehearsal: None,
        };
        Allowance::parse("the new allowance", &draft.canonical())
            .map_err(|problems| Failure::new(Exit::Usage, problems.to_string()))
    }
}

/// What to do if something is missing and nobody can be asked.
pub(super) fn not_all(missing: &[String]) -> Failure {
    let message = format!(
        "missing: {}\n  help: give them, or run it on a terminal, where it asks",
        missing.join(", ")
    );
    Failure::new(Exit::Usage, message)
}

fn usage(wrong: &[String]) -> Failure {
    Failure::new(Exit::Usage, wrong.join("\nholdfast: "))
}

fn take<G: ?Sized, T>(
    flag: &str,
    given: Option<&G>,
    read: impl Fn(&G) -> Value<T>,
    wrong: &mut Vec<String>,
) -> Option<T> {
    read(given?).map_err(|why| wrong.push(format!("{flag}: {why}"))).ok()
}

/// The grants as they were given, each with its name for messages: empty for the one that has flags
/// of its own.
fn grants(args: &NewArgs, wrong: &mut Vec<String>) -> Vec<(String, GrantWords)> {
    let own = GrantWords {
        zone: args.zone.clone(),
        subtrees: args.subtrees.clone(),
        ops: args.ops.clone(),
        files: args.files.clone(),
        bytes: args.bytes.clone(),
        tenants: args.tenants.clone(),
    };
    let more = args.grants.iter().enumerate().filter_map(|(index, text)| {
        let name = format!("--grant {}", index + 1);
        match GrantWords::parse(text) {
            Ok(grant) => Some((name, grant)),
            Err(why) => {
                wrong.push(format!("{name}: {why}"));
                None
            }
        }
    });
    let more: Vec<_> = more.collect();
    let first = (!own.is_empty() || args.grants.is_empty()).then(|| (String::new(), own));
    first.into_iter().chain(more).collect()
}

/// The grant, if it is whole; what is wrong with the words that are there.
fn whole(name: &str, words: &GrantWords, wrong: &mut Vec<String>) -> Option<Grant> {
    let flag = |field: &str| {
        if name.is_empty() { format!("--{field}") } else { format!("{name}: {field}") }
    };
    let text = |words: &'_ Option<String>| words.clone();
    let zone = take(&flag("zone"), text(&words.zone).as_deref(), field::zone, wrong);
    let subtrees = Some(&words.subtrees[..]).filter(|subtrees| !subtrees.is_empty());
    let subtrees = take(&flag("subtree"), subtrees, field::subtrees, wrong);
    let ops = take(&flag("ops"), words.ops.as_deref(), field::ops, wrong);
    let files = take(&flag("files"), words.files.as_deref(), field::files, wrong);
    let bytes = take(&flag("bytes"), words.bytes.as_deref(), field::bytes, wrong);
    let tenants = take(&flag("tenants"), words.tenants.as_deref(), field::tenants, wrong);
    Some(Grant {
        zone: zone?,
        subtrees: subtrees?,
        ops: ops?,
        files: files?,
        bytes: bytes?,
        tenants: tenants?,
    })
}

/// Asks for what a grant lacks.
fn ask(name: &str, grant: &mut GrantWords, ask: &mut impl Ask) -> Result<(), Failure> {
    let of = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let mut fill = |place: &mut Option<String>, question: &str, default, check: Check| {
        if place.is_none() {
            let question = format!("{of}{question}");
            let kept = |text: &str| check(text).map(|()| text.to_owned());
            *place = Some(ask.ask(&question, default, kept)?);
        }
        Ok::<(), Failure>(())
    };
    fill(&mut grant.zone, "in which zone?", None, |text| field::zone(text).map(drop))?;
    if grant.subtrees.is_empty() {
        let mut subtrees = None;
        let check = |text: &str| field::subtrees(&blanks(text)).map(drop);
        fill(
            &mut subtrees,
            "in which directories or files (absolute paths, blanks between)?",
            None,
            check,
        )?;
        grant.subtrees = blanks(subtrees.as_deref().unwrap_or_default());
    }
    fill(&mut grant.ops, "which ops?", Some("remove"), |text| field::ops(text).map(drop))?;
    fill(&mut grant.files, "at most how many files?", None, |text| field::files(text).map(drop))?;
    fill(&mut grant.bytes, "at most how many bytes, such as 10GiB?", None, |text| {
        field::bytes(text).map(drop)
    })?;
    fill(&mut grant.tenants, "in at most how many tenants?", Some("1"), |text| {
        field::tenants(text).map(drop)
    })
}

type Check = fn(&str) -> Value<()>;

fn until(text: &str) -> Value<Until> {
    field::length(text).map(Until::For).or_else(|_| {
        field::moment(text)
            .map(Until::At)
            .map_err(|why| format!("{why}, or a length of time such as `2h`"))
    })
}

fn blanks(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// A command and its script, as they are now.
fn command(path: &Path, script: Option<&Path>) -> Value<BoundCommand> {
    let executable = find(path.as_os_str()).map_err(|failure| format!("--command: {failure}"))?;
    // By the name it is called by, in the directory where that really is: one file can be many
    // commands.
    let named = executable.named().map_err(|error| format!("--command: {error}"))?;
    let (path, sha256) = hashed("--command", &named)?;
    let script = script.map(|script| {
        let real = script.canonicalize();
        let real = real.map_err(|error| format!("--script: {}: {error}", out::path(script)))?;
        hashed("--script", &real)
    });
    Ok(BoundCommand { path, sha256, script: script.transpose()? })
}

fn hashed(flag: &str, path: &Path) -> Value<(String, String)> {
    let shown = out::path(path);
    let name = path.to_str().ok_or_else(|| format!("{flag}: {shown} is not UTF-8 text"))?;
    let digest = digest(path).map_err(|error| format!("{flag}: cannot read {shown}: {error}"))?;
    Ok((name.to_owned(), digest))
}

/// SHA-256 of a file's content.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(text::hex(&hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
