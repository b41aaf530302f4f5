//! Unit and property tests, on the host.

use std::time::Instant;

use anyhow::Result;

use super::Place;
use super::count::Count;
use crate::{paths, process, setup, ui};

/// Runs `cargo test` for the whole workspace.
pub fn run(filter: Option<&str>) -> Result<Place> {
    setup::for_host_tests()?;
    let start = Instant::now();
    let mut command = process::own_cargo();
    command.args(["test", "--workspace", "--quiet", "--no-fail-fast", "--", "--format=pretty"]);
    command.args(filter.iter().flat_map(|texts| texts.split(','))).current_dir(paths::root());
    let mut count = Count::default();
    let mut text = String::new();
    let output = ui::step("unit and property tests", || Ok(command.output()?))?;
    text += &String::from_utf8_lossy(&output.stdout);
    text.lines().for_each(|line| count.host_line(line));
    let mut problem = None;
    if !output.status.success() {
        ui::say(&text);
        ui::say(&String::from_utf8_lossy(&output.stderr));
        problem = (count.failed == 0).then(|| format!("`cargo test` ended with {}", output.status));
    } else if count.passed == 0 && filter.is_none() {
        problem = Some("no test ran".to_owned());
    }
    Ok(Place { name: "host".to_owned(), count, problem, time: start.elapsed() })
}
