//! What holdfast promises, each promise tried with the tools that break it in real life.
//!
//! A module for each subject. A scenario states exact figures wherever the words of the policy give
//! one. None relies on what another left behind.

mod accounting;
mod alerts;
mod allowances;
mod arrivals;
mod attacks;
mod audit;
mod break_glass;
mod budgets;
mod cases;
mod concurrent;
mod differential;
mod evasions;
mod failed_ops;
mod fresh;
mod holds;
mod incidents;
mod learn;
mod lifecycle;
mod links;
mod manifest;
mod modes;
mod mounts;
mod names;
mod ordinary;
mod policies;
mod programs;
mod proof;
mod reboots;
mod remove;
mod rename;
mod resets;
mod roots;
mod shipped;
mod throttle;
mod top;
mod truncate;
mod unknown_places;
mod ways_in;
mod who;

use crate::runner::Scenario;

pub(crate) use audit::release;
pub(crate) use learn::{enforcing, limit};
pub(crate) use ordinary::SHIPPED;

/// Scenarios that show what the kernel programs do: each is run on each kernel.
pub(crate) const OF_THE_KERNEL: &[&[Scenario]] = &[
    remove::SCENARIOS,
    rename::SCENARIOS,
    truncate::SCENARIOS,
    links::SCENARIOS,
    ways_in::SCENARIOS,
    unknown_places::SCENARIOS,
    concurrent::SCENARIOS,
    budgets::SCENARIOS,
    who::SCENARIOS,
    modes::SCENARIOS,
    failed_ops::SCENARIOS,
    fresh::SCENARIOS,
    roots::SCENARIOS,
    mounts::SCENARIOS,
    arrivals::SCENARIOS,
    accounting::SCENARIOS,
    incidents::SCENARIOS,
    ordinary::SCENARIOS,
    shipped::SCENARIOS,
    attacks::SCENARIOS,
    cases::SCENARIOS,
    lifecycle::SCENARIOS,
    proof::SCENARIOS,
    programs::SCENARIOS,
    differential::SCENARIOS,
    evasions::SCENARIOS,
    holds::release::SCENARIOS,
    holds::many::SCENARIOS,
    holds::signals::SCENARIOS,
    holds::kills::SCENARIOS,
    holds::ops::SCENARIOS,
    holds::refused::SCENARIOS,
    holds::nfs::SCENARIOS,
    holds::places::SCENARIOS,
    holds::debugger::SCENARIOS,
    holds::policy::SCENARIOS,
    holds::agent::SCENARIOS,
    holds::stalls::SCENARIOS,
    throttle::SCENARIOS,
    manifest::agent::SCENARIOS,
    manifest::moves::SCENARIOS,
    manifest::volume::SCENARIOS,
    allowances::exact::SCENARIOS,
    allowances::outside::SCENARIOS,
    allowances::tree::SCENARIOS,
    allowances::agent::SCENARIOS,
    allowances::room::SCENARIOS,
    allowances::reboot::SCENARIOS,
    break_glass::reach::SCENARIOS,
    break_glass::agent::SCENARIOS,
    break_glass::reboot::SCENARIOS,
];

/// Scenarios that show what the agent and the commands do: one kernel is enough.
pub(crate) const OF_THE_AGENT: &[&[Scenario]] = &[
    names::SCENARIOS,
    resets::SCENARIOS,
    reboots::SCENARIOS,
    policies::SCENARIOS,
    alerts::SCENARIOS,
    learn::SCENARIOS,
    audit::SCENARIOS,
    audit::full::SCENARIOS,
    audit::cuts::SCENARIOS,
    audit::power::SCENARIOS,
    audit::report::SCENARIOS,
    holds::job::SCENARIOS,
    holds::terminal::SCENARIOS,
    holds::wrapper::SCENARIOS,
    holds::cli::SCENARIOS,
    top::SCENARIOS,
    manifest::recovery::SCENARIOS,
    manifest::bounds::SCENARIOS,
    allowances::firstserver::SCENARIOS,
    allowances::run::SCENARIOS,
    allowances::attacks::SCENARIOS,
    break_glass::night::SCENARIOS,
    break_glass::codes::SCENARIOS,
];
