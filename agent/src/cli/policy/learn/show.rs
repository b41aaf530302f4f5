//! The proposal as a policy file that says where each limit comes from, and as JSON.

use std::time::Duration;

use holdfast_abi::Per;
use holdfast_policy::format_bytes;
use holdfast_policy::learn::{Bound, Outlier, ProposedBudget, ProposedSide, Side, Why, ceilings};
use serde_json::{Value, json};

use super::super::super::out;
use super::super::simulate::trip_words;
use super::Learnt;
use crate::{clock, text};

impl Learnt {
    /// The proposal as a policy file.
    pub(super) fn page(&self, most: usize) -> String {
        let mut head = self.head();
        head.push(String::new());
        let comments: String = head
            .iter()
            .flat_map(|line| line.split('\n'))
            .map(|line| format!("{}\n", format!("# {line}").trim_end()))
            .collect();
        let policy = self.proposal.policy(&self.named.policy);
        comments
            + &policy.annotated(&|zone, budget| match budget {
                None => self.about_zone(zone, most),
                Some(budget) => self.about_budget(zone, budget, most),
            })
    }

    fn head(&self) -> Vec<String> {
        let told = &self.told;
        let mut lines = vec![
            format!(
                "Proposed by `holdfast policy learn` from what was recorded from {} to {}: {},",
                told.since,
                told.until,
                text::count(told.ops, "op")
            ),
            format!(
                "{}, {}. For {}; what is not about budgets is as it is there.",
                text::count(told.files, "file"),
                text::size(told.bytes),
                self.named.name
            ),
            String::new(),
            concat!(
                "A limit is the most that one actor destroyed in any window of that length, ",
                "without the outliers,"
            )
            .to_owned(),
            format!(
                "and {} % of headroom; at least a twentieth of the ceiling, and never above it. \
                 The ceiling is {} in the",
                self.rules.headroom,
                if self.rules.ceiling_times == 1 {
                    "what that budget has".to_owned()
                } else {
                    format!("{} times what that budget has", self.rules.ceiling_times)
                }
            ),
            concat!(
                "policy that comes with the package. ",
                "OUTLIERS are left out: windows over the ceiling, and"
            )
            .to_owned(),
        ];
        lines.push(if self.rules.keep_alone {
            "nothing else: --keep-alone was given.".to_owned()
        } else {
            "at most three windows that are each more than three times what any other was; where \
             fewer than five were seen,\n\
             those over a quarter of the ceiling. Look at them: if they were ordinary, see \
             --keep-alone and --ceiling-times."
                .to_owned()
        });
        lines.push(
            "Next: `holdfast policy simulate --policy FILE`, `holdfast policy diff FILE`; then \
             mode = \"enforce\"."
                .to_owned(),
        );
        if !told.notes.is_empty() {
            lines.push(String::new());
            lines.push("What is missing in the record, or special about it:".to_owned());
            lines.extend(told.notes.iter().map(|note| format!("- {note}")));
        }
        lines
    }

    fn about_zone(&self, zone: usize, most: usize) -> Vec<String> {
        let proposed = &self.proposal.zones[zone];
        if proposed.budgets.is_empty() {
            let why = if proposed.ops == 0 {
                "nothing was recorded here"
            } else {
                "nothing of known cost was recorded here"
            };
            return vec![format!("{why}: the budgets are those the policy has")];
        }
        let mut lines = vec![format!(
            "{} here, of which {} of outliers and left out",
            text::count(proposed.ops, "op"),
            if proposed.left_out == 1 {
                "1 is part".to_owned()
            } else {
                format!("{} are part", proposed.left_out)
            }
        )];
        if proposed.unknown_cost > 0 {
            lines.push(format!(
                "{} of unknown cost (a directory or root that left in one stroke): over every \
                 budget, whatever its limits",
                text::count(proposed.unknown_cost, "op")
            ));
        }
        // The same ops can be too much for several budgets: told once.
        let is_told = |one: &Outlier| one.zone == zone && self.found.get(one).is_some();
        let outliers: Vec<_> =
            self.proposal.outliers.sorted().into_iter().filter(is_told).collect();
        for outlier in outliers.iter().take(most) {
            lines.push(format!("OUTLIER {}", self.outlier_words(outlier)));
        }
        let more = outliers.len().saturating_sub(most);
        if more > 0 {
            lines.push(format!(
                "OUTLIERS: {more} {}listed with --json or --first",
                if most == 0 { "" } else { "more " }
            ));
        }
        lines
    }

    fn about_budget(&self, zone: usize, index: usize, most: usize) -> Vec<String> {
        let Some(proposed) = self.proposal.zones[zone].budgets.get(index) else {
            return Vec::new();
        };
        let mut lines = vec![figures_of(proposed)];
        if let Some(seconds) = proposed.scaled_from {
            lines.push(format!(
                "SCALED UP: only {} of it were recorded; limits are for what goes on like that",
                clock::words(Duration::from_secs(seconds))
            ));
        }
        let mut rows =
            vec![words(&["", "p50", "p95", "p99", "max", "ordinary", "ceiling", "limit", ""])];
        rows.extend(proposed.sides.iter().map(row));
        lines.extend(out::table(&rows, 0).lines().map(str::to_owned));
        let found = &self.tally.zones[zone].budgets[index];
        if found.trips == 0 {
            lines.push("would have tripped: never".to_owned());
            return lines;
        }
        lines.push(format!(
            "WOULD HAVE TRIPPED {}, and stopped {} ({}):",
            text::count(found.trips, "time"),
            text::count(found.stopped, "op"),
            text::size(found.bytes)
        ));
        let of_this = self
            .tally
            .first
            .iter()
            .filter(|trip| (trip.zone_index, trip.budget_index) == (zone, index));
        let shown: Vec<String> =
            of_this.take(most).map(|trip| format!("- {}", trip_words(trip))).collect();
        let more = found.trips - shown.len() as u64;
        lines.extend(shown);
        if more > 0 {
            lines.push(format!("- and {more} more"));
        }
        lines
    }

