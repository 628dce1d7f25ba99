//! Values: any arguments are refused with their place, or are values that are written as they were meant.
//!
//! ```text
//! byte 0         how many bytes say the signature
//! so many bytes  a signature, built from them
//! the rest       the arguments in JSON
//! ```

use bellcage::component::Signature;
use bellcage::component::signature::{WitType, WitValue};
use serde_json::Value;

const RESULT_MAX: u64 = 1 << 20;

pub fn check(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((types, text)) = rest.split_at_checked(usize::from(length)) else { return };
    let signature = Bytes(types).signature();
    check_stored(&signature);
    let _ = signature.json_schema();
    let Ok(args) = serde_json::from_slice::<Value>(text) else { return };
    match signature.read(&args) {
        Ok(values) => {
            assert_eq!(values.len(), signature.params.len());
            for ((_, ty), value) in signature.params.iter().zip(&values) {
                check_written(ty, value);
            }
        }
        Err(error) => assert!(error.to_string().contains("args"), "{error}"),
    }
}

fn check_stored(signature: &Signature) {
    let stored = serde_json::to_vec(signature).expect("a signature is plain data");
    assert_eq!(&serde_json::from_slice::<Signature>(&stored).expect("what was stored can be read"), signature);
}

/// A value that is written and read again is the same value, and its size is what was said.
fn check_written(ty: &WitType, value: &WitValue) {
    let Ok((json, bytes)) = ty.write(value, RESULT_MAX) else { return };
    assert_eq!(json.to_string().len() as u64, bytes, "{json}");
    assert!(bytes == 0 || ty.write(value, bytes - 1).is_err(), "{json} fits into less than it takes");
    let one = Signature { params: vec![("it".to_owned(), ty.clone())], result: None };
    let again = one.read(&Value::Array(vec![json.clone()])).unwrap_or_else(|e| panic!("{json} of {ty}: {e}"));
    let rewritten = ty.write(&again[0], RESULT_MAX).map(|(json, _)| json);
    assert_eq!(rewritten.as_ref(), Ok(&json), "{ty}");
}

/// Types from bytes: each takes some, and none are left at the end of any nesting.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn signature(mut self) -> Signature {
        let count = self.next() % 4;
        let params = (0..count).map(|n| (name(n), self.ty(6))).collect();
        Signature { params, result: Some(self.ty(6)) }
    }

    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn ty(&mut self, depth: u8) -> WitType {
        let plain = [
            WitType::Bool,
            WitType::S8,
            WitType::U8,
            WitType::S16,
            WitType::U16,
            WitType::S32,
            WitType::U32,
            WitType::S64,
            WitType::U64,
            WitType::F32,
            WitType::F64,
            WitType::Char,
            WitType::String,
        ];
        let kind = usize::from(self.next()) % (plain.len() + 10);
        if let Some(plain) = plain.get(kind) {
            return plain.clone();
        }
        let Some(below) = depth.checked_sub(1) else { return WitType::Bool };
        let count = 1 + self.next() % 3;
        match kind - plain.len() {
            0 => WitType::List(Box::new(self.ty(below))),
            1 => WitType::Tuple((0..count).map(|_| self.ty(below)).collect()),
            2 => WitType::Record((0..count).map(|n| (name(n), self.ty(below))).collect()),
            3 => WitType::Variant((0..count).map(|n| (name(n), self.maybe(below))).collect()),
            4 => WitType::Enum((0..count).map(name).collect()),
            5 => WitType::Option(Box::new(self.ty(below))),
            6 => WitType::Result { ok: self.maybe(below).map(Box::new), err: self.maybe(below).map(Box::new) },
            7 => WitType::Flags((0..count).map(name).collect()),
            8 => WitType::List(Box::new(WitType::U8)),
            _ => WitType::Unsupported("a resource".to_owned()),
        }
    }

    fn maybe(&mut self, depth: u8) -> Option<WitType> {
        (self.next() % 2 == 1).then(|| self.ty(depth))
    }
}

fn name(n: u8) -> String {
    ["a", "some", "ok", "err-or"][usize::from(n) % 4].to_owned()
}
