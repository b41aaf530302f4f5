//! Signals that end a process, by the name or number somebody wrote.

use std::fmt;

use rustix::process::Signal;

/// What can be sent by `holdfast hold kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadlySignal {
    name: &'static str,
    signal: Signal,
}

/// Every signal whose default is to end the process.
const ALL: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Signals that do something else.
const OTHERS: &[(&str, Signal)] = &[
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("CONT", Signal::CONT),
    ("CHLD", Signal::CHILD),
    ("URG", Signal::URG),
    ("WINCH", Signal::WINCH),
];

impl DeadlySignal {
    /// SIGKILL.
    #[cfg(test)]
    pub(crate) const KILL: Self = Self { name: "KILL", signal: Signal::KILL };

    /// Reads `TERM`, `SIGTERM`, `sigterm` or `15`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = text.parse::<i32>().ok();
        let is =
            |&&(known, signal): &&(&str, Signal)| known == name || number == Some(signal.as_raw());
        if let Some(&(name, signal)) = ALL.iter().find(is) {
            return Ok(Self { name, signal });
        }
        let shown: String =
            text.chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect();
        if OTHERS.iter().any(|other| is(&other)) {
            return Err(format!(
                "signal {shown} does not end a process\n  help: use KILL, TERM, INT or HUP; \
                 `holdfast hold release` lets a process go on"
            ));
        }
        Err(format!("there is no signal {shown}\n  help: as in KILL, SIGTERM or 15"))
    }

    /// What is sent.
    pub(crate) fn signal(self) -> Signal {
        self.signal
    }

    /// Whether it has to be continued to receive it.
    pub(crate) fn needs_continuing(self) -> bool {
        self.signal != Signal::KILL
    }
}

impl fmt::Display for DeadlySignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names may begin with `SIG`.
    #[test]
    fn signals_parse_by_name_and_number() {
        for text in ["TERM", "SIGTERM", "term", "SigTerm", "15"] {
            let signal = DeadlySignal::parse(text).unwrap();
            assert_eq!((signal.signal(), signal.to_string().as_str()), (Signal::TERM, "TERM"));
            assert!(signal.needs_continuing());
        }
        assert_eq!(DeadlySignal::parse("9").unwrap(), DeadlySignal::KILL);
        assert!(!DeadlySignal::KILL.needs_continuing());
        for (text, why) in [
            ("STOP", "does not end"),
            ("18", "does not end"),
            ("SIGCONT", "does not end"),
            ("0", "there is no signal"),
            ("-9", "there is no signal"),
            ("64", "there is no signal"),
            ("", "there is no signal"),
            ("SIGSIGTERM", "there is no signal"),
            ("\u{1b}[2J", "there is no signal ?[2J"),
        ] {
            let error = DeadlySignal::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        for (name, _) in ALL {
            assert_eq!(DeadlySignal::parse(name).unwrap().to_string(), *name);
        }
    }
}
