//! A component for any type: its function `echo` takes a list of values of the type and gives the list back.
//!
//! The list arrives in the guest's memory in the very layout in which it must be returned, so that one core function
//! serves every type.

use std::fmt::Write as _;

use bellcage::component::signature::WitType;

use crate::support::wat;

pub fn component(ty: &WitType) -> Vec<u8> {
    let mut defined = String::new();
    let ty = define(ty, &mut 0, &mut defined);
    wat::component(&format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 16))
                (func (export "realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32) (local $start i32) (local $pages i32)
                    (local.set $start (i32.and
                        (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                        (i32.sub (i32.const 0) (local.get $align))))
                    (global.set $next (i32.add (local.get $start) (local.get $size)))
                    (local.set $pages (i32.sub (i32.shr_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 16)) (memory.size)))
                    (if (i32.gt_s (local.get $pages) (i32.const 0)) (then (drop (memory.grow (local.get $pages)))))
                    (local.get $start))
                (func (export "echo") (param $start i32) (param $length i32) (result i32)
                    (i32.store (i32.const 0) (local.get $start))
                    (i32.store (i32.const 4) (local.get $length))
                    (i32.const 0)))
            (core instance $i (instantiate $m))
            (alias core export $i "memory" (core memory $memory))
            (alias core export $i "realloc" (core func $realloc))
            {defined}
            (func (export "echo") (param "values" (list {ty})) (result (list {ty}))
                (canon lift (core func $i "echo") (memory $memory) (realloc $realloc))))"#
    ))
}

/// The type as text; those that need a name are defined (and exported, as the rules ask) before.
fn define(ty: &WitType, names: &mut usize, defined: &mut String) -> String {
    let quoted = |names: &[String]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" ");
    let text = match ty {
        WitType::List(inner) => return format!("(list {})", define(inner, names, defined)),
        WitType::Option(inner) => return format!("(option {})", define(inner, names, defined)),
        WitType::Tuple(items) => {
            let items: Vec<_> = items.iter().map(|ty| define(ty, names, defined)).collect();
            return format!("(tuple {})", items.join(" "));
        }
        WitType::Result { ok, err } => {
            let ok = ok.as_ref().map(|ty| define(ty, names, defined)).unwrap_or_default();
            let err = err.as_ref().map(|ty| format!("(error {})", define(ty, names, defined))).unwrap_or_default();
            return format!("(result {ok} {err})");
        }
        WitType::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, ty)| format!("(field {name:?} {})", define(ty, names, defined))).collect();
            format!("(record {})", fields.join(" "))
        }
        WitType::Variant(cases) => {
            let mut payload = |ty: &Option<WitType>| ty.as_ref().map(|ty| define(ty, names, defined)).unwrap_or_default();
            let cases: Vec<_> = cases.iter().map(|(name, ty)| format!("(case {name:?} {})", payload(ty))).collect();
            format!("(variant {})", cases.join(" "))
        }
        WitType::Enum(cases) => format!("(enum {})", quoted(cases)),
        WitType::Flags(flags) => format!("(flags {})", quoted(flags)),
        plain => return plain.to_string(),
    };
    *names += 1;
    let _ = write!(defined, r#"(type $d{names} {text}) (export $t{names} "t{names}" (type $d{names}))"#);
    format!("$t{names}")
}
