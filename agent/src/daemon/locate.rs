//! Finds out where a path is and who asks, for `explain`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_abi::Who;
use holdfast_policy::decide::Released;

use super::message::Refusal;
use super::plan::Plan;
use crate::api::{Caller, Cost, UnitRef};
use crate::clock::Now;
use crate::kernel::Guard;
use crate::report::{Place, Question};
use crate::roots::{Mounts, Root};
use crate::text;
use crate::units::Units;

type Outcome<T> = Result<T, (Refusal, String)>;

/// Looks at `path` for process `pid`.
pub(super) fn question(
    path: &[u8],
    pid: u32,
    plan: &Plan,
    guard: Option<&mut Guard>,
    units: &mut Units,
    now: Now,
) -> Outcome<Question> {
    let caller = caller(pid, units, now)?;
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let shown = text::for_terminal(path.as_os_str().as_bytes());
    let refuse = |error: io::Error| {
        let kind = if error.kind() == io::ErrorKind::NotFound {
            Refusal::NotFound
        } else {
            Refusal::BadInput
        };
        (
            kind,
            format!(
                "cannot look at {shown}: {error}\n  help: name a file or directory that exists"
            ),
        )
    };
    let mut lookup = Lookup::new(plan, guard).map_err(failed)?;
    answers(&lookup.mounts, &path)?;
    let path = resolve_directory(&path).map_err(refuse)?;
    let metadata = fs::symlink_metadata(&path).map_err(refuse)?;
    let mut notes = Vec::new();
    let is_root = metadata.is_dir() && lookup.zone_of(&path).map_err(failed)?.is_some();
    let place = place(&path, metadata.is_dir(), &mut lookup).map_err(failed)?;
    if lookup.guard.is_none() {
        notes.push(
            "there is no guard to ask: the zone is what the policy says, by inode numbers"
                .to_owned(),
        );
    }
    let cost = cost(&metadata, &mut notes);
    if is_root {
        notes.push(
            "this is a root of the zone: removing or renaming it is `detach`, of unknown cost"
                .to_owned(),
        );
    }
    let who =
        if caller.uid != 0 && caller.uid == metadata.uid() { Who::Owners } else { Who::Operators };
    let caller = Caller { who: who.word().to_owned(), ..caller };
    let path = path.into_os_string().into_vec();
    let released = Released::default();
    let spends = HashMap::new();
    Ok(Question { path, place, caller, cost, is_root, released, spends, notes })
}

/// Refuses to look where nobody may answer: the loop would wait, and with it everybody who is held.
fn answers(mounts: &Mounts, path: &Path) -> Outcome<()> {
    let Some(mount) = mounts.unanswering(path) else { return Ok(()) };
    let message = format!(
        "{} is on {}, where nothing can be guarded; the agent does not look there, as that may \
         never answer",
        text::for_terminal(path.as_os_str().as_bytes()),
        mount.filesystem
    );
    Err((Refusal::BadInput, message))
}

/// The process as budgets see it; `who` is filled in later.
pub(super) fn caller(pid: u32, units: &mut Units, now: Now) -> Outcome<Caller> {
    let missing =
        |error: io::Error| (Refusal::NotFound, format!("cannot look at process {pid}: {error}"));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(missing)?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| (Refusal::Failed, format!("/proc/{pid}/status has no Uid")))?;
    // Kernels without audit support have no login uid.
    let login_uid = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok();
    let login_uid =
        login_uid.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
    let unit = units.of_process(pid).map(|(id, path)| {
        let path = units.name(id, Some(pid), now).or(Some(path));
        UnitRef { id, path }
    });
    Ok(Caller { pid, uid, login_uid, unit, who: String::new() })
}

/// Follows links in all of the path but its last name: that is what a removal does.
fn resolve_directory(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(path),
    }
}

