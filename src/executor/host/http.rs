//! `wasi:http`, to send requests: wasmtime-wasi-http's, with one thing of our own, that a request is a question to whoever
//! makes it. Bodies are whole: a request is asked when its body is finished, a response is there when all of it is.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::executor::output::{EndsSink, Output};
use crate::executor::outside::{Answer, Call, HttpRefusal, HttpRequest, HttpResponse, Outwards, Raw, Refusal};

/// What an attempt has of it.
pub(in crate::executor) struct Http {
    pub ctx: WasiHttpCtx,
    pub hooks: Hooks,
}

pub(in crate::executor) struct Hooks {
    outwards: Outwards,
    /// One for each request, until its response is dropped.
    permits: Arc<Semaphore>,
    /// Where it is noted that a request was denied.
    log: Output<EndsSink>,
}

/// Bytes of one set of headers, as they are in memory.
const HEADERS_MAX: usize = 128 << 10;
/// A guest says how an exchange is to be made, not how a connection is: these are for who holds that.
const FORBIDDEN: [HeaderName; 4] = [http::header::EXPECT, http::header::TE, http::header::TRAILER, http::header::FORWARDED];

type Exchange = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl Http {
    pub fn new(outwards: &Outwards, log: &Output<EndsSink>) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(HEADERS_MAX);
        let at_once = usize::try_from(outwards.limits.http_requests).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { ctx, hooks: Hooks { outwards: outwards.clone(), permits: Arc::new(Semaphore::new(at_once)), log: log.clone() } }
    }
}

/// Whether a guest can neither set nor see a header of this name.
fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || FORBIDDEN.contains(name)
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// It follows from where the request goes.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Exchange> + Send> {
        let Self { outwards, permits, log } = self;
        let (outwards, log) = (outwards.clone(), log.clone());
        // Now, and not when the request is first looked after: the guest may be gone by then.
        let permit = permits.clone().try_acquire_owned().map_err(|_| {
            let refusal = HttpRefusal::Requests { max: outwards.limits.http_requests };
            outwards.remember(&refusal.clone().into());
            refusal
        });
        Box::new(async move {
            let permit = permit.map_err(|refusal| told(refusal.into()))?;
            let response = match send(&outwards, request, options.unwrap_or_default()).await {
                Ok(response) => response,
                Err(Refused::Ours(refusal)) => {
                    note(&log, &refusal);
                    outwards.remember(&refusal);
                    return Err(told(refusal));
                }
                Err(Refused::Body(error)) => return Err(error),
            };
            // The permit goes with the body, which takes memory as long as the guest keeps it.
            let held = move |frame| {
                let _ = &permit;
                frame
            };
            let response = response.map(|body| Full::new(body).map_frame(held).map_err(|never| match never {}).boxed_unsync());
            let done: Box<dyn Future<Output = Result<()>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

enum Refused {
    Ours(Refusal),
    /// The guest's own body failed.
    Body(Error),
}

async fn send(outwards: &Outwards, request: Request<WasiBody>, options: RequestOptions) -> std::result::Result<Response<Bytes>, Refused> {
    let (parts, body) = request.into_parts();
    let part = |text: Option<String>| text.unwrap_or_default();
    let RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout } = options;
    let mut call = Box::new(HttpRequest {
        method: parts.method.to_string(),
        scheme: part(parts.uri.scheme_str().map(str::to_owned)),
        authority: part(parts.uri.authority().map(ToString::to_string)),
        path: part(parts.uri.path_and_query().map(ToString::to_string)),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), Raw(value.as_bytes().to_vec()))).collect(),
        body: Raw::default(),
        connect: connect_timeout,
        first_byte: first_byte_timeout,
        between_bytes: between_bytes_timeout,
    });
    // Nobody waits for the body of a request that would be refused.
    outwards.check(&Call::Http(call.clone())).map_err(Refused::Ours)?;
    let max = outwards.limits.http_body;
    let whole = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX)).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => Refused::Body(*error),
        Err(error) if error.is::<LengthLimitError>() => Refused::Ours(HttpRefusal::RequestBody { max }.into()),
        Err(error) => Refused::Body(Error::InternalError(Some(error.to_string()))),
    })?;
    call.body = Raw(whole.to_bytes().to_vec());
    match outwards.ask(Call::Http(call)).await {
        Ok(Answer::Response(response)) => Ok(response_of(*response)),
        Ok(_) => Err(Refused::Ours(Refusal::Failed("the answer is none to this call".to_owned()))),
        Err(refusal) => Err(Refused::Ours(refusal)),
    }
}

/// What came, without what no guest sees and what is no header.
fn response_of(HttpResponse { status, headers, body }: HttpResponse) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.0));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    for (name, Raw(value)) in headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { continue };
        response.headers_mut().append(name, value);
    }
    response
}

/// A line in the attempt's log: whoever reads why a run failed finds it there.
fn note(log: &Output<EndsSink>, refusal: &Refusal) {
    let denied = match refusal {
        Refusal::NotGranted => true,
        Refusal::Http(refusal) => refusal.is_denied(),
        _ => false,
    };
    if denied {
        // A log that takes no more is no fault of the request's.
        let _ = log.sink().line(format!("WARN bellcage: a request was denied: {refusal}\n").as_bytes());
    }
}

fn told(refusal: Refusal) -> Error {
    let refusal = match refusal {
        Refusal::Http(refusal) => refusal,
        Refusal::NotGranted => return Error::HttpRequestDenied,
        refusal => return Error::InternalError(Some(refusal.to_string())),
    };
    match refusal {
        HttpRefusal::NotGranted { .. } => Error::HttpRequestDenied,
        HttpRefusal::Address { .. } | HttpRefusal::PrivateAddress { .. } => Error::DestinationIpProhibited,
        HttpRefusal::TooMany | HttpRefusal::Requests { .. } => Error::ConnectionLimitReached,
        HttpRefusal::RequestBody { max } => Error::HttpRequestBodySize(Some(max)),
        HttpRefusal::ResponseBody { max, .. } => Error::HttpResponseBodySize(Some(max)),
        HttpRefusal::RequestHeaders => Error::HttpRequestHeaderSectionSize(None),
        HttpRefusal::ResponseHeaders => Error::HttpResponseHeaderSectionSize(None),
        HttpRefusal::Method { .. } => Error::HttpRequestMethodInvalid,
        HttpRefusal::NoSuchHost => Error::DnsError { rcode: None, info_code: None },
        HttpRefusal::Refused => Error::ConnectionRefused,
        HttpRefusal::ConnectTimeout => Error::ConnectionTimeout,
        HttpRefusal::ResponseTimeout => Error::HttpResponseTimeout,
        HttpRefusal::Incomplete => Error::HttpResponseIncomplete,
        HttpRefusal::Tls { .. } => Error::TlsProtocolError,
        HttpRefusal::Protocol { .. } => Error::HttpProtocolError,
    }
}
