//! Core modules: made components when they are pushed, in the compile child, so that compilers that stop at a core module
//! need no further tool.
//!
//! ```text
//! exports _start                      a preview 1 program: adapted as a command
//! says its own types                  a library made with wit-bindgen: what its types say
//! exports wasi:cli/run@0.2.N#run      a library that is a command, such as Go's
//! exports functions of numbers        each is an exported function: i32 is s32, i64 is s64
//! ```
//! A library may import preview 1 too. What it imports beside that, nothing here can give.

use std::fmt::Write as _;

use wasi_preview1_component_adapter_provider as adapter;
use wasmparser::types::TypesRef;
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, ValType};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{ComponentError, as_shown, is_command_export};

const PREVIEW1: &str = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
/// Functions of a module that become entries at most.
const FUNCTIONS_MAX: usize = 1_000;
const DETAIL_MAX: usize = 1_000;

/// The component of `module`; the same for the same module.
pub(super) fn adapt(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let refuse = |why: String| ComponentError::CoreModule { why: as_shown(&why, DETAIL_MAX) };
    let outline = Outline::of(module)?;
    let unknown = outline.imports.iter().find(|from| *from != PREVIEW1);
    if let Some(from) = unknown.filter(|_| !outline.has_types) {
        return Err(refuse(format!("it imports from {from:?}, and only WASI preview 1 ({PREVIEW1}) can be given to a core module")));
    }
    let mut module = module.to_vec();
    if let Some(world) = outline.world().map_err(refuse)? {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("adapted.wit", &world).map_err(|e| refuse(format!("{e:#}")))?;
        let world = resolve.select_world(&[package], None).map_err(|e| refuse(format!("{e:#}")))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(|e| refuse(format!("{e:#}")))?;
    }
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).map_err(|e| refuse(format!("{e:#}")))?;
    if outline.imports.iter().any(|from| from == PREVIEW1) || outline.is_program() {
        let preview1 = if outline.is_program() { adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER } else { adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER };
        encoder = encoder.adapter(PREVIEW1, preview1).map_err(|e| refuse(format!("{e:#}")))?;
    }
    encoder.encode().map_err(|e| refuse(format!("{e:#}")))
}

/// What matters of a module.
#[derive(Default)]
struct Outline {
    /// From which modules it imports.
    imports: Vec<String>,
    /// Its exported functions.
    exports: Vec<(String, FuncType)>,
    /// It carries the types of a component.
    has_types: bool,
}

impl Outline {
    fn of(module: &[u8]) -> Result<Self, ComponentError> {
        let invalid = |e: wasmparser::BinaryReaderError| ComponentError::Invalid { detail: as_shown(&e.to_string(), DETAIL_MAX) };
        let types = wasmparser::Validator::new().validate_all(module).map_err(invalid)?;
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(invalid)?;
                        outline.imports.push(import.module.to_owned());
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(invalid)?;
                        if let ExternalKind::Func = export.kind {
                            outline.exports.extend(func_type(&types.as_ref(), export.index).map(|ty| (export.name.to_owned(), ty)));
                        }
                    }
                }
                Payload::CustomSection(section) if section.name().starts_with("component-type") => outline.has_types = true,
                _ => {}
            }
        }
        Ok(outline)
    }

    fn is_program(&self) -> bool {
        self.exports.iter().any(|(name, _)| name == "_start")
    }

    /// The world to give a module that does not say its own; `None` for those that do, and for programs.
    fn world(&self) -> Result<Option<String>, String> {
        if self.has_types || self.is_program() {
            return Ok(None);
        }
        let run = self.exports.iter().find_map(|(name, _)| name.strip_suffix("#run").filter(|interface| is_command_export(interface)));
        if let Some(version) = run.and_then(|interface| interface.strip_prefix("wasi:cli/run@")) {
            let package = format!("package wasi:cli@{version} {{ interface run {{ run: func() -> result; }} }}");
            return Ok(Some(format!("package adapted:module; world adapted {{ export wasi:cli/run@{version}; }} {package}")));
        }
        let (functions, others): (Vec<_>, Vec<_>) = self.exports.iter().filter(|(name, _)| !is_of_the_tools(name)).partition(|(name, ty)| is_entry(name, ty));
        if functions.is_empty() {
            let names: Vec<_> = others.iter().take(5).map(|(name, _)| format!("{name:?}")).collect();
            return Err(match names.is_empty() {
                true => "it exports no function".to_owned(),
                false => format!("of what it exports ({}) nothing is a function of numbers with a name in kebab-case", names.join(", ")),
            });
        }
        let mut world = "package adapted:module; world adapted {".to_owned();
        for (name, ty) in functions.iter().take(FUNCTIONS_MAX) {
            let params: Vec<_> = ty.params().iter().enumerate().filter_map(|(n, ty)| Some(format!("p{n}: {}", wit(*ty)?))).collect();
            let result = ty.results().first().and_then(|ty| wit(*ty)).map_or(String::new(), |ty| format!(" -> {ty}"));
            // Names may be keywords of WIT.
            let _ = write!(world, " export %{name}: func({}){result};", params.join(", "));
        }
        world.push_str(" }");
        Ok(Some(world))
    }
}

fn func_type(types: &TypesRef<'_>, index: u32) -> Option<FuncType> {
    match &types.get(types.core_function_at(index))?.composite_type.inner {
        CompositeInnerType::Func(ty) => Some(ty.clone()),
        _ => None,
    }
}

/// What compilers export beside the functions of the program.
fn is_of_the_tools(name: &str) -> bool {
    name.starts_with('_') || name.starts_with("cabi_") || matches!(name, "malloc" | "free" | "realloc" | "calloc")
}

/// A name that WIT takes, and numbers: at most 16 of them in, as the canonical form passes no more, and one out.
fn is_entry(name: &str, ty: &FuncType) -> bool {
    let word = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split('-').all(word) && ty.params().len() <= 16 && ty.results().len() <= 1 && ty.params().iter().chain(ty.results()).all(|ty| wit(*ty).is_some())
}

fn wit(ty: ValType) -> Option<&'static str> {
    match ty {
        ValType::I32 => Some("s32"),
        ValType::I64 => Some("s64"),
        ValType::F32 => Some("f32"),
        ValType::F64 => Some("f64"),
        _ => None,
    }
}
