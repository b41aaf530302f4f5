//! Writes policies the way a person would.

use std::fmt::Write as _;
use std::path::Path;

use holdfast_abi::{Mode, OnTrip, Op, Per, Who};

/// One `[[zone]]`.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    role: &'static str,
    paths: Vec<String>,
    depth: u32,
    counts_after: Option<String>,
    mode: Mode,
    on_trip: OnTrip,
    hold_timeout: Option<String>,
    tell_terminal: bool,
    budgets: Vec<Budget>,
}

/// One `[[zone.budget]]`.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    per: Per,
    who: Who,
    ops: Vec<Op>,
    files: Option<u64>,
    bytes: Option<u64>,
    tenants: Option<u32>,
    window: String,
    latch: Option<String>,
}

impl Zone {
    /// A primary zone that enforces by denying, with tenants one level below its root.
    pub(crate) fn new(name: &str, root: &Path) -> Self {
        Self {
            name: name.to_owned(),
            role: "primary",
            paths: vec![root.display().to_string()],
            depth: 1,
            counts_after: None,
            mode: Mode::Enforce,
            on_trip: OnTrip::Deny,
            hold_timeout: None,
            tell_terminal: true,
            budgets: Vec::new(),
        }
    }

    pub(crate) fn backup(mut self) -> Self {
        self.role = "backup";
        self
    }

    pub(crate) fn path(mut self, root: &Path) -> Self {
        self.paths.push(root.display().to_string());
        self
    }

    pub(crate) fn depth(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// How much of a tenant has to go until it counts.
    pub(crate) fn counts_after(mut self, amount: &str) -> Self {
        self.counts_after = Some(amount.to_owned());
        self
    }

    pub(crate) fn observe(mut self) -> Self {
        self.mode = Mode::Observe;
        self
    }

    /// Over budget, the process is paused until a person decides.
    pub(crate) fn hold(mut self) -> Self {
        self.on_trip = OnTrip::Hold;
        self
    }

    /// Over budget, the process is paused and goes on at the budget's rate.
    pub(crate) fn throttle(mut self) -> Self {
        self.on_trip = OnTrip::Throttle;
        self
    }

    /// How long a process is held before it is denied after all.
    pub(crate) fn hold_timeout(mut self, time: &str) -> Self {
        self.hold_timeout = Some(time.to_owned());
        self
    }

    /// The terminal of a paused process is not told.
    pub(crate) fn silent(mut self) -> Self {
        self.tell_terminal = false;
        self
    }

    /// Whether a process may be paused for it.
    pub(crate) fn pauses(&self) -> bool {
        self.on_trip != OnTrip::Deny
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budgets.push(budget);
        self
    }
}

impl Budget {
    fn empty() -> Self {
        Self {
            per: Per::Zone,
            who: Who::Everyone,
            ops: Vec::new(),
            files: None,
            bytes: None,
            tenants: None,
            window: "1h".to_owned(),
            latch: None,
        }
    }

    /// So many files in an hour, for everyone together, all ops.
    pub(crate) fn files(files: u64) -> Self {
        Self { files: Some(files), ..Self::empty() }
    }

    /// So many bytes in an hour.
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..Self::empty() }
    }

    /// So many distinct tenants in an hour.
    pub(crate) fn tenants(tenants: u32) -> Self {
        Self { tenants: Some(tenants), ..Self::empty() }
    }

    pub(crate) fn and_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    pub(crate) fn and_tenants(mut self, tenants: u32) -> Self {
        self.tenants = Some(tenants);
        self
    }

    pub(crate) fn per(mut self, per: Per) -> Self {
        self.per = per;
        self
    }

    pub(crate) fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    pub(crate) fn ops(mut self, ops: &[Op]) -> Self {
        self.ops = ops.to_vec();
        self
    }

    pub(crate) fn window(mut self, window: &str) -> Self {
        self.window = window.to_owned();
        self
    }

    pub(crate) fn latch(mut self, latch: &str) -> Self {
        self.latch = Some(latch.to_owned());
        self
    }
}

/// The policy file with these zones.
pub(crate) fn render(zones: &[Zone]) -> String {
    let mut text = String::new();
    for zone in zones {
        let paths: Vec<_> = zone.paths.iter().map(|path| format!("{path:?}")).collect();
        let _ = writeln!(
            text,
            "[[zone]]\nname = {:?}\nrole = {:?}\npaths = [{}]\ntenant_depth = {}\nmode = {:?}\n\
            on_trip = {:?}",
            zone.name,
            zone.role,
            paths.join(", "),
            zone.depth,
            zone.mode.word(),
            zone.on_trip.word()
        );
        if let Some(amount) = &zone.counts_after {
            let _ = writeln!(text, "tenant_counts_after = {amount:?}");
        }
        if let Some(time) = &zone.hold_timeout {
            let _ = writeln!(text, "hold_timeout = {time:?}");
        }
        if !zone.tell_terminal {
            let _ = writeln!(text, "tell_terminal = false");
        }
        for budget in &zone.budgets {
            budget.render(&mut text);
        }
    }
    text
}

impl Budget {
    fn render(&self, text: &mut String) {
        let (per, who) = (self.per.word(), self.who.word());
        let _ = writeln!(text, "[[zone.budget]]\nper = {per:?}\nwho = {who:?}");
        if !self.ops.is_empty() {
            let ops: Vec<_> = self.ops.iter().map(|op| format!("{:?}", op.word())).collect();
            let _ = writeln!(text, "ops = [{}]", ops.join(", "));
        }
        if let Some(files) = self.files {
            let _ = writeln!(text, "files = {files}");
        }
        if let Some(bytes) = self.bytes {
            let _ = writeln!(text, "bytes = {bytes}");
        }
        if let Some(tenants) = self.tenants {
            let _ = writeln!(text, "tenants = {tenants}");
        }
        let _ = writeln!(text, "window = {:?}", self.window);
        if let Some(latch) = &self.latch {
            let _ = writeln!(text, "latch = {latch:?}");
        }
    }
}
