//! `holdfast unpin`: takes the guard off this host.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use holdfast_abi::TaskKey;

use super::{Dirs, Exit, Failure, UnpinArgs, out};
use crate::api::ProcessReport;
use crate::audit::{AuditLog, Record};
use crate::carryover::{Document, Known};
use crate::clock::Now;
use crate::daemon::{AgentLock, LockError, boot_id};
use crate::holds::{Process, is_paused_now};
use crate::kernel::{self, Claim, Enforced};
use crate::units::Units;

/// How long the kernel may take to let go of the programs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(dirs: &Dirs, args: &UnpinArgs) -> Result<Exit, Failure> {
    let force = args.force;
    let enforced = kernel::enforced(&dirs.pin_dir);
    let paused = paused(&dirs.pin_dir);
    let held = (!paused.is_empty()).then(|| refusal(&paused));
    let another = kernel::refuse_another(&dirs.pin_dir).err().map(|error| error.to_string());
    let refusals: Vec<String> =
        held.into_iter().chain(enforced_refusal(&enforced)).chain(another).collect();
    if !force && !refusals.is_empty() {
        return Err(Failure::new(Exit::Failure, refusals.join("\n")));
    }
    if args.check {
        return Ok(Exit::Ok);
    }
    // Both are held until the end, so that no agent starts meanwhile. Without a directory none can
    // be running.
    let lock = dirs.run_dir.is_dir().then(|| AgentLock::take(&dirs.run_dir)).transpose();
    let claim = dirs.pin_dir.is_dir().then(|| Claim::take(&dirs.pin_dir)).transpose();
    let running = match (&lock, &claim) {
        (Ok(_), Ok(_)) => false,
        (Err(LockError::Running { .. }), _) if !force => {
            return Err(Failure::new(
                Exit::Failure,
                "an agent is running\n  help: stop it first (`systemctl stop holdfast`), or use \
                 --force",
            ));
        }
        (_, Err(error)) if error.is_another() && !force => {
            let message = format!("{error};\n        is this a container? Or use --force");
            return Err(Failure::new(Exit::Failure, message));
        }
        (Err(LockError::Running { .. }), _) => true,
        (_, Err(error)) if error.is_another() => true,
        (Err(error), _) => return Err(Failure::new(Exit::Failure, error.to_string())),
        (_, Err(error)) => return Err(Failure::new(Exit::Failure, error.to_string())),
    };
    if let Err(error) = keep_spent(dirs) {
        let message =
            format!("what is spent of budgets cannot be kept for the next start: {error}");
        if !force {
            let message = format!(
                "{message}\n  help: see to the disk of {}, or use --force: budgets then begin anew",
                dirs.state_dir.display()
            );
            return Err(Failure::new(Exit::Failure, message));
        }
        out::fail(Exit::Ok, &message);
    }
    // A running agent keeps the programs until it ends.
    let patience = if running { Duration::ZERO } else { PATIENCE };
    let kernel::Unpinned { pins, off } = kernel::unpin(&dirs.pin_dir, patience)
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let forced = running || !refusals.is_empty();
    let enforced = enforced.unwrap_or_default().into_iter().map(|zone| zone.zone).collect();
    let pids = paused.iter().map(|one| one.pid).collect();
    let (uid, login_uid) = who();
    record(dirs, &Record::Unpin { pins, uid, login_uid, forced, paused: pids, enforced });
    let message = match (pins, off) {
        (0, _) => "nothing was pinned: this host was not guarded".to_owned(),
        (pins, true) => {
            format!(
                "the guard is off: {pins} pins removed; what is spent of budgets is kept for its \
                 next start"
            )
        }
        (pins, false) if running => {
            format!("{pins} pins removed: the guard is off when the agent has ended")
        }
        (pins, false) => {
            format!(
                "{pins} pins removed, but the kernel still has the programs: somebody else holds \
                 on to them"
            )
        }
    };
    out::text(&message)?;
    if !paused.is_empty() {
        out::text(&left_behind(&paused))?;
    }
    Ok(Exit::Ok)
}

/// Writes down what is spent: taking the guard off and starting it again is no way to new budgets.
fn keep_spent(dirs: &Dirs) -> Result<(), String> {
    let (budgets, (accounts, tenants)) =
        kernel::spent(&dirs.pin_dir).map_err(|error| error.to_string())?;
    if budgets.is_empty() {
        return Ok(());
    }
    let boot_id = boot_id().ok_or("cannot read which boot this is")?;
    let (now, mut units) = (Now::read(), Units::system());
    let mut name = |unit| units.path_of(unit, now);
    let before = Document::read(&dirs.state_dir)?.map(|before| before.carry(&boot_id));
    let before = before.unwrap_or_default();
    let mut known = Known::default();
    known.carried(&before);
    known.in_force(&budgets);
    let accounts = accounts.into_iter().map(Ok::<_, String>);
    let mut document = Document::of(&boot_id, &known, accounts, tenants, &mut name, now.boot_ns)?;
    // The kernel does not have what waits for its unit.
    document.windows.extend(before.into_iter().filter(|carried| carried.waits));
    document.write(&dirs.state_dir).map_err(|error| error.to_string())
}

