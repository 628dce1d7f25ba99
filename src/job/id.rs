//! Names and identifiers, checked once when they enter the system.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name was refused. `Display` names what was typed and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} {typed:?} is not valid: use 1 to 100 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
    Name { what: &'static str, typed: String },
    #[error("{typed:?} is not a key: use 1 to 200 bytes of text without control characters")]
    Key { typed: String },
    #[error("secret name {typed:?} is not valid: use 1 to 100 of A-Z, a-z, 0-9 and '_', not beginning with a digit")]
    SecretName { typed: String },
    #[error("{typed:?} is not a digest: expected sha256: and 64 hexadecimal digits")]
    Digest { typed: String },
    #[error("{typed:?} is not a run id: expected a UUID such as 01932f6c-7d1e-7cc3-a1f0-5b8e6c1d2e3f")]
    Run { typed: String },
}

/// `[a-z0-9][a-z0-9._-]{0,99}`: safe in a path, a URL and a shell without quoting.
fn is_name(s: &str) -> bool {
    let head = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    match s.as_bytes() {
        [first, rest @ ..] if rest.len() < 100 => head(*first) && rest.iter().all(|&b| head(b) || matches!(b, b'.' | b'_' | b'-')),
        _ => false,
    }
}

/// Shared by its copies: names go with everything that happens to a run.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                if is_name(s) { Ok(Self(s.into())) } else { Err(IdError::Name { what: $what, typed: s.chars().take(120).collect() }) }
            }
        }
        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }
        impl From<$type> for String {
            fn from(v: $type) -> String {
                v.as_str().to_owned()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// A job's id, chosen by the user, unique in its tenant.
    JobId,
    "job id"
);
name!(
    /// The owner of components, jobs, runs and tokens; `default` unless said.
    TenantId,
    "tenant"
);
name!(
    /// The name a component was pushed under.
    ComponentName,
    "component name"
);
name!(
    /// The name of an exclusion calendar.
    CalendarName,
    "calendar name"
);

name!(
    /// The name under which an operator lists a directory.
    DirectoryName,
    "directory name"
);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".into())
    }
}

/// What a run on demand is known by, so that asking for it twice makes one: any text of 1 to 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunKey(Box<str>);

impl RunKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunKey {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let fits = (1..=200).contains(&s.len()) && !s.contains(char::is_control);
        if fits { Ok(Self(s.into())) } else { Err(IdError::Key { typed: s.chars().take(120).collect() }) }
    }
}

impl TryFrom<String> for RunKey {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        s.parse()
    }
}

impl From<RunKey> for String {
    fn from(key: RunKey) -> String {
        key.0.into()
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job, named in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey {
    pub tenant: TenantId,
    pub id: JobId,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

/// A run's id: a UUID of version 7, so that ids sort by creation time (RFC 9562, §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub uuid::Uuid);

impl RunId {
    /// The same, of many that are made at once: the first 18 random bits give way to its place among them, so that they are
    /// listed in order (RFC 9562, §6.2, method 1).
    pub fn in_place(self, place: usize) -> Self {
        let mut bytes = self.0.into_bytes();
        let bits = |shift: u32, n: u32| (place >> shift & ((1 << n) - 1)) as u8;
        bytes[6] = bytes[6] & 0xf0 | bits(14, 4);
        bytes[7] = bits(6, 8);
        bytes[8] = bytes[8] & 0xc0 | bits(0, 6);
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        uuid::Uuid::try_parse(s).map(Self).map_err(|_| IdError::Run { typed: s.chars().take(120).collect() })
    }
}

/// The sha256 of a component's bytes, as uploaded. Text form `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// 64 hexadecimal digits, without the prefix: for file names.
    pub fn to_hex(&self) -> String {
        str::from_utf8(&self.digits()).unwrap_or_default().to_owned()
    }

    fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (two, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            two.copy_from_slice(&DIGITS[usize::from(byte)]);
        }
        digits
    }
}

/// Of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let (hexadecimal, mut digits, mut byte) = (*b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        digits[byte] = [hexadecimal[byte / 16], hexadecimal[byte % 16]];
        byte += 1;
    }
    digits
};

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: every receipt has it.
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        text[7..].copy_from_slice(&self.digits());
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let refuse = || IdError::Digest { typed: s.chars().take(120).collect() };
        let hex = s.strip_prefix("sha256:").filter(|h| h.len() == 64 && h.is_ascii()).ok_or_else(refuse)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(refuse)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> String {
        d.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_with_a_slash_upper_case_or_101_letters_is_refused() {
        for bad in ["", "a/b", "Nightly", "-x", ".x", "ä", &"a".repeat(101)] {
            let error = bad.parse::<JobId>().unwrap_err().to_string();
            assert!(error.starts_with("job id"), "{bad:?}: {error}");
        }
        assert!("0.night_ly-2".parse::<JobId>().is_ok());
        assert!("a".repeat(100).parse::<JobId>().is_ok());
    }

    #[test]
    fn ids_of_many_runs_stand_in_their_order_and_stay_version_7() {
        let one = |seed: u8| RunId(uuid::Builder::from_unix_timestamp_millis(1_800_000_000_000, &[seed; 10]).into_uuid());
        let placed: Vec<_> = [0, 1, 63, 64, 16_383, 16_384, 100_000, (1 << 18) - 1].iter().map(|&place| one((place * 37) as u8).in_place(place)).collect();
        assert!(placed.is_sorted());
        assert!(placed.iter().all(|id| id.0.get_version_num() == 7 && id.0.get_variant() == uuid::Variant::RFC4122));
        assert_ne!(one(1).in_place(5), one(2).in_place(5));
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("sha256:zz".parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "é".repeat(32)).parse::<Digest>().is_err());
    }
}
