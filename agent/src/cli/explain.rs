//! `holdfast explain`.

use std::os::unix::ffi::OsStrExt as _;

use holdfast_abi::Verdict;

use super::{Client, Exit, ExplainArgs, Failure, out};
use crate::api::{ExplainBudget, Explanation};
use crate::text;

pub(super) async fn run(client: &Client, args: &ExplainArgs) -> Result<Exit, Failure> {
    let path = std::path::absolute(&args.path)?;
    // This process is in the unit of whoever started it, and runs as the same user.
    let pid = args.pid.unwrap_or_else(std::process::id);
    let explanation: Explanation = client.explain(path.as_os_str().as_bytes(), pid).await?;
    if args.json {
        out::json(&explanation)?;
    } else {
        out::text(&render(&explanation))?;
    }
    Ok(Exit::Ok)
}

fn render(explanation: &Explanation) -> String {
    let mut rows =
        vec![row("path", out::name(&explanation.path, explanation.path_bytes.as_deref()))];
    match (&explanation.zone, &explanation.mode) {
        (Some(zone), Some(mode)) => {
            let on_trip = explanation.on_trip.as_deref().unwrap_or("deny");
            let does = match (mode.as_str(), on_trip) {
                ("enforce", "hold") => "enforce: what is over budget is held",
                ("enforce", "throttle") => "enforce: what is over budget is throttled",
                ("enforce", _) => "enforce: what is over budget is denied",
                (mode, _) => mode,
            };
            rows.push(row("zone", format!("{zone} ({does})")));
        }
        _ => rows.push(row("zone", "none: holdfast does not guard it".to_owned())),
    }
    rows.extend(explanation.not_guarded.iter().flat_map(|not| {
        let why = out::name(&not.why.replace('\n', " "), None);
        [row("guard", format!("NOT GUARDED: {why}")), row("fix", out::name(&not.fix, None))]
    }));
    rows.extend(explanation.root.iter().map(|root| row("root", out::name(root, None))));
    if explanation.zone.is_some() {
        let tenant = match &explanation.tenant {
            Some(tenant) => {
                format!(
                    "{} (inode {})",
                    out::name(&tenant.name, tenant.name_bytes.as_deref()),
                    tenant.inode
                )
            }
            None => "none: it is above all tenants".to_owned(),
        };
        rows.push(row("tenant", tenant));
    }
    let caller = &explanation.caller;
    let login = caller.login_uid.map_or_else(String::new, |uid| format!(", login {uid}"));
    let unit = caller.unit.as_ref().map_or_else(|| "no unit".to_owned(), out::unit);
    rows.push(row(
        "caller",
        format!("pid {}, uid {}{login}, {unit}; for it: {}", caller.pid, caller.uid, caller.who),
    ));
    for budget in &explanation.budgets {
        rows.push(row("budget", render_budget(budget)));
    }
    if let Some(removal) = &explanation.removal {
        let cost = format!(
            "{}, {}",
            text::count(removal.cost.files, "file"),
            text::size(removal.cost.bytes)
        );
        let by =
            removal.budget.as_ref().map_or_else(String::new, |budget| format!(" of \"{budget}\""));
        rows.push(row(
            "removal",
            format!(
                "costs {cost}; verdict now: {} ({}{by}){}",
                removal.verdict,
                removal.reason,
                would_be(&removal.verdict)
            ),
        ));
    }
    rows.extend(explanation.notes.iter().map(|note| row("note", note.clone())));
    out::table(&rows, 0)
}

/// What that would come to for the process.
fn would_be(verdict: &str) -> &'static str {
    match Verdict::from_word(verdict) {
        Some(Verdict::Hold) => ": it would be paused until somebody decides",
        Some(Verdict::Throttle) => ": it would be paused, and go on at the budget's rate",
        Some(Verdict::Deny) => ": it would fail with EPERM",
        Some(Verdict::Allow | Verdict::Observe) | None => "",
    }
}

fn render_budget(budget: &ExplainBudget) -> String {
    let mut text = format!("{}: ", budget.label);
    if !budget.applies {
        return text + "does not apply to this caller";
    }
    text.push_str(&format!("{} left", out::sides(budget.files, budget.bytes, budget.tenants)));
    if !budget.charges_remove {
        text.push_str(", does not charge removals");
    }
    if let Some(until) = &budget.latched_until {
        text.push_str(&format!(", LATCHED until {}", until.time));
    }
    text
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}
