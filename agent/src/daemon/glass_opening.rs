//! What the daemon does about a break-glass that somebody wants to open, and about codes: no I/O,
//! time comes in, actions go out.
//!
//! Everything else is judged before the code, so that a slip on the command line costs none. A
//! right code always opens: how many wrong ones came before makes no difference to it.

use std::time::Duration;

use holdfast_policy::allowance::{Allowance, Refused, RefusedReason};
use holdfast_policy::break_glass::{
    GlassEvidence, GlassReason, GlassRefused, Scope, Terms, Wanted, judge,
};
use holdfast_policy::{Policy, Role, Zone};
use tracing::Level;

use super::deciding::name;
use super::glass::{
    GlassAction, GlassAsk, GlassCount, GlassEvent, MakeChallenge, MakeCodes, NotOpened, Opening,
    Signed,
};
use super::message::{Action, Answer, Ask, Refusal, Reply};
use super::state::State;
use crate::allowances::{self, Trust};
use crate::api::{
    ChallengeReport, GlassBody, NewCode, NewCodesBody, NewCodesReport, Person, ProofBody,
    RefusedReport, RunBody, Secret, SignerReport, WantedBody,
};
use crate::audit::Record;
use crate::break_glass::{Challenge, Code, CodeRow, Entry, Found, MOST_CODES, Proof};
use crate::clock::{Now, rfc3339};
use crate::report;
use crate::text;

/// Characters that are kept of a zone that somebody asks for, and of what was wrong with that.
const MOST_ZONE: usize = 100;
const MOST_ERROR: usize = 1000;

impl State {
    /// Somebody asks about break-glass.
    pub(super) fn asked_about_glass(
        &mut self,
        ask: GlassAsk,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        match ask {
            GlassAsk::Status if self.guarding.is_up() => {
                vec![Action::SurveyAllowances(Some((Ask::Glass(Box::new(ask)), reply)))]
            }
            GlassAsk::Status | GlassAsk::Codes => {
                vec![Action::Collect(Ask::Glass(Box::new(ask)), reply)]
            }
            GlassAsk::NewCodes(body, person) => self.wants_codes(body, person, reply),
            GlassAsk::Challenge(body, person) => self.wants_challenge(&body, person, reply),
            GlassAsk::Open(body, person) => self.wants_glass(*body, person, reply, now),
            GlassAsk::Join(person) => self.wants_to_join_glass(person, reply),
            GlassAsk::Close(number, person) => {
                self.wants_to_close_glass(number, person, reply, now)
            }
        }
    }

    /// Something about break-glass was done.
    pub(super) fn glass_happened(&mut self, event: GlassEvent, now: Now) -> Vec<Action> {
        match event {
            GlassEvent::CodesMade(making, outcome) => self.codes_made(*making, outcome),
            GlassEvent::ChallengeMade(making, outcome) => {
                self.challenge_made(*making, outcome, now)
            }
            GlassEvent::TrustRead(signed, trust) => self.glass_trust_read(*signed, trust, now),
            GlassEvent::Opened(opening, outcome) => self.glass_opened(*opening, outcome, now),
            GlassEvent::Joined(joining, outcome) => self.glass_joined(*joining, outcome, now),
            GlassEvent::Closed(closing, outcome) => self.glass_closed(*closing, outcome, now),
        }
    }

    fn wants_codes(&self, body: NewCodesBody, person: Person, reply: Reply) -> Vec<Action> {
        let refuse =
            |reply, refusal, message| vec![Action::Send(reply, Answer::Error(refusal, message))];
        if let Err(refused) = self.allowances.readable() {
            return refuse(reply, Refusal::Failed, refused.message);
        }
        let left = self.glass.codes_left();
        let kept = if body.replace { 0 } else { left };
        if body.count == 0 || kept + body.count as usize > MOST_CODES {
            let message = format!(
                "{} codes cannot be made: {kept} are unused, and {MOST_CODES} can be\n  help: \
                 `--replace` makes those worthless",
                body.count
            );
            return refuse(reply, Refusal::BadInput, message);
        }
        let making = MakeCodes {
            count: body.count,
            first: self.glass.next_code(),
            forget: self.glass.codes_to_forget(body.replace),
            replaced: if body.replace { left } else { 0 },
            person,
            reply,
        };
        vec![Action::Glass(Box::new(GlassAction::MakeCodes(Box::new(making))))]
    }

