//! The policy that is shipped, enforced: real jobs run through without a trip, and the script of
//! 2012 is stopped at the budget.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::ordinary::shipped;
use crate::harness::tree::count;
use crate::harness::wait::PATIENCE;
use crate::harness::{Ctx, Tool, Tree, check, check_eq, proc, sh, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::once("shipped_policy_lets_package_upgrade_run", |ctx| UPGRADE.runs(ctx)).heavy(),
    Scenario::once("shipped_policy_lets_sqlite_run", |ctx| SQLITE.runs(ctx)).heavy(),
    Scenario::once("shipped_policy_lets_rsync_restore", |ctx| RESTORE.runs(ctx)).heavy(),
    Scenario::once("shipped_policy_lets_mail_run", |ctx| MAIL.runs(ctx)),
    Scenario::once("shipped_policy_lets_backup_locks_go", |ctx| LOCKS.runs(ctx)),
    Scenario::once("shipped_policy_stops_root_session", root_session),
];

/// A job under the shipped policy. Its scripts get the zone's path, a directory beside it, and how
/// much there is to do.
struct Job {
    /// Which zone of the policy, from 0.
    zone: usize,
    amount: u64,
    /// What is there before anything is guarded.
    prepare: &'static str,
    /// The job itself, in a unit of its own. It fails if it was not done in the end.
    work: &'static str,
    uid: u32,
    /// It destroys at least so many files, by the counters.
    destroys: u64,
}

/// The upgrade of a package, in the root of a customer's container.
const UPGRADE: Job = Job {
    zone: 0,
    amount: 5_000,
    prepare: r#"
        root=$1/alice/rootfs
        mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers}
        : >"$root/var/lib/dpkg/status"
        for version in 1 2; do
            tree=$2/app-$version
            mkdir -p "$tree/DEBIAN" "$tree"/opt/app/{0..49}
            {
                printf 'Package: app\nVersion: %s\nArchitecture: all\n' $version
                printf 'Maintainer: x <x@example.org>\nDescription: x\n'
            } >"$tree/DEBIAN/control"
            for ((n = 0; n < $3; n++)); do
                echo "module $n of version $version" >"$tree/opt/app/$((n % 50))/$n"
            done
            dpkg-deb -Znone --build "$tree" "$2/app-$version.deb" >/dev/null
            rm -rf "$tree"
        done
        dpkg --root="$root" --force-unsafe-io -i "$2/app-1.deb" >/dev/null"#,
    work: r#"
        root=$1/alice/rootfs
        dpkg --root="$root" --force-unsafe-io -i "$2/app-2.deb" >/dev/null
        [ "$(grep -rl 'of version 2' "$root/opt" | wc -l)" = "$3" ]"#,
    uid: 0,
    destroys: 5_000,
};

/// A site's database, with a rollback journal for each transaction.
const SQLITE: Job = Job {
    zone: 0,
    amount: 10_000,
    prepare: r#"
        mkdir -p "$1/alice"
        sqlite3 "$1/alice/site.db" 'CREATE TABLE t (n INTEGER)'"#,
    work: r#"
        {
            echo 'PRAGMA journal_mode = delete; PRAGMA synchronous = off;'
            seq "$3" | sed 's/.*/INSERT INTO t VALUES (&);/'
        } | sqlite3 -bail "$1/alice/site.db" >/dev/null
        [ "$(sqlite3 "$1/alice/site.db" 'SELECT count(*) FROM t')" = "$3" ]"#,
    uid: 0,
    destroys: 10_000,
};

/// A site is restored from its backup, over what is there.
const RESTORE: Job = Job {
    zone: 0,
    amount: 4_000,
    prepare: r#"
        mkdir -p "$1/alice/site" "$2/backup"
        for ((n = 0; n < $3; n++)); do
            echo "page $n, broken" >"$1/alice/site/$n"
            echo "page $n" >"$2/backup/$n"
        done"#,
    work: r#"
        rsync -a --delete "$2/backup/" "$1/alice/site/"
        ! grep -rq broken "$1/alice/site""#,
    uid: 0,
    destroys: 4_000,
};

