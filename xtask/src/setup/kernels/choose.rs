//! Which of the versions on offer a name stands for.

use std::cmp::Ordering;
use std::process::Command;

use anyhow::{Context, Result};

use super::NEWEST;
use crate::process;

/// The highest finished version; for any other name than `newest`, of that series.
pub fn version(name: &str, versions: &[String]) -> Result<String> {
    let prefix = format!("{name}.");
    let finished = |v: &&String| !v.contains("~rc") && !v.contains("~exp");
    versions
        .iter()
        .filter(finished)
        .filter(|version| name == NEWEST || version.starts_with(&prefix))
        .max_by(|a, b| compare(a, b))
        .cloned()
        .with_context(|| format!("no kernel {name} is offered; there are: {}", versions.join(", ")))
}

fn compare(a: &str, b: &str) -> Ordering {
    let is = |relation: &str| {
        let mut command = Command::new("dpkg");
        process::output(command.args(["--compare-versions", a, relation, b])).is_ok()
    };
    if is("gt") {
        Ordering::Greater
    } else if is("eq") {
        Ordering::Equal
    } else {
        Ordering::Less
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Vec<String> {
        ["6.12.95-1~bpo12+1", "7.3~rc7-1~exp1", "7.2.13-1", "6.1.176-1", "6.1.9-1", "6.12.107-1"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn the_newest_finished_kernel_wins() {
        assert_eq!(version(NEWEST, &offered()).unwrap(), "7.2.13-1");
        assert_eq!(version("6.1", &offered()).unwrap(), "6.1.176-1");
        assert_eq!(version("6.12", &offered()).unwrap(), "6.12.107-1");
    }

    #[test]
    fn what_is_not_offered_is_named() {
        let text = version("5.10", &offered()).unwrap_err().to_string();
        assert!(text.contains("5.10") && text.contains("7.2.13-1"), "{text}");
    }
}
