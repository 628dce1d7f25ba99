//! What guests may import: WASI 0.2, `wasi:http` (to send), `wasi:keyvalue` and `bellcage:job`, interface by interface. What is not listed here does not link.
//!
//! That an interface links says nothing about what it gives: there are no preopened directories, no sockets and no
//! name lookups (see `Guest::new`), so guests whose standard library imports these find them empty or denied.
//! Every call into an interface passes its getter, which is where it is counted.

mod bindings;
mod cancellation;
mod checkpoint;
mod cli;
mod clocks;
pub(super) mod entry;
pub(super) mod http;
mod keyvalue;
mod logging;
mod progress;
mod random;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Engine;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime_wasi::clocks::WasiClocks;
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::p2::bindings as p2;
use wasmtime_wasi::sockets::WasiSockets;
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p2::bindings::http as p2_http;

use super::guest::Guest;
use crate::component::{ComponentError, JOB_PACKAGE, JOB_VERSIONS, as_shown};
use crate::job::HostCalls;
pub(super) use cancellation::Cancellation;
pub(super) use checkpoint::Checkpoint;
pub(super) use cli::{Cli, Given};
pub(super) use clocks::MonotonicClock;
pub(super) use keyvalue::KeyValue;
pub(super) use logging::Logging;
pub(super) use progress::{Reporting, shown};
pub(super) use random::Random;

/// Streams and pollables need nothing but the table they are in.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

macro_rules! interfaces {
    ($($variant:ident $name:literal: $($module:ident)::+ $(($options:expr))?, $data:ty, $view:ident;)*) => {
        #[derive(Clone, Copy)]
        pub(super) enum Interface { $($variant),* }

        /// By `Interface`.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
            $({
                use $($module)::+ as interface;
                interface::add_to_linker::<Guest, $data>(linker, $(&$options,)? |guest| guest.counted(Interface::$variant).$view())?;
            })*
            Ok(())
        }
    };
}

interfaces! {
    Environment "wasi:cli/environment": p2::cli::environment, Cli<'static>, cli;
    Exit "wasi:cli/exit": p2::cli::exit, Cli<'static>, cli;
    Stdin "wasi:cli/stdin": p2::cli::stdin, Cli<'static>, cli;
    Stdout "wasi:cli/stdout": p2::cli::stdout, Cli<'static>, cli;
    Stderr "wasi:cli/stderr": p2::cli::stderr, Cli<'static>, cli;
    TerminalInput "wasi:cli/terminal-input": p2::cli::terminal_input, Cli<'static>, cli;
    TerminalOutput "wasi:cli/terminal-output": p2::cli::terminal_output, Cli<'static>, cli;
    TerminalStdin "wasi:cli/terminal-stdin": p2::cli::terminal_stdin, Cli<'static>, cli;
    TerminalStdout "wasi:cli/terminal-stdout": p2::cli::terminal_stdout, Cli<'static>, cli;
    TerminalStderr "wasi:cli/terminal-stderr": p2::cli::terminal_stderr, Cli<'static>, cli;
    MonotonicClock "wasi:clocks/monotonic-clock": p2::clocks::monotonic_clock, MonotonicClock<'static>, monotonic_clock;
    WallClock "wasi:clocks/wall-clock": p2::clocks::wall_clock, WasiClocks, clocks;
    Preopens "wasi:filesystem/preopens": p2::filesystem::preopens, WasiFilesystem, filesystem;
    Filesystem "wasi:filesystem/types": p2::filesystem::types, WasiFilesystem, filesystem;
    IoError "wasi:io/error": p2::io::error, Io, table;
    Poll "wasi:io/poll": p2::io::poll, Io, table;
    Streams "wasi:io/streams": p2::io::streams, Io, table;
    Random "wasi:random/random": p2::random::random, Random<'static>, random_capped;
    Insecure "wasi:random/insecure": p2::random::insecure, Random<'static>, random_capped;
    InsecureSeed "wasi:random/insecure-seed": p2::random::insecure_seed, Random<'static>, random_capped;
    InstanceNetwork "wasi:sockets/instance-network": p2::sockets::instance_network, WasiSockets, sockets;
    IpNameLookup "wasi:sockets/ip-name-lookup": p2::sockets::ip_name_lookup, WasiSockets, sockets;
    Network "wasi:sockets/network": p2::sockets::network(sockets_options()), WasiSockets, sockets;
    Tcp "wasi:sockets/tcp": p2::sockets::tcp, WasiSockets, sockets;
    TcpCreateSocket "wasi:sockets/tcp-create-socket": p2::sockets::tcp_create_socket, WasiSockets, sockets;
    Udp "wasi:sockets/udp": p2::sockets::udp, WasiSockets, sockets;
    UdpCreateSocket "wasi:sockets/udp-create-socket": p2::sockets::udp_create_socket, WasiSockets, sockets;
    HttpTypes "wasi:http/types": p2_http::types(http_options()), WasiHttp, http;
    OutgoingHandler "wasi:http/outgoing-handler": p2_http::outgoing_handler, WasiHttp, http;
    KvStore "wasi:keyvalue/store": bindings::keyvalue::store, KeyValue<'static>, key_value;
    KvAtomics "wasi:keyvalue/atomics": bindings::keyvalue::atomics, KeyValue<'static>, key_value;
    Types "bellcage:job/types": bindings::types, entry::Types, types;
    Logging "bellcage:job/logging": bindings::logging, Logging<'static>, logging;
    Progress "bellcage:job/progress": bindings::progress, Reporting<'static>, reporting;
    Cancellation "bellcage:job/cancellation": bindings::cancellation, Cancellation<'static>, cancellation;
    Checkpoint "bellcage:job/checkpoint": bindings::checkpoint, Checkpoint<'static>, checkpoint;
}

