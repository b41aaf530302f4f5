//! Who fills which place, if each can fill one: a largest matching of people and places. It does
//! not know what a place is.

/// For each place the person who fills it, such that as many places as possible are filled and
/// nobody fills two.
///
/// `fits(place, person)` says who may fill which. Augmenting paths, as in Kuhn's algorithm for
/// bipartite graphs.
pub(crate) fn assign(
    places: usize,
    people: usize,
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    let mut filled = vec![None; places];
    for place in 0..places {
        let mut asked = vec![false; people];
        fill(place, &mut filled, &mut asked, &fits);
    }
    filled
}

/// Finds somebody for a place, moving others to another place if need be.
fn fill(
    place: usize,
    filled: &mut [Option<usize>],
    asked: &mut [bool],
    fits: &impl Fn(usize, usize) -> bool,
) -> bool {
    for person in 0..asked.len() {
        if asked[person] || !fits(place, person) {
            continue;
        }
        asked[person] = true;
        let theirs = filled.iter().position(|who| *who == Some(person));
        let free = match theirs {
            None => true,
            Some(theirs) => fill(theirs, filled, asked, fits),
        };
        if free {
            filled[place] = Some(person);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn somebody_moves_so_that_another_fits() {
        // Person 0 fits both places, person 1 only the first.
        let filled = assign(2, 2, |place, person| person == 0 || place == 0);
        assert_eq!(filled, [Some(1), Some(0)]);
    }

    /// The most places that can be filled, by trying everything.
    fn most(table: &[Vec<bool>], place: usize, used: u32) -> usize {
        let Some(row) = table.get(place) else {
            return 0;
        };
        let with =
            row.iter().enumerate().filter(|(person, fits)| **fits && used & 1 << person == 0);
        let best = with.map(|(person, _)| 1 + most(table, place + 1, used | 1 << person)).max();
        best.unwrap_or(0).max(most(table, place + 1, used))
    }

    proptest! {
        /// No person fills two places, and no more places could be filled.
        #[test]
        fn assignment_is_maximal(
            table in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 5), 0..6),
        ) {
            let filled = assign(table.len(), 5, |place, person| table[place][person]);
            let mut people: Vec<usize> = filled.iter().copied().flatten().collect();
            prop_assert_eq!(people.len(), most(&table, 0, 0));
            for (place, person) in filled.iter().enumerate() {
                prop_assert!(person.is_none_or(|person| table[place][person]));
            }
            people.sort_unstable();
            people.dedup();
            prop_assert_eq!(people.len(), filled.iter().flatten().count());
        }
    }
}
