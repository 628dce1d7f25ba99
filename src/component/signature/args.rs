//! Arguments: JSON to values.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Number, Value};

use super::error::{cut, show};
use super::{ArgError, Names, Problem, Signature, VALUE_BYTES_MAX, WitType, WitValue};

/// Standard alphabet; padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What a value takes on the host, itself.
const VALUE_BYTES: usize = 32;

impl Signature {
    /// Whether a call with these arguments can be made. Null counts as no arguments.
    pub fn check(&self, args: &Value) -> Result<(), ArgError> {
        self.read(args).map(drop)
    }

    /// The arguments in the order of the parameters.
    pub fn read(&self, args: &Value) -> Result<Vec<WitValue>, ArgError> {
        let mut reader = Reader { left: VALUE_BYTES_MAX, names: Names::default() };
        let read = match args {
            Value::Null => reader.fields(&self.params, "parameter", &Map::new()),
            Value::Object(by_name) => reader.fields(&self.params, "parameter", by_name),
            Value::Array(by_position) => reader.positions(&self.params, by_position),
            other => Err(ArgError::new(Problem::Form {
                typed: show(other),
                ty: "a list of arguments".to_owned(),
                form: "an object by parameter name, or an array by position".to_owned(),
            })),
        };
        read.map_err(|error| *error.under("args"))
    }
}

type Read<T> = Result<T, Box<ArgError>>;

