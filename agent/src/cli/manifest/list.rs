//! The list that `rsync --files-from` takes: paths from the tenant's directory, each once.

use std::cmp::Ordering;
use std::io::{self, Write};

use super::super::out;
use super::report::Report;
use crate::manifest::Record;
use crate::text;

/// Paths, and what they leave out.
#[derive(Debug, Default)]
pub(super) struct Listed<'a> {
    /// One for each path, in the order of paths.
    records: Vec<&'a Record>,
    pub(super) notes: Vec<String>,
}

impl Listed<'_> {
    /// Writes each path, and `end` after it.
    pub(super) fn write(&self, end: u8, out: &mut impl Write) -> io::Result<()> {
        for record in &self.records {
            out.write_all(&[b"./", &record.path().0[..], &[end]].concat())?;
        }
        Ok(())
    }

    /// Whether a path would do more to a terminal than print itself.
    pub(super) fn steers_a_terminal(&self) -> bool {
        // A backslash is only doubled for being told from an escape.
        let slash = |&byte: &u8| if byte == b'\\' { b'/' } else { byte };
        self.records.iter().any(|record| {
            let plain: Vec<u8> = bytes(record).map(slash).collect();
            text::for_terminal(&plain).as_bytes() != plain
        })
    }
}

/// Lists what can be brought back. Each path starts with `./`, so that none is taken for a comment,
/// and a directory is named without a `/` at its end, so that rsync makes it and takes nothing else
/// out of it.
pub(super) fn list(report: &Report, end: u8) -> Result<Listed<'_>, String> {
    let places = report.places();
    if let [_, _, ..] = places[..] {
        let shown: Vec<String> = places
            .iter()
            .map(|row| {
                let root = row.root.as_ref().map_or_else(|| "?".to_owned(), |root| root.shown());
                format!("zone {}, root {root}", out::name(&row.zone, None))
            })
            .collect();
        return Err(format!(
            "there is more than one such tenant ({})\n  help: choose with --zone and --root, so \
             that nobody gets another's files",
            shown.join("; ")
        ));
    }
    let mut listed = Listed::default();
    let (mut cut, mut itself, mut whole) = (0, false, 0);
    // Where the root is known, what has none may be of another root's tenant of that name.
    let root = places.first().and_then(|row| row.root.as_ref());
    let of_nobody = |record: &&Record| root.is_some() && record.dir.place.root.is_none();
    let unplaced = report.records.iter().filter(of_nobody).count() as u64;
    for record in report.records.iter().filter(|record| !of_nobody(record)) {
        let is_dir = record.kind() == "directory";
        whole += u64::from(is_dir && record.file.op != "remove");
        if record.dir.place.cut {
            cut += 1;
        } else if bytes(record).next().is_none() {
            itself = true;
        } else {
            listed.records.push(record);
        }
    }
    listed.records.sort_unstable_by(|a, b| order(a, b));
    listed.records.dedup_by(|a, b| order(a, b).is_eq());
    // Without --from0, rsync takes a carriage return for the end of a name, too.
    let ends: &[u8] = if end == 0 { b"\0" } else { b"\n\r" };
    let is_broken = |record: &&&Record| bytes(record).any(|byte| ends.contains(byte));
    let broken = listed.records.iter().filter(is_broken).count();
    if broken > 0 {
        return Err(format!(
            "{} a line break in it\n  help: use --from0, and `rsync --from0 --files-from=-`",
            if broken == 1 { "1 path has".to_owned() } else { format!("{broken} paths have") }
        ));
    }
    if unplaced > 0 {
        listed.notes.push(format!(
            "NOT LISTED: {} of which it is not known under which root they were; see --json",
            text::count(unplaced, "op")
        ));
    }
    if cut > 0 {
        listed.notes.push(format!(
            "NOT LISTED: {} with names too long to be kept in full; see --json",
            text::count(cut, "op")
        ));
    }
    if whole > 0 {
        listed.notes.push(format!(
            "{} left in one stroke; what was in them is not listed: bring those back as a whole \
             (see --op move_out, --op detach)",
            text::directories(whole as usize)
        ));
    }
    if itself {
        listed.notes.push(
            "the tenant's directory itself went; make it first, with its owner, as \
             docs/recovery.md says"
                .to_owned(),
        );
    }
    Ok(listed)
}

