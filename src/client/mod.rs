//! The HTTP client: a method for each verb of the API, blocking, for the command line and for programs without an
//! async runtime.
//!
//! Every request has a time limit and every answer a size cap. A redirect is never followed, so the token goes to the
//! server that was named and nowhere else; a server on this machine is never reached through a proxy.

mod apply;
mod error;
mod events;

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{self, Method, Uri};

pub use error::{ClientError, ClientErrorKind};
pub use events::Events;

use crate::wire::{
    AddJob, AddedJob, Applied, Apply, Backfill, Backfilled, Bulk, BulkDone, Calendar, CalendarList, CalendarName, CancelRun, CancelRuns, CancelledRun,
    CancelledRuns, ComponentDetail, ComponentList, ComponentName, EventQuery, Exclusions, Fires, FiringList, FiringQuery, Health, Job, JobId, JobList,
    JobQuery, JobSpec, LimitBounds, OnConflict, Page, PauseJob, Problem, PushQuery, PushedComponent, PutSecret, RemovedCalendar, RemovedComponent, RemovedJob,
    RemovedSecret, ResumeJob, RunDetail, RunId, RunList, RunLog, RunQuery, RunState, Secret, SecretList, SecretName, SecretText, TriggerRun, TriggeredRun,
};

/// Where a server listens unless it is told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7878";

const CONNECT: Duration = Duration::from_secs(5);
/// A whole request but for those below.
const REQUEST: Duration = Duration::from_secs(30);
/// A push sends up to 32 MiB, and the server compiles before it answers.
const PUSH: Duration = Duration::from_secs(300);
/// How long one request of `wait_run` waits at the server.
const WAIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Speaks to one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    /// `http://host:port`, without a slash at the end.
    server: String,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A request before it is sent.
struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, &'a [u8])>,
    within: Duration,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), headers: Vec::new(), body: None, within: REQUEST }
    }

    fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    fn body(mut self, kind: &'static str, bytes: &'a [u8]) -> Self {
        self.body = Some((kind, bytes));
        self
    }

    fn json(self, bytes: &'a [u8]) -> Self {
        self.body("application/json", bytes)
    }
}

type Answer = http::Response<ureq::Body>;

impl Client {
    /// `server` is `http://host:port`, `https://host`, or `host:port`. Nothing is sent yet.
    pub fn new(server: &str, token: Option<String>) -> Result<Self, ClientError> {
        let refuse = |reason: &str| ClientError::Address { typed: server.chars().take(200).collect(), reason: reason.to_owned() };
        let typed = server.trim();
        let mut full = if typed.contains("://") { typed.to_owned() } else { format!("http://{typed}") };
        if full.ends_with('/') {
            full.pop();
        }
        let uri: Uri = full.parse().map_err(|_| refuse("it is not a URL"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| refuse("it names no host"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refuse("only http and https are spoken"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(refuse("it must be a host and a port alone"));
        }
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ClientError::Token);
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("bellcage/", env!("CARGO_PKG_VERSION")));
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        if host == "localhost" || address.is_ok_and(|ip| ip.is_loopback()) {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().new_agent(), server: full, token })
    }

    /// The server's address, as it is spoken to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether the server lives and its store answers.
    pub fn health(&self) -> Result<Health, ClientError> {
        self.json(Call::new(Method::GET, "/readyz"))
    }

    // Components.

    pub fn push_component(&self, name: &ComponentName, bytes: &[u8], accept: PushQuery) -> Result<PushedComponent, ClientError> {
        // The server is asked first, so that its refusal is read rather than a connection that breaks under the bytes.
        let call = Call::new(Method::PUT, format!("/api/v1/components/{name}")).header("expect", "100-continue").query(accept.query());
        self.json(call.body("application/wasm", bytes).within(PUSH))
    }

