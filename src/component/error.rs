//! Why a component was refused, or could not be compiled. Serialisable, since the compile child says it to its parent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::queue;
use crate::job::bytes;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentError {
    #[error("the component has {}, at most {} are taken", bytes::about(*.bytes), bytes::format(*.max))]
    TooLarge { bytes: u64, max: u64 },
    #[error("this is not a WebAssembly component")]
    NotWasm,
    #[error("this core WebAssembly module cannot be made a component: {why}")]
    CoreModule { why: String },
    #[error("this is compiled native code; bellcage takes components and compiles them itself")]
    Precompiled,
    #[error("the component ends too early: it is cut off at byte {at}")]
    Truncated { at: u64 },
    /// wasmtime's validator says why.
    #[error("this is not a valid component: {detail}")]
    Invalid { detail: String },
    /// Full names of what it imports and nothing here offers.
    #[error("the component imports {}, which bellcage does not offer", quoted(.imports))]
    UnknownImport { imports: Vec<String> },
    /// An import has an offered name and another shape.
    #[error("an import of the component does not fit what bellcage offers: {detail}")]
    ImportMismatch { detail: String },
    /// Of a package of ours, in a version that is not known here.
    #[error("the component exports {export:?}, which this version of bellcage does not know")]
    UnknownExport { export: String },
    /// An export has a name of ours and another shape.
    #[error("the component's export {export:?} is not what bellcage calls by that name; it has {has}")]
    ExportMismatch { export: String, has: String },
    #[error("the component exports nothing that a job could call")]
    NoEntry,
    #[error("the component needs {asked}; at most {max} can be given")]
    NeedsTooMuch { asked: String, max: String },
    #[error("compiling the component {cap}, more than the {limit} that a compilation may use")]
    OverCap { cap: CompileCap, limit: String },
    /// More of one tenant than may at once.
    #[error("too many components wait to be compiled: {}", queue::held(*.waiting, *.bytes))]
    TooManyWait { waiting: usize, bytes: u64 },
    /// The machine does not offer what the compiler is confined with.
    #[error("nothing is compiled here without {missing}, which this machine does not offer")]
    Unconfined { missing: String },
    /// A panic, an abort or a signal of the compiler.
    #[error("the compiler failed on this component: {how}")]
    CompilerFailed { how: String },
    /// Something we stored cannot be read back.
    #[error("{what} is damaged: {detail}")]
    Damaged { what: String, detail: String },
    /// The machine did not do what it should: files, processes.
    #[error("{what}: {detail}")]
    Machine { what: String, detail: String },
}

/// What a compilation used too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompileCap {
    Cpu,
    Memory,
    Wall,
    ArtefactSize,
}

impl fmt::Display for CompileCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "took too much CPU time",
            Self::Memory => "took too much memory",
            Self::Wall => "took too long",
            Self::ArtefactSize => "gave too much native code",
        })
    }
}

impl ComponentError {
    pub(super) fn machine(what: impl Into<String>, error: impl fmt::Display) -> Self {
        Self::Machine { what: what.into(), detail: error.to_string() }
    }

    /// A fault of ours or of the machine, not of who uploaded.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Machine { .. } | Self::Unconfined { .. })
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "component-too-large",
            Self::NotWasm => "component-not-wasm",
            Self::CoreModule { .. } => "component-core-module",
            Self::Precompiled => "component-precompiled",
            Self::Truncated { .. } => "component-truncated",
            Self::Invalid { .. } => "component-invalid",
            Self::UnknownImport { .. } => "component-unknown-import",
            Self::ImportMismatch { .. } => "component-import-mismatch",
            Self::UnknownExport { .. } => "component-unknown-export",
            Self::ExportMismatch { .. } => "component-export-mismatch",
            Self::NoEntry => "component-no-entry",
            Self::NeedsTooMuch { .. } => "component-needs-too-much",
            Self::OverCap { cap: CompileCap::Cpu, .. } => "compile-cpu",
            Self::OverCap { cap: CompileCap::Memory, .. } => "compile-memory",
            Self::OverCap { cap: CompileCap::Wall, .. } => "compile-wall",
            Self::OverCap { cap: CompileCap::ArtefactSize, .. } => "compile-artefact-size",
            Self::TooManyWait { .. } => "compiler-busy",
            Self::Unconfined { .. } => "compiler-unconfined",
            Self::CompilerFailed { .. } => "compiler-failed",
            Self::Damaged { .. } => "component-damaged",
            Self::Machine { .. } => "component-machine",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TooLarge { .. } => "build it for release and strip it; the cap is server.component_max",
            Self::NotWasm => "push a compiled component, such as what `cargo build --target wasm32-wasip2` writes",
            Self::CoreModule { .. } => {
                "build it for wasm32-wasip2, as a WASI preview 1 program, or as a library whose functions take numbers; or make a component of it with wasm-tools"
            }
            Self::Precompiled => "push the .wasm file that it was compiled from",
            Self::Truncated { .. } => "was it copied or downloaded to its end?",
            Self::Invalid { .. } => "see what is wrong with `wasm-tools validate component.wasm`",
            Self::UnknownImport { .. } => {
                "bellcage offers bellcage:job 0.1 and WASI 0.2: wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random and wasi:sockets"
            }
            Self::UnknownExport { .. } => "bellcage calls typed jobs of bellcage:job 0.1: build it against that, or use a newer bellcage",
            Self::ExportMismatch { .. } => "build it against bellcage:job 0.1 as published: wit/job.wit",
            Self::NoEntry => "export a function, or make it a command (wasi:cli/run) by giving it a main function",
            Self::OverCap { .. } => "a very large function is the usual cause: let the guest's compiler optimise for size, or split it",
            Self::TooManyWait { .. } => "push it again when some of these are done",
            Self::Unconfined { .. } => "see what this machine offers with: bellcage doctor; executor.confinement says what is demanded",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn quoted(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(5).map(|name| format!("{name:?}")).collect();
    let more = names.len() - shown.len();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Text from a component or its guest as it may be shown: no control characters, at most `max` characters of it.
pub fn as_shown(text: &str, max: usize) -> String {
    let mut escaped = String::new();
    for (i, c) in text.chars().enumerate() {
        match c {
            _ if i == max => {
                escaped.push('…');
                break;
            }
            // Also what reorders or hides text on a terminal.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => escaped.extend(c.escape_unicode()),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_guest_cannot_control_a_terminal() {
        assert_eq!(as_shown("a\x1b[31m\nb\u{202e}", 100), "a\\u{1b}[31m\\nb\\u{202e}");
        assert_eq!(as_shown("åäö", 2), "åä…");
    }
}
