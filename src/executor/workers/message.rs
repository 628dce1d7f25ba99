//! What the supervisor and a worker say to each other: plain values, encoded compactly, in frames of a socket.
//!
//! ```text
//! supervisor                                   worker
//!   Load + descriptor ─────────────────────►    maps it, keeps it under its number
//!   Run ───────────────────────────────────►    …  Waiting, Started: only where it cannot start at once
//!                      ◄─────────────────────   Progress, Checkpoint: the newest, some ten times a second at most
//!                      ◄─────────────────────   Report
//!                      ◄─────────────────────   Ask: what the guest was granted and the worker cannot do
//!   Answer ────────────────────────────────►
//!                      ◄─────────────────────   Forget: the guest does not wait for the answer any more
//!   Cancel ────────────────────────────────►    … Report, as for any attempt
//!   Unload ────────────────────────────────►    forgets it; attempts that have it keep it
//!   Ping ──────────────────────────────────►
//!                      ◄─────────────────────   Pong, from the loop that also runs guests
//! ```
//! A worker's first word is `Ready` or `Unfit`, before there is anything of a guest in it. Everything a worker says later
//! may come from a guest that got out of its sandbox: an attempt's number that was not given to this very worker, a frame
//! that is too long or does not decode, is a breach of the protocol and the worker's end. What a report says of *who* ran
//! is the supervisor's own knowledge and not asked of the worker.
//!
//! What a guest is granted beyond its sandbox, the worker cannot do: it has no network and no files. So a host function
//! becomes a question, and the supervisor checks the grant on its own copy of the request.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::component::Artefact;
use crate::executor::confine::Missing;
use crate::executor::host::{self, Calls};
use crate::executor::outside::{Answer, Call, Reach, Refusal};
use crate::executor::sandbox::{Asked, asked_for};
use crate::executor::{AttemptReport, AttemptRequest, Determinism};
use crate::job::{AttemptLog, Digest, Entry, Isolation, Limits, Outcome, Receipt, RetryAdvice, RunError, RunId, RunResult, SecretText};

/// Names an attempt between the supervisor and its workers; never used twice.
pub(super) type Number = u64;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker<'a> {
    /// The artefact's descriptor comes with this frame.
    Load {
        component: u32,
    },
    Unload {
        component: u32,
    },
    #[serde(borrow)]
    Run(Box<Order<'a>>),
    Cancel {
        attempt: Number,
        reason: Cow<'a, str>,
        haste: Haste,
    },
    /// To a worker's `Ask`.
    Answer {
        attempt: Number,
        number: u64,
        answer: Result<Answer, Refusal>,
    },
    Ping,
}

/// How soon a cancelled attempt has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Haste {
    /// A guest that asks for it is given some time.
    Cancelled,
    /// Nobody waits for it.
    Unwanted,
}

/// Bytes as they are, in one piece.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Raw<'a>(#[serde(with = "raw", borrow)] Cow<'a, [u8]>);

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// Confined, warmed up, waiting. What the machine does not offer, and nobody demanded, is named.
    Ready {
        missing: Vec<Missing>,
    },
    /// It ends now, since a layer that was demanded is missing, or its engine does not start.
    Unfit {
        missing: Vec<Missing>,
        error: Option<String>,
    },
    /// The attempt waits for another to give back what it has of the worker's pool.
    Waiting {
        attempt: Number,
    },
    /// It goes on.
    Started {
        attempt: Number,
    },
    Progress {
        attempt: Number,
        fraction: Option<f64>,
        message: String,
    },
    /// What it saved for later attempts.
    Checkpoint {
        attempt: Number,
        #[serde(with = "raw")]
        bytes: Vec<u8>,
    },
    /// `number` is the worker's, for its answer.
    Ask {
        attempt: Number,
        number: u64,
        call: Call,
    },
    /// Nobody waits for the answer to a question.
    Forget {
        attempt: Number,
        number: u64,
    },
    Report {
        attempt: Number,
        report: Box<Told>,
    },
    Pong,
}

