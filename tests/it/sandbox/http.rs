//! HTTP requests of a real guest: those that its job was granted, and everything that should not come of the others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellcage::executor::{AttemptReport, AttemptRequest, Network, Reach};
use bellcage::job::{Limits, Outcome, RunId};
use bellcage::outside::{Lookup, World, WorldConfig};
use jiff::SignedDuration;

use super::executor_with;
use crate::support::cage::{self, ReportExt as _};
use crate::support::web::Web;

fn granted(origins: &[&str]) -> Reach {
    granted_to("default", origins)
}

fn granted_to(tenant: &str, origins: &[&str]) -> Reach {
    let origins = origins.iter().map(|typed| typed.parse().expect("an origin")).collect();
    Reach { http: Some(Network { tenant: tenant.parse().expect("a tenant"), origins }), ..Reach::default() }
}

/// Each look-up of any name gives the next of these, and then always the last.
struct Names {
    answers: Vec<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn mean(answers: &[&[&str]]) -> Arc<Self> {
        let addresses = |all: &&[&str]| all.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect();
        Arc::new(Self { answers: answers.iter().map(addresses).collect(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Lookup for Names {
    fn look_up(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[n.min(self.answers.len() - 1)].clone())
    }
}

/// In that part of IPv6 that is on the public internet, and given to nobody.
const PUBLIC: &str = "3000::1";

struct Case {
    reach: Reach,
    world: World,
    limits: Limits,
}

impl Case {
    fn new(origins: &[&str]) -> Self {
        let limits = Limits { timeout: SignedDuration::from_secs(20), http_body: 100_000, http_requests: 2, ..Limits::default() };
        Self { reach: granted(origins), world: World::passing(WorldConfig::default()), limits }
    }

    fn names(self, names: &Arc<Names>) -> Self {
        Self { world: self.world.with_lookup(names.clone()), ..self }
    }

    /// One attempt of the guest `fetch`, which does what its arguments say.
    async fn fetch(self, args: &[&str]) -> AttemptReport {
        let Self { reach, world, limits } = self;
        let request = cage::request(&cage::built_guest("fetch")).await;
        executor_with(Arc::new(world)).run(AttemptRequest { args: args.into(), reach, limits, ..request }).await
    }
}

fn log(report: &AttemptReport) -> String {
    String::from_utf8_lossy(report.log.to_text().as_bytes()).into_owned()
}

#[tokio::test]
async fn a_granted_request_is_made_and_counted() {
    let web = Web::start();
    let report = Case::new(&[&web.origin()]).fetch(&["get", &web.url("/"), "send", "PUT", &web.url("/length"), "12345", "get", &web.url("/none")]).await;
    assert_eq!((report.stdout().as_str(), report.message()), ("200 hello\n200 5\n404 nothing here\n", ""));
    assert_eq!(report.receipt.host_calls_by_interface.of("wasi:http/outgoing-handler"), Some(3));
    assert_eq!(web.heard().len(), 3);
}

#[tokio::test]
async fn a_request_has_the_guests_headers_and_its_own_host_and_nothing_else_of_ours() {
    let web = Web::start();
    let args = ["header", "X-Token", "abc", "header", "Host", "evil.example", "header", "Connection", "upgrade", "header", "Proxy-Authorization", "x", "get"];
    let report = Case::new(&[&web.origin()]).fetch(&[&args[..], &[&web.url("/")]].concat()).await;
    assert_eq!(report.stdout(), "HeaderError::Forbidden\nHeaderError::Forbidden\nHeaderError::Forbidden\n200 hello\n");
    let heard = web.heard();
    let mut lines: Vec<_> = heard[0].lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["get / http/1.1", &format!("host: 127.0.0.1:{}", web.port), "x-token: abc"]);
}

#[tokio::test]
async fn a_body_that_is_empty_has_its_length_said_where_one_is_usual() {
    let web = Web::start();
    let args = ["send", "POST", &web.url("/length"), "", "send", "DELETE", &web.url("/length"), ""];
    let report = Case::new(&[&web.origin()]).fetch(&args).await;
    assert_eq!(report.stdout(), "200 0\n200 0\n");
    let host = format!("host: 127.0.0.1:{}\r\n", web.port);
    assert_eq!(web.heard(), [format!("post /length http/1.1\r\ncontent-length: 0\r\n{host}"), format!("delete /length http/1.1\r\n{host}")]);
}

#[tokio::test]
async fn without_the_grant_a_request_is_denied_and_the_log_says_so() {
    let web = Web::start();
    let report = Case { reach: Reach::default(), ..Case::new(&[]) }.fetch(&["get", &web.url("/")]).await;
    assert_eq!((report.outcome, report.stdout().as_str()), (Outcome::Succeeded, "HttpRequestDenied\n"));
    let line = format!("WARN bellcage: a request was denied: the job was not granted requests to {}\n", web.origin());
    assert_eq!((log(&report), web.heard().len()), (line, 0));
}

#[tokio::test]
async fn another_scheme_host_or_port_is_denied() {
    let (web, other) = (Web::start(), Web::start());
    let disguised =
        [other.url("/"), format!("https://127.0.0.1:{}/", web.port), format!("http://localhost:{}/", web.port), format!("http://2130706433:{}/", web.port)];
    let user = format!("http://127.0.0.1:{}@127.0.0.1:{}/", web.port, other.port);
    let args: Vec<&str> = disguised.iter().chain([&user]).flat_map(|url| ["get", url]).collect();
    let report = Case::new(&[&web.origin()]).fetch(&args).await;
    assert!(report.stdout().lines().all(|line| line == "HttpRequestDenied") && report.stdout().lines().count() == 5, "{}", report.stdout());
    assert_eq!((web.heard().len(), other.heard().len()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_handed_to_the_guest_and_what_it_asks_next_is_checked_again() {
    let (web, other) = (Web::start(), Web::start());
    let (within, out) = (web.url(&format!("/redirect?{}", web.url("/"))), web.url(&format!("/redirect?{}", other.url("/"))));
    let report = Case::new(&[&web.origin()]).fetch(&["get", &out, "follow", &within, "follow", &out]).await;
    let redirects = [format!("redirected to {}", web.url("/")), format!("redirected to {}", other.url("/"))];
    assert_eq!(report.stdout(), format!("302 \n{}\n200 hello\n{}\nHttpRequestDenied\n", redirects[0], redirects[1]));
    assert_eq!(other.heard().len(), 0);
}

#[tokio::test]
async fn a_name_that_means_a_private_address_is_refused_whatever_it_is() {
    for address in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "::1", "fd00:ec2::254", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0"] {
        let web = Web::start();
        let origin = format!("http://api.example.com:{}", web.port);
        let report = Case::new(&[&origin]).names(&Names::mean(&[&[address]])).fetch(&["get", &format!("{origin}/")]).await;
        assert_eq!((report.stdout().as_str(), web.heard().len()), ("DestinationIpProhibited\n", 0), "{address}");
        assert!(log(&report).contains("which is not on the public internet"), "{}", log(&report));
    }
}

#[tokio::test]
async fn a_name_that_means_another_address_the_next_time_is_not_looked_up_a_second_time() {
    let web = Web::start();
    let origin = format!("http://rebind.example.com:{}", web.port);
    let names = Names::mean(&[&[PUBLIC], &["127.0.0.1"]]);
    let report = Case::new(&[&origin]).names(&names).fetch(&["get", &format!("{origin}/"), "get", &format!("{origin}/")]).await;
    let text = report.stdout();
    let lines: Vec<_> = text.lines().collect();
    // Nobody is at the first address; had the name been looked up again to connect, the server here would have answered.
    assert!(lines.len() == 2 && !lines[0].starts_with("200") && lines[1] == "DestinationIpProhibited", "{text}");
    assert_eq!((names.asked(), web.heard().len()), (2, 0));
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_allowed_are_tried() {
    let web = Web::start();
    let origin = format!("http://mixed.example.com:{}", web.port);
    let report = Case::new(&[&origin]).names(&Names::mean(&[&["127.0.0.1", PUBLIC]])).fetch(&["get", &format!("{origin}/")]).await;
    assert!(!report.stdout().starts_with("200"), "{}", report.stdout());
    assert_eq!(web.heard().len(), 0);
}

#[tokio::test]
async fn a_private_address_is_reached_by_the_name_whose_grant_stands_beside_that_of_the_address() {
    let web = Web::start();
    let (name, address) = (format!("http://billing.internal:{}", web.port), web.origin());
    let names = Names::mean(&[&["127.0.0.1"]]);
    let report = Case::new(&[&name, &address]).names(&names).fetch(&["get", &format!("{name}/")]).await;
    assert_eq!(report.stdout(), "200 hello\n");
    let wildcard =
        Case::new(&[&format!("http://*.example.com:{}", web.port)]).names(&names).fetch(&["get", &format!("http://a.example.com:{}/", web.port)]).await;
    assert_eq!(wildcard.stdout(), "DestinationIpProhibited\n");
}

#[tokio::test]
async fn localhost_names_this_machine_and_no_other() {
    let web = Web::start();
    let origin = format!("http://localhost:{}", web.port);
    for (address, told) in [("127.0.0.1", "200 hello\n"), ("10.0.0.1", "DestinationIpProhibited\n")] {
        let report = Case::new(&[&origin]).names(&Names::mean(&[&[address]])).fetch(&["get", &format!("{origin}/")]).await;
        assert_eq!(report.stdout(), told, "{address}");
    }
}

#[tokio::test]
async fn a_server_can_forbid_private_addresses_altogether() {
    let web = Web::start();
    let world = World::passing(WorldConfig { http_private: false, ..WorldConfig::default() });
    let report = Case { world, ..Case::new(&[&web.origin()]) }.fetch(&["get", &web.url("/")]).await;
    assert_eq!((report.stdout().as_str(), web.heard().len()), ("DestinationIpProhibited\n", 0));
}

/// Where a server is that has this certificate, with `tls.example.com` and `other.example.com` for names, and what came of a request to it.
async fn over_tls(certificate: &str, host: &str, authorities: Option<&str>) -> (String, usize) {
    let web = Web::start_tls(certificate);
    let (origin, address) = (format!("https://{host}:{}", web.port), web.origin());
    let case = Case::new(&[&origin, &address]).names(&Names::mean(&[&["127.0.0.1"]]));
    let world = match authorities {
        Some(pem) => case.world.with_authorities(pem.as_bytes()).expect("certificates"),
        None => case.world,
    };
    let report = Case { world, ..case }.fetch(&["get", &format!("{origin}/")]).await;
    (report.stdout(), web.heard().len())
}

const AUTHORITY: &str = include_str!("../support/tls/authority.pem");
const OWN: &str = include_str!("../support/tls/server.pem");
const EXPIRED: &str = include_str!("../support/tls/expired.pem");

#[tokio::test]
async fn over_tls_a_server_is_asked_that_a_trusted_authority_knows_by_its_name() {
    assert_eq!(over_tls(OWN, "tls.example.com", Some(AUTHORITY)).await, ("200 hello\n".to_owned(), 1));
}

#[tokio::test]
async fn over_tls_no_server_is_asked_whose_certificate_is_not_trusted_for_its_name_or_past() {
    for (certificate, host, authorities) in
        [(OWN, "tls.example.com", None), (OWN, "other.example.com", Some(AUTHORITY)), (EXPIRED, "tls.example.com", Some(AUTHORITY))]
    {
        assert_eq!(over_tls(certificate, host, authorities).await, ("TlsProtocolError\n".to_owned(), 0), "{host}");
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_not_asked_over_it() {
    let web = Web::start();
    let origin = format!("https://127.0.0.1:{}", web.port);
    let report = Case::new(&[&origin]).fetch(&["get", &format!("{origin}/")]).await;
    assert!(!report.stdout().starts_with("200"), "{}", report.stdout());
}

#[tokio::test]
async fn bodies_have_a_limit_in_both_directions() {
    let web = Web::start();
    let args =
        ["zeros", &web.url("/length"), "100000", "zeros", &web.url("/length"), "100001", "get", &web.url("/large?100000"), "get", &web.url("/large?100001")];
    let report = Case::new(&[&web.origin()]).fetch(&[&args[..], &["get", &web.url("/endless")]].concat()).await;
    let large = "HttpResponseBodySize(Some(100000))";
    assert_eq!(report.stdout(), format!("200 100000\nHttpRequestBodySize(Some(100000))\n200 100000 bytes\n{large}\n{large}\n"), "{}", report.message());
    assert_eq!(web.heard().len(), 4);
}

#[tokio::test]
async fn a_request_whose_head_is_far_too_large_is_refused_and_hurts_nobody_beside() {
    let web = Web::start();
    let case = Case::new(&[&web.origin()]);
    let method = "M".repeat(5_000_000);
    let limits = Limits { host_call_bytes: 16 << 20, ..case.limits.clone() };
    let report = Case { limits, ..case }.fetch(&["send", &method, &web.url("/"), "", "get", &web.url("/")]).await;
    assert_eq!((report.stdout().as_str(), report.message()), ("HttpRequestHeaderSectionSize(None)\n200 hello\n", ""));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_to_the_guest() {
    let web = Web::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{closed}");
    let args =
        ["get", &web.url("/cut"), "get", &web.url("/noise"), "get", &web.url("/headers?101"), "get", &format!("{nobody}/"), "send", "TRACE", &web.url("/"), ""];
    let report = Case::new(&[&web.origin(), &nobody]).fetch(&args).await;
    let (refused, method) = ("ConnectionRefused", "HttpRequestMethodInvalid");
    assert_eq!(report.stdout(), format!("HttpResponseIncomplete\nHttpProtocolError\nHttpResponseHeaderSectionSize(None)\n{refused}\n{method}\n"));
    assert_eq!(report.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn more_requests_at_once_than_may_be_are_refused_and_later_ones_are_made() {
    let web = Web::start();
    let report = Case::new(&[&web.origin()]).fetch(&["many", &web.url("/"), "4", "get", &web.url("/")]).await;
    assert_eq!(report.stdout(), "200 hello, 200 hello, ConnectionLimitReached, ConnectionLimitReached\n200 hello\n");
}

#[tokio::test]
async fn a_request_that_is_never_answered_ends_with_its_attempt() {
    let web = Web::start();
    let limits = Limits { timeout: SignedDuration::from_millis(500), ..Limits::default() };
    let report = Case { limits, ..Case::new(&[&web.origin()]) }.fetch(&["get", &web.url("/silence")]).await;
    assert_eq!(report.outcome, Outcome::Timeout);
}

#[tokio::test]
async fn a_guest_that_leaves_requests_behind_hurts_nobody() {
    let web = Web::start();
    let (silence, hello) = (web.url("/silence"), web.url("/"));
    let executor = executor_with(Arc::new(World::passing(WorldConfig::default())));
    let request = AttemptRequest { reach: granted(&[&web.origin()]), ..cage::request(&cage::built_guest("fetch")).await };
    for _ in 0..3 {
        let left = executor.run(AttemptRequest { args: ["hold", &*silence, "hold", &*silence][..].into(), ..request.clone() }).await;
        assert_eq!((left.outcome, left.message()), (Outcome::Succeeded, ""));
        let next = executor.run(AttemptRequest { args: ["get", &*hello][..].into(), ..request.clone() }).await;
        assert_eq!(next.stdout(), "200 hello\n");
    }
}

#[tokio::test]
async fn a_request_whose_attempt_is_over_gives_its_place_to_others() {
    let web = Web::start();
    let executor = executor_with(Arc::new(World::passing(WorldConfig { http_at_once: 1, ..WorldConfig::default() })));
    let request = AttemptRequest { reach: granted(&[&web.origin()]), ..cage::request(&cage::built_guest("fetch")).await };
    for (n, path) in ["/silence", "/half"].into_iter().enumerate() {
        let url = web.url(path);
        // It may take longer than all that the next one may.
        let limits = Limits { timeout: SignedDuration::from_mins(10), ..Limits::default() };
        let waits = AttemptRequest { args: ["get", &*url][..].into(), run: RunId(uuid::Uuid::now_v7()), limits, ..request.clone() };
        let run = waits.run;
        let (report, ()) = tokio::join!(executor.run(waits), async {
            web.has_heard(2 * n + 1).await;
            executor.cancel(run, "enough");
        });
        assert_eq!(report.outcome, Outcome::Cancelled, "{path}");
        // There is one place, and the other side still holds the connection.
        let next = AttemptRequest { args: ["get", &*web.url("/")][..].into(), run: RunId(uuid::Uuid::now_v7()), ..request.clone() };
        assert_eq!(executor.run(next).await.stdout(), "200 hello\n", "{path}");
    }
}

#[tokio::test]
async fn one_tenant_has_at_most_half_of_all_places_so_that_another_has_one() {
    let web = Web::start();
    let executor = executor_with(Arc::new(World::passing(WorldConfig { http_at_once: 2, ..WorldConfig::default() })));
    let request = cage::request(&cage::built_guest("fetch")).await;
    let of = |tenant: &str, path: &str| {
        let limits = Limits { timeout: SignedDuration::from_mins(10), ..Limits::default() };
        let (url, reach, run) = (web.url(path), granted_to(tenant, &[&web.origin()]), RunId(uuid::Uuid::now_v7()));
        AttemptRequest { args: ["get", &*url][..].into(), run, limits, reach, ..request.clone() }
    };
    let (hog, waits) = (of("hog", "/silence"), of("hog", "/"));
    let hog_run = hog.run;
    let hogged = tokio::spawn({
        let executor = executor.clone();
        async move { executor.run(hog).await }
    });
    web.has_heard(1).await;
    let (waited, ()) = tokio::join!(executor.run(waits), async {
        // There is another place, and it is not the hog's.
        assert_eq!(executor.run(of("other", "/")).await.stdout(), "200 hello\n");
        assert_eq!(web.heard().len(), 2);
        executor.cancel(hog_run, "enough");
    });
    assert_eq!((hogged.await.unwrap().outcome, waited.stdout().as_str()), (Outcome::Cancelled, "200 hello\n"));
}
