//! What the daemon does about an allowance that is submitted: one judgement after the other, until
//! it is open or refused. Like the rest of the state: no I/O, time comes in, actions go out.

use holdfast_policy::allowance::{
    Allowance, Checked, Evidence, Grant, MAX_SIGNATURES, Refused, RefusedReason, SignatureFile,
    Signer, check,
};
use sha2::{Digest as _, Sha256};
use tracing::Level;

use super::allowance::{AllowanceCount, Joining, Judged, Opening, Resolved, Submission};
use super::deciding::name;
use super::message::{Action, Answer, Refusal, Reply};
use super::state::State;
use crate::allowances::{Bound, Entry, EntryState, Granted, ProcessId, Tree, Trust, Why};
use crate::api::{Person, RefusedReport, SignerReport, SubmitBody};
use crate::audit::{AllowanceRef, Record};
use crate::clock::Now;
use crate::report;
use crate::text;

/// Characters of a name that are kept in the audit log.
const MOST_NAME: usize = 1024;

impl State {
    /// Somebody submits an allowance. That it is another host's has to be seen whatever else is
    /// wrong here, so that the document is judged first.
    pub(super) fn submitted(
        &mut self,
        mut body: SubmitBody,
        person: Person,
        reply: Reply,
    ) -> Vec<Action> {
        // Whoever submits it names these, and they go into messages and a log that is kept for
        // years.
        let name = |name: &String| text::clipped(name, MOST_NAME);
        body.path = name(&body.path);
        body.signatures.truncate(MAX_SIGNATURES + 1);
        for file in &mut body.signatures {
            file.name = name(&file.name);
        }
        let digest = text::hex(&Sha256::digest(body.document.as_bytes()));
        let id = Allowance::parse(&body.path, &body.document).ok().map(|allowance| allowance.id);
        let signers = Vec::new();
        let submission = Submission { body, person, digest, id, signers, reply };
        let record = Record::AllowanceSubmit {
            allowance: submission.reference(),
            path: submission.body.path.clone(),
            signatures: submission.body.signatures.iter().map(|file| file.name.clone()).collect(),
            command: submission.body.run.as_ref().map(|run| name(&run.executable)),
            person: submission.person.clone(),
        };
        vec![Action::Record(Box::new(record)), Action::ReadTrust(Box::new(submission))]
    }

    /// It is known who may sign.
    pub(super) fn trust_read(
        &mut self,
        mut submission: Submission,
        trust: Result<Box<Trust>, Refused>,
        now: Now,
    ) -> Vec<Action> {
        let judged = trust.and_then(|trust| self.judge(&submission, &trust, now));
        match judged {
            Ok(checked) => {
                submission.signers = checked.signers.iter().map(signer).collect();
                if let Err(refused) = self.allowed(&submission, &checked.allowance, now) {
                    return refuse(submission, refused);
                }
                let policy = self.plan.origin.clone();
                vec![Action::Resolve(Box::new(Judged { submission, checked, policy }))]
            }
            Err(refused) => refuse(submission, refused),
        }
    }

    /// The judgement that needs nothing of this host but its names and its clock.
    fn judge(&self, submission: &Submission, trust: &Trust, now: Now) -> Result<Checked, Refused> {
        let files = submission
            .body
            .signatures
            .iter()
            .map(|file| SignatureFile { name: file.name.clone(), text: file.text.clone() });
        let signatures: Vec<SignatureFile> = files.collect();
        let evidence = Evidence {
            path: &submission.body.path,
            text: &submission.body.document,
            signatures: &signatures,
            policy: &self.plan.policy,
            signers: &trust.signers,
            revoked: &trust.revoked,
            host: &trust.host,
            now: now.unix_seconds(),
        };
        check(&evidence).map_err(|refused| self.or_the_clock(refused, now))
    }

    /// A refusal, unless it is the clock that is wrong.
    fn or_the_clock(&self, refused: Refused, now: Now) -> Refused {
        match refused.reason {
            RefusedReason::NotYetValid
            | RefusedReason::Expired
            | RefusedReason::SignerNotYetValid
            | RefusedReason::SignerExpired => {
                self.allowances.in_time(i64::MAX, now).err().unwrap_or(refused)
            }
            _ => refused,
        }
    }

