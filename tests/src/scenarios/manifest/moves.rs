//! The kernel programs remember where a directory is. Directories are moved while others delete in
//! them, and nothing is charged or recorded where it was not.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use holdfast_abi::Op;
use serde_json::Value;

use super::{document, manifest};
use crate::harness::helper::files_below;
use crate::harness::race::{BATCH, BELOW, dir_in, now, place_of};
use crate::harness::tool::Running;
use crate::harness::{Budget, Ctx, Random, Tool, Zone, check, check_eq};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::each("racing_moves_charge_the_right_tenant", race).shared()];

const DIRS: u64 = 12;
const DELETERS: usize = 5;
const MOVERS: usize = 3;
/// Where a directory can be: zone, if any, and tenant; without one, each directory is a tenant.
const PLACES: [(Option<usize>, &str); 5] =
    [(Some(0), "one"), (Some(0), "two"), (Some(0), ""), (Some(1), "three"), (None, "")];

/// A file by the process that made it and its number there.
type Name = (u64, u64);
/// Where a file was: the place, by its number, and the directory.
type Where = (usize, u64);

/// What the processes need to know of each other.
struct Ground {
    roots: [PathBuf; 3],
    places: Vec<PathBuf>,
    /// Opened where they were first, so that they can be found wherever they are.
    dirs: Vec<File>,
    over: PathBuf,
    logs: PathBuf,
}

impl Ground {
    fn make(ctx: &Ctx<'_>) -> Result<Self> {
        let roots = ["zone-1", "zone-2", "outside"].map(|name| ctx.base.join(name));
        let place = |(zone, tenant): (Option<usize>, &str)| roots[zone.unwrap_or(2)].join(tenant);
        let places: Vec<_> = PLACES.map(place).to_vec();
        let logs = ctx.base.join("logs");
        fs::create_dir_all(&logs)?;
        let dirs = (0..DIRS).map(|dir| {
            let at = dir_in(&places[dir as usize % places.len()], dir);
            BELOW.iter().try_for_each(|below| fs::create_dir_all(at.join(below)))?;
            Ok(File::open(at)?)
        });
        let dirs = dirs.collect::<Result<_>>()?;
        Ok(Self { dirs, over: ctx.base.join("over"), logs, places, roots })
    }

    fn log(&self, process: u64) -> PathBuf {
        self.logs.join(process.to_string())
    }

    /// Starts a process in one of the slots: deleters, then movers.
    fn start(&self, slot: usize, process: u64) -> Result<Running> {
        let tool = Tool::new(std::env::current_exe()?).arg("helper");
        let tool = tool.arg(if slot < DELETERS { "race-delete" } else { "race-move" });
        let tool = tool.args(["--number", &process.to_string(), "--log"]).arg(self.log(process));
        let tool = tool.arg("--over").arg(&self.over);
        if slot < DELETERS {
            let own = std::process::id();
            let opened = |dir: &File| format!("/proc/{own}/fd/{}", dir.as_raw_fd());
            return tool.args(self.dirs.iter().map(opened)).start();
        }
        let mine = (0..DIRS).filter(|dir| *dir as usize % MOVERS == slot - DELETERS);
        let mine: Vec<_> = mine.map(|dir| dir.to_string()).collect();
        tool.args(["--dirs", &mine.join(",")]).args(&self.places).start()
    }
}

/// What was disturbed during a race.
#[derive(Debug, Default)]
struct Disturbed {
    policies: u64,
    caches: u64,
    killed: u64,
}

fn race(ctx: &mut Ctx<'_>) -> Result<()> {
    let seconds = ctx.usual_or_nightly(20, 600);
    let ground = Ground::make(ctx)?;
    let names = [ctx.zone.clone(), format!("{}-2", ctx.zone)];
    // Nobody knows what a directory that leaves costs: no budget counts it.
    let policy = |files| {
        let budget = || Budget::files(files).ops(&[Op::Remove, Op::MoveOut]);
        [0, 1].map(|n| Zone::new(&names[n], &ground.roots[n]).budget(budget()))
    };
    ctx.guard(&policy(1_000_000_000))?;
    let mut processes = 0;
    let mut next = || {
        processes += 1;
        processes
    };
    let mut running = Vec::new();
    for slot in 0..DELETERS + MOVERS {
        let process = next();
        running.push((process, ground.start(slot, process)?));
    }
    let (mut random, mut disturbed) = (Random::new(seconds), Disturbed::default());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(100 + random.below(300)));
        match random.below(3) {
            0 => {
                disturbed.policies += 1;
                ctx.guard(&policy(1_000_000_000 + disturbed.policies))?;
            }
            1 => {
                disturbed.caches += 1;
                fs::write("/proc/sys/vm/drop_caches", "2")?;
            }
            _ => {
                disturbed.killed += 1;
                let slot = random.below(running.len() as u64) as usize;
                let process = next();
                let (old, killed) = running.swap_remove(slot);
                drop(killed);
                note_killed(&ground.log(old))?;
                running.push((process, ground.start(slot, process)?));
                let last = running.len() - 1;
                running.swap(slot, last);
            }
        }
    }
    File::create(&ground.over)?;
    for (_, process) in running {
        process.wait()?.ok()?;
    }
    compare(ctx, &ground, &names, processes, &disturbed)
}

