//! Sends the HTTP requests that its arguments say, and prints a line for each: `get URL`, `send METHOD URL BODY`,
//! `zeros URL N` (a body of so many), `header NAME VALUE` (of all later requests), `follow URL` (redirects too),
//! `many URL N` (at once), and `hold URL` (waits for no answer).
use pthread_stubs as _;

wit_bindgen::generate!({
    path: [
        "../../wit/deps/io.wit",
        "../../wit/deps/clocks.wit",
        "../../wit/deps/random.wit",
        "../../wit/deps/filesystem.wit",
        "../../wit/deps/sockets.wit",
        "../../wit/deps/cli.wit",
        "wit/http.wit",
        "wit/world.wit",
    ],
    world: "bellcage:fetch/fetch",
    generate_all,
});

use wasi::http::outgoing_handler::handle;
use wasi::http::types::{ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};
use wasi::io::streams::StreamError;

struct Response {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

fn start(method: Method, url: &str, headers: &[(String, Vec<u8>)], body: &[u8]) -> Result<FutureIncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let request = OutgoingRequest::new(Fields::from_list(headers).expect("they were taken before"));
    request.set_method(&method).expect("a method");
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).expect("a scheme");
    if request.set_authority(Some(authority)).is_err() || request.set_path_with_query(Some(path)).is_err() {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    let outgoing = request.body().expect("the first time");
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(2_000_000_000)).expect("it is offered");
    let answer = handle(request, Some(options))?;
    let stream = outgoing.write().expect("the first time");
    for piece in body.chunks(4096) {
        // Nobody takes the body of a request that was refused.
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
    Ok(answer)
}

fn wait(answer: &FutureIncomingResponse) -> Result<Response, ErrorCode> {
    answer.subscribe().block();
    let response = answer.get().expect("it is there").expect("the first time")?;
    let location = response.headers().get("location").first().map(|value| String::from_utf8_lossy(value).into_owned());
    let incoming = response.consume().expect("the first time");
    let stream = incoming.stream().expect("the first time");
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(65_536) {
            Ok(piece) => body.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(why)) => panic!("{}", why.to_debug_string()),
        }
    }
    let status = response.status();
    drop(stream);
    drop(IncomingBody::finish(incoming));
    Ok(Response { status, location, body })
}

fn shown(response: Result<Response, ErrorCode>) -> String {
    match response {
        Ok(Response { status, body, .. }) if body.len() > 500 => format!("{status} {} bytes", body.len()),
        Ok(Response { status, body, .. }) => format!("{status} {}", String::from_utf8_lossy(&body)),
        Err(error) => format!("{error:?}").replace("ErrorCode::", ""),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut headers = Vec::new();
    let mut rest = args.iter().map(String::as_str);
    let mut held = Vec::new();
    while let Some(what) = rest.next() {
        let mut next = || rest.next().expect("another argument");
        let exchange = |method, url: &str, headers: &[_], body: &[u8]| start(method, url, headers, body).and_then(|answer| wait(&answer));
        let line = match what {
            "get" => shown(exchange(Method::Get, next(), &headers, b"")),
            "send" => {
                let (method, url, body) = (next(), next(), next());
                shown(exchange(Method::Other(method.to_owned()), url, &headers, body.as_bytes()))
            }
            "zeros" => {
                let (url, n) = (next(), next().parse().expect("a number"));
                shown(exchange(Method::Post, url, &headers, &vec![b'0'; n]))
            }
            "header" => {
                headers.push((next().to_owned(), next().as_bytes().to_vec()));
                match Fields::from_list(&headers) {
                    Ok(_) => continue,
                    Err(error) => {
                        headers.pop();
                        format!("{error:?}")
                    }
                }
            }
            "follow" => {
                let mut response = exchange(Method::Get, next(), &headers, b"");
                for _ in 0..5 {
                    let Ok(Response { status: 300..=399, location: Some(to), .. }) = &response else { break };
                    println!("redirected to {to}");
                    response = exchange(Method::Get, to, &headers, b"");
                }
                shown(response)
            }
            "many" => {
                let (url, n) = (next(), next().parse().expect("a number"));
                let answers: Vec<_> = (0..n).map(|_| start(Method::Get, url, &headers, b"")).collect();
                let lines: Vec<_> = answers.into_iter().map(|answer| shown(answer.and_then(|answer| wait(&answer)))).collect();
                lines.join(", ")
            }
            "hold" => {
                held.push(start(Method::Get, next(), &headers, b""));
                continue;
            }
            other => panic!("{other} is nothing that can be done"),
        };
        println!("{line}");
    }
}
