//! The kernel against its executable specification where allowances are open: of process trees,
//! units and users, several at once, with grants of random places, ops and amounts. Some end in the
//! middle, by revocation or by time.
//!
//! In each round a break-glass is open for everybody in the zone, too, until it is spent down or
//! closed.
//!
//! The documents are real: canonical, signed by two people and submitted to the agent. In the end
//! what it says was spent of each grant is compared as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use holdfast_abi::{GrantAccount, Op, OpMask, name_id};
use holdfast_policy::Policy;
use holdfast_policy::decide::{Inside, Model, OpenAllowance, Request};
use rustix::io::Errno;
use serde_json::Value;

use super::follow::Follower;
use super::ops::{self, Planned};
use super::world::World;
use super::{budgets, inode_of, seeded};
use crate::harness::agent::POLICY;
use crate::harness::allowance::{Doc, Draft, Grant};
use crate::harness::break_glass::{self, Glass};
use crate::harness::signing::Signing;
use crate::harness::tool::Running;
use crate::harness::worker::Worker;
use crate::harness::{Budget, Ctx, Random, Unit, Zone, check, check_eq, cli, clock, policy, until};

const ROUNDS: usize = 6;
const OPS: usize = 600;
/// When one of the round's allowances is revoked.
const REVOKED_AT: usize = 300;
/// How long each round's second allowance lasts, in seconds.
const SHORT: i64 = 8;
/// When that is over: the ops before it wait.
const ENDED_AT: usize = 350;
/// When the round's break-glass is closed.
const CLOSED_AT: usize = 380;
/// Most files of a break-glass.
const GLASS_FILES: u64 = 60;
const OPS_GRANTED: [Op; 4] = [Op::Remove, Op::Replace, Op::Truncate, Op::MoveOut];

/// Who spends, and in which of a round's two process trees.
const ACTORS: [(u32, Option<usize>); 7] = [
    (0, None),
    (1000, Some(0)),
    (0, Some(0)),
    (1001, Some(1)),
    (1001, None),
    (0, None),
    (1000, None),
];
/// Whose unit an allowance is bound to, and whose user.
const OF_UNIT: usize = 5;
const OF_USER: u32 = 1001;

/// What happened, in that order.
enum Turn {
    Opened(OpenAllowance),
    Closed(u64),
    /// An op was done.
    Done(Done),
}

struct Done {
    planned: Planned,
    actor: usize,
    mark: Option<u64>,
    inside: Vec<Inside>,
    errno: i32,
}

/// One allowance of a round, with what its grants name.
struct Open {
    doc: Doc,
    serial: u64,
    /// When it ends, by the wall clock.
    not_after: i64,
    /// Inode numbers, for each grant.
    named: Vec<Vec<u64>>,
    tree: Option<Running>,
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
    let bell_zone = Zone::new(&format!("{}-bell", ctx.zone), &bell);
    let zones =
        [budgets(ctx.new_zone(&root)), bell_zone.observe().budget(Budget::files(1_000_000))];
    let text = policy::render(&zones) + &Signing::usual()?.render()? + &break_glass::table();
    ctx.guard_text(&zones, &text)?;
    let codes = break_glass::codes(ROUNDS)?;
    let policy =
        Policy::parse(POLICY, &policy::render(&zones)).map_err(|problems| anyhow!("{problems}"))?;
    let units: Vec<_> =
        (0..ACTORS.len()).map(|n| ctx.unit(&n.to_string())).collect::<Result<_>>()?;
    let mut follower = Follower::start(&ctx.base.join("events"))?;
    follower.ring(&bell)?;
    let mut turns = Vec::new();
    let mut spent = Vec::new();
    let mut glass = Vec::new();
    for (round, code) in codes.iter().enumerate() {
        let log = (&mut turns, &mut spent, &mut glass);
        play(ctx, (round, code), &mut world, &units, &mut random, log)?;
    }
    follower.ring(&bell)?;
    let events = follower.of_zone(&ctx.zone)?;
    let ids: Vec<_> = units.iter().map(Unit::id).collect::<Result<_>>()?;
    let summary = compare(policy, &turns, &events, &ids, (&spent, &glass))?;
    ctx.lab.note(format!("seed {seed}: {summary}"));
    world.check()?;
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_events_lost_total", &[]), 0.0, "events lost");
    Ok(())
}

