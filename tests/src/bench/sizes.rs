//! What a removal costs where there is much of something: levels, tenants, zones, accounts; and
//! over budget.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::ops::{self, Column, Cost};
use super::{Terms, base, policy};
use crate::harness::{Lab, cli};
use crate::runner::Fs;

/// Files that are removed in a round, unless there are more tenants.
const FILES: usize = 1000;
/// Of the 16,384 that the kernel's map holds.
const ACCOUNTS: u32 = 16_000;

const MANY_ACCOUNTS: &str = "four budgets, 16,000 users' accounts";

/// A row: where the files are, and what is done before the guarded ones are removed.
struct Case {
    name: &'static str,
    /// Below the bench's directory.
    dir: &'static str,
    levels: usize,
    tenants: usize,
    setup: fn(&mut Lab) -> Result<()>,
}

const PLAIN: Case = Case { name: "", dir: "zone", levels: 1, tenants: 1, setup: |_| Ok(()) };

const CASES: [Case; 11] = [
    Case { name: "in no zone, beside what a pattern matches", dir: "other", ..PLAIN },
    Case { name: "in a zone, 1 level down", ..PLAIN },
    Case { name: "8 levels down", levels: 8, ..PLAIN },
    Case { name: "64 levels down", levels: 64, ..PLAIN },
    Case { name: "1,000 tenants in turn", tenants: 1000, ..PLAIN },
    Case { name: "10,000 tenants in turn", tenants: 10_000, ..PLAIN },
    Case {
        name: "one of 60 zones",
        setup: |lab| reload(lab, Terms { zones: 60, ..Terms::ROOMY }),
        ..PLAIN
    },
    Case {
        name: "four budgets, an account in each",
        setup: |lab| reload(lab, Terms { all_users: true, ..Terms::ROOMY }),
        ..PLAIN
    },
    Case { name: MANY_ACCOUNTS, setup: fill, ..PLAIN },
    Case {
        name: "over budget, observed",
        setup: |lab| reload(lab, Terms { roomy: false, ..Terms::ROOMY }),
        ..PLAIN
    },
    Case {
        name: "over budget, denied",
        setup: |lab| reload(lab, Terms { roomy: false, mode: "enforce", ..Terms::ROOMY }),
        ..PLAIN
    },
];

impl Case {
    fn files(&self, fs: Fs) -> Result<Vec<PathBuf>> {
        let dir = super::deep(&base(fs).join(self.dir), self.levels);
        let tenant = |n: usize| match self.tenants {
            1 => dir.clone(),
            tenants => base(fs).join(self.dir).join(format!("t{}", n % tenants)),
        };
        (0..self.tenants).try_for_each(|n| fs::create_dir_all(tenant(n)))?;
        Ok((0..FILES.max(self.tenants)).map(|n| tenant(n).join(format!("f{n:05}"))).collect())
    }

    /// What a removal costs, on each filesystem.
    fn measure(&self) -> Result<Vec<Cost>> {
        let costs = Fs::ALL.map(|fs| ops::removing(&self.files(fs)?));
        let costs = costs.into_iter().collect::<Result<Vec<_>>>()?;
        eprintln!("  {}: {costs:?}", self.name);
        Ok(costs)
    }
}

/// Each row's costs, by filesystem.
pub(super) type Rows = Vec<(&'static str, Vec<Cost>)>;

/// The rows without the guard, each with the same files.
pub(super) fn bare() -> Result<Rows> {
    let mut rows = Rows::new();
    for case in &CASES {
        let layout = |case: &Case| (case.dir, case.levels, case.tenants);
        let same = CASES.iter().zip(&rows).find(|(other, _)| layout(other) == layout(case));
        let costs = same.map_or_else(|| case.measure(), |(_, (_, costs))| Ok(costs.clone()))?;
        rows.push((case.name, costs));
    }
    Ok(rows)
}

/// The rows with the guard; and the agent's memory while there are many accounts.
pub(super) fn guarded(lab: &mut Lab) -> Result<(Rows, String)> {
    let (mut rows, mut memory) = (Rows::new(), String::new());
    for case in &CASES {
        (case.setup)(lab).with_context(|| case.name)?;
        rows.push((case.name, case.measure()?));
        if case.name == MANY_ACCOUNTS {
            memory = super::memory(lab.pid()?)?;
        }
    }
    Ok((rows, memory))
}

pub(super) fn column(place: &'static str, rows: &Rows, fs: usize) -> Column {
    let costs = rows.iter().map(|(name, costs)| ((*name).to_owned(), costs[fs])).collect();
    Column { place, costs }
}

fn reload(lab: &mut Lab, terms: Terms) -> Result<()> {
    lab.write_policy(&policy(terms)?)?;
    cli::holdfast(["policy", "reload"])?.ok().map(drop)
}

/// Has many users remove a file each.
fn fill(lab: &mut Lab) -> Result<()> {
    let file = &super::zone(Fs::Tmpfs).join("of-many");
    let remove_as = |uid: u32| -> Result<()> {
        fs::write("/proc/thread-self/loginuid", uid.to_string()).context("loginuid")?;
        fs::write(file, "x")?;
        Ok(fs::remove_file(file)?)
    };
    // In a thread of its own, as the login user stays the thread's.
    thread::scope(|scope| scope.spawn(|| (1..=ACCOUNTS).try_for_each(remove_as)).join())
        .map_err(|_| anyhow!("a thread panicked"))??;
    // It writes the accounts down every ten seconds, and reads them for that.
    thread::sleep(Duration::from_secs(15));
    let accounts = lab.metrics()?.sum("holdfast_accounts", &[]);
    ensure!(accounts >= f64::from(ACCOUNTS), "there are {accounts} accounts");
    Ok(())
}
