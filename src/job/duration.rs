//! Durations as users write them (`90s`, `1h30m`, `PT90S`), for `#[serde(with = "duration")]`.
//! In JSON and TOML a duration is always a string, so that a bare number can never be read in the wrong unit.

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serializer};

/// The shortest form that reads back as the same duration: `1h30m`, `250ms`.
pub fn format(duration: SignedDuration) -> String {
    let mut micros = duration.as_micros().max(0);
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)] {
        if micros >= size {
            text.push_str(&format!("{}{unit}", micros / size));
            micros %= size;
        }
    }
    text
}

fn parse<E: serde::de::Error>(text: &str) -> Result<SignedDuration, E> {
    let duration = crate::trigger::parse_duration(text).map_err(|e| E::custom(&e.message))?;
    if duration.is_negative() {
        return Err(E::custom(format!("{text:?} is a negative duration")));
    }
    Ok(duration)
}

pub fn serialize<S: Serializer>(duration: &SignedDuration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format(*duration))
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SignedDuration, D::Error> {
    parse(&String::deserialize(d)?)
}

/// The same for `Option<SignedDuration>`.
pub mod option {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Option<SignedDuration>, s: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(d) => super::serialize(d, s),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SignedDuration>, D::Error> {
        Option::<String>::deserialize(d)?.map(|text| parse(&text)).transpose()
    }
}
