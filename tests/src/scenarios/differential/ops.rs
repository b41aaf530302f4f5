//! What to do next, and what that should cost.

use std::iter::Peekable;
use std::path::Path;
use std::slice::Iter;

use anyhow::Result;
use holdfast_abi::{Cost, Op, Who, WhoMask};
use rustix::io::Errno;
use serde_json::Value;

use super::world::World;
use crate::harness::worker::Step;
use crate::harness::{Random, check, cli};

/// One op and everything about it that does not depend on the kernel.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) op: Op,
    pub(super) cost: Cost,
    /// Owner of what is destroyed.
    owner: u32,
    /// The actor that made it, if one did, and when.
    made: Option<(usize, u64)>,
}

/// Rolls the dice.
pub(super) fn plan(world: &World, random: &mut Random) -> Planned {
    let (path, known) = world.any_file(random);
    // All of it is allocated: no file ever grows from nothing, which would leave a hole.
    let whole = Cost { files: 1, bytes: known.size, tenant: known.tenant };
    let planned = |step, op, cost| Planned { step, op, cost, owner: known.owner, made: known.made };
    match random.below(100) {
        0..40 => planned(Step::Unlink(path), Op::Remove, whole),
        40..55 => {
            // From the same tenant: taking it from another would be an op of its own.
            let from = loop {
                let (other, of) = world.any_file(random);
                if other != path && of.tenant == known.tenant {
                    break other;
                }
            };
            planned(Step::Rename(from, path), Op::Replace, whole)
        }
        55..80 => {
            let size = [0, 5, 400, 4000][random.below(4) as usize];
            let size = if known.size == 0 { 0 } else { size };
            let lost = known.size.saturating_sub(size);
            let cost = Cost { files: u64::from(lost > 0), bytes: lost, tenant: known.tenant };
            planned(Step::Truncate(path, size), Op::Truncate, cost)
        }
        80..90 => {
            let name = path.file_name().unwrap_or_default();
            let to = world.outside.join(name);
            planned(Step::Rename(path, to), Op::MoveOut, whole)
        }
        _ => {
            let (dir, tenant) = &world.tenants[random.below(world.tenants.len() as u64) as usize];
            Planned {
                step: Step::Rmdir(dir.clone()),
                op: Op::Remove,
                cost: Cost { files: 1, bytes: 0, tenant: *tenant },
                owner: 0,
                made: None,
            }
        }
    }
}

impl Planned {
    pub(super) fn is_free(&self) -> bool {
        self.cost.files == 0 && self.cost.bytes == 0
    }

    /// What a caller is for what is destroyed.
    pub(super) fn who(&self, uid: u32) -> WhoMask {
        if uid != 0 && uid == self.owner { Who::OWNER_BIT } else { Who::OPERATOR_BIT }
    }

    /// When this actor made it, if it did.
    pub(super) fn made_at(&self, actor: usize) -> Option<u64> {
        self.made.filter(|(maker, _)| *maker == actor).map(|(_, at)| at)
    }

    /// The event of this op, which a unit did and which ended with this error number. There need
    /// not be one for an op that destroys nothing, nor for the removal of a filled directory: no
    /// budget is asked if it might refuse.
    pub(super) fn event<'a>(
        &self,
        events: &mut Peekable<Iter<'a, Value>>,
        unit: u64,
        errno: i32,
    ) -> Result<Option<&'a Value>> {
        if let Some(event) = events.next_if(|event| self.is_in(event, unit)) {
            return Ok(Some(event));
        }
        let is_told = !self.is_free() && errno != Errno::NOTEMPTY.raw_os_error();
        check!(
            !is_told,
            "the event of {self:?} by unit {unit} should be next: {:?}",
            events.peek()
        );
        Ok(None)
    }

    /// Whether this event is about this op of that unit, with this cost.
    fn is_in(&self, event: &Value, unit: u64) -> bool {
        let number = |key| cli::number(event, key).ok();
        let path = Path::new(cli::text(event, "path"));
        cli::text(event, "op") == self.op.word()
            && cli::number(&event["unit"], "id").ok() == Some(unit)
            && number("files") == Some(self.cost.files)
            && number("bytes") == Some(self.cost.bytes)
            && path.file_name() == self.target().file_name()
    }

    /// What is destroyed or leaves.
    pub(super) fn target(&self) -> &Path {
        match &self.step {
            Step::Unlink(path)
            | Step::Rmdir(path)
            | Step::Truncate(path, _)
            | Step::TruncatePath(path, _)
            | Step::Empty(path)
            | Step::Make(path, _) => path,
            Step::Rename(from, to) => match self.op {
                Op::Replace => to,
                _ => from,
            },
        }
    }
}
