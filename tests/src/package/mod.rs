//! The Debian package and its service, on a host with systemd and apt: a chain of steps, each on what the one before left, across
//! a reboot in between.
//!
//! It runs in the guest with systemd, where `holdfast` is only what the package installs. A step that fails ends the chain: what
//! comes after it counts as failed, for it was not shown.

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
    ("package_installs_over_a_policy_that_is_there_and_wrong", install::over_a_wrong_policy),
    ("package_installs_and_observes", install::installs),
    ("package_brings_what_it_says", install::content),
    ("package_in_a_chroot_leaves_the_guard_of_the_host_alone", install::in_a_chroot),
    ("package_is_ready_once_every_op_was_tried", service::ready),
    ("package_service_is_hardened_and_can_do_its_work", service::works),
    ("package_journal_has_fields_and_says_what_to_do", service::journal),
    ("package_reload_with_a_bad_policy_fails_and_changes_nothing", service::reload),
    ("package_watchdog_restarts_a_stopped_agent_without_a_gap", service::watchdog),
    ("package_stopped_service_leaves_the_guard", service::stopped),
    ("package_removal_is_refused_while_a_zone_is_enforced", remove::refused),
    ("package_has_an_enemy_that_starts_with_the_host", reboot::plant),
];

const AFTER: &[Step] = &[
    ("package_protects_before_any_service_starts", reboot::protects),
    ("package_boots_with_an_unusable_policy_and_the_last_one_in_force", service::unusable),
    ("package_upgrade_replaces_the_programs_without_a_gap", upgrade::upgrade),
    ("package_upgrade_with_a_policy_it_does_not_know_leaves_the_agent_alone", upgrade::refused),
    ("package_is_removed_through_a_break_glass", remove::through_break_glass),
    ("package_purge_leaves_the_audit_log_and_says_so", remove::purge),
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