    fn codes_made(
        &mut self,
        making: MakeCodes,
        outcome: Result<Vec<(CodeRow, Secret)>, String>,
    ) -> Vec<Action> {
        let MakeCodes { count, first, forget, replaced, person, reply } = making;
        let made = match outcome {
            Ok(made) => made,
            Err(error) => {
                let text = format!("no codes were made: {error}");
                // That they were made may be on record already.
                let last = first + u64::from(count) - 1;
                let record = Record::BreakGlassRefuse {
                    zone: None,
                    reason: GlassReason::StateUnreadable.word(),
                    error: format!("codes {first} to {last} were not made: {error}"),
                    count: 1,
                    person: Some(person),
                };
                return vec![
                    Action::Record(Box::new(record)),
                    Action::Log(Level::ERROR, text.clone()),
                    Action::Send(reply, Answer::Error(Refusal::Failed, text)),
                ];
            }
        };
        let (rows, codes): (Vec<CodeRow>, Vec<NewCode>) = made
            .into_iter()
            .map(|(row, code)| {
                let number = row.number;
                (row, NewCode { number, code })
            })
            .unzip();
        let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
        self.glass.put_codes(rows, &forget);
        let message = format!(
            "break-glass: {} new codes were made by {}, {replaced} unused ones are worthless now",
            numbers.len(),
            name(&person)
        );
        let warning = self.plan.policy.break_glass.is_none().then(|| {
            "the policy has no [break_glass]: no code opens anything until it has one".to_owned()
        });
        let report = NewCodesReport { codes, left: self.glass.codes_left(), warning };
        vec![Action::Log(Level::WARN, message), Action::Send(reply, super::json(&report))]
    }

    fn wants_challenge(&mut self, body: &WantedBody, person: Person, reply: Reply) -> Vec<Action> {
        let terms = Terms::new(&self.plan.policy, &wanted(body));
        match terms.and_then(|terms| self.glass_allowed(&terms).map(|()| terms)) {
            Ok(terms) => {
                let making = MakeChallenge { terms, person, reply };
                vec![Action::Glass(Box::new(GlassAction::MakeChallenge(Box::new(making))))]
            }
            Err(refused) => refuse_glass(&body.zone, refused, person, reply),
        }
    }

    fn challenge_made(
        &mut self,
        making: MakeChallenge,
        outcome: Result<Challenge, GlassRefused>,
        now: Now,
    ) -> Vec<Action> {
        let MakeChallenge { terms, person, reply } = making;
        let challenge = match outcome {
            Ok(challenge) => challenge,
            Err(refused) => return refuse_glass(&terms.zone, refused, person, reply),
        };
        let report = ChallengeReport {
            challenge: challenge.text.clone(),
            until: report::until(challenge.until_ns, now),
        };
        let message =
            format!("break-glass: {} asked for a challenge for zone {}", name(&person), terms.zone);
        self.glass.add_challenge(challenge, now);
        vec![Action::Log(Level::WARN, message), Action::Send(reply, super::json(&report))]
    }

    /// Somebody wants to open one.
    fn wants_glass(
        &mut self,
        body: GlassBody,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        let GlassBody { proof, run } = body;
        let (code, body) = match proof {
            ProofBody::Code { code, wanted } => (code, wanted),
            ProofBody::Signature { challenge, signature } => {
                return self.has_signature(&challenge, signature, run, person, reply, now);
            }
        };
        let terms = Terms::new(&self.plan.policy, &wanted(&body))
            .and_then(|terms| self.glass_allowed(&terms).map(|()| terms))
            .and_then(|terms| fits(&terms, run.as_ref()).map(|()| terms));
        let terms = match terms {
            Ok(terms) => terms,
            Err(refused) => return refuse_glass(&body.zone, refused, person, reply),
        };
        let code = match Code::parse(&code.0) {
            Ok(code) => code,
            Err(mistyped) => {
                let help = "look at the code again: this did not count as an attempt";
                let refused = GlassRefused::new(GlassReason::MistypedCode, mistyped, help);
                return refuse_glass(&body.zone, refused, person, reply);
            }
        };
        let refused = match self.glass.find(&code) {
            Found::Good(number) => {
                let spends = Spends::Code(number, self.glass.used(number, now, &person));
                return self.open_glass(terms, spends, run, person, reply);
            }
            Found::Used(number, used) => {
                let message = format!(
                    "code {number} was used at {} by {}",
                    rfc3339(used.at_ns),
                    name(&used.by)
                );
                let help = "each code opens once: use the next one";
                GlassRefused::new(GlassReason::UsedCode, message, help)
            }
            Found::Wrong => {
                let message = "there is no such code on this host";
                let help = "codes are made on each host: is this one of another? `holdfast \
                            break-glass codes status` says how many are left here";
                GlassRefused::new(GlassReason::WrongCode, message, help)
            }
        };
        self.wrong_code(&body.zone, refused, person, reply, now)
    }

