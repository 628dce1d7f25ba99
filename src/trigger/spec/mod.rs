//! Triggers as users write them, in JSON and TOML. The serde form is a public contract:
//!
//! ```text
//! { cron = "30 2 * * mon-fri", timezone = "Europe/Stockholm", dialect = "unix" | "cron7", dst_gap = "run" | "skip", start, end }
//! { every = "90s", start, end, first = "now" }
//! { at = "2026-03-29T03:30:00+02:00" }
//! { fields = { hour = 3, day = "2nd tue" }, timezone, dst_gap, start, end }
//! { calendar = { months = 1, time = "09:00" }, timezone, dst_gap, start = "2026-01-31", end }
//! { any = [ … ], start, end }
//! { all = [ … ], tolerance = "1s", start, end }
//! { after = ["load", "clean"], on = ["succeeded"], join = "all" | "any" }
//! "manual"
//! ```
//! What is kept is what was written, so that a definition that is added again can be compared with the stored one; its
//! parts are read by `compile`. `read` refuses what has not this shape.

mod compile;
mod read;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::wall::DstGap;
use super::{TriggerError, parse_duration, parse_timezone};

/// A trigger as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerSpec {
    At(AtSpec),
    Every(EverySpec),
    Cron(CronSpec),
    Fields(FieldsSpec),
    Calendar(CalendarSpec),
    Any(AnySpec),
    All(AllSpec),
    After(AfterSpec),
    /// Never by itself.
    Manual,
}

/// One instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AtSpec {
    /// RFC 3339 or RFC 9557; a local time needs a timezone.
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// An interval of elapsed time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EverySpec {
    /// At least 100 ms.
    pub every: String,
    /// For `start` and `end`, and for showing times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The first firing. Absent: the job counts from when it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The last firing is at or before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Without a start: fires when the job is added, instead of one interval later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<First>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum First {
    Now,
}

/// A cron expression.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CronSpec {
    pub cron: String,
    /// UTC unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub dialect: Dialect,
    #[serde(skip_serializing_if = "is_default")]
    pub dst_gap: DstGap,
    /// Firings are at or after this…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// …and at or before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// How a cron expression is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Crontab text.
    #[default]
    Unix,
    /// What the `cron` crate reads.
    Cron7,
}

/// Named fields, as APScheduler's cron trigger has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FieldsSpec {
    pub fields: NamedFields,
    /// UTC unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub dst_gap: DstGap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// At least one is given. Numbers may be written as such.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamedFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// ISO week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_of_week: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minute: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
}

/// Every so many years, months, weeks and days.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CalendarSpec {
    pub calendar: Period,
    /// UTC unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub dst_gap: DstGap,
    /// The first date. Absent: the day on which the job was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Period {
    #[serde(skip_serializing_if = "is_default")]
    pub years: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub months: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub weeks: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub days: u32,
    /// `HH:MM` or `HH:MM:SS` on the wall; midnight unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The last day of the month, instead of the first date's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<MonthDay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonthDay {
    Last,
}

/// The union of triggers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnySpec {
    pub any: Vec<TriggerSpec>,
    /// For `start` and `end`, and for showing times; that of the members unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// The intersection of triggers: the seconds in which all fire.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllSpec {
    pub all: Vec<TriggerSpec>,
    /// Members that fire within this, of whole seconds, agree too; the earliest counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<String>,
    /// For `start` and `end`, and for showing times; that of the members unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// When runs of other jobs end. It names no instants of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AfterSpec {
    /// The upstream jobs, by id.
    pub after: Vec<String>,
    /// The outcomes that count.
    #[serde(skip_serializing_if = "AfterSpec::is_default_on")]
    pub on: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub join: Join,
}

/// How the ends of several upstream jobs make a firing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// One when each of them has ended since the last.
    #[default]
    All,
    /// One for each end.
    Any,
}

impl AfterSpec {
    pub(super) fn default_on() -> Vec<String> {
        vec!["succeeded".to_owned()]
    }

