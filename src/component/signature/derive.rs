//! A signature read off a component's type.
//!
//! The types come from whoever uploaded the component. They share parts, so that a few hundred bytes can stand for
//! 2⁴⁰ types once written out: hence the budget.

use wasmtime::component::types::{ComponentFunc, Type};

use super::{DEPTH_MAX, NAMES_MAX, PARTS_MAX, Signature, WitType};

impl Signature {
    /// Where a bound is passed, the type in that place is an unsupported one that says so.
    pub fn of(func: &ComponentFunc) -> Self {
        let mut budget = Budget { parts: PARTS_MAX, names: NAMES_MAX };
        let params = func.params().map(|(name, ty)| (budget.name(name), budget.read(&ty, DEPTH_MAX))).collect();
        let result = func.results().next().map(|ty| budget.read(&ty, DEPTH_MAX));
        Self { params, result }
    }
}

/// What a signature may still grow by.
struct Budget {
    parts: usize,
    names: usize,
}

impl Budget {
    /// `depth` is how many levels are left, this one included.
    fn read(&mut self, ty: &Type, depth: usize) -> WitType {
        if depth == 0 {
            return WitType::Unsupported(format!("a type nested deeper than {DEPTH_MAX} levels"));
        }
        let Some(left) = self.parts.checked_sub(1) else {
            return too_long();
        };
        self.parts = left;
        let below = depth - 1;
        let read = match ty {
            Type::Bool => WitType::Bool,
            Type::S8 => WitType::S8,
            Type::U8 => WitType::U8,
            Type::S16 => WitType::S16,
            Type::U16 => WitType::U16,
            Type::S32 => WitType::S32,
            Type::U32 => WitType::U32,
            Type::S64 => WitType::S64,
            Type::U64 => WitType::U64,
            Type::Float32 => WitType::F32,
            Type::Float64 => WitType::F64,
            Type::Char => WitType::Char,
            Type::String => WitType::String,
            Type::List(list) => WitType::List(Box::new(self.read(&list.ty(), below))),
            Type::Option(option) => WitType::Option(Box::new(self.read(&option.ty(), below))),
            Type::Result(result) => {
                let ok = result.ok().map(|ty| Box::new(self.read(&ty, below)));
                WitType::Result { ok, err: result.err().map(|ty| Box::new(self.read(&ty, below))) }
            }
            Type::Tuple(tuple) => self.all(tuple.types(), |budget, ty| budget.read(&ty, below)).map_or_else(too_long, WitType::Tuple),
            Type::Record(record) => {
                self.all(record.fields(), |budget, field| (budget.name(field.name), budget.read(&field.ty, below))).map_or_else(too_long, WitType::Record)
            }
            Type::Variant(variant) => self
                .all(variant.cases(), |budget, case| (budget.name(case.name), case.ty.map(|ty| budget.read(&ty, below))))
                .map_or_else(too_long, WitType::Variant),
            Type::Enum(names) => self.all(names.names(), |budget, name| budget.name(name)).map_or_else(too_long, WitType::Enum),
            Type::Flags(names) => self.all(names.names(), |budget, name| budget.name(name)).map_or_else(too_long, WitType::Flags),
            Type::Own(_) | Type::Borrow(_) => WitType::Unsupported("a resource".to_owned()),
            Type::Future(_) => WitType::Unsupported("a future".to_owned()),
            Type::Stream(_) => WitType::Unsupported("a stream".to_owned()),
            Type::ErrorContext => WitType::Unsupported("an error context".to_owned()),
            // Our engines keep these features off.
            Type::Map(_) => WitType::Unsupported("a map".to_owned()),
            Type::FixedLengthList(_) => WitType::Unsupported("a list of fixed length".to_owned()),
        };
        if self.names == 0 { WitType::Unsupported(format!("a type with more than {NAMES_MAX} bytes of names")) } else { read }
    }

    /// `None` where there are more items than parts left; each counts, be it a mere name.
    fn all<T, R>(&mut self, items: impl ExactSizeIterator<Item = T>, mut each: impl FnMut(&mut Self, T) -> R) -> Option<Vec<R>> {
        self.parts = self.parts.checked_sub(items.len())?;
        Some(items.map(|item| each(self, item)).collect())
    }

    /// Past the budget a name is lost, and then the type around it is refused.
    fn name(&mut self, name: &str) -> String {
        // At zero the budget has been passed.
        self.names = self.names.saturating_sub(name.len());
        if self.names == 0 { String::new() } else { name.to_owned() }
    }
}

fn too_long() -> WitType {
    WitType::Unsupported(format!("a type made of more than {PARTS_MAX} parts"))
}
