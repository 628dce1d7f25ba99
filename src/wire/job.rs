//! Jobs over the wire.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{JobId, JobSpec, Outcome, Page, Pause, Problem, RunId, TenantId, UpstreamEnd};
use crate::job::{self, JobState};
use crate::trigger::{Salt, Trigger};

/// A job: where it stands, and under `spec` its full definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub tenant: TenantId,
    /// The reference as the job names it: `name[@version][:entry]`.
    pub component: String,
    /// As it was given; `TriggerSpec` reads it.
    pub trigger: Value,
    /// The trigger in words; absent where it cannot be read any more.
    pub trigger_text: Option<String>,
    /// The zone that the trigger's times are meant in.
    pub timezone: String,
    pub state: JobStatus,
    /// Why it is unresolved.
    pub state_reason: Option<String>,
    /// The first instant of the trigger that is neither a run nor a recorded reason yet. In a paused job it may be past.
    pub next_fire: Option<Timestamp>,
    /// The same in the job's zone (RFC 9557).
    pub next_fire_local: Option<String>,
    pub paused: bool,
    pub pause: Option<Pause>,
    pub last_outcome: Option<Outcome>,
    pub last_run_at: Option<Timestamp>,
    pub failures_in_row: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Counts changes of the definition and of its pause, from 1: `ETag` is this number in quotes.
    pub revision: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The definition; `JobSpec` reads it.
    pub spec: Value,
    /// In the answer about one job that follows others: those, and what came of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<WaitsFor>,
}

/// An upstream job, as the job that follows it sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitsFor {
    pub job: JobId,
    /// False where there is no such job any more: nothing will come of it.
    pub exists: bool,
    /// The run of it that has ended as asked for since the last firing, and waits for the others.
    pub ended: Option<UpstreamEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    Active,
    /// Its trigger has ended.
    Finished,
    /// It cannot be scheduled; `state_reason` says why.
    Unresolved,
}

impl Job {
    /// The zone that the trigger's times are meant in, for showing them to people.
    pub fn zone(&self) -> TimeZone {
        crate::trigger::parse_timezone(&self.timezone).unwrap_or(TimeZone::UTC)
    }
}

impl From<job::Job> for Job {
    fn from(job: job::Job) -> Self {
        let trigger = compile(&job);
        Self::new(job, trigger.as_ref())
    }
}

impl Job {
    /// `trigger` is `job`'s, where it can be read.
    fn new(job: job::Job, trigger: Option<&Trigger>) -> Self {
        let zone = trigger.map_or(TimeZone::UTC, |trigger| trigger.timezone().clone());
        let (state, state_reason) = match job.state {
            JobState::Active => (JobStatus::Active, None),
            JobState::Finished => (JobStatus::Finished, None),
            JobState::Unresolved(reason) => (JobStatus::Unresolved, Some(reason)),
        };
        let spec = serde_json::to_value(&*job.spec).unwrap_or_default();
        Self {
            id: job.key.id,
            tenant: job.key.tenant,
            component: job.spec.component.to_string(),
            trigger: spec.get("trigger").cloned().unwrap_or_default(),
            trigger_text: trigger.map(Trigger::describe),
            timezone: zone.iana_name().unwrap_or("UTC").to_owned(),
            state,
            state_reason,
            next_fire: job.next_fire,
            next_fire_local: job.next_fire.map(|t| local(t, &zone)),
            paused: job.pause.is_some(),
            pause: job.pause,
            last_outcome: job.last_outcome,
            last_run_at: job.last_run_at,
            failures_in_row: job.failures_in_row,
            labels: job.spec.labels.clone(),
            revision: job.revision,
            created_at: job.created_at,
            updated_at: job.updated_at,
            spec,
            waits_for: Vec::new(),
        }
    }
}

fn compile(job: &job::Job) -> Option<Trigger> {
    let salt = Salt { tenant: job.key.tenant.as_str(), job: job.key.id.as_str() };
    job.spec.trigger.clone().anchored(job.anchor).compile(salt).ok()
}

/// RFC 9557 in a zone.
fn local(t: Timestamp, zone: &TimeZone) -> String {
    ZonedDateTime::new(t, zone.clone()).to_string()
}

/// `GET /api/v1/jobs`: by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    pub jobs: Vec<Job>,
    pub next: Option<String>,
}

/// What `GET /api/v1/jobs` can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Jobs that have every one of these labels, with this value.
    pub labels: Vec<(String, String)>,
    pub page: Page,
}

impl JobQuery {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<_> = self.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))).collect();
        self.page.pairs(&mut pairs);
        pairs
    }
}

/// `POST /api/v1/jobs`: a definition with its id beside the other fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddJob {
    pub id: JobId,
    #[serde(flatten)]
    pub spec: JobSpec,
}

/// By hand, as serde's `flatten` would let unknown fields pass.
impl<'de> Deserialize<'de> for AddJob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Definition)
    }
}

struct Definition;

impl<'de> Visitor<'de> for Definition {
    type Value = AddJob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job's definition")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<AddJob, A::Error> {
        let mut rest = Rest { fields, id: None };
        let spec = JobSpec::deserialize(MapAccessDeserializer::new(&mut rest))?;
        let id = rest.id.ok_or_else(|| serde::de::Error::missing_field("id"))?;
        Ok(AddJob { id, spec })
    }
}

