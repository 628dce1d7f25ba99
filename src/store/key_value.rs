//! Key-value namespaces: what every store answers about them, and a namespace as a plain value, which is what a store
//! without a database keeps.
//!
//! A namespace belongs to one job. It is there from the first key that is set until the job is removed; one that is added
//! under the same id afterwards has another, which attempts of the former one do not reach.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::job::JobKey;

/// Bytes of a key, which has at least one.
pub const KEY_BYTES_MAX: usize = 256;
/// Keys that `Namespace::list` and `Store::kv_list` give at once at most.
pub const KEYS_LISTED_MAX: usize = 1_000;

/// Whose namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvOwner {
    pub job: JobKey,
    /// When that job was added.
    pub since: Timestamp,
}

/// What a namespace may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvBounds {
    /// Bytes of all keys and values together.
    pub bytes: u64,
    pub keys: u64,
}

/// What a namespace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvUsage {
    pub bytes: u64,
    pub keys: u64,
}

/// Some keys of a namespace, in the order in which they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvKeys {
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end. A key that is there all the while is listed exactly once.
    pub next: Option<u64>,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvRefused {
    #[error("a key must have 1 to {KEY_BYTES_MAX} bytes, not {bytes}")]
    Key { bytes: usize },
    #[error("the namespace would take {needed} bytes, above its quota of {quota}")]
    Quota { needed: u64, quota: u64 },
    #[error("the namespace has {max} keys, as many as it may have")]
    Keys { max: u64 },
    #[error("the value of {key:?} is not a number that can be added to")]
    NotANumber { key: String },
}

impl KvUsage {
    /// What it is after a value of `new` bytes takes the place of one of `old` bytes, or of none. Nothing that makes it
    /// smaller is refused, also where a quota was lowered.
    pub(super) fn after_set(self, key: &str, old: Option<u64>, new: u64, bounds: KvBounds) -> Result<Self, KvRefused> {
        let key_bytes = key.len() as u64;
        let before = old.map_or(0, |old| old + key_bytes);
        let bytes = self.bytes.saturating_sub(before).saturating_add(key_bytes).saturating_add(new);
        if bytes > bounds.bytes && bytes > self.bytes {
            return Err(KvRefused::Quota { needed: bytes, quota: bounds.bytes });
        }
        if old.is_none() && self.keys >= bounds.keys {
            return Err(KvRefused::Keys { max: bounds.keys });
        }
        Ok(Self { bytes, keys: self.keys + u64::from(old.is_none()) })
    }

    pub(super) fn after_delete(self, key: &str, old: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(key.len() as u64 + old), keys: self.keys.saturating_sub(1) }
    }
}

pub(super) fn check_key(key: &str) -> Result<(), KvRefused> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(()) } else { Err(KvRefused::Key { bytes: key.len() }) }
}

/// A number is kept in decimal digits; a key that is not there counts as 0.
pub(super) fn sum(key: &str, value: Option<&[u8]>, delta: u64) -> Result<u64, KvRefused> {
    let number = match value {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse::<u64>().ok()),
    };
    number.and_then(|number| number.checked_add(delta)).ok_or_else(|| KvRefused::NotANumber { key: key.to_owned() })
}

/// A namespace in memory.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    values: BTreeMap<String, Numbered>,
    /// Keys by the number they got when they were first set.
    order: BTreeMap<u64, String>,
    next: u64,
    usage: KvUsage,
}

#[derive(Clone, Debug)]
struct Numbered {
    number: u64,
    value: Vec<u8>,
}

impl Namespace {
    pub fn usage(&self) -> KvUsage {
        self.usage
    }

    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(|kept| &*kept.value)
    }

    pub fn set(&mut self, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), KvRefused> {
        check_key(key)?;
        let old = self.get(key).map(|old| old.len() as u64);
        self.usage = self.usage.after_set(key, old, value.len() as u64, bounds)?;
        match self.values.get_mut(key) {
            Some(kept) => kept.value = value,
            None => {
                self.next += 1;
                self.order.insert(self.next, key.to_owned());
                self.values.insert(key.to_owned(), Numbered { number: self.next, value });
            }
        }
        Ok(())
    }

    /// Adds to a number that is kept in decimal digits, and gives the sum.
    pub fn add(&mut self, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, KvRefused> {
        check_key(key)?;
        let sum = sum(key, self.get(key), delta)?;
        self.set(key, sum.to_string().into_bytes(), bounds)?;
        Ok(sum)
    }

    /// False where there was no such key.
    pub fn delete(&mut self, key: &str) -> bool {
        let Some(Numbered { number, value }) = self.values.remove(key) else { return false };
        self.order.remove(&number);
        self.usage = self.usage.after_delete(key, value.len() as u64);
        true
    }

    /// At most `KEYS_LISTED_MAX` keys after `after`, as `next` of an earlier answer said it.
    pub fn list(&self, after: Option<u64>) -> KvKeys {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let found: Vec<_> = self.order.range(from..).take(KEYS_LISTED_MAX + 1).map(|(number, key)| (*number, key.clone())).collect();
        KvKeys::cut(found)
    }
}

impl KvKeys {
    /// Of one key more than may be listed.
    pub(super) fn cut(mut found: Vec<(u64, String)>) -> Self {
        let more = found.len() > KEYS_LISTED_MAX;
        found.truncate(KEYS_LISTED_MAX);
        let next = found.last().filter(|_| more).map(|(number, _)| *number);
        Self { keys: found.into_iter().map(|(_, key)| key).collect(), next }
    }
}
