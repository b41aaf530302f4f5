//! /proc/PID/stat: state, parent, terminal and start of a process or thread.

use holdfast_abi::TaskKey;

/// Nanoseconds in a clock tick of /proc (USER_HZ is 100 on every architecture the programs run on).
const TICK_NS: u64 = 10_000_000;

/// What is needed of one line of stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Name; any bytes.
    pub(crate) comm: Vec<u8>,
    /// Its one-letter state.
    pub(crate) state: u8,
    /// Parent process.
    pub(crate) ppid: u32,
    /// Controlling terminal as the kernel encodes it; 0 for none.
    pub(crate) tty: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// What becomes of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// It is stopped: by a signal or by a tracer.
    Stopped,
    /// It is there, and not stopped.
    Running,
    /// It has ended, or its number belongs to another by now.
    Over,
    /// It cannot be looked at: nothing follows from that.
    Unknown,
}

impl TaskState {
    /// Whether it was seen to be there.
    pub(crate) const fn is_there(self) -> bool {
        match self {
            Self::Stopped | Self::Running => true,
            Self::Over | Self::Unknown => false,
        }
    }
}

impl Stat {
    /// Reads one line. The name may contain blanks, brackets and line ends: what follows its *last*
    /// bracket counts.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Field 3 of proc_pid_stat(5) is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let [state] = field(3)?.as_bytes() else { return None };
        Some(Self {
            comm,
            state: *state,
            ppid: field(4)?.parse().ok()?,
            // Signed in /proc, bits in truth.
            tty: field(7)?.parse::<i64>().ok()? as u32,
            start_ticks: field(22)?.parse().ok()?,
        })
    }

    /// Whether this is the thread the kernel means: thread numbers are used again.
    pub(crate) fn is(&self, key: &TaskKey) -> bool {
        self.start_ticks.abs_diff(key.start_ns / TICK_NS) <= 1
    }

    /// What becomes of it, if it is the one the kernel means.
    pub(crate) fn state_of(&self, key: &TaskKey) -> TaskState {
        match self.state {
            _ if !self.is(key) => TaskState::Over,
            b'T' | b't' => TaskState::Stopped,
            b'Z' | b'X' | b'x' => TaskState::Over,
            _ => TaskState::Running,
        }
    }

    /// Whether a tracer has stopped it.
    pub(super) fn is_traced(&self) -> bool {
        self.state == b't'
    }

    /// The process itself, as a thread to be found again.
    pub(crate) fn key(&self, pid: u32) -> TaskKey {
        TaskKey { start_ns: self.start_ticks * TICK_NS, pid, tid: pid }
    }
}

/// SIGSTOP in a mask of /proc/PID/status.
const STOP: u64 = 1 << 18;

/// Whether SIGSTOP waits for a thread, by its status: it stops as soon as it can (which a freezer,
/// or a slow way out of the kernel, can put off).
pub(super) fn is_about_to_stop(status: &[u8]) -> bool {
    masks(status, b"SigPnd:").chain(masks(status, b"ShdPnd:")).any(|mask| mask & STOP != 0)
}

/// The real user of a process, by its status.
pub(super) fn real_user(status: &[u8]) -> Option<u32> {
    field(status, b"Uid:").next()?.split_ascii_whitespace().next()?.parse().ok()
}

fn masks<'a>(status: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = u64> {
    field(status, name).filter_map(|mask| u64::from_str_radix(mask, 16).ok())
}

/// The value of a field. Line ends in a name are escaped there, so that it cannot pass for another
/// field.
fn field<'a>(status: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a str> {
    let values = status.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(name));
    values.filter_map(|value| std::str::from_utf8(value).ok()).map(str::trim)
}

/// Major and minor number of a device number as the kernel tells it to user space (linux/kdev_t.h,
/// new_decode_dev).
pub(crate) const fn device(number: u32) -> (u32, u32) {
    ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00))
}

