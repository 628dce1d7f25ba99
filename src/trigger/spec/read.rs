//! From JSON (and TOML, which comes the same way) to a `TriggerSpec`: which trigger it is, and that it has no field that
//! this trigger does not know. What the fields say is read when it is compiled.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{AtSpec, CronSpec, EverySpec, TriggerSpec};
use crate::trigger::TriggerError;
use crate::trigger::zone::nearest_of;

/// The most bytes of a trigger in JSON.
const JSON_BYTES_MAX: usize = 64 << 10;

/// The key that says which trigger it is, and the fields that go with it.
const KINDS: [(&str, &[&str]); 4] =
    [("at", &["timezone"]), ("every", &["timezone", "start", "end", "first"]), ("cron", &["timezone", "dialect", "dst_gap", "start", "end"]), ("manual", &[])];

/// How TOML's own date-times reach us.
const TOML_DATETIME: &str = "$__toml_private_datetime";

pub(super) fn json(text: &str) -> Result<TriggerSpec, TriggerError> {
    if text.len() > JSON_BYTES_MAX {
        return Err(refuse(format!("the trigger has {} bytes, above the most that is allowed, {JSON_BYTES_MAX}", text.len())));
    }
    let parsed = serde_json::from_str::<Value>(text).map_err(|error| {
        let column = error.column().clamp(1, text.len().max(1));
        refuse(format!("the trigger is not JSON: {error}")).hint(r#"for example {"cron":"30 2 * * *","timezone":"Europe/Stockholm"}"#).at(
            text,
            column - 1,
            column,
        )
    })?;
    value(&parsed)
}

pub(super) fn value(value: &Value) -> Result<TriggerSpec, TriggerError> {
    match value {
        Value::String(text) if text == "manual" => Ok(TriggerSpec::Manual),
        Value::Object(fields) => object(fields),
        other => {
            let shown: String = other.to_string().chars().take(60).collect();
            Err(refuse(format!("{shown} is not a trigger")).hint(r#"a trigger is an object such as {"cron":"30 2 * * *"} or {"every":"90s"}, or "manual""#))
        }
    }
}

fn object(fields: &Map<String, Value>) -> Result<TriggerSpec, TriggerError> {
    let mut kinds = KINDS.iter().filter(|(kind, _)| fields.contains_key(*kind));
    let Some((kind, others)) = kinds.next() else {
        let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let typed = fields.keys().next().map(|key| shorten(key));
        return Err(match typed {
            Some(typed) => did_you_mean(refuse(format!("the trigger says neither {}", join_or(&names))), &typed, &names),
            None => refuse("the trigger is empty").hint(format!("it needs one of {}", names.join(", "))),
        });
    };
    if let Some((second, _)) = kinds.next() {
        return Err(refuse(format!("the trigger says both {kind} and {second}")).hint("a trigger has one of them; {\"any\":[…]} joins several"));
    }
    if let Some(unknown) = fields.keys().find(|key| *key != kind && !others.contains(&key.as_str())) {
        let unknown = shorten(unknown);
        return Err(did_you_mean(refuse(format!("{unknown:?} is not a field of a trigger with {kind}")), &unknown, others));
    }
    let object = Object { kind, fields };
    match *kind {
        "at" => Ok(TriggerSpec::At(AtSpec { at: object.needed_text("at")?, timezone: object.text("timezone")? })),
        "every" => {
            let spec = EverySpec {
                every: object.needed_text("every")?,
                timezone: object.text("timezone")?,
                start: object.text("start")?,
                end: object.text("end")?,
                first: object.one_of("first", "\"now\"")?,
            };
            if spec.first.is_some() && spec.start.is_some() {
                return Err(refuse("first says when an interval without a start fires first, and this one has a start").hint("leave one of them out"));
            }
            Ok(TriggerSpec::Every(spec))
        }
        "cron" => Ok(TriggerSpec::Cron(CronSpec {
            cron: object.needed_text("cron")?,
            timezone: object.text("timezone")?,
            dialect: object.one_of("dialect", "\"unix\" or \"cron7\"")?.unwrap_or_default(),
            dst_gap: object.one_of("dst_gap", "\"run\" or \"skip\"")?.unwrap_or_default(),
            start: object.text("start")?,
            end: object.text("end")?,
        })),
        _ => match &fields["manual"] {
            Value::Bool(true) => Ok(TriggerSpec::Manual),
            other => Err(object.wrong("manual", "true", other)),
        },
    }
}

/// The object of a trigger, its keys known to be right.
struct Object<'a> {
    kind: &'static str,
    fields: &'a Map<String, Value>,
}

impl Object<'_> {
    fn wrong(&self, field: &str, expected: &str, found: &Value) -> TriggerError {
        let shown: String = found.to_string().chars().take(60).collect();
        let of = if field == self.kind { String::new() } else { format!(" of a trigger with {}", self.kind) };
        refuse(format!("{field}{of} must be {expected}, not {shown}"))
    }

    fn text(&self, field: &str) -> Result<Option<String>, TriggerError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Object(map)) if map.len() == 1 && map.get(TOML_DATETIME).is_some_and(Value::is_string) => {
                Ok(map.get(TOML_DATETIME).and_then(Value::as_str).map(str::to_owned))
            }
            Some(other) => Err(self.wrong(field, "a string", other)),
        }
    }

    fn needed_text(&self, field: &str) -> Result<String, TriggerError> {
        self.text(field)?.ok_or_else(|| self.wrong(field, "a string", &Value::Null))
    }

    fn one_of<T: DeserializeOwned>(&self, field: &str, expected: &str) -> Result<Option<T>, TriggerError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.wrong(field, expected, value)),
        }
    }
}

pub(super) fn refuse(message: impl Into<String>) -> TriggerError {
    TriggerError::new("bad-trigger", message)
}

fn did_you_mean(error: TriggerError, typed: &str, known: &[&str]) -> TriggerError {
    match nearest_of(typed, known) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None if known.is_empty() => error.hint("it has no other fields"),
        None => error.hint(format!("its fields are {}", known.join(", "))),
    }
}

fn join_or(names: &[&str]) -> String {
    names.join(" nor ")
}

fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}
