//! Makes a component of a core module: what `wasm-tools component embed` and `component new --adapt` do together, for the
//! languages whose compilers stop at a core module.
//!
//!     componentize [--command] [--utf16] [--wit PATH WORLD] [--rename FROM=TO]… IN OUT
//!
//! IN is a core module or WebAssembly text; text that already is a component is only encoded. `--command` adapts a WASI
//! preview 1 program (else a library); `--wit` says which world a module without embedded types has; `--utf16` that its
//! strings are UTF-16; `--rename` renames an export, for compilers that cannot write names such as `a:b/c@1.0.0#d`.
use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider as adapter;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

#[derive(Default)]
struct Options {
    command: bool,
    utf16: bool,
    wit: Option<(PathBuf, String)>,
    renames: HashMap<String, String>,
    files: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let options = parse(std::env::args().skip(1))?;
    let [input, output] = &options.files[..] else { bail!("two files are needed: IN and OUT") };
    let module = wat::parse_file(input).with_context(|| format!("failed to read {}", input.display()))?;
    let component = if wasmparser::Parser::is_component(&module) { module } else { componentize(module, &options)? };
    std::fs::write(output, component).with_context(|| format!("failed to write {}", output.display()))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--command" => options.command = true,
            "--utf16" => options.utf16 = true,
            "--wit" => options.wit = Some((args.next().context("--wit needs a path")?.into(), args.next().context("--wit needs a world")?)),
            "--rename" => {
                let names = args.next().context("--rename needs FROM=TO")?;
                let (from, to) = names.split_once('=').context("--rename needs FROM=TO")?;
                options.renames.insert(from.into(), to.into());
            }
            flag if flag.starts_with("--") => bail!("unknown option {flag}"),
            file => options.files.push(file.into()),
        }
    }
    Ok(options)
}

fn componentize(module: Vec<u8>, options: &Options) -> Result<Vec<u8>> {
    let mut module = if options.renames.is_empty() { module } else { rename_exports(&module, &options.renames)? };
    if let Some((path, world)) = &options.wit {
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_path(path)?;
        let world = resolve.select_world(&[package], Some(world))?;
        let strings = if options.utf16 { StringEncoding::UTF16 } else { StringEncoding::UTF8 };
        embed_component_metadata(&mut module, &resolve, world, strings, false)?;
    }
    let preview1 = if options.command { adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER } else { adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER };
    ComponentEncoder::default().validate(true).module(&module)?.adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, preview1)?.encode()
}

fn rename_exports(module: &[u8], renames: &HashMap<String, String>) -> Result<Vec<u8>> {
    let mut renamed = wasm_encoder::Module::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        match payload? {
            wasmparser::Payload::ExportSection(exports) => {
                let mut section = wasm_encoder::ExportSection::new();
                for export in exports {
                    let export = export?;
                    let name = renames.get(export.name).map_or(export.name, String::as_str);
                    section.export(name, RoundtripReencoder.export_kind(export.kind)?, export.index);
                }
                renamed.section(&section);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    renamed.section(&wasm_encoder::RawSection { id, data: &module[range.start as usize..range.end as usize] });
                }
            }
        }
    }
    Ok(renamed.finish())
}
