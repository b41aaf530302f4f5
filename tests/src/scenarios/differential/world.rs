//! The tree under test as it should be, and the dice.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::inode_of;
use super::ops::Planned;
use crate::harness::worker::{Step, Worker};
use crate::harness::{Random, check_eq, clock};

/// Every file there should be.
#[derive(Debug)]
pub(super) struct World {
    pub(super) files: BTreeMap<PathBuf, Known>,
    pub(super) tenants: Vec<(PathBuf, u64)>,
    pub(super) outside: PathBuf,
    /// How many files were made during the test.
    grown: u32,
}

/// One file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) size: u64,
    pub(super) owner: u32,
    pub(super) tenant: u64,
    pub(super) inode: u64,
    /// The actor that made it during the test, and the boot time before that.
    pub(super) made: Option<(usize, u64)>,
}

impl World {
    /// Eight tenants with 250 files of several owners, which anybody may change.
    pub(super) fn make(root: &Path, outside: &Path, random: &mut Random) -> Result<Self> {
        fs::set_permissions(outside, fs::Permissions::from_mode(0o777))?;
        let mut world = Self {
            files: BTreeMap::new(),
            tenants: Vec::new(),
            outside: outside.to_owned(),
            grown: 0,
        };
        fs::create_dir_all(root)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o777))?;
        for tenant in 0..8 {
            let dir = root.join(format!("tenant-{tenant}"));
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
            let inode = inode_of(&dir)?;
            for file in 0..250 {
                let path = dir.join(format!("{tenant}-{file}"));
                let size = [0, 10, 500, 3000][random.below(4) as usize];
                let owner = [0, 1000, 1001][random.below(3) as usize];
                fs::write(&path, vec![b'x'; size as usize])?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
                chown(&path, Some(owner), Some(owner))?;
                let (tenant, inode) = (inode, inode_of(&path)?);
                let known = Known { size, owner, tenant, inode, made: None };
                world.files.insert(path, known);
            }
            world.tenants.push((dir, inode));
        }
        Ok(world)
    }

    /// Some file that is there.
    pub(super) fn any_file(&self, random: &mut Random) -> (PathBuf, Known) {
        let at = random.below(self.files.len().max(1) as u64) as usize;
        self.files
            .iter()
            .nth(at)
            .map(|(path, &known)| (path.clone(), known))
            .expect("2,000 files are more than the budgets let go in one run")
    }

    /// Has an actor make one file more, in some tenant.
    pub(super) fn grow(
        &mut self,
        worker: &mut Worker,
        (actor, owner): (usize, u32),
        random: &mut Random,
    ) -> Result<()> {
        const SIZE: u64 = 100;
        let (dir, tenant) = &self.tenants[random.below(self.tenants.len() as u64) as usize];
        self.grown += 1;
        let path = dir.join(format!("new-{}", self.grown));
        let made = Some((actor, clock::boot_ns()));
        check_eq!(worker.step(&Step::Make(path.clone(), SIZE))?, 0, "error of making a file");
        let inode = inode_of(&path)?;
        self.files.insert(path, Known { size: SIZE, owner, tenant: *tenant, inode, made });
        Ok(())
    }

    /// Takes note of an op that succeeded.
    pub(super) fn apply(&mut self, planned: &Planned) {
        match &planned.step {
            Step::Unlink(path) => {
                self.files.remove(path);
            }
            Step::Rename(from, to) => {
                let moved = self.files.remove(from);
                let place = self.tenants.iter().find(|(dir, _)| to.starts_with(dir));
                if let (Some(known), Some(&(_, tenant))) = (moved, place) {
                    self.files.insert(to.clone(), Known { tenant, ..known });
                }
            }
            Step::Truncate(path, size) | Step::TruncatePath(path, size) => {
                self.resize(path, *size);
            }
            Step::Empty(path) => self.resize(path, 0),
            Step::Rmdir(_) | Step::Make(..) => {}
        }
    }

    fn resize(&mut self, path: &Path, size: u64) {
        if let Some(known) = self.files.get_mut(path) {
            known.size = size;
        }
    }

    /// Insists that the disk is as it should be.
    pub(super) fn check(&self) -> Result<()> {
        let mut found = 0;
        for (dir, _) in &self.tenants {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                let size = fs::metadata(&path)?.size();
                check_eq!(
                    Some(size),
                    self.files.get(&path).map(|f| f.size),
                    "size of {}",
                    path.display()
                );
                found += 1;
            }
        }
        check_eq!(found, self.files.len(), "files left");
        Ok(())
    }
}