fn note_killed(log: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut log = File::options().create(true).append(true).open(log)?;
    // It may have been killed in the middle of a line.
    Ok(write!(log, "\nkilled {} .\n", now())?)
}

/// A time from one moment to another: something happened in it.
type Span = (u64, u64);

/// What the processes wrote down.
#[derive(Default)]
struct History {
    /// When each file that is gone was deleted, and in which directory.
    deleted: HashMap<Name, (u64, Span)>,
    /// Each directory's moves in their order: from, to, when.
    moves: HashMap<u64, Vec<(usize, usize, Span)>>,
}

impl History {
    fn read(ground: &Ground, processes: u64) -> Result<Self> {
        let left = left(ground)?;
        let mut history = Self::default();
        for process in 1..=processes {
            // One that was killed at once has none.
            let text = fs::read_to_string(ground.log(process)).unwrap_or_default();
            history.add(process, &text, &left).with_context(|| format!("log of {process}"))?;
        }
        for (dir, moves) in &mut history.moves {
            let end = place_of(*dir, &ground.places).context("a directory is nowhere")?;
            let reached: Vec<_> = moves.iter().skip(1).map(|next| next.0).chain([end]).collect();
            let mut reached = reached.into_iter();
            // One that was killed while it moved may not have moved it.
            moves.retain(|one| reached.next() == Some(one.1));
            check!(moves.windows(2).all(|two| two[0].1 == two[1].0), "moves of {dir}: {moves:?}");
        }
        Ok(history)
    }

    fn add(&mut self, process: u64, text: &str, left: &HashSet<Name>) -> Result<()> {
        let mut batch = None;
        let mut moving = None;
        for line in text.lines().filter_map(|line| line.strip_suffix(" .")) {
            let (what, rest) = line.split_once(' ').context("a line of one word")?;
            let numbers: Vec<u64> = rest.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            match (what, numbers.as_slice()) {
                ("made", &[dir, first, time]) => batch = Some((dir, first, time)),
                ("deleted", times) => {
                    let (dir, first, _) = batch.take().context("deleted without made")?;
                    for (file, span) in (first..).zip(times.windows(2)) {
                        self.deleted.insert((process, file), (dir, (span[0], span[1])));
                    }
                }
                ("move", &[dir, from, to, time]) => {
                    moving = Some((dir, from as usize, to as usize, time));
                }
                ("moved", &[time]) => self.moved(moving.take(), time)?,
                ("killed", &[time]) => {
                    if let Some((dir, first, made)) = batch.take() {
                        let gone = (first..first + BATCH).map(|file| (process, file));
                        for name in gone.filter(|name| !left.contains(name)) {
                            self.deleted.insert(name, (dir, (made, time)));
                        }
                    }
                    if moving.is_some() {
                        self.moved(moving.take(), time)?;
                    }
                }
                _ => bail!("{line:?}"),
            }
        }
        Ok(())
    }

    fn moved(&mut self, moving: Option<(u64, usize, usize, u64)>, end: u64) -> Result<()> {
        let (dir, from, to, start) = moving.context("moved without move")?;
        self.moves.entry(dir).or_default().push((from, to, (start, end)));
        Ok(())
    }

    /// Where a directory was at any moment of a span.
    fn places(&self, dir: u64, span: Span) -> Vec<usize> {
        let moves = self.moves.get(&dir).map_or(&[][..], Vec::as_slice);
        let before = moves.partition_point(|one| one.2.1 < span.0);
        let first = match before {
            0 => moves.first().map_or(dir as usize % PLACES.len(), |one| one.0),
            _ => moves[before - 1].1,
        };
        let during = moves[before..].iter().take_while(|one| one.2.0 <= span.1);
        [first].into_iter().chain(during.map(|one| one.1)).collect()
    }
}

