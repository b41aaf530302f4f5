//! Rules, their tests and their runbooks.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::page::{metrics, page, samples};
use super::promql::{self, TARGET};
use super::rules_file::{Rule, cases, rules};
use super::{path, programs, read};

pub(super) const RULES: &str = "agent/dist/prometheus/holdfast.rules.yml";
const TESTS: &str = "agent/dist/prometheus/holdfast.rules.test.yml";
const RUNBOOKS: &str = "docs/runbooks";

/// What there is to ask for: metrics with their labels, and what the rules record.
pub(super) fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = samples(&page(&mut metrics(), 1));
    known.insert("up".to_owned(), BTreeSet::new());
    known.values_mut().for_each(|labels| labels.extend(TARGET.map(str::to_owned)));
    for rule in rules(&read(RULES)).into_iter().filter(|rule| !rule.is_alert) {
        let own = rule.expr.contains("\"side\"").then(|| "side".to_owned());
        let labels = promql::selectors(&rule.expr).into_iter();
        let labels: BTreeSet<String> =
            labels.filter_map(|of| known.get(&of.metric)).flatten().cloned().chain(own).collect();
        known.insert(rule.name, labels);
    }
    known
}

/// Insists that everything an expression asks for exists.
pub(super) fn check(what: &str, expr: &str, known: &BTreeMap<String, BTreeSet<String>>) {
    let selectors = promql::selectors(expr);
    assert!(!selectors.is_empty(), "{what}: {expr} is about no metric");
    let mut possible = BTreeSet::new();
    for selector in selectors {
        let labels = known.get(&selector.metric);
        let labels = labels.unwrap_or_else(|| panic!("{what}: there is no {}", selector.metric));
        let missing: Vec<_> = selector.labels.difference(labels).collect();
        assert!(missing.is_empty(), "{what}: {} has no labels {missing:?}", selector.metric);
        possible.extend(labels.iter().cloned());
    }
    let unknown: Vec<String> = promql::grouped_by(expr).difference(&possible).cloned().collect();
    assert!(unknown.is_empty(), "{what}: nothing there has labels {unknown:?}");
}

#[test]
fn rule_metrics_and_labels_exist() {
    let known = known();
    let rules = rules(&read(RULES));
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in &rules {
        check(&rule.name, &rule.expr, &known);
        for used in ["$labels."].iter().flat_map(|mark| rule.text.split(mark).skip(1)) {
            let end = used.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(0);
            let about = promql::selectors(&rule.expr);
            let has = about.iter().any(|of| known[&of.metric].contains(&used[..end]));
            assert!(has, "{}: no label {}", rule.name, &used[..end]);
        }
    }
    for case in cases(&read(TESTS)) {
        for series in &case.series {
            check(&case.alert, series, &known);
            let [selector] = &promql::selectors(series)[..] else { panic!("{series}") };
            if selector.metric != "up" {
                let all = &known[&selector.metric];
                assert_eq!(&selector.labels, all, "{}: a test of {}", case.alert, selector.metric);
            }
        }
    }
}

/// It fires in one of them and is quiet in the other.
#[test]
fn every_alert_has_both_tests() {
    let cases = cases(&read(TESTS));
    let alerts: Vec<Rule> = rules(&read(RULES)).into_iter().filter(|rule| rule.is_alert).collect();
    for Rule { name, .. } in &alerts {
        for fires in [true, false] {
            let has = cases.iter().any(|case| case.alert == *name && case.fires == fires);
            assert!(
                has,
                "{name} has no test in which it {}",
                if fires { "fires" } else { "is quiet" }
            );
        }
    }
    let all: BTreeSet<&str> = alerts.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(all.len(), alerts.len(), "an alert has a name of its own");
    for case in &cases {
        assert!(all.contains(case.alert.as_str()), "{} is tested and not there", case.alert);
    }
}

/// It says how bad it is and where, too.
#[test]
fn every_alert_says_what_to_do() {
    for rule in rules(&read(RULES)).into_iter().filter(|rule| rule.is_alert) {
        let name = &rule.name;
        assert!(matches!(rule.field("severity"), Some("page" | "ticket")), "{name}: severity");
        let runbook = format!("{RUNBOOKS}/{name}.md");
        assert_eq!(rule.field("runbook_url"), Some(runbook.as_str()), "{name}");
        assert!(rule.text.contains("First:"), "{name}: what to do first");
        let of_all = ["HoldfastFleetTrip", "HoldfastFleetUnseen"].contains(&name.as_str());
        let summary = rule.field("summary").expect("a summary");
        assert!(of_all || summary.contains("{{ $labels.instance }}"), "{name}: which host");
        let known = known();
        let about = promql::selectors(&rule.expr);
        let has_zone = about.iter().all(|of| known[&of.metric].contains("zone"));
        let names_zone = rule.text.contains("zone {{ $labels.zone }}");
        assert!(!has_zone || of_all || names_zone, "{name}: which zone");
    }
}

