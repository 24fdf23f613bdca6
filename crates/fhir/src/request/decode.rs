//! Percent-decoding, once: path segments and query pairs. What is not plain text after one decoding is refused.

use super::{InvalidKind, InvalidRequest, PARAMS_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX, quote};

/// One `key=value` of a query, decoded.
#[derive(Clone)]
pub(super) struct Pair {
    pub key: String,
    pub value: String,
}

/// The decoded segments of a path; `/` and the empty path have none.
pub(super) fn segments(path: &str) -> Result<Vec<String>, InvalidRequest> {
    if path.len() > PATH_BYTES_MAX {
        return Err(InvalidRequest::new(InvalidKind::TooLong, "the path is too long"));
    }
    if path.is_empty() || path == "/" {
        return Ok(Vec::new());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(InvalidRequest::malformed("the path does not start with `/`"));
    };
    rest.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, InvalidRequest> {
    let text = decode(raw, Plus::IsPlus)?;
    // What a normaliser or a second decoding could turn into something else is no segment (PA-03).
    if matches!(text.as_str(), "" | "." | "..") || text.chars().any(|c| matches!(c, '/' | '\\' | ';' | '?' | '#' | '%'))
    {
        return Err(InvalidRequest::malformed("the path has an empty, dot or encoded segment"));
    }
    Ok(text)
}

/// The decoded pairs of a query, in order.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair>, InvalidRequest> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(InvalidRequest::new(InvalidKind::TooLong, "the query is too long"));
    }
    form(query)
}

/// The decoded pairs of a form, which is written as a query is.
pub(super) fn form(text: &str) -> Result<Vec<Pair>, InvalidRequest> {
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        if pairs.len() == PARAMS_MAX {
            return Err(InvalidRequest::new(InvalidKind::TooLong, "too many parameters"));
        }
        let Some((key, value)) = part.split_once('=') else {
            return Err(InvalidRequest::malformed(format!("{} has no value", quote(part))));
        };
        let (key, value) = (decode(key, Plus::IsSpace)?, decode(value, Plus::IsSpace)?);
        if key.is_empty() || value.is_empty() {
            return Err(InvalidRequest::malformed(format!("{} has no value", quote(&key))));
        }
        pairs.push(Pair { key, value });
    }
    Ok(pairs)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Plus {
    IsPlus,
    IsSpace,
}

/// One decoding of printable ASCII to UTF-8 without control characters.
fn decode(raw: &str, plus: Plus) -> Result<String, InvalidRequest> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(InvalidRequest::malformed("a percent sign is not followed by two hexadecimal digits")),
            },
            b'+' if plus == Plus::IsSpace => b' ',
            b'!'..=b'~' => byte,
            _ => return Err(InvalidRequest::malformed("the address holds a character that must be percent-encoded")),
        });
    }
    match String::from_utf8(decoded) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => Err(InvalidRequest::malformed("the address is not plain UTF-8 text")),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
