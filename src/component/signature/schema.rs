//! JSON Schema of a function's arguments, for forms and clients.

use serde_json::{Map, Value, json};

use super::{Signature, WitType};

impl Signature {
    /// JSON Schema (2020-12) of the arguments as an object by parameter name: it admits all such that `check` accepts. It admits
    /// a little more, where a schema cannot say it: digits in a string out of range, text that is not base64.
    pub fn json_schema(&self) -> Value {
        let mut schema = object(&self.params);
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        Value::Object(schema)
    }
}

impl WitType {
    /// JSON Schema of a value's forms as an argument.
    pub fn json_schema(&self) -> Value {
        match self {
            Self::Bool => json!({ "type": "boolean" }),
            Self::S64 | Self::U64 => {
                let pattern = if *self == Self::U64 { "^(0|[1-9][0-9]*)$" } else { "^(0|-?[1-9][0-9]*)$" };
                json!({ "anyOf": [self.integer_schema(), { "type": "string", "pattern": pattern }] })
            }
            Self::F32 | Self::F64 => json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] }),
            Self::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Self::String => json!({ "type": "string" }),
            Self::List(inner) if **inner == Self::U8 => {
                json!({ "anyOf": [{ "type": "string", "contentEncoding": "base64" }, { "type": "array", "items": inner.json_schema() }] })
            }
            Self::List(inner) => json!({ "type": "array", "items": inner.json_schema() }),
            Self::Tuple(items) => {
                let schemas: Vec<_> = items.iter().map(Self::json_schema).collect();
                json!({ "type": "array", "prefixItems": schemas, "items": false, "minItems": items.len() })
            }
            Self::Record(fields) => Value::Object(object(fields)),
            Self::Variant(cases) => {
                let forms: Vec<_> =
                    cases.iter().map(|(name, ty)| ty.as_ref().map_or_else(|| json!({ "const": name }), |ty| single(name, ty.json_schema()))).collect();
                json!({ "oneOf": forms })
            }
            Self::Enum(names) => json!({ "enum": names }),
            Self::Option(inner) if inner.is_option() => json!({ "anyOf": [{ "type": "null" }, single("some", inner.json_schema())] }),
            Self::Option(inner) => json!({ "anyOf": [{ "type": "null" }, inner.json_schema()] }),
            Self::Result { ok, err } => {
                let payload = |ty: &Option<Box<Self>>| ty.as_ref().map_or_else(|| json!({ "type": "null" }), |ty| ty.json_schema());
                json!({ "oneOf": [single("ok", payload(ok)), single("err", payload(err))] })
            }
            Self::Flags(names) => json!({ "type": "array", "items": { "enum": names }, "uniqueItems": true }),
            Self::Unsupported(what) => json!({ "not": {}, "description": format!("{what} cannot be given in JSON") }),
            _ => self.integer_schema(),
        }
    }

    fn integer_schema(&self) -> Value {
        let (least, most) = self.range().unwrap_or_default();
        let number = |n: i128| i64::try_from(n).map_or_else(|_| u64::try_from(n).map_or(Value::Null, Value::from), Value::from);
        json!({ "type": "integer", "minimum": number(least), "maximum": number(most) })
    }
}

fn object(fields: &[(String, WitType)]) -> Map<String, Value> {
    let properties: Map<_, _> = fields.iter().map(|(name, ty)| (name.clone(), ty.json_schema())).collect();
    let required: Vec<_> = fields.iter().filter(|(_, ty)| !ty.is_option()).map(|(name, _)| name.clone()).collect();
    Map::from_iter([
        ("type".to_owned(), "object".into()),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), required.into()),
        ("additionalProperties".to_owned(), false.into()),
    ])
}

fn single(name: &str, schema: Value) -> Value {
    json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false })
}
