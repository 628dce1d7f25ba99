//! Signatures: what an exported function takes and returns, as plain data, and the JSON forms of its values.
//!
//! Read off a component's type when it is pushed and kept with it, so that arguments can be checked (`check`) and
//! described (`json_schema`) where no engine is at hand. The forms are decided here once, for arguments and results:
//!
//! ```text
//! WIT                       JSON
//! bool                      true, false
//! s8 … s32, u8 … u32        a whole number in the type's range (5.0 counts as 5)
//! s64, u64                  the same, or a string of decimal digits
//! f32, f64                  a number, or "NaN", "Infinity", "-Infinity"
//! char                      a string of one character (one Unicode scalar value)
//! string                    a string
//! list<T>                   an array
//! list<u8>                  a base64 string, or an array
//! tuple<T, …>               an array
//! record                    an object by field name; a missing option is none, an unknown field is refused
//! variant                   "case", or {"case": payload}
//! enum                      "case"
//! option<T>                 null, or the form of T
//! option<option<T>>         null, or {"some": form of option<T>}
//! result<T, E>              {"ok": T} or {"err": E}; null where there is no payload
//! flags                     an array of names
//! ```
//!
//! Names are kebab-case, as in WIT, in one spelling: a wrong one is refused with the nearest that exists.
//! Arguments are an object by parameter name, or an array by position; option parameters may be left out.
//!
//! In results, where there is a choice:
//! * 64-bit integers are numbers up to ±(2⁵³ − 1) and strings beyond, because readers that know only doubles
//!   (JavaScript, jq, spreadsheets) would silently round them.
//! * `list<u8>` is base64: in every language's bindings it is the type for bytes, and an array takes up to four
//!   characters a byte.
//! * An `f32` is written with the fewest digits that name it, so that 0.1 stays 0.1.
//!
//! Resources, streams, futures and error contexts have no JSON form: a function with one in its signature is listed
//! but no job can call it. Everything here is bounded: types by `DEPTH_MAX`, `PARTS_MAX` and `NAMES_MAX`, values by
//! their type's depth and `VALUE_BYTES_MAX`.

mod args;
mod derive;
mod error;
mod names;
mod result;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use error::{ArgError, Problem};
pub use names::Names;
pub use result::ResultTooLarge;

/// How deep types may nest in each other.
pub const DEPTH_MAX: usize = 32;
/// How many types, fields, cases and flags a signature may be made of, each counted as often as it is used.
pub const PARTS_MAX: usize = 2_000;
/// Bytes of all names (parameters, fields, cases, flags) in a signature.
pub const NAMES_MAX: usize = 64 << 10;
/// Host memory that the arguments of one call may take once converted, in bytes. Counted, so that a short text cannot
/// ask for a long value (a list of `{}`, each a record of a thousand absent options).
pub const VALUE_BYTES_MAX: usize = 32 << 20;

/// What a function takes and returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// In order, by name.
    pub params: Vec<(String, WitType)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<WitType>,
}

/// A WIT type, with every type it is made of written out: a component's type keeps no names of its own types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitType {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<WitType>),
    Tuple(Vec<WitType>),
    /// Fields in order, by name.
    Record(Vec<(String, WitType)>),
    /// Cases in order, by name, each with or without a payload.
    Variant(Vec<(String, Option<WitType>)>),
    Enum(Vec<String>),
    Option(Box<WitType>),
    Result {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ok: Option<Box<WitType>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        err: Option<Box<WitType>>,
    },
    Flags(Vec<String>),
    /// No job can give or take it; the text says what it is, such as `a resource`.
    Unsupported(String),
}

/// A value of a `WitType`, which says what it means: fields, cases and flags are by position.
#[derive(Clone, Debug, PartialEq)]
pub enum WitValue {
    Bool(bool),
    /// Of any signed type, within its range.
    Signed(i64),
    /// Of any unsigned type, within its range.
    Unsigned(u64),
    F32(f32),
    F64(f64),
    Char(char),
    String(String),
    /// A `list<u8>`.
    Bytes(Vec<u8>),
    /// Any other list.
    List(Vec<WitValue>),
    /// A tuple's items, or a record's fields, in order.
    Fields(Vec<WitValue>),
    /// A variant's case, with its payload.
    Case(usize, Option<Box<WitValue>>),
    Enum(usize),
    Option(Option<Box<WitValue>>),
    Result(Result<Option<Box<WitValue>>, Option<Box<WitValue>>>),
    /// In the order of the type's names.
    Flags(Vec<usize>),
}

