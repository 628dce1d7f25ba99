//! HTTP: a question becomes a request, made on a thread of its own, to an address that was checked.
//!
//! ```text
//! name ─► resolve, once ─► addresses ─► those on the public internet, and those that the grant names ─► connect to these
//! ```
//! There is no second look-up between the check and the connection, so a name cannot mean another address by then. No
//! redirect is followed: the guest gets it, and what it asks next is another question. No proxy is taken from the environment,
//! and no connection is kept, since who used it may have been granted more.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Timeout};

use crate::executor::{Answer, Asker, HttpRefusal, HttpRequest, HttpResponse, Network, Raw, Refusal};
use crate::job::{Host, Origin, Target, TenantId, is_public};

/// Headers of a request and of a response, and their bytes.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a path with its query.
const PATH_MAX: usize = 16 << 10;
/// So many wait for each that is under way; a further one is refused.
const WAITING_FOR_EACH: usize = 4;
/// Bytes of the bodies of all that wait; one that is larger waits alone.
const WAITING_BYTES_MAX: u32 = 64 << 20;
/// The longest that any exchange takes.
const EXCHANGE_MAX: Duration = Duration::from_hours(1);
/// The longest that connecting takes, which alone cannot be broken off.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// What makes a connection rather than an exchange. The executor keeps them from guests; this is for one that got out.
const FORBIDDEN: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "expect",
    "http2-settings",
];

/// Finds the addresses of a name. May block.
pub trait Lookup: Send + Sync + 'static {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// As this machine does it.
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// Makes requests, a bounded number at once.
pub(super) struct Requests {
    pub lookup: Arc<dyn Lookup>,
    /// Whom TLS trusts.
    pub authorities: RootCerts,
    at_once: usize,
    places: Places,
    /// Of the tenants that have requests.
    shares: Mutex<HashMap<TenantId, Arc<Places>>>,
    /// Whether a grant may name addresses that are not public.
    private: bool,
}

/// Of all requests, or of one tenant's.
struct Places {
    under_way: Arc<Semaphore>,
    /// Under way or waiting.
    all: Arc<Semaphore>,
    waiting_bytes: Semaphore,
    waiting_bytes_max: u32,
}

/// As long as a request has its place.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Requests {
    pub fn new(lookup: Arc<dyn Lookup>, at_once: usize, private: bool) -> Self {
        let at_once = at_once.max(1);
        let places = Places::new(at_once, WAITING_BYTES_MAX);
        Self { lookup, authorities: RootCerts::WebPki, at_once, places, shares: Mutex::default(), private }
    }

    /// One tenant has at most half of all places.
    fn share(&self, tenant: &TenantId) -> Arc<Places> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(tenant) {
            return share.clone();
        }
        shares.retain(|_, share| Arc::strong_count(share) > 1 || !share.is_idle());
        let share = Arc::new(Places::new((self.at_once / 2).max(1), WAITING_BYTES_MAX / 2));
        shares.insert(tenant.clone(), share.clone());
        share
    }

    pub async fn make(&self, asker: &Asker, request: HttpRequest) -> Result<Answer, Refusal> {
        // The gate lets nobody by who has none.
        let network = asker.reach.http.clone().ok_or(Refusal::NotGranted)?;
        let target = request.target().ok_or(Refusal::NotGranted)?;
        let bytes = request.body.0.len();
        let own = self.share(&network.tenant).take(bytes).await?;
        let place = self.places.take(bytes).await?;
        let left = asker.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HttpRefusal::ConnectTimeout.into());
        }
        let Network { origins, .. } = network;
        let addresses = Addresses { lookup: self.lookup.clone(), private: self.private, origins, target: target.clone() };
        let agent = agent(&request, left, addresses, self.authorities.clone());
        let exchange = Exchange { agent: agent.clone(), target, request, body_max: asker.limits.http_body };
        let _broken_off = BreakOff(agent);
        let (reply, answer) = oneshot::channel();
        let permits = [own, place];
        let thread = std::thread::Builder::new().name("bellcage-http".to_owned());
        let started = thread.spawn(move || perform(&exchange, reply, permits));
        started.map_err(|e| Refusal::Failed(format!("no thread for the request: {e}")))?;
        let response = answer.await.map_err(|_| Refusal::Failed("a fault in bellcage itself".to_owned()))??;
        Ok(Answer::Response(Box::new(response)))
    }
}

impl Places {
    fn new(at_once: usize, waiting_bytes_max: u32) -> Self {
        Self {
            under_way: Arc::new(Semaphore::new(at_once)),
            all: Arc::new(Semaphore::new(at_once * (1 + WAITING_FOR_EACH))),
            waiting_bytes: Semaphore::new(waiting_bytes_max as usize),
            waiting_bytes_max,
        }
    }

