//! Triggers against independent answers: a naive scan of the wall clock (`naive`), brute force over members, and croner.
//! What a failing case prints (expression, zone, instant) is all that is needed to see it again.

mod combined;
mod cron;
mod croner;
mod hostile;
mod naive;

use bellcage::trigger::{Salt, Trigger, TriggerError, TriggerSpec, parse_timezone};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// Zones with every kind of clock change that there is, and some with none.
const ZONES: [&str; 32] = [
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Berlin",
    "Australia/Lord_Howe", // half an hour
    "America/St_Johns",    // at 00:01 for years
    "Asia/Kathmandu",
    "America/Sao_Paulo", // midnight gaps
    "Asia/Beirut",
    "Africa/Casablanca", // back for Ramadan
    "Africa/El_Aaiun",
    "Pacific/Apia",     // skipped 2011-12-30
    "Europe/Dublin",    // negative daylight saving
    "Antarctica/Troll", // two hours
    "America/Havana",
    "Pacific/Kwajalein",  // skipped 1993-08-21
    "Pacific/Kiritimati", // skipped 1994-12-31
    "Asia/Pyongyang",     // half an hour, twice, for good
    "America/Caracas",
    "Europe/Moscow", // changed for good in 2011 and 2014
    "Europe/Istanbul",
    "Asia/Tehran",
    "Asia/Gaza",
    "Africa/Cairo",
    "America/Santiago",
    "America/Asuncion",
    "Pacific/Chatham", // 45 minutes off the hour
    "Pacific/Norfolk",
    "Antarctica/Casey", // three hours
    "Asia/Kolkata",
    "America/Nuuk",
    "Asia/Amman",
];

fn config(cases: u32) -> ProptestConfig {
    let usual = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    // The same cases each time, so that a change is judged by itself; PROPTEST_RNG_SEED=N tries others.
    match std::env::var_os("PROPTEST_RNG_SEED") {
        Some(_) => usual,
        None => ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(2026), ..usual },
    }
}

fn compile(json: &str) -> Result<Trigger, TriggerError> {
    TriggerSpec::from_json(json)?.anchored(at(0)).compile(Salt { tenant: "default", job: "nightly" })
}

fn trigger(json: &str) -> Trigger {
    compile(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    parse_timezone(name).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const MICRO: SignedDuration = SignedDuration::from_micros(1);

/// The firings in `(after, until]`, asked forwards.
fn forwards(trigger: &Trigger, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut t = after;
    std::iter::from_fn(|| trigger.next_after(t).filter(|&next| next <= until).inspect(|&next| t = next)).collect()
}

/// The same, asked backwards.
fn backwards(trigger: &Trigger, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut t = until;
    let mut fires: Vec<_> = std::iter::from_fn(|| trigger.last_at_or_before(t).filter(|&last| last > after).inspect(|&last| t = last - MICRO)).collect();
    fires.reverse();
    fires
}

/// Any second from 1985 to 2045.
fn seconds() -> impl Strategy<Value = i64> {
    473_385_600_i64..2_366_841_600
}

/// A zone and one of its clock changes from 1985 to 2045, or any instant where there is none.
fn clock_change() -> impl Strategy<Value = (&'static str, Timestamp)> {
    (prop::sample::select(&ZONES[..]), any::<prop::sample::Index>(), seconds()).prop_map(|(name, index, second)| {
        let zone = zone(name);
        let changes: Vec<Timestamp> = zone.following(at(473_385_600)).map(|change| change.timestamp()).take_while(|&t| t < at(2_366_841_600)).collect();
        (name, if changes.is_empty() { at(second) } else { changes[index.index(changes.len())] })
    })
}