/// Processes that are paused and still there. Where that cannot be read, taking the guard off is
/// all the more needed: it is said, and not in the way.
fn paused(pin_dir: &Path) -> Vec<ProcessReport> {
    let held = kernel::paused(pin_dir).unwrap_or_else(|error| {
        let message = format!(
            "whether processes are paused cannot be read: {error}\n  help: `ps -eo pid,stat,args` \
             shows stopped ones as T"
        );
        out::fail(Exit::Ok, &message);
        Vec::new()
    });
    let threads = held.into_iter().map(|(key, _)| key).filter(is_paused_now);
    let processes: BTreeMap<u32, TaskKey> = threads.map(|key| (key.pid, key)).collect();
    processes.into_keys().map(|pid| Process::read(pid).report()).collect()
}

/// Why the guard stays on, if it does: nothing that is enforced is given up without what it takes
/// to get past it.
fn enforced_refusal(enforced: &Result<Vec<Enforced>, kernel::KernelError>) -> Option<String> {
    let zones = match enforced {
        Ok(zones) => zones,
        Err(error) => {
            return Some(format!(
                "what is enforced on this host cannot be read: {error}\n  help: start this \
                 version's agent, or use --force"
            ));
        }
    };
    let closed: Vec<&str> =
        zones.iter().filter(|zone| !zone.opened).map(|zone| zone.zone.as_str()).collect();
    let first = closed.first()?;
    Some(format!(
        "enforced on this host, and the guard stays: {}\n  help: have {} observe (mode = \
         \"observe\" in the policy, then `holdfast policy reload`);\n        or, for the last one, \
         take the guard off while a break-glass is open there: `holdfast break-glass open --zone \
         {first} --host-wide --reason ...`;\n        --force takes it off all the same, and that \
         is on record",
        closed.join(", "),
        if closed.len() == 1 { "it" } else { "them" },
    ))
}

fn refusal(paused: &[ProcessReport]) -> String {
    format!(
        "{} paused by the guard:\n{}  help: decide about them first: `holdfast hold list`, then \
         `holdfast hold release` or `holdfast hold kill` (that needs a running agent); or use \
         --force, and they stay stopped without a guard",
        how_many(paused),
        listed(paused),
    )
}

fn left_behind(paused: &[ProcessReport]) -> String {
    format!(
        "{} still stopped:\n{}`kill -CONT PID` lets one go on UNGUARDED: whatever it was about to \
         destroy is destroyed\n\
         `kill -KILL PID` ends it",
        how_many(paused),
        listed(paused),
    )
}

fn how_many(paused: &[ProcessReport]) -> String {
    let is = if paused.len() == 1 { "is" } else { "are" };
    format!("{} {is}", crate::text::processes(paused.len()))
}

fn listed(paused: &[ProcessReport]) -> String {
    let rows = paused.iter().map(|process| vec![process.pid.to_string(), out::program(process)]);
    out::table(&rows.collect::<Vec<_>>(), 2)
}

/// Who does it: the user, and the one who logged in.
fn who() -> (u32, Option<u32>) {
    let login_uid = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login_uid =
        login_uid.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
    (rustix::process::getuid().as_raw(), login_uid)
}

/// Taking the guard off must not fail because the log cannot be written; it is said instead.
fn record(dirs: &Dirs, record: &Record) {
    let now = Now::read();
    let written = AuditLog::open(&dirs.state_dir, now).map_err(|error| error.to_string()).and_then(
        |(mut log, _)| {
            log.append(record, now);
            log.close(now).map_err(|error| error.to_string())
        },
    );
    if let Err(error) = written {
        out::fail(Exit::Ok, &format!("this is not in the audit log: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, command: &[&str]) -> ProcessReport {
        ProcessReport {
            pid,
            comm: Some("rm".to_owned()),
            command: Some(command.iter().map(|&argument| argument.to_owned()).collect()),
            command_cut: false,
            cwd: None,
            terminal: None,
            parents: vec![],
        }
    }

    fn enforced(zones: &[(&str, bool)]) -> Result<Vec<Enforced>, kernel::KernelError> {
        let zones = zones.iter();
        Ok(zones.map(|&(zone, opened)| Enforced { zone: zone.to_owned(), opened }).collect())
    }

    /// An open zone does not count.
    #[test]
    fn unload_is_refused_while_zone_enforces() {
        assert_eq!(enforced_refusal(&enforced(&[])), None);
        assert_eq!(enforced_refusal(&enforced(&[("customers", true)])), None);
        let refusal = enforced_refusal(&enforced(&[("customers", true), ("backups", false)]));
        let refusal = refusal.unwrap();
        assert!(
            refusal.contains("stays: backups\n") && !refusal.contains("customers"),
            "{refusal}"
        );
        assert!(refusal.contains("--zone backups --host-wide"), "{refusal}");
        assert!(refusal.lines().all(|line| !line.trim().contains("  ")), "blanks in {refusal}");
        let unreadable = Err(kernel::KernelError::NotBuilt);
        assert!(enforced_refusal(&unreadable).unwrap().contains("--force"));
    }

    #[test]
    fn paused_processes_are_named_with_help() {
        let paused = [process(100, &["rm", "-rf", "/srv/a"]), process(20_000, &["find", "."])];
        let refusal = refusal(&paused);
        for part in [
            "2 processes are paused by the guard:\n  100    rm -rf /srv/a\n  20000  find .\n",
            "  help: decide about them first",
            "holdfast hold kill",
            "--force",
        ] {
            assert!(refusal.contains(part), "{part:?} in\n{refusal}");
        }
        let left = left_behind(&paused[..1]);
        for part in [
            "1 process is still stopped:\n  100  rm",
            "kill -CONT PID",
            "UNGUARDED",
            "kill -KILL PID",
        ] {
            assert!(left.contains(part), "{part:?} in\n{left}");
        }
    }
}
