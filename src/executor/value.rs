//! Calling an exported function with values: what crosses between `component::signature`'s values and wasmtime's.
//!
//! The forms in JSON, and what does not fit, are decided there; here nothing can be wrong with an argument any more.

use serde_json::Value;
use wasmtime::component::Val;

use crate::component::Signature;
use crate::component::signature::{Names, ResultTooLarge, WitType, WitValue};
use crate::job::Limits;

/// What a function gave back.
#[derive(Debug, PartialEq)]
pub(super) enum Returned {
    /// A value, `ok` of a result, or null for a function that gives nothing.
    Value { json: Value, bytes: u64 },
    /// `err` of a result: the guest says that it failed.
    Err { json: Value, bytes: u64 },
}

/// The bytes that wasmtime may lift out of the guest at once, in its own measure, when a function is called: what a result
/// of `limits.result` bytes of JSON can take at most. The worst is a `list<u8>`: a `Val` for each byte, three bytes of it
/// in four of base64.
pub(super) fn lifted_max(limits: &Limits) -> usize {
    let worst = limits.result.div_ceil(4).saturating_mul(3 * size_of::<Val>() as u64).saturating_add(1 << 10);
    usize::try_from(limits.host_call_bytes.max(worst)).unwrap_or(usize::MAX)
}

/// The arguments as wasmtime takes them; `values` were read for `signature`.
pub(super) fn to_vals(values: Vec<WitValue>, signature: &Signature) -> Vec<Val> {
    values.into_iter().zip(&signature.params).map(|(value, (_, ty))| to_val(value, ty)).collect()
}

/// What the function returned, at most `max` bytes of JSON.
pub(super) fn returned(val: Option<Val>, signature: &Signature, max: u64) -> Result<Returned, ResultTooLarge> {
    let write = |ty: &WitType, val: Val| ty.write(&from_val(val, ty, &mut Names::default()), max);
    let payload = |ty: &Option<Box<WitType>>, val: Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => write(ty, *val),
        _ => Ok((Value::Null, 4)),
    };
    let (json, bytes) = match (&signature.result, val) {
        (Some(WitType::Result { err, .. }), Some(Val::Result(Err(val)))) => {
            return payload(err, val).map(|(json, bytes)| Returned::Err { json, bytes });
        }
        (Some(WitType::Result { ok, .. }), Some(Val::Result(Ok(val)))) => payload(ok, val)?,
        (Some(ty), Some(val)) => write(ty, val)?,
        _ => (Value::Null, 4),
    };
    Ok(Returned::Value { json, bytes })
}

fn to_val(value: WitValue, ty: &WitType) -> Val {
    let boxed = |value: Option<Box<WitValue>>, ty: Option<&WitType>| value.zip(ty).map(|(value, ty)| Box::new(to_val(*value, ty)));
    let all = |values: Vec<WitValue>, ty: &WitType| values.into_iter().map(|value| to_val(value, ty)).collect();
    match (ty, value) {
        (_, WitValue::Bool(b)) => Val::Bool(b),
        // Each was read within its type's range.
        (WitType::S8, WitValue::Signed(n)) => Val::S8(n as i8),
        (WitType::S16, WitValue::Signed(n)) => Val::S16(n as i16),
        (WitType::S32, WitValue::Signed(n)) => Val::S32(n as i32),
        (_, WitValue::Signed(n)) => Val::S64(n),
        (WitType::U8, WitValue::Unsigned(n)) => Val::U8(n as u8),
        (WitType::U16, WitValue::Unsigned(n)) => Val::U16(n as u16),
        (WitType::U32, WitValue::Unsigned(n)) => Val::U32(n as u32),
        (_, WitValue::Unsigned(n)) => Val::U64(n),
        (_, WitValue::F32(n)) => Val::Float32(n),
        (_, WitValue::F64(n)) => Val::Float64(n),
        (_, WitValue::Char(c)) => Val::Char(c),
        (_, WitValue::String(text)) => Val::String(text),
        (_, WitValue::Bytes(bytes)) => Val::List(bytes.into_iter().map(Val::U8).collect()),
        (WitType::List(inner), WitValue::List(items)) => Val::List(all(items, inner)),
        (WitType::Tuple(types), WitValue::Fields(items)) => Val::Tuple(items.into_iter().zip(types).map(|(item, ty)| to_val(item, ty)).collect()),
        (WitType::Record(fields), WitValue::Fields(items)) => {
            Val::Record(items.into_iter().zip(fields).map(|(item, (name, ty))| (name.clone(), to_val(item, ty))).collect())
        }
        (WitType::Variant(cases), WitValue::Case(at, payload)) => {
            let (name, ty) = cases.get(at).map_or_else(Default::default, |(name, ty)| (name.clone(), ty.as_ref()));
            Val::Variant(name, boxed(payload, ty))
        }
        (WitType::Enum(names), WitValue::Enum(at)) => Val::Enum(names.get(at).cloned().unwrap_or_default()),
        (WitType::Option(inner), WitValue::Option(some)) => Val::Option(boxed(some, Some(inner))),
        (WitType::Result { ok, .. }, WitValue::Result(Ok(payload))) => Val::Result(Ok(boxed(payload, ok.as_deref()))),
        (WitType::Result { err, .. }, WitValue::Result(Err(payload))) => Val::Result(Err(boxed(payload, err.as_deref()))),
        (WitType::Flags(names), WitValue::Flags(set)) => Val::Flags(set.into_iter().filter_map(|at| names.get(at).cloned()).collect()),
        // A value that was not read for this type: wasmtime refuses what this makes of it.
        _ => Val::Tuple(Vec::new()),
    }
}