/// Finds zones, for one question.
pub(super) struct Lookup<'a> {
    plan: &'a Plan,
    guard: Option<&'a mut Guard>,
    mounts: Mounts,
    /// What was found: paths next to each other have the same directories above them.
    known: HashMap<PathBuf, Option<(usize, PathBuf)>>,
}

impl<'a> Lookup<'a> {
    /// Looks at how things are now.
    pub(super) fn new(plan: &'a Plan, guard: Option<&'a mut Guard>) -> io::Result<Self> {
        Ok(Self { plan, guard, mounts: Mounts::read()?, known: HashMap::new() })
    }

    /// Index of the zone of which this directory is a root, and the root's path.
    fn zone_of(&mut self, dir: &Path) -> io::Result<Option<(usize, PathBuf)>> {
        if let Some(known) = self.known.get(dir) {
            return Ok(known.clone());
        }
        let found = self.ask_zone_of(dir)?;
        self.known.insert(dir.to_owned(), found.clone());
        Ok(found)
    }

    fn ask_zone_of(&mut self, dir: &Path) -> io::Result<Option<(usize, PathBuf)>> {
        match &mut self.guard {
            Some(guard) => {
                let learned = guard.learn(File::open(dir)?.as_fd()).map_err(io::Error::other)?;
                let same = |root: &holdfast_abi::Learned| {
                    (root.ino, root.dev, root.generation)
                        == (learned.ino, learned.dev, learned.generation)
                };
                let found = guard.zones().iter().find_map(|zone| {
                    let found = zone.roots.iter().find(|(_, root)| same(root));
                    // One that is kept is wherever it was found now.
                    let kept = || zone.kept_roots.iter().any(same).then(|| dir.to_owned());
                    let root = found.map(|(path, _)| path.clone()).or_else(kept)?;
                    let index = self
                        .plan
                        .policy
                        .zones
                        .iter()
                        .position(|other| other.name.as_str() == zone.name)?;
                    Some((index, root))
                });
                Ok(found)
            }
            None => {
                let (identity, _) = crate::roots::identity(dir)?;
                let found = self.plan.zones.iter().enumerate().find_map(|(index, zone)| {
                    let root = zone.roots.iter().find(|root| root.identity == identity)?;
                    Some((index, root.path.clone()))
                });
                Ok(found)
            }
        }
    }
}

/// Walks up to the filesystem's root, as the kernel does.
pub(super) fn place(
    path: &Path,
    is_dir: bool,
    lookup: &mut Lookup<'_>,
) -> io::Result<Option<Place>> {
    let path = widest(path, &lookup.mounts)?;
    let device = fs::symlink_metadata(&path)?.dev();
    // Directories from the path up to the root, the path itself included.
    let mut below: Vec<PathBuf> = if is_dir { vec![] } else { vec![path.clone()] };
    let mut dir = if is_dir { Some(path.as_path()) } else { path.parent() };
    while let Some(current) = dir {
        let metadata = fs::metadata(current)?;
        if metadata.dev() != device {
            break;
        }
        if let Some((zone, root)) = lookup.zone_of(current)? {
            let depth = lookup.plan.policy.zones[zone].tenant_depth as usize;
            let known = lookup.plan.zones[zone].roots.iter().find(|known| known.path == root);
            let level = known.map_or(0, |known| known.level() as usize);
            let tenant = match known {
                Some(branch) if level >= depth && level > 0 => {
                    Some((branch.tenant, branch_tenant(branch, depth)))
                }
                _ => {
                    let salt = known.filter(|_| depth > 0).map_or(0, |known| known.tenant);
                    let found = tenant(current, &below, depth.saturating_sub(level))?;
                    found.map(|(ino, name)| (ino ^ salt, name))
                }
            };
            return Ok(Some(Place { zone, root: root.into_os_string().into_vec(), tenant }));
        }
        below.push(current.to_owned());
        dir = current.parent();
    }
    Ok(None)
}

