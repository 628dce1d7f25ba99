//! As much of JSON Schema (2020-12) as the schemas of arguments use, written from its specification.

use serde_json::Value;

/// Whether `schema` admits `value`. An unknown keyword fails the test, so that none goes unchecked.
pub fn admits(schema: &Value, value: &Value) -> bool {
    let keywords = match schema {
        Value::Bool(all) => return *all,
        Value::Object(keywords) => keywords,
        other => panic!("not a schema: {other}"),
    };
    let list = |schemas: &Value| schemas.as_array().expect("a list of schemas").clone();
    keywords.iter().all(|(keyword, of)| match keyword.as_str() {
        "$schema" | "description" | "contentEncoding" => true,
        "type" => match of.as_str().expect("a type's name") {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("no type {other}"),
        },
        "const" => value == of,
        "enum" => list(of).contains(value),
        "minimum" => value.as_f64().is_none_or(|n| n >= of.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|n| n <= of.as_f64().expect("a number")),
        "minLength" => value.as_str().is_none_or(|s| s.chars().count() as u64 >= of.as_u64().expect("a length")),
        "maxLength" => value.as_str().is_none_or(|s| s.chars().count() as u64 <= of.as_u64().expect("a length")),
        "pattern" => value.as_str().is_none_or(|s| digits(s, of.as_str().expect("a pattern"))),
        "anyOf" => list(of).iter().any(|schema| admits(schema, value)),
        "oneOf" => list(of).iter().filter(|schema| admits(schema, value)).count() == 1,
        "not" => !admits(of, value),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= of.as_u64().expect("a length")),
        "prefixItems" => value.as_array().is_none_or(|items| list(of).iter().zip(items).all(|(schema, item)| admits(schema, item))),
        "items" => {
            let before = keywords.get("prefixItems").map_or(0, |prefix| list(prefix).len());
            value.as_array().is_none_or(|items| items.iter().skip(before).all(|item| admits(of, item)))
        }
        "uniqueItems" => value.as_array().is_none_or(|items| items.iter().enumerate().all(|(i, item)| !items[..i].contains(item))),
        "properties" => value.as_object().is_none_or(|object| object.iter().all(|(name, item)| of.get(name).is_none_or(|schema| admits(schema, item)))),
        "required" => value.as_object().is_none_or(|object| list(of).iter().all(|name| object.contains_key(name.as_str().expect("a name")))),
        "additionalProperties" => {
            value.as_object().is_none_or(|object| object.keys().all(|name| *of != Value::Bool(false) || keywords["properties"].get(name).is_some()))
        }
        other => panic!("keyword {other} is not checked here"),
    })
}

/// The two patterns that are used: whole numbers in decimal.
fn digits(text: &str, pattern: &str) -> bool {
    let number = match pattern {
        "^(0|[1-9][0-9]*)$" => text,
        "^(0|-?[1-9][0-9]*)$" => text.strip_prefix('-').filter(|rest| *rest != "0").unwrap_or(text),
        other => panic!("pattern {other} is not checked here"),
    };
    number == "0" || (!number.starts_with('0') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
