//! From JSON (and TOML, which comes the same way) to a `TriggerSpec`: which trigger it is, and that it has no field that
//! this trigger does not know. What the fields say is read when it is compiled.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{AfterSpec, AllSpec, AnySpec, AtSpec, CalendarSpec, CronSpec, EverySpec, FieldsSpec, NamedFields, Period, TriggerSpec};
use crate::trigger::TriggerError;
use crate::trigger::zone::nearest_of;

/// The most bytes of a trigger in JSON.
const JSON_BYTES_MAX: usize = 64 << 10;

/// The key that says which trigger it is, and the fields that go with it.
const KINDS: [(&str, &[&str]); 9] = [
    ("at", &["timezone"]),
    ("every", &["timezone", "start", "end", "first"]),
    ("cron", &["timezone", "dialect", "dst_gap", "start", "end"]),
    ("fields", &["timezone", "dst_gap", "start", "end"]),
    ("calendar", &["timezone", "dst_gap", "start", "end"]),
    ("any", &["timezone", "start", "end"]),
    ("all", &["tolerance", "timezone", "start", "end"]),
    ("after", &["on", "join"]),
    ("manual", &[]),
];

/// The most upstream jobs that one trigger names.
const UPSTREAM_MAX: usize = 20;

const DST_GAP: &str = "\"run\" or \"skip\"";

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
            Err(refuse(format!("{} is not a trigger", show(other)))
                .hint(r#"a trigger is an object such as {"cron":"30 2 * * *"} or {"every":"90s"}, or "manual""#))
        }
    }
}

fn object(fields: &Map<String, Value>) -> Result<TriggerSpec, TriggerError> {
    let mut kinds = KINDS.iter().filter(|(kind, _)| fields.contains_key(*kind));
    let Some((kind, others)) = kinds.next() else {
        let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        if fields.is_empty() {
            return Err(refuse("the trigger is empty").hint(format!("it needs one of {}", names.join(", "))));
        }
        let error = refuse("the trigger does not say which one it is");
        return Err(match fields.keys().find_map(|key| nearest_of(&shorten(key), &names)) {
            Some(name) => error.hint(format!("did you mean {name}?")),
            None => error.hint(format!("it needs one of {}", names.join(", "))),
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
            dst_gap: object.one_of("dst_gap", DST_GAP)?.unwrap_or_default(),
            start: object.text("start")?,
            end: object.text("end")?,
        })),
        "fields" => Ok(TriggerSpec::Fields(FieldsSpec {
            fields: named_fields(&object)?,
            timezone: object.text("timezone")?,
            dst_gap: object.one_of("dst_gap", DST_GAP)?.unwrap_or_default(),
            start: object.text("start")?,
            end: object.text("end")?,
        })),
        "calendar" => Ok(TriggerSpec::Calendar(CalendarSpec {
            calendar: period(&object)?,
            timezone: object.text("timezone")?,
            dst_gap: object.one_of("dst_gap", DST_GAP)?.unwrap_or_default(),
            start: object.text("start")?,
            end: object.text("end")?,
        })),
        "any" => {
            let any = object.members()?;
            Ok(TriggerSpec::Any(AnySpec { any, timezone: object.text("timezone")?, start: object.text("start")?, end: object.text("end")? }))
        }
        "all" => Ok(TriggerSpec::All(AllSpec {
            all: object.members()?,
            tolerance: object.text("tolerance")?,
            timezone: object.text("timezone")?,
            start: object.text("start")?,
            end: object.text("end")?,
        })),
        "after" => after(&object),
        _ => match &fields["manual"] {
            Value::Bool(true) => Ok(TriggerSpec::Manual),
            other => Err(object.wrong("manual", "true", other)),
        },
    }
}