    /// A wrong code is answered late, and recorded now and then.
    fn wrong_code(
        &mut self,
        zone: &str,
        refused: GlassRefused,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        let delay = self.glass.wrong(now);
        let mut actions = vec![count(GlassCount::Refused(refused.reason))];
        actions.extend(self.tell_wrong_codes(Some((zone, refused.clone(), person)), now));
        actions.push(later(reply, answer(refused), delay));
        actions
    }

    /// What the audit log hears of wrong codes, at most once a minute.
    pub(super) fn tell_wrong_codes(
        &mut self,
        last: Option<(&str, GlassRefused, Person)>,
        now: Now,
    ) -> Vec<Action> {
        let Some(count) = self.glass.tell_wrong(now) else { return vec![] };
        let (zone, reason, error, person) = match last {
            Some((zone, refused, person)) => {
                (Some(zone.to_owned()), refused.reason, refused.message, Some(person))
            }
            None => (None, GlassReason::WrongCode, "wrong codes".to_owned(), None),
        };
        let by =
            person.as_ref().map_or_else(String::new, |person| format!(", by {}", name(person)));
        let message = format!("CRITICAL: break-glass: {count} wrong or used codes were given{by}");
        let reason = reason.word();
        let record = Record::BreakGlassRefuse { zone, reason, error, count, person };
        vec![Action::Record(Box::new(record)), Action::Log(Level::ERROR, message)]
    }

    fn has_signature(
        &mut self,
        text: &str,
        signature: String,
        run: Option<RunBody>,
        person: Person,
        reply: Reply,
        now: Now,
    ) -> Vec<Action> {
        let Some(challenge) = self.glass.challenge(text, now).cloned() else {
            let message = "this host waits for no such challenge";
            let help = "a challenge is good once, for an hour, until the agent is started anew: \
                        ask for another with `holdfast break-glass challenge`, and sign it as it \
                        is";
            let refused = GlassRefused::new(GlassReason::UnknownChallenge, message, help);
            return refuse_glass("?", refused, person, reply);
        };
        let terms = &challenge.terms;
        let allowed = self.still_allows(terms).and_then(|()| fits(terms, run.as_ref()));
        if let Err(refused) = allowed {
            return refuse_glass(&terms.zone.clone(), refused, person, reply);
        }
        let signed = Signed { challenge, signature, run, person, reply };
        vec![Action::Glass(Box::new(GlassAction::ReadTrust(Box::new(signed))))]
    }

    fn glass_trust_read(
        &mut self,
        signed: Signed,
        trust: Result<Box<Trust>, GlassRefused>,
        now: Now,
    ) -> Vec<Action> {
        let Signed { challenge, signature, run, person, reply } = signed;
        let rule = self.plan.policy.break_glass.as_ref();
        let signer = trust.and_then(|trust| {
            let rule = rule.ok_or_else(|| {
                let message = "this host's policy allows no break-glass";
                GlassRefused::new(GlassReason::NotEnabled, message, "see `[break_glass]`")
            })?;
            judge(&GlassEvidence {
                rule,
                challenge: &challenge.text,
                signature: &signature,
                signers: &trust.signers,
                revoked: &trust.revoked,
                now: now.unix_seconds(),
            })
        });
        match signer {
            Ok(signer) => {
                let signer = SignerReport {
                    person: signer.person,
                    key: signer.key,
                    algorithm: signer.algorithm,
                    touched: signer.hardware.map(|hardware| hardware.touched),
                    verified: signer.hardware.map(|hardware| hardware.verified),
                };
                let Challenge { text, terms, .. } = challenge;
                self.open_glass(terms, Spends::Challenge(text, signer), run, person, reply)
            }
            Err(refused) => refuse_glass(&challenge.terms.zone, refused, person, reply),
        }
    }

    /// Whether the policy that is in force now still makes the same of what was asked for a while
    /// ago.
    fn still_allows(&self, terms: &Terms) -> Result<(), GlassRefused> {
        if Terms::new(&self.plan.policy, &terms.wanted())? != *terms {
            let message = format!(
                "the challenge is for the {} zone {}, and the policy has changed since",
                terms.role.word(),
                terms.zone
            );
            let help = "ask for another with `holdfast break-glass challenge`";
            return Err(GlassRefused::new(GlassReason::UnknownChallenge, message, help));
        }
        self.glass_allowed(terms)
    }

