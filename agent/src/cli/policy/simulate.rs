//! `holdfast policy simulate`: what a policy would have done with what was recorded.

use std::path::PathBuf;

use clap::Args;
use holdfast_policy::Policy;
use holdfast_policy::replay::Simulation;
use serde_json::{Value, json};

use super::super::{Client, Dirs, Exit, Failure, out};
use super::source::{Named, Which, read};
use crate::past::{Take, Tally, Told, Trip, ZoneTally};
use crate::text;

#[derive(Debug, Args)]
pub(in super::super) struct SimulateArgs {
    /// The policy to try
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    which: Which,
    /// How many trips to show in full
    #[arg(long, value_name = "N", default_value_t = 20)]
    first: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in super::super) async fn run(
    client: &Client,
    dirs: &Dirs,
    args: &SimulateArgs,
) -> Result<Exit, Failure> {
    let named = read(&args.policy)?;
    let (past, unwritten) = args.which.past(client, dirs).await?;
    let policy = &named.policy;
    let mut simulation = Simulation::new(policy.clone());
    let mut tally = Tally::new(policy, args.first);
    let take = Take { denied: true, break_glass: true };
    let mut told = past.replay(policy, take, &mut |op, evidence| {
        let decision = simulation.decide(op);
        tally.take(policy, op, &decision, evidence);
    })?;
    told.notes.extend(unwritten);
    told.notes.extend(about_zones(policy, &tally, args.which.zone()));
    told.notes.extend(shared(simulation.shared()));
    if args.json {
        out::json(&document(&named, &told, &tally))?;
    } else {
        out::text(&page(&named, &told, &tally))?;
    }
    Ok(if tally.trips() == 0 { Exit::Ok } else { Exit::Failure })
}

/// Zones of which nothing is known.
fn about_zones(policy: &Policy, tally: &Tally, asked: Option<&str>) -> Vec<String> {
    let zones = policy.zones.iter().zip(&tally.zones).filter(|(zone, tally)| {
        tally.ops == 0 && asked.is_none_or(|asked| asked == zone.name.as_str())
    });
    zones
        .map(|(zone, _)| {
            format!(
                "zone {}: nothing was recorded there. Either nothing was destroyed, or it was in \
                 no zone then: only ops in zones are recorded, so what a new zone or root would \
                 stop is not known",
                zone.name
            )
        })
        .collect()
}

pub(super) fn shared(ops: u64) -> Option<String> {
    (ops > 0).then(|| {
        format!(
            "{} of more actors than there is room for ({}): they share accounts here, as they \
             would in the kernel, so that more may seem to trip",
            text::count(ops, "op"),
            holdfast_policy::replay::MAX_ACCOUNTS
        )
    })
}

fn document(named: &Named, told: &Told, tally: &Tally) -> Value {
    let zones: Vec<Value> = named
        .policy
        .zones
        .iter()
        .zip(&tally.zones)
        .map(|(zone, tally)| {
            let mut value = json!(tally);
            value["zone"] = json!(zone.name);
            value["mode"] = json!(zone.mode.word());
            value["on_trip"] = json!(zone.on_trip.word());
            for (budget, tally) in
                zone.budgets.iter().zip(value["budgets"].as_array_mut().into_iter().flatten())
            {
                tally["label"] = json!(budget.label());
            }
            value
        })
        .collect();
    json!({
        "policy": named.name,
        "trips": tally.trips(),
        "stopped": tally.stopped(),
        "recorded": told,
        "zones": zones,
        "first": tally.first,
    })
}

