//! Limits: what one attempt may use. All are on by default; a job may ask for others, up to the caps of the server and of
//! its tenant.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{TenantId, bytes, duration};

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
    /// Bytes of all keys and values together that a key-value namespace holds after an attempt wrote to it.
    #[serde(with = "bytes")]
    pub kv_bytes: u64,
    /// Keys of a key-value namespace, likewise.
    pub kv_keys: u64,
    /// Bytes of the body of an HTTP request, and of a response. Both are whole in the server's memory.
    #[serde(with = "bytes")]
    pub http_body: u64,
    /// HTTP requests at once, and responses that the guest has not let go of.
    pub http_requests: u64,
}

/// The limits a job asks for, or the caps of a tenant; what is absent follows the server's.
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
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub kv_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_keys: Option<u64>,
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub http_body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_requests: Option<u64>,
}

/// The most that a job may ask for: of each limit the lower of what its server and its tenant have.
#[derive(Clone, Copy, Debug)]
pub struct LimitCaps<'a> {
    pub server: &'a Limits,
    /// What the tenant has of its own.
    pub tenant: Option<(&'a TenantId, &'a LimitsSpec)>,
    /// Bytes of memory that the executor can give to one attempt at all, where that is bounded.
    pub executor_memory: Option<u64>,
}

impl<'a> From<&'a Limits> for LimitCaps<'a> {
    fn from(server: &'a Limits) -> Self {
        Self { server, tenant: None, executor_memory: None }
    }
}

/// Whose cap it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapOwner {
    Server,
    Tenant(TenantId),
    /// Of memory: what one attempt can have at most.
    Executor,
}

impl fmt::Display for CapOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("this server's cap"),
            Self::Tenant(tenant) => write!(f, "the cap of tenant {tenant}"),
            Self::Executor => f.write_str("what one attempt can have of this server's executor.memory"),
        }
    }
}

/// A limit that is above a cap, or is zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("limits.{name} = {asked} is above {owner}, which is {cap}")]
    AboveCap { name: LimitName, asked: String, cap: String, owner: CapOwner },
    #[error("limits.{name} must be more than zero")]
    Zero { name: LimitName },
}

/// A limit's name, as in `limits.NAME`.
pub type LimitName = &'static str;

impl LimitsSpec {
    /// What this job gets: what it asks for, else `defaults`, lowered to the caps. What it asks for above them is refused.
    pub fn resolve<'a>(&self, defaults: &Limits, caps: impl Into<LimitCaps<'a>>) -> Result<Limits, LimitError> {
        struct Pick<T> {
            asked: Option<T>,
            default: T,
            server: T,
            tenant: Option<T>,
        }
        let LimitCaps { server, tenant, executor_memory } = caps.into();
        let none = Self::default();
        let own = tenant.map_or(&none, |(_, own)| own);
        let owner = |is_tenants: bool| match tenant {
            Some((tenant, _)) if is_tenants => CapOwner::Tenant(tenant.clone()),
            _ => CapOwner::Server,
        };
        fn pick<T: PartialOrd + Default + Copy>(
            name: LimitName,
            of: Pick<T>,
            show: impl Fn(T) -> String,
            owner: impl Fn(bool) -> CapOwner,
        ) -> Result<T, LimitError> {
            let lower = of.tenant.filter(|tenant| *tenant < of.server);
            let cap = lower.unwrap_or(of.server);
            match of.asked {
                None if of.default > cap => Ok(cap),
                None => Ok(of.default),
                Some(zero) if zero <= T::default() => Err(LimitError::Zero { name }),
                Some(n) if n > cap => Err(LimitError::AboveCap { name, asked: show(n), cap: show(cap), owner: owner(lower.is_some()) }),
                Some(n) => Ok(n),
            }
        }
        let number = |n: u64| n.to_string();
        macro_rules! pick {
            ($name:ident, $show:expr) => {
                pick(stringify!($name), Pick { asked: self.$name, default: defaults.$name, server: server.$name, tenant: own.$name }, $show, owner)?
            };
        }
        let mut memory = pick!(memory, bytes::format);
        if let Some(most) = executor_memory.filter(|most| memory > *most) {
            if self.memory.is_some() {
                return Err(LimitError::AboveCap { name: "memory", asked: bytes::format(memory), cap: bytes::format(most), owner: CapOwner::Executor });
            }
            memory = most;
        }
        Ok(Limits {
            fuel: pick!(fuel, number),
            memory,
            timeout: pick!(timeout, duration::format),
            result: pick!(result, bytes::format),
            logs: pick!(logs, bytes::format),
            table_elements: pick!(table_elements, number),
            instances: pick!(instances, number),
            host_calls: pick!(host_calls, number),
            resources: pick!(resources, number),
            host_call_bytes: pick!(host_call_bytes, bytes::format),
            random: pick!(random, bytes::format),
            checkpoint: pick!(checkpoint, bytes::format),
            kv_bytes: pick!(kv_bytes, bytes::format),
            kv_keys: pick!(kv_keys, number),
            http_body: pick!(http_body, bytes::format),
            http_requests: pick!(http_requests, number),
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
            kv_bytes: 1 << 20,
            kv_keys: 10_000,
            http_body: 8 << 20,
            http_requests: 4,
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
        assert_eq!(error.to_string(), "limits.memory = 2GiB is above this server's cap, which is 1GiB");
    }

    #[test]
    fn a_default_above_the_cap_is_lowered_to_it() {
        let caps = Limits { fuel: 7, ..Default::default() };
        assert_eq!(LimitsSpec::default().resolve(&Limits::default(), &caps).unwrap().fuel, 7);
    }

    #[test]
    fn of_the_caps_of_server_and_tenant_the_lower_counts_and_is_named() {
        let (server, tenant) = (Limits { fuel: 100, memory: 1 << 30, ..Default::default() }, "acme".parse().unwrap());
        let own = LimitsSpec { memory: Some(64 << 20), fuel: Some(200), ..Default::default() };
        let caps = LimitCaps { server: &server, tenant: Some((&tenant, &own)), executor_memory: None };
        let refused = |spec: LimitsSpec| spec.resolve(&Limits::default(), caps).unwrap_err().to_string();
        assert_eq!(
            refused(LimitsSpec { memory: Some(128 << 20), ..Default::default() }),
            "limits.memory = 128MiB is above the cap of tenant acme, which is 64MiB"
        );
        assert_eq!(refused(LimitsSpec { fuel: Some(150), ..Default::default() }), "limits.fuel = 150 is above this server's cap, which is 100");
        let resolved = LimitsSpec::default().resolve(&Limits::default(), caps).unwrap();
        assert_eq!((resolved.memory, resolved.fuel), (64 << 20, 100), "a default is lowered to the lower of both");
    }

    #[test]
    fn no_more_memory_may_be_asked_for_than_one_attempt_can_ever_have() {
        let server = Limits { memory: 1 << 30, ..Default::default() };
        let caps = LimitCaps { executor_memory: Some(48 << 20), ..LimitCaps::from(&server) };
        let asked = |mib: u64| LimitsSpec { memory: Some(mib << 20), ..Default::default() }.resolve(&Limits::default(), caps);
        assert_eq!(asked(48).unwrap().memory, 48 << 20);
        let refused = "limits.memory = 49MiB is above what one attempt can have of this server's executor.memory, which is 48MiB";
        assert_eq!(asked(49).unwrap_err().to_string(), refused);
        assert_eq!(LimitsSpec::default().resolve(&Limits::default(), caps).unwrap().memory, 48 << 20, "a default is lowered to it");
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