    /// What has to be right whatever lets it open.
    fn glass_allowed(&self, terms: &Terms) -> Result<(), GlassRefused> {
        self.allowances.readable().map_err(|refused| GlassRefused {
            reason: GlassReason::StateUnreadable,
            message: refused.message,
        })?;
        if let Some(open) = self.glass.open() {
            let message = format!("one is open already, for zone {}", open.zone);
            let help = "one at a time: `holdfast break-glass close` ends it, then another code \
                        opens the next";
            return Err(GlassRefused::new(GlassReason::AlreadyOpen, message, help));
        }
        if let Some((id, zone)) =
            of_another_role(&self.allowances, &self.plan.policy, terms.role.word())
        {
            let message = format!(
                "allowance {id} is open for the {} zone {}, and this is for a {} zone",
                zone.role.word(),
                zone.name,
                terms.role.word()
            );
            let help = "data and copies are never open together: wait until it is over, or \
                        `holdfast allow revoke` it";
            return Err(GlassRefused::new(GlassReason::Interlock, message, help));
        }
        if !self.guarding.is_up() || !self.guarding.in_force {
            let help =
                "then nothing is stopped either: see `holdfast status` and `holdfast doctor`";
            let message = "nothing is guarded at the moment";
            return Err(GlassRefused::new(GlassReason::NoGuard, message, help));
        }
        Ok(())
    }

    /// Whether an allowance can be opened beside the break-glass that is.
    pub(super) fn beside_glass(&self, allowance: &Allowance) -> Result<(), Refused> {
        let Some(open) = self.glass.open() else { return Ok(()) };
        let roles = allowance
            .grants
            .iter()
            .filter_map(|grant| self.plan.policy.zone(grant.zone.as_str()).map(|zone| zone.role));
        let is_other = |role: Role| role.word() != open.role;
        if !roles.into_iter().any(is_other) {
            return Ok(());
        }
        let message = format!("a break-glass is open for the {} zone {}", open.role, open.zone);
        let help = "data and copies are never open together: wait until it is over, or `holdfast \
                    break-glass close`";
        Err(Refused::new(RefusedReason::Interlock, message, help))
    }

    fn open_glass(
        &self,
        terms: Terms,
        spends: Spends,
        run: Option<RunBody>,
        person: Person,
        reply: Reply,
    ) -> Vec<Action> {
        let (number, forget) = (self.glass.next_number(), self.glass.room());
        let (proof, code, challenge) = match spends {
            Spends::Code(number, row) => (Proof::Code(number), row, None),
            Spends::Challenge(text, signer) => (Proof::Signer(signer), None, Some(text)),
        };
        let opening = Opening { number, terms, proof, code, challenge, run, forget, person, reply };
        vec![Action::Glass(Box::new(GlassAction::Open(Box::new(opening))))]
    }

    fn glass_opened(
        &mut self,
        opening: Opening,
        outcome: Result<Box<Entry>, Box<NotOpened>>,
        now: Now,
    ) -> Vec<Action> {
        let Opening { terms, code, challenge, forget, person, reply, .. } = opening;
        if outcome.as_ref().map_or_else(|not_opened| not_opened.is_spent, |_| true) {
            self.glass.put_codes(code.into_iter().collect(), &[]);
            challenge.iter().for_each(|text| self.glass.spend_challenge(text));
        }
        let entry = match outcome {
            Ok(entry) => *entry,
            Err(not_opened) => {
                let NotOpened { refused, entry, is_recorded, .. } = *not_opened;
                let mut actions = refuse_glass(&terms.zone, refused, person, reply);
                if let Some(entry) = entry {
                    if is_recorded && !entry.is_open() {
                        let glass = Box::new(report::glass(&entry, now));
                        actions.push(Action::Record(Box::new(Record::BreakGlassClose { glass })));
                    }
                    self.glass.put(*entry, &forget, now);
                }
                return actions;
            }
        };
        let report = report::glass(&entry, now);
        let message = open_message(&entry, now);
        let zone = entry.zone.clone();
        self.glass.put(entry, &forget, now);
        let mut actions = vec![
            count(GlassCount::Opened(zone.clone())),
            glass(GlassAction::Shout(message)),
            Action::Send(reply, super::json(&report)),
        ];
        if terms.scope == Scope::HostWide {
            actions.push(glass(GlassAction::TryAgain(zone)));
        }
        actions
    }
}

