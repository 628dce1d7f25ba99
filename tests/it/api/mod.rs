//! The HTTP API: a real server on a loopback port, with the memory store, a clock that is set, and an executor that does
//! as the job's arguments say. What is sent and read is raw HTTP, except where the client itself is tested.

mod access;
mod bounds;
mod client;
mod components;
mod events;
mod executor;
mod health;
mod http;
mod jobs;
mod runs;
mod secrets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellcage::clock::Manual;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::scheduler::{Options, Parts, Scheduler, SecretsKey};
use bellcage::server::{ServerConfig, Serving, serve};
use bellcage::store::Memory;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use executor::Scripted;
use http::{Answer, Request};

pub const TOKEN: &str = "a-token-for-tests-0123456789";

/// A command, small and compiled once for all tests.
pub const HELLO: &[u8] = include_bytes!("../../../guests/demo/hello.wasm");

/// A server of one test.
pub struct Server {
    pub address: SocketAddr,
    pub clock: Manual,
    scheduler: Scheduler,
    serving: Option<Serving>,
    stop: Option<oneshot::Sender<()>>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With a component `hello`.
    pub fn with_hello() -> Self {
        let server = Self::start();
        server.push("hello", HELLO).expect(201);
        server
    }

    pub fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = Manual::at("2026-01-01T00:00:00Z".parse().unwrap());
        let settings = EngineSettings::default();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api-cache");
        let parts = Parts {
            store: Arc::new(Memory::default()),
            executor: Arc::new(Scripted::default()),
            compiler: Compiler::new(CompilerConfig::new(PathBuf::from(env!("CARGO_BIN_EXE_bellcage"))), settings.clone()),
            cache: Cache::open(&cache, &settings).unwrap(),
            clock: Arc::new(clock.clone()),
            options: Options { secrets_key: SecretsKey::parse(&"5e".repeat(32)), ..Options::default() },
        };
        let (stop, stopped) = oneshot::channel();
        let (scheduler, serving) = runtime.block_on(async {
            let scheduler = Scheduler::start(parts).await.unwrap();
            let serving = serve(scheduler.clone(), config, async move { drop(stopped.await) }).await.unwrap();
            (scheduler, serving)
        });
        Self { address: serving.address, clock, scheduler, serving: Some(serving), stop: Some(stop), runtime }
    }

    /// A request with the token.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path).header("authorization", &format!("Bearer {TOKEN}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send()
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path).send()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path).json(body).send()
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path).json(body).send()
    }

    pub fn push(&self, name: &str, bytes: &[u8]) -> Answer {
        self.request("PUT", &format!("/api/v1/components/{name}")).body("application/wasm", bytes).send()
    }

    /// Adds a job of `hello` that is run on demand alone, and whose runs do as `args` say.
    pub fn manual_job(&self, id: &str, args: &[&str]) {
        let job = json!({ "id": id, "component": "hello", "trigger": "manual", "args": args });
        self.post("/api/v1/jobs", &job).expect(201);
    }

    /// Makes a run of a job and returns its id.
    pub fn trigger(&self, job: &str) -> String {
        let run = self.post(&format!("/api/v1/jobs/{job}/runs"), &json!({})).expect(201).json();
        run["id"].as_str().unwrap().to_owned()
    }

    /// The run, once it has ended.
    pub fn ended(&self, run: &str) -> Value {
        loop {
            let run = self.get(&format!("/api/v1/runs/{run}?wait=30s")).expect(200).json();
            if run["state"] == "ended" {
                return run;
            }
        }
    }

    /// The run, once it is in `state`.
    pub fn in_state(&self, run: &str, state: &str) -> Value {
        for _ in 0..3_000 {
            let now = self.get(&format!("/api/v1/runs/{run}")).expect(200).json();
            if now["state"] == state {
                return now;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("run {run} did not come into state {state}");
    }

    pub fn at(&self, time: &str) {
        self.clock.set(time.parse::<Timestamp>().unwrap());
    }

    /// Sends the shutdown signal; `stopped` returns when the server has ended.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub fn stopped(&mut self) {
        let serving = self.serving.take().unwrap();
        self.runtime.block_on(serving.ended());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.block_on(self.scheduler.shutdown(Duration::ZERO));
    }
}
