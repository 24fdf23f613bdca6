//! `application/x-www-form-urlencoded` bodies, strictly: each parameter once, whole UTF-8, few and short.

use std::collections::BTreeSet;

/// Largest form body: an assertion, a scope string and `authorization_details` at their own limits.
pub const FORM_BYTES_MAX: usize = 48 * 1024;
/// Most parameters in one form; the token endpoint knows nine.
const PARAMETERS_MAX: usize = 32;
/// Most values of the one parameter of a page that may repeat: a row for every clause of the longest scope string and every
/// category beside them, with room.
pub const LISTED_MAX: usize = 512;
/// Largest body of a page's form: [`LISTED_MAX`] rows at 150 bytes, percent-encoded.
pub const LISTED_BYTES_MAX: usize = 96 * 1024;

/// Why a body is no form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidForm {
    /// Over a limit.
    #[error("the request body is too long or has too many parameters")]
    Size,
    /// A percent sequence or its UTF-8 is broken.
    #[error("the request body is not form-urlencoded UTF-8")]
    Encoding,
    /// A parameter appears twice (RFC 6749 §3.2).
    #[error("`{0}` is given more than once")]
    Repeated(String),
}

/// A parsed form. Empty values count as absent (RFC 6749 §3.2).
#[derive(Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Parameters of which each may stand more than once, for those who tell the repeated ones apart.
#[derive(Clone, Default)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Reads a query or a body.
    ///
    /// # Errors
    /// The rule it breaks; a repeated parameter breaks none.
    pub fn read(text: &[u8]) -> Result<Self, InvalidForm> {
        if text.len() > FORM_BYTES_MAX {
            return Err(InvalidForm::Size);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(InvalidForm::Size);
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Every value of a parameter, empty ones too.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that stands at most once; absent and empty are the same.
    ///
    /// # Errors
    /// [`InvalidForm::Repeated`].
    pub fn once(&self, name: &str) -> Result<Option<&str>, InvalidForm> {
        let mut all = self.0.iter().filter(|(known, _)| known == name);
        match (all.next(), all.next()) {
            (found, None) => Ok(found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())),
            _ => Err(InvalidForm::Repeated(name.to_owned())),
        }
    }

    /// A parameter that stands more than once.
    #[must_use]
    pub fn repeated(&self) -> Option<&str> {
        let mut seen = std::collections::BTreeSet::new();
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !seen.insert(*name))
    }
}

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn read(body: &[u8]) -> Result<Self, InvalidForm> {
        Ok(Self::read_pairs(body, None, FORM_BYTES_MAX)?.0)
    }

    /// Reads the body of a page where checkboxes share the name `listed`: its values, each once, and the other parameters.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn read_listed(body: &[u8], listed: &str) -> Result<(Self, BTreeSet<String>), InvalidForm> {
        Self::read_pairs(body, Some(listed), LISTED_BYTES_MAX)
    }

    fn read_pairs(body: &[u8], listed: Option<&str>, most: usize) -> Result<(Self, BTreeSet<String>), InvalidForm> {
        if body.len() > most {
            return Err(InvalidForm::Size);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut list = BTreeSet::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if listed == Some(name.as_str()) {
                if list.len() == LISTED_MAX {
                    return Err(InvalidForm::Size);
                }
                if !list.insert(value) {
                    return Err(InvalidForm::Repeated(name));
                }
                continue;
            }
            if pairs.len() == PARAMETERS_MAX {
                return Err(InvalidForm::Size);
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(InvalidForm::Repeated(name));
            }
            pairs.push((name, value));
        }
        Ok((Self(pairs), list))
    }

    /// The first parameter that is none of `known`.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !known.contains(name))
    }

    /// A parameter's value; absent and empty are the same.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// One value decoded as in a form; none when it is not encoded so.
pub(crate) fn decoded(text: &str) -> Option<String> {
    decode(text.as_bytes()).ok()
}

fn decode(text: &[u8]) -> Result<String, InvalidForm> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(InvalidForm::Encoding);
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
                u8::try_from(value).map_err(|_| InvalidForm::Encoding)?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).map_err(|_| InvalidForm::Encoding)
}

#[test]
fn forms_are_read_once_and_strictly() {
    let form = Form::read(b"a=1&b=x%20y+z&c=&&d").unwrap();
    assert_eq!((form.get("a"), form.get("b"), form.get("c"), form.get("d")), (Some("1"), Some("x y z"), None, None));
    for bad in ["a=1&a=2", "a=1&%61=2", "a=%", "a=%f", "a=%zz", "a=%ff", "a=&a="] {
        assert!(Form::read(bad.as_bytes()).is_err(), "`{bad}`");
    }
    let many: Vec<String> = (0..33).map(|n| format!("p{n}=1")).collect();
    assert_eq!(Form::read(many.join("&").as_bytes()).unwrap_err(), InvalidForm::Size);
    assert_eq!(Form::read(&vec![b'a'; FORM_BYTES_MAX + 1]).unwrap_err(), InvalidForm::Size);
    assert!(!format!("{:?}", Form::read(b"secret=abc123").unwrap()).contains("abc123"));
}

#[test]
fn one_name_may_repeat_where_checkboxes_share_it() {
    let (form, list) = Form::read_listed(b"grant=a&csrf=1&grant=b%3Fc&x=y", "grant").unwrap();
    assert_eq!(list, BTreeSet::from(["a".to_owned(), "b?c".to_owned()]));
    assert_eq!((form.get("csrf"), form.get("grant")), (Some("1"), None));
    assert_eq!((form.unknown(&["csrf", "x"]), form.unknown(&["csrf"])), (None, Some("x")));
    for bad in ["grant=a&grant=a", "csrf=1&csrf=2", "grant=%ff"] {
        assert!(Form::read_listed(bad.as_bytes(), "grant").is_err(), "`{bad}`");
    }
    let many: Vec<String> = (0..=LISTED_MAX).map(|n| format!("grant={n}")).collect();
    assert_eq!(Form::read_listed(many.join("&").as_bytes(), "grant").unwrap_err(), InvalidForm::Size);
    assert_eq!(Form::read_listed(&vec![b'a'; LISTED_BYTES_MAX + 1], "grant").unwrap_err(), InvalidForm::Size);
}
