//! Sizes as users write them (`128MiB`, `64 KiB`, `1000`), for `#[serde(with = "bytes")]`.
//! Units are binary (`KiB`, `MiB`, `GiB`) or decimal (`kB`, `MB`, `GB`); a bare number is bytes.

use serde::{Deserialize, Deserializer, Serializer};

const UNITS: [(&str, u64); 8] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];

/// Bytes named by `text`; the error names what was typed.
pub fn parse(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is not a size: use a number of bytes, or one with KiB, MiB, GiB, kB, MB or GB, such as 128MiB");
    let typed = text.trim();
    let digits = typed.find(|c: char| !c.is_ascii_digit()).unwrap_or(typed.len());
    let number: u64 = typed[..digits].replace('_', "").parse().map_err(|_| refuse())?;
    let unit = typed[digits..].trim();
    let size = match unit {
        "" => 1,
        _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, size)| *size).ok_or_else(refuse)?,
    };
    number.checked_mul(size).filter(|&n| i64::try_from(n).is_ok()).ok_or_else(refuse)
}

/// The largest binary unit that divides `bytes` exactly: `128MiB`, `1000B`.
pub fn format(bytes: u64) -> String {
    let (unit, size) = UNITS[..4].iter().rev().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size)).unwrap_or(&UNITS[0]);
    format!("{}{unit}", bytes / size)
}

/// For people, beside a size of `format`: in the largest binary unit, rounded up to a tenth of it: `32.3MiB`, `128MiB`, `999B`.
pub fn about(bytes: u64) -> String {
    let (unit, size) = UNITS[..4].iter().rev().find(|(_, size)| bytes >= *size).unwrap_or(&UNITS[0]);
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(*size));
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}{unit}", tenths / 10),
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "it is not a size: use a number of bytes, or one with KiB, MiB, GiB, kB, MB or GB, such as 128MiB")]
enum Typed {
    Number(u64),
    Text(String),
}

impl Typed {
    fn bytes<E: serde::de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Number(n) if i64::try_from(n).is_ok() => Ok(n),
            Self::Number(n) => parse(&n.to_string()).map_err(E::custom),
            Self::Text(text) => parse(&text).map_err(E::custom),
        }
    }
}

/// The same for `Option<u64>`.
pub mod option {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(n) => s.serialize_str(&format(*n)),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Option::<Typed>::deserialize(d)?.map(Typed::bytes).transpose()
    }
}

pub fn serialize<S: Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format(*bytes))
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    Typed::deserialize(d)?.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        assert_eq!(parse("128MiB"), Ok(134_217_728));
        assert_eq!(parse(" 64 kib "), Ok(65_536));
        assert_eq!(parse("1MB"), Ok(1_000_000));
        assert_eq!(parse("1000"), Ok(1000));
        for bad in ["", "MiB", "-1", "1.5GiB", "12 parsecs", "9999999999GiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_neither_a_number_nor_a_text_is_told_what_a_size_is() {
        for bad in ["-1", "1.5", "true", "[]"] {
            let error = deserialize(&mut serde_json::Deserializer::from_str(bad)).unwrap_err().to_string();
            assert!(error.starts_with("it is not a size: use a number of bytes"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_size_is_written_in_the_largest_unit_that_divides_it() {
        assert_eq!(format(134_217_728), "128MiB");
        assert_eq!(format(1000), "1000B");
        assert_eq!(format(0), "0B");
        assert_eq!(parse(&format(3 << 30)), Ok(3 << 30));
    }
}
