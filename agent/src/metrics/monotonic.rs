//! Counters that only ever rise, from totals that now and then fall: what was given back is
//! subtracted, and a zone that leaves the policy and comes back starts again from zero.

use std::collections::HashMap;

use prometheus::IntCounterVec;

/// A family of counters.
#[derive(Debug)]
pub(super) struct Monotonic {
    counters: IntCounterVec,
    /// The highest total seen, by slot and labels. A slot that is used by another zone counts on
    /// its own.
    highest: HashMap<(u32, Vec<String>), u64>,
}

impl Monotonic {
    pub(super) fn new(counters: IntCounterVec) -> Self {
        Self { counters, highest: HashMap::new() }
    }

    /// The total for `labels` in `slot` is now `total`.
    pub(super) fn reached(&mut self, slot: u32, labels: &[&str], total: u64) {
        let key = (slot, labels.iter().map(|&label| label.to_owned()).collect());
        let highest = self.highest.entry(key).or_default();
        self.counters.with_label_values(labels).inc_by(total.saturating_sub(*highest));
        *highest = total.max(*highest);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    /// Nothing is counted twice.
    #[test]
    fn falling_total_never_lowers_the_counter() {
        let counters = IntCounterVec::new(Opts::new("x", "x"), &["zone"]).unwrap();
        let mut monotonic = Monotonic::new(counters.clone());
        let mut before = 0;
        for (total, expected) in [(10, 10), (8, 10), (9, 10), (12, 12), (0, 12), (13, 13)] {
            monotonic.reached(1, &["a"], total);
            let shown = counters.with_label_values(&["a"]).get();
            assert!(shown >= before);
            assert_eq!(shown, expected, "total {total}");
            before = shown;
        }
        monotonic.reached(2, &["a"], 5);
        assert_eq!(
            counters.with_label_values(&["a"]).get(),
            18,
            "the zone came back in another slot"
        );
    }
}
