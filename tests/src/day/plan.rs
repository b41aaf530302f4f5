//! What happens on the node in a day, and when: drawn from a seed, the same for the same seed.

use std::ops::Range;

use crate::harness::Random;

pub(super) const TENANTS: u64 = 40;

/// One piece of work in one customer's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Seconds since midnight.
    pub(super) at: u64,
    /// The word for `work.sh`.
    pub(super) what: What,
    pub(super) tenant: u64,
    /// How much of it.
    pub(super) amount: u64,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    // By the customers' own programs.
    Requests,
    Flush,
    Mail,
    /// Of the plugins of a site, by a service that goes from site to site as each one's owner.
    Update,
    // By people who are logged in; the number is that of the session.
    Deploy(u64),
    Edit(u64),
    Clean(u64),
    Leave(u64),
    // By root's services.
    Renew,
    Quarantine,
    Backup,
    Logrotate,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Of what has no amount.
const NONE: Range<u64> = 0..1;

/// A day's work up to that hour, in order.
pub(super) fn plan(seed: u64, hours: u64) -> Vec<Job> {
    let mut draw = Draw { random: Random::new(seed), jobs: Vec::new() };
    for tenant in 0..TENANTS {
        // A few sites have most of the visitors.
        let visitors = if tenant % 8 == 0 { 60 } else { 15 };
        draw.some(visitors, 0..24, What::Requests, tenant, 2..12);
        draw.some(2, 6..24, What::Flush, tenant, 50..400);
        draw.some(4, 6..23, What::Mail, tenant, 2..20);
    }
    // In the night, from one to the next.
    for tenant in 0..TENANTS {
        draw.at(HOUR + tenant * 4 * MINUTE, What::Backup, tenant, NONE);
        draw.at(4 * HOUR + tenant * MINUTE, What::Update, tenant, 0..8);
    }
    draw.at(5 * MINUTE, What::Logrotate, 0, NONE);
    draw.anybody(3, 4..5, What::Renew);
    draw.anybody(8, 0..24, What::Quarantine);
    for session in 0..12 {
        draw.session(session);
    }
    let mut jobs = draw.jobs;
    jobs.retain(|job| job.at < hours * HOUR);
    jobs.sort_by_key(|job| job.at);
    jobs
}

struct Draw {
    random: Random,
    jobs: Vec<Job>,
}

impl Draw {
    fn number(&mut self, from: Range<u64>) -> u64 {
        from.start + self.random.below(from.end - from.start)
    }

    /// At that second, for that customer, as much as one of these numbers.
    fn at(&mut self, at: u64, what: What, tenant: u64, amount: Range<u64>) {
        let amount = self.number(amount);
        self.jobs.push(Job { at, what, tenant, amount });
    }

    /// So many times between those hours.
    fn some(&mut self, times: u64, hours: Range<u64>, what: What, tenant: u64, amount: Range<u64>) {
        for _ in 0..times {
            let at = self.number(hours.start * HOUR..hours.end * HOUR);
            self.at(at, what, tenant, amount.clone());
        }
    }

    /// The same for any customer each time.
    fn anybody(&mut self, times: u64, hours: Range<u64>, what: What) {
        for _ in 0..times {
            let tenant = self.number(0..TENANTS);
            self.some(1, hours.clone(), what, tenant, NONE);
        }
    }

    /// Somebody logs in during the day and does up to four things for up to two customers.
    fn session(&mut self, session: u64) {
        let mut at = self.number(8 * HOUR..18 * HOUR);
        let tenants = [self.number(0..TENANTS), self.number(0..TENANTS)];
        for _ in 0..self.number(1..5) {
            let tenant = tenants[self.random.below(2) as usize];
            match self.random.below(4) {
                0 => self.at(at, What::Deploy(session), tenant, NONE),
                1 => self.at(at, What::Edit(session), tenant, NONE),
                2 => self.at(at, What::Clean(session), tenant, 10..80),
                _ => self.at(at, What::Leave(session), tenant, 40..250),
            }
            at += self.number(MINUTE..10 * MINUTE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_plans_same_day() {
        assert_eq!(plan(1, 24), plan(1, 24));
        assert_ne!(plan(1, 24), plan(2, 24));
        assert!(plan(1, 24).windows(2).all(|two| two[0].at <= two[1].at));
        assert!(plan(1, 24).iter().all(|job| job.at < 24 * HOUR && job.tenant < TENANTS));
        assert!(plan(1, 2).len() < plan(1, 24).len());
        let backups = plan(1, 24).iter().filter(|job| job.what == What::Backup).count();
        assert_eq!(backups as u64, TENANTS);
    }
}