/// An attempt's request as it travels: what the worker has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order<'a> {
    pub attempt: Number,
    pub component: u32,
    run: u128,
    number: u32,
    job: Cow<'a, str>,
    /// `None` is `main`.
    function: Option<Cow<'a, str>>,
    /// JSON; empty where there are none.
    args: Cow<'a, str>,
    program: Cow<'a, str>,
    env: Cow<'a, [(String, String)]>,
    secrets: Cow<'a, [(String, SecretText)]>,
    #[serde(with = "raw", borrow)]
    stdin: Cow<'a, [u8]>,
    limits: Bounds,
    reach: Cow<'a, Reach>,
    scheduled_at: i64,
    scheduled_local: Option<Cow<'a, str>>,
    #[serde(borrow)]
    checkpoint: Option<Raw<'a>>,
    /// The seed, and nanoseconds since 1970.
    deterministic: Option<(u64, i64)>,
}

/// `Limits`, without the forms that users write.
#[derive(Debug, Serialize, Deserialize)]
struct Bounds {
    fuel: u64,
    memory: u64,
    timeout: (i64, i32),
    result: u64,
    logs: u64,
    table_elements: u64,
    instances: u64,
    host_calls: u64,
    resources: u64,
    host_call_bytes: u64,
    random: u64,
    checkpoint: u64,
    kv_bytes: u64,
    kv_keys: u64,
    http_body: u64,
    http_requests: u64,
}

/// A report as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Nanoseconds since 1970, both.
    started_at: i64,
    ended_at: i64,
    outcome: Outcome,
    exit_code: Option<i32>,
    error: Option<RunError>,
    result: Option<ToldResult>,
    #[serde(with = "raw")]
    log_head: Vec<u8>,
    log_dropped: u64,
    #[serde(with = "raw")]
    log_tail: Vec<u8>,
    /// Without what the supervisor knows itself, and with `calls` in place of the interfaces' names.
    receipt: Receipt,
    calls: Vec<(u8, u64)>,
    retry: Option<Box<str>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum ToldResult {
    Text(#[serde(with = "raw")] Vec<u8>),
    /// JSON.
    Value(String),
}

impl<'a> Order<'a> {
    pub fn new(attempt: Number, component: u32, request: &'a AttemptRequest) -> Self {
        // In full, so that a new field has to be thought of here.
        let AttemptRequest { run, attempt: number, job, component: _, entry, args, program, env, secrets, stdin, limits, reach, .. } = request;
        let AttemptRequest { isolation: _, directories: _, scheduled_at, scheduled_local, checkpoint, deterministic, due_at: _, .. } = request;
        Self {
            attempt,
            component,
            run: run.0.as_u128(),
            number: *number,
            job: Cow::Borrowed(job),
            function: match entry {
                Entry::Main => None,
                Entry::Function(name) => Some(Cow::Borrowed(name)),
            },
            args: if args.is_null() { Cow::Borrowed("") } else { Cow::Owned(args.to_string()) },
            program: Cow::Borrowed(program),
            env: Cow::Borrowed(env),
            secrets: Cow::Borrowed(secrets),
            stdin: Cow::Borrowed(stdin),
            limits: Bounds::of(limits),
            reach: Cow::Borrowed(reach),
            scheduled_at: nanos(*scheduled_at),
            scheduled_local: scheduled_local.as_deref().map(Cow::Borrowed),
            checkpoint: checkpoint.as_deref().map(|bytes| Raw(Cow::Borrowed(bytes))),
            deterministic: deterministic.map(|Determinism { seed, at }| (seed, nanos(at))),
        }
    }

    /// The request in the worker. Its artefact is a number here, and lateness is not its business.
    pub fn into_request(self) -> AttemptRequest {
        let Self {
            attempt: _,
            component: _,
            run,
            number,
            job,
            function,
            args,
            program,
            env,
            secrets,
            stdin,
            limits,
            reach,
            scheduled_at,
            scheduled_local,
            checkpoint,
            deterministic,
        } = self;
        AttemptRequest {
            run: RunId(uuid::Uuid::from_u128(run)),
            attempt: number,
            job: job.into_owned(),
            component: Artefact { digest: Digest([0; 32]), path: std::path::PathBuf::new() },
            entry: function.map_or(Entry::Main, |name| Entry::Function(name.into())),
            args: if args.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&args).unwrap_or_default() },
            program: program.into_owned(),
            env: env.into_owned(),
            secrets: secrets.into_owned(),
            directories: Vec::new(),
            stdin: stdin.into_owned(),
            limits: limits.into_limits(),
            reach: reach.into_owned(),
            isolation: Isolation::default(),
            scheduled_at: instant(scheduled_at),
            scheduled_local: scheduled_local.map(Cow::into_owned),
            checkpoint: checkpoint.map(|bytes| bytes.0.into_owned()),
            deterministic: deterministic.map(|(seed, at)| Determinism { seed, at: instant(at) }),
            due_at: None,
        }
    }
}

