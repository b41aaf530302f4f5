//! Customers clean up their own files all day; budgets for operators leave them alone and stop
//! everybody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Result;
use holdfast_abi::{Per, Who};

use crate::harness::sys::{User, as_user};
use crate::harness::tree::{count, make_files};
use crate::harness::{Budget, Ctx, Tool, Zone, check_eq};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::each("owners_are_free_of_operators_budgets", owners_free).shared(),
    Scenario::each("root_is_an_operator", root_operator),
    Scenario::each("a_stranger_is_an_operator", stranger_operator),
    Scenario::each("owners_have_budgets_of_their_own", owners_budget),
    Scenario::each("each_user_spends_alone", each_user),
    Scenario::each("everyone_means_both", everyone),
    Scenario::each("servers_act_for_the_owner", servers),
];

const CUSTOMER: u32 = 1000;
const STRANGER: u32 = 1001;

/// A directory that anybody may write to, with files of one customer.
fn site(ctx: &Ctx<'_>, name: &str, files: u64, owner: u32) -> Result<PathBuf> {
    let dir = ctx.base.join("zone").join(name);
    for path in make_files(&dir, "session", files, 20)? {
        chown(path, Some(owner), Some(owner))?;
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    Ok(dir)
}

fn operators(ctx: &mut Ctx<'_>, files: u64) -> Result<()> {
    let root = ctx.base.join("zone");
    ctx.enforce(&root, Budget::files(files).per(Per::User).who(Who::Operators))
}

fn find_delete(dir: &PathBuf) -> Tool {
    Tool::new("find").arg(dir).args(["-type", "f", "-delete"]).cwd(std::path::Path::new("/"))
}

fn owners_free(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = site(ctx, "site", 5000, CUSTOMER)?;
    operators(ctx, 10)?;
    find_delete(&site).uid(CUSTOMER).ok()?;
    check_eq!(count(&site)?.files, 0, "files left");
    ctx.nothing_denied()
}

fn root_operator(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = site(ctx, "site", 50, CUSTOMER)?;
    operators(ctx, 10)?;
    find_delete(&site).run()?.refused()?;
    check_eq!(count(&site)?.files, 40, "files left");
    // The customer himself is not held up by that.
    find_delete(&site).uid(CUSTOMER).ok()?;
    check_eq!(count(&site)?.files, 0, "files left in the end");
    Ok(())
}

fn stranger_operator(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = site(ctx, "site", 50, CUSTOMER)?;
    operators(ctx, 10)?;
    find_delete(&site).uid(STRANGER).run()?.refused()?;
    check_eq!(count(&site)?.files, 40, "files left");
    Ok(())
}

fn owners_budget(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = site(ctx, "site", 50, CUSTOMER)?;
    let root = ctx.base.join("zone");
    ctx.enforce(&root, Budget::files(30).per(Per::User).who(Who::Owners))?;
    find_delete(&site).uid(CUSTOMER).run()?.refused()?;
    check_eq!(count(&site)?.files, 20, "files left by their owner");
    find_delete(&site).ok()?;
    check_eq!(count(&site)?.files, 0, "files left by root, to whom no budget applies");
    Ok(())
}

fn each_user(ctx: &mut Ctx<'_>) -> Result<()> {
    let (one, two) = (site(ctx, "one", 40, 0)?, site(ctx, "two", 40, 0)?);
    operators(ctx, 15)?;
    find_delete(&one).uid(CUSTOMER).run()?.refused()?;
    find_delete(&two).uid(STRANGER).run()?.refused()?;
    check_eq!(count(&one)?.files, 25, "files left of the first");
    check_eq!(count(&two)?.files, 25, "files left of the second");
    Ok(())
}

/// Samba and ProFTPD set the effective user, Ganesha and nfsd the one for file accesses, and stay
/// root otherwise: a customer who deletes through them is the owner, and one who deletes another's
/// files is not.
fn servers(ctx: &mut Ctx<'_>) -> Result<()> {
    const FILES: u64 = 30;
    for (n, user) in [User::Effective, User::Files].into_iter().enumerate() {
        let (own, other) = (format!("own-{n}"), format!("other-{n}"));
        let own = site(ctx, &own, FILES, CUSTOMER)?;
        let other = site(ctx, &other, FILES, STRANGER)?;
        let root = ctx.base.join("zone");
        let name = format!("{}-{n}", ctx.zone);
        let budget = Budget::files(10).per(Per::User).who(Who::Operators);
        ctx.guard(&[Zone::new(&name, &root).budget(budget)])?;
        as_user(user, CUSTOMER, || remove_each(&own, FILES))?;
        check_eq!(count(&own)?.files, 0, "files left of the customer's own, {user:?}");
        as_user(user, CUSTOMER, || remove_each(&other, FILES))?;
        check_eq!(count(&other)?.files, FILES - 10, "files left of a stranger's, {user:?}");
    }
    Ok(())
}

fn remove_each(dir: &Path, files: u64) {
    for n in 0..files {
        fs::remove_file(dir.join(format!("session-{n:04}"))).ok();
    }
}

fn everyone(ctx: &mut Ctx<'_>) -> Result<()> {
    let site = site(ctx, "site", 60, CUSTOMER)?;
    let root = ctx.base.join("zone");
    ctx.enforce(&root, Budget::files(33).per(Per::Zone).who(Who::Everyone))?;
    let half: Vec<_> = (0..20).map(|n| site.join(format!("session-{n:04}"))).collect();
    Tool::new("rm").args(&half).uid(CUSTOMER).cwd(std::path::Path::new("/")).ok()?;
    find_delete(&site).run()?.refused()?;
    check_eq!(count(&site)?.files, 60 - 33, "files left by owner and root together");
    Ok(())
}
