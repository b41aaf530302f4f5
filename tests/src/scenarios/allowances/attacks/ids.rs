//! Attacks with the id: an allowance can be used once on each host.

use std::fs;

use anyhow::Result;

use super::{Attack, Scene, attack};
use crate::harness::allowance::Doc;
use crate::harness::cli;

pub(super) const TABLE: &[Attack] = &[
    attack("used a second time", "already_used", "was activated", |scene| {
        let doc = used(scene)?;
        scene.run(&doc)
    }),
    attack(
        "used a second time after the agent's restart",
        "already_used",
        "was activated",
        |scene| {
            let doc = used(scene)?;
            scene.ctx.lab.stop()?;
            scene.ctx.lab.start(false)?;
            scene.run(&doc)
        },
    )
    .restarting(),
    attack("used a second time under another name", "already_used", "was activated", |scene| {
        let doc = used(scene)?;
        let copy = Doc { path: doc.path.with_file_name("copy.toml"), ..doc.clone() };
        fs::copy(&doc.path, &copy.path)?;
        for person in ["alice", "bob"] {
            fs::copy(doc.signature(person), copy.signature(person))?;
        }
        scene.run(&copy)
    }),
    attack("another document with a used id", "id_reused", "another document", |scene| {
        used(scene)?;
        let mut draft = scene.draft()?;
        draft.grants[0].files = 999;
        scene.run_draft(&draft)
    }),
    attack("revoked before it was ever used", "revoked", "was revoked", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        doc.revoke()?;
        scene.run(&doc)
    }),
    attack("revoked, and the agent restarted", "revoked", "was revoked", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        cli::holdfast(["allow", "revoke", &doc.id])?.ok()?;
        scene.ctx.lab.kill()?;
        scene.ctx.lab.start(false)?;
        scene.run(&doc)
    })
    .restarting(),
    attack("while another is open for the same user", "bind_taken", "same user", |scene| {
        let mut draft = scene.draft()?;
        draft.user = Some("1000".to_owned());
        let first = draft.signed(scene.ctx)?;
        first.submit()?.ok()?;
        draft.id += "-second";
        let second = draft.signed(scene.ctx)?.submit();
        first.revoke()?;
        second
    }),
];

/// One that was used as it should be, for a command that deletes nothing.
pub(super) fn used(scene: &Scene<'_, '_>) -> Result<Doc> {
    let doc = scene.draft()?.signed(scene.ctx)?;
    doc.run(["true"]).run()?.ok()?;
    doc.becomes("closed", Some("finished"))?;
    Ok(doc)
}
