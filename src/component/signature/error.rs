//! What is wrong with arguments, and where.

use std::fmt;

use serde_json::Value;

use super::{VALUE_BYTES_MAX, WitType};

/// Characters of a name, value or type that are shown in a message.
const SHOWN_MAX: usize = 60;
/// Names that a message lists.
const LISTED_MAX: usize = 12;

/// `args.filter.days[2]: 300 does not fit u8 (0 to 255)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ArgError {
    /// From the root, as in `args.filter.days[2]`.
    pub path: String,
    pub problem: Problem,
}

/// What is wrong in that place. Values and names that were typed are cut to a length for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{typed} does not fit {ty}: expected {form}")]
    Form { typed: String, ty: String, form: String },
    #[error("{typed} does not fit {ty} ({least} to {most})")]
    Range { typed: String, ty: String, least: String, most: String },
    #[error("{typed} is too large for f32")]
    FloatRange { typed: String },
    #[error("{typed} has {count} characters, but a char is exactly one")]
    Char { typed: String, count: usize },
    #[error("not base64: {detail}")]
    Base64 { detail: String },
    #[error("unknown {what} {typed:?}{}", suggestion(.near, .known))]
    Unknown { what: &'static str, typed: String, near: Option<String>, known: Vec<String> },
    #[error("missing {}", listed(.names))]
    Missing {
        /// With their types: `limit: u32`.
        names: Vec<String>,
    },
    #[error("{given} values were given, but {what} has {wanted}")]
    Count { what: String, given: usize, wanted: String },
    #[error("flag {name:?} is given twice")]
    Twice { name: String },
    #[error("case {case:?} carries {ty}: write {{{case:?}: …}}")]
    NoPayload { case: String, ty: String },
    #[error("case {case:?} carries nothing: write {case:?}")]
    Payload { case: String },
    #[error("expected an object of exactly one field, but it has {given}")]
    OneCase { given: usize },
    #[error("the arguments take more than {}MiB once converted", VALUE_BYTES_MAX >> 20)]
    TooLarge,
    #[error("{0} cannot be given in JSON")]
    Unsupported(String),
}

impl ArgError {
    pub(super) fn new(problem: Problem) -> Box<Self> {
        Box::new(Self { path: String::new(), problem })
    }

    /// The same, seen from one level further up.
    pub(super) fn under(mut self: Box<Self>, place: impl fmt::Display) -> Box<Self> {
        self.path = format!("{place}{}", self.path);
        self
    }
}

impl Problem {
    pub(super) fn form(typed: &Value, ty: &WitType) -> Self {
        Self::Form { typed: show(typed), ty: cut(&ty.to_string()), form: ty.form() }
    }

    pub(super) fn unknown<'a>(what: &'static str, typed: &str, names: impl Iterator<Item = &'a String> + Clone) -> Self {
        let known = names.clone().take(LISTED_MAX + 1).map(|name| cut(name)).collect();
        Self::Unknown { what, typed: cut(typed), near: nearest(typed, names).map(cut), known }
    }
}

impl WitType {
    /// The JSON form in words, for a message.
    fn form(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::F32 | Self::F64 => r#"a number, or "NaN", "Infinity", "-Infinity""#.to_owned(),
            Self::Char => "a string of one character".to_owned(),
            Self::String => "a string".to_owned(),
            Self::List(inner) if **inner == Self::U8 => "a base64 string, or an array of whole numbers from 0 to 255".to_owned(),
            Self::List(_) => "an array".to_owned(),
            Self::Tuple(items) => format!("an array of {}", items.len()),
            Self::Record(_) => "an object".to_owned(),
            Self::Variant(cases) => {
                let forms: Vec<_> = cases.iter().map(|(name, ty)| if ty.is_some() { format!("{{{name:?}: …}}") } else { format!("{name:?}") }).collect();
                one_of(&forms)
            }
            Self::Enum(names) => one_of(&names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>()),
            Self::Option(inner) if inner.is_option() => r#"null, or {"some": …}"#.to_owned(),
            Self::Option(inner) => format!("null, or {}", inner.form()),
            Self::Result { .. } => r#"{"ok": …} or {"err": …}"#.to_owned(),
            Self::Flags(_) => "an array of names".to_owned(),
            Self::Unsupported(what) => format!("nothing, since {what} has no JSON form"),
            _ => {
                let (least, most) = self.range().unwrap_or_default();
                format!("a whole number from {least} to {most}")
            }
        }
    }
}

/// A value as it was typed, cut; objects and arrays by their kind alone.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", cut(text)),
        other => other.to_string(),
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn one_of(forms: &[String]) -> String {
    if forms.len() == 1 { forms.concat() } else { format!("one of {}", listed(forms)) }
}

fn listed(names: &[String]) -> String {
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    format!("{}{more}", names.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", "))
}

fn suggestion(near: &Option<String>, known: &[String]) -> String {
    match near {
        Some(near) => format!(" (did you mean {near}?)"),
        None if known.is_empty() => " (there is none)".to_owned(),
        None => format!(" (there is {})", listed(known)),
    }
}

/// The name that `typed` most likely stands for: other case or separators, or one or two letters off.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    const LENGTH_MAX: usize = 40;
    const NAMES_MAX: usize = 200;
    let plain = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>();
    if typed.len() > LENGTH_MAX {
        return None;
    }
    let wanted = plain(typed);
    // Two letters that changed places are two replaced.
    let allowed = match wanted.len() {
        0..3 => 0,
        3..5 => 1,
        _ => 2,
    };
    names
        .take(NAMES_MAX)
        .filter(|name| name.len() <= LENGTH_MAX)
        .map(|name| (distance(&wanted, &plain(name)), name.as_str()))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Levenshtein's: the fewest letters to insert, remove or replace.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
