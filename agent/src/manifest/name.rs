//! A name of any bytes in a JSON document: text where it is text, else `{"hex":"…"}`. Nothing is
//! lost, and no text can be mistaken for an encoded name.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::text;

/// A path or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) Vec<u8>);

impl Name {
    /// For a person.
    pub(crate) fn shown(&self) -> String {
        text::for_terminal(&self.0)
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &text::hex(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            Text(#[serde(borrow)] Cow<'a, str>),
            Bytes { hex: String },
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            Form::Bytes { hex } => {
                from_hex(&hex).map(Self).ok_or_else(|| D::Error::custom("not hexadecimal"))
            }
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| digits.chunks(2).map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"a b\n", "süß".as_bytes(), br#"{"hex":"61"}"#, b"\xff"] {
            let json = serde_json::to_string(&Name::from(bytes)).unwrap();
            assert!(json.bytes().all(|byte| byte >= b' '), "one line: {json}");
            assert_eq!(serde_json::from_str::<Name>(&json).unwrap().0, bytes);
        }
        assert_eq!(serde_json::to_string(&Name::from(&b"a\xff"[..])).unwrap(), r#"{"hex":"61ff"}"#);
        assert!(serde_json::from_str::<Name>(r#"{"hex":"6"}"#).is_err());
        assert!(serde_json::from_str::<Name>(r#"{"hex":"+1"}"#).is_err());
    }
}
