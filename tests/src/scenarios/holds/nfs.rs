//! A zone exported by NFS: the server's threads cannot wait, and its clients must get an error they
//! know.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::harness::ctx::is_mount;
use crate::harness::tool::Running;
use crate::harness::{Ctx, Tool, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::once("nfs_deletion_fails_with_known_error", nfs)];

const BUDGET: u64 = 20;
const EXPORTS: &str = "/etc/exports";
const CONTROL: &str = "/proc/fs/nfsd";
const PIPES: &str = "/run/rpc_pipefs";

/// An NFSv4 server on this machine, for one directory.
struct Server {
    /// Answers the kernel's questions about who may mount what.
    _mountd: Running,
    /// Knows which clients have something to reclaim: without it the server waits for them first.
    _nfsdcld: Running,
}

impl Server {
    fn start(export: &Path) -> Result<Self> {
        for module in ["nfsd", "nfs", "nfsv4"] {
            Tool::new("modprobe").arg(module).ok()?;
        }
        if !Path::new(CONTROL).join("threads").exists() {
            Tool::new("mount").args(["-t", "nfsd", "nfsd", CONTROL]).ok()?;
        }
        fs::create_dir_all("/var/lib/nfs/nfsdcld")?;
        fs::create_dir_all(PIPES)?;
        if !is_mount(PIPES)? {
            Tool::new("mount").args(["-t", "rpc_pipefs", "rpc_pipefs", PIPES]).ok()?;
        }
        let nfsdcld = Tool::new("nfsdcld").arg("--foreground").start()?;
        let options = "rw,no_root_squash,insecure,no_subtree_check,sync,fsid=1";
        fs::write(EXPORTS, format!("{} 127.0.0.1({options})\n", export.display()))?;
        let mountd = Tool::new("rpc.mountd").args(["--foreground", "--no-nfs-version", "3"]);
        let server = Self { _mountd: mountd.start()?, _nfsdcld: nfsdcld };
        Tool::new("exportfs").arg("-ra").ok()?;
        let nfsd = Tool::new("rpc.nfsd").args(["--no-nfs-version", "3", "--host", "127.0.0.1"]);
        nfsd.args(["--grace-time", "10", "--lease-time", "10", "4"]).ok()?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Tool::new("rpc.nfsd").arg("0").run().ok();
        Tool::new("exportfs").arg("-ua").run().ok();
        fs::write(EXPORTS, "").ok();
    }
}

/// A mount, taken off again before its server.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        Tool::new("umount").args(["-f", "-l"]).arg(&self.0).run().ok();
    }
}

fn nfs(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.holding(2, 40, BUDGET)?;
    let _server = Server::start(&tree.root)?;
    let client = ctx.base.join("client");
    fs::create_dir(&client)?;
    let source = format!("127.0.0.1:{}", tree.root.display());
    // Soft, so that a server that does not answer ends the test instead of hanging it.
    let options = "vers=4.2,soft,timeo=100,retrans=2,noac,lookupcache=none";
    until("the export can be mounted", Duration::from_secs(90), || {
        let mount = Tool::new("mount").args(["-t", "nfs4", "-o", options, &source]);
        Ok(mount.arg(&client).run()?.succeeded().then_some(()))
    })?;
    let _mount = Mount(client.clone());
    check_eq!(fs::read_dir(&client)?.count(), 2, "tenants seen by the client");
    let unit = ctx.unit("client")?;
    let rm = Tool::new("rm").arg("-rf").arg(client.join("customer-000")).unit(&unit);
    let outcome = rm.run()?;
    let known = ["Operation not permitted", "Permission denied"];
    check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
    for line in outcome.stderr.lines() {
        let is_known = known.iter().any(|error| line.ends_with(error));
        check!(is_known, "{}", outcome.describe("should have had no other error than a denial"));
    }
    check!(!outcome.stderr.is_empty(), "{}", outcome.describe("should have said why"));
    tree.lost_exactly(BUDGET)?;
    check!(ctx.holds()?.is_empty(), "nothing should be held: the client's rm waits for nobody");
    let event = ctx.event("a denial", |event| cli::text(event, "verdict") == "deny")?;
    check_eq!(cli::text(&event, "not_held"), "kernel_thread", "why it was not held");
    check_eq!(event["kernel_thread"].as_bool(), Some(true), "whether a kernel thread asked");
    // The other ways to destroy through the server.
    let file = client.join("customer-001/file-0000.dat");
    let onto = client.join("customer-001/file-0001.dat");
    let size = fs::metadata(&file).context("a file on the client")?.len();
    let scripts = [": > \"$1\"", "truncate -s 1 \"$1\"", "mv -f \"$2\" \"$1\"", "rm -f \"$1\""];
    for script in scripts {
        let outcome = crate::harness::sh(script, [&file, &onto])?;
        check!(!outcome.succeeded(), "{}", outcome.describe("should have failed"));
        let is_known = known.iter().any(|error| outcome.stderr.contains(error));
        check!(is_known, "{}", outcome.describe("should have been denied"));
    }
    check_eq!(fs::metadata(tree.file(1, 0))?.len(), size, "size of the file on the server");
    tree.lost_exactly(BUDGET)
}
