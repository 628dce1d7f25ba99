//! How an attempt ended: from what wasmtime gave back, and what the limits saw, to one outcome.
//!
//! ```text
//! over the host calls             → limit
//! cancelled, and given some time   → cancelled
//! stopped from outside            → cancelled | timeout
//! returned, exited                → succeeded | failed
//! error or trap                   → trapped, or the limit that it names
//! … trapped or failed after a growth was refused → out-of-memory
//! … or after a limit refused what it asked of the world outside, and it has not coped since → limit
//! ```

use std::fmt::Write as _;
use std::num::NonZeroU64;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::host::entry::JobAnswer;
use super::limiter::{LimitHit, Refused};
use super::outside::{HttpRefusal, Refusal};
use super::signal::{self, Signal, Stop};
use super::value::Returned;
use crate::component::as_shown;
use crate::job::{Limits, Outcome, RunError, bytes, duration};

/// Characters of a frame, and of a message, at most.
const FRAME_MAX: usize = 200;
const MESSAGE_MAX: usize = 1_000;
const FRAMES_MAX: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub error: Option<Box<RunError>>,
}

/// What a call gave, where it came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// Of a command that did not call `exit`.
    Exit(Result<(), ()>),
    /// Of a function.
    Returned(Returned),
    /// Of a typed job.
    Job(JobAnswer),
}

/// What is known when the guest is gone.
pub(super) struct Facts<'a> {
    /// `None` where the call was dropped because it had to stop.
    pub answer: Option<Result<&'a Answer, &'a wasmtime::Error>>,
    /// The instance existed, so the guest's own code may have run for some time.
    pub instantiated: bool,
    pub refused: Option<Refused>,
    /// By a limit, what it asked of the world outside, and the last of its kind.
    pub refused_outside: Option<Refusal>,
    pub signal: &'a Signal,
    pub limits: &'a Limits,
}

impl Ending {
    pub fn new(outcome: Outcome, code: &str, message: String) -> Self {
        Self { outcome, exit_code: None, error: Some(Box::new(RunError { code: code.to_owned(), message, ..RunError::default() })) }
    }

    /// What the guest asked for, of the limit that refused it.
    fn asking(mut self, asked: u64) -> Self {
        if let Some(error) = &mut self.error {
            error.asked = NonZeroU64::new(asked);
        }
        self
    }

    fn succeeded() -> Self {
        Self { outcome: Outcome::Succeeded, exit_code: None, error: None }
    }

    fn exited(code: i32) -> Self {
        match code {
            0 => Self { exit_code: Some(0), ..Self::succeeded() },
            _ => Self { exit_code: Some(code), ..Self::new(Outcome::Failed, "exit-code", format!("exited with code {code}")) },
        }
    }

    /// The whole value is the attempt's result; people are shown its beginning.
    fn returned_err(value: &serde_json::Value) -> Self {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self::new(Outcome::Failed, "returned-err", as_shown(&format!("returned an error: {text}"), MESSAGE_MAX))
    }

    fn of_job(answer: &JobAnswer) -> Self {
        match answer {
            JobAnswer::Result { .. } => Self::succeeded(),
            JobAnswer::NotJson(why) => Self::new(Outcome::Failed, "result-not-json", format!("returned a result that is not JSON: {why}")),
            JobAnswer::Failure { message, .. } if message.is_empty() => {
                Self::new(Outcome::Failed, "returned-failure", "returned a failure without a message".to_owned())
            }
            JobAnswer::Failure { message, .. } => Self::new(Outcome::Failed, "returned-failure", message.clone()),
        }
    }

