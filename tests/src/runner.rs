//! Chooses scenarios, runs them one after another and says what came out. It never decides what is right.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::harness::{Ctx, Lab};
use crate::scenarios;

/// How the VM was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Boot {
    /// As the distribution does, `bpf` among the active LSMs.
    Normal,
    /// With an `lsm=` list that lacks `bpf`.
    NoBpf,
}

/// A filesystem a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fs {
    Ext4,
    Tmpfs,
}

impl Fs {
    pub(crate) const ALL: [Self; 2] = [Self::Ext4, Self::Tmpfs];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// Where the guest has this filesystem.
    pub(crate) const fn mount(self) -> &'static str {
        match self {
            Self::Ext4 => "/data",
            Self::Tmpfs => "/mnt/tmpfs",
        }
    }
}

/// One thing to show, on one kernel.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) boot: Boot,
    /// The filesystems it runs on, each as a test of its own.
    pub(crate) on: &'static [Fs],
    /// Whether the agent must report every op, also those within budget.
    pub(crate) trace: bool,
    pub(crate) run: fn(&mut Ctx<'_>) -> Result<()>,
}

impl Scenario {
    /// Runs on every filesystem.
    pub(crate) const fn each(name: &'static str, run: fn(&mut Ctx<'_>) -> Result<()>) -> Self {
        Self { name, boot: Boot::Normal, on: &Fs::ALL, trace: false, run }
    }

    /// Runs once, on ext4: the filesystem makes no difference to what it shows.
    pub(crate) const fn once(name: &'static str, run: fn(&mut Ctx<'_>) -> Result<()>) -> Self {
        Self { name, boot: Boot::Normal, on: &[Fs::Ext4], trace: false, run }
    }

    /// Runs on these filesystems only.
    pub(crate) const fn on(mut self, on: &'static [Fs]) -> Self {
        self.on = on;
        self
    }

    pub(crate) const fn traced(mut self) -> Self {
        self.trace = true;
        self
    }

    pub(crate) const fn without_bpf(mut self) -> Self {
        self.boot = Boot::NoBpf;
        self
    }

    fn title(&self, fs: Fs) -> String {
        if self.on.len() > 1 {
            format!("{}::{}", self.name, fs.name())
        } else {
            self.name.to_owned()
        }
    }
}

/// Every scenario with each of its filesystems, those that trace last (the agent is restarted in between).
fn all() -> Vec<(&'static Scenario, Fs, String)> {
    let mut tests: Vec<_> = scenarios::ALL
        .iter()
        .flat_map(|table| table.iter())
        .flat_map(|s| s.on.iter().map(move |&fs| (s, fs, s.title(fs))))
        .collect();
    tests.sort_by_key(|(scenario, ..)| scenario.trace);
    tests
}

/// Prints every scenario.
pub(crate) fn list() -> bool {
    for (scenario, _, title) in all() {
        match scenario.boot {
            Boot::Normal => println!("{title}"),
            Boot::NoBpf => println!("{title} (boot: no-bpf)"),
        }
    }
    true
}

/// Runs what was asked for; true if all passed and, unless a filter left none for this boot, at least one ran.
pub(crate) fn run(boot: Boot, filter: Option<&str>) -> bool {
    let mut lab = Lab::default();
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for (scenario, fs, title) in all() {
        if scenario.boot != boot || filter.is_some_and(|text| !title.contains(text)) {
            continue;
        }
        print!("test {title} ... ");
        std::io::stdout().flush().ok();
        let started = Instant::now();
        let outcome = run_one(&mut lab, scenario, fs, &title);
        report(outcome, started, &mut lab, &mut passed, &mut failed);
    }
    if passed + failed > 0 {
        print!("test the_guard_comes_off_in_the_end ... ");
        let started = Instant::now();
        let outcome = lab.finish();
        report(outcome, started, &mut lab, &mut passed, &mut failed);
    }
    println!("holdfast-tests: {passed} passed, {failed} failed");
    failed == 0 && (passed > 0 || filter.is_some())
}

/// Ends the line of one test.
fn report(
    outcome: Result<()>,
    started: Instant,
    lab: &mut Lab,
    passed: &mut u32,
    failed: &mut u32,
) {
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            *passed += 1;
            println!("ok ({seconds:.1}s)");
        }
        Err(error) => {
            *failed += 1;
            println!("FAILED ({seconds:.1}s)");
            for line in format!("{error:?}").lines().chain(lab.log_tail().lines()) {
                println!("    {line}");
            }
        }
    }
    for note in lab.take_notes() {
        println!("    {note}");
    }
}

fn run_one(lab: &mut Lab, scenario: &Scenario, fs: Fs, title: &str) -> Result<()> {
    let mut ctx = Ctx::new(lab, fs, title, scenario.trace)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&mut ctx)));
    let clean = ctx.close();
    match outcome {
        Ok(outcome) => outcome.and(clean),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(anyhow!("panicked: {}", text.unwrap_or_else(|| "no message".to_owned())))
        }
    }
}