fn name_of(file: &str) -> Option<Name> {
    let (process, file) = file.strip_prefix('w')?.split_once('-')?;
    Some((process.parse().ok()?, file.parse().ok()?))
}

/// The files that are still there.
fn left(ground: &Ground) -> Result<HashSet<Name>> {
    let mut left = HashSet::new();
    for root in &ground.roots {
        for path in files_below(root)? {
            let name = path.file_name().and_then(|name| name_of(name.to_str()?));
            left.insert(name.with_context(|| path.display().to_string())?);
        }
    }
    Ok(left)
}

/// Where the deletion log has each file.
fn recorded(names: &[String; 2]) -> Result<HashMap<Name, Where>> {
    let mut recorded = HashMap::new();
    for (place, (zone, tenant)) in PLACES.into_iter().enumerate() {
        let Some(zone) = zone else { continue };
        let own: Vec<_> = (0..DIRS).map(|dir| format!("d{dir}/")).collect();
        let tenants = if tenant.is_empty() { own } else { vec![format!("{tenant}/")] };
        for tenant in tenants {
            let args = ["--from0", "--op", "remove", "--tenant", tenant.trim_end_matches('/')];
            for path in manifest(&names[zone], args)?.ok()?.stdout.split_terminator('\0') {
                // From the zone's root a path has the tenant, if that is not the directory itself.
                let path = path.trim_start_matches("./");
                let path = if tenant.starts_with('d') { &(tenant.clone() + path) } else { path };
                let (dir, rest) = path.split_once('/').context("no directory")?;
                let dir = dir.strip_prefix('d').context("not a directory's name")?.parse()?;
                let file = rest.rsplit('/').next().and_then(name_of);
                let file = file.with_context(|| format!("recorded: {path:?}"))?;
                let before = recorded.insert(file, (place, dir));
                check!(before.is_none(), "{path:?} of {tenant} is recorded twice");
            }
        }
    }
    Ok(recorded)
}

/// What the deletion log says of these ops in a zone.
struct Told {
    records: u64,
    /// Those of them of which it says that nobody knows whose the file was.
    unknown: u64,
    /// Ops that are said to be missing.
    lost: u64,
}

fn told(zone: &str, ops: &[&str]) -> Result<Told> {
    let args = ops.iter().flat_map(|op| ["--op", op]).chain(["--json"]);
    let told = document(&manifest(zone, args)?.ok()?)?;
    let sum = |what: &str, key: &str, is_one: fn(&Value) -> bool| -> u64 {
        let rows = told[what].as_array().into_iter().flatten().filter(|row| is_one(row));
        rows.filter_map(|row| row[key].as_u64()).sum()
    };
    check_eq!(sum("summarised", "records", |_| true), 0, "records that became sums");
    Ok(Told {
        records: sum("tenants", "records", |_| true),
        unknown: sum("tenants", "records", |row| row["unknown"] == true),
        lost: sum("gaps", "lost", |_| true),
    })
}

/// Records of a zone that are in no tenant's list, or stand for the same path as another.
fn odd(zone: &str) -> Result<String> {
    let whole = document(&manifest(zone, ["--json", "--op", "remove"])?.ok()?)?;
    let mut odd = Vec::new();
    for row in whole["tenants"].as_array().into_iter().flatten() {
        let Some(tenant) = row["tenant"].as_str() else {
            odd.push(row.to_string());
            continue;
        };
        let args = ["--json", "--op", "remove", "--tenant", tenant];
        let records = document(&manifest(zone, args)?.ok()?)?["records"].take();
        let mut seen = HashMap::new();
        for record in records.as_array().into_iter().flatten() {
            if let Some(other) = seen.insert(record["path"].to_string(), record) {
                odd.push(format!("{other} and {record}"));
            }
        }
    }
    Ok(odd.join("; "))
}

