//! `wasi:cli`: what a command is given and where it writes. Ours and not wasmtime-wasi's, whose context comes with random
//! generators and clocks that most guests never ask for; they would cost every attempt more than all that is here.

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::StdoutStream as _;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use crate::executor::output::{EndsSink, Output, WholeSink};

/// What the guest was started with.
pub(in crate::executor) struct Given {
    /// With the program's name.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// What is left of standard input, where there is any.
    pub stdin: Option<MemoryInputPipe>,
    /// `None` where what it prints is for the log.
    pub stdout: Option<Output<WholeSink>>,
    pub stderr: Output<EndsSink>,
}

pub(in crate::executor) struct Cli<'a> {
    pub given: &'a Given,
    pub table: &'a mut ResourceTable,
}

impl HasData for Cli<'static> {
    type Data<'a> = Cli<'a>;
}

impl environment::Host for Cli<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.given.environment.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.given.arguments.clone())
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
        let stdin = self.given.stdin.clone().unwrap_or_else(|| MemoryInputPipe::new(Bytes::new()));
        Ok(self.table.push(Box::new(stdin) as DynInputStream)?)
    }
}

impl stdout::Host for Cli<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream = match &self.given.stdout {
            Some(stdout) => stdout.p2_stream(),
            None => self.given.stderr.p2_stream(),
        };
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for Cli<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.table.push(self.given.stderr.p2_stream())?)
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
