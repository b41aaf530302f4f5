//! Which metrics and labels a PromQL expression is about. It knows as much of the language as is
//! used here.

use std::collections::BTreeSet;

/// Every target has these.
pub(super) const TARGET: [&str; 2] = ["instance", "job"];

/// A selector: `holdfast_x{a="1"}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) labels: BTreeSet<String>,
}

/// Metrics (`holdfast_…`), recorded series (`holdfast:…`) and `up`, with the labels they are asked
/// for.
pub(super) fn selectors(expr: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = strip_strings(expr);
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = rest[start..].to_owned();
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        rest = rest[end..].to_owned();
        if word == "up" || word.starts_with("holdfast_") || word.starts_with("holdfast:") {
            let braces = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let labels = braces.map_or_else(BTreeSet::new, |(inner, _)| label_names(inner));
            found.push(Selector { metric: word, labels });
        }
    }
    found
}

/// Labels in `by (…)`, `on (…)` and the like.
pub(super) fn grouped_by(expr: &str) -> BTreeSet<String> {
    let text = strip_strings(expr);
    let mut found = BTreeSet::new();
    for word in ["by", "on", "without", "ignoring", "group_left", "group_right"] {
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back();
            let inner = text[at + word.len()..].trim_start().strip_prefix('(');
            if before.is_none_or(|c| !is_of_name(c))
                && let Some((inner, _)) = inner.and_then(|inner| inner.split_once(')'))
            {
                found.extend(inner.split(',').map(|label| label.trim().to_owned()));
            }
        }
    }
    found.retain(|label| !label.is_empty());
    found
}

fn label_names(inner: &str) -> BTreeSet<String> {
    let names = inner.split(',').filter_map(|pair| pair.split(['=', '!']).next());
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The same with nothing between quotation marks.
fn strip_strings(expr: &str) -> String {
    expr.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[test]
fn selectors_are_found_with_their_labels() {
    let found = selectors(
        "sum by (zone) (rate(holdfast_a_total{op=~\"x, up, holdfast_no\", zone!=\"y\"}[5m])) / up \
         == 0",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].metric, "holdfast_a_total");
    assert_eq!(found[0].labels, ["op", "zone"].map(str::to_owned).into());
    assert_eq!((found[1].metric.as_str(), found[1].labels.len()), ("up", 0));
    let grouped = grouped_by("sum by (a, b) (x) and on(c) y unless ignoring () z + baby(d)");
    assert_eq!(grouped, ["a", "b", "c"].map(str::to_owned).into());
}
