//! What a caller of the scheduler can get wrong, with a stable code and what to do next.

use super::{BrokenJob, DirectoryRefusal};
use crate::component::{ArgError, ComponentError, EntryError};
use crate::job::{ComponentName, GrantError, GrantKind, IdError, JobId, LimitError, ReferenceError, SecretName, SpecError, Version};
use crate::store::StoreError;
use crate::trigger::TriggerError;

/// The coarse kind: decides an HTTP status and a command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's input is wrong.
    Invalid,
    NotFound,
    Conflict,
    /// The store or the server cannot do it now.
    Unavailable,
    /// A fault of ours or of the machine.
    Internal,
}

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    #[error(transparent)]
    Spec(SpecError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Directory(#[from] DirectoryRefusal),
    #[error("component {:?} is not uploaded", .0.as_str())]
    ComponentNotUploaded(ComponentName),
    #[error("component {:?} has no version {}", .name.as_str(), version_text(.version))]
    NoSuchVersion { name: ComponentName, version: Version },
    #[error("component {component:?} {error}")]
    Entry { component: String, error: EntryError },
    /// Arguments that an entry does not take.
    #[error("{error}")]
    Args { entry: String, signature: String, error: Box<ArgError> },
    /// A new version that these jobs could not run.
    #[error("this version of component {:?} would break {}", .component.as_str(), broken_text(.jobs))]
    BreaksJobs { component: ComponentName, jobs: Vec<BrokenJob> },
    /// A new version is held until somebody approves of what it asks for.
    #[error("this version of component {:?} asks for more than version {version} did: {}", .component.as_str(), GrantKind::list(.grants))]
    AsksForMore { component: ComponentName, version: u32, grants: Vec<GrantKind> },
    #[error("the trigger fires every {every}, more often than this server's minimum of {min}")]
    TooOften { every: String, min: String },
    #[error("the trigger has ended: every instant it names is in the past")]
    Ended,
    #[error("{from} to {to} is not a period that is past")]
    BackfillPeriod { from: jiff::Timestamp, to: jiff::Timestamp },
    #[error("the trigger named {}{count} instants in this period, more than the limit of {limit}", if *exact { "" } else { "at least " })]
    BackfillTooLarge { count: u64, exact: bool, limit: u64 },
    #[error("{field} of a backfill = {asked} is not between 1 and {cap}")]
    BackfillBound { field: &'static str, asked: u64, cap: u64 },
    #[error("a run cannot be asked for at {at}, which is past")]
    PastStart { at: jiff::Timestamp },
    #[error("job {:?} cannot follow job {:?}, which does not exist", .job.as_str(), .upstream.as_str())]
    NoUpstream { job: JobId, upstream: JobId },
    /// In the order in which they would run.
    #[error("these jobs would follow each other for ever: {}", path.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" → "))]
    Cycle { path: Vec<JobId> },
    #[error("job {:?} follows more than {cap} jobs, those that they follow included", .job.as_str())]
    TooManyUpstream { job: JobId, cap: usize },
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Of a job that needs them (`JobSpec::is_alone`).
    #[error("this server gives no attempt a process of its own, which isolation = \"process-per-run\" and directories need")]
    NoProcesses,
    #[error("the scheduler is shutting down")]
    ShuttingDown,
}

/// What is wrong with a secret. Never says its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("this server has no key for secrets")]
    NoKey,
    #[error("there is no secret {:?}", .name.as_str())]
    Missing { name: SecretName },
    #[error("the value of secret {:?} {why}", .name.as_str())]
    Value { name: SecretName, why: String },
    #[error("there are {cap} secrets already, the most that are kept")]
    TooMany { cap: u64 },
    #[error("secret {:?} was stored under another key than this server has", .name.as_str())]
    OtherKey { name: SecretName },
    #[error("what is stored of secret {:?} is damaged", .name.as_str())]
    Damaged { name: SecretName },
}

impl SecretError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "no-secrets-key",
            Self::Missing { .. } => "no-such-secret",
            Self::Value { .. } => "bad-secret",
            Self::TooMany { .. } => "too-many-secrets",
            Self::OtherKey { .. } => "secrets-key-differs",
            Self::Damaged { .. } => "secret-damaged",
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Value { .. } => ErrorKind::Invalid,
            // No fault that only the log may name: what is stored is at odds with what is asked.
            Self::TooMany { .. } | Self::OtherKey { .. } | Self::Damaged { .. } => ErrorKind::Conflict,
            Self::NoKey => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { name } => Some(format!("store it first: bellcage secret set {name} (the value is read from standard input)")),
            Self::NoKey => Some("give it one: secrets.key_file, or BELLCAGE_SECRETS_KEY".to_owned()),
            Self::TooMany { .. } => Some("remove one: bellcage secret rm NAME".to_owned()),
            Self::OtherKey { name } | Self::Damaged { name } => {
                Some(format!("start the server with the key that it was stored under, or store it again: bellcage secret set {name}"))
            }
            Self::Value { .. } => Some("a value is 1 byte to 64 KiB of text; what is no text can be encoded".to_owned()),
        }
    }
}

