//! What a trigger costs: reading it, the next firing in a zone with daylight saving, and catching up after a year.
//!
//! croner stands beside ours in the same run, asked through jiff as we are; it has no count, so it does not catch up here.

use std::cmp::Ordering;
use std::hint::black_box;
use std::str::FromStr;

use bellcage::trigger::{Salt, Trigger, TriggerSpec, parse_timezone};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use croner::errors::CronError;
use croner::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

const ZONE: &str = "America/New_York";

/// Usual expressions, from the densest to the sparsest.
const EXPRESSIONS: [&str; 8] = ["* * * * * *", "* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 * *", "0 12 L * *"];

/// As many instants as a run goes through, spread over 2026 so that no two are near.
const INSTANTS: usize = 1_024;

fn instants() -> Vec<Timestamp> {
    (0..INSTANTS as i64).map(|n| Timestamp::from_second(1_767_225_600 + n * 30_790 + n * n % 997).unwrap()).collect()
}

fn compile(spec: TriggerSpec) -> Trigger {
    spec.compile(Salt { tenant: "default", job: "nightly" }).unwrap()
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for expression in EXPRESSIONS {
        group.bench_function(format!("bellcage {expression}"), |b| {
            b.iter_batched(|| TriggerSpec::cron(expression, Some(ZONE)), |spec| black_box(compile(spec)), BatchSize::SmallInput);
        });
        group.bench_function(format!("croner {expression}"), |b| b.iter(|| croner::Cron::from_str(black_box(expression)).unwrap()));
    }
}

fn next_after(c: &mut Criterion) {
    let mut group = c.benchmark_group("next");
    let (instants, zone) = (instants(), parse_timezone(ZONE).unwrap());
    for expression in EXPRESSIONS {
        let trigger = compile(TriggerSpec::cron(expression, Some(ZONE)));
        let mut n = 0;
        group.bench_function(format!("bellcage {expression}"), |b| {
            b.iter(|| {
                n = (n + 1) % INSTANTS;
                trigger.next_after(black_box(instants[n]))
            });
        });
        let cron = croner::Cron::from_str(expression).unwrap();
        group.bench_function(format!("croner {expression}"), |b| {
            b.iter(|| {
                n = (n + 1) % INSTANTS;
                cron.find_next_occurrence(&Local { t: black_box(instants[n]), zone: zone.clone() }, false).unwrap().t
            });
        });
    }
}

fn catch_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("catch up a year");
    let (after, until): (Timestamp, Timestamp) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    let every = TriggerSpec::every("1s", None).anchored(after);
    for (name, spec) in [("cron * * * * * *", TriggerSpec::cron("* * * * * *", Some(ZONE))), ("every 1s", every)] {
        let trigger = compile(spec);
        // What the scheduler asks: the newest firing, how many there were, and the next one.
        group.bench_function(name, |b| {
            b.iter(|| {
                let until = black_box(until);
                (trigger.last_at_or_before(until), trigger.count_between(after, until), trigger.next_after(until))
            });
        });
    }
}

criterion_group!(benches, parse, next_after, catch_up);
criterion_main!(benches);

/// A time as croner's search wants it.
#[derive(Clone)]
struct Local {
    t: Timestamp,
    zone: TimeZone,
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let wall = self.zone.to_datetime(self.t);
        let [month, day, hour, minute, second] = [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()].map(|n| n as u32);
        CivilDateTime::from_ymd_hms_opt(wall.year().into(), month, day, hour, minute, second).unwrap()
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.zone.to_datetime(self.t).weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let [month, day, hour, minute, second] = [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(|n| n as i8);
        let wall = DateTime::new(civil.year() as i16, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        let local = |offset: Offset| Self { t: offset.to_timestamp(wall).unwrap(), zone: self.zone.clone() };
        Ok(match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => Resolution::Single(local(offset)),
            AmbiguousOffset::Fold { before, after } => Resolution::Ambiguous(local(before), local(after)),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        Some(Self { t: self.t.checked_add(SignedDuration::from_secs(seconds)).ok()?, zone: self.zone.clone() })
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.t.cmp(&other.t)
    }
}