/// The name of the tenant that everything below a branch belongs to.
fn branch_tenant(branch: &Root, depth: usize) -> Vec<u8> {
    let name = branch.below.components().take(depth).last();
    let name = name.map(|name| name.as_os_str()).or(branch.protected.file_name());
    name.unwrap_or(OsStr::new("/")).as_bytes().to_vec()
}

/// The directory `depth` levels below the root, if the path is in it or is it.
fn tenant(root: &Path, below: &[PathBuf], depth: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
    let dir = match depth {
        0 => root,
        _ => match below.len().checked_sub(depth) {
            Some(index) => &below[index],
            None => return Ok(None),
        },
    };
    let metadata = fs::symlink_metadata(dir)?;
    let name = dir.file_name().unwrap_or(OsStr::new("/")).as_bytes().to_vec();
    Ok(metadata.is_dir().then(|| (metadata.ino(), name)))
}

/// The same file under a path that shows as much of its filesystem above it as the agent can see. A
/// bind mount hides what is above it, and the kernel does not care.
fn widest(path: &Path, mounts: &Mounts) -> io::Result<PathBuf> {
    let wider = mounts.place(path).and_then(|(device, place)| mounts.reach(device, &place));
    let same = |other: &PathBuf| -> io::Result<bool> {
        let (a, b) = (fs::symlink_metadata(path)?, fs::symlink_metadata(other)?);
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    };
    Ok(wider.filter(|other| same(other).unwrap_or(false)).unwrap_or_else(|| path.to_owned()))
}

/// What removing it destroys.
fn cost(metadata: &Metadata, notes: &mut Vec<String>) -> Cost {
    if metadata.is_dir() {
        notes.push(
            "only an empty directory can be removed; what is in it is not counted here".to_owned(),
        );
        return Cost { files: 1, bytes: 0 };
    }
    if metadata.nlink() > 1 {
        notes.push(format!(
            "it has {} links: removing one of them destroys nothing",
            metadata.nlink()
        ));
        return Cost::default();
    }
    Cost { files: 1, bytes: metadata.len() }
}

fn failed(error: io::Error) -> (Refusal, String) {
    (Refusal::Failed, format!("cannot find out which zone it is in: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who asked about a path on a server that was gone stopped the agent's loop, and with
    /// it every hold on the host.
    #[test]
    fn unresponsive_filesystem_is_not_queried() {
        let mounts =
            Mounts::parse(b"1 0 8:1 / / rw - ext4 x rw\n2 1 0:40 / /srv/nfs rw - nfs4 x rw\n");
        assert!(answers(&mounts, Path::new("/srv/local/a")).is_ok());
        let (refusal, message) = answers(&mounts, Path::new("/srv/nfs/a\u{1b}")).unwrap_err();
        assert_eq!(refusal, Refusal::BadInput);
        assert!(message.starts_with("/srv/nfs/a\\x1b is on nfs4"), "{message}");
    }

    #[test]
    fn tenant_is_found_by_depth() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/f"), "").unwrap();
        let path = |name: &str| dir.path().join(name);
        let below = [path("a/b/f"), path("a/b"), path("a")];
        let name = |below: &[PathBuf], depth| {
            tenant(dir.path(), below, depth)
                .unwrap()
                .map(|(_, name)| String::from_utf8(name).unwrap())
        };
        assert_eq!(name(&below, 1).as_deref(), Some("a"));
        assert_eq!(name(&below, 2).as_deref(), Some("b"));
        assert_eq!(name(&below, 3), None, "a file is no tenant");
        assert_eq!(name(&below, 4), None, "above all tenants");
        assert_eq!(
            name(&below, 0),
            dir.path().file_name().map(|name| name.to_str().unwrap().to_owned())
        );
    }

    #[test]
    fn the_last_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("self")).unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        assert_eq!(resolve_directory(&dir.path().join("self/link")).unwrap(), real.join("link"));
    }
}
