//! Chooses scenarios, runs them one after another and says what came out. It never decides what is
//! right.

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use crate::harness::agent::STATE_DIR;
use crate::harness::{Ctx, Lab, Tool};
use crate::scenarios;

/// How the VM was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Boot {
    /// As the distribution does, `bpf` among the active LSMs.
    Normal,
    /// With an `lsm=` list that lacks `bpf`.
    NoBpf,
    /// As [`Boot::Normal`], for what mostly waits: it runs beside the others, in a machine of its
    /// own.
    Waiting,
    /// As [`Boot::Normal`], and [`BOOTS`] times, each but the last ended as if the power had
    /// failed. The agent's state is on the disk that lasts.
    Reboot,
}

/// How often the machine is booted for scenarios across reboots.
pub(crate) const BOOTS: u32 = 3;
/// Where the agent's state is kept across reboots.
const LASTING_STATE: &str = "/data/state";
/// Asks the guest's first program for another boot.
const BOOT_AGAIN: &str = "/run/boot-again";

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

/// Which of several kernels a test is run on. A run that names none of these has all tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// On each: what the kernel programs do.
    Each,
    /// On the first alone: what the agent and the commands do, and one half of what is shared.
    First,
    /// On the last alone: what keeps a CPU busy for minutes, and the other half.
    Last,
}

/// One thing to show, on one kernel.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) boot: Boot,
    /// The filesystems it runs on, each as a test of its own.
    pub(crate) on: &'static [Fs],
    /// Whether the agent must report every op, also those within budget.
    pub(crate) trace: bool,
    /// Chooses the kernels for one of its filesystems; by default its table does.
    part: Option<fn(Fs) -> Part>,
    pub(crate) run: fn(&mut Ctx<'_>) -> Result<()>,
}

impl Scenario {
    /// Runs on every filesystem.
    pub(crate) const fn each(name: &'static str, run: fn(&mut Ctx<'_>) -> Result<()>) -> Self {
        Self { name, boot: Boot::Normal, on: &Fs::ALL, trace: false, part: None, run }
    }

    /// Runs once, on ext4: the filesystem makes no difference to what it shows.
    pub(crate) const fn once(name: &'static str, run: fn(&mut Ctx<'_>) -> Result<()>) -> Self {
        Self { name, boot: Boot::Normal, on: &[Fs::Ext4], trace: false, part: None, run }
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

    /// It keeps a CPU busy for minutes, with a job as large as a real one.
    pub(crate) const fn heavy(mut self) -> Self {
        self.part = Some(|_| Part::Last);
        self
    }

    /// It shows what the agent does: one kernel is enough.
    pub(crate) const fn of_the_agent(mut self) -> Self {
        self.part = Some(|_| Part::First);
        self
    }

    /// The kernels share its filesystems, so that each kernel and each filesystem has it once.
    pub(crate) const fn shared(mut self) -> Self {
        self.part = Some(|fs| match fs {
            Fs::Ext4 => Part::First,
            Fs::Tmpfs => Part::Last,
        });
        self
    }

    /// Most of its time goes by in waiting, for a window to drain or a limit to be reached.
    pub(crate) const fn waits(mut self) -> Self {
        self.boot = Boot::Waiting;
        self
    }

    pub(crate) const fn without_bpf(mut self) -> Self {
        self.boot = Boot::NoBpf;
        self
    }

    /// Runs once in each of [`BOOTS`] boots, the agent still running at the end of all but the
    /// last.
    pub(crate) const fn across_reboots(mut self) -> Self {
        self.boot = Boot::Reboot;
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

/// Every scenario with each of its filesystems, those that trace last (the agent is restarted in
/// between).
fn all() -> Vec<(&'static Scenario, Fs, String, Part)> {
    let of = |tables: &'static [&[Scenario]], part| {
        tables.iter().flat_map(|table| table.iter()).map(move |scenario| (scenario, part))
    };
    // What comes last starts a break-glass that outlives a reboot: another policy would close it.
    let scenarios =
        of(scenarios::OF_THE_AGENT, Part::First).chain(of(scenarios::OF_THE_KERNEL, Part::Each));
    let mut tests: Vec<_> = scenarios
        .flat_map(|(s, part)| {
            s.on.iter().map(move |&fs| (s, fs, s.title(fs), s.part.map_or(part, |part| part(fs))))
        })
        .collect();
    tests.sort_by_key(|(scenario, ..)| scenario.trace);
    tests
}

/// Prints every scenario.
pub(crate) fn list() -> bool {
    crate::package::list();
    for (scenario, _, title, _) in all() {
        match scenario.boot {
            Boot::Normal => println!("{title}"),
            Boot::Waiting => println!("{title} (boot: waiting)"),
            Boot::NoBpf => println!("{title} (boot: no-bpf)"),
            Boot::Reboot => println!("{title} (boot: reboot, {BOOTS} times)"),
        }
    }
    true
}

/// Runs what was asked for; true if all passed and, unless a filter left none for this boot, at
/// least one ran.
///
/// `parts`: those that it is to consist of; all if there are none. `nightly`: long scenarios are
/// run in full.
pub(crate) fn run(boot: Boot, filter: Option<&str>, parts: &[Part], nightly: bool) -> bool {
    let mut lab = Lab::new(nightly);
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let chosen = |(scenario, _, title, part): &(&Scenario, Fs, String, Part)| {
        scenario.boot == boot
            && (parts.is_empty() || parts.contains(part))
            && filter.is_none_or(|texts| texts.split(',').any(|text| title.contains(text)))
    };
    let chosen: Vec<_> = all().into_iter().filter(chosen).collect();
    let number = boot_number();
    if boot == Boot::Reboot
        && !chosen.is_empty()
        && let Err(error) = keep_state()
    {
        println!("the agent's state cannot be kept: {error:#}");
        return false;
    }
    for (scenario, fs, title, _) in chosen {
        match boot {
            Boot::Reboot => print!("test {title}, boot {number} ... "),
            Boot::Normal | Boot::Waiting | Boot::NoBpf => print!("test {title} ... "),
        }
        std::io::stdout().flush().ok();
        let started = Instant::now();
        let outcome = run_one(&mut lab, scenario, fs, &title);
        report(outcome, started, &mut lab, &mut passed, &mut failed);
    }
    if boot == Boot::Reboot && number < BOOTS && passed > 0 && failed == 0 {
        println!("holdfast-tests: {passed} passed, {failed} failed");
        return fs::write(BOOT_AGAIN, "").is_ok();
    }
    if passed + failed > 0 {
        print!("test guard_unloads_at_the_end ... ");
        let started = Instant::now();
        let outcome = lab.finish();
        report(outcome, started, &mut lab, &mut passed, &mut failed);
    }
    println!("holdfast-tests: {passed} passed, {failed} failed");
    failed == 0 && (passed > 0 || filter.is_some())
}

/// The how manieth boot of this run it is, from 1.
pub(crate) fn boot_number() -> u32 {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let number = words.split_whitespace().find_map(|word| word.strip_prefix("holdfast.boot="));
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Has the agent's state on the disk that lasts.
pub(crate) fn keep_state() -> Result<()> {
    fs::create_dir_all(LASTING_STATE).context(LASTING_STATE)?;
    fs::create_dir_all(STATE_DIR).context(STATE_DIR)?;
    Tool::new("mount").args(["--bind", LASTING_STATE, STATE_DIR]).ok().map(drop)
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
