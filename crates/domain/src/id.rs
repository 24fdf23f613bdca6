//! Names and ids, one type per noun, so that none can stand in for another (S4-01).

use std::fmt;
use std::str::FromStr;

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;

/// Text that does not fit the grammar of the noun it was read for; `rule` says the grammar.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{noun} must be {rule}")]
pub struct InvalidName {
    /// What was being read, e.g. `tenant id`.
    pub noun: &'static str,
    /// The grammar in words.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        // INVARIANT: fits its grammar; made by `parse` alone.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { noun: $noun, rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|why| serde::de::Error::custom(format!("`{text}`: {why}")))
            }
        }
    };
}

fn lower_dash(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name!(
    /// One covered organisation. `_system` (operator and boot events) is no tenant id and cannot be parsed as one.
    TenantId,
    "tenant id",
    "1 to 40 of a-z, 0-9, `-`, and not `console`, `api`, `healthz`, `readyz` or `metrics`",
    |text| lower_dash(text, 40) && !matches!(text, "console" | "api" | "healthz" | "readyz" | "metrics")
);
name!(
    /// A registered integration: `client_id` on the wire. Has no `@`, which every person id has.
    IntegrationId,
    "integration id",
    "1 to 64 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or digit",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
);
name!(
    /// A task profile's name, e.g. `scheduling`.
    TaskName,
    "task name",
    "1 to 40 of a-z, 0-9, `-`",
    |text| lower_dash(text, 40)
);
name!(
    /// A person, written like a mail address; the `@` keeps people and services disjoint (S4-01).
    PersonId,
    "person id",
    "a mail-like name such as `dana@mercy.example` (a-z, 0-9, `.`, `-`, `_`, exactly one `@`)",
    |text| {
        let part = |part: &str| {
            (1..=64).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        };
        text.split_once('@').is_some_and(|(name, domain)| part(name) && part(domain))
    }
);

name!(
    /// A role of AI services, e.g. `clinical_ai_reader`.
    RoleName,
    "role name",
    "1 to 64 of a-z, 0-9, `-`, `_`, starting with a letter",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        && text.starts_with(|c: char| c.is_ascii_lowercase())
);
name!(
    /// What a role lets its services ask for, e.g. `data:read`. Whether anything stands behind it is another matter.
    Permission,
    "permission",
    "of the form `noun:verb` in a-z and `-`, at most 64",
    |text| {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        text.len() <= 64 && text.split_once(':').is_some_and(|(noun, verb)| word(noun) && word(verb))
    }
);
name!(
    /// Where a role's services must run, e.g. `isolated-vpc`.
    EnvironmentName,
    "environment",
    "1 to 40 of a-z, 0-9, `-`",
    |text| lower_dash(text, 40)
);

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                parse_hex_16(text).map(Self).ok_or(InvalidName { noun: $noun, rule: "32 lower-case hexadecimal digits" })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id!(
    /// One session: 128 random bits, 32 hexadecimal digits on the wire (`sid`).
    SessionId,
    "session id"
);
random_id!(
    /// One approval (request and decision): 128 random bits.
    ApprovalId,
    "approval id"
);

random_id!(
    /// One job of bulk export: 128 random bits, 32 hexadecimal digits in its address.
    ExportId,
    "export id"
);

fn parse_hex_16(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 16];
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[test]
fn names_are_disjoint_and_strict() {
    assert!("mercy".parse::<TenantId>().is_ok());
    for bad in ["", "Mercy", "api", "console", "_system", "a/b", &"a".repeat(41)] {
        assert!(bad.parse::<TenantId>().is_err(), "`{bad}`");
    }
    assert!("dana@mercy.example".parse::<PersonId>().is_ok());
    assert!("dana@mercy.example".parse::<IntegrationId>().is_err(), "S4-01: no id is both");
    assert!("scheduler-1".parse::<PersonId>().is_err());
    assert!("clinical_ai_reader".parse::<RoleName>().is_ok() && "_x".parse::<RoleName>().is_err());
    assert!("data:read".parse::<Permission>().is_ok());
    for bad in ["", ":", "data:", ":read", "data", "data:read:all", "Data:read", "data:*"] {
        assert!(bad.parse::<Permission>().is_err(), "`{bad}`");
    }
    let sid: SessionId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
    assert_eq!(sid.to_string(), "000102030405060708090a0b0c0d0e0f");
    assert!("000102030405060708090A0b0c0d0e0f".parse::<SessionId>().is_err());
}