/// One round: four allowances and a break-glass, workers in and out of their trees, and ops.
fn play(
    ctx: &Ctx<'_>,
    (round, code): (usize, &str),
    world: &mut World,
    units: &[Unit],
    random: &mut Random,
    (turns, spent, glass): (&mut Vec<Turn>, &mut Vec<Value>, &mut Vec<Value>),
) -> Result<()> {
    let (mut workers, mut open) = open_all(ctx, round, world, units, random, turns)?;
    let opened = open_glass(ctx, code, random, turns)?;
    let revoked = random.below(open.len() as u64) as usize;
    let mut denied_in_a_row = 0;
    for n in 0..OPS {
        if n == REVOKED_AT {
            open[revoked].doc.revoke()?;
            turns.push(Turn::Closed(open[revoked].serial));
        }
        if n == ENDED_AT {
            let over = || Ok((clock::now() > open[1].not_after).then_some(()));
            until("the second allowance is over", Duration::from_secs(60), over)?;
        }
        if n == CLOSED_AT {
            break_glass::close()?;
            turns.push(Turn::Closed(opened));
            glass.push(break_glass::closes("closed")?);
        }
        let actor = random.below(ACTORS.len() as u64) as usize;
        let planned = ops::plan(world, random);
        let inside = open.iter().map(|one| one.inside(&planned, world)).collect::<Result<_>>()?;
        let mark = ACTORS[actor].1.map(|tree| open[tree].serial);
        let errno = workers[actor].step(&planned.step)?;
        if errno == 0 {
            world.apply(&planned);
        } else {
            let allowed = [Errno::PERM.raw_os_error(), Errno::NOTEMPTY.raw_os_error()];
            check!(allowed.contains(&errno), "{:?} failed with error {errno}", planned.step);
        }
        denied_in_a_row = if errno == Errno::PERM.raw_os_error() { denied_in_a_row + 1 } else { 0 };
        if denied_in_a_row == 20 {
            std::thread::sleep(Duration::from_millis(150));
            denied_in_a_row = 0;
        }
        turns.push(Turn::Done(Done { planned, actor, mark, inside, errno }));
    }
    // The trees end with their workers.
    drop(workers);
    for (n, one) in open.iter_mut().enumerate() {
        match one.tree.take() {
            Some(tree) => drop(tree.wait()?),
            None if n == revoked => {}
            None => drop(one.doc.revoke()?),
        }
        turns.push(Turn::Closed(one.serial));
        spent.push(one.doc.becomes("closed", None)?);
    }
    Ok(())
}

fn open_all(
    ctx: &Ctx<'_>,
    round: usize,
    world: &World,
    units: &[Unit],
    random: &mut Random,
    turns: &mut Vec<Turn>,
) -> Result<(Vec<Worker>, Vec<Open>)> {
    let pipes = ctx.papers()?;
    let pipe = |n: usize, way: &str| pipes.join(format!("{round}-{n}.{way}"));
    let mut workers = Vec::new();
    for (n, (uid, tree)) in ACTORS.into_iter().enumerate() {
        workers.push(match tree {
            None => Worker::start(&units[n], uid)?,
            Some(_) => Worker::at_pipes(&pipe(n, "in"), &pipe(n, "out"))?,
        });
    }
    let mut open = Vec::new();
    for number in 0..4 {
        let name = format!("{round}-{number}");
        let (mut draft, named) = draw(ctx, &name, world, random)?;
        match number {
            1 => draft.not_after = clock::now() + SHORT,
            2 => draft.unit = Some(units[OF_UNIT].path()),
            3 => draft.user = Some(OF_USER.to_string()),
            _ => {}
        }
        let doc = draft.signed(ctx)?;
        let tree = if number < 2 {
            Some(doc.run(tree(&pipes, round, number, units)?).start()?)
        } else {
            doc.submit()?.ok()?;
            None
        };
        let report = match doc.becomes("open", None) {
            Ok(report) => report,
            Err(error) => {
                let said = tree.map(Running::wait).transpose()?.map(|outcome| outcome.said());
                return Err(error).context(said.unwrap_or_default());
            }
        };
        let serial = cli::number(&report, "serial")?;
        turns.push(Turn::Opened(OpenAllowance {
            unit: draft.unit.as_ref().map(|_| units[OF_UNIT].id()).transpose()?,
            user: draft.user.as_ref().map(|_| OF_USER),
            tree: tree.is_some(),
            ..OpenAllowance::new(serial, cli::number(&report["until"], "time_ns")?, grants(&draft))
        }));
        open.push(Open { doc, serial, not_after: draft.not_after, named, tree });
    }
    Ok((workers, open))
}

