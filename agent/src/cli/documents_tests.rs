//! Every command that a document tells somebody to run is one: what people copy has to work.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Cli;

/// Where commands are told, besides `docs`. Rules and runbooks have a stricter test of their own.
const FILES: [&str; 5] = [
    "README.md",
    "agent/dist/policy.toml",
    "agent/dist/debian/postinst",
    "agent/dist/debian/prerm",
    "agent/dist/holdfast.catalog",
];
/// What ends a command in a line of a shell.
const ENDS: &[char] = &['#', '|', ';', '>', '<', '&', ')', '`'];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<(String, String)> {
    let mut names: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        names.extend(path.extension().is_some_and(|end| end == "md").then_some(path));
    }
    let read = |name: PathBuf| {
        let text = std::fs::read_to_string(root().join(&name)).unwrap();
        (name.display().to_string(), text)
    };
    names.into_iter().map(read).collect()
}

/// Words as a shell has them, up to where the command ends; more than one blank ends it as well:
/// what follows is said about it.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut blanks) = (Vec::new(), None::<String>, None, 0);
    for c in text.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                // The end of a text in which the whole command is, or the begin of an argument.
                if word.is_some() {
                    break;
                }
                (quote, word) = (Some(c), Some(String::new()));
            }
            (None, ' ' | '\n') => {
                blanks = if word.is_some() { 1 } else { blanks + 1 };
                words.extend(word.take());
                if blanks > 1 {
                    break;
                }
            }
            (None, c) if ENDS.contains(&c) => {
                // `2>`
                word = word.filter(|word| !(c == '>' && word == "2"));
                break;
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A command as it could be typed: examples for what stands for something.
fn typed(words: &[String]) -> Vec<String> {
    let words = words.iter().filter(|word| *word != "]");
    let plain = words.map(|word| match word.trim_matches(['[', ']', ',']) {
        "ID" | "N" => "1".to_owned(),
        "TIME" => "2h".to_owned(),
        "SIZE" => "16MiB".to_owned(),
        other => other.replace("{{", "").replace("}}", ""),
    });
    plain.collect()
}

/// Why it is none. `whole`: whether it can be run as it is; else it is only a mention, which may
/// leave out what is needed.
fn wrong(words: &[String], whole: bool) -> Option<String> {
    let left_out = words.iter().position(|word| matches!(word.as_str(), "…" | "..."));
    let words = &words[..left_out.unwrap_or(words.len())];
    let error = Cli::try_parse_from(words).err()?;
    let is_short = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let is_part = !whole || left_out.is_some();
    // An option whose value is left out.
    let is_cut = error.kind() == ErrorKind::InvalidValue
        && words.last().is_some_and(|word| word.starts_with("--"));
    let is_fine = is_part && (is_short || is_cut);
    (!is_fine).then(|| error.to_string())
}

/// Lines of code blocks, what is continued put together.
fn lines(block: &str) -> Vec<String> {
    let joined = block.lines().fold(String::new(), |text, line| match text.strip_suffix('\\') {
        Some(start) => format!("{} {}", start.trim_end(), line.trim_start()),
        None if text.is_empty() => line.to_owned(),
        None => format!("{text}\n{line}"),
    });
    joined.lines().map(str::to_owned).collect()
}

/// Where a line runs `holdfast`.
fn runs(line: &str) -> Vec<&str> {
    let starts = line.match_indices("holdfast ").filter(|(at, _)| {
        let before = line[..*at].trim_end_matches(['\'', '(']);
        let last = before.split_whitespace().last().unwrap_or_default();
        let by_itself = line[..*at].is_empty() || line[..*at].ends_with([' ', '\'', '(']);
        let in_comment = before.contains('#');
        let runs = ["", "ssh", "until", "!", "if", "sudo", "do", "HOST", "\"$host\""]
            .contains(&last)
            || last.ends_with([';', '|', '&']);
        by_itself && runs && !in_comment
    });
    starts.map(|(at, _)| &line[at..]).collect()
}

#[test]
fn documented_commands_exist() {
    let (mut seen, mut problems) = (0, Vec::new());
    for (file, text) in documents() {
        let is_script = file.contains("debian/");
        let parts: Vec<&str> =
            if is_script { vec!["", &text] } else { text.split("```").collect() };
        let blocks = parts.iter().skip(1).step_by(2).flat_map(|block| lines(block));
        let blocks: Vec<String> = blocks.collect();
        let prose = parts.iter().step_by(2).copied().collect::<String>();
        let prose = prose.replace("\n#", "\n").split_whitespace().collect::<Vec<_>>().join(" ");
        let mentions = prose.split('`').skip(1).step_by(2);
        let mentions = mentions.filter(|text| text.starts_with("holdfast "));
        let blocks = blocks.iter().flat_map(|line| runs(line)).map(|text| (text, true));
        for (command, whole) in blocks.chain(mentions.map(|text| (text, false))) {
            seen += 1;
            let words = typed(&words(command));
            problems.extend(
                wrong(&words, whole).map(|why| format!("{file}: {command}\n  {words:?}: {why}")),
            );
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 100, "{seen}");
}

#[test]
fn commands_are_found_in_a_line() {
    let found = |line: &str| -> Vec<Vec<String>> { runs(line).into_iter().map(words).collect() };
    assert_eq!(
        found("   holdfast hold release 1 --files 10       # 10 more"),
        [["holdfast", "hold", "release", "1", "--files", "10"]]
    );
    assert_eq!(
        found("ssh \"$host\" 'holdfast hold list --json' | jq"),
        [["holdfast", "hold", "list", "--json"]]
    );
    assert_eq!(found("holdfast agent 2>/var/log/x &"), [["holdfast", "agent"]]);
    assert_eq!(
        found("holdfast policy learn      budgets that fit"),
        [["holdfast", "policy", "learn"]]
    );
    assert_eq!(found("open --reason \"a; b\""), Vec::<Vec<String>>::new());
    assert_eq!(
        found("holdfast x --reason \"a; b\" --y"),
        [["holdfast", "x", "--reason", "a; b", "--y"]]
    );
    assert_eq!(lines("a \\\n  b\nc"), ["a b", "c"]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(wrong(&words("holdfast hold list"), true), None);
    assert_eq!(wrong(&words("holdfast hold release"), false), None);
    assert!(wrong(&words("holdfast hold release"), true).is_some());
    assert!(wrong(&words("holdfast hold release 1 --fles 3"), false).is_some());
    assert!(wrong(&words("holdfast hold lst"), false).is_some());
    assert_eq!(wrong(&words("holdfast break-glass open … -- CMD"), true), None);
}

/// Each function that the walk in docs/kernel.md leads through is in the file that it names.
#[test]
fn walk_leads_through_existing_functions() {
    let text = std::fs::read_to_string(root().join("docs/kernel.md")).unwrap();
    let mut steps = 0;
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        if !names[0].ends_with(".rs") {
            continue;
        }
        let file = match names[0].split_once('/') {
            Some(("abi", file)) => format!("ebpf/abi/src/{file}"),
            Some(("agent", file)) => format!("agent/src/{file}"),
            _ => format!("ebpf/src/{}", names[0]),
        };
        let code = std::fs::read_to_string(root().join(&file)).unwrap();
        let is_there = ["(", "<"].iter().any(|end| code.contains(&format!("fn {}{end}", names[1])));
        assert!(is_there, "{file} has no function {}", names[1]);
        steps += 1;
    }
    assert!(steps > 30, "{steps}");
}