    /// It could not start.
    pub fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, code, message.into())
    }

    pub fn cancelled(signal: &Signal) -> Self {
        Self::new(Outcome::Cancelled, "cancelled", signal.reason().map_or_else(|| "cancelled".to_owned(), |reason| format!("cancelled: {reason}")))
    }

    pub fn of(facts: Facts<'_>) -> Self {
        let Facts { answer, instantiated, refused, refused_outside, signal, limits } = facts;
        let stopped = signal.stopped();
        let ending = match (stopped, answer) {
            // Whatever else the guest did: it made more calls than it may.
            (Some(Stop::HostCalls), _) => {
                Self::new(Outcome::Limit, "limit-host-calls", format!("called the host more often than limits.host_calls = {} allows", limits.host_calls))
            }
            _ if signal.is_in_grace() => Self::cancelled(signal),
            (_, Some(Ok(Answer::Job(answer)))) => Self::of_job(answer),
            (_, Some(Ok(Answer::Exit(Ok(()))))) => Self::exited(0),
            (_, Some(Ok(Answer::Exit(Err(()))))) => Self::exited(1),
            (_, Some(Ok(Answer::Returned(Returned::Value { .. })))) => Self::succeeded(),
            (_, Some(Ok(Answer::Returned(Returned::Err { json, .. })))) => Self::returned_err(json),
            (Some(stop), answer) if answer.as_ref().is_none_or(is_interrupt) => Self::stopped(stop, signal, limits),
            (_, Some(Err(error))) => Self::of_error(error, instantiated, limits),
            (None, None) => Self::internal("its future was dropped without a reason"),
            (Some(stop), None) => Self::stopped(stop, signal, limits),
        };
        let ending = match (refused, refused_outside) {
            _ if !matches!(ending.outcome, Outcome::Trapped | Outcome::Failed) => ending,
            (Some(refused), _) => ending.out_of_memory(refused, instantiated, limits),
            (None, Some(refused)) => ending.refused_outside(&refused),
            (None, None) => ending,
        };
        let ending = match answer {
            Some(Err(error)) => ending.located(error),
            _ => ending,
        };
        ending.allowing(limits)
    }

    /// Says what the limit was that fired.
    fn allowing(mut self, limits: &Limits) -> Self {
        if let Some(error) = &mut self.error {
            let allowed = match &*error.code {
                "out-of-fuel" => limits.fuel,
                "out-of-memory" => limits.memory,
                "timeout" => u64::try_from(limits.timeout.as_micros()).unwrap_or(u64::MAX),
                "limit-result" => limits.result,
                "limit-host-calls" => limits.host_calls,
                "limit-table-elements" => limits.table_elements,
                "limit-instances" => limits.instances,
                "limit-resources" => limits.resources,
                "limit-host-call-bytes" => limits.host_call_bytes,
                "limit-random" => limits.random,
                "limit-kv-bytes" => limits.kv_bytes,
                "limit-kv-keys" => limits.kv_keys,
                "limit-http-body" => limits.http_body,
                "limit-http-requests" => limits.http_requests,
                _ => 0,
            };
            error.allowed = NonZeroU64::new(allowed);
        }
        self
    }

    /// Of a guest that a limit stopped amid its own code: says where that was.
    fn located(mut self, error: &wasmtime::Error) -> Self {
        let by_limit = matches!(self.outcome, Outcome::OutOfFuel | Outcome::OutOfMemory | Outcome::Timeout | Outcome::Limit);
        if let Some(run_error) = self.error.as_mut().filter(|run_error| by_limit && run_error.backtrace.is_none()) {
            run_error.backtrace = error.downcast_ref().map(backtrace);
        }
        self
    }

    /// A fault of the executor, not of the guest.
    pub fn internal(message: &str) -> Self {
        Self::new(Outcome::Lost, "executor-failed", format!("the executor failed on this attempt: {message}"))
    }

    fn stopped(stop: Stop, signal: &Signal, limits: &Limits) -> Self {
        match stop {
            Stop::Timeout => Self::new(Outcome::Timeout, "timeout", format!("ran longer than limits.timeout = {} allows", duration::format(limits.timeout))),
            Stop::Cancelled | Stop::HostCalls => Self::cancelled(signal),
        }
    }

    fn of_error(error: &wasmtime::Error, instantiated: bool, limits: &Limits) -> Self {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::exited(exit.0);
        }
        let limit = |code: &str, message: String| Self::new(Outcome::Limit, code, message);
        if let Some(hit) = error.downcast_ref::<LimitHit>() {
            return match hit {
                LimitHit::Result { asked } => {
                    limit("limit-result", format!("wrote more to stdout than limits.result = {} allows", bytes::format(limits.result))).asking(*asked)
                }
                LimitHit::Returned { asked } => match asked {
                    Some(asked) => Self::returned_too_much(limits).asking(*asked),
                    None => Self::returned_too_much(limits),
                },
                LimitHit::Random { asked } => {
                    let message = format!("asked for {asked} random bytes at once, more than limits.random = {} allows", bytes::format(limits.random));
                    limit("limit-random", message).asking(*asked)
                }
            };
        }
        // One more than it may is what it asked for.
        let resources = || {
            let message = format!("had more handles open than limits.resources = {} allows", limits.resources);
            limit("limit-resources", message).asking(limits.resources.saturating_add(1))
        };
        if let Some(ResourceTableError::Full) = error.downcast_ref() {
            return resources();
        }
        match (error.downcast_ref::<Trap>(), untyped(error)) {
            (Some(Trap::OutOfFuel), _) => Self::new(Outcome::OutOfFuel, "out-of-fuel", format!("used all its fuel (limits.fuel = {})", limits.fuel)),
            (Some(trap), _) => Self::trapped(*trap, error),
            (None, Some(Untyped::Handles)) => resources(),
            // Not below any frame of the guest: it had returned.
            (None, Some(Untyped::HostCallBytes)) if !error.is::<WasmBacktrace>() => Self::returned_too_much(limits),
            (None, Some(Untyped::HostCallBytes)) => {
                let max = bytes::format(limits.host_call_bytes);
                limit("limit-host-call-bytes", format!("passed more bytes to the host in one call than limits.host_call_bytes = {max} allows"))
            }
            (None, Some(Untyped::Instances)) => {
                let message = format!("has more core instances than limits.instances = {} allows", limits.instances);
                limit("limit-instances", message).asking(limits.instances.saturating_add(1))
            }
            (None, None) => Self::misused_host(error, instantiated),
        }
    }

    fn returned_too_much(limits: &Limits) -> Self {
        let max = bytes::format(limits.result);
        Self::new(Outcome::Limit, "limit-result", format!("returned a value that takes more JSON than limits.result = {max} allows"))
    }

    fn trapped(trap: Trap, error: &wasmtime::Error) -> Self {
        let name = trap_name(trap);
        let mut ending = Self::new(Outcome::Trapped, "trap", format!("trapped: {trap}"));
        if let Some(run_error) = &mut ending.error {
            run_error.trap = Some(name);
            run_error.backtrace = error.downcast_ref().map(backtrace);
        }
        ending
    }

    /// The host refused a call that no well-formed guest makes, such as one with a handle that does not exist.
    fn misused_host(error: &wasmtime::Error, instantiated: bool) -> Self {
        // A backtrace is the outermost context; what happened is below it.
        let above = usize::from(error.is::<WasmBacktrace>());
        let causes: Vec<_> = error.chain().skip(above).map(ToString::to_string).collect();
        let what = if instantiated { "a host call was refused" } else { "could not be instantiated" };
        let message = as_shown(&format!("{what}: {}", causes.join(": ")), MESSAGE_MAX);
        let mut ending = Self::new(Outcome::Trapped, "trap", message);
        if let Some(run_error) = &mut ending.error {
            run_error.trap = Some("host-error".to_owned());
            run_error.backtrace = error.downcast_ref().map(backtrace);
        }
        ending
    }

    /// Keeps what is known of how the guest died, and says it too: what it did about the refusal is its own.
    fn refused_outside(self, refused: &Refusal) -> Self {
        let (code, asked) = match refused {
            Refusal::KvBytes { asked, .. } => ("limit-kv-bytes", Some(*asked)),
            Refusal::KvKeys { max } => ("limit-kv-keys", max.checked_add(1)),
            Refusal::Http(HttpRefusal::RequestBody { .. }) => ("limit-http-body", None),
            Refusal::Http(HttpRefusal::ResponseBody { asked, .. }) => ("limit-http-body", *asked),
            Refusal::Http(HttpRefusal::Requests { max }) => ("limit-http-requests", max.checked_add(1)),
            _ => return self,
        };
        let error = self.error.map(|error| {
            // What a typed job says of its failure is no part of a sentence.
            let failed = if error.code == "returned-failure" { "failed: " } else { "" };
            let message = as_shown(&format!("{refused}; the guest then {failed}{}", error.message), MESSAGE_MAX);
            Box::new(RunError { code: code.to_owned(), message, asked: asked.and_then(NonZeroU64::new), ..*error })
        });
        Self { outcome: Outcome::Limit, exit_code: self.exit_code, error }
    }

    /// Keeps what is known of how the guest died.
    fn out_of_memory(self, refused: Refused, instantiated: bool, limits: &Limits) -> Self {
        let when = if instantiated { "needed" } else { "needs at its start" };
        let (code, asked, message) = match refused {
            Refused::MemoryOfServer { asked, most } => {
                let (allowed, most) = (bytes::format(limits.memory), bytes::about(most));
                let message = format!(
                    "{when} {} of memory, which limits.memory = {allowed} allows; but of what this server's guests may hold (executor.memory) \
                     there was no more: one alone may have {most}",
                    bytes::about(asked)
                );
                let error = self.error.map(|error| Box::new(RunError { code: "executor-memory".to_owned(), message, ..*error }));
                return Self { outcome: Outcome::Lost, exit_code: self.exit_code, error };
            }
            Refused::Memory { asked } => (
                "out-of-memory",
                Some(asked),
                format!("{when} {} of memory, more than limits.memory = {} allows", bytes::about(asked), bytes::format(limits.memory)),
            ),
            Refused::MemoryOfMachine => ("out-of-memory", None, format!("{when} more memory than there is")),
            Refused::Table { asked } => (
                "limit-table-elements",
                Some(asked),
                format!("{when} {asked} table elements, more than limits.table_elements = {} allows", limits.table_elements),
            ),
        };
        let error = self.error.map(|error| Box::new(RunError { code: code.to_owned(), message, asked: asked.and_then(NonZeroU64::new), ..*error }));
        Self { outcome: Outcome::OutOfMemory, exit_code: self.exit_code, error }
    }
}