/// A break-glass for everybody in the zone; its serial.
fn open_glass(
    ctx: &Ctx<'_>,
    code: &str,
    random: &mut Random,
    turns: &mut Vec<Turn>,
) -> Result<u64> {
    let files = 20 + random.below(GLASS_FILES - 20);
    Glass::new(&ctx.zone).files(files).host_wide(code).run()?.ok()?;
    let report = break_glass::last()?;
    let serial = cli::number(&report, "serial")?;
    let bytes = cli::number(&report["bytes"], "limit")?;
    let any = GrantAccount::ANY_TENANTS;
    let grant = GrantAccount::new(name_id(&ctx.zone), Op::KNOWN_BITS, files, bytes, any);
    let until = cli::number(&report["until"], "time_ns")?;
    turns.push(Turn::Opened(OpenAllowance::break_glass(serial, until, grant, false)));
    Ok(serial)
}

/// A command that starts a process tree's workers.
fn tree(pipes: &Path, round: usize, tree: usize, units: &[Unit]) -> Result<Vec<String>> {
    let own = std::env::current_exe()?.display().to_string();
    let mut script = format!("cd '{}'\n", pipes.display());
    for (n, (uid, of)) in ACTORS.into_iter().enumerate() {
        if of == Some(tree) {
            let procs = units[n].procs();
            script += &format!(
                "'{own}' helper enter '{}' {uid} -- '{own}' helper worker \
                <{round}-{n}.in >{round}-{n}.out &\n",
                procs.display()
            );
        }
    }
    Ok(["bash", "-c", &(script + "wait\n")].map(str::to_owned).to_vec())
}

/// Throws dice for a document; with the inode numbers that each of its grants names.
fn draw(
    ctx: &Ctx<'_>,
    name: &str,
    world: &World,
    random: &mut Random,
) -> Result<(Draft, Vec<Vec<u64>>)> {
    let (mut grants, mut named) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(4) {
        let mut places: Vec<PathBuf> = Vec::new();
        for _ in 0..1 + random.below(6) {
            places.push(match random.below(10) {
                0 => ctx.base.join("zone"),
                1..7 => world.tenants[random.below(world.tenants.len() as u64) as usize].0.clone(),
                _ => world.any_file(random).0,
            });
        }
        places.sort_unstable();
        places.dedup();
        let chosen = 1 + random.below(15);
        let is_chosen = |(n, _): &(usize, &Op)| chosen & (1 << n) != 0;
        let ops = OPS_GRANTED.iter().enumerate().filter(is_chosen).map(|(_, op)| *op).collect();
        let paths: Vec<_> = places.iter().map(PathBuf::as_path).collect();
        grants.push(Grant {
            ops,
            bytes: [0, 5_000, 40_000, 1 << 40][random.below(4) as usize],
            tenants: random.below(7),
            ..Grant::removals(&ctx.zone, &paths, 1 + random.below(50))
        });
        named.push(places.iter().map(|path| inode_of(path)).collect::<Result<_>>()?);
    }
    Ok((Draft::new(ctx, name, grants)?, named))
}

fn grants(draft: &Draft) -> Vec<GrantAccount> {
    let account = |grant: &Grant| {
        let ops = grant.ops.iter().fold(0, |ops: OpMask, op| ops | op.bit());
        GrantAccount::new(name_id(&grant.zone), ops, grant.files, grant.bytes, grant.tenants)
    };
    draft.grants.iter().map(account).collect()
}

impl Open {
    /// Which of its grants name the place of an op: the file itself, its tenant, or the zone's
    /// root.
    fn inside(&self, planned: &Planned, world: &World) -> Result<Inside> {
        let path = planned.target();
        let file = world.files.get(path).map(|known| known.inode);
        let root = world.tenants[0].0.parent().context("a tenant has a parent")?;
        let tenant = world.tenants.iter().find(|(dir, _)| path.starts_with(dir));
        let way = [file, tenant.map(|(_, inode)| *inode), Some(inode_of(root)?)];
        let is_named = |inodes: &Vec<u64>| way.iter().flatten().any(|ino| inodes.contains(ino));
        let bits = self.named.iter().enumerate().filter(|(_, inodes)| is_named(inodes));
        Ok(Inside { serial: self.serial, grants: bits.fold(0, |mask, (n, _)| mask | 1 << n) })
    }
}

