//! The command `powercut`: the machine's power fails again and again, at moments that nobody in it
//! knows, while releases and allowances are recorded.
//!
//! What was acknowledged is known out here, where no power fails: the audit log that the next boot
//! finds has to have it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::setup::kernels;
use crate::ui;
use crate::vm::{self, Boot, Power, Stream, Task};

/// The power fails at most so long after the first that was acknowledged.
const WINDOW: Duration = Duration::from_secs(6);

/// Options of `powercut`.
#[derive(Args, Debug)]
pub struct Options {
    /// How often the power fails
    #[arg(long, value_name = "N", default_value_t = 50)]
    cuts: u32,
    /// The kernel of the machine
    #[arg(long, value_name = "NAME", default_value = kernels::TESTED[0])]
    kernel: String,
    /// End the guest after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

impl Options {
    /// Exits with 0 only if nothing was missing after any cut.
    pub fn run(&self) -> Result<i32> {
        let words = ["holdfast-tests", "powercut", "--cuts"].map(str::to_owned);
        let words = words.into_iter().chain([self.cuts.to_string()]).collect();
        let mut boot = Boot::new(&self.kernel, Task::Run(words))?.with_binaries()?;
        boot.limit = Duration::from_secs(self.timeout);
        boot.boots = self.cuts + 1;
        let mut watch = Watch { power: boot.power.clone(), ..Watch::default() };
        let outcome = boot.run(&mut |stream, bytes| match stream {
            Stream::Out => watch.heard(bytes),
            Stream::Err => vm::terminal(stream, bytes),
        })?;
        let status = vm::exit_status(&outcome);
        ui::say(&format!(
            "{} power cuts; {} releases and {} allowances acknowledged; missing after a restart: \
             {}",
            watch.cuts, watch.sum.releases, watch.sum.allowances, watch.missing
        ));
        let all = watch.cuts == self.cuts && watch.looked == self.cuts;
        let both =
            watch.sum.releases > 0 && watch.sum.allowances > 0 && watch.idle * 5 <= watch.cuts;
        if status == 0 && !(all && both && watch.missing == 0) {
            ui::say("that is not what was to be shown");
            return Ok(1);
        }
        Ok(status)
    }
}

/// Things that are acknowledged and recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    releases: u64,
    allowances: u64,
}

/// Listens to the guest, and cuts its power.
#[derive(Default)]
struct Watch {
    power: Power,
    partial: Vec<u8>,
    /// Acknowledged so far.
    sum: Tally,
    /// Acknowledged in this boot.
    now: Tally,
    /// What the log had before this boot.
    base: Tally,
    /// Boots in which nothing was released.
    idle: u32,
    /// Whether something was acknowledged in this boot.
    is_going: bool,
    cuts: u32,
    looked: u32,
    missing: u64,
}

impl Watch {
    fn heard(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(at) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["acknowledged", "release"] => {
                self.acknowledged(Tally { releases: 1, ..Tally::default() })
            }
            ["acknowledged", "allowance"] => {
                self.acknowledged(Tally { allowances: 1, ..Tally::default() })
            }
            ["recorded", "releases", releases, "allowances", allowances] => {
                self.recorded(releases, allowances);
            }
            _ => ui::say(line),
        }
    }

    fn acknowledged(&mut self, more: Tally) {
        for tally in [&mut self.sum, &mut self.now] {
            tally.releases += more.releases;
            tally.allowances += more.allowances;
        }
        if !std::mem::replace(&mut self.is_going, true) {
            self.cuts += 1;
            self.power.cut_in(random(WINDOW));
        }
    }

    /// The next boot has read its log.
    fn recorded(&mut self, releases: &str, allowances: &str) {
        self.is_going = false;
        self.looked += 1;
        let number = |text: &str| text.parse().unwrap_or(0);
        let log = Tally { releases: number(releases), allowances: number(allowances) };
        // Boot by boot: one that was recorded and whose answer was lost makes up for none that is
        // missing.
        let base = std::mem::replace(&mut self.base, log);
        let now = std::mem::take(&mut self.now);
        let missing = (base.releases + now.releases).saturating_sub(log.releases)
            + (base.allowances + now.allowances).saturating_sub(log.allowances);
        self.missing += missing;
        self.idle += u32::from(now.releases == 0);
        ui::say(&format!(
            "cut {}: {} releases acknowledged in this boot, {} more in the log; {} allowances, {} \
             more in the log{}",
            self.looked,
            now.releases,
            log.releases.saturating_sub(base.releases),
            now.allowances,
            log.allowances.saturating_sub(base.allowances),
            if missing > 0 { "  <-- MISSING" } else { "" }
        ));
    }
}

/// Any time up to this.
fn random(most: Duration) -> Duration {
    let number = RandomState::new().build_hasher().finish();
    Duration::from_micros(number % most.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_records_are_counted() {
        let mut watch = Watch::default();
        watch.heard(b"acknowledged rel");
        watch.heard(b"ease\nacknowledged release\nacknowledged allowance\nacknowl");
        assert_eq!((watch.cuts, watch.sum), (1, Tally { releases: 2, allowances: 1 }));
        watch.heard(b"zone z1\nrecorded releases 3 allowances 1\n");
        assert_eq!((watch.looked, watch.missing), (1, 0));
        watch.heard(b"acknowledged release\nacknowledged release\n");
        watch.heard(b"recorded releases 4 allowances 1\n");
        assert_eq!((watch.cuts, watch.looked, watch.missing), (2, 2, 1), "of two, one is there");
        watch.heard(b"acknowledged allowance\nrecorded releases 4 allowances 2\n");
        assert_eq!((watch.missing, watch.idle), (1, 1));
    }
}
