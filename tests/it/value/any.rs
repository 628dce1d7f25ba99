//! Any type, and any value of a type.

use bellcage::component::signature::{WitType, WitValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Up to four levels, up to a few dozen parts.
pub fn ty() -> impl Strategy<Value = WitType> {
    let leaf = prop_oneof![
        Just(WitType::Bool),
        Just(WitType::S8),
        Just(WitType::U8),
        Just(WitType::S16),
        Just(WitType::U16),
        Just(WitType::S32),
        Just(WitType::U32),
        Just(WitType::S64),
        Just(WitType::U64),
        Just(WitType::F32),
        Just(WitType::F64),
        Just(WitType::Char),
        Just(WitType::String),
        (1..300usize).prop_map(|n| WitType::Enum(names(n))),
        (1..=32usize).prop_map(|n| WitType::Flags(names(n))),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(WitType::List),
            boxed().prop_map(WitType::Option),
            vec(inner.clone(), 1..5).prop_map(WitType::Tuple),
            vec(inner.clone(), 1..5).prop_map(|types| WitType::Record(names(types.len()).into_iter().zip(types).collect())),
            vec(option::of(inner.clone()), 1..5).prop_map(|types| WitType::Variant(names(types.len()).into_iter().zip(types).collect())),
            (option::of(boxed()), option::of(boxed())).prop_map(|(ok, err)| WitType::Result { ok, err }),
        ]
    })
}

/// Different ones, short and long, some of them those of our own forms.
fn names(count: usize) -> Vec<String> {
    let first = ["ok", "some", "a", "long-name-of-it", "err", "x2-y"];
    (0..count).map(|i| first.get(i).map_or_else(|| format!("n{i}"), |&name| name.to_owned())).collect()
}

pub fn value(ty: &WitType) -> BoxedStrategy<WitValue> {
    let signed = |n: BoxedStrategy<i64>| n.prop_map(WitValue::Signed).boxed();
    let unsigned = |n: BoxedStrategy<u64>| n.prop_map(WitValue::Unsigned).boxed();
    match ty {
        WitType::Bool => any::<bool>().prop_map(WitValue::Bool).boxed(),
        WitType::S8 => signed(any::<i8>().prop_map_into().boxed()),
        WitType::S16 => signed(any::<i16>().prop_map_into().boxed()),
        WitType::S32 => signed(any::<i32>().prop_map_into().boxed()),
        WitType::S64 => signed(prop_oneof![any::<i64>(), -3..3i64, Just(1 << 53), Just(-(1 << 53) + 1)].boxed()),
        WitType::U8 => unsigned(any::<u8>().prop_map_into().boxed()),
        WitType::U16 => unsigned(any::<u16>().prop_map_into().boxed()),
        WitType::U32 => unsigned(any::<u32>().prop_map_into().boxed()),
        WitType::U64 => unsigned(prop_oneof![any::<u64>(), 0..3u64, Just(1 << 53), Just((1 << 53) - 1)].boxed()),
        WitType::F32 => prop_oneof![prop::num::f32::ANY, Just(-0.0), Just(0.1), Just(f32::INFINITY)].prop_map(WitValue::F32).boxed(),
        WitType::F64 => prop_oneof![prop::num::f64::ANY, Just(-0.0), Just(0.1), Just(f64::NEG_INFINITY)].prop_map(WitValue::F64).boxed(),
        WitType::Char => any::<char>().prop_map(WitValue::Char).boxed(),
        WitType::String => any::<String>().prop_map(WitValue::String).boxed(),
        WitType::List(inner) if **inner == WitType::U8 => vec(any::<u8>(), 0..20).prop_map(WitValue::Bytes).boxed(),
        WitType::List(inner) => vec(value(inner), 0..5).prop_map(WitValue::List).boxed(),
        WitType::Tuple(types) => types.iter().map(value).collect::<Vec<_>>().prop_map(WitValue::Fields).boxed(),
        WitType::Record(fields) => fields.iter().map(|(_, ty)| value(ty)).collect::<Vec<_>>().prop_map(WitValue::Fields).boxed(),
        WitType::Variant(cases) => {
            let cases = cases.clone();
            (0..cases.len()).prop_flat_map(move |at| payload(cases[at].1.as_ref()).prop_map(move |payload| WitValue::Case(at, payload))).boxed()
        }
        WitType::Enum(names) => (0..names.len()).prop_map(WitValue::Enum).boxed(),
        WitType::Option(inner) => option::of(value(inner).prop_map(Box::new)).prop_map(WitValue::Option).boxed(),
        WitType::Result { ok, err } => prop_oneof![
            payload(ok.as_deref()).prop_map(|payload| WitValue::Result(Ok(payload))),
            payload(err.as_deref()).prop_map(|payload| WitValue::Result(Err(payload))),
        ]
        .boxed(),
        WitType::Flags(names) => prop::sample::subsequence((0..names.len()).collect::<Vec<_>>(), 0..=names.len()).prop_map(WitValue::Flags).boxed(),
        WitType::Unsupported(what) => unreachable!("no value of {what} is asked for"),
    }
}

fn payload(ty: Option<&WitType>) -> BoxedStrategy<Option<Box<WitValue>>> {
    match ty {
        Some(ty) => value(ty).prop_map(|value| Some(Box::new(value))).boxed(),
        None => Just(None).boxed(),
    }
}
