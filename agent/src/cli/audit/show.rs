//! `holdfast audit show`.

use std::time::Duration;

use serde_json::Value;

use super::super::{Dirs, Exit, Failure, out};
use super::{ShowArgs, moment, unreadable};
use crate::audit::read::{Entry, Read, Reader};
use crate::clock::Now;
use crate::incident;

/// How often the log is looked at for more.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(dirs: &Dirs, args: &ShowArgs) -> Result<Exit, Failure> {
    let dir = args.log.dir(dirs);
    let filter = Filter::new(args, Now::read())?;
    let failed = |error: std::io::Error| unreadable(&dir, &error);
    let mut reader = Reader::open(&dir).map_err(failed)?;
    let mut unreadable_lines = 0_u64;
    loop {
        while let Some(read) = reader.next().map_err(failed)? {
            match read {
                Read::Entry(entry) if filter.takes(&entry) => {
                    out::text(&if args.json { entry.value.to_string() } else { render(&entry) })?;
                }
                Read::Entry(_) => {}
                Read::NoRecord { file, line } => {
                    unreadable_lines += 1;
                    out::fail(
                        Exit::Ok,
                        &format!(
                            "{}:{line} is no record: `holdfast audit verify`",
                            out::name(&file, None)
                        ),
                    );
                }
            }
        }
        if !args.follow {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(if unreadable_lines == 0 { Exit::Ok } else { Exit::Failure })
}

/// Which records are shown.
struct Filter<'a> {
    args: &'a ShowArgs,
    since: i64,
    until: i64,
}

impl<'a> Filter<'a> {
    fn new(args: &'a ShowArgs, now: Now) -> Result<Self, Failure> {
        let time = |name, text: &Option<String>, otherwise| {
            text.as_deref().map_or(Ok(otherwise), |text| moment(name, text, now))
        };
        let since = time("since", &args.span.since, i64::MIN)?;
        Ok(Self { args, since, until: time("until", &args.span.until, i64::MAX)? })
    }

    fn takes(&self, entry: &Entry) -> bool {
        let args = self.args;
        let wanted = |wanted: &Option<String>, found: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(found)
        };
        (self.since..self.until).contains(&entry.millis)
            && (args.kind.is_empty() || args.kind.contains(&entry.kind))
            && wanted(&args.zone, &|zone| incident::zones(entry).any(|found| found == zone))
            && wanted(&args.tenant, &|tenant| {
                entry.text(&["event", "tenant", "name"]) == Some(tenant)
            })
            && wanted(&args.unit, &|unit| {
                incident::unit(entry)
                    .is_some_and(|found| found == unit || found.ends_with(&format!("/{unit}")))
            })
            && args
                .user
                .is_none_or(|user| incident::users(entry).any(|found| found == u64::from(user)))
    }
}

/// `2026-01-01T00:00:00.000Z  1042  release  …`: what a line is about comes first, then the rest of
/// its fields.
fn render(entry: &Entry) -> String {
    let what = incident::sentence(entry).unwrap_or_else(|| fields(&entry.value));
    format!(
        "{}  {:>6}  {:<12} {}",
        out::name(&entry.time, None),
        entry.seq,
        out::name(&entry.kind, None),
        out::name(&what, None)
    )
}

fn fields(value: &Value) -> String {
    let known = ["seq", "time", "prev", "type", "sig"];
    let object = value.as_object().into_iter().flatten();
    let rest = object.filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
    let rest: Vec<String> = rest
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    rest.join(" ")
}
