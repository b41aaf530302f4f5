//! `holdfast audit report`.

use super::super::{Dirs, Exit, Failure, out};
use super::{ReportArgs, moment, unreadable};
use crate::audit::read::{Read, Reader};
use crate::audit::verify;
use crate::clock::Now;
use crate::incident::{Incident, html, text};

pub(super) fn run(dirs: &Dirs, args: &ReportArgs) -> Result<Exit, Failure> {
    let now = Now::read();
    let dir = args.log.dir(dirs);
    let keys = args.keys.read()?;
    let since = moment("since", &args.since, now)?;
    let until = match &args.until {
        Some(until) => moment("until", until, now)?,
        None => now.unix_seconds().saturating_add(1) * 1000,
    };
    if until <= since {
        return Err(Failure::new(Exit::BadInput, "--until is not after --since"));
    }
    let failed = |error: std::io::Error| unreadable(&dir, &error);
    let summary = verify(&dir, &keys, &[]).map_err(failed)?;
    let mut incident = Incident::new(since, until, args.zone.clone());
    let mut reader = Reader::open(&dir).map_err(failed)?;
    while let Some(read) = reader.next().map_err(failed)? {
        match read {
            Read::Entry(entry) => incident.take(&entry),
            Read::NoRecord { .. } => incident.unreadable_lines += 1,
        }
    }
    match &args.html {
        None => out::text(&text(&incident, &summary, now))?,
        Some(path) => {
            std::fs::write(path, html(&incident, &summary, now)).map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot write {}: {error}", path.display()))
            })?;
            out::text(&format!("written: {}", path.display()))?;
        }
    }
    Ok(if summary.sound { Exit::Ok } else { Exit::Failure })
}
