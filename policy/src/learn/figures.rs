//! How large the windows were: percentiles from a histogram of fixed size, and the exact maximum.

/// Values below this have a bucket each.
const EXACT: u64 = 64;
/// Buckets for each doubling above.
const PER_DOUBLING: usize = 32;
const BUCKETS: usize = EXACT as usize + (64 - 6) * PER_DOUBLING;

/// What was seen of one side of one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Windows: one for each actor and stretch of the window's length in which it destroyed
    /// anything. Each counts with the most that any window ending in that stretch had.
    pub windows: u64,
    /// Half of them had no more than this. Percentiles are at most a 32nd too large, never too
    /// small.
    pub p50: u64,
    /// 95 of 100 had no more.
    pub p95: u64,
    /// 99 of 100 had no more.
    pub p99: u64,
    /// None had more. Exact.
    pub max: u64,
}

/// Counts values.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    windows: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], windows: 0, max: 0 }
    }

    pub(super) fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.windows += 1;
        self.max = self.max.max(value);
    }

    pub(super) fn windows(&self) -> u64 {
        self.windows
    }

    pub(super) fn figures(&self) -> Figures {
        let percentile = |percent: u64| {
            let rank = (self.windows * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let found = self.counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            found.map_or(0, |bucket| largest(bucket).min(self.max))
        };
        Figures {
            windows: self.windows,
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: self.max,
        }
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let exponent = value.ilog2() as usize;
    let within = (value >> (exponent - 5)) as usize & (PER_DOUBLING - 1);
    EXACT as usize + (exponent - 6) * PER_DOUBLING + within
}

/// The largest value of a bucket.
fn largest(bucket: usize) -> u64 {
    if bucket < EXACT as usize {
        return bucket as u64;
    }
    let (doubling, within) =
        ((bucket - EXACT as usize) / PER_DOUBLING, (bucket - EXACT as usize) % PER_DOUBLING);
    let width = 1_u64 << (doubling + 1);
    let start = (PER_DOUBLING + within) as u64 * width;
    start + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_small_numbers_are_exact() {
        let mut histogram = Histogram::new();
        (1..=50).for_each(|value| histogram.add(value));
        let figures = histogram.figures();
        assert_eq!(
            (figures.windows, figures.p50, figures.p95, figures.p99, figures.max),
            (50, 25, 48, 50, 50)
        );
        assert_eq!(Histogram::new().figures(), Figures::default());
    }

    proptest! {
        /// A percentile is never too small, and at most a 32nd too large.
        #[test]
        fn percentile_is_at_least_exact(
            mut values in
                proptest::collection::vec(any::<u64>().prop_flat_map(|max| 0..=max), 1..200)
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let figures = histogram.figures();
            for (percent, shown) in [(50, figures.p50), (95, figures.p95), (99, figures.p99)] {
                let exact = values[(values.len() * percent).div_ceil(100) - 1];
                prop_assert!(exact <= shown && shown - exact <= exact / 32, "{exact} {shown}");
            }
            prop_assert_eq!(Some(&figures.max), values.last());
        }
    }
}