/// Mail for fifty users under one account, each a tenant: delivered, indexed, read and expunged.
const MAIL: Job = Job {
    zone: 0,
    amount: 30,
    prepare: r#"
        mkdir -p "$1"/user{1..50}/{tmp,new,cur}
        chown -R 5000:5000 "$1"/user*"#,
    work: r#"
        perl -e '
            my ($zone, $mails) = @ARGV;
            my @users = glob("$zone/user*");
            sub file { open(my $file, ">", $_[0]) or die "$_[0]: $!"; print $file $_[1] }
            sub move { rename($_[0], $_[1]) or die "$_[0]: $!" }
            for my $mail (1 .. $mails) {
                for my $user (@users) {
                    file("$user/tmp/$mail", "mail $mail\n");
                    move("$user/tmp/$mail", "$user/new/$mail");
                    file("$user/uidlist.lock", "$mail\n");
                    move("$user/uidlist.lock", "$user/uidlist");
                    move("$user/new/$mail", "$user/cur/$mail:2,S");
                }
            }
            for my $user (@users) {
                unlink(glob("$user/cur/*")) == $mails or die "$user: $!";
            }' "$1" "$3""#,
    uid: 5_000,
    // The messages, and each index but the first.
    destroys: 50 * (30 + 29),
};

/// Backup tools take a lock and remove it again: a file, as restic does, or a directory with a file
/// in it, as borg does.
const LOCKS: Job = Job {
    zone: 1,
    amount: 300,
    prepare: r#"mkdir -p "$1/host/restic/locks" "$1/host/borg""#,
    work: r#"
        perl -e '
            my ($host, $runs) = @ARGV;
            sub take { open(my $file, ">", $_[0]) or die "$_[0]: $!" }
            sub give { unlink($_[0]) or die "$_[0]: $!" }
            for my $run (1 .. $runs) {
                take("$host/restic/locks/$run");
                give("$host/restic/locks/$run");
                mkdir("$host/borg/lock") or die "borg/lock: $!";
                take("$host/borg/lock/host.$run");
                give("$host/borg/lock/host.$run");
                rmdir("$host/borg/lock") or die "borg/lock: $!";
            }' "$1/host" "$3""#,
    uid: 0,
    destroys: 900,
};

impl Job {
    /// Insists that the job is done and nothing trips.
    fn runs(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let zone = ctx.base.join(format!("zone-{}", self.zone));
        fs::create_dir_all(&zone)?;
        let (beside, amount) = (ctx.outside()?, self.amount.to_string());
        let args = [zone.as_os_str(), beside.as_os_str(), amount.as_ref()];
        let script = |text| format!("set -e -o pipefail\n{text}");
        sh(&script(self.prepare), args)?.ok()?;
        shipped(ctx)?;
        let unit = ctx.unit("job")?;
        let tool = Tool::new("bash").args(["-c", &script(self.work), "job"]).args(args);
        tool.cwd(Path::new("/")).uid(self.uid).unit(&unit).run()?.ok()?;
        let (name, metrics) = (format!("{}-{}", ctx.zone, self.zone), ctx.lab.metrics()?);
        check_eq!(metrics.sum("holdfast_trips_total", &[("zone", &name)]), 0.0, "trips");
        for verdict in ["deny", "hold", "throttle", "observe"] {
            check_eq!(metrics.ops(&name, verdict), 0.0, "ops with verdict {verdict}");
        }
        let destroyed = metrics.sum("holdfast_destroyed_files_total", &[("zone", &name)]);
        ctx.lab.note(format!("{destroyed} files destroyed, nothing tripped"));
        check!(
            destroyed >= self.destroys as f64,
            "{destroyed} files destroyed, {} expected",
            self.destroys
        );
        Ok(())
    }
}

/// What a customer has.
const EACH: u64 = 150;
/// The customers that one unit may empty in ten minutes.
const PER_UNIT: u64 = 5;

/// The script as it was, in somebody's session as root: it is held, and what is gone by then is counted.
fn root_session(ctx: &mut Ctx<'_>) -> Result<()> {
    let script = r#"for customer in "$1"/customer-*; do rm -rf "$customer"/*; done"#;
    let tree = Tree::make(&ctx.base.join("zone-0"), 12, EACH)?;
    shipped(ctx)?;
    let unit = ctx.unit("script")?;
    let tool = Tool::new("bash").args(["-c", script, "script"]).arg(&tree.root).unit(&unit);
    let running = tool.cwd(Path::new("/")).start()?;
    until("the script is held, or has ended", PATIENCE * 4, || {
        let has_ended = proc::state(running.pid())?.is_none();
        Ok((has_ended || !ctx.holds()?.is_empty()).then_some(()))
    })?;
    let (gone, left) = (tree.files_gone()?, count(&tree.root)?.files);
    unit.kill()?;
    ctx.lab.note(format!("{gone} of {} files gone", gone + left));
    check_eq!(gone, PER_UNIT * EACH, "files gone of {}", tree.total());
    tree.rest_is_intact()
}