/// Nothing unstable.
fn sockets_options() -> p2::sockets::network::LinkOptions {
    p2::sockets::network::LinkOptions::default()
}

fn http_options() -> p2_http::types::LinkOptions {
    p2_http::types::LinkOptions::default()
}

/// How often a guest has called which interfaces, by `Interface`: counted by the one thread that runs it. A list is made of it by whoever
/// keeps that: what one thread takes and another gives back makes them wait for each other's allocator.
pub(super) struct Calls([AtomicU64; NAMES.len()]);

impl Default for Calls {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }
}

impl Calls {
    pub fn count(&self, interface: Interface) {
        let calls = &self.0[interface as usize];
        calls.store(calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Of an attempt that begins anew.
    pub fn forget(&self) {
        self.0.iter().for_each(|calls| calls.store(0, Ordering::Relaxed));
    }

    /// Those that were called.
    pub fn counts(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..).zip(&self.0).map(|(interface, count)| (interface, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }
}

/// With their names. What is no interface, or more than there are, as a worker may say that a guest got out into, is left out.
pub(super) fn by_interface(counts: impl IntoIterator<Item = (u8, u64)>) -> HostCalls {
    let named = |(interface, count)| Some((Cow::Borrowed(*NAMES.get(usize::from(interface))?), count));
    counts.into_iter().take(NAMES.len()).filter_map(named).collect()
}

/// Everything that guests of `engine` may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    link(&mut linker)?;
    Ok(linker)
}

/// Refuses a component that imports anything else, by name.
pub(super) fn check_imports(component: &Component) -> Result<(), ComponentError> {
    let engine = component.engine();
    let unknown: Vec<_> = component.component_type().imports(engine).map(|(name, _)| name).filter(|name| !is_offered(name)).map(str::to_owned).collect();
    if !unknown.is_empty() {
        return Err(ComponentError::UnknownImport { imports: unknown.into_iter().take(20).collect() });
    }
    let fits = linker(engine).and_then(|linker| linker.instantiate_pre(component));
    fits.map(|_| ()).map_err(|e| ComponentError::ImportMismatch { detail: as_shown(&format!("{e:#}"), 1_000) })
}

fn is_offered(import: &str) -> bool {
    let offered = |name: &str| match name {
        _ if name.starts_with(JOB_PACKAGE) => JOB_VERSIONS,
        _ if name.starts_with("wasi:keyvalue/") => "0.2.0-draft",
        _ => "0.2.",
    };
    import.split_once('@').is_some_and(|(name, version)| version.starts_with(offered(name)) && NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_calls_every_interface_that_was_called_has_its_name_and_no_other() {
        let calls = Calls::default();
        [Interface::Checkpoint, Interface::Exit, Interface::Checkpoint].into_iter().for_each(|interface| calls.count(interface));
        let lies = std::iter::once((u8::MAX, 7)).chain(std::iter::repeat_n((Interface::Exit as u8, 1), 1_000_000));
        assert!(by_interface(calls.counts().chain(lies)).iter().eq([("bellcage:job/checkpoint", 2), ("wasi:cli/exit", 1)]));
    }
}
