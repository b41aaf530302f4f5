//! Attacks with signatures.

use std::fs;

use super::{Attack, attack};
use crate::harness::signing::{NAMESPACE, SIGNERS, Signing, mail};

pub(super) const TABLE: &[Attack] = &[
    attack("nobody has signed it", "unsigned", "nobody has signed", |scene| {
        let doc = scene.draft()?.write(scene.ctx)?;
        scene.run(&doc)
    }),
    attack("edited after it was signed", "signature_invalid", "not what was signed", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        let text = fs::read_to_string(&doc.path)?;
        fs::write(&doc.path, text.replace("files = 1000", "files = 9999"))?;
        scene.run(&doc)
    }),
    attack(
        "with another document's signature",
        "signature_invalid",
        "not what was signed",
        |scene| {
            let mut draft = scene.draft()?;
            let doc = draft.signed(scene.ctx)?;
            draft.id += "-other";
            let other = draft.signed(scene.ctx)?;
            fs::copy(other.signature("bob"), doc.signature("bob"))?;
            scene.run(&doc)
        },
    ),
    attack("for another tool's namespace", "wrong_namespace", "git", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice"])?;
        doc.sign_for("bob", "git")?;
        scene.run(&doc)
    }),
    attack("cut short", "signature_malformed", "no SSH signature", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        let armour = fs::read_to_string(doc.signature("bob"))?;
        fs::write(doc.signature("bob"), &armour[..armour.len() / 2])?;
        scene.run(&doc)
    }),
    attack("not a signature at all", "signature_malformed", "no SSH signature", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        fs::write(doc.signature("bob"), "trust me\n")?;
        scene.run(&doc)
    }),
    attack("one of two needed", "too_few_signers", "1 of 2", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice"])?;
        scene.run(&doc)
    }),
    attack("one person twice, with two keys", "same_person", "alice@example.com", |scene| {
        scene.signing(&Signing::usual()?.and_line("alice", "alice-laptop", "")?)?;
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice", "alice-laptop"])?;
        scene.run(&doc)
    }),
    attack("one signature twice", "same_key", "counts once", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice"])?;
        fs::copy(doc.signature("alice"), doc.signature("bob"))?;
        scene.run(&doc)
    }),
    attack("one key under two names", "signer_ambiguous", "2 people", |scene| {
        scene.signing(&Signing::usual()?.without("bob").and_line("bob", "alice", "")?)?;
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice"])?;
        fs::copy(doc.signature("alice"), doc.signature("bob"))?;
        scene.run(&doc)
    }),
    attack("somebody nobody knows", "unknown_signer", "allowed_signers", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice", "stranger"])?;
        scene.run(&doc)
    }),
    attack("somebody the policy does not name", "signer_not_in_policy", "policy", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice", "mallory"])?;
        scene.run(&doc)
    }),
    attack(
        "a key for other purposes",
        "signer_not_for_allowances",
        "not for allowances",
        |scene| {
            scene.signing(&Signing::usual()?.without("bob").and_line(
                "bob",
                "bob",
                "namespaces=\"git\"",
            )?)?;
            let draft = scene.draft()?;
            scene.run_draft(&draft)
        },
    ),
    attack("a key whose time is over", "signer_expired", "2020", |scene| {
        let options = format!("namespaces=\"{NAMESPACE}\",valid-before=\"20200101Z\"");
        scene.signing(&Signing::usual()?.without("bob").and_line("bob", "bob", &options)?)?;
        let draft = scene.draft()?;
        scene.run_draft(&draft)
    }),
    attack("a key whose time is to come", "signer_not_yet_valid", "2090", |scene| {
        let options = format!("namespaces=\"{NAMESPACE}\",valid-after=\"20900101Z\"");
        scene.signing(&Signing::usual()?.without("bob").and_line("bob", "bob", &options)?)?;
        let draft = scene.draft()?;
        scene.run_draft(&draft)
    }),
    attack("a key that is revoked", "signer_revoked", "revoked", |scene| {
        scene.signing(&Signing::usual()?.revoke("bob")?)?;
        let draft = scene.draft()?;
        scene.run_draft(&draft)
    }),
    attack("a key that is too weak", "weak_key", "weak", |scene| {
        let doc = scene.draft()?.signed_by(scene.ctx, &["alice", "dave-rsa1024"])?;
        scene.run(&doc)
    }),
    attack("a key in a file where hardware is needed", "not_hardware", "hardware", |scene| {
        scene.signing(&Signing::usual()?.hardware())?;
        let draft = scene.draft()?;
        scene.run_draft(&draft)
    }),
    attack("who asks for it has signed it", "requester_signed", "asks for it", |scene| {
        let mut draft = scene.draft()?;
        draft.requested_by = mail("alice");
        scene.run_draft(&draft)
    }),
    attack("a group is missing", "group_missing", "backup-owners", |scene| {
        let mut draft = scene.draft()?;
        draft.grants[0].zone = scene.backup();
        draft.grants[0].subtrees = vec![scene.ctx.base.join("backup").display().to_string()];
        scene.run_draft(&draft)
    }),
    attack("a role for which nobody is trusted", "nobody_trusted", "primary", |scene| {
        scene.signing(&Signing::usual()?.primary_needs(&[]))?;
        let draft = scene.draft()?;
        scene.run_draft(&draft)
    }),
    attack("forty signatures", "too_many_signatures", "40", |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        for n in 0..38 {
            fs::copy(doc.signature("alice"), doc.signature(&format!("again-{n}")))?;
        }
        scene.run(&doc)
    }),
    attack("nobody can say whose key is whose", "signers_unreadable", SIGNERS, |scene| {
        let doc = scene.draft()?.signed(scene.ctx)?;
        fs::write(SIGNERS, "alice@example.com cert-authority,namespaces= what\n")?;
        scene.run(&doc)
    }),
];
