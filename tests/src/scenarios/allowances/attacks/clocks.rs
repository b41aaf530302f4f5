//! Attacks with the clock: set back, an allowance whose time is over would be good again.

use anyhow::Result;

use super::{Attack, Scene, attack};
use crate::harness::Outcome;
use crate::harness::clock::{self, Way, WrongClock};

const HOUR: i64 = 3600;

pub(super) const TABLE: &[Attack] = &[
    attack("set back by settimeofday", "clock_set_back", "set back", |scene| {
        set_back(scene, Way::Set, false)
    }),
    attack("set back by adjtimex", "clock_set_back", "set back", |scene| {
        set_back(scene, Way::Adjust, false)
    }),
    attack("set back while no agent was there", "clock_set_back", "set back", |scene| {
        set_back(scene, Way::Set, true)
    })
    .restarting(),
    attack("set back by two minutes", "clock_set_back", "set back", |scene| {
        let mut draft = scene.draft()?;
        (draft.not_before, draft.not_after) = (clock::now() - HOUR, clock::now() - 30);
        let doc = draft.signed(scene.ctx)?;
        let _clock = WrongClock::shifted(-120, Way::Set)?;
        scene.run(&doc)
    }),
];

/// Two hours back, to when the document was good.
fn set_back(scene: &mut Scene<'_, '_>, way: Way, restart: bool) -> Result<Outcome> {
    // One that is right: what time it is has been believed then.
    if scene.attempt == 1 {
        let mut right = scene.draft()?;
        right.id += "-right";
        right.signed(scene.ctx)?.run(["true"]).run()?.ok()?;
    }
    let mut draft = scene.draft()?;
    (draft.not_before, draft.not_after) = (clock::now() - 3 * HOUR, clock::now() - HOUR);
    let doc = draft.signed(scene.ctx)?;
    if restart {
        scene.ctx.lab.stop()?;
    }
    let clock = WrongClock::shifted(-2 * HOUR, way)?;
    if restart {
        scene.ctx.lab.start(false)?;
    }
    let outcome = scene.run(&doc);
    drop(clock);
    outcome
}