/// A message names so many.
const BROKEN_SHOWN_MAX: usize = 5;

fn broken_text(jobs: &[BrokenJob]) -> String {
    let shown: Vec<_> = jobs.iter().take(BROKEN_SHOWN_MAX).map(|BrokenJob { job, why }| format!("{job} ({why})")).collect();
    let more = jobs.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} {}: {}{more}", jobs.len(), if jobs.len() == 1 { "job" } else { "jobs" }, shown.join(", "))
}

fn version_text(version: &Version) -> String {
    match version {
        Version::Newest => "newest".to_owned(),
        Version::Number(n) => n.to_string(),
        Version::Digest(d) => d.to_string(),
    }
}

impl From<SpecError> for SchedulerError {
    fn from(e: SpecError) -> Self {
        match e {
            SpecError::Trigger(e) => Self::Trigger(e),
            e => Self::Spec(e),
        }
    }
}

impl SchedulerError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(e) => match e {
                StoreError::NotFound { .. } => ErrorKind::NotFound,
                StoreError::JobExists(_) | StoreError::Conflict(_) | StoreError::InUse { .. } | StoreError::CalendarInUse { .. } => ErrorKind::Conflict,
                StoreError::Cursor { .. } | StoreError::KeyValue(_) => ErrorKind::Invalid,
                StoreError::Full | StoreError::ReadOnly { .. } | StoreError::Closed | StoreError::Locked { .. } => ErrorKind::Unavailable,
                StoreError::Newer { .. } | StoreError::Corrupt { .. } | StoreError::Refused(_) | StoreError::Backend(_) => ErrorKind::Internal,
            },
            Self::ComponentNotUploaded(_) | Self::NoSuchVersion { .. } => ErrorKind::NotFound,
            Self::BreaksJobs { .. } | Self::AsksForMore { .. } => ErrorKind::Conflict,
            Self::Secret(e) => e.kind(),
            Self::ShuttingDown => ErrorKind::Unavailable,
            Self::Component(ComponentError::TooManyWait { .. }) => ErrorKind::Unavailable,
            Self::Component(e) if e.is_ours() => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// Stable, for programs; the same in HTTP problems and on the command line.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(e) => match e {
                StoreError::NotFound { .. } => "not-found",
                StoreError::JobExists(_) => "job-exists",
                StoreError::Conflict(_) => "job-changed",
                StoreError::InUse { .. } => "component-in-use",
                StoreError::CalendarInUse { .. } => "calendar-in-use",
                StoreError::Cursor { .. } => "bad-cursor",
                StoreError::KeyValue(_) => "key-value-refused",
                StoreError::Locked { .. } => "store-locked",
                StoreError::Newer { .. } => "store-newer",
                StoreError::Corrupt { .. } => "store-corrupt",
                StoreError::ReadOnly { .. } => "store-read-only",
                StoreError::Full => "disk-full",
                StoreError::Closed => "store-closed",
                StoreError::Refused(_) | StoreError::Backend(_) => "store-failed",
            },
            Self::Component(e) => e.code(),
            Self::Secret(e) => e.code(),
            Self::Directory(e) => e.code(),
            Self::Trigger(e) => e.code,
            Self::Spec(_) => "bad-job",
            Self::Limit(_) => "bad-limit",
            Self::Grant(e) => e.code(),
            Self::Id(_) => "bad-id",
            Self::Reference(_) => "bad-reference",
            Self::ComponentNotUploaded(_) => "component-not-uploaded",
            Self::NoSuchVersion { .. } => "no-such-version",
            Self::Entry { error, .. } => error.code(),
            Self::Args { .. } => "bad-args",
            Self::BreaksJobs { .. } => "breaks-jobs",
            Self::AsksForMore { .. } => "asks-for-more",
            Self::TooOften { .. } => "too-often",
            Self::Ended => "trigger-ended",
            Self::PastStart { .. } => "past-start",
            Self::BackfillPeriod { .. } | Self::BackfillBound { .. } => "bad-backfill",
            Self::BackfillTooLarge { .. } => "backfill-too-large",
            Self::NoUpstream { .. } => "no-upstream",
            Self::Cycle { .. } => "job-cycle",
            Self::TooManyUpstream { .. } => "too-many-upstream",
            Self::NoProcesses => "isolation-not-offered",
            Self::ShuttingDown => "shutting-down",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(StoreError::NotFound { .. }) => Some(
                "see what there is: bellcage job list, bellcage runs list, bellcage component list, bellcage calendar list, bellcage secret list".to_owned(),
            ),
            Self::Store(StoreError::JobExists(_)) => Some("replace it with --on-conflict replace, or keep it with --on-conflict keep".to_owned()),
            Self::Store(StoreError::Conflict(_)) => Some("read the job again and repeat the change".to_owned()),
            Self::Store(StoreError::CalendarInUse { .. }) => {
                Some("change these jobs first, or give it an empty definition: bellcage calendar set NAME".to_owned())
            }
            Self::Store(StoreError::InUse { .. }) => Some("remove these jobs first: bellcage job rm JOB".to_owned()),
            Self::Store(StoreError::Cursor { .. }) => Some("leave the cursor out to begin at the first page".to_owned()),
            Self::Component(e) => e.hint(),
            Self::Secret(e) => e.hint(),
            Self::Directory(e) => Some(e.hint()),
            Self::NoProcesses => Some("leave isolation and directories out, or run the server with executor.kind = \"workers\"".to_owned()),
            Self::Trigger(e) => e.hint.clone(),
            Self::ComponentNotUploaded(name) => Some(format!("bellcage component push {name}.wasm")),
            Self::NoSuchVersion { name, .. } => Some(format!("see its versions: bellcage component show {name}")),
            Self::Entry { error, .. } => Some(error.hint()),
            Self::Args { entry, signature, .. } => Some(format!("{entry} is {signature}")),
            Self::BreaksJobs { .. } => Some("change these jobs first, or push it by force: they will then be refused as they fire".to_owned()),
            Self::AsksForMore { .. } => {
                Some("where that is as it should be, push it with --approve-grants; jobs get nothing but what they were granted".to_owned())
            }
            Self::Spec(e) => e.hint(),
            Self::TooOften { min, .. } => Some(format!("take {min} or longer; the minimum is scheduler.every_min of the configuration")),
            Self::Ended => Some("give it an instant to come, or run the job on demand: a manual trigger and bellcage trigger JOB".to_owned()),
            Self::BackfillPeriod { .. } => Some("let it begin before it ends, and end before now; without an end it is up to now".to_owned()),
            Self::BackfillTooLarge { .. } => Some("take a shorter period, or raise the limit".to_owned()),
            Self::PastStart { .. } => Some("leave the time out to run it now".to_owned()),
            Self::NoUpstream { upstream, .. } => Some(format!("add it first: bellcage job add {upstream}")),
            Self::Cycle { .. } => Some("let one of them follow no other: give it a trigger of time, or manual".to_owned()),
            Self::Limit(_) => Some("see the caps with: bellcage config show, and bellcage doctor".to_owned()),
            Self::Grant(e) => Some(e.hint().to_owned()),
            _ => None,
        }
    }
}
