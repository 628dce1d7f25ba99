//! What an exclusion calendar leaves out: holidays, nights, freeze windows. A job whose firing falls into one makes no run.
//!
//! Each rule is a set of stretches of time, half open: it can be asked which stretch an instant is in, and which begins next,
//! so that a range is cut into stretches without looking at every instant. No state, as with triggers.

use jiff::civil::{self, Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::{TriggerError, parse_instant, parse_timezone};

/// Rules in one calendar at most.
const RULES_MAX: usize = 200;
/// Days looked through for the next stretch of a rule that comes every week.
const DAYS: i32 = 9;
/// Years looked through for the next 29 February.
const YEARS: i16 = 9;

/// A calendar's definition. Serde form = TOML and JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusions {
    /// An IANA name; absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    pub exclude: Vec<Exclusion>,
}

/// One rule. Days are local days, from midnight to midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Exclusion {
    /// One day: `2026-12-24`.
    Date(DateRule),
    /// A day of each year: `12-25`.
    Yearly(YearlyRule),
    /// A stretch of time: from `from` up to, but not including, `to`. Instants, or local times and dates.
    Window(WindowRule),
    /// A time of day, on all days or some: `22:00-06:00` (over midnight where the end is not after the start).
    Daily(DailyRule),
    /// Days of the week: `sat`.
    Weekdays(WeekdaysRule),
}

macro_rules! rule {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$meta])* pub $field: $type),* }
    };
}
rule!(DateRule { date: String });
rule!(YearlyRule { yearly: String });
rule!(WindowRule { from: String, to: String });
rule!(DailyRule { daily: String, #[serde(default, skip_serializing_if = "Vec::is_empty")] weekdays: Vec<String> });
rule!(WeekdaysRule { weekdays: Vec<String> });

/// A compiled calendar.
#[derive(Clone, Debug)]
pub struct Excluded {
    zone: TimeZone,
    rules: Vec<Rule>,
}

/// A half-open stretch of time that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
}

#[derive(Clone, Debug)]
enum Rule {
    Date(Date),
    Yearly { month: i8, day: i8 },
    Window(Stretch),
    Daily { from: Time, to: Time, weekdays: Option<[bool; 7]> },
    Weekdays([bool; 7]),
}

impl Exclusions {
    pub fn compile(&self) -> Result<Excluded, TriggerError> {
        let zone = self.timezone.as_deref().map_or(Ok(TimeZone::UTC), parse_timezone)?;
        if self.exclude.len() > RULES_MAX {
            return Err(bad(format!("a calendar has at most {RULES_MAX} rules, not {}", self.exclude.len())));
        }
        let rules = self.exclude.iter().map(|rule| compile(rule, &zone)).collect::<Result<_, _>>()?;
        Ok(Excluded { zone, rules })
    }
}

fn bad(message: String) -> TriggerError {
    TriggerError::new("bad-calendar", message)
}

fn compile(rule: &Exclusion, zone: &TimeZone) -> Result<Rule, TriggerError> {
    let refuse = |typed: &str, what: &str, example: &str| {
        let shown: String = typed.chars().take(60).collect();
        bad(format!("{shown:?} is not {what}")).hint(format!("write it as {example}")).at(typed, 0, typed.len())
    };
    match rule {
        Exclusion::Date(DateRule { date }) => date.parse().map(Rule::Date).map_err(|_| refuse(date, "a date", "2026-12-24")),
        Exclusion::Yearly(YearlyRule { yearly }) => {
            // A leap year, so that 02-29 is one.
            let day: Date = format!("2024-{yearly}").parse().map_err(|_| refuse(yearly, "a day of the year", "12-25"))?;
            Ok(Rule::Yearly { month: day.month(), day: day.day() })
        }
        Exclusion::Window(WindowRule { from, to }) => {
            let stretch = Stretch { from: edge(from, zone)?, to: edge(to, zone)? };
            if stretch.from >= stretch.to {
                return Err(bad(format!("the window from {from} to {to} is empty")).hint("`to` is the first instant after it"));
            }
            Ok(Rule::Window(stretch))
        }
        Exclusion::Daily(DailyRule { daily, weekdays: days }) => {
            let parsed = daily.split_once('-').and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
            let (from, to) = parsed.ok_or_else(|| refuse(daily, "a time of day", "22:00-06:00"))?;
            let weekdays = if days.is_empty() { None } else { Some(weekdays(days)?) };
            Ok(Rule::Daily { from, to, weekdays })
        }
        Exclusion::Weekdays(WeekdaysRule { weekdays: days }) => weekdays(days).map(Rule::Weekdays),
    }
}

/// An instant, a local time, or the beginning of a local day.
fn edge(typed: &str, zone: &TimeZone) -> Result<Timestamp, TriggerError> {
    match typed.trim().parse::<Date>() {
        Ok(day) if !typed.contains(['T', ' ', 't']) => day_start(day, zone).ok_or_else(|| bad(format!("{typed:?} is out of range"))),
        _ => parse_instant(typed, Some(zone)),
    }
}

fn weekdays(names: &[String]) -> Result<[bool; 7], TriggerError> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let mut days = [false; 7];
    for name in names {
        let short = name.trim().to_ascii_lowercase();
        let found =
            NAMES.iter().position(|n| short.len() >= 3 && short.starts_with(n) && ["", "day", "sday", "nesday", "rsday", "urday"].contains(&&short[3..]));
        let day = found.ok_or_else(|| bad(format!("{name:?} is not a weekday")).hint("use mon, tue, wed, thu, fri, sat or sun"))?;
        days[day] = true;
    }
    if days == [false; 7] {
        return Err(bad("weekdays is empty".to_owned()).hint("name at least one, such as [\"sat\", \"sun\"]"));
    }
    Ok(days)
}

