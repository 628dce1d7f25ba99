//! What went wrong, as RFC 9457 has it.

use serde::{Deserialize, Serialize};

use super::Span;

/// The body of every answer that is not a success, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:bellcage:problem:CODE`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What failed, with the name that was given; for people.
    pub detail: String,
    /// Stable, for programs; the same as on the command line.
    pub code: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The place in an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Problem {
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let type_uri = format!("urn:bellcage:problem:{code}");
        Self { type_uri, title: code.replace('-', " "), status, detail: detail.into(), code: code.to_owned(), hint: None, span: None }
    }
}
