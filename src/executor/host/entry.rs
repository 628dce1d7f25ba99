//! `bellcage:job/entry`: the typed job that a guest exports, from its context to its result or failure.

use std::time::Duration;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, HasData, Instance};

use super::bindings::types::{Context, Failure, Host};
use crate::component::as_shown;
use crate::executor::AttemptRequest;
use crate::executor::guest::Guest;
use crate::executor::limiter::LimitHit;
use crate::job::RetryAdvice;

/// Characters of a failure's message.
const MESSAGE_MAX: usize = 4 << 10;
/// The longest wait that a guest may ask for.
const RETRY_AFTER_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What a typed job gave back.
#[derive(Debug, PartialEq)]
pub(in crate::executor) enum JobAnswer {
    Result {
        json: Value,
        bytes: u64,
    },
    /// Its result is a text that is not JSON; why.
    NotJson(String),
    Failure {
        message: String,
        advice: Option<RetryAdvice>,
    },
}

/// `bellcage:job/types`, which guests import for its types alone: it has no functions.
pub(in crate::executor) struct Types;

impl HasData for Types {
    type Data<'a> = Self;
}

impl Host for Types {}

pub(in crate::executor) async fn call(
    instance: &Instance,
    store: &mut Store<Guest>,
    export: &ComponentExportIndex,
    request: &AttemptRequest,
) -> wasmtime::Result<JobAnswer> {
    let run = instance.get_typed_func::<(&Context, &str), (Result<String, Failure>,)>(&mut *store, export)?;
    let input = request.args.to_string();
    let now = request.deterministic.map_or_else(Timestamp::now, |determinism| determinism.at);
    match run.call_async(store, (&context(request, now), &input)).await?.0 {
        Ok(text) => Ok(result(&text, request.limits.result)?),
        Err(failure) => Ok(failed(failure)),
    }
}

fn context(request: &AttemptRequest, now: Timestamp) -> Context {
    let AttemptRequest { run, attempt, job, scheduled_at, scheduled_local, limits, .. } = request;
    let deadline = now.saturating_add(limits.timeout).unwrap_or(Timestamp::MAX);
    Context {
        job: job.clone(),
        run: run.to_string(),
        attempt: *attempt,
        scheduled_at: scheduled_local.clone().unwrap_or_else(|| scheduled_at.display_with_offset(Offset::UTC).to_string()),
        scheduled_at_ms: milliseconds(*scheduled_at),
        deadline_ms: milliseconds(deadline),
    }
}

/// Since 1970; what was before counts as then.
fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// At most `max` bytes as it came, and as it is sent and stored: there a number such as 1e15 is written out.
fn result(text: &str, max: u64) -> Result<JobAnswer, LimitHit> {
    let bytes = text.len() as u64;
    if bytes > max {
        return Err(LimitHit::Returned { asked: Some(bytes) });
    }
    if text.is_empty() {
        return Ok(JobAnswer::Result { json: Value::Null, bytes });
    }
    match serde_json::from_str::<Value>(text) {
        Ok(json) if bytes.saturating_mul(WRITTEN_OUT_MAX) > max => match json.to_string().len() as u64 {
            asked if asked > max => Err(LimitHit::Returned { asked: Some(asked) }),
            _ => Ok(JobAnswer::Result { json, bytes }),
        },
        Ok(json) => Ok(JobAnswer::Result { json, bytes }),
        Err(error) => Ok(JobAnswer::NotJson(error.to_string())),
    }
}

/// Bytes of JSON that are written for one that was read, at most: of `1e15`, 18.
const WRITTEN_OUT_MAX: u64 = 6;

fn failed(failure: Failure) -> JobAnswer {
    let (message, advice) = match failure {
        Failure::Failed(message) => (message, None),
        Failure::Permanent(message) => (message, Some(RetryAdvice::Never)),
        Failure::RetryAfter(delay) => {
            let after = SignedDuration::try_from(Duration::from_millis(delay.after_ms)).unwrap_or(SignedDuration::MAX);
            (delay.message, Some(RetryAdvice::Again { after: Some(after.min(RETRY_AFTER_MAX)) }))
        }
    };
    JobAnswer::Failure { message: as_shown(&message, MESSAGE_MAX), advice }
}

#[cfg(test)]
mod tests {
    use super::super::bindings::types::Delay;
    use super::*;

    #[test]
    fn a_result_is_json_and_nothing_is_null() {
        let result = |text| result(text, 100).unwrap();
        assert_eq!(result("[1]"), JobAnswer::Result { json: serde_json::json!([1]), bytes: 3 });
        assert_eq!(result(""), JobAnswer::Result { json: Value::Null, bytes: 0 });
        assert!(matches!(result("{'a'}"), JobAnswer::NotJson(why) if why.contains("line 1 column 2")));
    }

    #[test]
    fn a_result_is_within_its_limit_as_it_came_and_as_it_is_written() {
        assert!(result("[1e15]", 20).is_ok_and(|answer| matches!(answer, JobAnswer::Result { bytes: 6, .. })));
        assert_eq!(result("[1e15]", 19), Err(LimitHit::Returned { asked: Some(20) }));
        assert_eq!(result("[11111]", 6), Err(LimitHit::Returned { asked: Some(7) }));
    }

    #[test]
    fn a_wait_of_more_than_a_day_is_a_day() {
        let after = |after_ms| match failed(Failure::RetryAfter(Delay { message: String::new(), after_ms })) {
            JobAnswer::Failure { advice: Some(RetryAdvice::Again { after }), .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(1_500), Some(SignedDuration::from_millis(1_500)));
        assert_eq!(after(u64::MAX), Some(SignedDuration::from_hours(24)));
    }
}
