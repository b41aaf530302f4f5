//! Other tools that see or decide deletions, from Debian's packages and as those are shipped.

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::ops::{self, Cost};
use crate::harness::sh;

/// The ops that peers are compared by.
pub(super) const OPS: [&str; 2] = ["unlink", "create"];

/// One tool. The scripts' arguments are the directories that it is to watch.
struct Peer {
    name: &'static str,
    /// Starts it, and returns once it is in force.
    start: &'static str,
    /// What the thread that is measured does first.
    enter: fn() -> Result<()>,
    stop: &'static str,
    /// Prints how many deletions it has seen, after its end; empty for what keeps no record.
    seen: &'static str,
}

const WATCHER: Peer = Peer { name: "", start: "", enter: || Ok(()), stop: "stop", seen: "" };

/// The audit system comes last: once it was on, every later thread pays for it.
const PEERS: [Peer; 5] = [
    Peer {
        name: "AppArmor: a profile that allows all files",
        start: "echo 'profile holdfast-bench { capability, file, }' | apparmor_parser -r",
        enter: confine,
        stop: "echo 'profile holdfast-bench { }' | apparmor_parser -R",
        ..WATCHER
    },
    Peer {
        name: "inotify: `inotifywait -m -r`",
        start: "run inotifywait -m -r -e create,delete -o /var/log/peer \"$@\"
                ready grep -q established /tmp/peer.err",
        seen: "grep -c DELETE /var/log/peer",
        ..WATCHER
    },
    Peer {
        name: "fanotify: `fatrace -f D+`",
        start: "for dir; do
                    cd \"$dir\"
                    run fatrace -c -f D+ -o /var/log/peer$((++n))
                    ready sh -c \"grep -qs '^fanotify .*:' /proc/$!/fdinfo/*\"
                done",
        seen: "cat /var/log/peer? | grep -c '): D '",
        ..WATCHER
    },
    Peer {
        name: "bpftrace: counts `vfs_unlink`",
        start: "run bpftrace -e 'kprobe:vfs_unlink { @seen = count(); }'
                ready grep -q vfs_unlink /sys/kernel/debug/kprobes/list",
        seen: "sed -n 's/^@seen: //p' /tmp/peer.out",
        ..WATCHER
    },
    Peer {
        name: "auditd: `auditctl -w DIR -p wa`",
        start: "mkdir -p /var/log/audit
                sed -i 's/^num_logs.*/num_logs = 99/' /etc/audit/auditd.conf
                run auditd -n
                ready sh -c 'auditctl -s | grep -q \"^pid [1-9]\"'
                augenrules --load >&2
                for dir; do auditctl -w \"$dir\" -p wa; done",
        stop: "auditctl -D; auditctl -e 0; stop",
        seen: "cat /var/log/audit/audit.log* | grep -c nametype=DELETE",
        ..WATCHER
    },
];

/// What the scripts have in common. The guest's clock skips the time in which nothing happens, so
/// that five seconds are enough for whatever a tool has yet to write.
const COMMON: &str = "
set -e
run() { \"$@\" >/tmp/peer.out 2>/tmp/peer.err & echo $! >>/tmp/peer.pids; }
ready() {
    for i in $(seq 600); do \"$@\" && return; sleep 0.1; done
    echo 'not up after a minute' >&2
    cat /tmp/peer.err >&2
    false
}
stop() {
    sleep 5
    for pid in $(cat /tmp/peer.pids); do
        kill $pid
        while grep -qs . /proc/$pid/cmdline; do sleep 0.1; done
    done
    rm /tmp/peer.pids
}
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
";

/// Costs by op and filesystem, and what was seen of the deletions.
pub(super) struct Found {
    pub(super) costs: Vec<Vec<Cost>>,
    pub(super) seen: String,
}

/// Measures the ops in these directories without any tool, then beside each; or why that cannot be.
pub(super) fn measure(dirs: &[PathBuf]) -> Vec<(&'static str, Result<Found>)> {
    let bare = with(|| Ok(()), dirs).map(|costs| Found { costs, seen: String::new() });
    let peers = PEERS.iter().map(|peer| (peer.name, beside(peer, dirs)));
    [("no guard, again", bare)].into_iter().chain(peers).collect()
}

fn beside(peer: &Peer, dirs: &[PathBuf]) -> Result<Found> {
    eprintln!("  {}", peer.name);
    let started = run(peer.start, dirs);
    let costs = started.and_then(|_| with(peer.enter, dirs));
    // Also one that has not come up must be gone before the next.
    let stopped = run(peer.stop, dirs);
    let costs = costs?;
    stopped?;
    if peer.seen.is_empty() {
        return Ok(Found { costs, seen: "it keeps no record".to_owned() });
    }
    let seen: u64 = run(peer.seen, dirs)?.trim().parse().context("no count of deletions")?;
    ensure!(seen > 0, "it saw no deletion");
    // What is created is removed again after each round.
    let made: u64 = costs.iter().flatten().map(|cost| cost.rounds * ops::CALLS as u64).sum();
    Ok(Found { costs, seen: format!("{seen} of {made}") })
}

fn run(script: &str, dirs: &[PathBuf]) -> Result<String> {
    let outcome = sh(&format!("{COMMON}{script}"), dirs)?;
    let why = outcome.stderr.lines().rfind(|line| !line.is_empty()).unwrap_or("it failed");
    ensure!(outcome.succeeded(), "{why}");
    Ok(outcome.stdout)
}

/// Nanoseconds that the kernel is in a function during `work`.
pub(super) fn time_in(function: &str, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let program = format!(
        "kprobe:{function} {{ @from = nsecs; }}
         kretprobe:{function} /@from/ {{ @total = @total + nsecs - @from; }}"
    );
    let ready = format!("ready grep -q {function} /sys/kernel/debug/kprobes/list");
    run(&format!("run bpftrace -e '{program}'\n{ready}"), &[])?;
    let worked = work();
    run("stop", &[])?;
    worked?;
    let total = run("sed -n 's/^@total: //p' /tmp/peer.out", &[])?;
    total.trim().parse().with_context(|| format!("{function} was not called"))
}

/// Measures in a thread of its own, as confinement and audit are properties of threads.
fn with(enter: fn() -> Result<()>, dirs: &[PathBuf]) -> Result<Vec<Vec<Cost>>> {
    let each = |op: &&str| dirs.iter().map(|dir| ops::op(op, dir)).collect();
    let all = || enter().and_then(|()| OPS.iter().map(each).collect());
    thread::scope(|scope| scope.spawn(all).join()).map_err(|_| anyhow!("a thread panicked"))?
}

/// Puts the calling thread under the profile.
fn confine() -> Result<()> {
    const CURRENT: &str = "/proc/thread-self/attr/apparmor/current";
    fs::write(CURRENT, "changeprofile holdfast-bench").context(CURRENT)?;
    let profile = fs::read_to_string(CURRENT).context(CURRENT)?;
    ensure!(profile.trim() == "holdfast-bench (enforce)", "the thread is {profile}");
    Ok(())
}
