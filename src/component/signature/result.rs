//! Results: values to JSON, never more of it than was allowed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Number, Value};

use super::{WitType, WitValue};

/// The JSON text of a value is longer than was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value takes more than {max} bytes of JSON")]
pub struct ResultTooLarge {
    pub max: u64,
}

impl WitType {
    /// The JSON form of `value`, which is of this type, and how many bytes its compact text takes: at most `max`.
    pub fn write(&self, value: &WitValue, max: u64) -> Result<(Value, u64), ResultTooLarge> {
        let mut writer = Writer { left: max };
        let json = writer.value(self, value).ok_or(ResultTooLarge { max })?;
        Ok((json, max - writer.left))
    }
}

struct Writer {
    /// Bytes of text that may still be written.
    left: u64,
}

/// `None`: too large.
impl Writer {
    fn take(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes as u64)?;
        Some(())
    }

    fn value(&mut self, ty: &WitType, value: &WitValue) -> Option<Value> {
        match (ty, value) {
            (_, WitValue::Bool(b)) => self.plain(Value::Bool(*b)),
            (_, WitValue::Signed(n)) if exact(n.unsigned_abs()) => self.plain((*n).into()),
            (_, WitValue::Signed(n)) => self.text(n.to_string()),
            (_, WitValue::Unsigned(n)) if exact(*n) => self.plain((*n).into()),
            (_, WitValue::Unsigned(n)) => self.text(n.to_string()),
            (_, WitValue::F32(n)) => self.float(shortest(*n)),
            (_, WitValue::F64(n)) => self.float(*n),
            (_, WitValue::Char(c)) => self.text(c.to_string()),
            (_, WitValue::String(text)) => self.text(text.clone()),
            (_, WitValue::Bytes(bytes)) => {
                // Looked at before it is made.
                (bytes.len().div_ceil(3) * 4 <= usize::try_from(self.left).unwrap_or(usize::MAX)).then_some(())?;
                self.text(BASE64_STANDARD.encode(bytes))
            }
            (WitType::List(inner), WitValue::List(items)) => self.array(items.iter().map(|item| (&**inner, item))),
            (WitType::Tuple(types), WitValue::Fields(items)) => self.array(types.iter().zip(items)),
            (WitType::Record(fields), WitValue::Fields(items)) => {
                let mut object = Map::new();
                self.take(2 + fields.len().saturating_sub(1))?;
                for ((name, ty), item) in fields.iter().zip(items) {
                    self.key(name)?;
                    object.insert(name.clone(), self.value(ty, item)?);
                }
                Some(Value::Object(object))
            }
            (WitType::Variant(cases), WitValue::Case(at, payload)) => match (cases.get(*at)?, payload) {
                ((name, Some(ty)), Some(payload)) => self.single(name, Some((ty, payload))),
                ((name, _), _) => self.text(name.clone()),
            },
            (WitType::Enum(names), WitValue::Enum(at)) => self.text(names.get(*at)?.clone()),
            (WitType::Option(_), WitValue::Option(None)) => self.plain(Value::Null),
            (WitType::Option(inner), WitValue::Option(Some(some))) if inner.is_option() => self.single("some", Some((inner, some))),
            (WitType::Option(inner), WitValue::Option(Some(some))) => self.value(inner, some),
            (WitType::Result { ok, .. }, WitValue::Result(Ok(payload))) => self.single("ok", ok.as_deref().zip(payload.as_deref())),
            (WitType::Result { err, .. }, WitValue::Result(Err(payload))) => self.single("err", err.as_deref().zip(payload.as_deref())),
            (WitType::Flags(names), WitValue::Flags(set)) => {
                self.take(2 + set.len().saturating_sub(1))?;
                set.iter().map(|at| self.text(names.get(*at)?.clone())).collect::<Option<_>>().map(Value::Array)
            }
            // A value is made for its type, so that the two cannot differ.
            _ => self.plain(Value::Null),
        }
    }

    fn array<'a>(&mut self, items: impl ExactSizeIterator<Item = (&'a WitType, &'a WitValue)>) -> Option<Value> {
        self.take(2 + items.len().saturating_sub(1))?;
        items.map(|(ty, item)| self.value(ty, item)).collect::<Option<_>>().map(Value::Array)
    }

    fn single(&mut self, name: &str, payload: Option<(&WitType, &WitValue)>) -> Option<Value> {
        self.take(2)?;
        self.key(name)?;
        let json = match payload {
            Some((ty, value)) => self.value(ty, value)?,
            None => self.plain(Value::Null)?,
        };
        Some(Value::Object(Map::from_iter([(name.to_owned(), json)])))
    }

    /// A field's name and its colon.
    fn key(&mut self, name: &str) -> Option<()> {
        self.take(text_bytes(name) + 1)
    }

    fn text(&mut self, text: String) -> Option<Value> {
        self.take(text_bytes(&text))?;
        Some(Value::String(text))
    }

    fn float(&mut self, n: f64) -> Option<Value> {
        match Number::from_f64(n) {
            Some(number) => self.plain(Value::Number(number)),
            None if n.is_nan() => self.text("NaN".to_owned()),
            None => self.text(if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()),
        }
    }

    fn plain(&mut self, value: Value) -> Option<Value> {
        let bytes = match &value {
            Value::Null | Value::Bool(true) => 4,
            Value::Bool(false) => 5,
            other => other.to_string().len(),
        };
        self.take(bytes)?;
        Some(value)
    }
}

/// Whether every reader of JSON gets this whole number as it is, be it one that knows only doubles.
fn exact(n: u64) -> bool {
    n < 1 << 53
}

/// The double that is written with the fewest digits that name this `f32`.
fn shortest(n: f32) -> f64 {
    if n.is_finite() { n.to_string().parse().unwrap_or(f64::from(n)) } else { f64::from(n) }
}

/// Quotes and escapes included, as `serde_json` writes them.
fn text_bytes(text: &str) -> usize {
    let escaped = |b: u8| match b {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    2 + text.len() + text.bytes().map(escaped).sum::<usize>()
}
