//! The kernel against its executable specification: thousands of real ops, every verdict compared.
//!
//! Workers with different users and cgroups do random ops, one at a time, so that their order is
//! known. What each op should cost is worked out here from the state of the tree; only the time of
//! the decision is taken from the kernel's event. `holdfast_policy::decide` then has to give the
//! same verdict for the same reason.

mod allowances;
mod follow;
mod holds;
mod ops;
mod world;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use holdfast_abi::{Op, Per, Who};
use holdfast_policy::Policy;
use holdfast_policy::decide::{Model, Request};
use rustix::io::Errno;

use crate::harness::agent::POLICY;
use crate::harness::worker::Worker;
use crate::harness::{Budget, Ctx, Random, Unit, Zone, check, check_eq, cli, policy};
use crate::runner::Scenario;
use follow::Follower;
use ops::Planned;
use world::World;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("kernel_and_model_agree", agree).traced().shared(),
    Scenario::each("kernel_and_model_agree_about_tenants", agree_about_tenants).traced().shared(),
    Scenario::each("kernel_and_model_agree_about_holds", holds::agree).traced().shared(),
    Scenario::each("kernel_and_model_agree_about_allowances", allowances::agree).traced().shared(),
];

const OPS: usize = 2800;
const UIDS: [u32; 4] = [0, 1000, 1001, 0];

/// One op that was done.
struct Done {
    planned: Planned,
    actor: usize,
    errno: i32,
}

fn budgets(zone: Zone) -> Zone {
    zone.budget(Budget::files(60).per(Per::Unit).window("1s"))
        .budget(
            Budget::files(90).and_bytes(150_000).per(Per::User).who(Who::Operators).window("2s"),
        )
        .budget(Budget::tenants(6).per(Per::Unit).window("2s"))
        .budget(Budget::bytes(60_000).per(Per::User).who(Who::Owners).window("1s"))
        .budget(Budget::files(50).ops(&[Op::Truncate, Op::MoveOut]).window("3s"))
        .budget(Budget::files(250).window("3s"))
}

/// A tenant counts once so much of it went, and the limits of tenants hold for those whom budgets
/// leave out.
fn tenant_budgets(zone: Zone, seed: u64) -> Zone {
    zone.counts_after(["4 files", "3KiB", "7 files"][seed as usize % 3])
        .budget(Budget::tenants(2).per(Per::Unit).who(Who::Operators).window("1s"))
        .budget(Budget::files(40).and_tenants(3).per(Per::User).who(Who::Owners).window("2s"))
        .budget(Budget::files(200).and_tenants(6).who(Who::Operators).window("3s").latch("1s"))
        .budget(Budget::tenants(4).ops(&[Op::Truncate, Op::MoveOut]).window("2s"))
}

/// What the dice start from.
fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_nsec as u64
    })
}

fn agree(ctx: &mut Ctx<'_>) -> Result<()> {
    seeded(ctx, |ctx, seed| agree_on(ctx, seed, budgets))
}

fn agree_about_tenants(ctx: &mut Ctx<'_>) -> Result<()> {
    seeded(ctx, |ctx, seed| agree_on(ctx, seed, |zone| tenant_budgets(zone, seed)))
}

/// Runs a test that throws dice, and says how to have them fall the same way again if it fails.
fn seeded(ctx: &mut Ctx<'_>, test: impl Fn(&mut Ctx<'_>, u64) -> Result<()>) -> Result<()> {
    let seed = seed();
    test(ctx, seed).with_context(|| format!("seed {seed} (set HOLDFAST_TEST_SEED to repeat it)"))
}

