//! Reading the kernel's log for what must never be in it.

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel cannot be trusted any more: end the run.
    Fatal,
    /// The run goes on, and has failed.
    Noted,
}

const FATAL: [&str; 8] = [
    "Kernel panic - not syncing",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "watchdog: BUG: soft lockup",
    "hard LOCKUP",
    "Unable to mount root fs",
    "holdfast-guest: cannot go on",
];
const NOTED: [&str; 7] = [
    "WARNING: ",
    "INFO: rcu_sched detected",
    "rcu: INFO: ",
    "UBSAN: ",
    "KASAN: ",
    "INFO: task ",
    "Out of memory: ",
];

/// What a line of the log says about the kernel's health.
pub fn classify(line: &str) -> Option<Trouble> {
    let message = message(line);
    let starts = |patterns: &[&str]| patterns.iter().any(|pattern| message.starts_with(pattern));
    if starts(&FATAL) || message.contains("hard LOCKUP") {
        Some(Trouble::Fatal)
    } else if starts(&NOTED) {
        Some(Trouble::Noted)
    } else {
        None
    }
}

/// The line without its time stamp and caller: `[    1.234567] [   T1] text`.
fn message(line: &str) -> &str {
    let mut rest = line.trim_start_matches(['\r', ' ']);
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fatal_lines() {
        for line in [
            "[    5.1] Kernel panic - not syncing: sysrq triggered crash",
            "[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000010",
            "[    1.0] [   T12] Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "[  300.1] watchdog: BUG: soft lockup - CPU#1 stuck for 62s! [rm:412]",
            "[    9.9] watchdog: Watchdog detected hard LOCKUP on cpu 0",
            "holdfast-guest: cannot go on: no root disk",
        ] {
            assert_eq!(classify(line), Some(Trouble::Fatal), "{line}");
        }
    }

    #[test]
    fn noted_lines() {
        for line in [
            "[   12.3] WARNING: CPU: 0 PID: 100 at kernel/bpf/trampoline.c:123 f+0x1/0x2",
            "[   12.3][  T100] WARNING: kernel/bpf/trampoline.c:123 at f+0x1/0x2, CPU#0: rm/100",
            "[   60.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[  130.0] INFO: task rm:100 blocked for more than 120 seconds.",
        ] {
            assert_eq!(classify(line), Some(Trouble::Noted), "{line}");
        }
    }

    #[test]
    fn ordinary_lines() {
        for line in [
            "[    0.0] Linux version 6.1.0 (WARNING: not here)",
            "[    0.5] Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "[    0.6] DEBUG: nothing",
            "",
            "[",
        ] {
            assert_eq!(classify(line), None, "{line}");
        }
    }
}
