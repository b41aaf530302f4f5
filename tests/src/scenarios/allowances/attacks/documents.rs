//! Attacks with what a document says.

use std::fs;

use super::{Attack, attack};
use crate::harness::allowance::Grant;
use crate::harness::clock;
use crate::harness::signing::mail;

const HOUR: i64 = 3600;

pub(super) const TABLE: &[Attack] = &[
    attack("a field nobody knows", "malformed", "superpower", |scene| {
        let doc = scene.draft()?.write(scene.ctx)?;
        let text = fs::read_to_string(&doc.path)?;
        fs::write(&doc.path, format!("superpower = true\n{text}"))?;
        doc.sign("alice")?;
        doc.sign("bob")?;
        scene.run(&doc)
    }),
    attack("in another form than the canonical one", "not_canonical", "one form", |scene| {
        let doc = scene.draft()?.write(scene.ctx)?;
        let text = fs::read_to_string(&doc.path)?;
        fs::write(&doc.path, format!("# only a comment\n{text}"))?;
        doc.sign("alice")?;
        doc.sign("bob")?;
        scene.run(&doc)
    }),
    attack("its time is over", "expired", "was good until", |scene| {
        let mut draft = scene.draft()?;
        (draft.not_before, draft.not_after) = (clock::now() - HOUR, clock::now() - 1);
        scene.run_draft(&draft)
    }),
    attack("its time is to come", "not_yet_valid", "good from", |scene| {
        let mut draft = scene.draft()?;
        (draft.not_before, draft.not_after) = (clock::now() + HOUR, clock::now() + 2 * HOUR);
        scene.run_draft(&draft)
    }),
    attack("it is good for too long", "too_long", "at most 8h", |scene| {
        let mut draft = scene.draft()?;
        draft.not_after = draft.not_before + 9 * HOUR;
        scene.run_draft(&draft)
    }),
    attack("a zone that this host does not have", "unknown_zone", "no zone", |scene| {
        let mut draft = scene.draft()?;
        draft.grants[0].zone = "nowhere".to_owned();
        scene.run_draft(&draft)
    }),
    attack("primary and backup at once", "interlock", "at once", |scene| {
        let backup = Grant::removals(&scene.backup(), &[&scene.ctx.base.join("backup")], 10);
        let draft = scene.draft_of(vec![scene.removals(), backup])?;
        let doc = draft.signed_by(scene.ctx, &["alice", "bob", "carol"])?;
        scene.run(&doc)
    }),
    attack("a pattern that leads to nothing", "nothing_matches", "no-such-customer-", |scene| {
        let nowhere = scene.tree.root.join("no-such-customer-*");
        let draft = scene.draft_of(vec![Grant::removals(&scene.ctx.zone, &[&nowhere], 10)])?;
        scene.run_draft(&draft)
    }),
    attack("a subtree outside of its zone", "outside_zone", "/backup", |scene| {
        let backup = scene.ctx.base.join("backup");
        let draft = scene.draft_of(vec![Grant::removals(&scene.ctx.zone, &[&backup], 10)])?;
        scene.run_draft(&draft)
    }),
    attack("everything above the zone", "outside_zone", "which is not in zone", |scene| {
        let draft =
            scene.draft_of(vec![Grant::removals(&scene.ctx.zone, &[&scene.ctx.base], 10)])?;
        scene.run_draft(&draft)
    }),
    attack("the whole host", "malformed", "whole filesystem", |scene| {
        let doc = scene.draft()?.write(scene.ctx)?;
        let root = scene.tree.root.display().to_string();
        let text = fs::read_to_string(&doc.path)?;
        fs::write(&doc.path, text.replace(&format!("\"{root}\""), "\"/\""))?;
        doc.sign("alice")?;
        doc.sign("bob")?;
        scene.run(&doc)
    }),
    attack("a link that leads out of the zone", "outside_zone", "link", |scene| {
        let link = scene.ctx.base.join("link");
        std::os::unix::fs::symlink(scene.ctx.base.join("backup"), &link)?;
        let draft = scene.draft_of(vec![Grant::removals(&scene.ctx.zone, &[&link], 10)])?;
        scene.run_draft(&draft)
    }),
    attack(
        "asked for by somebody who signed under other capitals",
        "requester_signed",
        "asks",
        |scene| {
            let mut draft = scene.draft()?;
            draft.requested_by = mail("Alice");
            scene.run_draft(&draft)
        },
    ),
];
