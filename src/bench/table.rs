//! A row of the table, and the table as it is filled.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::BenchError;

/// One figure. `limit` is what a minimal program reached in the same run, `peer` another scheduler on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub id: &'static str,
    pub what: String,
    /// `None` where nothing was measured; `note` says why.
    pub ours: Option<f64>,
    pub limit: Option<f64>,
    pub peer: Option<f64>,
    /// `ours` by `limit`.
    pub ratio: Option<f64>,
    pub reach: Reach,
    pub unit: &'static str,
    /// Whether all that is in reach and could be measured was reached; `None` where there is no such thing.
    pub ok: Option<bool>,
    pub note: Option<String>,
}

/// What a row has to reach; all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach(pub Vec<Goal>);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Of `ours`, in the row's unit.
    AtLeast(f64),
    AtMost(f64),
    /// Of `ratio`.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    /// `ours` is so many times `peer`.
    TimesPeer(f64),
}

impl Row {
    pub(super) fn new(id: &'static str, what: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        let (limit, peer, ratio, reach, ok, note) = Default::default();
        Self { id, what: what.into(), ours: Some(ours), limit, peer, ratio, reach, unit, ok, note }
    }

    /// A row for which nothing was measured, and why.
    pub(super) fn missing(id: &'static str, why: impl Into<String>) -> Self {
        Self { ours: None, ..Self::new(id, "", 0.0, "") }.note(why)
    }

    pub(super) fn limit(mut self, limit: f64) -> Self {
        (self.limit, self.ratio) = (Some(limit), self.ours.map(|ours| ours / limit));
        self.judged()
    }

    pub(super) fn peer(mut self, peer: f64) -> Self {
        self.peer = Some(peer);
        self.judged()
    }

    pub(super) fn reach(mut self, goals: &[Goal]) -> Self {
        self.reach = Reach(goals.to_vec());
        self.judged()
    }

    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn judged(mut self) -> Self {
        let verdicts: Vec<_> = self.reach.0.iter().filter_map(|goal| goal.is_reached(&self)).collect();
        self.ok = (!verdicts.is_empty()).then(|| verdicts.iter().all(|reached| *reached));
        self
    }
}

impl Goal {
    fn is_reached(self, row: &Row) -> Option<bool> {
        Some(match self {
            Self::AtLeast(goal) => row.ours? >= goal,
            Self::AtMost(goal) => row.ours? <= goal,
            Self::RatioAtLeast(goal) => row.ratio? >= goal,
            Self::RatioAtMost(goal) => row.ratio? <= goal,
            Self::TimesPeer(goal) => row.ours? >= goal * row.peer?,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, "≥ {}", figure(*goal)),
            Self::AtMost(goal) => write!(f, "≤ {}", figure(*goal)),
            Self::RatioAtLeast(goal) => write!(f, "≥ {goal} × limit"),
            Self::RatioAtMost(goal) => write!(f, "≤ {goal} × limit"),
            Self::TimesPeer(goal) => write!(f, "≥ {goal} × peer"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Goal::to_string).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { serializer.serialize_none() } else { serializer.collect_str(self) }
    }
}

/// A figure as people read it: `79,000`, `12.6`, `0.53`.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let grouped = whole.bytes().enumerate().fold(String::new(), |mut grouped, (at, digit)| {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(char::from(digit));
        grouped
    });
    let fraction = rest.trim_end_matches('0').trim_end_matches('.');
    grouped + fraction
}

/// The rows that are wanted, as they come.
pub(super) struct Table<'a> {
    /// Ids; empty for all.
    pub only: &'a [String],
    /// What other schedulers reached on this machine, by row.
    pub peers: &'a HashMap<String, f64>,
    pub rows: Vec<Row>,
    /// Hears of each row as it is known.
    pub measured: &'a mut dyn FnMut(&Row),
}

impl Table<'_> {
    /// Measures the rows `ids`, unless none of them is wanted. A measurement that fails leaves rows that say why.
    pub async fn measure(&mut self, ids: &[&'static str], measurement: impl Future<Output = Result<Vec<Row>, BenchError>>) {
        let only = self.only;
        debug_assert!(ids.iter().all(|id| super::IDS.contains(id)));
        let of = |id: &str, only: &str| id.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let wanted = |id: &str| only.is_empty() || only.iter().any(|only| of(id, only));
        if !ids.iter().any(|id| wanted(id)) {
            return;
        }
        let rows = match measurement.await {
            Ok(rows) => rows,
            Err(error) => ids.iter().map(|id| Row::missing(id, error.to_string())).collect(),
        };
        for row in rows.into_iter().filter(|row| wanted(row.id)) {
            let row = match self.peers.get(row.id) {
                Some(peer) => row.peer(*peer),
                None => row,
            };
            (self.measured)(&row);
            self.rows.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_all_of_its_goals_that_can_be() {
        let row = Row::new("3", "runs", 20_000.0, "1/s").reach(&[Goal::AtLeast(20_000.0), Goal::RatioAtLeast(0.4), Goal::TimesPeer(150.0)]);
        assert_eq!(row.ok, Some(true));
        assert_eq!(row.clone().limit(40_000.0).ok, Some(true));
        assert_eq!(row.clone().limit(60_000.0).ok, Some(false));
        assert_eq!(row.clone().peer(111.0).ok, Some(true));
        assert_eq!(row.clone().peer(200.0).ok, Some(false));
        assert_eq!(Row::new("12", "metering", 1.5, "x").ok, None);
        assert_eq!(Row::missing("9", "no such thing here").reach(&[Goal::AtMost(100.0)]).ok, None);
    }

    #[test]
    fn figures_have_as_many_digits_as_say_something() {
        let cases = [(79_123.4, "79,123"), (1_000_000.0, "1,000,000"), (100.4, "100"), (12.64, "12.6"), (0.526, "0.53"), (5.0, "5"), (-1_234.0, "-1,234")];
        for (value, shown) in cases {
            assert_eq!(figure(value), shown);
        }
    }
}
