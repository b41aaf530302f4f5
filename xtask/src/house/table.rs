//! The table of all crates, and the places that its numbers are from.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Crates};

pub(super) type Cell = fn(&[&Counts]) -> usize;

/// The rows of one number for each crate, and for all of them.
pub(super) const ROWS: [(&str, Cell); 19] = [
    ("files", |all| sum(all, |it| it.files.len())),
    ("lines", |all| sum(all, Counts::lines)),
    ("lines of tests", |all| sum(all, |it| it.test_lines)),
    ("lines over 100 columns", |all| sum(all, |it| it.wide_lines)),
    ("- per 1000 lines", |all| {
        sum(all, |it| 1000 * it.wide_lines) / sum(all, Counts::lines).max(1)
    }),
    ("median file, in lines", |all| median(all, |it| it.files.iter().map(|it| it.0).collect())),
    ("longest file, in lines", |all| longest(all, |it| &it.files)),
    ("functions", |all| sum(all, |it| it.functions.len())),
    ("median function, in lines", |all| {
        median(all, |it| it.functions.iter().map(|it| it.0).collect())
    }),
    ("longest function, in lines", |all| longest(all, |it| &it.functions)),
    ("modules", |all| sum(all, |it| it.modules.len())),
    ("modules in a cycle", |all| sum(all, |it| it.cycles().iter().map(Vec::len).sum())),
    ("fields of type String", |all| sum(all, |it| it.string_fields)),
    ("Result<_, String> in signatures", |all| sum(all, |it| it.string_errors)),
    ("bool parameters", |all| sum(all, |it| it.bool_parameters)),
    ("tests", |all| sum(all, |it| it.test_names.len())),
    ("median test name, in words", |all| median(all, |it| it.test_names.clone())),
    ("test names over 6 words", |all| sum(all, Counts::long_names)),
    ("- in percent", |all| {
        100 * sum(all, Counts::long_names) / sum(all, |it| it.test_names.len()).max(1)
    }),
];

fn sum(all: &[&Counts], of: impl Fn(&Counts) -> usize) -> usize {
    all.iter().map(|counts| of(counts)).sum()
}

fn median(all: &[&Counts], of: impl Fn(&Counts) -> Vec<usize>) -> usize {
    let mut numbers: Vec<usize> = all.iter().flat_map(|counts| of(counts)).collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

fn longest(all: &[&Counts], of: impl Fn(&Counts) -> &Vec<(usize, String)>) -> usize {
    all.iter().flat_map(|counts| of(counts)).map(|it| it.0).max().unwrap_or(0)
}

/// The table, and the places that its numbers are from.
pub(super) fn report(crates: &Crates) -> String {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, place) in crates.values().flat_map(|counts| &counts.types) {
        places.entry(name).or_default().push(place);
    }
    places.retain(|_, places| places.len() > 1);
    let mut text = table(crates, &places);
    for (name, counts) in crates {
        text += &format!("\n{name}\n");
        for (what, places) in [("file", &counts.files), ("function", &counts.functions)] {
            if let Some((lines, place)) = places.iter().max() {
                text += &format!("  longest {what}: {place} ({lines} lines)\n");
            }
        }
        for cycle in counts.cycles() {
            text += &format!("  cycle: {}\n", cycle.join(", "));
        }
        for (variants, place) in &counts.enums {
            text += &format!("  enum: {place} ({variants} variants)\n");
        }
    }
    text += "\ntype names in two places\n";
    for (name, places) in places {
        let places: Vec<&str> = places.iter().filter_map(|it| it.split(' ').next()).collect();
        text += &format!("  {name}: {}\n", places.join(", "));
    }
    text
}

fn table(crates: &Crates, duplicates: &BTreeMap<&str, Vec<&str>>) -> String {
    let mut columns = vec![("all", crates.values().collect::<Vec<_>>())];
    columns.extend(crates.iter().map(|(name, counts)| (name.as_str(), vec![counts])));
    let width = |name: &str| (name.len() + 1).max(7);
    let row = |label: &str, cell: &dyn Fn(&[&Counts]) -> usize| {
        let cells = columns.iter().map(|(name, all)| format!("{:>1$}", cell(all), width(name)));
        format!("{label:<32}{}\n", cells.collect::<String>())
    };
    let heads = columns.iter().map(|(name, _)| format!("{name:>width$}", width = width(name)));
    let mut text = format!("{:<32}{}\n", "", heads.collect::<String>());
    for (label, cell) in ROWS {
        text += &row(label, &cell);
    }
    text += &row("type names in two places", &|all| {
        let types: BTreeSet<_> = all.iter().flat_map(|it| &it.types).map(|it| &it.0).collect();
        types.iter().filter(|name| duplicates.contains_key(name.as_str())).count()
    });
    for (_, place) in crates.values().flat_map(|counts| &counts.enums) {
        let name = place.rsplit(' ').next().unwrap_or_default();
        text += &row(&format!("variants of {name}"), &|all| {
            all.iter().flat_map(|it| &it.enums).filter(|it| it.1 == *place).map(|it| it.0).sum()
        });
    }
    text
}
