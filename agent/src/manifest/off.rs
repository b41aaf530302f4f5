//! When zones were not recorded, because their policy said so.

use serde::{Deserialize, Serialize};

/// Most spans of one zone; then its oldest two are put together.
const MOST: usize = 16;

/// One span in which a zone was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Off {
    /// Name of the zone.
    pub(crate) zone: String,
    /// From then, RFC 3339.
    pub(crate) from: String,
    /// To then; absent as long as it is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// It stands for several, and for what was recorded between them.
    #[serde(default, skip_serializing_if = "super::line::is_false")]
    pub(crate) several: bool,
}

/// All of them, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Offs(Vec<Off>);

impl Offs {
    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Off> {
        self.0.iter()
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what a [`super::Line::Switch`] says. One that says nothing new, as each agent's
    /// first does, changes nothing.
    pub(crate) fn switch(&mut self, zone: &str, time: &str, is_recorded: bool) {
        let last = self.0.iter_mut().rev().find(|off| off.zone == zone);
        match (last, is_recorded) {
            (Some(Off { to: to @ None, .. }), true) => *to = Some(time.to_owned()),
            (Some(Off { to: None, .. }), false) | (Some(Off { to: Some(_), .. }) | None, true) => {}
            (Some(Off { to: Some(_), .. }) | None, false) => {
                let (zone, from) = (zone.to_owned(), time.to_owned());
                self.0.push(Off { zone, from, to: None, several: false });
                self.bound();
            }
        }
    }

    /// Puts the oldest two of the zone that came last together if it has too many.
    fn bound(&mut self) {
        let Some(zone) = self.0.last().map(|off| off.zone.clone()) else { return };
        let mut own = self.0.iter().enumerate().filter(|(_, off)| off.zone == zone);
        let (first, second) = (own.next(), own.next());
        if own.count() + 2 <= MOST {
            return;
        }
        if let (Some((first, Off { from, .. })), Some((second, _))) = (first, second) {
            let (first, from) = (first, from.clone());
            self.0[second] = Off { from, several: true, ..self.0[second].clone() };
            self.0.remove(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(offs: &Offs) -> Vec<(&str, &str, Option<&str>)> {
        offs.iter().map(|off| (off.zone.as_str(), off.from.as_str(), off.to.as_deref())).collect()
    }

    #[test]
    fn recording_ends_the_span() {
        let mut offs = Offs::default();
        for (zone, time, is_recorded) in [
            ("a", "1", true),
            ("a", "2", false),
            ("b", "3", false),
            ("a", "4", false), // the next agent says it again
            ("a", "5", true),
            ("a", "6", true),
            ("a", "7", false),
        ] {
            offs.switch(zone, time, is_recorded);
        }
        assert_eq!(spans(&offs), [("a", "2", Some("5")), ("b", "3", None), ("a", "7", None)]);
        offs.switch("a", "6", true);
        assert_eq!(
            spans(&offs)[2],
            ("a", "7", Some("6")),
            "a clock that was set back loses nothing"
        );
    }

    /// A zone that changes all the time has a bound.
    #[test]
    fn merged_spans_are_bounded_and_complete() {
        let mut offs = Offs::default();
        for n in 0..1000 {
            offs.switch("a", &format!("{n:04}"), n % 2 == 1);
        }
        offs.switch("b", "5", false);
        let all = spans(&offs);
        assert_eq!(all.len(), MOST + 1);
        assert_eq!((all[0], all[1]), (("a", "0000", Some("0969")), ("a", "0970", Some("0971"))));
        assert_eq!(offs.iter().filter(|off| off.several).count(), 1);
    }
}
