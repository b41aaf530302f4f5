//! The Debian package and its service, on a host with systemd and apt: a chain of steps, each on
//! what the one before left, across a reboot in between.
//!
//! It runs in the guest with systemd, where `holdfast` is only what the package installs. A step
//! that fails ends the chain: what comes after it counts as failed, for it was not shown.

mod host;
mod install;
mod reboot;
mod remove;
mod service;
mod upgrade;

use std::fs;
use std::panic::catch_unwind;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use host::Host;

/// One thing to show.
type Step = (&'static str, fn(&mut Host) -> Result<()>);

const BEFORE: &[Step] = &[
    ("package_installs_over_wrong_policy", install::over_a_wrong_policy),
    ("package_installs_and_observes", install::installs),
    ("package_brings_what_it_says", install::content),
    ("package_in_chroot_keeps_host_guard", install::in_a_chroot),
    ("package_self_test_precedes_readiness", service::ready),
    ("package_hardened_service_does_its_work", service::works),
    ("package_journal_has_fields_and_help", service::journal),
    ("package_reload_refuses_bad_policy", service::reload),
    ("package_watchdog_restarts_stopped_agent", service::watchdog),
    ("package_stopped_service_leaves_the_guard", service::stopped),
    ("package_removal_refused_while_zone_enforces", remove::refused),
    ("package_boot_attacker_is_planted", reboot::plant),
];

const AFTER: &[Step] = &[
    ("package_protects_before_any_service_starts", reboot::protects),
    ("package_boot_keeps_last_usable_policy", service::unusable),
    ("package_upgrade_leaves_no_gap", upgrade::upgrade),
    ("package_upgrade_refuses_unknown_policy", upgrade::refused),
    ("package_break_glass_permits_removal", remove::through_break_glass),
    ("package_purge_keeps_audit_log", remove::purge),
];

/// On the root disk, which outlives the reboot: how many steps passed before it.
const MARK: &str = "/var/lib/holdfast-tests-passed";
/// Asks the guest for another boot.
const BOOT_AGAIN: &str = "/run/boot-again";

/// Prints the name of every step.
pub(crate) fn list() {
    for (name, _) in BEFORE.iter().chain(AFTER) {
        println!("{name} (boot: package)");
    }
}

/// Runs the steps of this boot; true if all of them passed.
pub(crate) fn run(go_on: bool) -> bool {
    let again = fs::exists(MARK).unwrap_or_default();
    let (passed, failed) = chain(if again { AFTER } else { BEFORE }, go_on);
    println!("holdfast-tests: {passed} passed, {failed} failed");
    if !again && failed == 0 {
        return fs::write(MARK, "").and_then(|()| fs::write(BOOT_AGAIN, "")).is_ok();
    }
    failed == 0
}

fn chain(steps: &[Step], go_on: bool) -> (u32, u32) {
    let mut host = Host::default();
    let (mut passed, mut failed) = (0, 0);
    for (name, step) in steps {
        if failed > 0 && !go_on {
            failed += 1;
            println!("test {name} ... FAILED (a step before it failed)");
            continue;
        }
        let start = Instant::now();
        let outcome = shown(*step, &mut host);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok ({seconds:.1}s)");
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED ({seconds:.1}s)");
                for line in format!("{error:?}").lines().chain(host::journal().lines()) {
                    println!("    {line}");
                }
            }
        }
        for note in host.take_notes() {
            println!("    {note}");
        }
    }
    (passed, failed)
}

fn shown(step: fn(&mut Host) -> Result<()>, host: &mut Host) -> Result<()> {
    let mut host = std::panic::AssertUnwindSafe(host);
    let outcome = catch_unwind(move || step(&mut host));
    outcome.map_err(|_| anyhow!("panicked")).and_then(|outcome| outcome).context("on this host")
}
