//! Who asks: the token, and the checks that keep web pages of others out.
//!
//! A browser on the same machine can reach a loopback server, whatever page it shows. Two checks stop such pages: the
//! `Host` must be one of this server's names (a name of theirs that was made to resolve to 127.0.0.1 is not), and an
//! `Origin`, which browsers always send with a cross-origin request that changes something, must be the server itself.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use sha2::{Digest, Sha256};

use super::App;
use super::error::ApiError;
use crate::job::TenantId;

/// The SHA-256 of a token: what is compared, so that neither contents nor length show in the time it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn same(&self, other: &Self) -> bool {
        // Every byte is looked at.
        self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Who asks, once that is known. Handlers take the tenant from here and from nowhere else.
#[derive(Clone)]
pub(super) struct Identity {
    pub tenant: TenantId,
    /// Whose requests an idempotency key is one of.
    pub token: Option<TokenHash>,
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The gate puts it there for every route that needs one.
        parts.extensions.get().cloned().ok_or(ApiError::TokenMissing)
    }
}

impl App {
    /// The identity that the request's token stands for.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Identity, ApiError> {
        let tenant = TenantId::default();
        let Some(expected) = self.token else { return Ok(Identity { tenant, token: None }) };
        let given = headers.get(AUTHORIZATION).ok_or(ApiError::TokenMissing)?;
        let given = given.to_str().map_err(|_| ApiError::TokenWrong)?;
        let token = match given.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => TokenHash::of(token.trim()),
            _ => return Err(ApiError::TokenMissing),
        };
        if token.same(&expected) { Ok(Identity { tenant, token: Some(token) }) } else { Err(ApiError::TokenWrong) }
    }

    /// Refuses a request that names another host, or that a page of another origin sent.
    pub(super) fn check_source(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = named_host(uri, headers)?;
        if !self.answers_to(name_of(&host)) {
            return Err(ApiError::Host { host });
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let same = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(&host));
        if same { Ok(()) } else { Err(ApiError::Origin { origin }) }
    }

    fn answers_to(&self, name: &str) -> bool {
        if self.config.hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) {
            return true;
        }
        match self.address.ip().is_loopback() {
            true => name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            // A public server has names that it cannot know, and a token.
            false => self.config.hosts.is_empty() || name.parse::<std::net::IpAddr>().is_ok(),
        }
    }
}

/// The authority that the request is for, as it was sent: from an absolute URI, else from the one `Host` header.
fn named_host(uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(ApiError::Header { name: "host", detail: "it was given twice".to_owned() });
    }
    match (uri.authority(), first) {
        (Some(authority), _) => Ok(authority.as_str().to_owned()),
        (None, Some(host)) => Ok(String::from_utf8_lossy(host.as_bytes()).into_owned()),
        (None, None) => Err(ApiError::Header { name: "host", detail: "it is missing".to_owned() }),
    }
}

/// `localhost` of `localhost:7878`, `::1` of `[::1]:7878`.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_without_its_port() {
        for (host, name) in [("localhost:7878", "localhost"), ("127.0.0.1", "127.0.0.1"), ("[::1]:7878", "::1"), ("[::1]", "::1"), ("", "")] {
            assert_eq!(name_of(host), name, "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        let token = TokenHash::of("0123456789abcdef");
        assert!(token.same(&TokenHash::of("0123456789abcdef")));
        assert!(!token.same(&TokenHash::of("0123456789abcdee")));
        assert!(!token.same(&TokenHash::of("")));
    }
}