    /// What else has to be right before anything is looked for. Returns the ids that are forgotten
    /// to make room.
    fn allowed(
        &self,
        submission: &Submission,
        allowance: &Allowance,
        now: Now,
    ) -> Result<Vec<String>, Refused> {
        self.allowances.readable()?;
        self.allowances.in_time(allowance.not_after, now)?;
        let forget = self.allowances.admit(allowance, &submission.digest, now)?;
        if !self.guarding.is_up() || !self.guarding.in_force {
            let help = "see `holdfast status` and `holdfast doctor`";
            return Err(Refused::new(
                RefusedReason::NoGuard,
                "nothing is guarded at the moment",
                help,
            ));
        }
        self.beside_glass(allowance)?;
        let bind = &allowance.bind;
        let names_nobody = bind.user.is_none() && bind.unit.is_none();
        if submission.body.run.is_none() && (names_nobody || bind.command.is_some()) {
            let message = match &bind.command {
                Some(command) => {
                    format!("it is for the command {}, which is not run by this", command.path)
                }
                None => "it is bound to nobody: every process could spend it".to_owned(),
            };
            let help = "`holdfast run --allow FILE -- CMD` submits it for the processes of CMD";
            return Err(Refused::new(RefusedReason::Unbound, message, help));
        }
        Ok(forget)
    }

    /// It is known where it leads and who may spend it. The host was looked at aside of the loop:
    /// what was right before has to be so still.
    pub(super) fn allowance_resolved(
        &mut self,
        judged: Judged,
        resolved: Result<Resolved, Refused>,
        now: Now,
    ) -> Vec<Action> {
        let Judged { submission, checked, policy } = judged;
        let Resolved { bound, places } = match resolved {
            Ok(resolved) => resolved,
            Err(refused) => return refuse(submission, refused),
        };
        if policy != self.plan.origin {
            // By another policy it is another allowance.
            return vec![Action::ReadTrust(Box::new(submission))];
        }
        let allowance = checked.allowance;
        let forget = match self.still_allowed(&submission, &allowance, &bound, now) {
            Ok(forget) => forget,
            Err(refused) => return refuse(submission, refused),
        };
        let granted = allowance
            .grants
            .iter()
            .zip(&places)
            .map(|(grant, places)| granted(grant, places.len()));
        let entry = Entry {
            id: allowance.id.clone(),
            digest: submission.digest.clone(),
            reason: allowance.reason.clone(),
            requested_by: allowance.requested_by.clone(),
            signers: submission.signers.clone(),
            not_after: allowance.not_after,
            serial: 0,
            boot_id: self.allowances.boot_id().to_owned(),
            until_ns: 0,
            opened_ns: 0,
            opened_by: submission.person.clone(),
            bound,
            grants: granted.collect(),
            state: EntryState::Open,
        };
        let ops = allowance.grants.iter().map(|grant| grant.ops.mask()).collect();
        let opening = Opening { submission, entry, ops, places, forget };
        vec![Action::OpenAllowance(Box::new(opening))]
    }

    /// Whether another one that was opened meanwhile, or the time, stands in the way. Returns the
    /// ids that are forgotten to make room.
    fn still_allowed(
        &self,
        submission: &Submission,
        allowance: &Allowance,
        bound: &Bound,
        now: Now,
    ) -> Result<Vec<String>, Refused> {
        self.allowances.bind_free(bound)?;
        self.allowed(submission, allowance, now)
    }

