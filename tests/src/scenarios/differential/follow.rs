//! `holdfast events --follow --json`, with a bell to know that it has caught up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::{agent, cli, until};

/// A running `holdfast events --follow`.
#[derive(Debug)]
pub(super) struct Follower {
    child: Child,
    output: PathBuf,
    bells: u32,
}

impl Follower {
    pub(super) fn start(output: &Path) -> Result<Self> {
        let child = Command::new(agent::BINARY)
            .args(["events", "--follow", "--json"])
            .stdin(Stdio::null())
            .stdout(File::create(output)?)
            .spawn()
            .context("cannot follow events")?;
        Ok(Self { child, output: output.to_owned(), bells: 0 })
    }

    /// Removes files with telling names in a guarded directory until one of them comes out at the
    /// other end.
    pub(super) fn ring(&mut self, dir: &Path) -> Result<()> {
        until("the follower shows an event", Duration::from_secs(120), || {
            self.bells += 1;
            let name = format!("bell-{}-rings", self.bells);
            fs::write(dir.join(&name), "ding")?;
            fs::remove_file(dir.join(&name))?;
            std::thread::sleep(Duration::from_millis(300));
            let first = format!("bell-{}-rings", self.bells.saturating_sub(3).max(1));
            let text = fs::read_to_string(&self.output)?;
            Ok((text.contains(&name) || (self.bells > 3 && text.contains(&first))).then_some(()))
        })
    }

    /// Every event of a zone that has come out, complete lines only, in the order of the kernel's
    /// decisions.
    pub(super) fn of_zone(&self, zone: &str) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.output)?;
        let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut events = cli::parse_stream(complete)?;
        events.retain(|event| cli::text(event, "zone") == zone);
        events.sort_by_key(|event| cli::number(event, "time_ns").unwrap_or(0));
        Ok(events)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