    /// At once, or when it comes: until then the body counts to what waits.
    async fn take(&self, body: usize) -> Result<Place, HttpRefusal> {
        let too_many = |_| HttpRefusal::TooMany;
        let place = self.all.clone().try_acquire_owned().map_err(too_many)?;
        if let Ok(turn) = self.under_way.clone().try_acquire_owned() {
            return Ok((place, turn));
        }
        let bytes = u32::try_from(body).unwrap_or(u32::MAX).min(self.waiting_bytes_max);
        let _waiting = self.waiting_bytes.try_acquire_many(bytes).map_err(too_many)?;
        let turn = self.under_way.clone().acquire_owned().await.map_err(|_| HttpRefusal::TooMany)?;
        Ok((place, turn))
    }

    /// Whether nobody has a place.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.all) == 1
    }
}

/// Why a text has no authorities that TLS could trust.
#[derive(Debug, thiserror::Error)]
#[error("no certificates in PEM: {why}")]
pub struct BadAuthorities {
    why: String,
}

pub(super) fn authorities(pem: &[u8]) -> Result<RootCerts, BadAuthorities> {
    let items = parse_pem(pem).collect::<Result<Vec<_>, _>>().map_err(|e| BadAuthorities { why: e.to_string() })?;
    let certificates: Vec<_> = items.into_iter().filter_map(|item| if let PemItem::Certificate(found) = item { Some(found) } else { None }).collect();
    if certificates.is_empty() {
        return Err(BadAuthorities { why: "there is none".to_owned() });
    }
    Ok(RootCerts::from(certificates))
}

/// Ends an exchange that nobody waits for any more, whatever the other side does: it has a place that others need.
struct BreakOff(Agent);

impl Drop for BreakOff {
    fn drop(&mut self) {
        self.0.clone().shutdown();
    }
}

type Reply = oneshot::Sender<Result<HttpResponse, HttpRefusal>>;

/// The thread's whole life. Its places go with it: one that is stuck in a look-up counts as long as it is.
fn perform(exchange: &Exchange, reply: Reply, _places: [Place; 2]) {
    // Who asked may be gone.
    let _ = reply.send(exchange.perform());
}

/// For one exchange.
fn agent(request: &HttpRequest, left: Duration, addresses: Addresses, authorities: RootCerts) -> Agent {
    let HttpRequest { connect, first_byte, between_bytes, .. } = *request;
    let config = Agent::config_builder()
        .proxy(None)
        .tls_config(TlsConfig::builder().root_certs(authorities).build())
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .save_redirect_history(false)
        .allow_non_standard_methods(true)
        .user_agent(AutoHeaderValue::None)
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(HEADER_BYTES_MAX)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .timeout_global(Some(left.min(EXCHANGE_MAX)))
        .timeout_connect(Some(connect.map_or(CONNECT_MAX, |connect| connect.min(CONNECT_MAX))))
        .timeout_recv_response(first_byte)
        .timeout_per_read(between_bytes)
        .build();
    Agent::with_parts(config, DefaultConnector::new(), addresses)
}

struct Exchange {
    agent: Agent,
    target: Target,
    request: HttpRequest,
    body_max: u64,
}

impl Exchange {
    fn perform(&self) -> Result<HttpResponse, HttpRefusal> {
        let HttpRequest { method, body: Raw(body), .. } = &self.request;
        // Of these a server may ask for the length also where there is nothing.
        let has_body = !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&&**method);
        let response = if has_body { self.agent.run(self.build(&**body)?) } else { self.agent.run(self.build(())?) };
        let (parts, mut body) = response.map_err(|e| refusal(&e))?.into_parts();
        let headers = received(&parts.headers)?;
        let body = read(body.as_reader(), self.body_max).map_err(|refusal| match refusal {
            HttpRefusal::ResponseBody { max, .. } => HttpRefusal::ResponseBody { asked: body.content_length().filter(|length| *length > max), max },
            refusal => refusal,
        })?;
        Ok(HttpResponse { status: parts.status.as_u16(), headers, body: Raw(body) })
    }

    fn build<B>(&self, body: B) -> Result<Request<B>, HttpRefusal> {
        let HttpRequest { method, path, headers, .. } = &self.request;
        // CONNECT would be a way through a proxy to anywhere; TRACE gives back what others have added.
        if ["CONNECT", "TRACE"].iter().any(|never| method.eq_ignore_ascii_case(never)) {
            return Err(HttpRefusal::Method { method: method.clone() });
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.0.len()).sum();
        if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX || path.len() > PATH_MAX {
            return Err(HttpRefusal::RequestHeaders);
        }
        let wrong = |e: ureq::http::Error| HttpRefusal::Protocol { why: e.to_string() };
        let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        let authority = self.target.to_string();
        let authority = authority.split_once("://").map_or(&*authority, |(_, authority)| authority);
        let uri = Uri::builder().scheme(self.target.scheme.as_str()).authority(authority).path_and_query(path).build().map_err(wrong)?;
        let mut request = Request::builder().method(&**method).uri(uri).body(body).map_err(wrong)?;
        for (name, value) in headers {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value.0)) else {
                return Err(HttpRefusal::Protocol { why: format!("{name:?} is no header that can be sent") });
            };
            // Its length follows from the body.
            if !FORBIDDEN.contains(&name.as_str()) && name != "content-length" {
                request.headers_mut().append(name, value);
            }
        }
        Ok(request)
    }
}