    fn outlier_words(&self, outlier: &Outlier) -> String {
        let zone = &self.named.policy.zones[outlier.zone];
        let label = ceilings(zone.role)[outlier.budget].label();
        let amount = shown(outlier.side, outlier.amount);
        let why = match outlier.why {
            Why::Ceiling { ceiling } => {
                format!("the ceiling is {}", shown(outlier.side, ceiling))
            }
            Why::Few { quarter } => format!(
                "in so short a record no more than {} is learnt, a quarter of the ceiling",
                shown(outlier.side, quarter)
            ),
            Why::Alone { next } => {
                format!("no other window has more than {}", shown(outlier.side, next))
            }
        };
        let what = match self.found.get(outlier) {
            Some(burst) => {
                let programs: Vec<&str> = burst.programs.iter().map(String::as_str).collect();
                let whose = match ceilings(zone.role)[outlier.budget].per {
                    Per::Unit => format!("unit {}", burst.first.unit),
                    Per::User => format!("user {}", burst.first.user()),
                    Per::Zone => "all together".to_owned(),
                };
                format!(
                    "{} to {}, {whose} ({}): {}, {}, {}, {}",
                    burst.first.time,
                    burst.last,
                    programs.join(", "),
                    text::count(burst.ops, "op"),
                    text::count(burst.files, "file"),
                    text::size(burst.bytes),
                    text::count(burst.tenants as u64, "tenant"),
                )
            }
            None => "part of another one".to_owned(),
        };
        format!("({label}) {what}; {amount} in a window, and {why}")
    }

    pub(super) fn zone_document(&self, zone: usize) -> Value {
        let proposed = &self.proposal.zones[zone];
        let budgets = proposed.budgets.iter().enumerate().map(|(index, budget)| {
            let found = &self.tally.zones[zone].budgets[index];
            json!({
                "budget": budget.budget,
                "windows": budget.sides.first().map_or(0, |side| side.seen.windows),
                "sides": budget.sides.iter().map(side_document).collect::<Vec<_>>(),
                "scaled_from_seconds": budget.scaled_from,
                "would_trip": found,
            })
        });
        json!({
            "zone": self.named.policy.zones[zone].name,
            "ops": proposed.ops,
            "left_out": proposed.left_out,
            "unknown_cost": proposed.unknown_cost,
            "proposed": !proposed.budgets.is_empty(),
            "budgets": budgets.collect::<Vec<_>>(),
        })
    }

    pub(super) fn outliers_document(&self) -> Vec<Value> {
        let sorted = self.proposal.outliers.sorted();
        let one = |outlier: &Outlier| {
            let zone = &self.named.policy.zones[outlier.zone];
            let (rule, than) = match outlier.why {
                Why::Ceiling { ceiling } => ("ceiling", ceiling),
                Why::Few { quarter } => ("few_windows", quarter),
                Why::Alone { next } => ("alone", next),
            };
            json!({
                "zone": zone.name,
                "budget": ceilings(zone.role)[outlier.budget].label(),
                "side": outlier.side.word(),
                "amount": outlier.amount,
                "rule": rule,
                "than": than,
                "what": self.found.get(outlier),
                "text": self.outlier_words(outlier),
            })
        };
        sorted.iter().map(one).collect()
    }
}

fn figures_of(proposed: &ProposedBudget) -> String {
    let windows = proposed.sides.first().map_or(0, |side| side.seen.windows);
    if windows == 0 {
        return format!(
            "{}: nobody was seen; these are the smallest limits",
            proposed.budget.label()
        );
    }
    format!(
        "{}: what an actor destroyed in a window, in {} in which any did",
        proposed.budget.label(),
        text::count(windows, "window")
    )
}

fn row(side: &ProposedSide) -> Vec<String> {
    let show = |n: u64| match side.side {
        Side::Bytes => text::size(n),
        Side::Files | Side::Tenants => n.to_string(),
    };
    let why = match side.bound {
        Bound::TooMany => {
            "NOT LIMITED: ordinarily more than the ceiling, and a budget can tell 64 apart"
        }
        _ if side.limit.is_some_and(|limit| side.ordinary > limit) => {
            "the ceiling is below what is ordinary"
        }
        Bound::Seen => "",
        Bound::Smallest => "the smallest",
        Bound::Ceiling => "the ceiling: less headroom",
    };
    let seen = &side.seen;
    let numbers = [seen.p50, seen.p95, seen.p99, seen.max, side.ordinary, side.ceiling];
    let mut row = vec![side.side.word().to_owned()];
    row.extend(numbers.map(show));
    row.push(side.limit.map_or_else(|| "-".to_owned(), show));
    row.push(why.to_owned());
    row
}

fn side_document(side: &ProposedSide) -> Value {
    json!({
        "side": side.side.word(),
        "p50": side.seen.p50,
        "p95": side.seen.p95,
        "p99": side.seen.p99,
        "max": side.seen.max,
        "ordinary": side.ordinary,
        "ceiling": side.ceiling,
        "limit": side.limit,
        "bound": match side.bound {
            Bound::Seen => "seen",
            Bound::Smallest => "smallest",
            Bound::Ceiling => "ceiling",
            Bound::TooMany => "too_many",
        },
    })
}

fn shown(side: Side, n: u64) -> String {
    match side {
        Side::Files => text::count(n, "file"),
        Side::Bytes => format_bytes(n),
        Side::Tenants => text::count(n, "tenant"),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
