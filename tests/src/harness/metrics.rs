//! Reads the agent's `/metrics` page as a Prometheus server would.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
    /// The page as it came.
    pub(crate) text: String,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Asks the agent.
    pub(crate) fn scrape(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).context("cannot reach the metrics port")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request =
            format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut page = Vec::new();
        stream.read_to_end(&mut page)?;
        let page = String::from_utf8(page).context("the metrics page is not UTF-8")?;
        let (head, body) = page.split_once("\r\n\r\n").context("no HTTP header")?;
        ensure!(head.contains(" 200 "), "the metrics page answered {:?}", head.lines().next());
        Self::parse(body)
    }

    /// Reads the text format; every line must make sense.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("metrics line {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples, text: text.to_owned() })
    }

    /// The sum of every sample of this name that has these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is such a sample at all.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// Ops of a zone with one verdict, of all kinds.
    pub(crate) fn ops(&self, zone: &str, verdict: &str) -> f64 {
        self.sum("holdfast_ops_total", &[("zone", zone), ("verdict", verdict)])
    }

    /// Every label name in use.
    pub(crate) fn label_names(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.samples.iter().flat_map(|s| s.labels.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|&(k, v)| sample.labels.get(k).is_some_and(|found| found == v))
        })
    }
}

fn sample(line: &str) -> Result<Sample> {
    let (series, value) = match line.rfind('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ').context("no value")?,
    };
    let value = value.split_whitespace().next().context("no value")?;
    let value = value.parse().with_context(|| format!("{value:?} is not a number"))?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => (name, parse_labels(rest.trim_end_matches('}'))?),
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn parse_labels(mut text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"").context("a label without a value")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => bail!("a label value ends in a backslash"),
                },
                Some((_, c)) => value.push(c),
                None => bail!("a label value does not end"),
            }
        };
        labels.insert(key.to_owned(), value);
        text = rest[end + 1..].trim_start_matches(',');
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_page_sums_by_label() {
        let page = "# HELP a_total b\n# TYPE a_total counter\n\
            a_total{zone=\"x\",op=\"remove\"} 3\na_total{zone=\"x\",op=\"a \\\"b\\\", c=d\"} 4\n\
            a_total{zone=\"y\"} 5\nplain 1.5\n";
        let metrics = Metrics::parse(page).unwrap();
        assert_eq!(metrics.sum("a_total", &[("zone", "x")]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("op", "a \"b\", c=d")]), 4.0);
        assert_eq!(metrics.sum("plain", &[]), 1.5);
        assert!(!metrics.has("a_total", &[("zone", "z")]));
        assert_eq!(metrics.label_names(), ["op", "zone"]);
        assert!(Metrics::parse("a{b=\"c} 1").is_err());
        assert!(Metrics::parse("a one").is_err());
    }
}