impl Bounds {
    fn of(limits: &Limits) -> Self {
        let Limits { timeout, fuel, memory, result, logs, table_elements, instances, host_calls, resources, .. } = *limits;
        let Limits { host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests, .. } = *limits;
        Self {
            fuel,
            memory,
            timeout: (timeout.as_secs(), timeout.subsec_nanos()),
            result,
            logs,
            table_elements,
            instances,
            host_calls,
            resources,
            host_call_bytes,
            random,
            checkpoint,
            kv_bytes,
            kv_keys,
            http_body,
            http_requests,
        }
    }

    fn into_limits(self) -> Limits {
        let Self { timeout, fuel, memory, result, logs, table_elements, instances, host_calls, resources, .. } = self;
        let Self { host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests, .. } = self;
        Limits {
            fuel,
            memory,
            timeout: SignedDuration::new(timeout.0, timeout.1),
            result,
            logs,
            table_elements,
            instances,
            host_calls,
            resources,
            host_call_bytes,
            random,
            checkpoint,
            kv_bytes,
            kv_keys,
            http_body,
            http_requests,
        }
    }
}

impl Told {
    pub fn new(report: AttemptReport, calls: &Calls) -> Self {
        // What it told meanwhile was said before.
        let AttemptReport { started_at, ended_at, outcome, exit_code, error, result, log, receipt, retry, progress: _, checkpoint: _ } = report;
        Self {
            started_at: nanos(started_at),
            ended_at: nanos(ended_at),
            outcome,
            exit_code,
            error,
            result: result.map(|result| match result {
                RunResult::Text(bytes) => ToldResult::Text(bytes),
                RunResult::Value(value) => ToldResult::Value(value.to_string()),
            }),
            log_head: log.head,
            log_dropped: log.dropped,
            log_tail: log.tail,
            // Who asked knows which component.
            receipt: Receipt { digest: None, ..receipt },
            calls: calls.counts().collect(),
            retry: retry.and_then(|advice| serde_json::to_string(&advice).ok()).map(Into::into),
        }
    }

    /// The report of the attempt that was asked for. What a worker says of results is cut to the limits again.
    pub fn into_report(self, asked: &Asked) -> Result<AttemptReport, serde_json::Error> {
        let Self { started_at, ended_at, outcome, exit_code, error, result, log_head, log_dropped, log_tail, receipt: used, calls, retry } = self;
        let started_at = instant(started_at);
        let result = match result {
            None => None,
            Some(ToldResult::Text(bytes)) => Some(RunResult::Text(bytes)),
            Some(ToldResult::Value(json)) => Some(RunResult::Value(serde_json::from_str(&json)?)),
        };
        let Receipt { fuel_limit, memory_limit_bytes, queue_us, digest, node, .. } = asked_for(asked, started_at);
        let host_calls_by_interface = host::by_interface(calls);
        Ok(AttemptReport {
            started_at,
            ended_at: instant(ended_at),
            outcome,
            exit_code,
            error,
            result,
            log: AttemptLog { head: log_head, dropped: log_dropped, tail: log_tail },
            receipt: Receipt { fuel_limit, memory_limit_bytes, queue_us, digest, node, host_calls_by_interface, ..used },
            retry: retry.map(|json| serde_json::from_str::<RetryAdvice>(&json)).transpose()?,
            progress: None,
            checkpoint: None,
        })
    }
}

/// Until the year 2262.
fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

