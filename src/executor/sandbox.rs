//! One attempt: a fresh store and instance with every limit on, one call, a report.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, Val};
use wasmtime::{Engine, Func, PoolConcurrencyLimitError, Store};

use super::budget::Budget;
use super::ending::{Answer, Ending, Facts};
use super::guest::Guest;
use super::host::entry::{self, JobAnswer};
use super::limiter::LimitHit;
use super::outside::Way;
use super::signal::{Metered, Share, Signal, Used};
use super::turns::{self, Habit};
use super::value::{self, Returned};
use super::worker::CLEARED_AT_ONCE;
use super::{AttemptReport, AttemptRequest};
use crate::component::{Artefact, EntryError, EntryInfo, EntryKind, Inspection, Signature, inspect, is_command_export};
use crate::job::{AttemptLog, Digest, Entry, Limits, Receipt, RunResult};

/// A guest that computes gives way after so much fuel, and what it used is known to that precision when it is stopped.
const FUEL_BETWEEN_YIELDS: u64 = 100_000;

/// A component on one engine, ready to be instantiated.
pub(super) struct Loaded {
    pre: InstancePre<Guest>,
    /// `run` of `wasi:cli/run`.
    main: Option<ComponentExportIndex>,
    /// Looked at when the first of them is called.
    functions: OnceLock<Functions>,
    habit: Habit,
}

/// The functions that jobs can call.
struct Functions {
    inspection: Inspection,
    /// As many as there are entries, in their order.
    exports: Vec<Option<ComponentExportIndex>>,
}

/// What an attempt calls, and with what.
enum Call<'a> {
    Main { export: &'a ComponentExportIndex },
    Function { export: &'a ComponentExportIndex, signature: &'a Signature, args: Vec<Val> },
    Job { export: &'a ComponentExportIndex, request: &'a AttemptRequest },
}

impl Loaded {
    /// Authenticates and maps an artefact. Up to some tenths of a second where it is large.
    pub fn load(engine: &Engine, linker: &Linker<Guest>, artefact: &Artefact) -> Result<Self, Ending> {
        let (file, _) = artefact.open().map_err(|e| Ending::refused(e.code(), e.to_string()))?;
        // Through the descriptor whose bytes were authenticated, not by the name again.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        // SAFETY: wasmtime trusts the contents. They were written by our compiler and sealed with our key, and sealed
        // files are never changed in place.
        let component = unsafe { Component::deserialize_file(engine, path) }.map_err(|e| unusable(&e))?;
        Self::new(linker, &component).map_err(|e| unusable(&e))
    }

    pub fn new(linker: &Linker<Guest>, component: &Component) -> wasmtime::Result<Self> {
        Ok(Self { main: main_export(component), pre: linker.instantiate_pre(component)?, functions: OnceLock::new(), habit: Habit::default() })
    }

    fn call<'a>(&'a self, request: &'a AttemptRequest) -> Result<Call<'a>, Ending> {
        let missing = || Ending::refused("entry-missing", format!("the component has no entry {}", request.entry));
        if request.entry == Entry::Main {
            let export = self.main.as_ref().ok_or_else(missing)?;
            request.argv().map_err(|message| Ending::refused("args-not-argv", message))?;
            return Ok(Call::Main { export });
        }
        let Functions { inspection, exports } = self.functions.get_or_init(|| Functions::of(self.pre.component()));
        let entry = inspection.entry(&request.entry).map_err(|e| match e {
            EntryError::Missing { .. } => missing(),
            e => Ending::refused(e.code(), format!("the component {e}")),
        })?;
        let at = inspection.entries.iter().position(|other| std::ptr::eq(other, entry));
        let export = at.and_then(|at| exports.get(at)?.as_ref()).ok_or_else(missing)?;
        if entry.kind == EntryKind::Job {
            return Ok(Call::Job { export, request });
        }
        let signature = entry.types.as_ref().ok_or_else(missing)?;
        let values = signature.read(&request.args).map_err(|e| Ending::refused("bad-args", e.to_string()))?;
        Ok(Call::Function { export, signature, args: value::to_vals(values, signature) })
    }
}

impl Functions {
    fn of(component: &Component) -> Self {
        let inspection = inspect(component);
        let export = |entry: &EntryInfo| {
            let interface = match &entry.interface {
                Some(name) => Some(component.get_export_index(None, name)?),
                None => None,
            };
            component.get_export_index(interface.as_ref(), entry.function())
        };
        Self { exports: inspection.entries.iter().map(export).collect(), inspection }
    }
}

/// A component that was compiled here, and yet.
pub(super) fn unusable(error: &wasmtime::Error) -> Ending {
    Ending::refused("artefact-unusable", format!("the compiled component cannot be used here: {error:#}"))
}

