//! Codes and signatures: each good once, and a thousand wrong ones change nothing.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::harness::agent::BINARY;
use crate::harness::break_glass::{self, Glass, refused, refused_for, table};
use crate::harness::signing::{self, Signing};
use crate::harness::{Budget, Ctx, Tool, check, check_eq, cli, policy, until};
use crate::runner::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::once("break_glass_opens_after_wrong_codes", thousand),
    Scenario::once("break_glass_keeps_only_code_hashes", hashes),
    Scenario::once("break_glass_signatures_need_hardware_keys", signatures),
];

const WRONG: usize = 1000;
const THREADS: usize = 24;

/// After a thousand wrong codes the right one still opens.
fn thousand(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 10)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(1))])?;
    // Well formed, and worthless: they were replaced.
    let mut wrong = Vec::new();
    while wrong.len() < WRONG {
        wrong.extend(break_glass::only_codes(100)?);
    }
    let right = break_glass::only_codes(1)?.remove(0);
    let all = |ctx: &Ctx<'_>| {
        Ok::<_, anyhow::Error>(refused(ctx, "wrong_code")? + refused(ctx, "already_open")?)
    };
    let before = all(ctx)?;
    let (queue, odd) = (Mutex::new(wrong), Mutex::new(Vec::new()));
    let zone = ctx.zone.clone();
    let started = Instant::now();
    let opened = std::thread::scope(|scope| -> Result<f64> {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let next = || queue.lock().ok()?.pop();
                while let Some(code) = next() {
                    let answer = break_glass::ask(&zone, &code);
                    let is_refused = matches!(
                        &answer,
                        Ok((422, value)) if cli::text(value, "reason") == "wrong_code"
                    );
                    if !is_refused && let Ok(mut odd) = odd.lock() {
                        odd.push(format!("{answer:?}"));
                    }
                }
            });
        }
        // In the middle of it, the right one, which waits for nobody.
        while queue.lock().map_err(|_| anyhow!("poisoned"))?.len() > WRONG / 2 {
            std::thread::yield_now();
        }
        let asked = Instant::now();
        Glass::new(&zone).host_wide(&right).run()?.ok()?;
        break_glass::close()?;
        Ok(asked.elapsed().as_secs_f64())
    })?;
    let odd = odd.into_inner().map_err(|_| anyhow!("poisoned"))?;
    // While one was open others were refused for that, and not looked at.
    let odd: Vec<_> = odd.into_iter().filter(|answer| !answer.contains("already_open")).collect();
    check_eq!(odd, Vec::<String>::new(), "answers that are no refusal of a wrong code");
    check_eq!(all(ctx)? - before, WRONG as f64, "refusals counted");
    let metrics = ctx.lab.metrics()?;
    check_eq!(metrics.sum("holdfast_break_glass_guessing", &[]), 1.0, "the alert");
    let opened_total = metrics.sum("holdfast_break_glass_opened_total", &[("zone", &ctx.zone)]);
    check_eq!(opened_total, 1.0, "times one was opened");
    let told = until("the audit log has wrong codes", Duration::from_secs(90), || {
        let is_told = |record: &Value| cli::text(record, "reason") == "wrong_code";
        let told = cli::audit()?.iter().filter(|record| is_told(record)).count();
        Ok((told > 0).then_some(told))
    })?;
    check!(told <= 10, "{told} records of wrong codes: there should be one a minute");
    ctx.lab.note(format!(
        "{WRONG} wrong codes in {:.1} s, the right one among them opened and closed in \
        {opened:.1} s",
        started.elapsed().as_secs_f64()
    ));
    tree.lost_exactly(0)
}

fn hashes(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 10)?;
    ctx.guard_glass(&[ctx.new_zone(&tree.root).budget(Budget::files(1))])?;
    let codes = break_glass::codes(3)?;
    let glass = Glass::new(&ctx.zone);
    glass.host_wide(&codes[0]).run()?.ok()?;
    break_glass::close()?;
    refused_for(ctx, "used_code", || glass.host_wide(&codes[0]).run()?.code(3))?;
    glass.host_wide(&codes[1]).run()?.ok()?;
    // Neither used nor unused ones are anywhere, in no part.
    for code in &codes {
        for place in ["/var/lib/holdfast", "/tmp/holdfast-agent.log", "/run/holdfast"] {
            for form in [code.clone(), code.replace('-', "")] {
                let grep = Tool::new("grep").args(["-r", "-a", "-i", "-l", "-s", &form, place]);
                grep.run()?.code(1)?;
            }
        }
    }
    break_glass::close()?;
    let outcome = cli::holdfast(["break-glass", "codes", "status"])?.ok()?;
    check!(outcome.stdout.contains("used"), "{}", outcome.describe("should tell which were used"));
    Ok(())
}

/// Each is for one challenge. With keys in files: what a hardware key can do is shown by the unit
/// tests, with a token in software.
fn signatures(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.tree(1, 10)?;
    let zones = [ctx.new_zone(&tree.root).budget(Budget::files(1))];
    let options = "namespaces=\"holdfast-break-glass\"";
    let signing = Signing::usual()?.without("alice").and_line("alice", "alice", options)?;
    let text = policy::render(&zones) + &signing.render()? + &table();
    ctx.guard_text(&zones, &text)?;
    let file = ctx.papers()?.join("challenge");
    let args = Glass::new(&ctx.zone).args();
    let ask = Tool::new(BINARY).args(["break-glass", "challenge", "--host-wide"]).args(args);
    let challenge = ask.ok()?.stdout;
    check!(challenge.contains("nonce"), "{challenge}");
    fs::write(&file, &challenge)?;
    let open = |challenge: &str, signature: &str| -> Result<_> {
        let (document, signed) = (file.with_extension("try"), file.with_extension("sig"));
        fs::write(&document, challenge)?;
        fs::write(&signed, signature)?;
        let tool = Tool::new(BINARY).args(["break-glass", "open", "--challenge"]).arg(&document);
        tool.arg("--sig").arg(&signed).run()?.code(3)
    };
    let own = signing::sign(&file, "alice", "holdfast-break-glass")?;
    refused_for(ctx, "not_verified", || open(&challenge, &own))?;
    let other = signing::sign(&file, "alice", "holdfast-allowance")?;
    refused_for(ctx, "bad_signature", || open(&challenge, &other))?;
    let stranger = signing::sign(&file, "bob", "holdfast-break-glass")?;
    refused_for(ctx, "unknown_signer", || open(&challenge, &stranger))?;
    let edited = challenge.replace("files = ", "files = 1");
    refused_for(ctx, "unknown_challenge", || open(&edited, &own))?;
    check_eq!(break_glass::status()?["open"].is_null(), true, "nothing is open");
    Ok(())
}