    /// It is open, or could not be opened.
    pub(super) fn allowance_opened(
        &mut self,
        opening: Opening,
        outcome: Result<Box<Entry>, (Refused, Option<Box<Entry>>)>,
        now: Now,
    ) -> Vec<Action> {
        let Opening { submission, forget, .. } = opening;
        let entry = match outcome {
            Ok(entry) => *entry,
            Err((refused, failed)) => {
                if let Some(failed) = failed {
                    self.allowances.forget(&forget);
                    self.allowances.put(*failed);
                }
                return refuse(submission, refused);
            }
        };
        let report = report::allowance(&entry, now);
        let people: Vec<&str> = entry.signers.iter().map(|signer| signer.person.as_str()).collect();
        let message = format!(
            "allowance {}: open until {}, submitted by {}, signed by {}: `holdfast allow show {}`",
            entry.id,
            now.wall_at(entry.until_ns),
            name(&submission.person),
            text::for_terminal(people.join(", ").as_bytes()),
            entry.id,
        );
        self.allowances.clock.believe(now);
        self.allowances.forget(&forget);
        self.allowances.put(entry);
        vec![
            Action::CountAllowance(AllowanceCount::Activated),
            Action::Log(Level::WARN, message),
            Action::Send(submission.reply, super::json(&report)),
        ]
    }

    /// A process asks to be the first of an allowance's tree.
    pub(super) fn wants_to_join(
        &mut self,
        id: String,
        person: Person,
        reply: Reply,
    ) -> Vec<Action> {
        let Some(entry) = self.allowances.get(&id) else {
            return vec![Action::Send(reply, no_such_allowance(&id))];
        };
        match joinable(entry) {
            Ok((serial, tree)) => {
                let has_command = tree.wanted.is_some();
                let joining = Box::new(Joining { id, serial, tree, person, reply });
                // Its files may have been changed since it was submitted.
                vec![if has_command {
                    Action::CheckCommand(joining)
                } else {
                    Action::Join(joining)
                }]
            }
            Err(refused) => refuse_with(report::allowance_ref(entry), person, reply, refused),
        }
    }

    /// The files of a tree's command were looked at, aside of the loop: somebody else may have
    /// joined meanwhile.
    pub(super) fn command_checked(
        &mut self,
        joining: Joining,
        outcome: Result<(), Refused>,
        now: Now,
    ) -> Vec<Action> {
        if let Err(refused) = outcome {
            return self.allowance_joined(joining, Err(refused), now);
        }
        let is_as_before =
            |entry| joinable(entry).is_ok_and(|(serial, _)| serial == joining.serial);
        if self.allowances.get(&joining.id).is_some_and(is_as_before) {
            return vec![Action::Join(Box::new(joining))];
        }
        self.wants_to_join(joining.id, joining.person, joining.reply)
    }

    /// A process is the first of an allowance's tree, or was refused.
    pub(super) fn allowance_joined(
        &mut self,
        joining: Joining,
        outcome: Result<ProcessId, Refused>,
        now: Now,
    ) -> Vec<Action> {
        let Joining { id, person, reply, .. } = joining;
        let first = match outcome {
            Ok(first) => first,
            Err(refused) => {
                let reference = self.allowances.get(&id).map(report::allowance_ref);
                return refuse_with(
                    reference.unwrap_or_else(|| only_id(&id)),
                    person,
                    reply,
                    refused,
                );
            }
        };
        self.allowances.joined(&id, first);
        let Some(entry) = self.allowances.get(&id) else {
            return vec![Action::Send(reply, no_such_allowance(&id))];
        };
        let record = Record::AllowanceJoin {
            allowance: report::allowance_ref(entry),
            pid: first.pid,
            person,
        };
        vec![
            Action::Record(Box::new(record)),
            Action::Log(
                Level::INFO,
                format!("allowance {id}: pid {} may spend it, and its children", first.pid),
            ),
            Action::Send(reply, super::json(&report::allowance(entry, now))),
        ]
    }
}

impl Submission {
    /// Which one it is, as far as that is known.
    pub(super) fn reference(&self) -> AllowanceRef {
        AllowanceRef {
            id: self.id.clone(),
            digest: Some(self.digest.clone()),
            signers: self.signers.clone(),
        }
    }
}

