//! Answers of the launch side: JSON of a token endpoint, pages, and redirects. None is ever stored.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, PRAGMA};
use serde_json::{Value, json};

use crate::search;
use crate::serve::body::StepBody;
use crate::serve::wire::Response;

fn answer(status: u16, kind: &'static str, body: String, more: &[(HeaderName, &str)]) -> Response {
    let mut response = Response::new(StepBody::whole(Bytes::from(body)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    for (name, value) in more {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// JSON.
pub(super) fn data(status: u16, body: &Value) -> Response {
    answer(status, "application/json", body.to_string(), &[])
}

/// An OAuth error (RFC 6749 §5.2).
pub(super) fn refusal(status: u16, error: &str, says: &str) -> Response {
    data(status, &json!({"error": error, "error_description": says}))
}

/// A method that is not for this path.
pub(super) fn wrong_method(allow: &'static str) -> Response {
    let body = json!({"error": "invalid_request", "error_description": format!("only {allow} here")});
    answer(405, "application/json", body.to_string(), &[(http::header::ALLOW, allow)])
}

/// Nothing but a status.
pub(super) fn empty(status: u16) -> Response {
    answer(status, "text/plain;charset=utf-8", String::new(), &[])
}

/// A page. It holds no script, and no other site may frame it (AZ-15, AZ-16).
pub(super) fn page(status: u16, html: String) -> Response {
    let headers = [
        (
            http::header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (http::header::X_FRAME_OPTIONS, "DENY"),
        (http::header::REFERRER_POLICY, "no-referrer"),
    ];
    answer(status, "text/html;charset=utf-8", html, &headers)
}

/// Sends a browser on, by GET whatever it did before (AZ-14), with these parameters added.
pub(super) fn redirect(to: &str, parameters: &[(String, String)]) -> Response {
    let to = with_parameters(to, parameters);
    let headers = [(LOCATION, to.as_str()), (http::header::REFERRER_POLICY, "no-referrer")];
    answer(303, "text/plain;charset=utf-8", String::new(), &headers)
}

/// A URL with these parameters after those it has.
pub(super) fn with_parameters(url: &str, parameters: &[(String, String)]) -> String {
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{}", search::query(parameters))
}

/// A parameter.
pub(super) fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn parameters_follow_those_of_the_url() {
    let pairs = [pair("a", "b c")];
    for (url, whole) in [
        ("http://h/cb", "http://h/cb?a=b%20c"),
        ("http://h/cb?", "http://h/cb?a=b%20c"),
        ("http://h/cb?x=1", "http://h/cb?x=1&a=b%20c"),
    ] {
        assert_eq!(with_parameters(url, &pairs), whole);
    }
}
