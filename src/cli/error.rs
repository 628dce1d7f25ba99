//! What a command ends with: an exit code, or an error that is printed as `error[code]:`, the place with carets, `hint:`.

use std::borrow::Cow;
use std::fmt;

use serde_json::json;

use crate::component::ComponentError;
use crate::config::ConfigError;
use crate::job::{IdError, LimitError, Outcome, ReferenceError, SpecError};
use crate::trigger::{Span, TriggerError};

use super::output::{Style, escape};

/// A process's exit code. The numbers are a contract for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    pub const OK: Self = Self(0);
    pub const FAILED: Self = Self(1);
    pub const USAGE: Self = Self(2);
    pub const NOT_FOUND: Self = Self(3);
    pub const CONFLICT: Self = Self(4);
    pub const DENIED: Self = Self(5);
    pub const UNREACHABLE: Self = Self(6);

    /// Of a command that waited for a run.
    pub fn of_outcome(outcome: Outcome) -> Self {
        Self(outcome.exit_code())
    }
}

/// Why a command failed, for people and for programs.
#[derive(Debug)]
pub struct CliError {
    /// Stable; every one is in the table of `explain error`.
    pub code: Cow<'static, str>,
    pub message: String,
    pub hint: Option<String>,
    /// The place in what was typed.
    pub span: Option<Span>,
    pub exit: Exit,
}

pub type Result<T = Exit> = std::result::Result<T, CliError>;

impl CliError {
    pub fn new(exit: Exit, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None, span: None, exit }
    }

    /// The command line, or a value on it, is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, "usage", message)
    }

    /// A file cannot be read or written, or is not there.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NOT_FOUND } else { Exit::FAILED };
        Self::new(exit, "file", format!("{}: {}", path.display(), plain(error)))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// What stands on stderr. Everything that may hold a user's or a guest's text is escaped.
    pub fn render(&self, style: Style) -> String {
        // What clap says of a command line has no code either.
        let code = if self.code == "usage" { String::new() } else { format!("[{}]", self.code) };
        let mut text = format!("{} {}\n", style.red(&format!("error{code}:")), escape(&self.message));
        if let Some(span) = &self.span {
            for line in span.caret().lines() {
                text.push_str(&format!("  {}\n", escape(line)));
            }
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("{} {}\n", style.cyan("hint:"), escape(hint)));
        }
        text
    }

    pub fn to_json(&self) -> serde_json::Value {
        let span = self.span.as_ref().map(|s| json!({ "source": s.source, "start": s.start, "end": s.end }));
        json!({ "error": { "code": self.code, "message": self.message, "hint": self.hint, "span": span } })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The error without the number that the operating system gives it.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

impl From<TriggerError> for CliError {
    fn from(e: TriggerError) -> Self {
        Self { code: e.code.into(), message: e.message, hint: e.hint, span: e.span, exit: Exit::USAGE }
    }
}

impl From<IdError> for CliError {
    fn from(e: IdError) -> Self {
        let hint = match &e {
            IdError::Name { typed, .. } => valid_name(typed).map(|name| format!("for example {name}")),
            IdError::SecretName { .. } => Some("for example API_KEY".to_owned()),
            IdError::Digest { .. } | IdError::Key { .. } => None,
            IdError::Run { .. } => Some("see the ids of runs with: bellcage runs list".to_owned()),
        };
        Self::new(Exit::USAGE, "bad-id", e.to_string()).maybe_hint(hint)
    }
}

/// The valid name that is most like what was typed.
fn valid_name(typed: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let name: String = typed.to_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let name: String = name.trim_matches(['.', '_', '-']).chars().take(100).collect();
    (!name.is_empty()).then_some(name)
}

impl From<ReferenceError> for CliError {
    fn from(e: ReferenceError) -> Self {
        Self::new(Exit::USAGE, "bad-reference", e.to_string())
            .hint("a reference is name, name@version or name@sha256:…, each with :entry where the entry is not main")
    }
}

impl From<SpecError> for CliError {
    fn from(e: SpecError) -> Self {
        match e {
            SpecError::Trigger(e) => e.into(),
            e => Self::new(Exit::USAGE, "bad-job", e.to_string()).maybe_hint(e.hint()),
        }
    }
}

impl From<LimitError> for CliError {
    fn from(e: LimitError) -> Self {
        Self::new(Exit::USAGE, "bad-limit", e.to_string()).hint("see the caps with: bellcage config show, and bellcage doctor")
    }
}

impl From<ConfigError> for CliError {
    fn from(e: ConfigError) -> Self {
        Self::new(Exit::USAGE, e.code(), e.to_string()).maybe_hint(e.hint())
    }
}

impl From<ComponentError> for CliError {
    fn from(e: ComponentError) -> Self {
        let exit = if e.is_ours() { Exit::FAILED } else { Exit::USAGE };
        Self::new(exit, e.code(), e.to_string()).maybe_hint(e.hint())
    }
}
