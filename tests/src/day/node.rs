//! The node on which the day goes by: its customers, their copies, and who does what in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::plan::{Job, TENANTS, What};
use crate::harness::tree::make_files;
use crate::harness::{Outcome, Tool, Unit, sh};

/// As the shipped policy has them.
pub(super) const ROOTS: [&str; 2] = ["/srv/customers", "/srv/backups"];
const WORK: &str = "/root/work.sh";
const ORIGIN: &str = "/data/origin";
const QUARANTINE: &str = "/data/quarantine";
const LOGS: &str = "/data/logs";
/// So many copies of a customer are kept.
const COPIES: u32 = 3;
const FIRST_OWNER: u32 = 2000;
const OPERATOR: u32 = 1000;

/// The node. Services and sessions are each in a unit of their own, until the day is over.
#[derive(Debug)]
pub(super) struct Node {
    day: u32,
    units: BTreeMap<String, Unit>,
}

impl Node {
    /// Customers with sites, mail and copies of former days; nothing is guarded yet.
    pub(super) fn make() -> Result<Self> {
        fs::create_dir_all("/data/srv")?;
        Tool::new("mount").args(["--bind", "/data/srv", "/srv"]).ok()?;
        for dir in [QUARANTINE, LOGS] {
            fs::create_dir_all(dir)?;
        }
        fs::write(WORK, include_str!("work.sh"))?;
        fs::set_permissions(WORK, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions("/root", fs::Permissions::from_mode(0o755))?;
        let origin = "set -e; git init -q \"$1\"; cd \"$1\"; git config user.name x; \
            git config user.email x@example.org; \
            for n in 1 2 3; do for f in $(seq 20); do echo $n $f > file-$f; done; \
            git add .; git commit -qm \"change $n\"; done";
        sh(origin, [ORIGIN])?.ok()?;
        let conf = format!(
            "{LOGS}/*.log {{\n rotate 7\n compress\n create\n missingok\n su root root\n}}\n"
        );
        fs::write("/data/logrotate.conf", conf)?;
        for tenant in 0..TENANTS {
            make_tenant(tenant).with_context(|| format!("making customer {tenant}"))?;
        }
        let mut node = Self { day: 0, units: BTreeMap::new() };
        for _ in 0..COPIES {
            node.day += 1;
            for tenant in 0..TENANTS {
                node.work(&Job { at: 0, what: What::Backup, tenant, amount: 0 })?.ok()?;
            }
        }
        node.night();
        Ok(node)
    }

    /// The day is over: sessions have ended, services will be started anew.
    pub(super) fn night(&mut self) {
        self.units.clear();
        self.day += 1;
    }

    /// Does a piece of work, to its end.
    pub(super) fn work(&mut self, job: &Job) -> Result<Outcome> {
        let (unit, as_owner, login) = match job.what {
            What::Requests | What::Flush => ("php-fpm.service".to_owned(), true, None),
            What::Mail => ("dovecot.service".to_owned(), true, None),
            What::Update => ("site-updates.service".to_owned(), true, None),
            What::Renew => ("certbot.service".to_owned(), false, None),
            What::Quarantine => ("scanner.service".to_owned(), false, None),
            What::Backup => ("backup.service".to_owned(), false, None),
            What::Logrotate => ("logrotate.service".to_owned(), false, None),
            What::Deploy(session)
            | What::Edit(session)
            | What::Clean(session)
            | What::Leave(session) => {
                (format!("session-{session}.scope"), false, Some(OPERATOR + session as u32 % 3))
            }
        };
        let customer = Path::new(ROOTS[0]).join(name(job.tenant));
        let copies = Path::new(ROOTS[1]).join(name(job.tenant));
        let (site, today) = (customer.join("site"), format!("day-{:02}", self.day));
        let amount = job.amount.to_string();
        let tool = Tool::new(WORK).cwd(Path::new("/"));
        let tool = match job.what {
            What::Requests => tool.arg("requests").arg(site).arg(amount),
            What::Flush => tool.arg("flush").arg(site).arg(amount),
            What::Mail => tool.arg("mail").arg(customer.join("mail")).arg(amount),
            What::Update => tool.arg("update").arg(site).arg(amount),
            What::Renew => tool.arg("renew").arg(customer),
            What::Quarantine => tool.arg("quarantine").arg(site).arg(QUARANTINE),
            What::Backup => {
                let keep = COPIES.to_string();
                tool.arg("backup").args([&customer, &copies]).args([&today, &keep])
            }
            What::Logrotate => tool.args(["logrotate", "/data/logrotate.conf", "/data/rotated"]),
            What::Deploy(_) => tool.arg("deploy").arg(site).arg(ORIGIN),
            What::Edit(_) => tool.arg("edit").arg(site),
            What::Clean(_) => tool.arg("clean").arg(site).arg(amount),
            What::Leave(_) => tool.arg("leave").arg(customer).arg(amount),
        };
        let tool = tool.unit(self.unit(&unit)?);
        let tool = if as_owner { tool.uid(owner(job.tenant)) } else { tool };
        login.map_or(tool.clone(), |login| tool.login(login)).run()
    }

    fn unit(&mut self, name: &str) -> Result<&Unit> {
        if !self.units.contains_key(name) {
            self.units.insert(name.to_owned(), Unit::new(name)?);
        }
        self.units.get(name).context("it was put there just now")
    }
}

/// Files and directories below each root; a file that has several names, as unchanged files of
/// copies have, once.
pub(super) fn left() -> Result<[u64; 2]> {
    let mut left = [0; 2];
    for (left, root) in left.iter_mut().zip(ROOTS) {
        let listed =
            Tool::new("find").arg(root).args(["-mindepth", "1", "-printf", "%i\n"]).ok()?;
        *left = listed.stdout.lines().collect::<BTreeSet<_>>().len() as u64;
    }
    Ok(left)
}

/// Its directory below both roots.
fn name(tenant: u64) -> String {
    format!("customer-{tenant:02}")
}

fn owner(tenant: u64) -> u32 {
    FIRST_OWNER + tenant as u32
}

fn make_tenant(tenant: u64) -> Result<()> {
    let customer = Path::new(ROOTS[0]).join(name(tenant));
    fs::create_dir_all(Path::new(ROOTS[1]).join(name(tenant)))?;
    let site = customer.join("site");
    let mut made: Vec<PathBuf> = vec![customer.clone(), site.clone(), site.join("plugins")];
    for dir in ["site/tmp", "site/cache", "mail", "mail/new", "mail/cur"] {
        made.push(customer.join(dir));
    }
    for dir in &made {
        fs::create_dir_all(dir)?;
    }
    made.push(site.join("uploads"));
    made.extend(make_files(&site.join("uploads"), "picture", 30, 2000)?);
    for plugin in 0..8 {
        let dir = site.join(format!("plugins/plugin-{plugin}"));
        made.extend(make_files(&dir, "module", 6, 800)?);
        made.push(dir);
    }
    let config = site.join("config.php");
    fs::write(&config, "define('NAME', 'old');\n".repeat(20))?;
    made.push(config);
    fs::write(format!("{LOGS}/{}.log", name(tenant)), "a line of a log\n".repeat(200))?;
    for path in made {
        chown(&path, Some(owner(tenant)), Some(owner(tenant)))?;
    }
    Ok(())
}
