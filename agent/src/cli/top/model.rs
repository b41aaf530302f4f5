//! What `holdfast top` shows, from one answer of the agent to the next. No I/O, time comes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::api::{HoldReport, Status, ZoneStatus};

/// Lines about what was decided that are kept.
const LINES: usize = 200;

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    /// The shell is wanted for a while.
    Suspend,
    End,
}

/// How much goes on in a zone, each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) ops: f64,
    pub(super) files: f64,
    pub(super) bytes: f64,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) host: String,
    pub(super) status: Status,
    pub(super) holds: Vec<HoldReport>,
    /// By zone; one that was not there a moment ago has none.
    pub(super) rates: BTreeMap<String, Rate>,
    /// Why what is shown is old, if it is.
    pub(super) trouble: Option<String>,
    /// The latest last.
    pub(super) events: VecDeque<String>,
    chosen: usize,
    stopped: bool,
    taken: Instant,
}

impl Model {
    pub(super) fn new(host: String, status: Status, holds: Vec<HoldReport>, now: Instant) -> Self {
        Self {
            host,
            status,
            holds,
            rates: BTreeMap::new(),
            trouble: None,
            events: VecDeque::new(),
            chosen: 0,
            stopped: false,
            taken: now,
        }
    }

    /// The agent has answered.
    pub(super) fn took(&mut self, status: Status, holds: Vec<HoldReport>, now: Instant) {
        let seconds = now.saturating_duration_since(self.taken).as_secs_f64();
        // Another agent, or another slot of the kernel, counts anew.
        let is_same = self.status.pid == status.pid && seconds > 0.0;
        let rate = |zone: &ZoneStatus| {
            let before = self.status.zones.iter().find(|other| other.name == zone.name)?;
            let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            let rate = Rate {
                ops: each(ops(zone), ops(before)),
                files: each(zone.destroyed.files, before.destroyed.files),
                bytes: each(zone.destroyed.bytes, before.destroyed.bytes),
            };
            (is_same && before.slot == zone.slot).then(|| (zone.name.clone(), rate))
        };
        self.rates = status.zones.iter().filter_map(rate).collect();
        (self.status, self.holds, self.taken, self.trouble) = (status, holds, now, None);
        self.chosen = self.chosen.min(self.status.zones.len().saturating_sub(1));
    }

    /// It did not: what is shown stays, and is old.
    pub(super) fn failed(&mut self, why: &str) {
        self.trouble = why.lines().next().map(str::to_owned);
        self.rates.clear();
    }

    /// Something was decided.
    pub(super) fn event(&mut self, line: String) {
        if self.stopped {
            return;
        }
        if self.events.len() >= LINES {
            self.events.pop_front();
        }
        self.events.push_back(line);
    }

    /// Somebody pressed a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Flow {
        let last = self.status.zones.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Flow::End,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Flow::End;
            }
            KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Flow::Suspend;
            }
            // A terminal that sends NUL means control and space.
            KeyCode::Char(' ') if key.modifiers.is_empty() => self.stopped = !self.stopped,
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            _ => {}
        }
        Flow::On
    }

    /// Whether somebody wants to look at this for longer.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The zone whose budgets are shown.
    pub(super) fn chosen(&self) -> Option<(usize, &ZoneStatus)> {
        self.status.zones.get(self.chosen).map(|zone| (self.chosen, zone))
    }

    /// How many processes are paused in a zone.
    pub(super) fn paused_in(&self, zone: &str) -> usize {
        self.holds.iter().filter(|hold| hold.zone == zone).map(|hold| hold.processes.len()).sum()
    }
}

fn ops(zone: &ZoneStatus) -> u64 {
    zone.ops.iter().map(|row| row.ops).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Now;
    use crate::daemon::{State, test_plan};
    use crate::report::{self, Facts};

    pub(crate) fn status() -> Status {
        let now = Now { boot_ns: 90_000_000_000, wall_ns: 0 };
        let state = State::new(test_plan(), Now { boot_ns: 0, wall_ns: 0 });
        report::status(&state, &Facts::default(), now, &mut |_| None)
    }

    pub(crate) fn model() -> Model {
        Model::new("web1".to_owned(), status(), vec![], Instant::now())
    }

    fn destroyed(files: u64, pid: u32) -> Status {
        let mut status = status();
        status.zones[0].destroyed.files = files;
        status.pid = pid;
        status
    }

    /// A rate is of the time between two looks.
    #[test]
    fn rates_compare_looks_at_one_agent() {
        let start = Instant::now();
        let mut model = Model::new("web1".to_owned(), destroyed(100, 1), vec![], start);
        let at = |seconds| start + Duration::from_secs(seconds);
        model.took(destroyed(140, 1), vec![], at(4));
        assert_eq!(model.rates["customers"].files, 10.0);
        model.took(destroyed(7, 2), vec![], at(5));
        assert!(model.rates.is_empty(), "another agent counts anew");
        model.took(destroyed(9, 2), vec![], at(6));
        assert_eq!(model.rates["customers"].files, 2.0);
        model.failed("nothing answers\n  help: start it");
        assert_eq!(model.trouble.as_deref(), Some("nothing answers"));
        assert!(model.rates.is_empty());
        model.took(destroyed(9, 2), vec![], at(7));
        assert_eq!(model.trouble, None);
    }

    #[test]
    fn keys_choose_stop_and_end() {
        let mut model = model();
        let press = |model: &mut Model, code| model.key(KeyEvent::new(code, KeyModifiers::NONE));
        let mut more = model.status.zones[0].clone();
        more.name = "more".to_owned();
        model.status.zones.push(more);
        for (code, chosen) in
            [(KeyCode::Up, 0), (KeyCode::Down, 1), (KeyCode::Down, 1), (KeyCode::Up, 0)]
        {
            assert_eq!(press(&mut model, code), Flow::On);
            assert_eq!(model.chosen().unwrap().0, chosen);
        }
        let _ = press(&mut model, KeyCode::Down);
        model.took(status(), vec![], Instant::now());
        assert_eq!(model.chosen().unwrap().0, 0, "the zone is gone");
        let _ = press(&mut model, KeyCode::Char(' '));
        let nul = KeyEvent::new(KeyCode::Char(' '), KeyModifiers::CONTROL);
        assert_eq!(model.key(nul), Flow::On);
        assert!(model.is_stopped());
        model.event("not shown".to_owned());
        let _ = press(&mut model, KeyCode::Char(' '));
        for n in 0..LINES + 5 {
            model.event(n.to_string());
        }
        assert_eq!((model.events.len(), model.events[0].as_str()), (LINES, "5"));
        assert_eq!(press(&mut model, KeyCode::Char('q')), Flow::End);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.key(interrupt), Flow::End);
        let suspend = KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL);
        assert_eq!(model.key(suspend), Flow::Suspend);
        assert_eq!(press(&mut model, KeyCode::Char('z')), Flow::On);
    }
}
