//! Triggers: any text is refused with a place in it, or is a trigger whose answers agree with each other.
//!
//! ```text
//! byte 0       how to read the text: crontab, cron7, JSON
//! byte 1       the time zone
//! bytes 2–9    the instant that is asked about
//! the rest     the text
//! ```

use bellcage::trigger::{CronSpec, Dialect, Salt, Trigger, TriggerError, TriggerSpec};
use jiff::{SignedDuration, Timestamp};

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"];
const MICRO: SignedDuration = SignedDuration::from_micros(1);

pub fn check(data: &[u8]) {
    let Some((&[how, zone, ref instant @ ..], text)) = data.split_first_chunk::<10>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let micros = i64::from_le_bytes(*instant);
    let (least, most) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let at = Timestamp::from_microsecond(least * 1_000_000 + micros.rem_euclid((most - least) * 1_000_000)).expect("it is within jiff's range");
    let timezone = Some(ZONES[usize::from(zone) % ZONES.len()].to_owned());
    let cron = |dialect| Ok(TriggerSpec::Cron(CronSpec { cron: text.to_owned(), timezone: timezone.clone(), dialect, ..CronSpec::default() }));
    let spec = match how % 3 {
        0 => cron(Dialect::Unix),
        1 => cron(Dialect::Cron7),
        _ => TriggerSpec::from_json(text),
    };
    let anchor = "2026-01-01T00:00:00Z".parse().expect("an instant");
    match spec.and_then(|spec| check_stored(spec).anchored(anchor).compile(Salt { tenant: "default", job: "nightly" })) {
        Ok(trigger) => check_answers(&trigger, at),
        Err(error) => check_refusal(&error),
    }
}

/// A definition that is kept is read back as it was.
fn check_stored(spec: TriggerSpec) -> TriggerSpec {
    let stored = serde_json::to_string(&spec).expect("a trigger is plain data");
    assert_eq!(TriggerSpec::from_json(&stored).as_ref(), Ok(&spec), "{stored}");
    spec
}

fn check_answers(trigger: &Trigger, at: Timestamp) {
    assert!(!trigger.describe().is_empty());
    let _ = trigger.notes(at.min("9000-01-01T00:00:00Z".parse().expect("an instant")));
    if let Some(last) = trigger.last_at_or_before(at) {
        assert!(last <= at);
        assert_eq!(trigger.last_at_or_before(last), Some(last));
    }
    let Some(next) = trigger.next_after(at) else { return };
    assert!(next > at);
    assert_eq!(trigger.next_after(next - MICRO), Some(next), "asked just before it, it is the next");
    assert_eq!(trigger.last_at_or_before(next), Some(next), "asked at it, it is the last");
    let count = trigger.count_between(at, next);
    assert!(count.n == 1 || !count.exact, "{count:?} firings to the next");
    if let Some(second) = trigger.next_after(next) {
        let count = trigger.count_between(at, second);
        assert!(count.n == 2 || !count.exact, "{count:?} firings to the one after the next");
        assert_eq!(trigger.last_at_or_before(second - MICRO), Some(next), "between two there is none");
    }
}

fn check_refusal(error: &TriggerError) {
    assert!(!error.code.is_empty() && !error.message.is_empty());
    if let Some(span) = &error.span {
        assert!(span.start <= span.end && span.end <= span.source.len(), "{span:?}");
        assert_eq!(span.caret().lines().count(), 2, "{span:?}");
    }
}
