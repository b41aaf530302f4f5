//! Allowances as people write, sign and use them: with `holdfast allow`, `holdfast run` and
//! `ssh-keygen`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use holdfast_abi::Op;
use serde_json::Value;

use super::signing::{self, NAMESPACE, Signing, mail};
use super::{Ctx, Outcome, Tool, Zone, agent, check, check_eq, cli, clock, policy, until};

/// What somebody is about to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) requested_by: String,
    pub(crate) hosts: Vec<String>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) grants: Vec<Grant>,
    pub(crate) user: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) command: Option<Bound>,
}

/// A command with what is in its files.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) path: String,
    pub(crate) sha256: String,
    pub(crate) script: Option<(String, String)>,
}

/// One `[[grant]]`.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) zone: String,
    pub(crate) subtrees: Vec<String>,
    pub(crate) ops: Vec<Op>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) tenants: u64,
}

/// A document on disk, ready to be signed; its signatures are beside it.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
}

impl Grant {
    /// Removals of so many files of any size, in as many tenants.
    pub(crate) fn removals(zone: &str, subtrees: &[&Path], files: u64) -> Self {
        let subtrees = subtrees.iter().map(|path| path.display().to_string()).collect();
        let zone = zone.to_owned();
        Self { zone, subtrees, ops: vec![Op::Remove], files, bytes: 1 << 30, tenants: 1000 }
    }
}

impl Draft {
    /// For this host, from now on for an hour.
    pub(crate) fn new(ctx: &Ctx<'_>, name: &str, grants: Vec<Grant>) -> Result<Self> {
        // An id has at most 64 characters.
        let zone: String = ctx.zone.chars().take(44).collect();
        let now = clock::now();
        Ok(Self {
            id: format!("{zone}-{name}"),
            requested_by: mail("erin"),
            hosts: vec![host_name()?],
            not_before: now - 60,
            not_after: now + 3600,
            grants,
            user: None,
            unit: None,
            command: None,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "version = 1\nid = {:?}\nreason = \"planned work\"\nrequested_by = {:?}\nhosts = {:?}\n\
             not_before = {}\nnot_after = {}\n",
            self.id,
            self.requested_by,
            self.hosts,
            clock::rfc3339(self.not_before),
            clock::rfc3339(self.not_after),
        );
        for grant in &self.grants {
            let ops: Vec<_> = grant.ops.iter().map(|op| op.word()).collect();
            let Grant { zone, subtrees, files, bytes, tenants, .. } = grant;
            let _ = writeln!(
                text,
                "[[grant]]\nzone = {zone:?}\nsubtrees = {subtrees:?}\nops = {ops:?}\n\
                 files = {files}\n\
                 bytes = {bytes}\ntenants = {tenants}"
            );
        }
        if self.user.is_some() || self.unit.is_some() {
            text.push_str("[bind]\n");
        }
        for (key, value) in [("user", &self.user), ("unit", &self.unit)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value:?}");
            }
        }
        if let Some(Bound { path, sha256, script }) = &self.command {
            let _ = writeln!(text, "[bind.command]\npath = {path:?}\nsha256 = {sha256:?}");
            if let Some((script, sha256)) = script {
                let _ = writeln!(text, "script = {script:?}\nscript_sha256 = {sha256:?}");
            }
        }
        text
    }

    /// Writes it down in the one form that can be signed.
    pub(crate) fn write(&self, ctx: &Ctx<'_>) -> Result<Doc> {
        let dir = ctx.papers()?;
        let draft = dir.join(format!("{}.draft", self.id));
        fs::write(&draft, self.text())?;
        let shown = Tool::new(agent::BINARY).args(["allow", "show", "--canonical"]).arg(&draft);
        let path = dir.join(format!("{}.toml", self.id));
        fs::write(&path, shown.ok()?.stdout)?;
        Ok(Doc { id: self.id.clone(), path })
    }

    /// Writes it down and has two of `ops` sign it.
    pub(crate) fn signed(&self, ctx: &Ctx<'_>) -> Result<Doc> {
        self.signed_by(ctx, &["alice", "bob"])
    }

    pub(crate) fn signed_by(&self, ctx: &Ctx<'_>, people: &[&str]) -> Result<Doc> {
        let doc = self.write(ctx)?;
        for person in people {
            doc.sign(person)?;
        }
        Ok(doc)
    }
}

impl Doc {
    /// One more signature beside it.
    pub(crate) fn sign(&self, key: &str) -> Result<()> {
        self.sign_for(key, NAMESPACE)
    }

    pub(crate) fn sign_for(&self, key: &str, namespace: &str) -> Result<()> {
        let signature = signing::sign(&self.path, key, namespace)?;
        fs::write(self.signature(key), signature).map_err(Into::into)
    }

