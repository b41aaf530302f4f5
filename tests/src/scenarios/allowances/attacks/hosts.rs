//! Attacks with whose allowance it is: another host's, user's, unit's or command's.

use std::fs;

use super::{Attack, attack};
use crate::harness::Tool;
use crate::harness::allowance::{Bound, host_name, sha256};

/// As /etc/machine-id of another host may be.
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// Allowances of another host, user, unit or command.
pub(super) const TABLE: &[Attack] = &[
    attack("another host's", "other_host", "host-a", |scene| {
        let mut draft = scene.draft()?;
        draft.hosts = vec!["host-a".to_owned()];
        scene.run_draft(&draft)
    }),
    attack("another machine's of the same name", "other_host", MACHINE_ID, |scene| {
        let mut draft = scene.draft()?;
        draft.hosts = vec![MACHINE_ID.to_owned()];
        scene.run_draft(&draft)
    }),
    attack("another host's, and expired as well", "other_host", "host-a", |scene| {
        let mut draft = scene.draft()?;
        draft.hosts = vec!["host-a".to_owned()];
        draft.not_after = draft.not_before + 30;
        scene.run_draft(&draft)
    }),
    attack("a host whose name begins like this one's", "other_host", "-2", |scene| {
        let mut draft = scene.draft()?;
        draft.hosts = vec![format!("{}-2", host_name()?)];
        scene.run_draft(&draft)
    }),
    attack("every host's", "any_host", "every host", |scene| {
        let mut draft = scene.draft()?;
        draft.hosts = vec!["*".to_owned()];
        scene.run_draft(&draft)
    }),
    attack("bound to nobody", "unbound", "holdfast run", |scene| {
        scene.draft()?.signed(scene.ctx)?.submit()
    }),
    attack("another user's", "wrong_user", "1000", |scene| {
        let mut draft = scene.draft()?;
        draft.user = Some("1000".to_owned());
        scene.run_draft(&draft)
    }),
    attack("a user's whom this host does not have", "wrong_user", "nobody-here", |scene| {
        let mut draft = scene.draft()?;
        draft.user = Some("nobody-here".to_owned());
        scene.draft_submit(&draft)
    }),
    attack("another unit's", "wrong_unit", "the-right-one", |scene| {
        let right = crate::harness::Unit::new("the-right-one")?;
        let mut draft = scene.draft()?;
        draft.unit = Some(right.path());
        let wrong = scene.ctx.unit("the-wrong-one")?;
        let doc = draft.signed(scene.ctx)?;
        doc.run(crate::scenarios::allowances::unlink(&scene.tree.root)?)
            .unit(&wrong)
            .run()?
            .code(125)
    }),
    attack("a unit's that does not run", "wrong_unit", "no-such.service", |scene| {
        let mut draft = scene.draft()?;
        draft.unit = Some("no-such.service".to_owned());
        scene.draft_submit(&draft)
    }),
    attack("another command's", "wrong_command", "/bin/true", |scene| {
        let mut draft = scene.draft()?;
        let path = "/bin/true";
        let sha256 = sha256(path.as_ref())?;
        draft.command = Some(Bound { path: path.to_owned(), sha256, script: None });
        scene.run_draft(&draft)
    }),
    attack("a command's that was replaced since", "wrong_command", "SHA-256", |scene| {
        let tool = scene.ctx.papers()?.join("tool");
        Tool::new("cp").args(["/bin/rm"]).arg(&tool).ok()?;
        let mut draft = scene.draft()?;
        let (path, sha256) = (tool.display().to_string(), sha256(&tool)?);
        draft.command = Some(Bound { path: path.clone(), sha256, script: None });
        let doc = draft.signed(scene.ctx)?;
        Tool::new("cp").args(["/bin/mv"]).arg(&tool).ok()?;
        doc.run([path, "-rf".to_owned(), scene.tree.root.display().to_string()]).run()?.code(125)
    }),
    attack("a script's that was edited since", "wrong_script", "SHA-256", |scene| {
        let script = scene.ctx.papers()?.join("script.sh");
        fs::write(&script, "rm -rf \"$1\"/customer-000/cache\n")?;
        let bash = fs::canonicalize("/bin/bash")?;
        let mut draft = scene.draft()?;
        draft.command = Some(Bound {
            path: bash.display().to_string(),
            sha256: sha256(&bash)?,
            script: Some((script.display().to_string(), sha256(&script)?)),
        });
        let doc = draft.signed(scene.ctx)?;
        fs::write(&script, "rm -rf \"$1\"\n")?;
        doc.run([bash, script, scene.tree.root.clone()]).run()?.code(125)
    }),
    attack("a script's, and another script is run", "wrong_script", "script.sh", |scene| {
        let script = scene.ctx.papers()?.join("script.sh");
        let bash = fs::canonicalize("/bin/bash")?;
        let mut draft = scene.draft()?;
        draft.command = Some(Bound {
            path: bash.display().to_string(),
            sha256: sha256(&bash)?,
            script: Some((script.display().to_string(), sha256(&script)?)),
        });
        let doc = draft.signed(scene.ctx)?;
        let line = format!("rm -rf {}", scene.tree.root.display());
        doc.run(["bash", "-c", &line]).run()?.code(125)
    }),
    attack("a command's, submitted without it", "unbound", "holdfast run", |scene| {
        let mut draft = scene.draft()?;
        let path = "/bin/true";
        let sha256 = sha256(path.as_ref())?;
        draft.command = Some(Bound { path: path.to_owned(), sha256, script: None });
        scene.draft_submit(&draft)
    }),
];

impl super::Scene<'_, '_> {
    fn draft_submit(
        &self,
        draft: &crate::harness::allowance::Draft,
    ) -> anyhow::Result<crate::harness::Outcome> {
        draft.signed(self.ctx)?.submit()
    }
}
