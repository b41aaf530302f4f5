//! What is shown, one after the other, each on what the one before left.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::host::{Host, State};
use super::play::{Ansible, Played};
use crate::ui;

/// A step: what it shows, and how.
type Step = (&'static str, fn(&Fleet<'_>) -> Result<()>);

const STEPS: &[Step] = &[
    ("a roll-out that names no ring does nothing", no_ring),
    ("a dry run on a host without holdfast goes well and changes nothing", dry_run),
    ("a policy with a mistake reaches no host, not even one without holdfast", bad_at_first),
    ("observe, ring by ring: both are guarded", observe),
    ("a second run changes nothing, nor would a dry one", again),
    ("a policy with a mistake does not reach its place; nobody else is touched", bad_policy),
    ("a policy on file that nobody put in force is put in force", on_file_only),
    ("a host that cannot be reached ends the roll-out", unreachable),
    ("a host that is not guarded ends the roll-out", not_guarded),
    ("a host whose service cannot start ends the roll-out", masked),
    ("enforce on one ring; the other still observes", enforce),
    ("a host that holds somebody is left alone", held),
    ("a host is not made to enforce while somebody is over a budget", over_budget),
    ("an upgrade by the role: the guard stays, the agent is the new one", upgrade),
];

struct Fleet<'a> {
    ansible: &'a Ansible,
    a: &'a Host,
    b: &'a Host,
}

/// Shows all of it; how many things that were. The first that is not so ends it.
pub fn tell(ansible: &Ansible, hosts: &[Host; 2]) -> Result<usize> {
    let [a, b] = hosts;
    let fleet = Fleet { ansible, a, b };
    for (what, show) in STEPS {
        let start = Instant::now();
        ui::say(&format!("· {what}"));
        show(&fleet).with_context(|| format!("NOT SHOWN: {what}"))?;
        for host in hosts {
            ui::say(&format!("    {}: {}", host.name, host.state()?.0));
        }
        ui::say(&format!("  shown ({})", ui::elapsed(start.elapsed())));
    }
    Ok(STEPS.len())
}

impl Fleet<'_> {
    fn play(&self, words: &[&str]) -> Result<Played> {
        self.ansible.play("inventory.yml", words)
    }

    /// Over both rings; host a is first.
    fn both(&self, words: &[&str]) -> Result<Played> {
        self.play(&[&["--limit", "ring0,ring1"], words].concat())
    }

    /// Runs something, and insists that it leaves both hosts as they were.
    fn nothing_changes(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = [self.a.state()?, self.b.state()?];
        work()?;
        same(&before[0], &self.a.state()?).context("host a")?;
        same(&before[1], &self.b.state()?).context("host b")
    }
}

fn same(before: &State, after: &State) -> Result<()> {
    if before == after {
        return Ok(());
    }
    bail!("was and should still be: {}\nis: {}", before.0, after.0)
}

fn is(value: u32, wanted: u32, what: &str) -> Result<()> {
    if value == wanted { Ok(()) } else { bail!("{what} is {value}, not {wanted}") }
}

fn no_ring(fleet: &Fleet<'_>) -> Result<()> {
    fleet.nothing_changes(|| fleet.play(&[])?.failed_saying("say which ring"))
}

fn dry_run(fleet: &Fleet<'_>) -> Result<()> {
    fleet.a.state()?.has(&["package=none", "policy=none"])?;
    fleet.nothing_changes(|| {
        let played = fleet.both(&["--check"])?;
        played.went_well()?;
        is(played.changed("a")?, 0, "changed on a")
    })
}

fn bad_at_first(fleet: &Fleet<'_>) -> Result<()> {
    fleet.nothing_changes(|| {
        let played = fleet.both(&["-e", "holdfast_policy=bad.toml.j2"])?;
        played.failed_saying("nonsense")?;
        played.never_touched("b")
    })
}

const GUARDED: [&str; 5] = ["status=5", "guard_up=true", "does=observing", "held=0", "differs=0"];

fn observe(fleet: &Fleet<'_>) -> Result<()> {
    fleet.play(&["--limit", "ring0"])?.went_well()?;
    fleet.a.state()?.has(&GUARDED)?;
    fleet.b.state()?.has(&["package=none", "policy=none"])?;
    fleet.play(&["--limit", "ring1"])?.went_well()?;
    fleet.b.state()?.has(&GUARDED)
}

fn again(fleet: &Fleet<'_>) -> Result<()> {
    fleet.nothing_changes(|| {
        for words in [&[][..], &["--check"]] {
            let played = fleet.both(words)?;
            played.went_well()?;
            is(played.changed("a")?, 0, "changed on a")?;
            is(played.changed("b")?, 0, "changed on b")?;
        }
        Ok(())
    })
}

fn bad_policy(fleet: &Fleet<'_>) -> Result<()> {
    fleet.nothing_changes(|| {
        let played = fleet.both(&["-e", "holdfast_policy=bad.toml.j2"])?;
        played.failed_saying("nonsense")?;
        played.never_touched("b")
    })
}