    /// Where somebody's signature is.
    pub(crate) fn signature(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}.{key}.sig", self.path.display()))
    }

    /// `holdfast allow submit`.
    pub(crate) fn submit(&self) -> Result<Outcome> {
        Tool::new(agent::BINARY).args(["allow", "submit"]).arg(&self.path).run()
    }

    /// `holdfast run --allow FILE -- COMMAND`.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(
        &self,
        command: impl IntoIterator<Item = S>,
    ) -> Tool {
        let tool = Tool::new(agent::BINARY).args(["run", "--allow"]).arg(&self.path);
        tool.arg("--").args(command)
    }

    /// What the agent says about it; nothing if it never heard of it.
    pub(crate) fn report(&self) -> Result<Option<Value>> {
        Ok(all()?.into_iter().find(|one| cli::text(one, "id") == self.id))
    }

    /// Waits until it is open, or closed for that reason.
    pub(crate) fn becomes(&self, state: &str, why: Option<&str>) -> Result<Value> {
        let mut last = Value::Null;
        let found =
            until(&format!("{} is {state} ({why:?})", self.id), Duration::from_secs(60), || {
                last = self.report()?.unwrap_or_default();
                let closed = why.is_none_or(|why| cli::text(&last["closed"], "why") == why);
                Ok((cli::text(&last, "state") == state && closed).then(|| last.clone()))
            });
        found.with_context(|| format!("at last: {last}"))
    }

    /// Files spent of one grant.
    pub(crate) fn files_spent(&self, grant: usize) -> Result<u64> {
        let report = self.report()?.with_context(|| format!("no allowance {}", self.id))?;
        cli::number(&report["grants"][grant]["files"], "spent")
    }

    /// `holdfast allow revoke`.
    pub(crate) fn revoke(&self) -> Result<Outcome> {
        cli::holdfast(["allow", "revoke", &self.id])?.ok()
    }

    /// Waits for an audit record of that type about it.
    pub(crate) fn audited(&self, kind: &str) -> Result<Value> {
        until(&format!("an audit record of type {kind}"), Duration::from_secs(90), || {
            let is_it = |record: &Value| {
                cli::text(record, "type") == kind && cli::text(record, "id") == self.id
            };
            Ok(cli::audit()?.into_iter().find(is_it))
        })
    }
}

/// Every allowance this host has seen.
pub(crate) fn all() -> Result<Vec<Value>> {
    let outcome = cli::holdfast(["allow", "list", "--json"])?.ok()?;
    let mut value: Value = serde_json::from_str(&outcome.stdout)
        .with_context(|| outcome.describe("should have printed JSON"))?;
    match value.get_mut("allowances").map(Value::take) {
        Some(Value::Array(allowances)) => Ok(allowances),
        _ => bail!("{}", outcome.describe("should have printed a list of allowances")),
    }
}

/// How often allowances were refused for that reason, since the agent started.
pub(crate) fn refused(ctx: &Ctx<'_>, reason: &str) -> Result<f64> {
    counted_refusals(ctx, "holdfast_allowances_refused_total", reason)
}

/// What a counter of refusals says for a reason, which it has to have from the start.
pub(super) fn counted_refusals(ctx: &Ctx<'_>, name: &str, reason: &str) -> Result<f64> {
    let (metrics, labels) = (ctx.lab.metrics()?, [("reason", reason)]);
    check!(
        metrics.has(name, &labels),
        "the metrics should have {name} for {reason} from the start"
    );
    Ok(metrics.sum(name, &labels))
}

/// Insists that this was refused for that reason, counted and written to the audit log; what was
/// said.
pub(crate) fn refused_for(
    ctx: &Ctx<'_>,
    reason: &str,
    attempt: impl FnOnce() -> Result<Outcome>,
) -> Result<String> {
    let before = Refusals::of(ctx, reason)?;
    before.one_more(ctx, &attempt()?)
}

/// How often something was refused for one reason so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusals<'a> {
    reason: &'a str,
    counted: f64,
    recorded: usize,
}

impl<'a> Refusals<'a> {
    pub(crate) fn of(ctx: &Ctx<'_>, reason: &'a str) -> Result<Self> {
        let is_it = |record: &&Value| {
            cli::text(record, "type") == "allowance_refuse" && cli::text(record, "reason") == reason
        };
        let recorded = cli::audit()?.iter().filter(is_it).count();
        Ok(Self { reason, counted: refused(ctx, reason)?, recorded })
    }

    /// The agent has been restarted since: it counts anew.
    pub(crate) fn restarted(&mut self) {
        self.counted = 0.0;
    }

    /// Insists that this was one more; what was said.
    pub(crate) fn one_more(self, ctx: &Ctx<'_>, outcome: &Outcome) -> Result<String> {
        let Self { reason, counted, recorded } = self;
        let what = format!("should have been refused for {reason}");
        check!(!outcome.succeeded(), "{}", outcome.describe(&what));
        let now = Self::of(ctx, reason)?;
        check_eq!(now.counted, counted + 1.0, "counted refusals; {}", outcome.describe(&what));
        check_eq!(
            now.recorded,
            recorded + 1,
            "refusals in the audit log; {}",
            outcome.describe(&what)
        );
        Ok(outcome.stderr.clone())
    }
}

/// What this host is called.
pub(crate) fn host_name() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

/// SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let said = Tool::new("sha256sum").arg(path).ok()?.stdout;
    Ok(said.split_whitespace().next().context("no digest")?.to_owned())
}

/// Insists that nothing is open, by the metrics.
pub(crate) fn nothing_open(ctx: &Ctx<'_>) -> Result<()> {
    let what = "no allowance is open by the metrics";
    ctx.metrics_until(what, |metrics| metrics.sum("holdfast_allowances_open", &[]) == 0.0).map(drop)
}

impl Ctx<'_> {
    /// Where this scenario's documents are, in no zone.
    pub(crate) fn papers(&self) -> Result<PathBuf> {
        let dir = self.base.join("papers");
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Puts these zones in force, and says who can sign for them.
    pub(crate) fn guard_signed(&mut self, zones: &[Zone], signing: &Signing) -> Result<()> {
        let text = policy::render(zones) + &signing.render()?;
        self.guard_text(zones, &text)
    }
}
