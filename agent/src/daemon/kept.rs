//! The policy that was in force last, kept beside the audit log: what an agent goes on with that
//! finds its own unusable. Without it one mistake in a file would leave a host unguarded after its
//! next boot.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::OnDisk;
use super::executor::Executor;
use super::plan::{Plan, PlanError};
use crate::clock::Now;
use crate::files::write_whole;
use tracing::{error, info};

/// Its name in the state directory.
const FILE: &str = "policy.in-force.toml";

/// What an agent starts with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The plan to be put in force.
    pub(super) plan: Plan,
    /// The one that was in force last, if that is another: the kernel may refuse the new one.
    pub(super) before: Option<Plan>,
    /// The policy file.
    pub(super) file: String,
    /// Why the plan is not that file's, but the one before.
    pub(super) refused: Option<String>,
}

impl Start {
    /// Reads the policy file, and what was in force last. Fails only if neither can be used.
    pub(super) fn read(file: &Path, state_dir: &Path, now: Now) -> Result<Self, PlanError> {
        let own = Plan::read_at_start(file, now);
        let kept = read(state_dir, now);
        let file = file.display().to_string();
        match (own, kept) {
            (Ok(plan), kept) => {
                if let Err(error) = &kept {
                    // It is written anew as soon as this plan is in force.
                    error!("what was in force last cannot be read\n{error}");
                }
                let before = kept.ok().flatten();
                let before = before.filter(|kept| kept.origin.sha256 != plan.origin.sha256);
                Ok(Self { plan, before, file, refused: None })
            }
            (Err(error), Ok(Some(plan))) => {
                Ok(Self { plan, before: None, file, refused: Some(error.to_string()) })
            }
            (Err(error), Ok(None)) => Err(error),
            (Err(own), Err(kept)) => Err(PlanError::Neither { own: own.into(), kept: kept.into() }),
        }
    }
}

/// Whether an agent has had a policy in force here before.
pub(super) fn is_there(state_dir: &Path) -> bool {
    path(state_dir).exists()
}

/// Where it is.
fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The plan that was in force last; nothing if none ever was.
fn read(state_dir: &Path, now: Now) -> Result<Option<Plan>, PlanError> {
    let path = path(state_dir);
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => Plan::read_at_start(&path, now).map(Some),
    }
}

/// What was kept, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// SHA-256 of what this agent has kept.
    sha256: Option<String>,
    /// Why what is in force is not kept.
    pub(super) error: Option<String>,
}

impl Executor {
    /// Keeps the policy in force, if that has not been done yet.
    pub(super) fn keep_policy(&mut self, plan: &Plan) {
        let (sha256, text) = (plan.origin.sha256.clone(), plan.origin.text.clone());
        self.disk.leave(move |disk| {
            let OnDisk { kept, state_dir, .. } = disk;
            kept.keep(state_dir, sha256, text.as_bytes());
        });
    }
}

impl Kept {
    fn keep(&mut self, state_dir: &Path, sha256: String, text: &[u8]) {
        if self.sha256.as_ref() == Some(&sha256) {
            return;
        }
        match write_whole(state_dir, FILE, text, 0o600) {
            Ok(()) => {
                if self.error.take().is_some() {
                    info!("the policy in force is kept for the next boot now");
                }
                self.sha256 = Some(sha256);
            }
            Err(error) => {
                let why = format!("{}: {error}", path(state_dir).display());
                if self.error.as_ref() != Some(&why) {
                    error!(
                        "the policy in force cannot be kept for a boot that finds the file \
                         unusable: {why}"
                    );
                }
                self.error = Some(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::daemon::test_plan;

    const NOW: Now = Now { boot_ns: 1, wall_ns: 0 };

    /// A state directory, with that kept, and a policy file with that in it.
    fn host(kept: Option<&str>, own: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        for (path, text) in [(path(dir.path()), kept), (file.clone(), own)] {
            if let Some(text) = text {
                fs::write(path, text).unwrap();
            }
        }
        (dir, file)
    }

    fn text(files: u32) -> String {
        test_plan().policy.to_string().replace("files = 200", &format!("files = {files}"))
    }

    fn files(plan: &Plan) -> Option<u64> {
        plan.policy.zones[0].budgets[0].files
    }

    /// The one before is known if it is another.
    #[test]
    fn good_policy_replaces_the_kept_one() {
        let (dir, file) = host(Some(&text(100)), Some(&text(50)));
        let start = Start::read(&file, dir.path(), NOW).unwrap();
        assert_eq!((files(&start.plan), start.refused), (Some(50), None));
        assert_eq!(start.before.as_ref().and_then(files), Some(100));
        let (dir, file) = host(Some(&text(50)), Some(&text(50)));
        assert!(Start::read(&file, dir.path(), NOW).unwrap().before.is_none());
        let (dir, file) = host(Some("broken"), Some(&text(50)));
        assert!(Start::read(&file, dir.path(), NOW).unwrap().before.is_none());
    }

    #[test]
    fn unusable_policy_falls_back_to_kept() {
        for own in [None, Some("broken"), Some("")] {
            let (dir, file) = host(Some(&text(100)), own);
            let start = Start::read(&file, dir.path(), NOW).unwrap();
            assert_eq!(files(&start.plan), Some(100), "{own:?}");
            assert!(start.refused.unwrap().contains("policy.toml"), "{own:?}");
            assert!(start.plan.origin.path.ends_with(FILE), "{}", start.plan.origin.path);
        }
    }

    #[test]
    fn missing_policies_name_both_problems() {
        let (dir, file) = host(None, Some("broken"));
        let error = Start::read(&file, dir.path(), NOW).unwrap_err().to_string();
        assert!(error.contains("policy.toml") && !error.contains(FILE), "{error}");
        let (dir, file) = host(Some("broken too"), None);
        let error = Start::read(&file, dir.path(), NOW).unwrap_err().to_string();
        assert!(error.contains("policy.toml") && error.contains(FILE), "{error}");
    }
}