/// As after a run that failed between the two.
fn on_file_only(fleet: &Fleet<'_>) -> Result<()> {
    let line = "sed -i 's/^files = 2000$/files = 1999/' /etc/holdfast/policy.toml";
    fleet.a.sudo(line)?;
    fleet.a.state()?.has(&["differs=1"])?;
    let words = ["--limit", "ring0", "-e", "holdfast_policy=other.toml.j2"];
    let played = fleet.play(&words)?;
    played.went_well()?;
    is(played.changed("a")?, 1, "changed on a")?;
    fleet.a.state()?.has(&GUARDED)
}

fn unreachable(fleet: &Fleet<'_>) -> Result<()> {
    fleet.nothing_changes(|| {
        let words = ["--limit", "ring0,ring1", "-e", "holdfast_policy=other.toml.j2"];
        let played = fleet.ansible.play("lost.yml", &words)?;
        played.failed_saying("UNREACHABLE")?;
        // It is told why, and that is all.
        played.failed_saying("nothing is done here")?;
        is(played.changed("b")?, 0, "changed on b")
    })
}

/// The kernel skips the guard's programs, without a word.
fn not_guarded(fleet: &Fleet<'_>) -> Result<()> {
    let before = fleet.b.state()?;
    fleet.a.sudo("sysctl -q kernel.ftrace_enabled=0")?;
    wait_for(fleet.a, "guard_up=false")?;
    // With the policy that host a has: nothing is to be done there but to look.
    let words = ["-e", "holdfast_policy=other.toml.j2", "-e", "holdfast_tries=2"];
    let played = fleet.both(&words)?;
    played.failed_saying("ftrace_enabled")?;
    is(played.changed("a")?, 0, "changed on a")?;
    played.never_touched("b")?;
    same(&before, &fleet.b.state()?).context("host b")?;
    fleet.a.sudo("sysctl -q kernel.ftrace_enabled=1")?;
    wait_for(fleet.a, "guard_up=true")
}

fn masked(fleet: &Fleet<'_>) -> Result<()> {
    let before = fleet.b.state()?;
    fleet.a.sudo("systemctl stop holdfast && systemctl mask --runtime -q holdfast")?;
    let played = fleet.both(&["-e", "holdfast_policy=other.toml.j2"])?;
    played.failed_saying("masked")?;
    played.never_touched("b")?;
    same(&before, &fleet.b.state()?).context("host b")?;
    fleet.a.sudo("systemctl unmask --runtime -q holdfast")?;
    // Mended, the same roll-out goes through: host a and then host b.
    fleet.both(&["-e", "holdfast_policy=other.toml.j2"])?.went_well()?;
    fleet.a.state()?.has(&GUARDED)?;
    fleet.b.state()?.has(&GUARDED)?;
    fleet.both(&[])?.went_well()
}

fn enforce(fleet: &Fleet<'_>) -> Result<()> {
    let before = fleet.b.state()?;
    let words = ["--limit", "ring0", "-e", "holdfast_mode=enforce"];
    fleet.play(&words)?.went_well()?;
    fleet.a.state()?.has(&["status=0", "guard_up=true", "does=enforcing", "differs=0"])?;
    same(&before, &fleet.b.state()?).context("host b")?;
    let again = fleet.play(&words)?;
    again.went_well()?;
    is(again.changed("a")?, 0, "changed by the same run again")
}

/// A script that goes from customer to customer: five may be touched.
const WILD: &str =
    "systemd-run -q --unit=wild bash -c 'for file in /srv/customers/*/file-1; do rm $file; done'";

fn held(fleet: &Fleet<'_>) -> Result<()> {
    fleet.a.sudo(WILD)?;
    wait_for(fleet.a, "held=1")?;
    let words = ["-e", "holdfast_mode=enforce", "-e", "holdfast_policy=other.toml.j2"];
    fleet.nothing_changes(|| {
        let played = fleet.both(&words)?;
        played.failed_saying("wait for a person")?;
        played.never_touched("b")
    })?;
    fleet.a.sudo("systemctl kill -s KILL wild")?;
    wait_for(fleet.a, "held=0")
}

fn over_budget(fleet: &Fleet<'_>) -> Result<()> {
    fleet.b.sudo(WILD)?;
    wait_for(fleet.b, "tripped=1")?;
    fleet.nothing_changes(|| {
        let words = ["--limit", "ring1", "-e", "holdfast_mode=enforce"];
        fleet.play(&words)?.failed_saying("over a budget right now")
    })
}

fn upgrade(fleet: &Fleet<'_>) -> Result<()> {
    let before = fleet.b.state()?;
    let words = ["--limit", "ring1", "-e", "holdfast_package=next.deb"];
    fleet.play(&words)?.went_well()?;
    let after = fleet.b.state()?;
    after.has(&["guard_up=true", "does=observing", "differs=0", "started=upgraded"])?;
    if after.get("package") == before.get("package") || after.get("pid") == before.get("pid") {
        bail!("it is still the one before: {}", after.0);
    }
    if after.get("policy") != before.get("policy") {
        bail!("the policy on file is another: {}", after.0);
    }
    let again = fleet.play(&words)?;
    again.went_well()?;
    is(again.changed("b")?, 0, "changed by the same run again")
}

fn wait_for(host: &Host, fact: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match host.state()?.has(&[fact]) {
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(Duration::from_secs(1)),
            Ok(()) => return Ok(()),
        }
    }
}
