//! The scheduler's nouns as plain data: jobs, runs, attempts, policies, limits, grants, outcomes, receipts.
//!
//! Everything here is a value: serialisable, comparable, free of I/O, of clocks and of decisions. What a
//! job *should do next* is decided in `plan`; what these values look like to a user (TOML, JSON) is decided
//! here, by their serde forms, which are a public contract.

mod address;
mod after;
pub mod bytes;
mod directory;
pub mod duration;
mod enough;
mod grants;
mod id;
mod limits;
mod origin;
mod outcome;
mod policy;
mod receipt;
mod reference;
mod run;
mod secret;
mod spec;
mod stdio;

pub use address::is_public;
pub use after::{After, UpstreamEnd};
pub use directory::{DirectoryError, DirectoryGrant};
pub use enough::Enough;
pub use grants::{GrantError, GrantKind, Grants};
pub use id::{CalendarName, ComponentName, Digest, DirectoryName, IdError, JobId, JobKey, RunId, RunKey, TenantId};
pub use limits::{CapOwner, LimitCaps, LimitError, LimitName, Limits, LimitsSpec};
pub use origin::{Host, Origin, OriginError, OriginHost, Scheme, Target};
pub use outcome::{Outcome, RunError};
pub use policy::{Backoff, Coalesce, Isolation, Overlap, RateLimit, Retry, RetryAdvice};
pub use receipt::{HostCalls, Receipt};
pub use reference::{Entry, Reference, ReferenceError, Version};
pub use run::{Attempt, AttemptLog, Cause, Progress, Run, RunResult, RunState, SkipReason, Skipped};
pub use secret::{SecretName, SecretText};
pub use spec::{Job, JobSpec, JobState, Pause, SpecError};
pub use stdio::{Stdin, Stdout};
