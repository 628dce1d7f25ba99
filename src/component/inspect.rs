//! What a component offers and needs, read from its type.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    pub entries: Vec<EntryInfo>,
    /// Imported interfaces, by full name.
    pub imports: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// As in a reference: `main`, `func`, `interface.func`.
    pub name: String,
    pub kind: EntryKind,
    /// Its WIT signature, such as `func(day: string) -> result<u32, string>`; empty for `main`.
    pub signature: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `wasi:cli/run`.
    Command,
    Function,
}

/// Characters of a signature; types may repeat each other, and their text then grows out of proportion.
const SIGNATURE_MAX: usize = 2_000;

/// The export that makes a component a command, for any 0.2 version.
pub fn is_command_export(name: &str) -> bool {
    name.strip_prefix("wasi:cli/run@").is_some_and(|version| version.starts_with("0.2."))
}

pub fn inspect(component: &Component) -> Inspection {
    let engine = component.engine();
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let interfaces: Vec<_> = ty.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_))).map(|(name, _)| name).collect();
    let mut entries = Vec::new();
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(func) => entries.push(function(name.to_owned(), &func)),
            ComponentItem::ComponentInstance(_) if is_command_export(name) => {
                entries.push(EntryInfo { name: "main".to_owned(), kind: EntryKind::Command, signature: String::new() });
            }
            ComponentItem::ComponentInstance(instance) => {
                // The short name where it can only mean one interface.
                let unique = interfaces.iter().filter(|other| short(other) == short(name)).count() == 1;
                let interface = if unique { short(name) } else { name };
                for (func_name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(func) = item.ty {
                        entries.push(function(format!("{interface}.{func_name}"), &func));
                    }
                }
            }
            _ => {}
        }
    }
    // A resource's methods, as in `[method]counter.next`, cannot be called on their own.
    entries.retain(|entry| !entry.name.contains('['));
    Inspection { entries, imports }
}

/// `api` of `acme:reports/api@1.0.0`.
fn short(interface: &str) -> &str {
    let path = interface.split_once('@').map_or(interface, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn function(name: String, func: &ComponentFunc) -> EntryInfo {
    EntryInfo { name, kind: EntryKind::Function, signature: signature(func) }
}

fn signature(func: &ComponentFunc) -> String {
    let params: Vec<_> = func.params().map(|(name, ty)| format!("{name}: {}", wit(&ty))).collect();
    let mut text = format!("{}func({})", if func.async_() { "async " } else { "" }, params.join(", "));
    if let Some(result) = func.results().next() {
        let _ = write!(text, " -> {}", wit(&result));
    }
    match text.char_indices().nth(SIGNATURE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A type as WIT writes it; records and variants, which have no names of their own here, are written out.
fn wit(ty: &Type) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Float32 => "f32".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(inner) => format!("list<{}>", wit(&inner.ty())),
        Type::Option(inner) => format!("option<{}>", wit(&inner.ty())),
        Type::Tuple(tuple) => format!("tuple<{}>", list(tuple.types().map(|t| wit(&t)).collect())),
        Type::Record(record) => format!("record {{ {} }}", list(record.fields().map(|f| format!("{}: {}", f.name, wit(&f.ty))).collect())),
        Type::Variant(variant) => format!("variant {{ {} }}", list(variant.cases().map(|c| format!("{}{}", c.name, payload(c.ty.as_ref()))).collect())),
        Type::Enum(names) => format!("enum {{ {} }}", list(names.names().map(str::to_owned).collect())),
        Type::Flags(names) => format!("flags {{ {} }}", list(names.names().map(str::to_owned).collect())),
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => "result".to_owned(),
            (Some(ok), None) => format!("result<{}>", wit(&ok)),
            (None, Some(err)) => format!("result<_, {}>", wit(&err)),
            (Some(ok), Some(err)) => format!("result<{}, {}>", wit(&ok), wit(&err)),
        },
        Type::Own(_) => "own<resource>".to_owned(),
        Type::Borrow(_) => "borrow<resource>".to_owned(),
        // Behind features that our engines keep off.
        Type::Map(_) | Type::FixedLengthList(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => "unsupported".to_owned(),
    }
}

fn payload(ty: Option<&Type>) -> String {
    ty.map_or_else(String::new, |ty| format!("({})", wit(ty)))
}