#[test]
fn alerts_and_runbooks_match() {
    const PARTS: [&str; 5] = [
        "## What it means",
        "## What to look at",
        "## What to do",
        "## What not to do",
        "## How it ends",
    ];
    let index = read(&format!("{RUNBOOKS}/README.md"));
    let mut pages: BTreeSet<String> = std::fs::read_dir(path(RUNBOOKS))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pages.remove("README.md"));
    for rule in rules(&read(RULES)).into_iter().filter(|rule| rule.is_alert) {
        let file = format!("{}.md", rule.name);
        assert!(pages.remove(&file), "{RUNBOOKS}/{file} is missing");
        assert!(index.contains(&format!("({file})")), "{file} is not in the index");
        let text = read(&format!("{RUNBOOKS}/{file}"));
        assert!(text.starts_with(&format!("# {}\n", rule.name)), "{file}");
        let severity = rule.field("severity").unwrap();
        assert!(text.lines().nth(2).unwrap().starts_with(&format!("**{severity}**")), "{file}");
        for part in PARTS {
            assert!(text.contains(&format!("\n{part}\n")), "{file} has no part {part:?}");
        }
    }
    assert!(pages.is_empty(), "runbooks of no alert: {pages:?}");
}

/// A metric that a page names is there, or a family of them that begins so; or it is a variable of
/// the Ansible role.
#[test]
fn every_metric_that_documents_name_exists() {
    let known = known();
    let variables = read("agent/dist/ansible/roles/holdfast/defaults/main.yml");
    let mut files = vec![path("README.md"), path("SPECIFICATION.md")];
    for dir in ["docs", RUNBOOKS] {
        let entries = std::fs::read_dir(path(dir)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for rest in text.split("`holdfast_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(0);
            let name = format!("holdfast_{}", &rest[..end]);
            let is_start = name.ends_with('_') && known.keys().any(|key| key.starts_with(&name));
            let is_histogram = known.contains_key(&format!("{name}_bucket"));
            let is_variable = variables.lines().any(|line| line.starts_with(&format!("{name}: ")));
            let exists = known.contains_key(&name) || is_start || is_histogram || is_variable;
            assert!(exists, "{}: there is no {name}", file.display());
        }
    }
}

#[test]
fn promtool_accepts_the_rules() {
    let mut promtool = Command::new(programs::find("promtool"));
    programs::run(promtool.args(["check", "rules", "--lint-fatal"]).arg(path(RULES)), "");
}

#[test]
fn prometheus_and_alertmanager_examples_are_valid() {
    let dir = path("agent/dist/prometheus");
    let mut promtool = Command::new(programs::find("promtool"));
    programs::run(promtool.args(["check", "config"]).arg(dir.join("prometheus.yml")), "");
    let mut amtool = Command::new(programs::find("amtool"));
    programs::run(amtool.arg("check-config").arg(dir.join("alertmanager.yml")), "");
}

#[test]
fn alerts_fire_only_when_they_should() {
    let mut promtool = Command::new(programs::find("promtool"));
    let tests = path(TESTS);
    promtool.current_dir(tests.parent().unwrap());
    programs::run(promtool.args(["test", "rules"]).arg(tests.file_name().unwrap()), "");
}

/// Names, units and help texts as Prometheus wants them.
#[test]
fn promtool_accepts_the_metrics() {
    let mut promtool = Command::new(programs::find("promtool"));
    let said = programs::run(promtool.args(["check", "metrics"]), &page(&mut metrics(), 1));
    assert_eq!(said.trim(), "", "what promtool says about the page");
}

/// What people copy at night has to be a command.
#[test]
fn rule_and_runbook_commands_exist() {
    let mut texts = vec![(RULES.to_owned(), read(RULES))];
    for entry in std::fs::read_dir(path(RUNBOOKS)).unwrap() {
        let name = format!("{RUNBOOKS}/{}", entry.unwrap().file_name().to_str().unwrap());
        texts.push((name.clone(), read(&name)));
    }
    let mut seen = 0;
    for (file, text) in texts {
        let text = text.replace("{{ $labels.zone }}", "ZONE");
        let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
        let prose = text.split("```").step_by(2).collect::<String>();
        let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ");
        let inline = prose.split('`').skip(1).step_by(2);
        for command in blocks.chain(inline).filter(|text| text.starts_with("holdfast ")) {
            let command = command.split(['#', '|', ';']).next().unwrap();
            let words = command.split_whitespace().map(|word| match word {
                "ID" | "N" => "1",
                other => other,
            });
            let words: Vec<&str> = words.collect();
            let parsed = crate::cli::test_parse(&words);
            assert_eq!(parsed, Ok(()), "{file}: {command}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}