/// Its name as people know it, such as `pts/1`; other devices as major:minor (Linux' devices.txt).
pub(super) fn terminal_name(number: u32) -> String {
    match device(number) {
        (136, minor) => format!("pts/{minor}"),
        (4, minor @ 0..64) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        (major, minor) => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(comm: &str) -> Vec<u8> {
        format!(
            "4242 ({comm}) T 17 4242 17 34817 4242 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 \
             200 18446744073709551615 1 1 0\n"
        )
        .into_bytes()
    }

    #[test]
    fn name_cannot_fake_other_fields() {
        for comm in ["rm", "a) R 1 (", "a b", ")", "((", "", ") Z 0 0 0 0 ", "x\ny) S 1"] {
            let stat = Stat::parse(&line(comm)).unwrap_or_else(|| panic!("{comm:?}"));
            assert_eq!(stat.comm, comm.as_bytes());
            assert_eq!((stat.state, stat.ppid, stat.tty), (b'T', 17, 34817), "{comm:?}");
            assert_eq!(stat.start_ticks, 987_654, "{comm:?}");
        }
        let mut bytes = line("??");
        bytes[6..8].copy_from_slice(b"\xff\0");
        assert_eq!(Stat::parse(&bytes).unwrap().comm, b"\xff\0");
        for broken in ["", "4242 (rm", "4242 rm) T 1", "4242 (rm) T", "4242 (rm) TT 1 2 3 4", ")("]
        {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn start_time_identifies_a_thread() {
        let stat = Stat::parse(&line("rm")).unwrap();
        let started = |start_ns| TaskKey { start_ns, pid: 4242, tid: 4242 };
        for (start_ns, same) in [
            (9_876_540_000_000, true),
            (9_876_549_999_999, true),
            (9_876_530_000_000, true),
            (9_876_559_999_999, true),
            (9_876_529_999_999, false),
            (9_876_560_000_000, false),
            (0, false),
        ] {
            assert_eq!(stat.is(&started(start_ns)), same, "{start_ns}");
        }
        assert_eq!(stat.state_of(&started(9_876_540_000_000)), TaskState::Stopped);
        assert_eq!(stat.state_of(&started(1)), TaskState::Over);
        assert!(stat.is(&stat.key(4242)));
        let zombie = Stat { state: b'Z', ..stat.clone() };
        assert_eq!(zombie.state_of(&started(9_876_540_000_000)), TaskState::Over);
        let running = Stat { state: b'R', ..stat };
        assert_eq!(running.state_of(&started(9_876_540_000_000)), TaskState::Running);
    }

    #[test]
    fn pending_stop_counts_as_stop() {
        let status = |thread: &str, process: &str| {
            format!(
                "Name:\tSigPnd:\\n\nUid:\t1000\t0\t0\t0\nSigPnd:\t{thread}\nShdPnd:\t{process}\n\
                 SigBlk:\tffffffffffffffff\n"
            )
        };
        let (none, stop) = ("0000000000000000", "0000000000040000");
        assert!(!is_about_to_stop(status(none, none).as_bytes()));
        assert!(is_about_to_stop(status(stop, none).as_bytes()));
        assert!(is_about_to_stop(status(none, "0000000100040100").as_bytes()));
        assert!(!is_about_to_stop(status("fffffffffffbffff", none).as_bytes()));
        assert_eq!(real_user(status(none, none).as_bytes()), Some(1000));
        assert!(!is_about_to_stop(b"") && real_user(b"Name:\t\xff\n").is_none());
    }

    #[test]
    fn terminal_numbers_match_stat() {
        assert_eq!(device(34817), (136, 1), "pts/1");
        assert_eq!(device(1025), (4, 1), "tty1");
        assert_eq!(device(1088), (4, 64), "ttyS0");
        let nr = (136 << 8) | 0x2c | (0x1 << 20);
        assert_eq!(device(nr), (136, 0x12c), "pts/300");
        assert_eq!(terminal_name(nr), "pts/300");
        assert_eq!(
            (terminal_name(1025), terminal_name(1088)),
            ("tty1".to_owned(), "ttyS0".to_owned())
        );
        assert_eq!(terminal_name(0xe503), "229:3", "hvc3");
        // Above 2³¹ stat shows a negative number.
        let negative =
            Stat::parse(b"1 (x) S 0 1 1 -2147448831 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5 0").unwrap();
        assert_eq!(device(negative.tty), (136, 0x8_0001));
    }
}
