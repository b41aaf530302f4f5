//! One clock for ops of several boots.

use std::collections::HashMap;

/// Nanoseconds since 1970 as the first op of each boot has it, and from there on as far apart as
/// the kernel's boot time says: exact within a boot, whatever was done to the wall clock.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    offsets: HashMap<String, i128>,
    latest: i128,
}

impl Timeline {
    /// The time of something in a boot, of which the wall clock said `wall_ms`. A boot that seems
    /// to have come before what is known already comes right after it.
    pub(super) fn at(&mut self, boot: &str, boot_ns: u64, wall_ms: i64) -> u64 {
        let offset = match self.offsets.get(boot) {
            Some(offset) => *offset,
            None => {
                let wall_ns = i128::from(wall_ms) * 1_000_000;
                let offset = wall_ns.max(self.latest + 1) - i128::from(boot_ns);
                self.offsets.insert(boot.to_owned(), offset);
                offset
            }
        };
        let at = i128::from(boot_ns) + offset;
        self.latest = self.latest.max(at);
        u64::try_from(at).unwrap_or(1).max(1)
    }
}

/// A number for a unit that no unit of another boot has.
pub(super) fn unit(boot: &str, id: u64, name: &str) -> u64 {
    // An id is good for one boot. The hash is the same for all units of one, so that no two of them
    // can meet.
    if id == 0 { holdfast_abi::name_id(name) | 1 } else { id ^ holdfast_abi::name_id(boot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boots follow each other.
    #[test]
    fn timeline_follows_the_boot_clock() {
        let mut timeline = Timeline::default();
        let first = timeline.at("a", 5_000, 1_000);
        assert_eq!(first, 1_000_000_000);
        // The wall clock was set back; the boot's own was not.
        assert_eq!(timeline.at("a", 5_007, 3), first + 7);
        assert_eq!(timeline.at("b", 1, 2_000), 2_000_000_000);
        // A boot whose wall clock is wrong comes after what there was.
        assert_eq!(timeline.at("c", 9, 1), 2_000_000_001);
        assert_eq!(timeline.at("b", 3, 7_000), 2_000_000_002);
    }

    #[test]
    fn units_of_two_boots_differ() {
        assert_ne!(unit("a", 7, "/x"), unit("b", 7, "/x"));
        assert_ne!(unit("a", 7, "/x"), unit("a", 8, "/x"));
        assert_eq!(unit("a", 7, "/x"), unit("a", 7, "cgroup 7"), "its name does not matter");
        assert_eq!(unit("a", 0, "/x"), unit("b", 0, "/x"), "a former version's");
    }
}
