//! How an attempt fails, and its advice on trying again.
use std::fmt::Display;
use std::time::Duration;

use crate::bindings::bellcage::job::types;

/// Why the attempt failed. Every error converts into one with `?`, as [`Failure::new`] does.
///
/// It is not itself a [`std::error::Error`]: that is what lets `?` convert all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    retry: Retry,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// The job's retry policy decides.
    #[default]
    AsPolicy,
    /// Another attempt, within `retry.max_attempts`, but not before this time has passed. More than a day counts as a day.
    After(Duration),
    /// No other attempt, whatever the policy says.
    Never,
}

impl Failure {
    /// The job's retry policy decides whether and when there is another attempt. The message is shown to people.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), retry: Retry::AsPolicy }
    }

    /// It will always fail on this input: no other attempt.
    pub fn permanent(message: impl Display) -> Self {
        Self { message: message.to_string(), retry: Retry::Never }
    }

    /// It will succeed later: another attempt, not before `wait` has passed.
    pub fn retry_after(wait: Duration, message: impl Display) -> Self {
        Self { message: message.to_string(), retry: Retry::After(wait) }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn retry(&self) -> Retry {
        self.retry
    }

    pub(crate) fn into_wit(self) -> types::Failure {
        let message = self.message;
        match self.retry {
            Retry::AsPolicy => types::Failure::Failed(message),
            Retry::Never => types::Failure::Permanent(message),
            Retry::After(wait) => {
                let after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                types::Failure::RetryAfter(types::Delay { message, after_ms })
            }
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The message is the error's, followed by its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::new(message)
    }
}
