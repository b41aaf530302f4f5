//! What a unit made itself a moment ago goes whatever it has spent.

use holdfast_abi::FRESH_NS;

use super::*;

const FRESH: Outcome = (Verdict::Allow, Reason::Fresh, false, None);
const WINDOW: &str = "per = \"unit\", files = 2, window = \"2h\"";

fn tripped(zone: &str) -> Model {
    let mut model = model(&format!("mode = \"enforce\"\n{zone}"), &[WINDOW]);
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&remove(1))), ALLOWED);
    }
    assert_ne!(model.decide(&remove(1)).verdict, Verdict::Allow);
    model
}

/// A removal so long after the trip, of a file made then.
fn remove_made(made_at: u64, now: u64) -> Request<'static> {
    Request { made_at: Some(made_at), now, ..remove(1) }
}

#[test]
fn tripped_unit_removes_its_fresh_files() {
    for zone in ["on_trip = \"deny\"", "on_trip = \"hold\"", "on_trip = \"throttle\""] {
        let mut model = tripped(zone);
        let now = 101 * SECOND;
        let fresh = remove_made(now - SECOND, now);
        for op in [Op::Remove, Op::Replace] {
            for _ in 0..100 {
                assert_eq!(outcome(&model.decide(&Request { op, ..fresh })), FRESH, "{zone}");
            }
        }
        for op in [Op::Truncate, Op::MoveOut] {
            let verdict = model.decide(&Request { op, ..fresh }).verdict;
            assert_ne!(verdict, Verdict::Allow, "{op:?} with {zone}");
        }
        assert_ne!(model.decide(&remove(1)).verdict, Verdict::Allow, "{zone}");
    }
}

#[test]
fn fresh_file_trips_nobody() {
    let mut model = model("mode = \"enforce\"\non_trip = \"deny\"", &[WINDOW]);
    let now = 101 * SECOND;
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&remove_made(now - SECOND, now))), ALLOWED);
    }
    for _ in 0..3 {
        assert_eq!(outcome(&model.decide(&remove_made(now - SECOND, now))), FRESH);
    }
    assert!(model.accounts.values().all(|account| account.trips == 0 && account.files == 2));
    assert!(model.decide(&remove(1)).first, "the trip is told by the first other file");
}

#[test]
fn older_files_stay_refused() {
    let mut model = tripped("on_trip = \"deny\"");
    let made_before = 100 * SECOND - 1;
    let last = made_before + FRESH_NS - 1;
    assert_eq!(outcome(&model.decide(&remove_made(made_before, last))), FRESH);
    assert_eq!(model.decide(&remove_made(made_before, last + 1)).verdict, Verdict::Deny);
}

#[test]
fn files_since_trip_are_fresh() {
    let mut model = tripped("on_trip = \"deny\"");
    let made_after = 100 * SECOND + 1;
    // The latch is over by then, but what was spent is not.
    let later = 100 * SECOND + 6 * FRESH_NS;
    assert_eq!(outcome(&model.decide(&remove_made(made_after, later))), FRESH);
    // A trip from before the window says nothing.
    let much_later = 100 * SECOND + 100 * FRESH_NS;
    for _ in 0..2 {
        assert_eq!(outcome(&model.decide(&remove_made(made_after, much_later))), ALLOWED);
    }
    assert_eq!(model.decide(&remove_made(made_after, much_later)).verdict, Verdict::Deny);
}
