//! Why a request did not succeed.

use crate::wire::{Problem, Span};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's own answer.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    #[error("no server answers at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    /// It was reached, and the connection ended before the answer did: whether the request was carried out is not known.
    #[error("the connection to {server} broke: {reason}")]
    Broken { server: String, reason: String },
    #[error("{server} did not answer in time ({limit})")]
    Timeout { server: String, limit: String },
    #[error("{typed:?} is not a server's address: {reason}")]
    Address { typed: String, reason: String },
    #[error("the token is empty or holds characters that no token has")]
    Token,
    /// Something else than bellcage, or a version that is too different.
    #[error("{server} does not speak as a bellcage server: it sent {detail}")]
    Protocol { server: String, detail: String },
    #[error("the answer of {server} is larger than {cap} bytes")]
    TooLarge { server: String, cap: u64 },
}

/// The coarse kind: decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientErrorKind {
    /// What was asked for is wrong.
    Invalid,
    NotFound,
    Conflict,
    /// No token, a wrong one, or one that may not do this.
    Denied,
    Unreachable,
    /// The server, or the talk with it, failed.
    Failed,
}

impl ClientError {
    pub fn kind(&self) -> ClientErrorKind {
        match self {
            Self::Problem(problem) => match problem.status {
                401 | 403 => ClientErrorKind::Denied,
                404 => ClientErrorKind::NotFound,
                409 | 412 => ClientErrorKind::Conflict,
                400..=499 if !matches!(problem.status, 408 | 429) => ClientErrorKind::Invalid,
                _ => ClientErrorKind::Failed,
            },
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Timeout { .. } => ClientErrorKind::Unreachable,
            Self::Address { .. } | Self::Token => ClientErrorKind::Invalid,
            Self::Protocol { .. } | Self::TooLarge { .. } => ClientErrorKind::Failed,
        }
    }

    /// Stable, for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            Self::Unreachable { .. } => "server-unreachable",
            Self::Broken { .. } => "connection-broken",
            Self::Timeout { .. } => "server-timeout",
            Self::Address { .. } => "bad-server-address",
            Self::Token => "bad-token",
            Self::Protocol { .. } => "not-a-bellcage-server",
            Self::TooLarge { .. } => "answer-too-large",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.hint.as_deref(),
            Self::Unreachable { .. } => Some("start one with bellcage dev or bellcage serve, or name another with --server"),
            Self::Broken { .. } => Some("see whether it was carried out before you repeat it"),
            Self::Timeout { .. } => Some("see whether the server is overloaded: its /metrics and its log"),
            Self::Address { .. } => Some("write it as http://127.0.0.1:7878"),
            Self::Token => Some("copy the token as it stands in the server's data directory, in the file token"),
            Self::Protocol { .. } => Some("see what listens at this address, and name the right one with --server"),
            Self::TooLarge { .. } => Some("ask for less, with a smaller limit"),
        }
    }

    /// The place in an expression that the caller gave.
    pub fn span(&self) -> Option<&Span> {
        match self {
            Self::Problem(problem) => problem.span.as_ref(),
            _ => None,
        }
    }

    pub(super) fn transport(server: &str, error: ureq::Error) -> Self {
        use std::io::ErrorKind;
        use ureq::{Error, Timeout};
        let server = server.to_owned();
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => Self::Unreachable { server, reason: "it did not accept a connection in time".to_owned() },
            Error::Timeout(limit) => Self::Timeout { server, limit: limit.to_string() },
            Error::HostNotFound => Self::Unreachable { server, reason: "the host's name is not known".to_owned() },
            Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Self::Unreachable { server, reason: "connection refused".to_owned() },
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                    Self::Broken { server, reason: error.to_string() }
                }
                _ => Self::Unreachable { server, reason: error.to_string() },
            },
            Error::ConnectionFailed => Self::Unreachable { server, reason: "no connection could be made".to_owned() },
            Error::BodyExceedsLimit(cap) => Self::TooLarge { server, cap },
            other @ (Error::Tls(_) | Error::Rustls(_) | Error::InvalidProxyUrl | Error::ConnectProxyFailed(_)) => {
                Self::Unreachable { server, reason: other.to_string() }
            }
            other => Self::Protocol { server, detail: format!("what HTTP does not allow ({other})") },
        }
    }
}
