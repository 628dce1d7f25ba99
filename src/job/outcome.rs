//! How an attempt or a run ended.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Exactly one for every run that ended. The text form is the contract: `out-of-fuel`, `succeeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The entry returned ok, or the exit code was 0.
    Succeeded,
    /// The guest said so: it returned `err`, or exited with another code.
    Failed,
    /// A wasm trap: unreachable, stack overflow, out of bounds.
    Trapped,
    /// The fuel limit fired.
    OutOfFuel,
    /// Growth past the memory or table limit was refused and the guest died of it.
    OutOfMemory,
    /// The wall-time limit fired, perhaps while the guest was blocked in a host call.
    Timeout,
    /// By a user, by `overlap = cancel-running`, or at shutdown after the drain period.
    Cancelled,
    /// Another limit fired; the error's code names it.
    Limit,
    /// The server could not see it through, and no attempt is left: its node died, or its guests held all memory there was.
    Lost,
    /// It could not start: component gone, grant withdrawn, signature no longer fits.
    Refused,
}

impl Outcome {
    pub const ALL: [Self; 10] = [
        Self::Succeeded,
        Self::Failed,
        Self::Trapped,
        Self::OutOfFuel,
        Self::OutOfMemory,
        Self::Timeout,
        Self::Cancelled,
        Self::Limit,
        Self::Lost,
        Self::Refused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Trapped => "trapped",
            Self::OutOfFuel => "out-of-fuel",
            Self::OutOfMemory => "out-of-memory",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Limit => "limit",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == name)
    }

    /// The exit code of a command that waited for this outcome.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed | Self::Trapped => 20,
            Self::OutOfFuel => 21,
            Self::OutOfMemory => 22,
            Self::Timeout => 23,
            Self::Cancelled => 24,
            Self::Limit => 25,
            Self::Lost => 26,
            Self::Refused => 27,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt did not succeed. Text from a guest has its control characters escaped before it gets here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// Stable, for programs: `out-of-fuel`, `exit-code`, `trap`, `limit-result`, `component-gone` …
    pub code: String,
    /// One sentence for people; names the limit that fired and its value.
    pub message: String,
    /// The trap's name, such as `unreachable`.
    #[serde(default)]
    pub trap: Option<String>,
    /// Innermost frame first, at most 10 frames.
    #[serde(default)]
    pub backtrace: Option<Vec<String>>,
    /// Of the limit that fired, what the guest asked for, in the limit's unit, where that is known: no less would have been enough.
    #[serde(default)]
    pub asked: Option<NonZeroU64>,
    /// What that limit was: fuel in its own units, times in microseconds, sizes in bytes.
    #[serde(default)]
    pub allowed: Option<NonZeroU64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_the_serde_form() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(Outcome::from_name(outcome.as_str()), Some(outcome));
        }
    }
}