    pub fn components(&self, page: &Page) -> Result<ComponentList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/components").query(page.query()))
    }

    /// `version`: a number or a digest; absent: the newest. With `schema`, each entry has its own.
    pub fn component(&self, name: &ComponentName, version: Option<&str>, schema: bool) -> Result<ComponentDetail, ClientError> {
        let version = version.map(|v| ("version", v.to_owned()));
        let schema = schema.then(|| ("schema", "true".to_owned()));
        self.json(Call::new(Method::GET, format!("/api/v1/components/{name}")).query(version.into_iter().chain(schema).collect()))
    }

    /// All versions, or one.
    pub fn remove_component(&self, name: &ComponentName, version: Option<u32>) -> Result<RemovedComponent, ClientError> {
        let version = version.map(|v| ("version", v.to_string()));
        self.json(Call::new(Method::DELETE, format!("/api/v1/components/{name}")).query(version.into_iter().collect()))
    }

    // Calendars.

    pub fn put_calendar(&self, name: &CalendarName, exclusions: &Exclusions) -> Result<Calendar, ClientError> {
        self.json(Call::new(Method::PUT, format!("/api/v1/calendars/{name}")).json(&encode(exclusions)))
    }

    pub fn calendars(&self, page: &Page) -> Result<CalendarList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/calendars").query(page.query()))
    }

    pub fn calendar(&self, name: &CalendarName) -> Result<Calendar, ClientError> {
        self.json(Call::new(Method::GET, format!("/api/v1/calendars/{name}")))
    }

    pub fn remove_calendar(&self, name: &CalendarName) -> Result<RemovedCalendar, ClientError> {
        self.json(Call::new(Method::DELETE, format!("/api/v1/calendars/{name}")))
    }

    // Secrets.

    pub fn put_secret(&self, name: &SecretName, value: SecretText) -> Result<Secret, ClientError> {
        self.json(Call::new(Method::PUT, format!("/api/v1/secrets/{name}")).json(&encode(&PutSecret { value })))
    }

    pub fn secrets(&self, page: &Page) -> Result<SecretList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/secrets").query(page.query()))
    }

    pub fn remove_secret(&self, name: &SecretName) -> Result<RemovedSecret, ClientError> {
        self.json(Call::new(Method::DELETE, format!("/api/v1/secrets/{name}")))
    }

    /// What a job gets, and the most that it may ask for.
    pub fn limits(&self) -> Result<LimitBounds, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/limits"))
    }

    // Jobs.

    pub fn add_job(&self, id: &JobId, spec: &JobSpec, on_conflict: OnConflict) -> Result<AddedJob, ClientError> {
        let body = encode(&AddJob { id: id.clone(), spec: spec.clone() });
        let query = vec![("on_conflict", on_conflict.as_str().to_owned())];
        self.json_once(Call::new(Method::POST, "/api/v1/jobs").query(query).json(&body))
    }

    /// Adds or replaces; with a `revision`, only a job that still has it is replaced.
    pub fn put_job(&self, id: &JobId, spec: &JobSpec, revision: Option<u64>) -> Result<AddedJob, ClientError> {
        let body = encode(spec);
        let mut call = Call::new(Method::PUT, job_path(id)).json(&body);
        if let Some(revision) = revision {
            call = call.header("if-match", format!("\"{revision}\""));
        }
        self.json(call)
    }

    /// At most 1,000 definitions; one that is refused does not undo others.
    pub fn apply(&self, jobs: Vec<AddJob>, on_conflict: OnConflict) -> Result<Applied, ClientError> {
        let body = encode(&Apply { jobs, on_conflict });
        self.json(Call::new(Method::POST, "/api/v1/apply").json(&body))
    }

    /// Any number of definitions, in as many requests as that takes, a few of them at the same time. An error may leave some applied.
    pub fn apply_all(&self, jobs: &[AddJob], on_conflict: OnConflict) -> Result<Applied, ClientError> {
        apply::all(self, jobs, on_conflict)
    }

    pub fn jobs(&self, query: &JobQuery) -> Result<JobList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/jobs").query(query.query()))
    }

    pub fn job(&self, id: &JobId) -> Result<Job, ClientError> {
        self.json(Call::new(Method::GET, job_path(id)))
    }

    /// The first `n` firings (at most 1,000) after an instant; absent: from the server's now on.
    pub fn next_fires(&self, id: &JobId, after: Option<jiff::Timestamp>, n: u32) -> Result<Fires, ClientError> {
        let mut query = vec![("n", n.to_string())];
        query.extend(after.map(|t| ("after", t.to_string())));
        self.json(Call::new(Method::GET, format!("{}/next", job_path(id))).query(query))
    }

    pub fn pause_job(&self, id: &JobId, pause: &PauseJob) -> Result<Job, ClientError> {
        let body = encode(pause);
        self.json(Call::new(Method::POST, format!("{}/pause", job_path(id))).json(&body))
    }

    pub fn resume_job(&self, id: &JobId, resume: ResumeJob) -> Result<Job, ClientError> {
        let body = encode(&resume);
        self.json(Call::new(Method::POST, format!("{}/resume", job_path(id))).json(&body))
    }

    /// Waiting runs are cancelled; running ones finish, or are cancelled too.
    pub fn remove_job(&self, id: &JobId, cancel_running: bool) -> Result<RemovedJob, ClientError> {
        let query = vec![("cancel_running", cancel_running.to_string())];
        self.json(Call::new(Method::DELETE, job_path(id)).query(query))
    }

    // Runs.

    /// Makes a run on demand, or finds the one of its key. Sent again where the connection broke, under one idempotency key: there is one run.
    pub fn trigger(&self, job: &JobId, request: &TriggerRun) -> Result<TriggeredRun, ClientError> {
        let body = encode(request);
        self.json_once(Call::new(Method::POST, format!("{}/runs", job_path(job))).json(&body))
    }

    pub fn runs(&self, query: &RunQuery) -> Result<RunList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/runs").query(query.query()))
    }

    pub fn run(&self, id: RunId) -> Result<RunDetail, ClientError> {
        self.json(Call::new(Method::GET, format!("/api/v1/runs/{id}")))
    }

    /// Returns when the run has ended, or after `at_most` with the run as it is then.
    pub fn wait_run(&self, id: RunId, at_most: Option<Duration>) -> Result<RunDetail, ClientError> {
        let begin = Instant::now();
        loop {
            let left = at_most.map_or(WAIT, |most| most.saturating_sub(begin.elapsed()).min(WAIT));
            let query = vec![("wait", format!("{}ms", left.as_millis()))];
            let detail: RunDetail = self.json(Call::new(Method::GET, format!("/api/v1/runs/{id}")).query(query).within(left + REQUEST))?;
            if detail.run.state == RunState::Ended || at_most.is_some_and(|most| begin.elapsed() >= most) {
                return Ok(detail);
            }
        }
    }

    /// What the guest wrote to its log in an attempt; absent: in the last one that ended.
    pub fn run_log(&self, id: RunId, attempt: Option<u32>) -> Result<RunLog, ClientError> {
        let query = attempt.map(|n| ("attempt", n.to_string()));
        let mut answer = self.send(&Call::new(Method::GET, format!("/api/v1/runs/{id}/log")).query(query.into_iter().collect()))?;
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let (attempt, dropped) = number("bellcage-attempt").zip(number("bellcage-log-dropped")).ok_or_else(|| self.foreign("a log without its headers"))?;
        let bytes = self.bytes(&mut answer)?;
        Ok(RunLog { attempt: u32::try_from(attempt).unwrap_or(u32::MAX), dropped, bytes })
    }

    /// Makes up for a past period; what is there is not made again, so it may be sent again.
    pub fn backfill(&self, job: &JobId, request: &Backfill) -> Result<Backfilled, ClientError> {
        self.json(Call::new(Method::POST, format!("{}/backfill", job_path(job))).json(&encode(request)).within(PUSH))
    }

    /// Cancels unfinished runs of a job, at most a thousand a call.
    pub fn cancel_runs(&self, job: &JobId, request: &CancelRuns) -> Result<CancelledRuns, ClientError> {
        self.json(Call::new(Method::POST, format!("{}/cancel", job_path(job))).json(&encode(request)).within(PUSH))
    }

    /// One page of the jobs with given labels, each dealt with for itself.
    pub fn bulk(&self, request: &Bulk) -> Result<BulkDone, ClientError> {
        self.json_once(Call::new(Method::POST, "/api/v1/bulk").json(&encode(request)).within(PUSH))
    }

    pub fn cancel_run(&self, id: RunId, reason: Option<&str>) -> Result<CancelledRun, ClientError> {
        let body = encode(&CancelRun { reason: reason.map(str::to_owned) });
        self.json(Call::new(Method::POST, format!("/api/v1/runs/{id}/cancel")).json(&body))
    }

    /// Firings that made no run, newest first.
    pub fn firings(&self, query: &FiringQuery) -> Result<FiringList, ClientError> {
        self.json(Call::new(Method::GET, "/api/v1/firings").query(query.query()))
    }

    /// Follows what happens, until it is dropped. Goes on by itself after a broken connection.
    pub fn events(&self, query: EventQuery) -> Result<Events, ClientError> {
        Events::open(self.clone(), query)
    }

    fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let mut answer = self.send(&call)?;
        let bytes = self.bytes(&mut answer)?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(&format!("an answer that cannot be read ({error})")))
    }

    /// Under an idempotency key, and sent once more where the connection broke: carried out once.
    fn json_once<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let call = call.header("idempotency-key", uuid::Uuid::now_v7().to_string());
        let mut answer = match self.send(&call) {
            Err(ClientError::Broken { .. }) => self.send(&call)?,
            other => other?,
        };
        let bytes = self.bytes(&mut answer)?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(&format!("an answer that cannot be read ({error})")))
    }

    /// A success; everything else is an error.
    fn send(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let limits = Limits { whole: Some(call.within), read: None };
        let answer = self.transmit(call, limits)?;
        self.accept(answer)
    }

    fn transmit(&self, call: &Call<'_>, limits: Limits) -> Result<Answer, ClientError> {
        let mut uri = format!("{}{}", self.server, call.path);
        for (i, (name, value)) in call.query.iter().enumerate() {
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(&format!("{name}={}", percent_encoded(value)));
        }
        let mut request = http::Request::builder().method(&call.method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some((kind, _)) = call.body {
            request = request.header("content-type", kind);
        }
        let answer = match call.body {
            Some((_, bytes)) => request.body(bytes).map_err(ureq::Error::Http).and_then(|request| self.agent.run(limits.set(&self.agent, request))),
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(limits.set(&self.agent, request))),
        };
        answer.map_err(|error| ClientError::transport(&self.server, error))
    }

    fn accept(&self, mut answer: Answer) -> Result<Answer, ClientError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = self.bytes(&mut answer)?;
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if kind.starts_with("application/problem+json") => Err(ClientError::Problem(Box::new(problem))),
            _ => Err(self.foreign(&format!("status {status} and no reason"))),
        }
    }

    fn bytes(&self, answer: &mut Answer) -> Result<Vec<u8>, ClientError> {
        let bytes = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        bytes.map_err(|error| ClientError::transport(&self.server, error))
    }

    fn foreign(&self, what: &str) -> ClientError {
        ClientError::Protocol { server: self.server.clone(), detail: what.to_owned() }
    }
}