    fn is_default_on(on: &[String]) -> bool {
        on == Self::default_on()
    }

    /// In words: `after load and clean succeeded`, `after load ended as failed or timeout`.
    pub(in crate::trigger) fn describe(&self) -> String {
        let list = |words: &[String], last: &str| match words {
            [.., a, b] => {
                let before: String = words[..words.len() - 2].iter().map(|word| format!("{word}, ")).collect();
                format!("{before}{a} {last} {b}")
            }
            words => words.concat(),
        };
        let jobs = list(&self.after, if self.join == Join::All { "and" } else { "or" });
        match Self::is_default_on(&self.on) {
            true => format!("after {jobs} succeeded"),
            false => format!("after {jobs} ended as {}", list(&self.on, "or")),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TriggerSpec {
    /// The jobs whose runs' ends fire it; none where it fires by time, or never.
    pub fn upstream(&self) -> &[String] {
        match self {
            Self::After(spec) => &spec.after,
            _ => &[],
        }
    }

    pub fn is_after(&self) -> bool {
        matches!(self, Self::After(_))
    }

    /// Whether it is compiled in no more time than a compiled one is found again among many.
    pub fn is_soon_compiled(&self) -> bool {
        matches!(self, Self::At(_) | Self::Every(_) | Self::Manual)
    }

    pub fn cron(expression: &str, timezone: Option<&str>) -> Self {
        Self::Cron(CronSpec { cron: expression.to_owned(), timezone: timezone.map(str::to_owned), ..CronSpec::default() })
    }

    pub fn every(every: &str, timezone: Option<&str>) -> Self {
        Self::Every(EverySpec { every: every.to_owned(), timezone: timezone.map(str::to_owned), start: None, end: None, first: None })
    }

    pub fn at(at: &str, timezone: Option<&str>) -> Self {
        Self::At(AtSpec { at: at.to_owned(), timezone: timezone.map(str::to_owned) })
    }

    /// Reads the JSON form; the error marks the place where it is not JSON.
    pub fn from_json(text: &str) -> Result<Self, TriggerError> {
        read::json(text)
    }

    /// Reads the JSON form.
    pub fn from_value(value: &Value) -> Result<Self, TriggerError> {
        read::value(value)
    }

    /// With what has no start of its own anchored at `anchor`: an interval fires first one interval later, a calendar begins
    /// on that day.
    pub fn anchored(self, anchor: Timestamp) -> Self {
        let all = |members: Vec<Self>| members.into_iter().map(|member| member.anchored(anchor)).collect();
        match self {
            Self::Every(spec) => Self::Every(spec.anchored(anchor)),
            Self::Calendar(spec) => Self::Calendar(spec.anchored(anchor)),
            Self::Any(spec) => Self::Any(AnySpec { any: all(spec.any), ..spec }),
            Self::All(spec) => Self::All(AllSpec { all: all(spec.all), ..spec }),
            Self::At(_) | Self::Cron(_) | Self::Fields(_) | Self::After(_) | Self::Manual => self,
        }
    }

    /// The shortest interval of any `every` in it.
    pub fn shortest_interval(&self) -> Option<SignedDuration> {
        match self {
            Self::Every(spec) => parse_duration(&spec.every).ok(),
            Self::Any(AnySpec { any: members, .. }) | Self::All(AllSpec { all: members, .. }) => members.iter().filter_map(Self::shortest_interval).min(),
            Self::At(_) | Self::Cron(_) | Self::Fields(_) | Self::Calendar(_) | Self::After(_) | Self::Manual => None,
        }
    }
}

impl EverySpec {
    fn anchored(mut self, anchor: Timestamp) -> Self {
        let wait = match self.first.take() {
            _ if self.start.is_some() => return self,
            Some(First::Now) => SignedDuration::ZERO,
            // An interval that cannot be read is refused when it is compiled.
            None => parse_duration(&self.every).unwrap_or_default(),
        };
        self.start = Some(anchor.saturating_add(wait).unwrap_or(anchor).to_string());
        self
    }
}

impl CalendarSpec {
    fn anchored(mut self, anchor: Timestamp) -> Self {
        if self.start.is_none() {
            // A zone that is not known is refused when it is compiled.
            let zone = self.timezone.as_deref().map_or(Ok(TimeZone::UTC), parse_timezone).unwrap_or(TimeZone::UTC);
            self.start = Some(zone.to_datetime(anchor).date().to_string());
        }
        self
    }
}

impl Serialize for TriggerSpec {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(spec) => spec.serialize(s),
            Self::Every(spec) => spec.serialize(s),
            Self::Cron(spec) => spec.serialize(s),
            Self::Fields(spec) => spec.serialize(s),
            Self::Calendar(spec) => spec.serialize(s),
            Self::Any(spec) => spec.serialize(s),
            Self::All(spec) => spec.serialize(s),
            Self::After(spec) => spec.serialize(s),
            Self::Manual => s.serialize_str("manual"),
        }
    }
}

impl<'de> Deserialize<'de> for TriggerSpec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        Self::from_value(&value).map_err(|error| match error.hint {
            Some(hint) => serde::de::Error::custom(format!("{} (hint: {hint})", error.message)),
            None => serde::de::Error::custom(error.message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::testing::{compile, fires};

    #[test]
    fn every_form_is_kept_as_it_was_written() {
        for json in [
            r#"{"at":"2026-03-29T03:30:00+02:00"}"#,
            r#"{"at":"2026-03-29T03:30:00","timezone":"Europe/Berlin"}"#,
            r#"{"every":"90s"}"#,
            r#"{"every":"PT90S","start":"2026-01-01T00:00:00Z","end":"2027-01-01T00:00:00Z"}"#,
            r#"{"every":"1h","timezone":"Europe/Berlin","first":"now"}"#,
            r#"{"cron":"30 2 * * mon-fri","timezone":"Europe/Stockholm"}"#,
            r#"{"cron":"0 30 2 * * 2-6","dialect":"cron7","dst_gap":"skip","start":"2026-01-01","end":"2026-12-31"}"#,
            r#"{"fields":{"day":"2nd tue","hour":"3"},"timezone":"Europe/Berlin","dst_gap":"skip"}"#,
            r#"{"calendar":{"months":1,"time":"09:00","day":"last"},"timezone":"Europe/Berlin","start":"2026-01-31"}"#,
            r#"{"any":[{"every":"1h"},{"cron":"@daily"}],"end":"2027-01-01T00:00:00Z"}"#,
            r#"{"all":[{"cron":"0 9 * * *"},{"any":[{"cron":"0 9 13 * *"}]}],"tolerance":"1s"}"#,
            r#"{"after":["load","clean"],"on":["failed","timeout"],"join":"any"}"#,
            r#""manual""#,
        ] {
            let spec: TriggerSpec = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(serde_json::to_string(&spec).unwrap(), json);
            assert_eq!(TriggerSpec::from_json(json), Ok(spec));
        }
    }

    #[test]
    fn what_is_the_same_by_default_compares_equal() {
        let same = |a, b| assert_eq!(TriggerSpec::from_json(a), TriggerSpec::from_json(b));
        same(r#"{"cron":"@daily"}"#, r#"{"cron":"@daily","dialect":"unix","dst_gap":"run","end":null}"#);
        same(r#""manual""#, r#"{"manual":true}"#);
        same(r#"{"after":["load"]}"#, r#"{"after":["load"],"on":["succeeded"],"join":"all"}"#);
        same(r#"{"fields":{"hour":3}}"#, r#"{"fields":{"hour":"3"}}"#);
        same(r#"{"calendar":{"days":1}}"#, r#"{"calendar":{"days":1,"months":0}}"#);
    }

    #[test]
    fn toml_is_read_the_same_with_its_own_times_too() {
        #[derive(Deserialize)]
        struct Job {
            trigger: TriggerSpec,
        }
        let job: Job = toml::from_str("trigger = { every = \"90s\", start = 2026-01-01T00:00:00Z }").unwrap();
        assert_eq!(Ok(job.trigger), TriggerSpec::from_json(r#"{"every":"90s","start":"2026-01-01T00:00:00Z"}"#));
        let error = toml::from_str::<Job>("trigger = { cron = \"@daily\", timezon = \"UTC\" }").err().unwrap().to_string();
        assert!(error.contains("\"timezon\" is not a field of a trigger with cron (hint: did you mean timezone?)"), "{error}");
    }

    #[test]
    fn what_has_another_shape_is_refused_by_name() {
        for (json, message) in [
            (r#"{"cron":"@daily","timezon":"UTC"}"#, "\"timezon\" is not a field of a trigger with cron"),
            (r#"{"every":"1s","dialect":"unix"}"#, "\"dialect\" is not a field of a trigger with every"),
            (r#"{"at":"2026-01-01T00:00:00Z","start":"2026-01-01"}"#, "\"start\" is not a field of a trigger with at"),
            (r#"{"cron":"@daily","every":"1s"}"#, "the trigger says both every and cron"),
            (r#"{"crn":"@daily"}"#, "the trigger does not say which one it is"),
            (r#"{}"#, "the trigger is empty"),
            (r#"{"cron":5}"#, "cron must be a string, not 5"),
            (r#"{"every":"1s","start":5}"#, "start of a trigger with every must be a string, not 5"),
            (r#"{"cron":"@daily","dialect":"quartz"}"#, "dialect of a trigger with cron must be \"unix\" or \"cron7\", not \"quartz\""),
            (r#"{"every":"1s","first":"later"}"#, "first of a trigger with every must be \"now\", not \"later\""),
            (r#"{"every":"1s","first":"now","start":"2026-01-01T00:00:00Z"}"#, "first says when"),
            (r#"{"manual":false}"#, "manual must be true, not false"),
            (r#"{"any":[]}"#, "any has no members"),
            (r#"{"any":{"every":"1s"}}"#, "any must be a list of triggers"),
            (r#"{"all":[{"evry":"1s"}]}"#, "the trigger does not say which one it is"),
            (r#"{"all":["manual",{"every":"1s"}]}"#, "manual never fires by itself"),
            (r#"{"any":[{"after":["load"]},{"every":"1s"}]}"#, "after fires when runs end"),
            (r#"{"after":"load"}"#, "after must be a list of strings, not \"load\""),
            (r#"{"after":[]}"#, "after names no job"),
            (r#"{"after":["load","load"]}"#, "after names \"load\" twice"),
            (r#"{"after":["load"],"on":[]}"#, "on of a trigger with after names no outcome"),
            (r#"{"after":["load"],"join":"both"}"#, "join of a trigger with after must be \"all\" or \"any\", not \"both\""),
            (r#"{"any":[{"every":"1s"}],"tolerance":"1s"}"#, "\"tolerance\" is not a field of a trigger with any"),
            (r#"{"fields":{"hours":3}}"#, "\"hours\" is not one of fields"),
            (r#"{"fields":{"hour":-3}}"#, "hour of fields must be a string or a whole number, not -3"),
            (r#"{"calendar":{"month":3}}"#, "\"month\" is not one of calendar"),
            (r#""daily""#, "\"daily\" is not a trigger"),
            ("5", "5 is not a trigger"),
            ("{", "the trigger is not JSON"),
        ] {
            let error = TriggerSpec::from_json(json).expect_err(json);
            assert_eq!(error.code, "bad-trigger");
            assert!(error.message.starts_with(message), "{json}: {}", error.message);
            if let Err(from_serde) = serde_json::from_str::<TriggerSpec>(json) {
                assert!(json == "{" || from_serde.to_string().starts_with(message), "{from_serde}");
            }
        }
    }

    #[test]
    fn an_interval_counts_from_its_anchor_and_fires_first_one_interval_later() {
        assert_eq!(fires(r#"{"every":"90s"}"#, "2025-12-31T00:00:00Z", 2), ["2026-01-01T00:01:30+00:00", "2026-01-01T00:03:00+00:00"]);
        assert_eq!(fires(r#"{"every":"90s","first":"now"}"#, "2025-12-31T00:00:00Z", 2), ["2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00"]);
        assert_eq!(fires(r#"{"every":"1h","start":"2020-01-01T00:10:00Z"}"#, "2026-03-01T00:00:00Z", 1), ["2026-03-01T00:10:00+00:00"]);
        let anchored = TriggerSpec::every("1h", None).anchored("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(anchored.clone().anchored("2027-01-01T00:00:00Z".parse().unwrap()), anchored);
    }

    #[test]
    fn start_and_end_are_inclusive_and_a_date_as_end_includes_its_day() {
        let json = r#"{"every":"1h","start":"2026-01-01T00:00:00Z","end":"2026-01-01T02:00:00Z"}"#;
        assert_eq!(fires(json, "2025-01-01T00:00:00Z", 9).len(), 3);
        let json = r#"{"cron":"30 2 * * *","timezone":"Europe/Berlin","start":"2026-01-01T02:30:00","end":"2026-01-03"}"#;
        assert_eq!(fires(json, "2025-01-01T00:00:00Z", 9), ["2026-01-01T02:30:00+01:00", "2026-01-02T02:30:00+01:00", "2026-01-03T02:30:00+01:00"]);
    }

    #[test]
    fn what_its_parts_say_is_refused_when_it_is_compiled() {
        for (json, code) in [
            (r#"{"every":"90"}"#, "bad-duration"),
            (r#"{"every":"50ms"}"#, "bad-duration"),
            (r#"{"every":"0s"}"#, "bad-duration"),
            (r#"{"every":"1s","start":"2026-01-01T00:00:00"}"#, "bad-instant"),
            (r#"{"every":"1s","start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}"#, "bad-trigger"),
            (r#"{"at":"2026-01-01T00:00:00"}"#, "bad-instant"),
            (r#"{"cron":"@daily","timezone":"Mars"}"#, "unknown-timezone"),
            (r#"{"cron":"30 2 * * *","start":"2026-01-01T03:00:00Z","end":"2026-01-01T04:00:00Z"}"#, "never-fires"),
        ] {
            assert_eq!(compile(json).expect_err(json).code, code, "{json}");
        }
        assert!(compile(r#"{"every":"100ms"}"#).is_ok());
    }

    #[test]
    fn what_follows_other_jobs_names_no_instant_and_is_told_in_words() {
        for (json, words) in [
            (r#"{"after":["a"]}"#, "after a succeeded"),
            (r#"{"after":["a","b","c"]}"#, "after a, b and c succeeded"),
            (r#"{"after":["a","b"],"join":"any","on":["failed","timeout"]}"#, "after a or b ended as failed or timeout"),
        ] {
            let trigger = compile(json).unwrap();
            assert_eq!(trigger.describe(), words);
            assert_eq!((trigger.next_after(Timestamp::MIN), trigger.last_at_or_before(Timestamp::MAX)), (None, None));
        }
    }

    #[test]
    fn the_shortest_interval_is_that_of_any_every_in_it() {
        let nested = TriggerSpec::from_json(r#"{"any":[{"every":"1h"},{"all":[{"every":"2s"},{"cron":"@daily"}]}]}"#).unwrap();
        assert_eq!(nested.shortest_interval(), Some(SignedDuration::from_secs(2)));
        assert_eq!(TriggerSpec::every("90s", None).shortest_interval(), Some(SignedDuration::from_secs(90)));
        assert_eq!(TriggerSpec::cron("* * * * * *", None).shortest_interval(), None);
    }
}