struct Reader<'a> {
    /// Bytes that the values yet to be read may take.
    left: usize,
    names: Names<'a>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Read<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| ArgError::new(Problem::TooLarge))?;
        Ok(())
    }

    /// Recursion is bounded by the type's depth, never by the text's.
    fn value(&mut self, ty: &'a WitType, json: &Value) -> Read<WitValue> {
        self.take(VALUE_BYTES)?;
        let refuse = |problem| Err(ArgError::new(problem));
        match (ty, json) {
            (WitType::Bool, &Value::Bool(b)) => Ok(WitValue::Bool(b)),
            (WitType::F32, Value::Number(n)) => match n.as_f64().map(|wide| wide as f32) {
                Some(narrow) if narrow.is_finite() => Ok(WitValue::F32(narrow)),
                _ => refuse(Problem::FloatRange { typed: n.to_string() }),
            },
            (WitType::F64, Value::Number(n)) => n.as_f64().map_or_else(|| refuse(Problem::form(json, ty)), |wide| Ok(WitValue::F64(wide))),
            (WitType::F32 | WitType::F64, Value::String(text)) => match special(text) {
                Some(special) if *ty == WitType::F32 => Ok(WitValue::F32(special as f32)),
                Some(special) => Ok(WitValue::F64(special)),
                None => refuse(Problem::form(json, ty)),
            },
            (WitType::Char, Value::String(text)) => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(only), None) => Ok(WitValue::Char(only)),
                    _ => refuse(Problem::Char { typed: show(json), count: text.chars().count() }),
                }
            }
            (WitType::String, Value::String(text)) => {
                self.take(text.len())?;
                Ok(WitValue::String(text.clone()))
            }
            (WitType::List(inner), Value::String(text)) if **inner == WitType::U8 => self.base64(text),
            (WitType::List(inner), Value::Array(items)) => {
                let values = self.items(items.iter().map(|item| (&**inner, item)))?;
                Ok(if **inner == WitType::U8 { WitValue::Bytes(bytes(values)) } else { WitValue::List(values) })
            }
            (WitType::Tuple(types), Value::Array(items)) if types.len() == items.len() => Ok(WitValue::Fields(self.items(types.iter().zip(items))?)),
            (WitType::Tuple(types), Value::Array(items)) => {
                refuse(Problem::Count { what: cut(&ty.to_string()), given: items.len(), wanted: types.len().to_string() })
            }
            (WitType::Record(fields), Value::Object(object)) => Ok(WitValue::Fields(self.fields(fields, "field", object)?)),
            (WitType::Variant(cases), Value::String(name)) => match self.case(cases, name)? {
                (at, None) => Ok(WitValue::Case(at, None)),
                (_, Some(payload)) => refuse(Problem::NoPayload { case: cut(name), ty: cut(&payload.to_string()) }),
            },
            (WitType::Variant(cases), Value::Object(object)) => {
                let (name, json) = single(object)?;
                match self.case(cases, name)? {
                    (at, Some(payload)) => Ok(WitValue::Case(at, Some(self.boxed(payload, json, name)?))),
                    (_, None) => refuse(Problem::Payload { case: cut(name) }),
                }
            }
            (WitType::Enum(names), Value::String(name)) => Ok(WitValue::Enum(self.position("case", name, names)?)),
            (WitType::Option(_), Value::Null) => Ok(WitValue::Option(None)),
            (WitType::Option(inner), _) if !inner.is_option() => Ok(WitValue::Option(Some(Box::new(self.value(inner, json)?)))),
            (WitType::Option(inner), Value::Object(object)) => match single(object)? {
                (name, json) if name == "some" => Ok(WitValue::Option(Some(self.boxed(inner, json, name)?))),
                _ => refuse(Problem::form(json, ty)),
            },
            (WitType::Result { ok, err }, Value::Object(object)) => match single(object)? {
                (name, json) if name == "ok" => Ok(WitValue::Result(Ok(self.payload(ok.as_deref(), json, name)?))),
                (name, json) if name == "err" => Ok(WitValue::Result(Err(self.payload(err.as_deref(), json, name)?))),
                _ => refuse(Problem::form(json, ty)),
            },
            (WitType::Flags(names), Value::Array(items)) => self.flags(names, items),
            (WitType::Unsupported(what), _) => refuse(Problem::Unsupported(what.clone())),
            _ => match ty.range() {
                Some(range) => integer(ty, json, range),
                None => refuse(Problem::form(json, ty)),
            },
        }
    }

    fn items<'v>(&mut self, items: impl Iterator<Item = (&'a WitType, &'v Value)>) -> Read<Vec<WitValue>> {
        items.enumerate().map(|(i, (ty, json))| self.value(ty, json).map_err(|e| e.under(format_args!("[{i}]")))).collect()
    }

    fn boxed(&mut self, ty: &'a WitType, json: &Value, place: &str) -> Read<Box<WitValue>> {
        Ok(Box::new(self.value(ty, json).map_err(|e| e.under(format_args!(".{place}")))?))
    }

    /// A result's payload, null where its type has none.
    fn payload(&mut self, ty: Option<&'a WitType>, json: &Value, place: &str) -> Read<Option<Box<WitValue>>> {
        match (ty, json) {
            (Some(ty), _) => Ok(Some(self.boxed(ty, json, place)?)),
            (None, Value::Null) => Ok(None),
            (None, _) => Err(ArgError::new(Problem::Form { typed: show(json), ty: "a payload that carries nothing".to_owned(), form: "null".to_owned() })
                .under(format_args!(".{place}"))),
        }
    }

    /// A record's fields or a function's parameters, by name. What is wrong with what is there is said before what is missing.
    fn fields(&mut self, fields: &'a [(String, WitType)], what: &'static str, object: &Map<String, Value>) -> Read<Vec<WitValue>> {
        if !object.is_empty() && fields.iter().filter(|(name, _)| object.contains_key(name)).count() < object.len() {
            let names = fields.iter().map(|(name, _)| name);
            let unknown = object.keys().find(|key| !names.clone().any(|name| name == *key));
            return Err(ArgError::new(Problem::unknown(what, unknown.map_or("", |name| name), names)));
        }
        let mut read = Vec::with_capacity(fields.len());
        for (name, ty) in fields {
            self.take(size_of::<String>() + name.len())?;
            match (object.get(name), ty) {
                (Some(json), _) => read.push(self.value(ty, json).map_err(|e| e.under(format_args!(".{name}")))?),
                (None, WitType::Option(_)) => read.push(self.value(ty, &Value::Null)?),
                (None, _) => {}
            }
        }
        if read.len() < fields.len() {
            return Err(missing(fields.iter().filter(|(name, _)| !object.contains_key(name))));
        }
        Ok(read)
    }

    fn positions(&mut self, params: &'a [(String, WitType)], items: &[Value]) -> Read<Vec<WitValue>> {
        if items.len() > params.len() {
            let wanted =
                if params.is_empty() { "no parameters".to_owned() } else { cut(&params.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ")) };
            return Err(ArgError::new(Problem::Count { what: "the function".to_owned(), given: items.len(), wanted }));
        }
        let (given, left_out) = params.split_at(items.len());
        let mut read = self.items(given.iter().map(|(_, ty)| ty).zip(items))?;
        if left_out.iter().any(|(_, ty)| !ty.is_option()) {
            return Err(missing(left_out.iter()));
        }
        for (_, ty) in left_out {
            read.push(self.value(ty, &Value::Null)?);
        }
        Ok(read)
    }

    fn base64(&mut self, text: &str) -> Read<WitValue> {
        // Each byte becomes a value of its own where it is handed to the guest.
        self.take(text.len() / 4 * 3 * VALUE_BYTES)?;
        BASE64.decode(text).map(WitValue::Bytes).map_err(|e| ArgError::new(Problem::Base64 { detail: e.to_string() }))
    }

    fn flags(&mut self, names: &'a [String], items: &[Value]) -> Read<WitValue> {
        let mut set = vec![false; names.len()];
        for (i, item) in items.iter().enumerate() {
            let here = |problem| ArgError::new(problem).under(format_args!("[{i}]"));
            let Value::String(name) = item else {
                return Err(here(Problem::Form { typed: show(item), ty: "a flag".to_owned(), form: "a name, as a string".to_owned() }));
            };
            let at = self.position("flag", name, names).map_err(|e| e.under(format_args!("[{i}]")))?;
            if std::mem::replace(&mut set[at], true) {
                return Err(here(Problem::Twice { name: cut(name) }));
            }
            self.take(VALUE_BYTES + name.len())?;
        }
        Ok(WitValue::Flags(set.iter().enumerate().filter_map(|(at, set)| set.then_some(at)).collect()))
    }

    fn position(&mut self, what: &'static str, name: &str, names: &'a [String]) -> Read<usize> {
        self.names.find(names, name).ok_or_else(|| ArgError::new(Problem::unknown(what, name, names.iter())))
    }

    fn case(&mut self, cases: &'a [(String, Option<WitType>)], name: &str) -> Read<(usize, Option<&'a WitType>)> {
        let found = self.names.find_case(cases, name).and_then(|at| Some((at, cases.get(at)?.1.as_ref())));
        found.ok_or_else(|| ArgError::new(Problem::unknown("case", name, cases.iter().map(|(name, _)| name))))
    }
}

fn missing<'a>(fields: impl Iterator<Item = &'a (String, WitType)>) -> Box<ArgError> {
    let names = fields.filter(|(_, ty)| !ty.is_option()).take(20).map(|(name, ty)| format!("{}: {}", cut(name), cut(&ty.to_string()))).collect();
    ArgError::new(Problem::Missing { names })
}

