//! What an attempt knows and may tell its host.
use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::bindings::bellcage::job::{cancellation, checkpoint, logging, progress, types};
use crate::Failure;

pub use crate::bindings::bellcage::job::logging::Level;

/// Which attempt of which run this is, and the way to the host: log, progress, checkpoint, cancellation.
#[derive(Clone, Debug)]
pub struct Context {
    inner: types::Context,
}

/// Why a checkpoint was not saved; what had been saved before is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveError {
    /// More bytes than a checkpoint may have.
    TooLarge { bytes: u64, bytes_max: u64 },
    /// The value has no JSON form (a map whose keys are not strings, say).
    NotJson(String),
    /// The host could not take it.
    Unavailable(String),
}

impl Context {
    pub(crate) fn new(inner: types::Context) -> Self {
        Self { inner }
    }

    /// The job's id.
    pub fn job(&self) -> &str {
        &self.inner.job
    }

    /// The run's id: the same for all its attempts, never used again. A good idempotency key.
    pub fn run(&self) -> &str {
        &self.inner.run
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// When the run was due, in RFC 3339, in the time zone of the job's trigger.
    pub fn scheduled_at(&self) -> &str {
        &self.inner.scheduled_at
    }

    /// The local date on which the run was due, as `2026-03-29`.
    pub fn scheduled_date(&self) -> &str {
        self.inner.scheduled_at.get(..10).unwrap_or(&self.inner.scheduled_at)
    }

    /// When the run was due, as an instant.
    pub fn scheduled_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.inner.scheduled_at_ms)
    }

    /// How long this attempt may still take; zero past its deadline.
    pub fn time_left(&self) -> Duration {
        let deadline = UNIX_EPOCH + Duration::from_millis(self.inner.deadline_ms);
        deadline.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Adds a message to the run's log. `context` is free (a module's or a step's name); it may be empty.
    pub fn log(&self, level: Level, context: &str, message: impl Display) {
        logging::log(level, context, &message.to_string());
    }

    pub fn debug(&self, message: impl Display) {
        self.log(Level::Debug, "", message);
    }

    pub fn info(&self, message: impl Display) {
        self.log(Level::Info, "", message);
    }

    pub fn warn(&self, message: impl Display) {
        self.log(Level::Warn, "", message);
    }

    pub fn error(&self, message: impl Display) {
        self.log(Level::Error, "", message);
    }

    /// Says how far the attempt is: `done` of `total`, and one line about it. With a total of 0 only the line is told.
    pub fn progress(&self, done: usize, total: usize, message: impl Display) {
        let fraction = (total > 0).then(|| done as f64 / total as f64);
        progress::report(fraction, &message.to_string());
    }

    /// Whether the attempt should stop: save a checkpoint and return. Whoever asks gets up to two seconds for that.
    pub fn is_cancelled(&self) -> bool {
        cancellation::is_cancelled()
    }

    /// Keeps `value` for the run's later attempts, in place of what was kept.
    pub fn save(&self, value: &impl Serialize) -> Result<(), SaveError> {
        let bytes = serde_json::to_vec(value).map_err(|error| SaveError::NotJson(error.to_string()))?;
        checkpoint::save(&bytes).map_err(|error| match error {
            checkpoint::Error::TooLarge(bytes_max) => SaveError::TooLarge { bytes: bytes.len() as u64, bytes_max },
            checkpoint::Error::Unavailable(why) => SaveError::Unavailable(why),
        })
    }

    /// What was last kept in this run, by this attempt or an earlier one. A checkpoint of another form is a permanent failure.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let Some(bytes) = checkpoint::load() else { return Ok(None) };
        let value = serde_json::from_slice(&bytes).map_err(|error| Failure::permanent(format!("the checkpoint cannot be read: {error}")))?;
        Ok(Some(value))
    }
}

impl std::fmt::Display for SaveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { bytes, bytes_max } => write!(f, "a checkpoint of {bytes} bytes is over the limit of {bytes_max}"),
            Self::NotJson(why) => write!(f, "the checkpoint has no JSON form: {why}"),
            Self::Unavailable(why) => write!(f, "the checkpoint could not be saved: {why}"),
        }
    }
}

impl std::error::Error for SaveError {}
