//! Path and query parameters, read once, here. A query parameter that a route does not take is refused by name.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use jiff::Timestamp;

use super::error::{ApiError, bad_expression, bad_id};
use crate::job::IdError;
use crate::scheduler::PageRequest;
use crate::wire;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// The path's one id.
pub(super) struct Id<T>(pub T);

impl<S: Sync + Send, T: FromStr<Err = IdError>> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::PathText)?;
        let typed = params.iter().next().map_or("", |(_, value)| value);
        typed.parse().map(Self).map_err(bad_id)
    }
}

/// Query parameters that wait to be taken; `finish` refuses what is left.
pub(super) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Sync + Send> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(left) = Query::from_request_parts(parts, state).await.map_err(|error| ApiError::Query { detail: error.body_text() })?;
        Ok(Self { left, known: Vec::new() })
    }
}

impl Params {
    /// A parameter that may be given once.
    pub fn take(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut values = self.take_all(name);
        let first = values.pop();
        if values.is_empty() { Ok(first) } else { Err(ApiError::RepeatedParameter { name: name.to_owned() }) }
    }

    /// A parameter that may be given many times.
    pub fn take_all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.left.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// One of a fixed set of words.
    pub fn word<T>(&mut self, name: &'static str, from_name: impl Fn(&str) -> Option<T>, words: &str) -> Result<Option<T>, ApiError> {
        let Some(typed) = self.take(name)? else { return Ok(None) };
        match from_name(&typed) {
            Some(value) => Ok(Some(value)),
            None => Err(refuse(name, &typed, format!("use one of {words}"))),
        }
    }

    pub fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        let flag = |typed: &str| typed.parse::<bool>().ok();
        Ok(self.word(name, flag, "true, false")?.unwrap_or(false))
    }

    pub fn number(&mut self, name: &'static str, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(typed) = self.take(name)? else { return Ok(None) };
        match typed.parse() {
            Ok(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ => Err(refuse(name, &typed, format!("use a number from 1 to {most}"))),
        }
    }

    pub fn id<T: FromStr<Err = IdError>>(&mut self, name: &'static str) -> Result<Option<T>, ApiError> {
        self.take(name)?.map(|typed| typed.parse().map_err(bad_id)).transpose()
    }

    pub fn instant(&mut self, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
        self.take(name)?.map(|typed| wire::parse_instant(&typed, None).map_err(bad_expression)).transpose()
    }

    pub fn duration(&mut self, name: &'static str) -> Result<Option<std::time::Duration>, ApiError> {
        let Some(typed) = self.take(name)? else { return Ok(None) };
        let duration = wire::parse_duration(&typed).map_err(bad_expression)?;
        Ok(Some(duration.try_into().unwrap_or_default()))
    }

    /// `limit` and `after`, and nothing else any more.
    pub fn page(mut self) -> Result<PageRequest, ApiError> {
        let limit = self.number("limit", PAGE_MAX as u64)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE_DEFAULT);
        let after = self.take("after")?;
        self.finish()?;
        Ok(PageRequest { after, limit })
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.left.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::UnknownParameter { name: name.chars().take(60).collect(), known: self.known.join(", ") }),
        }
    }
}

pub(super) fn refuse(name: &'static str, typed: &str, want: impl Into<String>) -> ApiError {
    ApiError::Parameter { name, typed: typed.chars().take(120).collect(), want: want.into() }
}