fn day_start(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(day.to_zoned_datetime(zone.clone()).ok()?.timestamp())
}

fn local(day: Date, time: Time, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_timestamp(civil::DateTime::from_parts(day, time)).ok()
}

fn is_one_of(days: &[bool; 7], weekday: Weekday) -> bool {
    days[usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)]
}

impl Rule {
    /// The stretch that begins on the local day `day`, where one does.
    fn on(&self, day: Date, zone: &TimeZone) -> Option<Stretch> {
        let whole = || Some(Stretch { from: day_start(day, zone)?, to: day_start(day.tomorrow().ok()?, zone)? });
        match self {
            Self::Date(date) if *date == day => whole(),
            Self::Yearly { month, day: d } if (*month, *d) == (day.month(), day.day()) => whole(),
            Self::Weekdays(days) if is_one_of(days, day.weekday()) => whole(),
            Self::Daily { from, to, weekdays } if weekdays.as_ref().is_none_or(|days| is_one_of(days, day.weekday())) => {
                let end = if to > from { day } else { day.tomorrow().ok()? };
                Some(Stretch { from: local(day, *from, zone)?, to: local(end, *to, zone)? }).filter(|s| s.from < s.to)
            }
            _ => None,
        }
    }

    /// The stretch that `t` is in.
    fn covering(&self, t: Timestamp, zone: &TimeZone) -> Option<Stretch> {
        if let Self::Window(stretch) = self {
            return Some(*stretch).filter(|s| s.from <= t && t < s.to);
        }
        let day = zone.to_datetime(t).date();
        [Some(day), day.yesterday().ok()].into_iter().flatten().filter_map(|day| self.on(day, zone)).find(|s| s.from <= t && t < s.to)
    }

    /// The first stretch that begins after `t`.
    fn next(&self, t: Timestamp, zone: &TimeZone) -> Option<Stretch> {
        let today = zone.to_datetime(t).date();
        match self {
            Self::Window(stretch) => Some(*stretch).filter(|s| s.from > t),
            Self::Date(date) => self.on(*date, zone).filter(|s| s.from > t),
            Self::Yearly { month, day } => {
                (0..YEARS).filter_map(|n| self.on(Date::new(today.year().checked_add(n)?, *month, *day).ok()?, zone)).find(|s| s.from > t)
            }
            _ => (0..DAYS).filter_map(|n| self.on(today.checked_add(n.days()).ok()?, zone)).find(|s| s.from > t),
        }
    }
}

impl Excluded {
    /// The stretch that `t` is in, of the rule that goes on longest; `None` where it is not left out.
    pub fn covering(&self, t: Timestamp) -> Option<Stretch> {
        self.rules.iter().filter_map(|rule| rule.covering(t, &self.zone)).max_by_key(|s| s.to)
    }

