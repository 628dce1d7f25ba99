//! Limits: what one attempt may use. All are on by default; a job may ask for others, up to the server's caps.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{bytes, duration};

/// The limits of one attempt, resolved: every one has a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wasm operations, in wasmtime's fuel units.
    pub fuel: u64,
    /// Linear memory, in bytes, summed over all memories of the attempt.
    #[serde(with = "bytes")]
    pub memory: u64,
    /// Wall time of the attempt from instantiation on, time in host calls included.
    #[serde(with = "duration")]
    pub timeout: SignedDuration,
    /// Bytes of the result: a command's stdout, or a function's returned value in JSON.
    #[serde(with = "bytes")]
    pub result: u64,
    /// Bytes of log kept: the first and the last half of this, the middle is counted as dropped.
    #[serde(with = "bytes")]
    pub logs: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Core wasm instances in the component.
    pub instances: u64,
    /// Calls from the guest to the host.
    pub host_calls: u64,
    /// Handles open at once (streams, pollables …).
    pub resources: u64,
    /// Bytes that the host copies out of the guest in one host call. A function's returned value passes the same gate,
    /// where a byte of JSON may take 24: so for functions it is 24 times `result` where that is more.
    #[serde(with = "bytes")]
    pub host_call_bytes: u64,
    /// Random bytes in one host call.
    #[serde(with = "bytes")]
    pub random: u64,
    /// Bytes that a typed job may keep from one attempt of a run to the next.
    #[serde(with = "bytes")]
    pub checkpoint: u64,
}

/// The limits a job asks for; what is absent follows the server's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<SignedDuration>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub logs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub host_call_bytes: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub random: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
}

/// A limit that is above the server's cap, or is zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("limits.{name} = {asked} is above this server's cap of {cap}")]
    AboveCap { name: LimitName, asked: String, cap: String },
    #[error("limits.{name} must be more than zero")]
    Zero { name: LimitName },
}

/// A limit's name, as in `limits.NAME`.
pub type LimitName = &'static str;

impl LimitsSpec {
    /// What this job gets: what it asks for, else `defaults`. Each is checked against `caps`.
    pub fn resolve(&self, defaults: &Limits, caps: &Limits) -> Result<Limits, LimitError> {
        fn pick<T: PartialOrd + Default + Copy>(name: LimitName, asked: Option<T>, default: T, cap: T, show: impl Fn(T) -> String) -> Result<T, LimitError> {
            match asked {
                None if default > cap => Ok(cap),
                None => Ok(default),
                Some(zero) if zero <= T::default() => Err(LimitError::Zero { name }),
                Some(n) if n > cap => Err(LimitError::AboveCap { name, asked: show(n), cap: show(cap) }),
                Some(n) => Ok(n),
            }
        }
        let number = |n: u64| n.to_string();
        Ok(Limits {
            fuel: pick("fuel", self.fuel, defaults.fuel, caps.fuel, number)?,
            memory: pick("memory", self.memory, defaults.memory, caps.memory, bytes::format)?,
            timeout: pick("timeout", self.timeout, defaults.timeout, caps.timeout, duration::format)?,
            result: pick("result", self.result, defaults.result, caps.result, bytes::format)?,
            logs: pick("logs", self.logs, defaults.logs, caps.logs, bytes::format)?,
            table_elements: pick("table_elements", self.table_elements, defaults.table_elements, caps.table_elements, number)?,
            instances: pick("instances", self.instances, defaults.instances, caps.instances, number)?,
            host_calls: pick("host_calls", self.host_calls, defaults.host_calls, caps.host_calls, number)?,
            resources: pick("resources", self.resources, defaults.resources, caps.resources, number)?,
            host_call_bytes: pick("host_call_bytes", self.host_call_bytes, defaults.host_call_bytes, caps.host_call_bytes, bytes::format)?,
            random: pick("random", self.random, defaults.random, caps.random, bytes::format)?,
            checkpoint: pick("checkpoint", self.checkpoint, defaults.checkpoint, caps.checkpoint, bytes::format)?,
        })
    }
}

impl Default for Limits {
    /// The defaults that `default.toml` documents; a test keeps the two equal.
    fn default() -> Self {
        Self {
            fuel: 10_000_000_000,
            memory: 128 << 20,
            timeout: SignedDuration::from_secs(30),
            result: 1 << 20,
            logs: 1 << 20,
            table_elements: 20_000,
            instances: 32,
            host_calls: 10_000_000,
            resources: 1_000,
            host_call_bytes: 1 << 20,
            random: 64 << 10,
            checkpoint: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_above_the_cap_is_refused_and_names_both() {
        let spec = LimitsSpec { memory: Some(2 << 30), ..Default::default() };
        let caps = Limits { memory: 1 << 30, ..Default::default() };
        let error = spec.resolve(&Limits::default(), &caps).unwrap_err();
        assert_eq!(error.to_string(), "limits.memory = 2GiB is above this server's cap of 1GiB");
    }

    #[test]
    fn a_default_above_the_cap_is_lowered_to_it() {
        let caps = Limits { fuel: 7, ..Default::default() };
        assert_eq!(LimitsSpec::default().resolve(&Limits::default(), &caps).unwrap().fuel, 7);
    }

    #[test]
    fn zero_is_not_a_limit() {
        let spec = LimitsSpec { timeout: Some(SignedDuration::ZERO), ..Default::default() };
        assert_eq!(spec.resolve(&Limits::default(), &Limits::default()).unwrap_err().to_string(), "limits.timeout must be more than zero");
    }

    #[test]
    fn limits_are_written_as_users_write_them() {
        let spec: LimitsSpec = serde_json::from_str(r#"{"fuel":5,"memory":"64MiB","timeout":"30s"}"#).unwrap();
        assert_eq!((spec.fuel, spec.memory, spec.timeout), (Some(5), Some(64 << 20), Some(SignedDuration::from_secs(30))));
        assert_eq!(serde_json::to_string(&spec).unwrap(), r#"{"fuel":5,"memory":"64MiB","timeout":"30s"}"#);
        assert!(serde_json::from_str::<LimitsSpec>(r#"{"feul":5}"#).unwrap_err().to_string().contains("feul"));
    }
}
