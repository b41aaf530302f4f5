//! The list that `rsync --files-from` takes: paths from the tenant's directory, each once.

use std::collections::BTreeSet;

use super::super::out;
use super::report::Report;
use crate::manifest::Record;
use crate::text;

/// Paths, and what they leave out.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) paths: Vec<u8>,
    pub(super) notes: Vec<String>,
}

/// Lists what can be brought back. Each path starts with `./`, so that none is taken for a comment, and a directory is named
/// without a `/` at its end, so that rsync makes it and takes nothing else out of it.
pub(super) fn list(report: &Report, end: u8) -> Result<Listed, String> {
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
            "there is more than one such tenant ({})\n  help: choose with --zone and --root, so that nobody gets another's files",
            shown.join("; ")
        ));
    }
    let mut listed = Listed::default();
    let (mut paths, mut cut, mut itself, mut whole) = (BTreeSet::new(), 0, false, 0);
    // Where the root is known, what has none may be of another root's tenant of that name.
    let root = places.first().and_then(|row| row.root.as_ref());
    let of_nobody = |record: &&Record| root.is_some() && record.place.root.is_none();
    let unplaced = report.records.iter().filter(of_nobody).count() as u64;
    for record in report.records.iter().filter(|record| !of_nobody(record)) {
        let is_dir = record.kind == "directory";
        whole += u64::from(is_dir && record.op != "remove");
        if record.place.cut {
            cut += 1;
        } else if record.place.path.0.is_empty() {
            itself = true;
        } else {
            paths.insert(record.place.path.0.as_slice());
        }
    }
    // Without --from0, rsync takes a carriage return for the end of a name, too.
    let ends: &[u8] = if end == 0 { b"\0" } else { b"\n\r" };
    let is_broken = |path: &&&[u8]| path.iter().any(|byte| ends.contains(byte));
    let broken = paths.iter().filter(is_broken).count() as u64;
    if broken > 0 {
        return Err(format!(
            "{} a line break in it\n  help: use --from0, and `rsync --from0 --files-from=-`",
            if broken == 1 { "1 path has".to_owned() } else { format!("{broken} paths have") }
        ));
    }
    for path in paths {
        listed.paths.extend(b"./");
        listed.paths.extend(path);
        listed.paths.push(end);
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
            "{} left in one stroke; what was in them is not listed: bring those back as a whole (see --op move_out, --op detach)",
            text::directories(whole as usize)
        ));
    }
    if itself {
        listed.notes.push(
            "the tenant's directory itself went; make it first, with its owner, as docs/recovery.md says".to_owned(),
        );
    }
    Ok(listed)
}

/// Whether a list of one path in a line would do more to a terminal than print itself.
pub(super) fn steers_a_terminal(paths: &[u8]) -> bool {
    let lines = paths.split(|byte| *byte == b'\n');
    // A backslash is only doubled for being told from an escape.
    lines.into_iter().any(|line| {
        let plain: Vec<u8> =
            line.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
        text::for_terminal(&plain).as_bytes() != plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Record, SummaryRow, example};

    fn report(records: Vec<Record>) -> Report {
        let mut report = Report::default();
        for record in records {
            let row = SummaryRow::of(&record);
            if !report.tenants.iter().any(|known| known.is_same(&row)) {
                report.tenants.push(row);
            }
            report.records.push(record);
        }
        report
    }

    fn gone(path: &[u8]) -> Record {
        example("alice", path, 1)
    }

    #[test]
    fn each_path_once_and_none_is_a_comment() {
        let listed =
            list(&report(vec![gone(b"b/c"), gone(b"#a"), gone(b"b/c"), gone(b"\xff")]), b'\n')
                .unwrap();
        assert_eq!(listed.paths, b"./#a\n./b/c\n./\xff\n");
        assert!(listed.notes.is_empty());
    }

    #[test]
    fn what_would_steer_a_terminal_is_told_from_what_would_not() {
        assert!(!steers_a_terminal("./a b\\c\n./süß\n".as_bytes()));
        for evil in ["./\u{1b}[2J\n", "./a\rb\n", "./\u{202e}\n", "./\u{9b}2J\n"] {
            assert!(steers_a_terminal(evil.as_bytes()), "{evil:?}");
        }
        assert!(steers_a_terminal(b"./\xff\n"), "and what is no text");
    }

    #[test]
    fn newlines_need_the_other_form() {
        let report = report(vec![gone(b"a\nb")]);
        assert!(list(&report, b'\n').unwrap_err().contains("--from0"));
        assert_eq!(list(&report, 0).unwrap().paths, b"./a\nb\0");
        // rsync would look for two files here as well.
        let report = self::report(vec![gone(b"a\rkeep")]);
        assert!(list(&report, b'\n').is_err());
        assert_eq!(list(&report, 0).unwrap().paths, b"./a\rkeep\0");
    }

    #[test]
    fn what_cannot_be_listed_is_said() {
        let mut cut = gone(b"x");
        cut.place.cut = true;
        let away = Record { kind: "directory", op: "move_out".into(), ..gone(b"d") };
        let removed = Record { kind: "directory", ..gone(b"e") };
        let itself = Record { kind: "directory", ..gone(b"") };
        let listed = list(&report(vec![cut, away, removed, itself]), 0).unwrap();
        assert_eq!(listed.paths, b"./d\0./e\0");
        assert_eq!(listed.notes.len(), 3, "{:?}", listed.notes);
    }

    #[test]
    fn two_tenants_of_one_name_are_never_mixed() {
        let mut other = gone(b"f");
        other.place.root = Some(b"/other"[..].into());
        let error = list(&report(vec![gone(b"f"), other]), 0).unwrap_err();
        assert!(
            error.contains("/srv") && error.contains("/other") && error.contains("--root"),
            "{error}"
        );
        let mut unknown = gone(b"g");
        unknown.place.root = None;
        let listed = list(&report(vec![gone(b"f"), unknown.clone()]), 0).unwrap();
        assert_eq!(listed.paths, b"./f\0", "the other may be of another root's tenant");
        assert!(listed.notes[0].contains("NOT LISTED: 1 op"), "{:?}", listed.notes);
        assert_eq!(list(&report(vec![unknown]), 0).unwrap().paths, b"./g\0", "there is no other");
    }
}
