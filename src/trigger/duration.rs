//! Durations as users write them: `90s`, `1h30m`, `2d`, `250ms`, or ISO 8601 (`PT90S`).

use jiff::SignedDuration;

use super::TriggerError;

/// Microseconds of each unit. A day is 24 hours, a week 7 of them: durations are elapsed time.
const UNITS: [(&str, i64); 7] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000), ("w", 604_800_000_000)];

/// At most 100 years, in whole microseconds.
const LONGEST: i64 = 100 * 366 * 86_400_000_000;

/// Reads a duration; the error marks the place.
pub fn parse_duration(typed: &str) -> Result<SignedDuration, TriggerError> {
    let refuse = |start: usize, end: usize, what: &str| {
        let shown: String = typed.chars().take(60).collect();
        TriggerError::new("bad-duration", format!("{shown:?} is not a duration: {what}"))
            .hint("write a number and a unit, such as 90s, 15m, 1h30m, 2d or 250ms")
            .at(typed, start, end)
    };
    if typed.starts_with(['P', 'p']) {
        let parsed: SignedDuration = typed.parse().map_err(|_| refuse(0, typed.len(), "not ISO 8601 with hours, minutes and seconds"))?;
        let micros = i64::try_from(parsed.as_micros()).ok().filter(|&m| (0..=LONGEST).contains(&m));
        return micros.map(SignedDuration::from_micros).ok_or_else(|| refuse(0, typed.len(), "longer than 100 years"));
    }
    if typed.trim().is_empty() {
        return Err(refuse(0, typed.len(), "it is empty"));
    }
    let mut total: i64 = 0;
    let mut rest = typed;
    while !rest.is_empty() {
        let at = typed.len() - rest.len();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Err(refuse(at, at + rest.chars().next().map_or(1, char::len_utf8), "a number was expected here"));
        }
        let unit_text = &rest[digits..];
        let letters = unit_text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_text.len());
        let unit = &unit_text[..letters];
        if unit.is_empty() {
            let what = if unit_text.starts_with(['.', ',']) { "a fraction is written in a smaller unit" } else { "the number has no unit" };
            return Err(refuse(at, at + digits, what));
        }
        let size = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
        let size = size.ok_or_else(|| refuse(at + digits, at + digits + letters, "this unit is not known"))?;
        let number = rest[..digits].parse::<i64>().ok();
        total = number
            .and_then(|n| n.checked_mul(size))
            .and_then(|n| total.checked_add(n))
            .filter(|&n| n <= LONGEST)
            .ok_or_else(|| refuse(at, at + digits + letters, "longer than 100 years"))?;
        rest = &unit_text[letters..];
    }
    Ok(SignedDuration::from_micros(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, seconds) in [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("PT90S", 90), ("0s", 0), ("PT1H30M", 5400)] {
            assert_eq!(parse_duration(text).unwrap(), SignedDuration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_duration("250ms").unwrap(), SignedDuration::from_millis(250));
    }

    #[test]
    fn a_bad_duration_marks_the_place() {
        for (text, start, end) in [("90", 0, 2), ("1h30x", 4, 5), ("s", 0, 1), ("1h 30m", 2, 3), ("9999999999999999999s", 0, 20), ("101w9999999w", 4, 12)] {
            let span = parse_duration(text).unwrap_err().span.unwrap();
            assert_eq!((span.start, span.end), (start, end), "{text}");
        }
        for text in ["", "-5s", "P", "P1Y", "-PT5S", "5é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
