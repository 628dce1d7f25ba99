//! What guests may import: WASI 0.2, interface by interface. What is not listed here does not link.
//!
//! That an interface links says nothing about what it gives: there are no preopened directories, no sockets and no
//! name lookups (see `Guest::new`), so guests whose standard library imports these find them empty or denied.
//! Every call into an interface passes its getter, which is where it is counted.

mod random;

use wasmtime::Engine;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

use super::guest::Guest;
use crate::component::{ComponentError, as_shown};
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
                use bindings::$($module)::+ as interface;
                interface::add_to_linker::<Guest, $data>(linker, $(&$options,)? |guest| guest.counted(Interface::$variant).$view())?;
            })*
            Ok(())
        }
    };
}

interfaces! {
    Environment "wasi:cli/environment": cli::environment, WasiCli, cli;
    Exit "wasi:cli/exit": cli::exit, WasiCli, cli;
    Stdin "wasi:cli/stdin": cli::stdin, WasiCli, cli;
    Stdout "wasi:cli/stdout": cli::stdout, WasiCli, cli;
    Stderr "wasi:cli/stderr": cli::stderr, WasiCli, cli;
    TerminalInput "wasi:cli/terminal-input": cli::terminal_input, WasiCli, cli;
    TerminalOutput "wasi:cli/terminal-output": cli::terminal_output, WasiCli, cli;
    TerminalStdin "wasi:cli/terminal-stdin": cli::terminal_stdin, WasiCli, cli;
    TerminalStdout "wasi:cli/terminal-stdout": cli::terminal_stdout, WasiCli, cli;
    TerminalStderr "wasi:cli/terminal-stderr": cli::terminal_stderr, WasiCli, cli;
    MonotonicClock "wasi:clocks/monotonic-clock": clocks::monotonic_clock, WasiClocks, clocks;
    WallClock "wasi:clocks/wall-clock": clocks::wall_clock, WasiClocks, clocks;
    Preopens "wasi:filesystem/preopens": filesystem::preopens, WasiFilesystem, filesystem;
    Filesystem "wasi:filesystem/types": filesystem::types, WasiFilesystem, filesystem;
    IoError "wasi:io/error": io::error, Io, table;
    Poll "wasi:io/poll": io::poll, Io, table;
    Streams "wasi:io/streams": io::streams, Io, table;
    Random "wasi:random/random": random::random, Random<'static>, random_capped;
    Insecure "wasi:random/insecure": random::insecure, Random<'static>, random_capped;
    InsecureSeed "wasi:random/insecure-seed": random::insecure_seed, Random<'static>, random_capped;
    InstanceNetwork "wasi:sockets/instance-network": sockets::instance_network, WasiSockets, sockets;
    IpNameLookup "wasi:sockets/ip-name-lookup": sockets::ip_name_lookup, WasiSockets, sockets;
    Network "wasi:sockets/network": sockets::network(sockets_options()), WasiSockets, sockets;
    Tcp "wasi:sockets/tcp": sockets::tcp, WasiSockets, sockets;
    TcpCreateSocket "wasi:sockets/tcp-create-socket": sockets::tcp_create_socket, WasiSockets, sockets;
    Udp "wasi:sockets/udp": sockets::udp, WasiSockets, sockets;
    UdpCreateSocket "wasi:sockets/udp-create-socket": sockets::udp_create_socket, WasiSockets, sockets;
}

/// Nothing unstable.
fn sockets_options() -> bindings::sockets::network::LinkOptions {
    bindings::sockets::network::LinkOptions::default()
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
    import.split_once('@').is_some_and(|(name, version)| version.starts_with("0.2.") && NAMES.contains(&name))
}