fn single(object: &Map<String, Value>) -> Read<(&String, &Value)> {
    let mut fields = object.iter();
    match (fields.next(), fields.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(ArgError::new(Problem::OneCase { given: object.len() })),
    }
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn integer(ty: &WitType, json: &Value, (least, most): (i128, i128)) -> Read<WitValue> {
    let whole = match json {
        Value::Number(n) => whole(n),
        Value::String(digits) if ty.is_wide() && is_decimal(digits) => digits.parse().ok().or(Some(i128::MAX)),
        _ => None,
    };
    match whole {
        Some(n) if n < least || n > most => Err(ArgError::new(Problem::Range {
            typed: cut(json.as_str().unwrap_or(&json.to_string())),
            ty: ty.to_string(),
            least: least.to_string(),
            most: most.to_string(),
        })),
        // Within the range of a 64-bit type, which was just seen.
        Some(n) if least < 0 => Ok(WitValue::Signed(n as i64)),
        Some(n) => Ok(WitValue::Unsigned(n as u64)),
        None => Err(ArgError::new(Problem::form(json, ty))),
    }
}

/// 5 and 5.0 alike, as JSON Schema has it; of those with a point only what a double surely holds.
fn whole(n: &Number) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(n) = n.as_i64() {
        return Some(n.into());
    }
    if let Some(n) = n.as_u64() {
        return Some(n.into());
    }
    let n = n.as_f64()?;
    match n.fract() == 0.0 {
        true if n.abs() <= EXACT => Some(n as i128),
        // Too large for any type: out of range rather than not whole.
        true if n.abs() > u64::MAX as f64 => Some(if n > 0.0 { i128::MAX } else { i128::MIN }),
        _ => None,
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 30 && digits.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !digits.starts_with('0'))
}

fn bytes(values: Vec<WitValue>) -> Vec<u8> {
    // A u8's value was read within its range.
    values.into_iter().map(|value| if let WitValue::Unsigned(n) = value { n as u8 } else { 0 }).collect()
}
