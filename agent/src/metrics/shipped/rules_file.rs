//! Reads the rules that are shipped. They are written in one manner, which is checked here;
//! `promtool` checks that they are YAML.

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// Name of the alert or of the recorded series.
    pub(super) name: String,
    pub(super) is_alert: bool,
    pub(super) expr: String,
    /// All of its lines.
    pub(super) text: String,
}

impl Rule {
    /// The value of a field that is on one line.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().map(str::trim_start);
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One unit test.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) alert: String,
    pub(super) fires: bool,
    /// Its series.
    pub(super) series: Vec<String>,
}

/// Every rule of a rules file.
pub(super) fn rules(text: &str) -> Vec<Rule> {
    const STARTS: [(&str, bool); 2] = [("      - alert: ", true), ("      - record: ", false)];
    let mut found: Vec<Rule> = Vec::new();
    for line in text.lines() {
        let start = STARTS.iter().find_map(|(start, is)| Some((line.strip_prefix(start)?, *is)));
        if let Some((name, is_alert)) = start {
            let (expr, text) = (String::new(), String::new());
            found.push(Rule { name: name.to_owned(), is_alert, expr, text });
        } else if line.starts_with("        ")
            && let Some(rule) = found.last_mut()
        {
            rule.text += &format!("{line}\n");
        }
    }
    found.iter_mut().for_each(|rule| rule.expr = expr(&rule.text));
    found
}

fn expr(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("        expr: "));
    let first = lines.next().expect("a rule has an expression").trim_start();
    match first {
        "expr: |" => {
            let block = lines.take_while(|line| line.starts_with("          "));
            block.collect::<Vec<_>>().join("\n")
        }
        first => first.trim_start_matches("expr: ").to_owned(),
    }
}

/// Every unit test of a file of them.
pub(super) fn cases(text: &str) -> Vec<Case> {
    let blocks = text.split("\n  - name: ").skip(1);
    let case = |block: &str| {
        let values = |name: &str| -> Vec<String> {
            let lines = block.lines().filter_map(|line| line.trim().strip_prefix(name));
            lines.map(|value| value.trim_matches('\'').to_owned()).collect()
        };
        let mut alerts = values("- alertname: ");
        assert_eq!(alerts.len(), 1, "one alert each: {block}");
        let alert = alerts.remove(0);
        let fires = !block.contains("exp_alerts: []");
        assert_eq!(fires, block.contains("- exp_labels:"), "{block}");
        let story = if fires { "fires: " } else { "is quiet: " };
        assert!(block.trim_start_matches('\'').starts_with(&format!("{alert} {story}")), "{block}");
        Case { alert, fires, series: values("- series: ") }
    };
    blocks.map(case).collect()
}

#[test]
fn a_rule_is_read() {
    let text = "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: |\n\
                \x20         x > 1\n          or y\n        for: 1m\n\
                \x20       annotations:\n          summary: \"s\"\n\
                \x20     - record: b:c\n        expr: z\n";
    let found = rules(text);
    assert_eq!((found[0].name.as_str(), found[0].is_alert), ("A", true));
    assert_eq!(found[0].expr.split_whitespace().collect::<Vec<_>>().join(" "), "x > 1 or y");
    assert_eq!(found[0].field("summary"), Some("\"s\""));
    assert_eq!((found[1].name.as_str(), found[1].expr.as_str()), ("b:c", "z"));
}
