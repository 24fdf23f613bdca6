//! The request head, read once: limits, the headers the gate understands, and nothing else.
//!
//! Client headers are an allow-list: what is not named here never influences anything and never travels (HD-03 … HD-05).

use std::borrow::Cow;

use domain::Reason;
use fhir::request::{Body, Conditions, Method, Raw};
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{Request, Version};

use crate::error::{Refusal, Scheme};

/// Longest bearer token read: an RFC 9068 token with 256 scope clauses stays under it.
const BEARER_BYTES_MAX: usize = 16 * 1024;
/// Longest path plus query.
const TARGET_BYTES_MAX: usize = 10 * 1024;

/// A token and the scheme it came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credential<'a> {
    /// `Bearer` or `DPoP`.
    pub scheme: Scheme,
    /// The token, unverified.
    pub token: &'a str,
}

/// What the gate takes from a request head.
pub struct Head<'a> {
    /// The method, as FHIR knows it.
    pub method: Method,
    /// The method as sent, for the record.
    pub method_name: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// `Accept`; several lines are one list (RFC 9110 §5.3).
    pub accept: Option<Cow<'a, str>>,
    /// Whether a body is announced.
    pub body: bool,
    /// The access token.
    pub credential: Option<Credential<'a>>,
    /// `Content-Type`.
    pub media: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-None-Exist`.
    pub if_none_exist: Option<&'a str>,
    /// `Prefer`; several lines are one list.
    pub prefer: Option<Cow<'a, str>>,
    /// `User-Agent`, for the record.
    pub agent: &'a str,
}

impl<'a> Head<'a> {
    /// The request as FHIR reads it; `bytes` is the body, if there is one.
    pub fn raw<'r>(&'r self, below: &'r str, bytes: Option<&'r [u8]>) -> Raw<'r>
    where
        'a: 'r,
    {
        let reads = matches!(self.method, Method::Get | Method::Head);
        Raw {
            method: self.method,
            path: below,
            query: self.query,
            accept: self.accept.as_deref(),
            body: bytes.map(|bytes| Body { media: self.media, bytes }),
            conditions: Conditions {
                if_match: self.if_match,
                // On a read it is answered here, and says nothing about what is asked.
                if_none_match: self.if_none_match.filter(|_| !reads),
                if_none_exist: self.if_none_exist,
                prefer: self.prefer.as_deref(),
            },
        }
    }
}

/// Reads the head, or says what is wrong with it.
pub fn read<'a, B>(request: &'a Request<B>, below: &str) -> Result<Head<'a>, Refusal> {
    let headers = request.headers();
    let malformed = |what: &str| Err(Refusal::new(Reason::RequestInvalid, what));
    let uri = request.uri();
    // RFC 9112 §3.2.2: a proxy form of the target; nobody proxies through Hilum (PA-06).
    if uri.authority().is_some() || uri.scheme().is_some() {
        return malformed("send the path, not an absolute URL, as the request target");
    }
    if below.len() + uri.query().map_or(0, str::len) > TARGET_BYTES_MAX {
        return malformed("the request target is too long");
    }
    // HD-09: two ways to say where the body ends, or hop-by-hop games, are smuggling attempts.
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return malformed("Content-Length and Transfer-Encoding exclude each other");
    }
    if headers.contains_key(UPGRADE) || !connection_is_plain(headers) {
        return malformed("Upgrade and Connection options other than keep-alive and close are not offered");
    }
    if headers.contains_key(HeaderName::from_static("x-http-method-override"))
        || headers.contains_key(HeaderName::from_static("x-http-method"))
        || headers.contains_key(HeaderName::from_static("x-method-override"))
    {
        return malformed("method override is not offered");
    }
    if request.version() < Version::HTTP_11 && headers.contains_key(TRANSFER_ENCODING) {
        return malformed("Transfer-Encoding needs HTTP/1.1");
    }
    Ok(Head {
        method: method(request.method()),
        method_name: request.method().as_str(),
        query: uri.query(),
        accept: list(headers, &ACCEPT)?,
        body: announces_body(headers),
        credential: credential(headers)?,
        media: single(headers, &CONTENT_TYPE)?,
        if_none_match: single(headers, &IF_NONE_MATCH)?,
        if_match: single(headers, &IF_MATCH)?,
        if_none_exist: single(headers, &HeaderName::from_static("if-none-exist"))?,
        prefer: list(headers, &HeaderName::from_static("prefer"))?,
        agent: headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or(""),
    })
}

fn method(method: &http::Method) -> Method {
    match *method {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::PATCH => Method::Patch,
        http::Method::DELETE => Method::Delete,
        _ => Method::Other,
    }
}

fn connection_is_plain(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().all(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',').map(str::trim).all(|option| {
                option.is_empty() || option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("close")
            })
        })
    })
}

fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// A header that may be sent once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::new(Reason::RequestInvalid, format!("send `{name}` once")));
    }
    first.to_str().map(Some).map_err(|_| Refusal::new(Reason::RequestInvalid, format!("`{name}` is not plain text")))
}

/// A header whose lines make one list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Cow<'a, str>>, Refusal> {
    let mut out: Option<Cow<'a, str>> = None;
    for value in headers.get_all(name) {
        let text =
            value.to_str().map_err(|_| Refusal::new(Reason::RequestInvalid, format!("`{name}` is not plain text")))?;
        out = Some(match out {
            None => Cow::Borrowed(text),
            Some(before) => Cow::Owned(format!("{before}, {text}")),
        });
    }
    Ok(out)
}

/// RFC 6750 §2.1, RFC 9449 §7.1; two credentials, or one in another scheme, are no credential.
fn credential(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Refusal> {
    let Some(value) = single(headers, &AUTHORIZATION)? else { return Ok(None) };
    let invalid =
        || Refusal::new(Reason::TokenInvalid, "Authorization must be `Bearer` or `DPoP` and one access token");
    let (scheme, token) = value.split_once(' ').ok_or_else(invalid)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(invalid()),
    };
    let token = token.trim_start_matches(' ');
    let plain = |b: u8| {
        b.is_ascii_digit()
            | (b | 0x20).is_ascii_lowercase()
            | [b'-', b'.', b'_', b'~', b'+', b'/', b'='].iter().fold(false, |any, other| any | (b == *other))
    };
    if token.is_empty()
        || token.len() > BEARER_BYTES_MAX
        // Every byte is looked at, since a loop that never leaves early takes many at once.
        || !token.bytes().fold(true, |all, byte| all & plain(byte))
    {
        return Err(invalid());
    }
    Ok(Some(Credential { scheme, token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Request<()> {
        headers
            .iter()
            .fold(Request::builder().uri("/t/fhir/Patient"), |b, (name, value)| b.header(*name, *value))
            .body(())
            .unwrap()
    }

    #[test]
    fn hd_09_smuggling_and_override_headers_are_refused() {
        for headers in [
            &[("content-length", "3"), ("transfer-encoding", "chunked")][..],
            &[("connection", "authorization")],
            &[("upgrade", "h2c")],
            &[("x-http-method-override", "DELETE")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        ] {
            let refusal = read(&with(headers), "/Patient").err().unwrap();
            assert_eq!(refusal.status, http::StatusCode::BAD_REQUEST, "{headers:?}");
        }
    }

    #[test]
    fn pa_06_absolute_form_is_refused() {
        let request = Request::builder().uri("https://other/t/fhir/Observation/O1").body(()).unwrap();
        assert!(read(&request, "/Observation/O1").is_err());
    }

    #[test]
    fn a_credential_is_one_token_or_an_invalid_one() {
        assert_eq!(read(&with(&[]), "").ok().unwrap().credential, None);
        for (value, scheme) in [("bearer abc.def", Scheme::Bearer), ("dPoP abc.def", Scheme::Dpop)] {
            let request = with(&[("authorization", value)]);
            assert_eq!(
                read(&request, "").ok().unwrap().credential,
                Some(Credential { scheme, token: "abc.def" }),
                "`{value}`"
            );
        }
        for bad in ["Basic abc", "Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "DPoP", "DPoP ", "DPoPx abc"] {
            let refusal = read(&with(&[("authorization", bad)]), "").err().unwrap();
            assert_eq!(refusal.reason, Reason::TokenInvalid, "`{bad}`");
        }
    }
}
