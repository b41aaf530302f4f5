//! The daemon's side of the manifest: starts the keeper, tells it the names, and writes its seals
//! to the audit log. It never looks at a record.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{Level, error};

use super::message::{Action, Answer, Refusal, Reply};
use super::plan::Plan;
use crate::allowances::Loaded;
use crate::audit::Record;
use crate::kernel::{ActiveZone, DestroyedStream};
use crate::manifest::{DIRECTORY, Keeper, News, RootName, SharedNames};
use crate::report::ManifestFacts;
use crate::roots::Root;

/// The manifest, as the executor has it.
pub(super) struct Manifest {
    names: SharedNames,
    keeper: Option<Keeper>,
    news: UnboundedSender<News>,
}

impl Manifest {
    /// One that is not kept yet, and where its news comes out.
    pub(super) fn new() -> (Self, UnboundedReceiver<News>) {
        let (news, receiver) = unbounded_channel();
        (Self { names: SharedNames::default(), keeper: None, news }, receiver)
    }

    /// The guard is up: from now on what it destroys is kept.
    pub(super) fn start(
        &mut self,
        state_dir: &std::path::Path,
        stream: Option<DestroyedStream>,
        plan: &Plan,
    ) {
        let Some(stream) = stream else { return };
        let (dir, names) = (state_dir.join(DIRECTORY), self.names.clone());
        let max_bytes = plan.policy.manifest.max_bytes;
        match Keeper::start(dir, stream, names, max_bytes, self.news.clone()) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => error!(%error, "the manifest cannot be kept: there is no thread for it"),
        }
    }

    /// A plan is in force.
    pub(super) fn in_force(&self, active: &[ActiveZone], plan: &Plan) {
        let is_recorded = |name: &str| plan.policy.zone(name).is_none_or(|zone| zone.manifest);
        let roots: HashMap<&Path, &Root> = plan
            .zones
            .iter()
            .flat_map(|zone| &zone.roots)
            .map(|root| (&*root.path, root))
            .collect();
        let named = |path: &Path| match roots.get(path) {
            Some(root) => RootName { path: root.name(), level: root.level() },
            None => RootName { path: path.to_owned(), level: 0 },
        };
        self.names.get().in_force(active, is_recorded, named);
        if let Some(keeper) = &self.keeper {
            keeper.limit(plan.policy.manifest.max_bytes);
        }
    }

    /// An allowance or a break-glass is about to be opened.
    pub(super) fn opens(&self, serial: u64, id: &str) {
        self.names.get().allowance(serial, id);
    }

    /// What was opened before the agent started.
    pub(super) fn loaded(&self, loaded: &Loaded, boot_id: &str) {
        for entry in loaded.entries.iter().filter(|entry| entry.boot_id == boot_id) {
            self.opens(entry.serial, &entry.id);
        }
        for entry in loaded.glass.iter().filter(|entry| entry.boot_id == boot_id) {
            self.opens(entry.serial, &entry.id());
        }
    }

    /// Answers once everything that is in the ring now is kept.
    pub(super) fn flush(&self, reply: Reply) {
        let answer = |outcome: Result<(), String>| match outcome {
            Ok(()) => Answer::Json(json!({ "flushed": true }).to_string()),
            Err(why) => Answer::Error(Refusal::Failed, format!("the manifest: {why}")),
        };
        match &self.keeper {
            // Whoever asked may be gone.
            Some(keeper) => {
                keeper.flush(Box::new(move |outcome| drop(reply.send(answer(outcome)))))
            }
            None => drop(reply.send(answer(Err("it is not kept: there is no guard".to_owned())))),
        }
    }

    /// Ends the keeper, and returns what the audit log has to know.
    pub(super) fn stop(&mut self, news: &mut UnboundedReceiver<News>) -> Vec<Record> {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        std::iter::from_fn(|| news.try_recv().ok()).map(record).collect()
    }

    /// For the metrics.
    pub(super) fn facts(&self) -> Option<ManifestFacts> {
        let keeper = self.keeper.as_ref()?;
        let stats = &keeper.stats;
        Some(ManifestFacts {
            records: stats.records.load(Ordering::Relaxed),
            bytes: stats.bytes.load(Ordering::Relaxed),
            oldest: stats.oldest.load(Ordering::Relaxed),
            failing: stats.failing.load(Ordering::Relaxed) || keeper.has_ended(),
        })
    }
}

/// What to do about news.
pub(super) fn heard(news: News) -> Vec<Action> {
    let mut actions = Vec::new();
    if let News::Summarised(gone) = &news {
        let message = format!(
            "the manifest has no more room: of segment {}, with {} ops, only sums are left; raise \
             `max_bytes` of [manifest], or copy the segments elsewhere in time",
            gone.segment, gone.records
        );
        actions.push(Action::Log(Level::WARN, message));
    }
    actions.push(Action::Record(Box::new(record(news))));
    actions
}

fn record(news: News) -> Record {
    match news {
        News::Sealed(sealed) => Record::ManifestSeal { sealed },
        News::Summarised(summarised) => Record::ManifestSummarise { summarised },
    }
}
