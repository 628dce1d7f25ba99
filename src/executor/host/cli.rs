//! `wasi:cli`: what a command is given and where it writes. Ours and not wasmtime-wasi's, whose context comes with random
//! generators and clocks that most guests never ask for; they would cost every attempt more than all that is here.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::StdoutStream as _;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use crate::executor::AttemptRequest;
use crate::executor::output::{EndsSink, Output, WholeSink};
use crate::job::{AttemptLog, Entry};

/// What the guest was started with, and what it has written. Streams are made when they are first asked for.
pub(in crate::executor) struct Given {
    pub request: Arc<AttemptRequest>,
    /// What is left of standard input.
    stdin: Option<MemoryInputPipe>,
    /// Of a command.
    stdout: Option<Output<WholeSink>>,
    stderr: Option<Output<EndsSink>>,
}

impl Given {
    pub fn new(request: Arc<AttemptRequest>) -> Self {
        Self { request, stdin: None, stdout: None, stderr: None }
    }

    fn stdin(&mut self) -> &MemoryInputPipe {
        let Self { request, stdin, .. } = self;
        stdin.get_or_insert_with(|| MemoryInputPipe::new(Bytes::copy_from_slice(&request.stdin)))
    }

    fn stdout(&mut self) -> DynOutputStream {
        // A function returns its result, so what it prints is for the log.
        if self.request.entry != Entry::Main {
            return self.stderr().p2_stream();
        }
        let Self { request, stdout, .. } = self;
        stdout.get_or_insert_with(|| Output::new(WholeSink::new(request.limits.result))).p2_stream()
    }

    /// The log.
    pub fn stderr(&mut self) -> &Output<EndsSink> {
        let Self { request, stderr, .. } = self;
        stderr.get_or_insert_with(|| Output::new(EndsSink::new(request.limits.logs)))
    }

    pub fn take_stdout(&self) -> Vec<u8> {
        self.stdout.as_ref().map(|stdout| stdout.sink().take()).unwrap_or_default()
    }

    pub fn take_log(&self) -> AttemptLog {
        self.stderr.as_ref().map(|stderr| stderr.sink().take()).unwrap_or_default()
    }
}

pub(in crate::executor) struct Cli<'a> {
    pub given: &'a mut Given,
    pub table: &'a mut ResourceTable,
}

impl HasData for Cli<'static> {
    type Data<'a> = Cli<'a>;
}

impl environment::Host for Cli<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let AttemptRequest { env, secrets, .. } = &*self.given.request;
        let secrets = secrets.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        Ok(env.iter().cloned().chain(secrets).collect())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        let request = &self.given.request;
        // Only a command has any, and those were looked at before it began.
        let argv = if request.entry == Entry::Main { request.argv().unwrap_or_default() } else { Vec::new() };
        Ok(std::iter::once(&*request.program).chain(argv).map(str::to_owned).collect())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for Cli<'_> {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::from(I32Exit(status.is_err().into())))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::from(I32Exit(code.into())))
    }
}

impl stdin::Host for Cli<'_> {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        Ok(self.table.push(Box::new(self.given.stdin().clone()) as DynInputStream)?)
    }
}

impl stdout::Host for Cli<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.table.push(self.given.stdout())?)
    }
}

impl stderr::Host for Cli<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.table.push(self.given.stderr().p2_stream())?)
    }
}

// There are no terminals.

impl terminal_stdin::Host for Cli<'_> {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<terminal_stdin::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for Cli<'_> {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<terminal_stdout::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for Cli<'_> {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<terminal_stderr::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_input::Host for Cli<'_> {}
impl terminal_input::HostTerminalInput for Cli<'_> {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_output::Host for Cli<'_> {}
impl terminal_output::HostTerminalOutput for Cli<'_> {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