/// Insists that counters and deletion log have each file where it was, and each move.
fn compare(
    ctx: &mut Ctx<'_>,
    ground: &Ground,
    names: &[String; 2],
    processes: u64,
    disturbed: &Disturbed,
) -> Result<()> {
    let history = History::read(ground, processes)?;
    let recorded = recorded(names)?;
    let (mut raced, mut missing, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, &(dir, span)) in &history.deleted {
        let places = history.places(dir, span);
        raced += u32::from(places.len() > 1);
        match recorded.get(name) {
            Some((place, of)) if *of == dir && places.contains(place) => {}
            None if places.iter().any(|place| PLACES[*place].0.is_none()) => {}
            None => missing.push(places.len()),
            Some(found) => wrong.push((name, dir, places, found)),
        }
    }
    check!(wrong.is_empty(), "{} at a wrong place, such as {:?}", wrong.len(), wrong[0]);
    let extra = recorded.keys().find(|name| !history.deleted.contains_key(name));
    check_eq!(extra, None, "a file that is recorded and was not deleted");
    let (mut lost, mut unknown) = (0, 0);
    for (zone, name) in names.iter().enumerate() {
        let removed = told(name, &["remove"])?;
        lost += removed.lost;
        unknown += removed.unknown;
        let is_here = |place: usize| PLACES[place].0 == Some(zone);
        let listed = recorded.values().filter(|(place, _)| is_here(*place)).count() as u64;
        if removed.records - removed.unknown != listed {
            let records = removed.records;
            bail!("{records} records of {name}, {listed} files in its lists: {}", odd(name)?);
        }
        let moves = history.moves.values().flatten().filter(|one| is_here(one.0)).count() as u64;
        let moved = told(name, &["move_out", "detach"])?.records;
        check!(
            (moved..=moved + removed.lost).contains(&moves),
            "{moved} of {moves} moves are recorded"
        );
        let removes = [("zone", name.as_str()), ("op", "remove")];
        ctx.metrics_until("every file is counted", |metrics| {
            let counted = metrics.sum("holdfast_destroyed_files_total", &removes) as u64;
            metrics.ops(name, "deny") == 0.0
                && (removed.records..=removed.records + removed.lost).contains(&counted)
        })?;
    }
    // The names above a file are read after its place is known: where it has moved meanwhile, the
    // tenant is said to be unknown.
    let still = missing.iter().filter(|places| **places == 1).count() as u64;
    check!(still <= lost, "{still} files are not recorded, {lost} are said to be lost");
    let missing = missing.len() as u64;
    check!(missing <= lost + unknown, "{missing} files are not recorded");
    let moves: usize = history.moves.values().map(Vec::len).sum();
    ctx.lab.note(format!(
        "{} files deleted, {raced} of them while their directory moved; {moves} moves, \
         {} policies, caches dropped {} times, {} processes killed: {} recorded, {unknown} \
         said to be of an unknown tenant, {lost} said to be lost, 0 at a wrong place",
        history.deleted.len(),
        disturbed.policies,
        disturbed.caches,
        disturbed.killed,
        recorded.len()
    ));
    let places: HashSet<usize> = recorded.values().map(|(place, _)| *place).collect();
    check_eq!(places.len(), PLACES.len() - 1, "places in a zone with deletions");
    check!(
        raced > 0 && disturbed.policies > 0 && disturbed.caches > 0 && disturbed.killed > 0,
        "such a run shows little: {raced} deletions while a directory moved, {disturbed:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_during_the_call() {
        let mut history = History::default();
        // Directory 1 begins at place 1.
        let log = "move 1 1 4 100 .\nmoved 110 .\nmove 1 4 0 200 .\nmoved 210 .\n";
        history.add(9, log, &HashSet::new()).unwrap();
        assert_eq!(history.places(1, (50, 99)), [1]);
        assert_eq!(history.places(1, (99, 100)), [1, 4]);
        assert_eq!(history.places(1, (110, 111)), [1, 4]);
        assert_eq!(history.places(1, (111, 199)), [4]);
        assert_eq!(history.places(1, (105, 205)), [1, 4, 0]);
        assert_eq!(history.places(1, (211, 300)), [0]);
        assert_eq!(history.places(2, (0, 300)), [2]);
    }

    #[test]
    fn killed_batch_is_gone_unless_left() {
        let mut history = History::default();
        let log = "made 3 16 100 .\ndeleted 100 101\nkilled 150 .\n";
        let left = (20..32).map(|file| (7, file)).collect();
        history.add(7, log, &left).unwrap();
        let mut gone: Vec<_> = history.deleted.iter().collect();
        gone.sort_unstable();
        let expected: Vec<_> = (16..20).map(|file| ((7, file), (3, (100, 150)))).collect();
        assert_eq!(gone.len(), expected.len());
        for (found, (name, gone)) in gone.iter().zip(&expected) {
            assert_eq!(*found, (name, gone));
        }
    }
}