fn agree_on(ctx: &mut Ctx<'_>, seed: u64, budgets: impl Fn(Zone) -> Zone) -> Result<()> {
    let mut random = Random::new(seed);
    let root = ctx.base.join("zone");
    let mut world = World::make(&root, &ctx.outside()?, &mut random)?;
    let bell = ctx.base.join("bell");
    std::fs::create_dir(&bell)?;
    let bell_zone = Zone::new(&format!("{}-bell", ctx.zone), &bell);
    let zones =
        [budgets(ctx.new_zone(&root)), bell_zone.observe().budget(Budget::files(1_000_000))];
    ctx.guard(&zones)?;
    let policy = Policy::parse(POLICY, &policy::render(&zones))
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;

    let units: Vec<_> =
        (0..UIDS.len()).map(|n| Unit::new(&format!("{}-{n}", ctx.zone))).collect::<Result<_>>()?;
    let mut workers: Vec<_> = units
        .iter()
        .zip(UIDS)
        .map(|(unit, uid)| Worker::start(unit, uid))
        .collect::<Result<_>>()?;
    let mut follower = Follower::start(&ctx.base.join("events"))?;
    follower.ring(&bell)?;

    let mut done = Vec::with_capacity(OPS);
    let mut denied_in_a_row = 0;
    for _ in 0..OPS {
        let actor = random.below(UIDS.len() as u64) as usize;
        // What an actor makes it can remove, whatever it has spent.
        if random.below(4) == 0 {
            world.grow(&mut workers[actor], (actor, UIDS[actor]), &mut random)?;
        }
        let planned = ops::plan(&world, &mut random);
        let errno = workers[actor].step(&planned.step)?;
        if errno == 0 {
            world.apply(&planned);
        } else {
            let allowed = [Errno::PERM.raw_os_error(), Errno::NOTEMPTY.raw_os_error()];
            check!(allowed.contains(&errno), "{:?} failed with error {errno}", planned.step);
        }
        // On a fast machine nearly all would be denied: give the windows time to drain.
        if errno == Errno::PERM.raw_os_error() {
            denied_in_a_row += 1;
        } else if errno == 0 && !planned.is_free() {
            denied_in_a_row = 0;
        }
        if denied_in_a_row == 20 {
            std::thread::sleep(Duration::from_millis(400));
            denied_in_a_row = 0;
        }
        done.push(Done { planned, actor, errno });
    }
    follower.ring(&bell)?;
    let events = follower.of_zone(&ctx.zone)?;
    let units: Vec<_> = units.iter().map(Unit::id).collect::<Result<_>>()?;
    let summary = compare(policy, &done, &events, &units)?;
    ctx.lab.note(format!("seed {seed}: {summary}"));
    world.check()?;
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_events_lost_total", &[]), 0.0, "events lost");
    Ok(())
}

fn compare(
    policy: Policy,
    done: &[Done],
    events: &[serde_json::Value],
    units: &[u64],
) -> Result<String> {
    let mut model = Model::new(policy);
    let mut events = events.iter().peekable();
    let (mut compared, mut denied, mut fresh) = (0_u32, 0_u32, 0_u32);
    let mut disagreements = Vec::new();
    for (n, one) in done.iter().enumerate() {
        let expected = &one.planned;
        let event = expected.event(&mut events, units[one.actor], one.errno)?;
        if expected.is_free() {
            let allowed = event.is_none_or(|event| cli::text(event, "verdict") == "allow");
            check!(allowed && one.errno == 0, "free op {expected:?}: {}, {event:?}", one.errno);
            continue;
        }
        let Some(event) = event else { continue };
        let uid = UIDS[one.actor];
        let request = Request {
            zone: 0,
            op: expected.op,
            who: expected.who(uid),
            unit: units[one.actor],
            user: uid,
            cost: expected.cost,
            now: cli::number(event, "time_ns")?,
            is_strict: false,
            can_wait: true,
            held_since: None,
            mark: None,
            made_at: expected.made_at(one.actor),
            inside: &[],
        };
        let decision = model.decide(&request);
        let (verdict, reason) = (cli::text(event, "verdict"), cli::text(event, "reason"));
        if (verdict, reason) != (decision.verdict.word(), decision.reason.word()) {
            disagreements.push(format!(
                "op {n} {request:?}: kernel {verdict} for {reason}, model {decision:?}"
            ));
        }
        check_eq!(
            one.errno == Errno::PERM.raw_os_error(),
            verdict == "deny",
            "whether op {n} was refused ({expected:?}, {event})"
        );
        if one.errno != 0 && verdict == "allow" {
            model.give_back(&decision.charge);
        }
        compared += 1;
        denied += u32::from(verdict == "deny");
        fresh += u32::from(reason == "fresh");
    }
    check!(
        disagreements.is_empty(),
        "{} disagreements in {compared} ops; the first: {}",
        disagreements.len(),
        disagreements[0]
    );
    check!(compared >= 2000, "only {compared} ops were compared");
    check!(
        denied * 20 > compared && denied < compared - compared / 20,
        "{denied} of {compared} denied: such a run shows little"
    );
    check!(fresh >= 10, "only {fresh} ops were about what their actor had made");
    check_eq!(events.count(), 0, "events without an op");
    Ok(format!("{compared} ops compared, {denied} of them denied, {fresh} fresh, 0 disagreements"))
}

/// The inode number of a directory, as both stat(2) and the kernel programs have it on ext4 and
/// tmpfs.
fn inode_of(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata(dir)?.ino())
}