/// What lets one open, and is used up then.
enum Spends {
    /// The code of this number, as it will be.
    Code(u64, Option<CodeRow>),
    /// A challenge, and who signed it.
    Challenge(String, SignerReport),
}

/// An allowance that is open for a zone of another role than this, and the zone.
pub(super) fn of_another_role<'a>(
    allowances: &'a allowances::Book,
    policy: &'a Policy,
    role: &str,
) -> Option<(&'a str, &'a Zone)> {
    allowances.open().find_map(|entry| {
        let mut zones = entry.grants.iter().filter_map(|grant| policy.zone(&grant.zone));
        zones.find(|zone| zone.role.word() != role).map(|zone| (entry.id.as_str(), zone))
    })
}

/// What everybody is told, and again every minute.
pub(super) fn open_message(entry: &Entry, now: Now) -> String {
    let whom = match &entry.tree {
        Some(tree) => format!("`{}`", text::for_terminal(tree.command.as_bytes())),
        None => "everybody".to_owned(),
    };
    let proof = match &entry.proof {
        Proof::Code(number) => format!("code {number}"),
        Proof::Signer(signer) => text::for_terminal(signer.person.as_bytes()),
    };
    format!(
        "BREAK-GLASS OPEN in {} zone {} for {whom} until {}: {} of {} files and {} of {} spent; by \
         {} with {proof}: \"{}\"; `holdfast break-glass close` ends it",
        entry.role,
        entry.zone,
        now.wall_at(entry.until_ns),
        entry.used_files,
        entry.files,
        text::size(entry.used_bytes),
        text::size(entry.bytes),
        name(&entry.opened_by),
        text::for_terminal(entry.reason.as_bytes()),
    )
}

/// Whether what is opened is opened for what was asked.
fn fits(terms: &Terms, run: Option<&RunBody>) -> Result<(), GlassRefused> {
    let message = match (terms.scope, run) {
        (Scope::HostWide, None) | (Scope::Command, Some(_)) => return Ok(()),
        (Scope::HostWide, Some(_)) => "it is for everybody in the zone, and not for a command",
        (Scope::Command, None) => "it is for one command, and none is run",
    };
    let help = "say either `--host-wide` or `-- COMMAND`";
    Err(GlassRefused::new(GlassReason::WrongProcess, message, help))
}

fn wanted(body: &WantedBody) -> Wanted {
    Wanted {
        zone: body.zone.clone(),
        reason: body.reason.clone(),
        length: Duration::from_secs(body.seconds),
        files: body.files,
        bytes: body.bytes,
        scope: if body.host_wide { Scope::HostWide } else { Scope::Command },
    }
}

pub(super) fn glass(action: GlassAction) -> Action {
    Action::Glass(Box::new(action))
}

fn count(count: GlassCount) -> Action {
    glass(GlassAction::Count(count))
}

fn later(reply: Reply, answer: Answer, delay: Duration) -> Action {
    if delay.is_zero() {
        Action::Send(reply, answer)
    } else {
        glass(GlassAction::SendLater(reply, answer, delay))
    }
}

fn answer(refused: GlassRefused) -> Answer {
    let reason = refused.reason.word().to_owned();
    Answer::Refused(RefusedReport { error: refused.message, reason })
}

/// Records, counts, tells and answers a refusal.
pub(super) fn refuse_glass(
    zone: &str,
    refused: GlassRefused,
    person: Person,
    reply: Reply,
) -> Vec<Action> {
    let word = refused.reason.word();
    let first_line = refused.message.lines().next().unwrap_or_default();
    let first_line = text::for_terminal(first_line.as_bytes());
    // It is whatever somebody typed.
    let zone = text::clipped(&text::for_terminal(zone.as_bytes()), MOST_ZONE);
    let news = format!(
        "break-glass: refused ({word}) for zone {zone}, to {}: {first_line}",
        name(&person)
    );
    let record = Record::BreakGlassRefuse {
        zone: Some(zone),
        reason: word,
        error: text::clipped(&refused.message, MOST_ERROR),
        count: 1,
        person: Some(person),
    };
    vec![
        Action::Record(Box::new(record)),
        count(GlassCount::Refused(refused.reason)),
        Action::Log(Level::WARN, news),
        Action::Send(reply, answer(refused)),
    ]
}

#[cfg(test)]
#[path = "glass_tests.rs"]
mod tests;
