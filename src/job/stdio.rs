//! A command's standard input and output, as its job says them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a command reads: a text, or bytes of any kind as `{ base64 = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stdin(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}

impl Serialize for Stdin {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => Encoded { base64: STANDARD.encode(&self.0) }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Stdin {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "stdin is a text, or bytes as { base64 = \"…\" }")]
        enum Form {
            Text(String),
            Encoded(Encoded),
        }
        match Form::deserialize(d)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Encoded(Encoded { base64 }) => STANDARD.decode(base64).map(Self).map_err(|e| D::Error::custom(format!("stdin.base64 is not base64: {e}"))),
        }
    }
}

/// What a command's standard output is taken for when it becomes the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdout {
    /// A text, whatever it looks like.
    #[default]
    Text,
    /// One JSON document, kept as the value that it is. A command that succeeds and prints anything else has failed.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_written_as_it_is_and_other_bytes_in_base64() {
        for (bytes, form) in [(&b"a\n"[..], json!("a\n")), (b"", json!("")), (b"\xff\0", json!({ "base64": "/wA=" }))] {
            assert_eq!(serde_json::to_value(Stdin(bytes.into())).unwrap(), form);
            assert_eq!(serde_json::from_value::<Stdin>(form).unwrap(), Stdin(bytes.into()));
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        let refused = |form| serde_json::from_value::<Stdin>(form).unwrap_err().to_string();
        assert!(refused(json!({ "base64": "a!" })).starts_with("stdin.base64 is not base64: "));
        assert_eq!(refused(json!(3)), "stdin is a text, or bytes as { base64 = \"…\" }");
        assert_eq!(refused(json!({ "base65": "" })), "stdin is a text, or bytes as { base64 = \"…\" }");
    }
}