fn page(named: &Named, told: &Told, tally: &Tally) -> String {
    let mut page = format!(
        "{}: decided again what was recorded from {} to {}: {}, {}, {}\n",
        named.name,
        told.since,
        told.until,
        text::count(told.ops, "op"),
        text::count(told.files, "file"),
        text::size(told.bytes)
    );
    for (zone, found) in named.policy.zones.iter().zip(&tally.zones) {
        let mode = out::mode(zone.mode.word(), zone.on_trip.word());
        page.push_str(&format!("zone {} ({mode}): {}\n", zone.name, zone_words(found)));
        let mut rows = vec![];
        for (budget, found) in zone.budgets.iter().zip(&found.budgets) {
            rows.push(vec![
                budget.label(),
                text::count(found.trips, "trip"),
                if found.stopped == 0 {
                    String::new()
                } else {
                    format!(
                        "{} {}, {}, from {} to {}",
                        text::count(found.stopped, "op"),
                        became(zone.mode.word(), zone.on_trip.word()),
                        text::size(found.bytes),
                        found.from.as_deref().unwrap_or("?"),
                        found.to.as_deref().unwrap_or("?")
                    )
                },
            ]);
        }
        page.push_str(&out::table(&rows, 2));
        for found in zone.budgets.iter().zip(&found.budgets).filter(|(_, found)| found.trips > 0) {
            page.push_str(&format!("  {}: by {}\n", found.0.label(), actors(found.1)));
        }
    }
    page.push_str(&trips(&tally.first, tally.trips()));
    for note in &told.notes {
        page.push_str(&format!("note: {note}\n"));
    }
    page.push_str(&match (tally.trips(), tally.stopped()) {
        (0, _) => "0 trips: nothing of this would have been stopped\n".to_owned(),
        (trips, stopped) => format!(
            "{}: {} would have been over budget\n",
            text::count(trips, "trip"),
            text::count(stopped, "op")
        ),
    });
    page
}

fn zone_words(zone: &ZoneTally) -> String {
    if zone.ops == 0 {
        return "nothing recorded".to_owned();
    }
    let count = |word: &str| zone.verdicts.get(word).copied().unwrap_or(0);
    let parts = [
        ("allow", "within budget"),
        ("observe", "over budget, and only observed"),
        ("deny", "denied"),
        ("hold", "held"),
        ("throttle", "throttled"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(word, _)| count(word) > 0)
        .map(|(word, says)| format!("{} {says}", count(word)))
        .collect();
    format!("{}: {}", text::count(zone.ops, "op"), parts.join(", "))
}

fn became(mode: &str, on_trip: &str) -> &'static str {
    match (mode, on_trip) {
        ("observe", _) => "over budget",
        (_, "hold") => "held or denied",
        (_, "throttle") => "throttled or denied",
        _ => "denied",
    }
}

fn actors(found: &crate::past::BudgetTally) -> String {
    let mut actors: Vec<(&String, &u64)> = found.actors.iter().collect();
    actors.sort_by_key(|(_, trips)| std::cmp::Reverse(**trips));
    let others = found.others + actors.iter().skip(5).map(|(_, trips)| **trips).sum::<u64>();
    let mut words: Vec<String> =
        actors.into_iter().take(5).map(|(actor, trips)| format!("{actor} ({trips})")).collect();
    if others > 0 {
        words.push(format!("others ({others})"));
    }
    words.join("; ")
}

/// Trips in full.
fn trips(first: &[Trip], all: u64) -> String {
    if first.is_empty() {
        return String::new();
    }
    let mut page = match all - first.len() as u64 {
        0 => "each trip:\n".to_owned(),
        more => format!("the first {} trips ({more} more with --first):\n", first.len()),
    };
    for trip in first {
        page.push_str(&format!("  {}\n", trip_words(trip)));
    }
    page
}

/// One trip in a sentence.
pub(super) fn trip_words(trip: &Trip) -> String {
    let deed = &trip.deed;
    let then = if trip.stopped > 1 {
        format!(
            "; with what came after it until {} {} ({})",
            trip.last,
            text::count(trip.stopped, "op"),
            text::size(trip.stopped_bytes)
        )
    } else {
        String::new()
    };
    format!(
        "{} zone {}, {}: {} of {} ({}{}) by {} goes over its {}{then}",
        deed.time,
        trip.zone,
        trip.budget,
        deed.op,
        deed.path,
        text::size(deed.bytes),
        if deed.denied { ", which was denied" } else { "" },
        deed.who(),
        reason(trip.reason),
    )
}

fn reason(word: &str) -> &str {
    if word == "unknown_cost" { "limits, as its cost is unknown," } else { word }
}
