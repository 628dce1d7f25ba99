//! Why a trigger was refused, and where in what was typed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `Display` is the message alone; `caret` draws the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerError {
    /// Stable, for programs: `bad-cron`, `bad-duration`, `bad-instant`, `unknown-timezone`, `bad-trigger`, `never-fires`.
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub span: Option<Span>,
}

/// A place in an expression: bytes `start..end` of `source`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub source: String,
    pub start: usize,
    pub end: usize,
}

impl TriggerError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, span: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn at(mut self, source: &str, start: usize, end: usize) -> Self {
        // What is missing is missing at the end.
        let (start, end) = (start.min(source.len()), end.min(source.len()));
        // What is drawn stays on one short line, whatever was typed.
        if source.len() <= 200 && !source.contains(char::is_control) {
            self.span = Some(Span { source: source.to_owned(), start, end });
        }
        self
    }
}

impl Span {
    /// Two lines: the expression, and carets under the place.
    pub fn caret(&self) -> String {
        let width = |to: usize| self.source.get(..to).unwrap_or(&self.source).chars().count();
        let (start, end) = (width(self.start), width(self.end));
        format!("{}\n{}{}", self.source, " ".repeat(start), "^".repeat(end.saturating_sub(start).max(1)))
    }
}

impl fmt::Display for TriggerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TriggerError {}