/// Time limits of one request.
#[derive(Clone, Copy)]
struct Limits {
    whole: Option<Duration>,
    /// Between two pieces of the answer.
    read: Option<Duration>,
}

impl Limits {
    fn set<B: ureq::AsSendBody>(self, agent: &ureq::Agent, request: http::Request<B>) -> http::Request<B> {
        agent.configure_request(request).timeout_global(self.whole).timeout_per_read(self.read).build()
    }
}

fn job_path(id: &JobId) -> String {
    format!("/api/v1/jobs/{id}")
}

/// Requests are plain data with string keys, which serde_json writes without fail.
fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// RFC 3986: all but the unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_alone() {
        for good in ["127.0.0.1:7878", "http://localhost:1/", "https://bell.example", "[::1]:80"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["", "ftp://x", "http://", "http://x/path", "http://x?y", "http://user:pw@x", "http://a b"] {
            assert!(matches!(Client::new(bad, None), Err(ClientError::Address { .. })), "{bad}");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        assert!(matches!(Client::new("http://x", Some("a\nb".to_owned())), Err(ClientError::Token)));
        assert!(matches!(Client::new("http://x", Some(String::new())), Err(ClientError::Token)));
    }

    #[test]
    fn the_token_is_not_shown() {
        let client = Client::new("http://x", Some("geheim".to_owned())).unwrap();
        assert!(!format!("{client:?}").contains("geheim"));
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(percent_encoded("a b&c=ä/%"), "a%20b%26c%3D%C3%A4%2F%25");
    }
}
