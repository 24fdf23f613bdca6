//! `application/x-www-form-urlencoded` bodies, strictly: each parameter once, whole UTF-8, few and short.

/// Largest form body: an assertion, a scope string and `authorization_details` at their own limits.
pub const FORM_BYTES_MAX: usize = 48 * 1024;
/// Most parameters in one form; the token endpoint knows nine.
const PARAMETERS_MAX: usize = 32;

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

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn read(body: &[u8]) -> Result<Self, InvalidForm> {
        if body.len() > FORM_BYTES_MAX {
            return Err(InvalidForm::Size);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(InvalidForm::Size);
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(InvalidForm::Repeated(name));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
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
