//! One entry in the journal's native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): fields, of which
//! none can be put in by what somebody has named a file or given as a reason.

use serde_json::Value;

use super::Class;
use crate::audit::Record;
use crate::clock::Now;

/// What is taken over from a record: where it is, and what its field is called. No command lines:
/// they can have secrets in them, and others than root can read the journal.
const FIELDS: [(&str, &str); 23] = [
    ("/zone", "HOLDFAST_ZONE"),
    ("/event/zone", "HOLDFAST_ZONE"),
    ("/event/op", "HOLDFAST_OP"),
    ("/event/verdict", "HOLDFAST_VERDICT"),
    ("/event/unit/path", "HOLDFAST_UNIT"),
    ("/event/uid", "HOLDFAST_UID"),
    ("/event/login_uid", "HOLDFAST_LOGIN_UID"),
    ("/event/pid", "HOLDFAST_PID"),
    ("/event/comm", "HOLDFAST_COMM"),
    ("/event/path", "HOLDFAST_PATH"),
    ("/hold", "HOLDFAST_HOLD"),
    ("/unit/path", "HOLDFAST_UNIT"),
    ("/id", "HOLDFAST_ALLOWANCE"),
    ("/number", "HOLDFAST_BREAK_GLASS"),
    ("/actor/name", "HOLDFAST_ACTOR"),
    ("/reason", "HOLDFAST_REASON"),
    ("/person/uid", "HOLDFAST_PERSON_UID"),
    ("/person/login_uid", "HOLDFAST_PERSON_LOGIN_UID"),
    ("/files", "HOLDFAST_FILES"),
    ("/outcome", "HOLDFAST_OUTCOME"),
    ("/complete", "HOLDFAST_COMPLETE"),
    ("/sha256", "HOLDFAST_POLICY_SHA256"),
    ("/error", "HOLDFAST_ERROR"),
];
/// A value is cut here: an entry fits in one datagram.
const LONGEST: usize = 2048;

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    class: Class,
    priority: u8,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    /// Of a record.
    pub(super) fn of(class: Class, record: &Record) -> Self {
        // Records are plain structures: this cannot fail, and without fields there is still an
        // entry.
        let value = serde_json::to_value(record).unwrap_or_default();
        let mut fields: Vec<(&'static str, String)> = Vec::new();
        for (place, name) in FIELDS {
            let text = match value.pointer(place) {
                None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => continue,
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            if fields.iter().all(|(known, _)| *known != name) {
                fields.push((name, cut(text)));
            }
        }
        let is_good = value["complete"] == true || value["outcome"] == "in_force";
        let priority = if is_good { 6 } else { class.priority() };
        Self { class, priority, message: message(class, &fields), fields }
    }

    /// The audit log cannot be written.
    pub(super) fn audit_failure(error: &str) -> Self {
        let class = Class::AuditFailure;
        let fields = vec![("HOLDFAST_ERROR", cut(error.to_owned()))];
        Self { class, priority: class.priority(), message: message(class, &fields), fields }
    }

    /// The same, which stands for so many others that were left out.
    pub(super) fn standing_for(mut self, omitted: u64) -> Self {
        if omitted > 0 {
            self.fields.push(("HOLDFAST_OMITTED", omitted.to_string()));
        }
        self
    }

    /// The same for a web hook.
    pub(super) fn json(&self, now: Now) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut document = serde_json::json!({
            "event": self.class.word(),
            "message_id": self.class.id(),
            "priority": self.priority,
            "message": self.message,
            "host": host.trim(),
            "time": now.wall(),
        });
        for (name, value) in &self.fields {
            let name = name.trim_start_matches("HOLDFAST_").to_ascii_lowercase();
            document[name] = Value::from(value.as_str());
        }
        document.to_string()
    }

    /// The datagram.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let priority = self.priority.to_string();
        let head = [
            ("MESSAGE", self.message.as_str()),
            ("MESSAGE_ID", self.class.id()),
            ("PRIORITY", priority.as_str()),
            ("SYSLOG_IDENTIFIER", "holdfast"),
            ("HOLDFAST_EVENT", self.class.word()),
        ];
        let fields = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in head.into_iter().chain(fields) {
            bytes.extend_from_slice(name.as_bytes());
            // With its length in front a value can have anything in it.
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

fn message(class: Class, fields: &[(&'static str, String)]) -> String {
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| *known == name);
        found.map_or("?", |(_, value)| value.as_str())
    };
    let zone = field("HOLDFAST_ZONE");
    let message = match class {
        Class::Trip => format!(
            "over a budget of zone {zone}: {} by {} (process {}), {}",
            field("HOLDFAST_OP"),
            field("HOLDFAST_COMM"),
            field("HOLDFAST_PID"),
            field("HOLDFAST_VERDICT")
        ),
        Class::Denied => format!("zone {zone}: {} was denied", field("HOLDFAST_OP")),
        Class::Hold => format!("zone {zone}: hold {} waits for a person", field("HOLDFAST_HOLD")),
        Class::Release if field("HOLDFAST_ACTOR") != "?" => format!(
            "zone {zone}: budgets of {} are reset: {}",
            field("HOLDFAST_ACTOR"),
            field("HOLDFAST_REASON")
        ),
        Class::Release => format!("zone {zone}: hold {} is released", field("HOLDFAST_HOLD")),
        Class::Kill => format!("zone {zone}: hold {} is killed", field("HOLDFAST_HOLD")),
        Class::Expire => {
            format!("zone {zone}: nobody decided about hold {}: denied", field("HOLDFAST_HOLD"))
        }
        Class::BreakGlassOpen => {
            format!("break-glass for zone {zone} is open: {}", field("HOLDFAST_REASON"))
        }
        Class::BreakGlassClose => format!("break-glass for zone {zone} is over"),
        Class::BreakGlassRefuse => format!("break-glass refused: {}", field("HOLDFAST_REASON")),
        Class::AllowanceActivate => format!("allowance {} is open", field("HOLDFAST_ALLOWANCE")),
        Class::AllowanceRefuse => format!(
            "allowance {} is refused: {}",
            field("HOLDFAST_ALLOWANCE"),
            field("HOLDFAST_REASON")
        ),
        Class::Coverage if field("HOLDFAST_COMPLETE") == "true" => {
            "every op that was tried was stopped".to_owned()
        }
        Class::Coverage => "not every op that was tried was stopped".to_owned(),
        Class::Policy => format!("policy: {}", field("HOLDFAST_OUTCOME")),
        Class::AuditFailure => {
            format!("the audit log cannot be written: {}", field("HOLDFAST_ERROR"))
        }
    };
    // One line, safe for whoever reads it on a terminal.
    message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cut(mut text: String) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}