fn is_interrupt<T>(answer: &Result<T, &wasmtime::Error>) -> bool {
    matches!(answer, Err(error) if signal::is_interrupt(error))
}

enum Untyped {
    Handles,
    HostCallBytes,
    Instances,
}

/// Three limits whose errors wasmtime gives no type that can be named. Its version is pinned, and a test holds each.
fn untyped(error: &wasmtime::Error) -> Option<Untyped> {
    let text = error.root_cause().to_string();
    [
        ("store handle limit exceeded", Untyped::Handles),
        ("fuel allocated for hostcalls has been exhausted", Untyped::HostCallBytes),
        ("resource limit exceeded: instance count", Untyped::Instances),
    ]
    .into_iter()
    .find_map(|(part, limit)| text.contains(part).then_some(limit))
}

/// `stack-overflow` of `StackOverflow`.
fn trap_name(trap: Trap) -> String {
    if trap == Trap::UnreachableCodeReached {
        return "unreachable".to_owned();
    }
    format!("{trap:?}").chars().fold(String::new(), |mut name, c| {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
        name
    })
}

/// Innermost first. All names come from the guest.
fn backtrace(trace: &WasmBacktrace) -> Vec<String> {
    let frame = |frame: &wasmtime::FrameInfo| {
        let mut text = frame.module().name().map(|module| format!("{module}!")).unwrap_or_default();
        match frame.func_name() {
            Some(name) => text.push_str(name),
            None => {
                let _ = write!(text, "func[{}]", frame.func_index());
            }
        }
        as_shown(&text, FRAME_MAX)
    };
    trace.frames().iter().take(FRAMES_MAX).map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_named_as_users_read_them() {
        assert_eq!(trap_name(Trap::UnreachableCodeReached), "unreachable");
        assert_eq!(trap_name(Trap::StackOverflow), "stack-overflow");
        assert_eq!(trap_name(Trap::IntegerDivisionByZero), "integer-division-by-zero");
    }
}
