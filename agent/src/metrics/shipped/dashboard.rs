//! The dashboard: its shape as Grafana reads it, and each of its queries against a Prometheus that
//! scrapes an agent's page.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::prometheus::Prometheus;
use super::rules::{check, known};
use super::{path, read};

const DASHBOARD: &str = "agent/dist/grafana/holdfast.json";
/// A Prometheus that has just been started on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no list {name}")).as_slice()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value}"))
}

/// Every query with where it stands.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row") {
        for target in list(panel, "targets") {
            let place = format!("{}, {}", text(panel, "title"), text(target, "refId"));
            found.push((place, text(target, "expr").to_owned()));
        }
    }
    for annotation in list(&dashboard["annotations"], "list") {
        found.push(("annotations".to_owned(), text(annotation, "expr").to_owned()));
    }
    found
}

/// What Grafana puts in for its variables.
fn filled_in(expr: &str) -> String {
    let expr = expr.replace("$instance", ".*").replace("$zone", ".*");
    let expr = expr.replace("$__rate_interval", "20s").replace("$__range", "1m");
    assert!(!expr.contains('$'), "an unknown variable in {expr}");
    expr
}

/// What a dashboard has to have, after Grafana's description of its JSON model (schema version 38):
/// Grafana itself is in no Debian release.
#[test]
fn dashboard_has_the_grafana_shape() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 38);
    assert!(dashboard["id"].is_null(), "an id is the one of somebody's database");
    assert!(text(&dashboard, "uid").len() <= 40 && !text(&dashboard, "title").is_empty());
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(names, ["datasource", "instance", "zone"]);
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: an id of its own");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24 && place("h") > 0, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} overlaps another panel");
            }
        }
        match text(panel, "type") {
            "row" => continue,
            "stat" | "timeseries" | "table" => {}
            other => panic!("{title}: {other} is none of Grafana's own panels that are used here"),
        }
        assert!(!text(panel, "description").is_empty(), "{title}: says what it shows");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel["fieldConfig"]["defaults"].is_object() && panel["options"].is_object());
        let mut letters = BTreeSet::new();
        for target in list(panel, "targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(letters.insert(text(target, "refId")), "{title}: a letter of its own");
        }
    }
}

#[test]
fn dashboard_metrics_and_labels_exist() {
    let known = known();
    for (place, expr) in queries(&dashboard()) {
        check(&place, &expr, &known);
    }
}

/// Each query of the dashboard returns data, and each rule is evaluated without an error.
#[test]
fn every_dashboard_query_returns_data() {
    let prometheus = Prometheus::start(&path(super::rules::RULES));
    let mut waiting = queries(&dashboard());
    assert!(waiting.len() > 40, "{}", waiting.len());
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        waiting.retain(|(_, expr)| prometheus.query(&filled_in(expr)).is_empty());
        let places: Vec<&String> = waiting.iter().map(|(place, _)| place).collect();
        assert!(Instant::now() < deadline, "no data for {places:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
    for (name, health, error) in prometheus.rules() {
        assert_eq!((health.as_str(), error.as_str()), ("ok", ""), "{name}");
    }
}
