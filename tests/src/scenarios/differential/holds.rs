//! The kernel against its executable specification where ops are held, and people decide about
//! them.
//!
//! As in the other test, but a worker may be paused in the middle of its op. Then one of the next
//! things that happen is a decision about it: an amount is released, its budgets start anew, or it
//! is killed and another takes its place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use holdfast_abi::{HoldKey, Per, Who};
use holdfast_policy::Policy;
use holdfast_policy::decide::{Model, Request};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::follow::Follower;
use super::ops::{self, Planned};
use super::world::World;
use super::{UIDS, seeded};
use crate::harness::agent::POLICY;
use crate::harness::hold;
use crate::harness::wait::PATIENCE;
use crate::harness::worker::{Step, Worker};
use crate::harness::{Budget, Ctx, Random, Unit, Zone, check, check_eq, cli, policy, proc, until};

const TURNS: usize = 1200;

/// Somebody who spends. Units and users are their own, so that each is a hold of its own.
struct Actor {
    unit: Unit,
    worker: Worker,
    /// What its worker is held before.
    waiting: Option<Planned>,
}

/// What happened, in that order.
enum Turn {
    /// An op was asked for, and was held or ended with this error number (0 for none).
    Asked { actor: usize, planned: Planned, errno: Option<i32> },
    /// So many files were released to an actor, to be spent until then.
    Released { actor: usize, files: u64, until: u64, now: u64 },
    /// An actor's budgets started anew.
    Reset { actor: usize, now: u64 },
    /// A held op went on, and ended like that.
    WentOn { actor: usize, planned: Planned, errno: i32 },
}

/// For each caller exactly one budget applies: once that is reset, any single op is within it.
fn budgets(zone: Zone) -> Zone {
    let operators = Budget::files(40).and_bytes(60_000).and_tenants(5);
    let owners = Budget::files(30).and_bytes(40_000);
    zone.budget(operators.per(Per::Unit).who(Who::Operators).window("2s"))
        .budget(owners.per(Per::User).who(Who::Owners).window("2s"))
}

pub(super) fn agree(ctx: &mut Ctx<'_>) -> Result<()> {
    seeded(ctx, agree_on)
}

fn agree_on(ctx: &mut Ctx<'_>, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let root = ctx.base.join("zone");
    let mut world = World::make(&root, &ctx.outside()?, &mut random)?;
    let bell = ctx.base.join("bell");
    std::fs::create_dir(&bell)?;
    let bell_zone = Zone::new(&format!("{}-bell", ctx.zone), &bell).observe();
    let zones = [budgets(ctx.new_zone(&root).hold()), bell_zone.budget(Budget::files(1_000_000))];
    ctx.guard(&zones)?;
    let policy =
        Policy::parse(POLICY, &policy::render(&zones)).map_err(|problems| anyhow!("{problems}"))?;
    let mut actors = Vec::new();
    for (n, uid) in UIDS.into_iter().enumerate() {
        let unit = ctx.unit(&n.to_string())?;
        let worker = Worker::start(&unit, uid)?;
        actors.push(Actor { unit, worker, waiting: None });
    }
    let mut follower = Follower::start(&ctx.base.join("events"))?;
    follower.ring(&bell)?;
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let actor = random.below(UIDS.len() as u64) as usize;
        match actors[actor].waiting.take() {
            Some(planned) => {
                decide(
                    ctx,
                    &mut actors[actor],
                    actor,
                    planned,
                    &mut world,
                    &mut random,
                    &mut turns,
                )?;
            }
            None => {
                let planned = plan(&world, &actors, &mut random);
                turns.push(ask(&mut actors[actor], actor, planned, &mut world)?);
            }
        }
    }
    follower.ring(&bell)?;
    let events = follower.of_zone(&ctx.zone)?;
    let units: Vec<_> = actors.iter().map(|actor| actor.unit.id()).collect::<Result<_>>()?;
    let summary = compare(policy, &turns, &events, &units)?;
    let held = turns.iter().filter(|turn| matches!(turn, Turn::Asked { errno: None, .. })).count();
    ctx.lab.note(format!("seed {seed}: {summary}"));
    world.check()?;
    ctx.counted("hold", held as u64)?;
    ctx.nothing_denied()?;
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_events_lost_total", &[]), 0.0, "events lost");
    Ok(())
}

/// An op that has nothing to do with those that are held: what they cost must not change meanwhile.
fn plan(world: &World, actors: &[Actor], random: &mut Random) -> Planned {
    loop {
        let planned = ops::plan(world, random);
        let mine = paths(&planned.step);
        let is_free = |actor: &Actor| {
            let theirs = actor.waiting.as_ref().map(|planned| paths(&planned.step));
            theirs.unwrap_or_default().iter().all(|path| !mine.contains(path))
        };
        if matches!(planned.step, Step::Rmdir(_)) || actors.iter().all(is_free) {
            return planned;
        }
    }
}

fn paths(step: &Step) -> Vec<&Path> {
    match step {
        Step::Rename(from, to) => vec![from, to],
        Step::Unlink(path)
        | Step::Rmdir(path)
        | Step::Truncate(path, _)
        | Step::TruncatePath(path, _)
        | Step::Empty(path)
        | Step::Make(path, _) => vec![path],
    }
}

/// Has an op done, as far as that goes.
fn ask(actor: &mut Actor, n: usize, planned: Planned, world: &mut World) -> Result<Turn> {
    actor.worker.begin(&planned.step)?;
    let errno = until("the op is done or held", PATIENCE, || {
        if let Some(answer) = actor.worker.answer_within(Duration::from_millis(20))? {
            return Ok(Some(Some(answer.errno)));
        }
        Ok((proc::state(actor.worker.pid())? == Some('T')).then_some(None))
    })?;
    match errno {
        Some(errno) => done(&planned, errno, world)?,
        None => actor.waiting = Some(planned.clone()),
    }
    Ok(Turn::Asked { actor: n, planned, errno })
}

