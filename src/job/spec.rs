//! The job: its definition as a user wrote it, and what the scheduler keeps beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    After, CalendarName, Coalesce, DirectoryError, DirectoryGrant, Entry, Grants, IdError, Isolation, JobKey, LimitsSpec, Overlap, RateLimit, Reference, Retry,
    Stdin, Stdout, duration,
};
use crate::trigger::{TriggerError, TriggerSpec};

/// The definition: what `job add`, `job apply` and the HTTP API take. Serde form = TOML and JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    pub component: Reference,
    /// For `main` an array of strings (argv); for a function an object by name, or an array by position.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// What a command reads on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Stdin>,
    /// What its standard output is taken for.
    #[serde(default, skip_serializing_if = "JobSpec::is_default")]
    pub stdout: Stdout,
    pub trigger: TriggerSpec,
    /// Exclusion calendars: a firing that falls into one makes no run. At most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendars: Vec<CalendarName>,
    /// Each start is moved by 0 to this much, by a stable hash of tenant, job and instant.
    #[serde(default, with = "duration", skip_serializing_if = "SignedDuration::is_zero")]
    pub jitter: SignedDuration,
    /// A firing later than this is recorded as missed instead of run. Absent: late is run.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub misfire_grace: Option<SignedDuration>,
    #[serde(default)]
    pub coalesce: Coalesce,
    /// How many firings `coalesce = "all"` runs at most, of those due at once.
    #[serde(default = "JobSpec::default_catch_up_max")]
    pub catch_up_max: u32,
    #[serde(default)]
    pub overlap: Overlap,
    /// Runs of the job that may go at once. Absent: 1, and unlimited with `overlap = "allow"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// How often its runs may start; one that comes too early waits. Starts count from when the limit was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many runs may wait with `overlap = "queue"`.
    #[serde(default = "JobSpec::default_queue_max")]
    pub queue_max: u32,
    #[serde(default)]
    pub retry: Retry,
    /// After so many runs in a row that did not succeed, the job is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after_failures: Option<u32>,
    /// Higher starts first.
    #[serde(default)]
    pub priority: i32,
    /// Added paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    #[serde(default)]
    pub limits: LimitsSpec,
    #[serde(default, skip_serializing_if = "JobSpec::is_default")]
    pub isolation: Isolation,
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub grants: Grants,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A definition that is well-formed but cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{field} must be at least 1")]
    Zero { field: &'static str },
    #[error("{field} = {asked} is above the most that is allowed, {cap}")]
    TooMany { field: &'static str, asked: u64, cap: u64 },
    #[error("args of a command (entry main) are a list of strings, but {typed} was given")]
    CommandArgs { typed: String },
    #[error("stdout = \"json\" is for commands (entry main): a function returns its result")]
    StdoutOfFunction,
    #[error("{what} contains a NUL character, which no command can be given")]
    Nul { what: String },
    #[error("environment variable name {typed:?} is not valid: it must not be empty and must not contain '='")]
    EnvName { typed: String },
    #[error("the variable {name} is granted twice: grants.secrets and grants.env, or grants.secrets again, have it")]
    TwiceGranted { name: String },
    #[error("{what} takes {size} bytes, above the most that is allowed, {cap}")]
    TooLarge { what: &'static str, size: usize, cap: usize },
    #[error("rate_limit.per = {per} is not between 1s and 366 days")]
    RatePer { per: String },
    #[error("{typed:?} is not an outcome that a job can follow")]
    AfterOutcome { typed: String },
    #[error("after names a job that cannot be: {0}")]
    AfterJob(#[from] IdError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Trigger(#[from] TriggerError),
}

impl SpecError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Zero { field: "retry.max_attempts" } => "1 is the first attempt and no other",
            Self::Zero { field: "max_running" } => "to run nothing for a while, pause the job",
            Self::Zero { .. } => "leave it out for its default",
            Self::CommandArgs { .. } => "for example args = [\"--limit\", \"10\"]",
            Self::TwiceGranted { .. } => "keep one of them",
            Self::Directory(DirectoryError::TwoScratch) => "one has room for all: { scratch = \"128MiB\" }",
            Self::Directory(_) => "let each have a place of its own, such as { name = \"data\", at = \"/in\" }",
            Self::EnvName { .. } => "write it as NAME = \"value\"",
            Self::TooLarge { .. } => "let the guest read more from what it is granted",
            Self::AfterOutcome { .. } => return Some(format!("use {}", super::Outcome::ALL.map(super::Outcome::as_str).join(", "))),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl JobSpec {
    /// A job of `component` with the given trigger and every other field at its default.
    pub fn new(component: Reference, trigger: TriggerSpec) -> Self {
        Self {
            component,
            args: Value::Null,
            stdin: None,
            stdout: Stdout::default(),
            trigger,
            calendars: Vec::new(),
            jitter: SignedDuration::ZERO,
            misfire_grace: None,
            coalesce: Coalesce::default(),
            catch_up_max: Self::default_catch_up_max(),
            overlap: Overlap::default(),
            max_running: None,
            rate_limit: None,
            queue_max: Self::default_queue_max(),
            retry: Retry::default(),
            pause_after_failures: None,
            priority: 0,
            paused: false,
            limits: LimitsSpec::default(),
            isolation: Isolation::default(),
            grants: Grants::default(),
            labels: BTreeMap::new(),
        }
    }

    fn is_default<T: Default + PartialEq>(value: &T) -> bool {
        *value == T::default()
    }

    /// Exclusion calendars that one job may refer to.
    pub const CALENDARS_MAX: usize = 5;

    /// How long the window of a rate limit may be.
    const RATE_PER: std::ops::RangeInclusive<SignedDuration> = SignedDuration::from_secs(1)..=SignedDuration::from_hours(24 * 366);

    fn default_catch_up_max() -> u32 {
        100
    }

    fn default_queue_max() -> u32 {
        10
    }

    /// Whether each of its attempts has a process of its own.
    pub fn is_alone(&self) -> bool {
        self.isolation == Isolation::ProcessPerRun || !self.grants.dirs.is_empty()
    }

    /// How many runs of the job may be in state running at once; `None` is no bound.
    pub fn running_max(&self) -> Option<u32> {
        match (self.max_running, self.overlap) {
            (Some(n), _) => Some(n),
            (None, Overlap::Allow) => None,
            (None, _) => Some(1),
        }
    }

    /// Refuses what no run could honour. Does not look at the component: that is checked where it is known.
    pub fn validate(&self) -> Result<(), SpecError> {
        const MANY: u64 = 10_000;
        const ARGS_BYTES: usize = 1 << 20;
        for (field, count) in [
            ("catch_up_max", Some(self.catch_up_max)),
            ("max_running", self.max_running),
            ("queue_max", Some(self.queue_max)),
            ("rate_limit.runs", self.rate_limit.map(|limit| limit.runs)),
            ("retry.max_attempts", Some(self.retry.max_attempts)),
            ("pause_after_failures", self.pause_after_failures),
        ] {
            match count {
                Some(0) => return Err(SpecError::Zero { field }),
                Some(n) if u64::from(n) > MANY => return Err(SpecError::TooMany { field, asked: n.into(), cap: MANY }),
                _ => {}
            }
        }
        if let Some(RateLimit { per, .. }) = self.rate_limit.filter(|limit| !Self::RATE_PER.contains(&limit.per)) {
            return Err(SpecError::RatePer { per: duration::format(per) });
        }
        if self.labels.len() > 100 {
            return Err(SpecError::TooMany { field: "labels", asked: self.labels.len() as u64, cap: 100 });
        }
        if self.calendars.len() > Self::CALENDARS_MAX {
            return Err(SpecError::TooMany { field: "calendars", asked: self.calendars.len() as u64, cap: Self::CALENDARS_MAX as u64 });
        }
        After::read(&self.trigger)?;
        Self::validate_args(&self.component.entry, &self.args)?;
        if self.stdout == Stdout::Json && self.component.entry != Entry::Main {
            return Err(SpecError::StdoutOfFunction);
        }
        for (what, size) in [
            ("args", self.args.to_string().len()),
            ("stdin", self.stdin.as_ref().map_or(0, |stdin| stdin.0.len())),
            ("grants.env", self.grants.env.iter().map(|(k, v)| k.len() + v.len()).sum()),
        ] {
            if size > ARGS_BYTES {
                return Err(SpecError::TooLarge { what, size, cap: ARGS_BYTES });
            }
        }
        let Grants { env, secrets, dirs, .. } = &self.grants;
        if dirs.len() > DirectoryGrant::MAX {
            return Err(SpecError::TooMany { field: "grants.dirs", asked: dirs.len() as u64, cap: DirectoryGrant::MAX as u64 });
        }
        DirectoryGrant::validate(dirs)?;
        let origins = self.grants.http.len();
        if origins > Grants::ORIGINS_MAX {
            return Err(SpecError::TooMany { field: "grants.http", asked: origins as u64, cap: Grants::ORIGINS_MAX as u64 });
        }
        if secrets.len() > Grants::SECRETS_MAX {
            return Err(SpecError::TooMany { field: "grants.secrets", asked: secrets.len() as u64, cap: Grants::SECRETS_MAX as u64 });
        }
        let twice = secrets.iter().enumerate().find(|(at, name)| env.contains_key(name.as_str()) || secrets[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Err(SpecError::TwiceGranted { name: name.to_string() });
        }
        for (name, value) in env {
            if name.is_empty() || name.contains('=') {
                return Err(SpecError::EnvName { typed: name.clone() });
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(SpecError::Nul { what: format!("grants.env.{name}") });
            }
        }
        Ok(())
    }

    /// The shape that arguments of `entry` must have, before its signature is looked at.
    pub fn validate_args(entry: &Entry, args: &Value) -> Result<(), SpecError> {
        let refuse = |typed: &Value| SpecError::CommandArgs { typed: typed.to_string().chars().take(80).collect() };
        match (entry, args) {
            (_, Value::Null) | (Entry::Function(_), _) => Ok(()),
            (Entry::Main, Value::Array(items)) => items.iter().try_for_each(|item| match item {
                Value::String(s) if s.contains('\0') => Err(SpecError::Nul { what: "args".to_owned() }),
                Value::String(_) => Ok(()),
                other => Err(refuse(other)),
            }),
            (Entry::Main, other) => Err(refuse(other)),
        }
    }
}

impl Job {
    /// When the scheduler must look at it once it is paused: at the end of the pause, where firings may follow.
    pub fn wake_in_pause(&self, pause: &Pause) -> Option<Timestamp> {
        pause.until.filter(|_| self.next_fire.is_some() || self.spec.trigger.is_after())
    }
}

/// A job as it is kept: the definition and where the scheduler stands with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub key: JobKey,
    /// Shared by its copies: each of its runs carries one.
    pub spec: Arc<JobSpec>,
    /// Counts changes of the definition, from 1: the ETag over HTTP.
    pub revision: u64,
    pub state: JobState,
    pub pause: Option<Pause>,
    /// When the trigger was set: where an interval without a start begins to count.
    pub anchor: Timestamp,
    /// The first instant of the trigger that is not yet a run or a recorded reason; `None` when there is none left.
    pub next_fire: Option<Timestamp>,
    /// When the scheduler must look at this job: `next_fire`, the end of a pause, the end of an upstream run, or never.
    pub wake_at: Option<Timestamp>,
    /// Runs in a row that did not succeed.
    pub failures_in_row: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_outcome: Option<super::Outcome>,
    pub last_run_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum JobState {
    Active,
    /// The trigger has ended; the job is kept until it is removed.
    Finished,
    /// It cannot be scheduled (its stored form cannot be read, its trigger fails); the reason is for people.
    Unresolved(String),
}

/// Why and since when a job is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub since: Timestamp,
    pub reason: Option<String>,
    /// Who asked for it; the scheduler itself after too many failures.
    pub by: Option<String>,
    /// The pause ends by itself at this instant.
    pub until: Option<Timestamp>,
}