fn main_export(component: &Component) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let name = ty.exports(component.engine()).map(|(name, _)| name).find(|name| is_command_export(name))?;
    let instance = component.get_export_index(None, name)?;
    component.get_export_index(Some(&instance), "run")
}

/// What an attempt shares with others, or has of them.
pub(super) struct Around {
    pub budget: Arc<Budget>,
    /// To what it was granted; none where there is nothing.
    pub way: Option<Arc<dyn Way>>,
}

/// The worker's pool of instances, memories or tables is used up: another attempt must end first.
pub(super) struct PoolFull;

/// Runs an attempt to its end. Missing in its receipt is what whoever asked for it makes of the signal's `calls`.
pub(super) async fn run(loaded: &Loaded, request: &Arc<AttemptRequest>, signal: &Arc<Signal>, around: &Around) -> Result<AttemptReport, PoolFull> {
    if loaded.habit.is_long() {
        turns::let_others_begin().await;
    }
    // Pinned, it is made where it stays.
    let ended = pin!(run_and_drop(loaded, request, signal, around)).await;
    if around.budget.is_to_be_cleared() {
        clear_up(loaded.pre.engine()).await;
    }
    ended
}

/// Has the pool give back to the machine what attempts that have ended had of it. It does so once it has the stacks of
/// `CLEARED_AT_ONCE` calls to clear, and with them what else there is, which may be the whole memory of as many hogs: so it gets
/// as many stacks, of calls that do nothing.
async fn clear_up(engine: &Engine) {
    for _ in 0..CLEARED_AT_ONCE {
        let mut store = Store::new(engine, ());
        let nothing = Func::wrap_async(&mut store, |_, ()| Box::new(std::future::ready(())));
        // Without a stack for it, the pool has cleared what it had.
        if nothing.call_async(&mut store, &[], &mut []).await.is_err() {
            return;
        }
    }
}

async fn run_and_drop(loaded: &Loaded, request: &Arc<AttemptRequest>, signal: &Arc<Signal>, around: &Around) -> Result<AttemptReport, PoolFull> {
    let started_at = Timestamp::now();
    let first = Share::begin();
    let began = first.began;
    let call = match loaded.call(request) {
        Ok(call) => call,
        Err(ending) => return Ok(unstarted(&Asked::of(request), ending)),
    };
    let limits = &request.limits;
    let deadline = deadline(limits, began);
    let guest = match Guest::new(request, signal.clone(), around, deadline) {
        Ok(guest) => guest,
        Err(e) => return Ok(unstarted(&Asked::of(request), Ending::internal(&format!("its directories: {e}")))),
    };
    let mut store = match new_store(loaded.pre.engine(), guest, limits, &call) {
        Ok(store) => store,
        Err(e) => return Ok(unstarted(&Asked::of(request), Ending::internal(&format!("{e:#}")))),
    };
    let mut used = Used::since(began);
    let mut instantiated_at = None;
    let answer = {
        let carried_out = pin!(carry_out(&call, &mut store, &loaded.pre, &mut instantiated_at, limits.result));
        Metered::new(carried_out, signal, first, deadline, &mut used).await
    };
    loaded.habit.note(used.longest);
    if matches!(&answer, Some(Err(error)) if error.is::<PoolConcurrencyLimitError>()) {
        signal.calls.forget();
        return Err(PoolFull);
    }
    let wall = used.until - began;
    let fuel_left = store.get_fuel().unwrap_or(0);
    let guest = store.data();
    let answered = answer.as_ref().map(Result::as_ref);
    let retry = match answered {
        Some(Ok(Answer::Job(JobAnswer::Failure { advice, .. }))) => *advice,
        _ => None,
    };
    let (refused, refused_outside) = (guest.limiter.refused, guest.refused_outside());
    let ending = Ending::of(Facts { answer: answered, instantiated: instantiated_at.is_some(), refused, refused_outside, signal, limits });
    let (result, result_bytes) = match (&call, answer) {
        (Call::Main { .. }, _) => {
            let stdout = guest.take_stdout();
            let bytes = stdout.len() as u64;
            (Some(RunResult::Text(stdout)), bytes)
        }
        (_, Some(Ok(Answer::Returned(Returned::Value { json, bytes } | Returned::Err { json, bytes })))) => (Some(RunResult::Value(json)), bytes),
        (_, Some(Ok(Answer::Job(JobAnswer::Result { json, bytes })))) => (Some(RunResult::Value(json)), bytes),
        _ => (None, 0),
    };
    let log = guest.take_log();
    let receipt = Receipt {
        fuel_used: limits.fuel.saturating_sub(fuel_left),
        memory_peak_bytes: guest.limiter.memory_peak,
        cpu_us: micros(used.cpu),
        wall_us: micros(wall),
        instantiate_us: micros(instantiated_at.map_or(wall, |at| at - began)),
        host_calls: guest.host_calls,
        log_bytes: (log.head.len() + log.tail.len()) as u64 + log.dropped,
        log_bytes_dropped: log.dropped,
        result_bytes,
        ..asked_for(&Asked::of(request), started_at)
    };
    let Ending { outcome, exit_code, error } = ending;
    let error = error.map(|error| *error);
    let ended_at = SignedDuration::try_from(wall).ok().and_then(|wall| started_at.checked_add(wall).ok()).unwrap_or(started_at);
    Ok(AttemptReport { started_at, ended_at, outcome, exit_code, error, result, log, receipt, retry, progress: None, checkpoint: None })
}