fn compare(
    policy: Policy,
    turns: &[Turn],
    events: &[Value],
    units: &[u64],
    (spent, glass): (&[Value], &[Value]),
) -> Result<String> {
    let mut model = Model::new(policy);
    let mut closed = Vec::new();
    let mut events = events.iter().peekable();
    let (mut compared, mut denied, mut covered, mut ended) = (0_u32, 0_u32, 0_u32, 0_u32);
    let mut by_glass = 0_u32;
    let mut disagreements = Vec::new();
    for (n, turn) in turns.iter().enumerate() {
        let done = match turn {
            Turn::Opened(allowance) => {
                model.open(allowance.clone());
                continue;
            }
            Turn::Closed(serial) => {
                closed.extend(model.close(*serial));
                continue;
            }
            Turn::Done(done) => done,
        };
        let Done { planned, actor, mark, inside, errno } = done;
        let event = planned.event(&mut events, units[*actor], *errno)?;
        if planned.is_free() {
            check_eq!(*errno, 0, "error of the free op {planned:?}");
            continue;
        }
        let Some(event) = event else { continue };
        let uid = ACTORS[*actor].0;
        let now = cli::number(event, "time_ns")?;
        let request = Request {
            zone: 0,
            op: planned.op,
            who: planned.who(uid),
            unit: units[*actor],
            user: uid,
            cost: planned.cost,
            now,
            is_strict: false,
            can_wait: true,
            held_since: None,
            mark: *mark,
            made_at: None,
            inside,
        };
        let own = model.allowances.iter().find(|one| Some(one.serial) == *mark);
        ended += u32::from(own.is_some_and(|own| own.until_ns <= now));
        let decision = model.decide(&request);
        let (verdict, reason) = (cli::text(event, "verdict"), cli::text(event, "reason"));
        if (verdict, reason) != (decision.verdict.word(), decision.reason.word()) {
            disagreements.push(format!(
                "op {n} {request:?}: kernel {verdict} for {reason}, model {decision:?}"
            ));
        }
        check_eq!(
            *errno == Errno::PERM.raw_os_error(),
            verdict == "deny",
            "whether op {n} was refused ({planned:?}, {event})"
        );
        if *errno != 0 && verdict == "allow" {
            model.give_back(&decision.charge);
        }
        compared += 1;
        denied += u32::from(verdict == "deny");
        covered += u32::from(reason == "allowance");
        by_glass += u32::from(reason == "break_glass");
    }
    check!(
        disagreements.is_empty(),
        "{} disagreements in {compared} ops; the first: {}",
        disagreements.len(),
        disagreements[0]
    );
    check_eq!(events.count(), 0, "events without an op");
    let grants = same_spent(&closed, spent)?;
    same_spent_of_glass(&closed, glass)?;
    check!(
        covered >= 150 && by_glass >= 60 && denied >= 100 && ended >= 10,
        "{compared} compared, {covered} covered, {by_glass} by a break-glass, {denied} denied, \
         {ended} after the end of the tree's allowance: such a run shows little"
    );
    Ok(format!(
        "{compared} verdicts compared, {covered} covered by one of {} allowances \
         with {grants} grants, {by_glass} by one of {} break-glasses, {denied} denied, \
         {ended} after the tree's allowance had ended, 0 disagreements",
        spent.len(),
        glass.len()
    ))
}

/// Insists that what the agent says was spent is what the specification says; how many grants were
/// compared.
fn same_spent(closed: &[OpenAllowance], spent: &[Value]) -> Result<usize> {
    let mut compared = 0;
    for report in spent {
        let serial = cli::number(report, "serial")?;
        let model =
            closed.iter().find(|one| one.serial == serial).context("it was never opened")?;
        for (index, grant) in model.grants.iter().enumerate() {
            let said = |key: &str| cli::number(&report["grants"][index][key], "spent");
            check_eq!(
                (said("files")?, said("bytes")?, said("tenants")?),
                (grant.used_files, grant.used_bytes, grant.used_tenants),
                "files, bytes and tenants spent of grant {index} of {report}"
            );
            compared += 1;
        }
    }
    Ok(compared)
}

/// The same for each break-glass, op by op.
fn same_spent_of_glass(closed: &[OpenAllowance], glass: &[Value]) -> Result<()> {
    for report in glass {
        let serial = cli::number(report, "serial")?;
        let model =
            closed.iter().find(|one| one.serial == serial).context("it was never opened")?;
        let grant = &model.grants[0];
        let said = |key: &str| cli::number(&report[key], "spent");
        let used = (grant.used_files, grant.used_bytes);
        check_eq!((said("files")?, said("bytes")?), used, "files and bytes spent of {report}");
        for (op, count) in Op::ALL.iter().zip(grant.ops_by_kind) {
            let said = report["ops"][op.word()].as_u64().unwrap_or(0);
            check_eq!(said, count, "{} in {report}", op.word());
        }
    }
    Ok(())
}
