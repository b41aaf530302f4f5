//! `holdfast audit verify`.

use serde::Serialize;

use super::super::{Dirs, Exit, Failure, out};
use super::{VerifyArgs, unreadable};
use crate::audit::{Expected, Summary, verify};
use crate::text;

#[derive(Serialize)]
struct Report<'a> {
    dir: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

pub(super) fn run(dirs: &Dirs, args: &VerifyArgs) -> Result<Exit, Failure> {
    let dir = args.log.dir(dirs);
    let keys = args.keys.read()?;
    let heads = args.head.iter().map(|head| Expected::parse(head));
    let heads: Vec<Expected> = heads
        .collect::<Result<_, _>>()
        .map_err(|why| Failure::new(Exit::BadInput, format!("--head: {why}")))?;
    let summary = verify(&dir, &keys, &heads).map_err(|error| unreadable(&dir, &error))?;
    if args.json {
        out::json(&Report { dir: dir.to_string_lossy().into_owned(), summary: &summary })?;
    } else {
        out::text(&render(&out::name(&dir.to_string_lossy(), None), &summary, heads.len()))?;
    }
    Ok(if summary.sound { Exit::Ok } else { Exit::Failure })
}

fn render(dir: &str, summary: &Summary, heads: usize) -> String {
    let mut page = String::new();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    match &summary.bad {
        None => line(format!("SOUND   {dir}")),
        Some(bad) => {
            let place = match bad.line {
                0 => out::name(&bad.file, None),
                number => format!("{}:{number}", out::name(&bad.file, None)),
            };
            let record = bad.seq.map_or_else(String::new, |seq| format!(", record {seq}"));
            line(format!("BAD     {dir}"));
            line(format!("where   {place}{record}"));
            line(format!("what    {}", out::name(&bad.what, None)));
            line(format!("means   {}", bad.means));
            line("        what comes after it was not checked".to_owned());
        }
    }
    let span = match (summary.first_seq, summary.last_seq) {
        (Some(first), Some(last)) => format!(" ({first} to {last})"),
        _ => String::new(),
    };
    line(format!(
        "checked {}{span} in {}, {}",
        text::count(summary.records, "record"),
        text::count(summary.segments, "segment"),
        text::count(summary.signatures, "signature"),
    ));
    if let (Some(seq), Some(hash)) = (summary.last_seq, &summary.hash) {
        line(format!("head    {seq}:{}", out::name(hash, None)));
    }
    if let Some(key) = &summary.key {
        line(format!("key     {}", out::name(key, None)));
        if !summary.key_given {
            line(
                "        as the log itself says: whoever writes all of it anew can name a key of \
                 his own; give --key"
                    .to_owned(),
            );
        }
    }
    let unsigned = summary.unsigned;
    line(match (unsigned, summary.signed_seq) {
        (0, Some(seq)) => format!("signed  up to record {seq}, the last"),
        (_, Some(seq)) => format!(
            "signed  up to record {seq}; after it an UNSIGNED TAIL of {}: whether these were \
             rewritten cannot be told",
            text::count(unsigned, "record")
        ),
        (_, None) => "signed  nothing".to_owned(),
    });
    if summary.sound {
        line(match heads {
            0 => "cut     not checked against a head from elsewhere: give --head from the journal \
                  or the metrics, the last one there is"
                .to_owned(),
            _ => format!(
                "cut     {} of the heads given (and in head.json) found",
                summary.heads_found
            ),
        });
    }
    for note in &summary.notes {
        line(format!("note    {}", out::name(note, None)));
    }
    if summary.notes_left_out > 0 {
        line(format!("note    {} more notes", summary.notes_left_out));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Bad;

    #[test]
    fn what_cannot_be_known_is_said() {
        let sound = Summary {
            sound: true,
            records: 12,
            segments: 1,
            signatures: 2,
            first_seq: Some(1),
            last_seq: Some(12),
            signed_seq: Some(9),
            unsigned: 3,
            hash: Some("ab".to_owned()),
            key: Some("KEY".to_owned()),
            ..Summary::default()
        };
        let page = render("/x", &sound, 0);
        for part in [
            "SOUND   /x\n",
            "checked 12 records (1 to 12) in 1 segment, 2 signatures",
            "head    12:ab",
            "give --key",
            "UNSIGNED TAIL of 3 records",
            "cut     not checked",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        let given = Summary { key_given: true, unsigned: 0, heads_found: 2, ..sound.clone() };
        let page = render("/x", &given, 1);
        assert!(!page.contains("give --key") && !page.contains("UNSIGNED"), "{page}");
        assert!(page.contains("cut     2 of the heads given"), "{page}");
        let bad = Bad {
            file: "audit-000002.jsonl\u{1b}[2J".to_owned(),
            line: 7,
            seq: Some(42),
            what: "x\u{1b}[2J".to_owned(),
            means: "it was changed",
        };
        let page = render("/x", &Summary { sound: false, bad: Some(bad), ..sound }, 0);
        for part in [
            "BAD ",
            "audit-000002.jsonl\\x1b[2J:7, record 42",
            "means   it was changed",
            "was not checked",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains('\u{1b}'));
    }
}
