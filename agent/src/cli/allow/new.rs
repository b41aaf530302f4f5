//! `holdfast allow new`: writes a document to be signed.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use holdfast_policy::allowance::Allowance;

use super::args::NewArgs;
use super::ask;
use super::draft::{Draft, Surroundings, not_all};
use crate::allowances::host_names;
use crate::cli::{Exit, Failure, out};
use crate::clock::Now;

pub(super) fn run(args: &NewArgs) -> Result<Exit, Failure> {
    out::text(&create(args)?)?;
    Ok(Exit::Ok)
}

/// Writes it, and says what to do next.
pub(super) fn create(args: &NewArgs) -> Result<String, Failure> {
    let host = host_names().name;
    let around = Surroundings { now: Now::read().unix_seconds(), host: &host };
    let mut draft = Draft::of(args)?;
    let missing = draft.missing();
    if !missing.is_empty() {
        if !io::stdin().is_terminal() {
            return Err(not_all(&missing));
        }
        draft.complete(&mut ask::terminal(), &around)?;
    }
    let allowance = draft.finish(&around)?;
    let file =
        args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", allowance.id)));
    write_new(&file, &allowance.canonical(), "write")?;
    Ok(written(&file, &allowance))
}

/// Writes a file that did not exist.
pub(super) fn write_new(file: &Path, text: &str, what: &str) -> Result<(), Failure> {
    let written = File::create_new(file).and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        open.sync_all()
    });
    written.map_err(|error| {
        let help = if error.kind() == io::ErrorKind::AlreadyExists {
            "\n  help: nothing is overwritten: choose another name with -o, or remove it first"
        } else {
            ""
        };
        Failure::new(Exit::Failure, format!("cannot {what} {}: {error}{help}", out::path(file)))
    })
}

/// What was written, and what to do with it.
fn written(file: &Path, allowance: &Allowance) -> String {
    let name = out::command(&[file.display().to_string()]);
    let alone = allowance.bind.command.is_none()
        && (allowance.bind.user.is_some() || allowance.bind.unit.is_some());
    let mut rows = vec![
        vec!["who signs".to_owned(), format!("holdfast allow sign {name}")],
        vec![
            String::new(),
            format!(
                "or, without holdfast: ssh-keygen -Y sign -n holdfast-allowance -f \
                 ~/.ssh/id_ed25519 {name}"
            ),
        ],
        vec![
            String::new(),
            format!(
                "and then `mv {name}.sig {name}.NAME.sig`, so that nobody overwrites another's"
            ),
        ],
        vec!["anybody".to_owned(), format!("holdfast allow verify {name}")],
        vec!["on the host".to_owned(), format!("holdfast run --allow {name} -- COMMAND")],
    ];
    if alone {
        rows.push(vec![
            String::new(),
            format!("or `holdfast allow submit {name}`, for every process it is bound to"),
        ]);
    }
    format!("wrote {}\n\n{}\nnext:\n{}", out::path(file), allowance.summary(), out::table(&rows, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &tempfile::TempDir) -> NewArgs {
        let text = |text: &str| Some(text.to_owned());
        NewArgs {
            id: text("CHG-1"),
            reason: text("remove caches"),
            requested_by: text("carol@example.com"),
            hosts: vec!["web1".to_owned()],
            length: text("2h"),
            zone: text("customers"),
            subtrees: vec!["/srv/customers/*/cache".to_owned()],
            ops: text("remove"),
            files: text("1000"),
            bytes: text("10GiB"),
            tenants: text("20"),
            output: Some(dir.path().join("a.toml")),
            ..NewArgs::default()
        }
    }

    /// Nothing is overwritten.
    #[test]
    fn new_document_is_canonical() {
        let dir = tempfile::tempdir().unwrap();
        create(&args(&dir)).unwrap();
        let file = dir.path().join("a.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let allowance = Allowance::parse("a.toml", &text).unwrap();
        assert_eq!(allowance.canonical(), text);
        assert_eq!(allowance.not_after - allowance.not_before, 7200);
        let again = NewArgs { id: Some("CHG-2".to_owned()), ..args(&dir) };
        let failure = create(&again).unwrap_err();
        assert!(failure.message.contains("nothing is overwritten"), "{}", failure.message);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }

    #[test]
    fn the_next_steps_can_be_copied() {
        let dir = tempfile::tempdir().unwrap();
        let draft = Draft::of(&args(&dir)).unwrap();
        let around = Surroundings { now: 1_700_000_000, host: "h" };
        let allowance = draft.finish(&around).unwrap();
        let page = written(Path::new("a b.toml"), &allowance);
        for part in [
            "wrote a b.toml",
            "allowance CHG-1",
            "holdfast allow sign 'a b.toml'",
            "ssh-keygen -Y sign -n holdfast-allowance -f ~/.ssh/id_ed25519 'a b.toml'",
            "holdfast allow verify 'a b.toml'",
            "holdfast run --allow 'a b.toml' -- COMMAND",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(!page.contains("allow submit"), "{page}");
        let bound = Allowance {
            bind: holdfast_policy::allowance::Bind {
                user: Some("root".to_owned()),
                ..Default::default()
            },
            ..allowance
        };
        assert!(written(Path::new("a.toml"), &bound).contains("holdfast allow submit a.toml"));
    }
}