fn instant(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Bytes as they are, in one piece.
mod raw {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: From<&'de [u8]>>(d: D) -> Result<T, D::Error> {
        struct Borrowed<T>(PhantomData<T>);

        impl<'de, T: From<&'de [u8]>> Visitor<'de> for Borrowed<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<T, E> {
                Ok(T::from(bytes))
            }
        }
        d.deserialize_bytes(Borrowed(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{Network, Space};
    use crate::job::{HostCalls, JobKey, TenantId};

    fn request() -> AttemptRequest {
        AttemptRequest {
            run: RunId(uuid::Uuid::now_v7()),
            attempt: 3,
            job: "nightly".to_owned(),
            component: Artefact { digest: Digest::of(b"guest"), path: "/cache/guest.cwasm".into() },
            entry: Entry::Function("reports.generate".into()),
            args: serde_json::json!({ "day": "ü", "limit": 10 }),
            program: "guest".to_owned(),
            env: vec![("MODE".to_owned(), "prod".to_owned())],
            secrets: vec![("API_KEY".to_owned(), SecretText::new("hush".to_owned()))],
            directories: Vec::new(),
            stdin: vec![0, 255, 10],
            limits: Limits { timeout: SignedDuration::from_millis(1_500), ..Limits::default() },
            reach: Reach {
                kv: Some(Space { job: JobKey { tenant: TenantId::default(), id: "nightly".parse().unwrap() }, since: Timestamp::UNIX_EPOCH }),
                http: Some(Network { tenant: TenantId::default(), origins: vec!["https://*.example.com".parse().unwrap()] }),
            },
            isolation: Isolation::default(),
            scheduled_at: "2026-03-29T01:00:00.123456789Z".parse().unwrap(),
            scheduled_local: Some("2026-03-29T03:00:00.123456789+02:00".to_owned()),
            checkpoint: Some(vec![0, 255]),
            deterministic: Some(Determinism { seed: u64::MAX, at: Determinism::AT }),
            due_at: None,
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent_but_for_its_artefact() {
        let sent = request();
        let bytes = postcard::to_stdvec(&ToWorker::Run(Box::new(Order::new(7, 1, &sent)))).unwrap();
        let Ok(ToWorker::Run(order)) = postcard::from_bytes(&bytes) else { panic!("another message") };
        assert_eq!((order.attempt, order.component), (7, 1));
        let arrived = AttemptRequest { component: sent.component.clone(), ..order.into_request() };
        assert_eq!(serde_json::to_value(&arrived).unwrap(), serde_json::to_value(&sent).unwrap());
    }

    #[test]
    fn a_report_arrives_as_it_was_sent_and_who_ran_is_the_supervisors_word() {
        let request = request();
        let sent = AttemptReport {
            started_at: "2026-03-29T01:00:00.5Z".parse().unwrap(),
            ended_at: "2026-03-29T01:00:01Z".parse().unwrap(),
            outcome: Outcome::Failed,
            exit_code: Some(3),
            error: Some(RunError { code: "exit-code".to_owned(), ..RunError::default() }),
            result: Some(RunResult::Value(serde_json::json!([1, "ü", null]))),
            log: AttemptLog { head: vec![255], dropped: 5, tail: b"end".to_vec() },
            receipt: Receipt { fuel_used: 9, fuel_limit: 1, digest: Some(Digest::of(b"a lie")), ..Receipt::default() },
            retry: None,
            progress: None,
            checkpoint: None,
        };
        let calls = Calls::default();
        (0..3).for_each(|_| calls.count(host::Interface::Environment));
        let told = Told::new(sent.clone(), &calls);
        let bytes = postcard::to_stdvec(&FromWorker::Report { attempt: 7, report: Box::new(told) }).unwrap();
        let Ok(FromWorker::Report { attempt: 7, report }) = postcard::from_bytes(&bytes) else { panic!("another message") };
        let asked = Asked::of(&request);
        let arrived = report.into_report(&asked).unwrap();
        assert!(arrived.receipt.host_calls_by_interface.iter().eq([("wasi:cli/environment", 3)]));
        assert_eq!((arrived.receipt.fuel_limit, arrived.receipt.digest), (request.limits.fuel, Some(request.component.digest)));
        let receipt = Receipt {
            fuel_limit: 1,
            memory_limit_bytes: 0,
            digest: Some(Digest::of(b"a lie")),
            host_calls_by_interface: HostCalls::default(),
            ..arrived.receipt.clone()
        };
        assert_eq!(serde_json::to_value(AttemptReport { receipt, ..arrived }).unwrap(), serde_json::to_value(&sent).unwrap());
    }
}