impl Signature {
    /// What keeps every job from calling the function, if anything does: a type without a JSON form.
    pub fn obstacle(&self) -> Option<&str> {
        self.params.iter().map(|(_, ty)| ty).chain(&self.result).find_map(WitType::obstacle)
    }
}

impl WitType {
    fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Unsupported(what) => Some(what),
            Self::List(inner) | Self::Option(inner) => inner.obstacle(),
            Self::Tuple(items) => items.iter().find_map(Self::obstacle),
            Self::Record(fields) => fields.iter().find_map(|(_, ty)| ty.obstacle()),
            Self::Variant(cases) => cases.iter().find_map(|(_, ty)| ty.as_ref()?.obstacle()),
            Self::Result { ok, err } => [ok, err].into_iter().flatten().find_map(|ty| ty.obstacle()),
            _ => None,
        }
    }

    /// The least and the greatest number of an integer type.
    fn range(&self) -> Option<(i128, i128)> {
        Some(match self {
            Self::S8 => (i8::MIN.into(), i8::MAX.into()),
            Self::U8 => (0, u8::MAX.into()),
            Self::S16 => (i16::MIN.into(), i16::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::S32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::S64 => (i64::MIN.into(), i64::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
            _ => return None,
        })
    }

    /// Whether it is an integer type some of whose numbers a double cannot hold.
    fn is_wide(&self) -> bool {
        matches!(self, Self::S64 | Self::U64)
    }

    fn is_option(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}

/// As WIT writes it: `func(day: string, limit: option<u32>) -> result<u32, string>`.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        named(f, self.params.iter().map(|(name, ty)| (name, Some(ty))), ": ", "")?;
        f.write_str(")")?;
        self.result.as_ref().map_or(Ok(()), |ty| write!(f, " -> {ty}"))
    }
}

/// As WIT writes it; types that WIT would have to name are written out.
impl fmt::Display for WitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = match self {
            Self::Bool => "bool",
            Self::S8 => "s8",
            Self::U8 => "u8",
            Self::S16 => "s16",
            Self::U16 => "u16",
            Self::S32 => "s32",
            Self::U32 => "u32",
            Self::S64 => "s64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Char => "char",
            Self::String => "string",
            Self::List(inner) => return write!(f, "list<{inner}>"),
            Self::Option(inner) => return write!(f, "option<{inner}>"),
            Self::Tuple(items) => {
                f.write_str("tuple<")?;
                for (i, ty) in items.iter().enumerate() {
                    write!(f, "{}{ty}", if i == 0 { "" } else { ", " })?;
                }
                return f.write_str(">");
            }
            Self::Record(fields) => {
                f.write_str("record { ")?;
                named(f, fields.iter().map(|(name, ty)| (name, Some(ty))), ": ", "")?;
                return f.write_str(" }");
            }
            Self::Variant(cases) => {
                f.write_str("variant { ")?;
                named(f, cases.iter().map(|(name, ty)| (name, ty.as_ref())), "(", ")")?;
                return f.write_str(" }");
            }
            Self::Enum(names) => return write!(f, "enum {{ {} }}", names.join(", ")),
            Self::Flags(names) => return write!(f, "flags {{ {} }}", names.join(", ")),
            Self::Result { ok: None, err: None } => "result",
            Self::Result { ok: Some(ok), err: None } => return write!(f, "result<{ok}>"),
            Self::Result { ok: None, err: Some(err) } => return write!(f, "result<_, {err}>"),
            Self::Result { ok: Some(ok), err: Some(err) } => return write!(f, "result<{ok}, {err}>"),
            // Not WIT, and so that nobody takes it for WIT.
            Self::Unsupported(what) => return write!(f, "<{what}>"),
        };
        f.write_str(plain)
    }
}

fn named<'a>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = (&'a String, Option<&'a WitType>)>, open: &str, close: &str) -> fmt::Result {
    for (i, (name, ty)) in items.enumerate() {
        write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        if let Some(ty) = ty {
            write!(f, "{open}{ty}{close}")?;
        }
    }
    Ok(())
}
