//! What is shipped for Prometheus and Grafana, against the metrics there are and against Prometheus
//! itself.

mod dashboard;
mod page;
mod programs;
mod prometheus;
mod promql;
mod rules;
mod rules_file;

use std::path::PathBuf;

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The text of a file of the repository.
fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