/// When an attempt that began `began` is ended.
pub(super) fn deadline(limits: &Limits, began: Instant) -> Instant {
    let timeout = Duration::try_from(limits.timeout).unwrap_or_default();
    // So far away that it cannot be expressed is never.
    began.checked_add(timeout).unwrap_or(began + Duration::from_hours(24 * 365))
}

async fn carry_out(
    call: &Call<'_>,
    store: &mut Store<Guest>,
    pre: &InstancePre<Guest>,
    instantiated_at: &mut Option<Instant>,
    result_max: u64,
) -> wasmtime::Result<Answer> {
    let instance = pre.instantiate_async(&mut *store).await?;
    *instantiated_at = Some(Instant::now());
    match call {
        Call::Main { export } => {
            let main = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, export)?;
            Ok(Answer::Exit(main.call_async(store, ()).await?.0))
        }
        Call::Function { export, signature, args } => {
            let function = instance.get_func(&mut *store, export).ok_or_else(|| wasmtime::Error::msg("the function is not exported"))?;
            let mut result = signature.result.as_ref().map(|_| Val::Bool(false));
            function.call_async(store, args, result.as_mut_slice()).await?;
            let returned = value::returned(result, signature, result_max);
            returned.map(Answer::Returned).map_err(|_| LimitHit::Returned { asked: None }.into())
        }
        Call::Job { export, request } => entry::call(&instance, store, export, request).await.map(Answer::Job),
    }
}

fn new_store(engine: &Engine, guest: Guest, limits: &Limits, call: &Call<'_>) -> wasmtime::Result<Store<Guest>> {
    let capped = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut store = Store::try_new(engine, guest)?;
    store.limiter(|guest| &mut guest.limiter);
    store.set_fuel(limits.fuel)?;
    store.fuel_async_yield_interval(Some(FUEL_BETWEEN_YIELDS))?;
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().at_epoch()));
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(match call {
        Call::Main { .. } => capped(limits.host_call_bytes),
        Call::Function { .. } => value::lifted_max(limits),
        // A result or a checkpoint that is somewhat too large is told apart from too many bytes in any other call.
        Call::Job { .. } => capped(limits.host_call_bytes.max(limits.result.max(limits.checkpoint).saturating_mul(2))),
    });
    store.set_max_component_handles(capped(limits.resources));
    Ok(store)
}

/// The part of a request that a receipt shows.
#[derive(Clone)]
pub(super) struct Asked {
    pub digest: Digest,
    fuel: u64,
    memory: u64,
    due_at: Option<Timestamp>,
}

impl Asked {
    pub fn of(request: &AttemptRequest) -> Self {
        let AttemptRequest { component, limits, due_at, .. } = request;
        Self { digest: component.digest, fuel: limits.fuel, memory: limits.memory, due_at: *due_at }
    }
}

/// The report of an attempt that never had an instance.
pub(super) fn unstarted(asked: &Asked, ending: Ending) -> AttemptReport {
    let now = Timestamp::now();
    let Ending { outcome, exit_code, error } = ending;
    let error = error.map(|error| *error);
    AttemptReport {
        started_at: now,
        ended_at: now,
        outcome,
        exit_code,
        error,
        result: None,
        log: AttemptLog::default(),
        receipt: asked_for(asked, now),
        retry: None,
        progress: None,
        checkpoint: None,
    }
}

/// What is known before the guest has done anything.
pub(super) fn asked_for(asked: &Asked, started_at: Timestamp) -> Receipt {
    let late = asked.due_at.map_or(SignedDuration::ZERO, |due| started_at.duration_since(due));
    Receipt {
        digest: Some(asked.digest),
        fuel_limit: asked.fuel,
        memory_limit_bytes: asked.memory,
        queue_us: Duration::try_from(late).map_or(0, micros),
        ..Receipt::default()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
