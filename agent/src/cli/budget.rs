//! `holdfast budget`: what each actor has spent, and resets.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Client, Exit, Failure, Json, out};
use crate::api::{AccountReport, BudgetAccounts, BudgetList, ResetBody, ResetReport};
use crate::{clock, text};

#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Show what each actor has spent of each budget, and the command that resets a tripped one
    List(Json),
    /// Reset the budgets that an actor has used up, as if it had spent nothing of them
    ///
    /// The agent records who resets what, and why, before it takes effect. Its other budgets go on
    /// counting. Processes that are held because of these budgets go on.
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// The zone
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// Whose budgets: `unit:PATH`, `user:NAME` (or a number), `zone` (everyone together) or
    /// `overflow`
    #[arg(long, value_name = "ACTOR")]
    actor: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why: it is recorded".to_owned()),
        text if text.len() > 1024 => Err("at most 1024 bytes".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(super) async fn run(client: &Client, command: &BudgetCommand) -> Result<Exit, Failure> {
    match command {
        BudgetCommand::List(Json { json }) => {
            let list = client.budgets().await?;
            if *json { out::json(&list)? } else { out::text(&render_list(&list))? }
        }
        BudgetCommand::Reset(ResetArgs { zone, actor, reason, json }) => {
            let (zone, actor, reason) = (zone.clone(), actor.clone(), reason.clone());
            let report = client.reset_budgets(&ResetBody { zone, actor, reason }).await?;
            if *json { out::json(&report)? } else { out::text(&render_reset(&report))? }
        }
    }
    Ok(Exit::Ok)
}

fn render_list(list: &BudgetList) -> String {
    let mut page = String::new();
    for budget in &list.budgets {
        let window = clock::words(Duration::from_secs(budget.window_seconds));
        // Writing to a string cannot fail.
        let _ = writeln!(page, "zone {}  \"{}\", in {window}", budget.zone, budget.label);
        if budget.accounts.is_empty() {
            page.push_str("  no actor has spent anything\n");
        }
        let rows = budget.accounts.iter().map(|account| {
            let tripped = account.tripped_until.as_ref();
            let state =
                tripped.map_or_else(String::new, |until| format!("TRIPPED until {}", until.time));
            vec![out::name(&account.word, None), spent(account, budget), state]
        });
        page.push_str(&out::table(&rows.collect::<Vec<_>>(), 2));
    }
    let mut commands: Vec<String> = Vec::new();
    let tripped = list.budgets.iter().flat_map(|budget| &budget.accounts);
    for words in tripped.filter_map(|account| account.reset.as_ref()) {
        let command = format!("  {} 'WHY'\n", out::command(words));
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    if !commands.is_empty() {
        let _ = write!(page, "\nto reset:\n{}", commands.concat());
    }
    page
}

/// `200 of 200 files, 2.0 MiB, 1 of 5 tenants`
fn spent(account: &AccountReport, budget: &BudgetAccounts) -> String {
    let files = text::count(account.spent.files, "file");
    let files =
        budget.files.map_or(files, |most| format!("{} of {most} files", account.spent.files));
    let bytes = text::size(account.spent.bytes);
    let bytes = budget
        .bytes
        .map_or_else(|| bytes.clone(), |most| format!("{bytes} of {}", text::size(most)));
    let tenants = budget.tenants.map(|most| format!("{} of {most} tenants", account.tenants));
    [Some(files), Some(bytes), tenants].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn render_reset(report: &ResetReport) -> String {
    let budgets: Vec<String> = report.budgets.iter().map(|label| format!("\"{label}\"")).collect();
    let (zone, actor) = (&report.zone, out::name(&report.actor.name, None));
    format!("zone {zone}: reset for {actor}: {}\n", budgets.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Actor, Cost, Until};

    fn list() -> BudgetList {
        let words =
            ["holdfast", "budget", "reset", "--zone", "z", "--actor", "unit:/a b", "--reason"];
        let account = AccountReport {
            actor: Actor { id: 5, name: "unit /a b".to_owned() },
            word: "unit:/a b".to_owned(),
            spent: Cost { files: 200, bytes: 1 << 21 },
            tenants: 1,
            tripped_until: Some(Until { time: "2026-01-01T00:00:00Z".to_owned(), time_ns: 7 }),
            reset: Some(words.map(str::to_owned).to_vec()),
        };
        let full = BudgetAccounts {
            zone: "z".to_owned(),
            label: "operators per unit, 10m".to_owned(),
            window_seconds: 600,
            files: Some(200),
            bytes: None,
            tenants: Some(5),
            accounts: vec![account],
        };
        let empty = BudgetAccounts { accounts: vec![], ..full.clone() };
        BudgetList { budgets: vec![full, empty] }
    }

    /// A tripped actor is listed with what it spent, until when it is tripped, and the command to
    /// type.
    #[test]
    fn tripped_actor_has_its_command() {
        let page = render_list(&list());
        for part in [
            "zone z  \"operators per unit, 10m\", in 10m 0s\n",
            "  unit:/a b  200 of 200 files, 2.0 MiB, 1 of 5 tenants  TRIPPED until \
             2026-01-01T00:00:00Z\n",
            "  no actor has spent anything\n",
            "to reset:\n  holdfast budget reset --zone z --actor 'unit:/a b' --reason 'WHY'\n",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }
}
