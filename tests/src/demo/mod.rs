//! The demonstration: a script that deletes everything runs twice, without the guard and with it.
//!
//! It owns the story and the figures; the script is a real bash script that runs real tools, and
//! every figure is counted on the disk afterwards. It never claims anything it has not just
//! counted.

mod screen;
mod story;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use holdfast_abi::Per;

use crate::harness::{Budget, Lab, Outcome, Tool, Tree, Unit, Zone, cli, policy};
use screen::{Screen, grouped};

/// The update script with its two missing lines.
pub(crate) const SCRIPT: &str = include_str!("update.sh");

const SCRIPT_PATH: &str = "/root/update.sh";
const TENANTS: u64 = 100;
const FILES: u64 = 200;

/// One of the two zones.
#[derive(Clone, Copy, Debug)]
struct Area {
    name: &'static str,
    role: &'static str,
    path: &'static str,
    budget: u64,
}

const AREAS: [Area; 2] = [
    Area { name: "customers", role: "primary", path: "/data/customers", budget: 200 },
    Area { name: "backups", role: "backup", path: "/data/backups", budget: 100 },
];

/// Files lost in each area.
type Lost = [u64; AREAS.len()];

/// Runs it; true if the promise held.
pub(crate) fn run() -> Result<bool> {
    let started = Instant::now();
    let screen = Screen::new();
    story::tell(&screen, &AREAS);
    fs::write(SCRIPT_PATH, SCRIPT)?;
    fs::set_permissions(SCRIPT_PATH, fs::Permissions::from_mode(0o755))?;

    screen.chapter(1, "Without holdfast");
    let trees = build(&screen)?;
    let outcome = run_script(&screen)?;
    let unguarded = count(&trees)?;
    screen.losses(&AREAS, TENANTS * FILES, &unguarded);
    screen.note(&format!("The script ended with exit status {}: nobody noticed.", exit(&outcome)));

    screen.chapter(2, "The same machine, the same script, with holdfast");
    let trees = build(&screen)?;
    let mut lab = Lab::default();
    let guarded = guarded(&screen, &mut lab, &trees);
    let finished = lab.finish();
    let (guarded, intact) = guarded?;
    finished.context("taking the guard off again")?;

    Ok(verdict(&screen, &unguarded, &guarded, intact, started))
}

/// The second pass: guard, attack, and everything there is to see of it.
fn guarded(screen: &Screen, lab: &mut Lab, trees: &[Tree]) -> Result<(Lost, bool)> {
    let zones = AREAS.map(|area| {
        let zone = Zone::new(area.name, Path::new(area.path));
        let zone = if area.role == "backup" { zone.backup() } else { zone };
        zone.budget(Budget::files(area.budget).per(Per::Unit).window("10m"))
    });
    lab.write_policy(&policy::render(&zones))?;
    screen.working("starting the agent");
    lab.start(false)?;
    screen.done("");
    for area in AREAS {
        screen.note(&format!(
            "policy: {:<9} enforce, {} files per unit in 10 minutes",
            area.name, area.budget
        ));
    }
    cli::status()?.0.ok().context("the guard must be enforcing before the script runs")?;

    let outcome = run_script(screen)?;
    let lost = count(trees)?;
    screen.losses(&AREAS, TENANTS * FILES, &lost);
    story::operator_saw(screen, &outcome);
    story::events(screen)?;
    story::metrics(screen, lab)?;
    story::audit(screen)?;
    screen.working("comparing every file that is left with what it was");
    let intact = trees.iter().all(|tree| tree.rest_is_intact().is_ok());
    let no_directory_lost = trees
        .iter()
        .zip(lost)
        .all(|(tree, files)| tree.gone().is_ok_and(|everything| everything == files));
    screen.done(if intact && no_directory_lost { "all intact" } else { "DAMAGED" });
    Ok((lost, intact && no_directory_lost))
}

fn build(screen: &Screen) -> Result<Vec<Tree>> {
    AREAS
        .iter()
        .map(|area| {
            let root = Path::new(area.path);
            if root.exists() {
                Tool::new("rm").arg("-rf").arg(root).ok()?;
            }
            screen.working(&format!(
                "making {:<9} ({} files)",
                area.name,
                grouped(TENANTS * FILES)
            ));
            let tree = Tree::make_with(root, TENANTS, FILES, |tenant| {
                if tenant % 5 == 4 {
                    screen.tick();
                }
            })?;
            screen.done("");
            Ok(tree)
        })
        .collect()
}

fn run_script(screen: &Screen) -> Result<Outcome> {
    let unit = Unit::new("maintenance")?;
    screen.command(&format!("{SCRIPT_PATH} {} {}", AREAS[0].path, AREAS[1].path));
    screen.working("running");
    let tool = Tool::new("bash").arg(SCRIPT_PATH).args(AREAS.map(|area| area.path)).unit(&unit);
    let outcome = tool.start()?.wait_and(Duration::from_secs(1), || screen.tick())?;
    screen.done("");
    Ok(outcome)
}

fn count(trees: &[Tree]) -> Result<Lost> {
    let mut lost = Lost::default();
    for (lost, tree) in lost.iter_mut().zip(trees) {
        *lost = tree.files_gone()?;
    }
    Ok(lost)
}

fn exit(outcome: &Outcome) -> String {
    outcome.code.map_or_else(|| "none: killed".to_owned(), |code| code.to_string())
}

fn verdict(
    screen: &Screen,
    unguarded: &Lost,
    guarded: &Lost,
    intact: bool,
    started: Instant,
) -> bool {
    let all = TENANTS * FILES * AREAS.len() as u64;
    let (without, with): (u64, u64) = (unguarded.iter().sum(), guarded.iter().sum());
    let budgets = AREAS.map(|area| area.budget);
    let held = without == all && *guarded == budgets && intact;
    let all = grouped(all);
    let sentence = if held {
        format!(
            "The promise held: without holdfast the script destroyed {} of {all} files; \
             with it {}, exactly the budgets, and nothing beyond.",
            grouped(without),
            grouped(with),
        )
    } else {
        format!(
            "THE PROMISE DID NOT HOLD: without holdfast {} of {all} files were lost \
             (expected all); with it {guarded:?} (budgets {budgets:?}), the rest {}.",
            grouped(without),
            if intact { "intact" } else { "DAMAGED" },
        )
    };
    screen.verdict(held, &sentence, started.elapsed());
    held
}
