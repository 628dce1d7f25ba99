//! What an attempt used, against what it was allowed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

/// Stored with every attempt. Field names are a contract: fields may be added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Wasm operations, in wasmtime's fuel units. Deterministic for the same input, artefact and engine.
    pub fuel_used: u64,
    pub fuel_limit: u64,
    /// The highest sum over all the attempt's memories, in bytes.
    pub memory_peak_bytes: u64,
    pub memory_limit_bytes: u64,
    /// Thread CPU time spent inside the attempt, in microseconds.
    pub cpu_us: u64,
    /// From the start of instantiation to the end, in microseconds.
    pub wall_us: u64,
    /// The part of `wall_us` that made the instance.
    pub instantiate_us: u64,
    /// From the instant the run could have started to its start: lateness, in microseconds.
    #[serde(default)]
    pub queue_us: u64,
    pub host_calls: u64,
    #[serde(default)]
    pub host_calls_by_interface: HostCalls,
    /// Bytes that the guest wrote to its log, kept or not.
    pub log_bytes: u64,
    /// The part of `log_bytes` dropped from the middle.
    pub log_bytes_dropped: u64,
    pub result_bytes: u64,
    /// The component's: `sha256:…` in JSON, and an empty text where there is none.
    #[serde(serialize_with = "digest_text", deserialize_with = "digest_of_text")]
    pub digest: Option<Digest>,
    /// The node (server instance) that ran the attempt.
    #[serde(default)]
    pub node: String,
}

/// How many host calls there were by WIT interface, such as `wasi:io/streams`: a map in JSON, in the order of the names. Each attempt
/// has one, of few interfaces, so it is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCalls(Vec<(Cow<'static, str>, u64)>);

impl HostCalls {
    /// None where the interface was not called.
    pub fn of(&self, interface: &str) -> Option<u64> {
        self.iter().find_map(|(name, calls)| (name == interface).then_some(calls))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, calls)| (&**name, *calls))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of an interface that is there more than once the last counts, as of any map.
impl FromIterator<(Cow<'static, str>, u64)> for HostCalls {
    fn from_iter<I: IntoIterator<Item = (Cow<'static, str>, u64)>>(calls: I) -> Self {
        let mut calls: Vec<_> = calls.into_iter().collect();
        calls.sort_by(|a, b| a.0.cmp(&b.0));
        calls.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Self(calls)
    }
}

impl Serialize for HostCalls {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for HostCalls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(from)?.into_iter().collect())
    }
}

impl Receipt {
    /// Whether anything was measured: not of an attempt that never began, or whose server died.
    pub fn is_known(&self) -> bool {
        self.fuel_limit > 0
    }
}

fn digest_text<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => to.collect_str(digest),
        None => to.serialize_str(""),
    }
}

fn digest_of_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
    match &*String::deserialize(from)? {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_calls_are_a_map_in_json_in_the_order_of_their_names() {
        let calls: HostCalls = [("wasi:io/streams".into(), 2), ("wasi:cli/exit".into(), 1)].into_iter().collect();
        let json = serde_json::to_string(&calls).unwrap();
        assert_eq!(json, r#"{"wasi:cli/exit":1,"wasi:io/streams":2}"#);
        assert_eq!(serde_json::from_str::<HostCalls>(&json).unwrap(), calls);
        let twice = r#"{"wasi:io/streams":1,"wasi:cli/exit":1,"wasi:io/streams":2}"#;
        assert_eq!(serde_json::from_str::<HostCalls>(twice).unwrap(), calls, "the last counts, as of any map");
        assert_eq!(
            [("wasi:io/streams", 9), ("wasi:cli/exit", 1), ("wasi:io/streams", 2)].map(|(name, calls)| (name.into(), calls)).into_iter().collect::<HostCalls>(),
            calls
        );
        assert_eq!((calls.of("wasi:io/streams"), calls.of("wasi:io")), (Some(2), None));
    }

    #[test]
    fn a_digest_is_a_text_in_json_and_none_an_empty_one() {
        for (digest, text) in [(Some(Digest([0xab; 32])), format!("sha256:{}", "ab".repeat(32))), (None, String::new())] {
            let receipt = Receipt { digest, ..Receipt::default() };
            let mut json = serde_json::to_value(&receipt).unwrap();
            assert_eq!(json["digest"], text);
            assert_eq!(serde_json::from_value::<Receipt>(json.clone()).unwrap(), receipt);
            json["digest"] = "sha256:short".into();
            assert!(serde_json::from_value::<Receipt>(json).is_err());
        }
    }
}
