//! A small web server on loopback, for guests that send requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Its threads end with the tests' process.
pub struct Web {
    scheme: &'static str,
    pub port: u16,
    /// First line and headers of each request that came.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub fn start() -> Self {
        Self::with("http", Some)
    }

    /// Over TLS, with one of the certificates in `support/tls`.
    pub fn start_tls(certificate: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(|found| found.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).expect("a key");
        let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into()).with_safe_default_protocol_versions();
        let config = Arc::new(config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("they belong together"));
        Self::with("https", move |stream| Some(StreamOwned::new(ServerConnection::new(config.clone()).ok()?, stream)))
    }

    fn with<S: Read + Write + Send + 'static>(scheme: &'static str, dress: impl Fn(TcpStream) -> Option<S> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().filter_map(dress) {
                let heard = heard.clone();
                std::thread::spawn(move || serve(stream, &heard));
            }
        });
        Self { scheme, port, heard: kept }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// The origin as a grant names it.
    pub fn origin(&self) -> String {
        self.url("")
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits for so many requests, at the latest for half a minute.
    pub async fn has_heard(&self, n: usize) {
        for _ in 0..3_000 {
            if self.heard().len() >= n {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{n} requests were to come, but there are {}", self.heard().len());
    }
}

/// One request, then the end. Who goes away meanwhile is no concern of ours.
fn serve(stream: impl Read + Write, heard: &Mutex<Vec<String>>) {
    let mut from = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while from.read_line(&mut line).is_ok_and(|n| n > 2) {
        head.push_str(&line.to_ascii_lowercase());
        line.clear();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let _ = from.read_exact(&mut body);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    if head.is_empty() {
        return;
    }
    heard.lock().unwrap().push(head.clone());
    let to = from.get_mut();
    let mut answer = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
        let _ = to.write_all(head.as_bytes()).and_then(|()| to.write_all(body)).and_then(|()| to.flush());
    };
    match path.split_once('?').unwrap_or((&path, "")) {
        ("/", _) => answer("200 OK", "", b"hello"),
        ("/redirect", to) => answer("302 Found", &format!("location: {to}\r\n"), b""),
        ("/large", bytes) => answer("200 OK", "", &vec![b'x'; bytes.parse().unwrap_or(0)]),
        ("/headers", n) => answer("200 OK", &(0..n.parse().unwrap_or(0)).map(|n| format!("x-{n}: y\r\n")).collect::<String>(), b""),
        ("/length", _) => answer("200 OK", "", body.len().to_string().as_bytes()),
        ("/endless", _) => while to.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| to.write_all(&[b'x'; 65_536])).is_ok() {},
        ("/cut", _) => drop(to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")),
        ("/noise", _) => drop(to.write_all(b"this is no answer\r\n\r\n")),
        ("/half", _) => drop(to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").and_then(|()| to.read(&mut [0; 1]))),
        ("/silence", _) => drop(to.read(&mut [0; 1])),
        _ => answer("404 Not Found", "", b"nothing here"),
    }
}
