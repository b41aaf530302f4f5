//! Who is on call hears of it: from the op over budget to a page, through a real Prometheus and a
//! real Alertmanager.

use std::time::Duration;

use anyhow::Result;

use super::incidents::{firstserver_host, firstserver_script};
use crate::harness::monitoring::{Delivery, Monitoring};
use crate::harness::{Ctx, check, check_eq, cli, until};
use crate::runner::Scenario;

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::once("alert_pipeline_pages_during_firstserver", firstserver).waits()];

/// How often Prometheus scrapes and evaluates here; the example that is shipped has 15 s.
const INTERVAL: &str = "5s";
/// The vendor noticed after 48 minutes.
const LIMIT: Duration = Duration::from_secs(90);

/// The script of 2012 runs; the page arrives, and says where, what, and what to do first.
fn firstserver(ctx: &mut Ctx<'_>) -> Result<()> {
    let (customers, backups) = firstserver_host(ctx)?;
    let monitoring = Monitoring::start(&ctx.base.join("monitoring"), INTERVAL)?;
    check!(told(&monitoring, &ctx.zone).is_empty(), "told before anything happened");
    firstserver_script(&customers, &backups)?;
    customers.lost_exactly(20)?;
    backups.lost_exactly(10)?;
    let trip = ctx.event("a trip", |event| event["trip"] == true)?;
    let (page, alert) =
        until("the page arrives", LIMIT, || Ok(monitoring.page("HoldfastTrip", &ctx.zone)))?;
    let summary = cli::text(&alert["annotations"], "summary");
    let wanted = format!("web1: a mass deletion in zone {} was stopped", ctx.zone);
    check_eq!(summary, wanted, "the summary");
    let description = cli::text(&alert["annotations"], "description");
    check!(description.contains("First: `holdfast events` on web1"), "{description}");
    let runbook = cli::text(&alert["annotations"], "runbook_url");
    check_eq!(runbook, "docs/runbooks/HoldfastTrip.md", "the runbook");
    let backup_zone = format!("{}-backup", ctx.zone);
    until("the page tells of the backups, too", LIMIT, || {
        Ok(monitoring.page("HoldfastTrip", &backup_zone))
    })?;
    for delivery in told(&monitoring, &ctx.zone) {
        check_eq!(delivery.path, "/page", "a page, no ticket: {}", delivery.body);
    }
    let took = page.at_ns.saturating_sub(cli::number(&trip, "time_ns")?);
    ctx.lab.note(format!(
        "from the first trip to the page: {:.1} s (scraped and evaluated every {INTERVAL})",
        took as f64 / 1e9
    ));
    Ok(())
}

/// What was delivered about this scenario's zones. Others may have left something to tell behind.
fn told(monitoring: &Monitoring, zone: &str) -> Vec<Delivery> {
    let mut delivered = monitoring.delivered();
    delivered.retain(|delivery| delivery.body.to_string().contains(zone));
    delivered
}