fn after(object: &Object<'_>) -> Result<TriggerSpec, TriggerError> {
    let after = object.texts("after")?.unwrap_or_default();
    let on = object.texts("on")?.unwrap_or_else(AfterSpec::default_on);
    if after.is_empty() {
        return Err(refuse("after names no job").hint("for example { after = [\"load\"] }"));
    }
    if after.len() > UPSTREAM_MAX {
        return Err(
            refuse(format!("after names {} jobs, more than the {UPSTREAM_MAX} that it may", after.len())).hint("chain them: a job between can gather some")
        );
    }
    if let Some((_, twice)) = after.iter().enumerate().find(|(i, name)| after[..*i].contains(name)) {
        return Err(refuse(format!("after names {:?} twice", shorten(twice))));
    }
    if on.is_empty() {
        return Err(refuse("on of a trigger with after names no outcome").hint("leave it out for \"succeeded\""));
    }
    Ok(TriggerSpec::After(AfterSpec { after, on, join: object.one_of("join", "\"all\" or \"any\"")?.unwrap_or_default() }))
}

fn named_fields(object: &Object<'_>) -> Result<NamedFields, TriggerError> {
    const NAMES: [&str; 8] = ["year", "month", "day", "week", "day_of_week", "hour", "minute", "second"];
    let fields = object.inner("fields", &NAMES)?;
    let field = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(other) => Err(refuse(format!("{name} of fields must be a string or a whole number, not {}", show(other)))),
    };
    Ok(NamedFields {
        year: field("year")?,
        month: field("month")?,
        day: field("day")?,
        week: field("week")?,
        day_of_week: field("day_of_week")?,
        hour: field("hour")?,
        minute: field("minute")?,
        second: field("second")?,
    })
}

fn period(object: &Object<'_>) -> Result<Period, TriggerError> {
    let fields = object.inner("calendar", &["years", "months", "weeks", "days", "time", "day"])?;
    let number = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => {
            value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| refuse(format!("{name} of calendar must be a whole number, not {}", show(value))))
        }
    };
    let inner = Object { kind: "calendar", fields };
    Ok(Period {
        years: number("years")?,
        months: number("months")?,
        weeks: number("weeks")?,
        days: number("days")?,
        time: inner.text("time")?,
        day: inner.one_of("day", "\"last\"")?,
    })
}

/// The object of a trigger, its keys known to be right.
struct Object<'a> {
    kind: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The object under the trigger's own key, which has no others than `known`.
    fn inner(&self, key: &str, known: &[&str]) -> Result<&'a Map<String, Value>, TriggerError> {
        let value = &self.fields[key];
        let fields = value.as_object().ok_or_else(|| self.wrong(key, "an object", value))?;
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(did_you_mean(refuse(format!("{:?} is not one of {key}", shorten(unknown))), &shorten(unknown), known)),
            None => Ok(fields),
        }
    }

    /// The triggers under the trigger's own key.
    fn members(&self) -> Result<Vec<TriggerSpec>, TriggerError> {
        let list = &self.fields[self.kind];
        let members: Vec<TriggerSpec> =
            list.as_array().ok_or_else(|| self.wrong(self.kind, "a list of triggers", list))?.iter().map(value).collect::<Result<_, _>>()?;
        match members.iter().find(|member| matches!(member, TriggerSpec::Manual | TriggerSpec::After(_))) {
            Some(TriggerSpec::Manual) => {
                Err(refuse(format!("manual never fires by itself, so {} cannot join it", self.kind)).hint("leave it out: any job can be triggered by hand"))
            }
            Some(_) => Err(refuse(format!("after fires when runs end, not at instants, so {} cannot join it", self.kind)).hint("make it a job of its own")),
            None if members.is_empty() => Err(refuse(format!("{} has no members", self.kind))
                .hint(format!("for example {{\"{}\":[{{\"cron\":\"0 6 * * mon\"}},{{\"cron\":\"0 9 * * fri\"}}]}}", self.kind))),
            None => Ok(members),
        }
    }

    fn wrong(&self, field: &str, expected: &str, found: &Value) -> TriggerError {
        let of = if field == self.kind { String::new() } else { format!(" of a trigger with {}", self.kind) };
        refuse(format!("{field}{of} must be {expected}, not {}", show(found)))
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

    fn texts(&self, field: &str) -> Result<Option<Vec<String>>, TriggerError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Vec::deserialize(value).map(Some).map_err(|_| self.wrong(field, "a list of strings", value)),
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

fn show(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}