/// Serial and tree of an allowance that a process can join now.
fn joinable(entry: &Entry) -> Result<(u64, Tree), Refused> {
    let refused = match (&entry.state, &entry.bound.tree) {
        (EntryState::Open, Some(tree)) if tree.first.is_none() => {
            return Ok((entry.serial, tree.clone()));
        }
        (EntryState::Open, Some(_)) => wrong_process("it has its process already"),
        (EntryState::Open, None) => wrong_process("it is not for a command"),
        (EntryState::Closed { why, .. }, _) => {
            let reason = match why {
                Why::Expired => RefusedReason::Expired,
                Why::Revoked => RefusedReason::Revoked,
                Why::Finished
                | Why::NeverStarted
                | Why::Closed
                | Why::Rebooted
                | Why::Policy
                | Why::Lost => RefusedReason::AlreadyUsed,
            };
            let message = format!("it is closed: {}", why.sentence());
            Refused::new(reason, message, "have a new one signed")
        }
        (EntryState::Failed { error }, _) => Refused::new(
            RefusedReason::NoGuard,
            format!("it was never open: {error}"),
            "submit it again",
        ),
    };
    Err(refused)
}

/// There is no allowance with this id.
pub(super) fn no_such_allowance(id: &str) -> Answer {
    let message = format!(
        "this host has seen no allowance `{}`\n  help: `holdfast allow list` shows those it has",
        text::for_terminal(id.as_bytes())
    );
    Answer::Error(Refusal::NotFound, message)
}

/// An id, and nothing else.
pub(super) fn only_id(id: &str) -> AllowanceRef {
    AllowanceRef { id: Some(id.to_owned()), digest: None, signers: Vec::new() }
}

/// A process that has no part in an allowance.
pub(super) fn wrong_process(message: impl std::fmt::Display) -> Refused {
    let help = "`holdfast run --allow FILE -- CMD` submits it, and starts CMD under it";
    Refused::new(RefusedReason::WrongProcess, message, help)
}

fn refuse(submission: Submission, refused: Refused) -> Vec<Action> {
    let reference = submission.reference();
    refuse_with(reference, submission.person, submission.reply, refused)
}

/// Records, counts, tells and answers a refusal.
fn refuse_with(
    allowance: AllowanceRef,
    person: Person,
    reply: Reply,
    refused: Refused,
) -> Vec<Action> {
    let Refused { reason, message } = refused;
    let id = allowance.id.as_deref().unwrap_or("?");
    let first_line = text::for_terminal(message.lines().next().unwrap_or_default().as_bytes());
    let (level, news) = if reason == RefusedReason::OtherHost {
        let news = format!(
            "CRITICAL: a valid allowance of another host was presented here: {id}, by {}: \
             {first_line}",
            name(&person)
        );
        (Level::ERROR, news)
    } else {
        let word = reason.word();
        let news = format!(
            "allowance {id}: refused ({word}), submitted by {}: {first_line}",
            name(&person)
        );
        (Level::WARN, news)
    };
    let record = Record::AllowanceRefuse {
        allowance,
        reason: reason.word(),
        error: message.clone(),
        person,
    };
    let report = RefusedReport { error: message, reason: reason.word().to_owned() };
    vec![
        Action::Record(Box::new(record)),
        Action::CountAllowance(AllowanceCount::Refused(reason)),
        Action::Log(level, news),
        Action::Send(reply, Answer::Refused(report)),
    ]
}

fn signer(signer: &Signer) -> SignerReport {
    SignerReport {
        person: signer.person.clone(),
        key: signer.key.clone(),
        algorithm: signer.algorithm.clone(),
        touched: signer.hardware.map(|hardware| hardware.touched),
        verified: signer.hardware.map(|hardware| hardware.verified),
    }
}

fn granted(grant: &Grant, places: usize) -> Granted {
    Granted {
        zone: grant.zone.to_string(),
        ops: grant.ops.iter().map(|op| op.word().to_owned()).collect(),
        subtrees: grant.subtrees.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        places,
        files: grant.files,
        bytes: grant.bytes,
        tenants: grant.tenants.into(),
        used_files: 0,
        used_bytes: 0,
        used_tenants: 0,
        used_ops: 0,
    }
}

#[cfg(test)]
#[path = "allowing_tests.rs"]
mod tests;
