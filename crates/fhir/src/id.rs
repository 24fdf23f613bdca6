//! The FHIR `id` datatype: the only form in which an instance is named inside Hilum.

use std::fmt;
use std::str::FromStr;

/// A FHIR id: `[A-Za-z0-9\-\.]{1,64}` (R4 datatypes), except `.` and `..`, which are path segments and never ids.
// INVARIANT: the grammar above; so it needs no escaping in a path, a query or JSON.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id(Box<str>);

/// Text that is no FHIR id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a FHIR id")
    }
}

impl std::error::Error for InvalidId {}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Id {
    /// The id as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` fits the id grammar.
    #[must_use]
    pub fn fits(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text != "."
            && text != ".."
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if Self::fits(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ids can be patient ids: debug output never shows one.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Id([sealed])")
    }
}

#[test]
fn ids_follow_the_grammar_exactly() {
    for (text, valid) in [
        ("P1", true),
        ("a.b-C9", true),
        ("", false),
        (".", false),
        ("..", false),
        ("P1/", false),
        (" P1", false),
        ("P1,P2", false),
        ("é", false),
        (&"a".repeat(64), true),
        (&"a".repeat(65), false),
    ] {
        assert_eq!(text.parse::<Id>().is_ok(), valid, "`{text}`");
    }
}