fn order(one: &Record, other: &Record) -> Ordering {
    match (one.path_parts(), other.path_parts()) {
        // The same order with less work.
        ([dir, _, name], [same, _, other]) if dir == same => name.cmp(other),
        _ => bytes(one).cmp(bytes(other)),
    }
}

/// Its path, which is not made for that: there can be a million of them.
fn bytes(record: &Record) -> impl Iterator<Item = &u8> {
    record.path_parts().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Record, SummaryRow, example};

    fn report(records: Vec<Record>) -> Report {
        let mut report = Report::default();
        for record in records {
            if !report.tenants.iter().any(|known| known.has(&record)) {
                report.tenants.push(SummaryRow::of(&record));
            }
            report.records.push(record);
        }
        report
    }

    fn gone(path: &[u8]) -> Record {
        example("alice", path, 1)
    }

    fn paths(listed: &Listed<'_>, end: u8) -> Vec<u8> {
        let mut paths = Vec::new();
        listed.write(end, &mut paths).unwrap();
        paths
    }

    #[test]
    fn paths_are_unique_and_no_comments() {
        let names: [&[u8]; 6] = [b"b/c", b"#a", b"b/c", b"\xff", b"b", b"b-"];
        let report = report(names.map(gone).into());
        let listed = list(&report, b'\n').unwrap();
        assert_eq!(paths(&listed, b'\n'), b"./#a\n./b\n./b-\n./b/c\n./\xff\n");
        assert!(listed.notes.is_empty());
    }

    #[test]
    fn terminal_control_in_paths_is_detected() {
        let steers = |path| list(&report(vec![gone(path)]), 0).unwrap().steers_a_terminal();
        assert!(!steers(br"a b\c") && !steers("süß".as_bytes()));
        for evil in ["\u{1b}[2J", "a\rb", "a\nb", "\u{202e}", "\u{9b}2J"] {
            assert!(steers(evil.as_bytes()), "{evil:?}");
        }
        assert!(steers(b"\xff"), "and what is no text");
    }

    #[test]
    fn newlines_need_the_other_form() {
        let report = report(vec![gone(b"a\nb")]);
        assert!(list(&report, b'\n').unwrap_err().contains("--from0"));
        assert_eq!(paths(&list(&report, 0).unwrap(), 0), b"./a\nb\0");
        // rsync would look for two files here as well.
        let report = self::report(vec![gone(b"a\rkeep")]);
        assert!(list(&report, b'\n').is_err());
        assert_eq!(paths(&list(&report, 0).unwrap(), 0), b"./a\rkeep\0");
    }

    #[test]
    fn what_cannot_be_listed_is_said() {
        let mut cut = gone(b"x");
        cut.dir_mut().place.cut = true;
        let directory = |path| {
            let mut record = gone(path);
            record.dir_mut().mode = 0o040_755;
            record
        };
        let (mut away, removed, itself) = (directory(b"d"), directory(b"e"), directory(b""));
        away.file.op = "move_out".into();
        let report = report(vec![cut, away, removed, itself]);
        let listed = list(&report, 0).unwrap();
        assert_eq!(paths(&listed, 0), b"./d\0./e\0");
        assert_eq!(listed.notes.len(), 3, "{:?}", listed.notes);
    }

    #[test]
    fn tenants_of_one_name_stay_separate() {
        let mut other = gone(b"f");
        other.dir_mut().place.root = Some(b"/other"[..].into());
        let error = list(&report(vec![gone(b"f"), other]), 0).unwrap_err();
        assert!(
            error.contains("/srv") && error.contains("/other") && error.contains("--root"),
            "{error}"
        );
        let mut unknown = gone(b"g");
        unknown.dir_mut().place.root = None;
        let both = report(vec![gone(b"f"), unknown.clone()]);
        let listed = list(&both, 0).unwrap();
        assert_eq!(paths(&listed, 0), b"./f\0", "the other may be of another root's tenant");
        assert!(listed.notes[0].contains("NOT LISTED: 1 op"), "{:?}", listed.notes);
        let alone = report(vec![unknown]);
        assert_eq!(paths(&list(&alone, 0).unwrap(), 0), b"./g\0", "there is no other");
    }
}
