//! Strict JSON objects for JOSE parts and request bodies: a repeated member is an error at any depth, never "the last one wins".

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Text that is not one JSON object with unique members.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not one JSON object with unique members")]
pub struct InvalidJson;

struct Unique(Value);

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique members")
    }

    fn visit_unit<E: Error>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Unique, E> {
        Number::from_f64(value).map(|number| Unique(Value::Number(number))).ok_or_else(|| E::custom("number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(Value::String(value.to_owned())))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Unique, E> {
        Ok(Unique(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Unique(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let Unique(value) = access.next_value()?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(Unique(Value::Object(map)))
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

/// Reads any JSON text with unique members. Names are compared unescaped; nesting is bounded by the parser (128).
///
/// # Errors
/// [`InvalidJson`] for anything else, trailing bytes included.
pub fn read_value(text: &[u8]) -> Result<Value, InvalidJson> {
    serde_json::from_slice::<Unique>(text).map(|Unique(value)| value).map_err(|_| InvalidJson)
}

/// Reads exactly one JSON object with unique members.
///
/// # Errors
/// [`InvalidJson`] for anything else.
pub fn read_object(text: &[u8]) -> Result<Map<String, Value>, InvalidJson> {
    match read_value(text)? {
        Value::Object(map) => Ok(map),
        _ => Err(InvalidJson),
    }
}

#[test]
fn repeated_members_are_refused_at_any_depth() {
    for (text, valid) in [
        (r#"{"a":1,"b":{"a":2}}"#, true),
        (r#"{"a":1,"a":1}"#, false),
        (r#"{"a":1,"\u0061":2}"#, false),
        (r#"{"a":{"b":1,"b":2}}"#, false),
        (r#"{"a":[{"b":1,"b":2}]}"#, false),
        (r#"{"a":1} x"#, false),
        (r#"[1]"#, false),
        ("", false),
    ] {
        assert_eq!(read_object(text.as_bytes()).is_ok(), valid, "`{text}`");
    }
    assert!(read_object("[".repeat(100_000).as_bytes()).is_err());
}
