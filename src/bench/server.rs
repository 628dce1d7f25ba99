//! A server in a process of its own, as users start one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::client::Client;

use super::BenchError;

const READY_MAX: Duration = Duration::from_secs(30);

pub(super) struct ServerProcess {
    child: Child,
    address: String,
    token: String,
    /// From its start until it said that it was ready.
    pub ready: Duration,
}

/// What a server writes into its data directory.
#[derive(Deserialize)]
struct ServerFile {
    address: String,
    token: String,
    pid: u32,
}

impl ServerProcess {
    /// On the data directory `data`, with the usual configuration, at a free port of this machine.
    pub fn start(program: &Path, data: &Path) -> Result<Self, BenchError> {
        let failed = |e: std::io::Error| BenchError::Server(e.to_string());
        let data = &data.canonicalize().map_err(failed)?;
        let began = Instant::now();
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).current_dir(data);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BELLCAGE_")) {
            command.env_remove(name);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let mut server = Self { child, address: String::new(), token: String::new(), ready: Duration::ZERO };
        while began.elapsed() < READY_MAX {
            if let Some(ended) = server.child.try_wait().map_err(failed)? {
                return Err(BenchError::Server(format!("it ended as it started: {ended}")));
            }
            let file = fs::read(data.join("server.json")).ok().and_then(|text| serde_json::from_slice::<ServerFile>(&text).ok());
            if let Some(file) = file.filter(|file| file.pid == server.child.id()) {
                (server.address, server.token) = (file.address, file.token);
                if server.client()?.health().is_ok() {
                    server.ready = began.elapsed();
                    return Ok(server);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(BenchError::TooSlow(READY_MAX.as_secs()))
    }

    pub fn client(&self) -> Result<Client, BenchError> {
        Client::new(&self.address, Some(self.token.clone())).map_err(|e| BenchError::Server(e.to_string()))
    }

    /// Resident memory of the server and of its workers, in bytes; what they share is counted for each.
    pub fn resident(&self) -> u64 {
        let page = rustix::param::page_size() as u64;
        self.processes().iter().filter_map(|pid| Some(read(*pid, "statm")?.split(' ').nth(1)?.parse::<u64>().ok()? * page)).sum()
    }

    /// CPU time that the server and its workers have used.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.processes().iter().filter_map(|pid| cpu_ticks(&read(*pid, "stat")?)).sum();
        Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
    }

    /// The server and its children.
    fn processes(&self) -> Vec<u32> {
        let server = self.child.id();
        let children = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let parent = |pid: u32| read(pid, "stat").and_then(|stat| after_name(&stat)?.split(' ').nth(1)?.parse::<u32>().ok());
        std::iter::once(server).chain(children.filter(|pid| parent(*pid) == Some(server))).collect()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It is measured no more, and its data directory is removed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(pid: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// The fields behind the name, which may hold anything.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, fields)| fields)
}

/// User and system time.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = after_name(stat)?.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}