fn received(headers: &HeaderMap) -> Result<Vec<(String, Raw)>, HttpRefusal> {
    if headers.len() > HEADERS_MAX {
        return Err(HttpRefusal::ResponseHeaders);
    }
    Ok(headers.iter().map(|(name, value)| (name.to_string(), Raw(value.as_bytes().to_vec()))).collect())
}

/// Until its end, or past `max`.
fn read(mut from: impl Read, max: u64) -> Result<Vec<u8>, HttpRefusal> {
    let mut body = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(body),
            Ok(n) => body.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(HttpRefusal::ResponseTimeout),
            Err(_) => return Err(HttpRefusal::Incomplete),
        }
        if body.len() as u64 > max {
            return Err(HttpRefusal::ResponseBody { asked: None, max });
        }
    }
}

/// Finds where to connect, once: nothing but what it gives is connected to.
struct Addresses {
    lookup: Arc<dyn Lookup>,
    private: bool,
    origins: Vec<Origin>,
    target: Target,
}

impl Addresses {
    /// Those of the target that may be connected to.
    fn find(&self) -> Result<Vec<SocketAddr>, HttpRefusal> {
        let Target { scheme, host, port } = &self.target;
        let found = match host {
            Host::Address(address) => vec![SocketAddr::new(*address, *port)],
            Host::Name(name) => self.lookup.look_up(name, *port).map_err(|_| HttpRefusal::NoSuchHost)?,
        };
        let named = |at: &SocketAddr| self.private && self.origins.iter().any(|origin| origin.names(*scheme, at.ip(), *port));
        let (allowed, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(|at| is_public(at.ip()) || named(at));
        match (allowed.is_empty(), refused.first()) {
            (false, _) => Ok(allowed.into_iter().map(|at| SocketAddr::new(at.ip(), *port)).collect()),
            (true, Some(at)) => Err(self.refused(at.ip().to_canonical().to_string())),
            (true, None) => Err(HttpRefusal::NoSuchHost),
        }
    }

    fn refused(&self, address: String) -> HttpRefusal {
        let target = self.target.to_string();
        if self.private { HttpRefusal::Address { target, address } } else { HttpRefusal::PrivateAddress { target, address } }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "addresses of {}", self.target)
    }
}

impl Resolver for Addresses {
    fn resolve(&self, _: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        // As many as there is room for.
        for address in self.find().map_err(|refusal| ureq::Error::Other(Box::new(refusal)))?.into_iter().take(16) {
            found.push(address);
        }
        Ok(found)
    }
}

fn refusal(error: &ureq::Error) -> HttpRefusal {
    use ureq::Error as E;
    match error {
        E::Timeout(Timeout::Connect | Timeout::Resolve) => HttpRefusal::ConnectTimeout,
        E::Timeout(_) => HttpRefusal::ResponseTimeout,
        E::HostNotFound => HttpRefusal::NoSuchHost,
        E::ConnectionFailed => HttpRefusal::Refused,
        E::Io(e) => match e.kind() {
            io::ErrorKind::ConnectionRefused => HttpRefusal::Refused,
            io::ErrorKind::TimedOut => HttpRefusal::ResponseTimeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => HttpRefusal::Incomplete,
            io::ErrorKind::InvalidData => HttpRefusal::Tls { why: e.to_string() },
            _ => HttpRefusal::Protocol { why: e.to_string() },
        },
        E::Tls(why) => HttpRefusal::Tls { why: (*why).to_owned() },
        E::Rustls(e) => HttpRefusal::Tls { why: e.to_string() },
        E::LargeResponseHeader(..) => HttpRefusal::ResponseHeaders,
        E::Other(e) if let Some(refusal) = e.downcast_ref::<HttpRefusal>() => refusal.clone(),
        e => HttpRefusal::Protocol { why: e.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_one_that_is_above_the_bound_waits_alone() {
        let places = Places::new(1, WAITING_BYTES_MAX);
        let turn = places.take(usize::MAX).await.unwrap();
        let mut waits = Box::pin(places.take(usize::MAX));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(places.take(1).await.unwrap_err(), HttpRefusal::TooMany);
        let mut small = Box::pin(places.take(0));
        assert!(small.as_mut().now_or_never().is_none());
        drop(turn);
        drop(waits.await.unwrap());
        drop(small.await.unwrap());
        assert_eq!(places.waiting_bytes.available_permits(), WAITING_BYTES_MAX as usize);
    }

    #[tokio::test]
    async fn a_tenant_has_half_of_all_places_and_its_share_is_forgotten_when_nobody_has_one() {
        let requests = Requests::new(Arc::new(SystemLookup), 4, true);
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let share = requests.share(&tenant("a"));
        let taken = [share.take(0).await.unwrap(), share.take(0).await.unwrap()];
        drop(share);
        assert!(requests.share(&tenant("a")).take(0).now_or_never().is_none());
        assert!(requests.share(&tenant("b")).take(0).now_or_never().is_some());
        drop(requests.share(&tenant("c")));
        assert_eq!(requests.shares.lock().unwrap().len(), 2, "of b there is nothing left to know");
        drop(taken);
    }
}