    /// The first stretch that begins after `t`.
    pub fn next(&self, t: Timestamp) -> Option<Stretch> {
        self.rules.iter().filter_map(|rule| rule.next(t, &self.zone)).min_by_key(|s| s.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn excluded(rules: Value) -> Excluded {
        let calendar: Exclusions = serde_json::from_value(json!({ "timezone": "Europe/Berlin", "exclude": rules })).unwrap();
        calendar.compile().unwrap()
    }

    fn at(local: &str) -> Timestamp {
        parse_instant(local, Some(&parse_timezone("Europe/Berlin").unwrap())).unwrap()
    }

    fn stretch(from: &str, to: &str) -> Option<Stretch> {
        Some(Stretch { from: at(from), to: at(to) })
    }

    #[test]
    fn a_date_is_a_local_day_from_midnight_to_midnight() {
        let calendar = excluded(json!([{ "date": "2026-12-24" }]));
        assert_eq!(calendar.covering(at("2026-12-24T00:00")), stretch("2026-12-24T00:00", "2026-12-25T00:00"));
        assert_eq!(calendar.covering(at("2026-12-25T00:00")), None);
        assert_eq!(calendar.next(at("2026-01-01T00:00")), stretch("2026-12-24T00:00", "2026-12-25T00:00"));
        assert_eq!(calendar.next(at("2026-12-24T00:00")), None);
    }

    #[test]
    fn a_day_of_clock_change_is_as_long_as_it_is() {
        let calendar = excluded(json!([{ "weekdays": ["sun"] }]));
        let day = calendar.covering(at("2026-03-29T12:00")).unwrap();
        assert_eq!(day.to.duration_since(day.from).as_hours(), 23);
    }

    #[test]
    fn a_leap_day_comes_every_four_years() {
        let calendar = excluded(json!([{ "yearly": "02-29" }]));
        assert_eq!(calendar.next(at("2026-01-01T00:00")), stretch("2028-02-29T00:00", "2028-03-01T00:00"));
        assert_eq!(calendar.next(at("2097-01-01T00:00")), stretch("2104-02-29T00:00", "2104-03-01T00:00"));
    }

    #[test]
    fn a_night_goes_over_midnight_and_belongs_to_the_day_it_began() {
        let calendar = excluded(json!([{ "daily": "22:00-06:00", "weekdays": ["fri"] }]));
        assert_eq!(calendar.covering(at("2026-11-28T05:59:59")), stretch("2026-11-27T22:00", "2026-11-28T06:00"));
        assert_eq!(calendar.covering(at("2026-11-28T06:00")), None);
        assert_eq!(calendar.covering(at("2026-11-28T23:00")), None, "Saturday night is none");
        assert_eq!(calendar.next(at("2026-11-28T06:00")), stretch("2026-12-04T22:00", "2026-12-05T06:00"));
    }

    #[test]
    fn a_window_takes_instants_local_times_and_dates() {
        let calendar = excluded(json!([{ "from": "2026-12-20T18:00", "to": "2027-01-02" }, { "from": "2026-06-01T00:00:00Z", "to": "2026-06-01T01:00:00Z" }]));
        assert_eq!(calendar.covering(at("2026-12-31T23:59")), stretch("2026-12-20T18:00", "2027-01-02T00:00"));
        assert_eq!(calendar.covering(at("2026-06-01T02:30")), stretch("2026-06-01T02:00", "2026-06-01T03:00"));
    }

    #[test]
    fn of_rules_that_overlap_the_longest_is_told() {
        let calendar = excluded(json!([{ "weekdays": ["fri"] }, { "from": "2026-12-25", "to": "2026-12-27" }]));
        assert_eq!(calendar.covering(at("2026-12-25T12:00")), stretch("2026-12-25T00:00", "2026-12-27T00:00"));
    }

    #[test]
    fn bad_rules_are_refused_with_what_was_typed() {
        let refused = |rule: Value| {
            let calendar: Exclusions = serde_json::from_value(json!({ "exclude": [rule] })).unwrap();
            calendar.compile().unwrap_err().message
        };
        assert_eq!(refused(json!({ "date": "2026-02-30" })), "\"2026-02-30\" is not a date");
        assert_eq!(refused(json!({ "yearly": "13-01" })), "\"13-01\" is not a day of the year");
        assert_eq!(refused(json!({ "daily": "25:00-06:00" })), "\"25:00-06:00\" is not a time of day");
        assert_eq!(refused(json!({ "weekdays": ["funday"] })), "\"funday\" is not a weekday");
        assert_eq!(refused(json!({ "weekdays": [] })), "weekdays is empty");
        assert_eq!(refused(json!({ "from": "2026-01-02", "to": "2026-01-02" })), "the window from 2026-01-02 to 2026-01-02 is empty");
        assert!(serde_json::from_value::<Exclusions>(json!({ "exclude": [{ "dates": "2026-01-01" }] })).is_err());
    }
}