fn done(planned: &Planned, errno: i32, world: &mut World) -> Result<()> {
    let known = errno == 0 || errno == Errno::NOTEMPTY.raw_os_error();
    check!(known, "{:?} failed with error {errno}", planned.step);
    if errno == 0 {
        world.apply(planned);
    }
    Ok(())
}

/// Decides about a held op.
fn decide(
    ctx: &Ctx<'_>,
    actor: &mut Actor,
    n: usize,
    planned: Planned,
    world: &mut World,
    random: &mut Random,
    turns: &mut Vec<Turn>,
) -> Result<()> {
    let held = ctx.held(actor.worker.pid())?;
    let id = held.id.to_string();
    let dice = random.below(10);
    if dice == 0 {
        held.kill()?;
        actor.worker = Worker::start(&actor.unit, UIDS[n])?;
        return Ok(());
    }
    let now = clock_gettime(ClockId::Boottime);
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    if dice < 3 {
        held.reset()?;
        turns.push(Turn::Reset { actor: n, now });
    } else {
        let files = 1 + random.below(12);
        let outcome = hold::run(["release", &id, "--files", &files.to_string(), "--json"])?.ok()?;
        let value: Value = serde_json::from_str(&outcome.stdout).context("not JSON")?;
        let until = cli::number(&value["until"], "time_ns")?;
        turns.push(Turn::Released { actor: n, files, until, now });
    }
    let errno = actor.worker.answer()?.errno;
    done(&planned, errno, world)?;
    turns.push(Turn::WentOn { actor: n, planned, errno });
    Ok(())
}

/// The specification, and what it was asked so far.
struct Judge<'a> {
    model: Model,
    units: &'a [u64],
    /// Since when each actor is held.
    since: Vec<Option<u64>>,
    compared: u32,
    held: u32,
    disagreements: Vec<String>,
}

impl Judge<'_> {
    fn key(&self, actor: usize) -> HoldKey {
        HoldKey { unit: self.units[actor], zone: 0, user: UIDS[actor] }
    }

    /// Compares one verdict; whether the op was held.
    fn judge(
        &mut self,
        n: usize,
        actor: usize,
        planned: &Planned,
        errno: i32,
        event: &Value,
    ) -> Result<bool> {
        let request = Request {
            zone: 0,
            op: planned.op,
            who: planned.who(UIDS[actor]),
            unit: self.units[actor],
            user: UIDS[actor],
            cost: planned.cost,
            now: cli::number(event, "time_ns")?,
            is_strict: false,
            can_wait: true,
            held_since: self.since[actor],
            mark: None,
            made_at: None,
            inside: &[],
        };
        let decision = self.model.decide(&request);
        let (verdict, reason) = (cli::text(event, "verdict"), cli::text(event, "reason"));
        if (verdict, reason) != (decision.verdict.word(), decision.reason.word()) {
            self.disagreements.push(format!(
                "turn {n} {request:?}: kernel {verdict} for {reason}, model {decision:?}"
            ));
        }
        let held = verdict == "hold";
        self.since[actor] = held.then_some(request.now);
        if errno != 0 && verdict == "allow" {
            self.model.give_back(&decision.charge);
        }
        self.compared += 1;
        self.held += u32::from(held);
        Ok(held)
    }
}

fn compare(policy: Policy, turns: &[Turn], events: &[Value], units: &[u64]) -> Result<String> {
    let mut judge = Judge {
        model: Model::new(policy),
        units,
        since: vec![None; units.len()],
        compared: 0,
        held: 0,
        disagreements: Vec::new(),
    };
    let mut events = events.iter().peekable();
    let mut decisions = 0;
    for (n, turn) in turns.iter().enumerate() {
        match turn {
            Turn::Asked { actor, planned, errno } => {
                // Another worker may have taken the place of one that was killed.
                judge.since[*actor] = None;
                let event = planned.event(&mut events, units[*actor], errno.unwrap_or(0))?;
                if planned.is_free() {
                    check_eq!(*errno, Some(0), "error of the free op {planned:?}");
                    continue;
                }
                let Some(event) = event else { continue };
                let held = judge.judge(n, *actor, planned, errno.unwrap_or(0), event)?;
                check_eq!(
                    held,
                    errno.is_none(),
                    "whether turn {n} was held ({planned:?}, {event})"
                );
            }
            Turn::Released { actor, files, until, now } => {
                decisions += 1;
                judge.model.release(&judge.key(*actor), *files, *until, *now);
            }
            Turn::Reset { actor, now } => {
                decisions += 1;
                judge.model.reset(&judge.key(*actor), *now);
            }
            Turn::WentOn { actor, planned, errno } => {
                let Some(event) = planned.event(&mut events, units[*actor], *errno)? else {
                    continue;
                };
                let held = judge.judge(n, *actor, planned, *errno, event)?;
                check!(!held, "turn {n} should have gone on: {event}");
            }
        }
    }
    let Judge { compared, held, disagreements, .. } = judge;
    check!(
        disagreements.is_empty(),
        "{} disagreements in {compared} verdicts; the first: {}",
        disagreements.len(),
        disagreements[0]
    );
    check_eq!(events.count(), 0, "events without an op");
    check!(held >= 30, "only {held} of {compared} ops were held: such a run shows little");
    Ok(format!(
        "{compared} verdicts compared, {held} holds, {decisions} decisions, 0 disagreements"
    ))
}