/// The fields of a definition but for its id, which is taken out on the way.
struct Rest<A> {
    fields: A,
    id: Option<JobId>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for &mut Rest<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.fields.next_key::<Cow<'de, str>>()? {
            if name != "id" {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            if self.id.replace(self.fields.next_value()?).is_some() {
                return Err(serde::de::Error::duplicate_field("id"));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

/// What to do when a job's id exists: `?on_conflict=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    #[default]
    Error,
    Replace,
    Keep,
}

impl OnConflict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Replace => "replace",
            Self::Keep => "keep",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Error, Self::Replace, Self::Keep].into_iter().find(|c| c.as_str() == name)
    }
}

/// A job that was added, replaced or kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddedJob {
    #[serde(flatten)]
    pub job: Job,
    /// The first firings to come, in the job's zone (RFC 9557), at most 3.
    pub fires: Vec<String>,
    /// For people: what clock changes will do, policies that do not go together.
    pub notes: Vec<String>,
}

impl AddedJob {
    /// How many firings an added job shows.
    pub const FIRES: usize = 3;

    /// `trigger` is `job`'s, where it can be read.
    pub fn new(job: job::Job, trigger: Option<&Trigger>, notes: Vec<String>, now: Timestamp) -> Self {
        let fires = trigger.map_or_else(Fires::default, |trigger| Fires::of_trigger(trigger, now, Self::FIRES));
        Self { fires: fires.fires, job: Job::new(job, trigger), notes }
    }
}

/// `GET /api/v1/jobs/{id}/next`: when a job fires, in its zone (RFC 9557).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fires {
    pub fires: Vec<String>,
}

impl Fires {
    /// The first `n` firings strictly after `after`; fewer where the trigger ends.
    pub fn of(job: &job::Job, after: Timestamp, n: usize) -> Self {
        compile(job).map_or_else(Self::default, |trigger| Self::of_trigger(&trigger, after, n))
    }

    fn of_trigger(trigger: &Trigger, after: Timestamp, n: usize) -> Self {
        let fires = std::iter::successors(trigger.next_after(after), |&t| trigger.next_after(t));
        Self { fires: fires.take(n).map(|t| local(t, trigger.timezone())).collect() }
    }
}

/// `POST /api/v1/apply`: many definitions at once. Each is added for itself, so that one that is refused does not undo others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// At most 1,000.
    pub jobs: Vec<AddJob>,
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// The places of definitions, so ordered that each stands behind those that it follows, where they are among them; else as
/// given. Those of a cycle come last. `after` is the upstream ids of a definition.
pub fn upstream_first<T>(jobs: &[T], id: impl Fn(&T) -> &str, after: impl Fn(&T) -> &[String]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..jobs.len()).collect();
    if jobs.iter().all(|job| after(job).is_empty()) {
        return left;
    }
    let mut ordered = Vec::with_capacity(jobs.len());
    loop {
        let ids: HashSet<&str> = left.iter().map(|&place| id(&jobs[place])).collect();
        let waits = |place: &usize| after(&jobs[*place]).iter().any(|upstream| ids.contains(upstream.as_str()));
        let (waiting, free): (Vec<_>, Vec<_>) = left.iter().partition(|place| waits(place));
        ordered.extend(if free.is_empty() { &waiting } else { &free });
        if free.is_empty() || waiting.is_empty() {
            return ordered;
        }
        left = waiting;
    }
}

/// What became of each, in the order given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    pub jobs: Vec<AppliedJob>,
}

/// Exactly one of `added` and `problem` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedJob {
    /// As it was given.
    pub id: String,
    pub added: Option<AppliedTo>,
    pub problem: Option<Problem>,
}

/// The job that a definition was applied to, in short: there may be very many. `GET /api/v1/jobs/{id}` tells the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedTo {
    pub id: JobId,
    /// 1 of a job that was made now, or has never been changed.
    pub revision: u64,
    /// The trigger in words; absent where it cannot be read any more.
    pub trigger_text: Option<String>,
    /// The zone that the trigger's times are meant in.
    pub timezone: String,
    pub next_fire: Option<Timestamp>,
    pub paused: bool,
    /// For people: what clock changes will do, policies that do not go together.
    pub notes: Vec<String>,
}

impl AppliedTo {
    /// `trigger` is `job`'s, where it can be read.
    pub fn new(job: &job::Job, trigger: Option<&Trigger>, notes: Vec<String>) -> Self {
        Self {
            id: job.key.id.clone(),
            revision: job.revision,
            trigger_text: trigger.map(Trigger::describe),
            timezone: trigger.and_then(|trigger| trigger.timezone().iana_name()).unwrap_or("UTC").to_owned(),
            next_fire: job.next_fire,
            paused: job.pause.is_some(),
            notes,
        }
    }

    /// The zone that the trigger's times are meant in, for showing them to people.
    pub fn zone(&self) -> TimeZone {
        crate::trigger::parse_timezone(&self.timezone).unwrap_or(TimeZone::UTC)
    }
}

/// `POST /api/v1/jobs/{id}/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseJob {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The pause ends by itself at this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// `POST /api/v1/jobs/{id}/resume`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResumeJob {
    pub from: ResumeFrom,
}

/// What becomes of the firings that came due during the pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumeFrom {
    /// They are recorded as paused; the job goes on from now.
    #[default]
    Now,
    /// They are treated as after downtime.
    Missed,
}

/// `DELETE /api/v1/jobs/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedJob {
    /// Runs that were cancelled with it.
    pub cancelled: Vec<RunId>,
}