fn from_val<'a>(val: Val, ty: &'a WitType, names: &mut Names<'a>) -> WitValue {
    let mut boxed = |val: Option<Box<Val>>, ty: Option<&'a WitType>| val.zip(ty).map(|(val, ty)| Box::new(from_val(*val, ty, names)));
    match (ty, val) {
        (_, Val::Bool(b)) => WitValue::Bool(b),
        (_, Val::S8(n)) => WitValue::Signed(n.into()),
        (_, Val::S16(n)) => WitValue::Signed(n.into()),
        (_, Val::S32(n)) => WitValue::Signed(n.into()),
        (_, Val::S64(n)) => WitValue::Signed(n),
        (_, Val::U8(n)) => WitValue::Unsigned(n.into()),
        (_, Val::U16(n)) => WitValue::Unsigned(n.into()),
        (_, Val::U32(n)) => WitValue::Unsigned(n.into()),
        (_, Val::U64(n)) => WitValue::Unsigned(n),
        (_, Val::Float32(n)) => WitValue::F32(n),
        (_, Val::Float64(n)) => WitValue::F64(n),
        (_, Val::Char(c)) => WitValue::Char(c),
        (_, Val::String(text)) => WitValue::String(text),
        (WitType::List(inner), Val::List(items)) if **inner == WitType::U8 => {
            WitValue::Bytes(items.into_iter().map(|item| if let Val::U8(byte) = item { byte } else { 0 }).collect())
        }
        (WitType::List(inner), Val::List(items)) => WitValue::List(items.into_iter().map(|item| from_val(item, inner, names)).collect()),
        (WitType::Tuple(types), Val::Tuple(items)) => WitValue::Fields(items.into_iter().zip(types).map(|(item, ty)| from_val(item, ty, names)).collect()),
        (WitType::Record(fields), Val::Record(items)) => {
            WitValue::Fields(items.into_iter().zip(fields).map(|((_, item), (_, ty))| from_val(item, ty, names)).collect())
        }
        (WitType::Variant(cases), Val::Variant(name, payload)) => {
            let at = names.find_case(cases, &name).unwrap_or(cases.len());
            let ty = cases.get(at).and_then(|(_, ty)| ty.as_ref());
            WitValue::Case(at, payload.zip(ty).map(|(val, ty)| Box::new(from_val(*val, ty, names))))
        }
        (WitType::Enum(cases), Val::Enum(name)) => WitValue::Enum(names.find(cases, &name).unwrap_or(cases.len())),
        (WitType::Option(inner), Val::Option(some)) => WitValue::Option(boxed(some, Some(inner))),
        (WitType::Result { ok, .. }, Val::Result(Ok(payload))) => WitValue::Result(Ok(boxed(payload, ok.as_deref()))),
        (WitType::Result { err, .. }, Val::Result(Err(payload))) => WitValue::Result(Err(boxed(payload, err.as_deref()))),
        (WitType::Flags(flags), Val::Flags(set)) => WitValue::Flags(set.iter().map(|name| names.find(flags, name).unwrap_or(flags.len())).collect()),
        // A function with any other type in its signature is never called.
        _ => WitValue::Option(None),
    }
}
