//! The largest windows of one side of one budget, and which of them stand alone.

/// Windows that can stand alone: what one burst leaves in a sliding window touches up to three
/// stretches of its length.
pub(super) const CAN_STAND_ALONE: usize = 3;
/// With fewer windows nobody can tell what stands alone.
pub(super) const FEWEST_WINDOWS: u64 = CAN_STAND_ALONE as u64 + 2;
/// Alone is what is more than so many times the next.
const TIMES: u64 = 3;

/// The most that one actor had in one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peak {
    pub(super) amount: u64,
    pub(super) actor: u64,
    /// When.
    pub(super) at: u64,
}

/// The largest, largest first: one more than can stand alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Peaks(Vec<Peak>);

impl Peaks {
    pub(super) fn add(&mut self, peak: Peak) {
        let at = self.0.partition_point(|other| other.amount >= peak.amount);
        self.0.insert(at, peak);
        self.0.truncate(CAN_STAND_ALONE + 1);
    }

    /// All there are, if there are fewer than [`FEWEST_WINDOWS`].
    pub(super) fn largest(&self) -> &[Peak] {
        &self.0
    }

    /// Those that stand alone, and the most of all others.
    pub(super) fn alone(&self, windows: u64, smallest: u64) -> (&[Peak], u64) {
        let amount = |n: usize| self.0.get(n).map_or(0, |peak| peak.amount);
        let stands = |n: &usize| {
            windows >= FEWEST_WINDOWS
                && amount(n - 1) > amount(*n).max(smallest).saturating_mul(TIMES)
        };
        let n = (1..=CAN_STAND_ALONE.min(self.0.len())).rev().find(stands).unwrap_or(0);
        (&self.0[..n], amount(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(amounts: &[u64]) -> (Vec<u64>, u64) {
        let mut peaks = Peaks::default();
        for &amount in amounts {
            peaks.add(Peak { amount, ..Peak::default() });
        }
        let (alone, next) = peaks.alone(amounts.len() as u64, 10);
        (alone.iter().map(|peak| peak.amount).collect(), next)
    }

    #[test]
    fn only_unrepeated_peaks_stand_alone() {
        assert_eq!(alone(&[20, 30, 1500, 20, 25]), (vec![1500], 30));
        assert_eq!(alone(&[20, 1500, 1400, 1300, 30, 9]), (vec![1500, 1400, 1300], 30));
        assert_eq!(alone(&[20, 1500, 1400, 1300, 1500, 9]), (vec![], 1500), "a nightly job");
        assert_eq!(alone(&[20, 30, 90, 20, 25]), (vec![], 90), "three times is not more than that");
        assert_eq!(alone(&[20, 5000, 1600, 70, 25]), (vec![5000, 1600], 70));
    }

    /// A small peak never stands alone, and with few windows no peak does.
    #[test]
    fn small_peaks_never_stand_alone() {
        assert_eq!(alone(&[1, 1, 1, 1, 30]), (vec![], 30));
        assert_eq!(alone(&[1, 1, 1, 1, 31]), (vec![31], 1));
        assert_eq!(alone(&[1, 1, 1, 1000]), (vec![], 1000));
        assert_eq!(alone(&[]), (vec![], 0));
    }
}
