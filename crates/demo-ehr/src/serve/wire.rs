//! Answers on the wire: headers and body bytes, with the faults of the transport.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde_json::Value;

use crate::fault::Fault;
use crate::serve::body::{Step, StepBody};
use crate::serve::message::{Bundle, Content, Reply, etag};
use crate::serve::{outcome, render};
use crate::time;

const FHIR_JSON: &str = "application/fhir+json;charset=utf-8";

pub(super) type Response = http::Response<StepBody>;

/// An answer that no fault touches.
pub(super) fn plain(status: u16, body: Value) -> Response {
    send(&Reply::plain(status, body), "", &[])
}

/// Faults that answer something else altogether.
pub(super) fn instead(fault: &Fault) -> Option<Response> {
    let text = |status: u16, kind: &'static str, body: &'static str| {
        let mut response = Response::new(StepBody::whole(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    match fault {
        Fault::Html => Some(text(
            200,
            "text/html;charset=utf-8",
            "<!DOCTYPE html><html><body><h1>Patient/p2</h1><pre>{\"resourceType\":\"Patient\"}</pre></body></html>",
        )),
        Fault::Xml => Some(text(
            200,
            "application/fhir+xml;charset=utf-8",
            "<?xml version=\"1.0\"?><Patient xmlns=\"http://hl7.org/fhir\"><id value=\"p2\"/></Patient>",
        )),
        Fault::Redirect(url) => {
            let mut response = text(302, "text/plain", "");
            response.headers_mut().insert(LOCATION, HeaderValue::from_str(url).ok()?);
            Some(response)
        }
        Fault::NotModified => Some(text(304, FHIR_JSON, "")),
        Fault::StackTrace(ids) => Some(plain(500, outcome::stack_trace(ids))),
        Fault::OutcomeWith200 => Some(plain(200, outcome::outcome("informational", "all fine, see Patient/p2"))),
        _ => None,
    }
}

/// Headers a gate should not let through.
const ODD_HEADERS: [(&str, &str); 9] = [
    ("set-cookie", "JSESSIONID=ehr-secret-session; Path=/"),
    ("x-powered-by", "HAPI FHIR 8.0.0 REST Server"),
    ("server", "ehr-prod-17.hospital.internal"),
    ("link", "<http://ehr-prod-17.hospital.internal/Patient/p2>; rel=\"related\""),
    ("content-location", "http://ehr-prod-17.hospital.internal/fhir/Patient/p2/_history/7"),
    ("location", "http://ehr-prod-17.hospital.internal/fhir/Patient/p2"),
    ("x-request-id", "patient-p2-trace"),
    ("cache-control", "public, max-age=3600"),
    ("access-control-allow-origin", "*"),
];

/// Turns a reply into bytes on the wire, with the faults of the transport.
pub(super) fn send(reply: &Reply, base: &str, faults: &[Fault]) -> Response {
    let text = render::text(&reply.content, base, faults);
    let length = text.len() as u64;
    let bytes = Bytes::from(text);
    let mut status = reply.status;
    let mut kind = match &reply.content {
        Content::Raw(kind, _) => kind.clone(),
        _ => FHIR_JSON.to_owned(),
    };
    let mut headers = validators(reply, faults);
    headers.extend(reply.headers.iter().cloned());
    let mut steps = match &reply.content {
        Content::Bundle(bundle) => flooded(bundle, &bytes, base, faults),
        _ => None,
    };
    let middle = bytes.len() / 2;
    for fault in faults {
        match fault {
            Fault::Status(other) => status = *other,
            Fault::ContentType(other) => kind.clone_from(other),
            Fault::OddHeaders => headers.extend(ODD_HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned()))),
            Fault::CutOff => {
                headers.push(("content-length", length.to_string()));
                // The pause lets the half leave before the connection breaks.
                let pause = Step::Wait(Duration::from_millis(30));
                steps = Some(vec![Step::Data(bytes.slice(..middle)), pause, Step::Abort]);
            }
            Fault::SlowBody(how_long) => {
                headers.push(("content-length", length.to_string()));
                let halves = (bytes.slice(..middle), bytes.slice(middle..));
                steps = Some(vec![Step::Data(halves.0), Step::Wait(*how_long), Step::Data(halves.1)]);
            }
            Fault::Oversized { bytes: size, announced } => {
                let padding = padding(&reply.content);
                if *announced {
                    headers.push(("content-length", (*size).max(length + padding.length()).to_string()));
                }
                steps = Some(padded(&bytes, *size, padding));
            }
            Fault::LongNarrative(size) if matches!(reply.content, Content::Resource(_)) => {
                steps = Some(padded(&bytes, *size, NARRATIVE));
            }
            _ => {}
        }
    }
    let mut response = Response::new(steps.map_or_else(|| StepBody::whole(bytes), StepBody::new));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("")));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    if status == 304 {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// ETag and Last-Modified.
fn validators(reply: &Reply, faults: &[Fault]) -> Vec<(&'static str, String)> {
    let tag = reply.version.as_deref().map(|version| ("etag", etag(version)));
    let modified = reply.modified.filter(|_| !faults.contains(&Fault::EtagOnly));
    tag.into_iter().chain(modified.map(|at| ("last-modified", time::http_date(at)))).collect()
}

/// What stands around padding, in place of the closing brace that is there already.
#[derive(Clone, Copy)]
struct Padding {
    open: &'static str,
    close: &'static str,
    replaced: usize,
}

const RULES: Padding = Padding { open: ",\"implicitRules\":\"", close: "\"}", replaced: 1 };
const NARRATIVE: Padding = Padding {
    open: ",\"text\":{\"status\":\"generated\",\"div\":\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">",
    close: "</div>\"}}",
    replaced: 1,
};
/// Bytes that are no JSON are only made longer.
const PLAIN: Padding = Padding { open: "", close: "", replaced: 0 };

impl Padding {
    /// What it adds besides the padding itself.
    fn length(self) -> u64 {
        (self.open.len() + self.close.len()).saturating_sub(self.replaced) as u64
    }
}

fn padding(content: &Content) -> Padding {
    if matches!(content, Content::Raw(..)) { PLAIN } else { RULES }
}

static PAD_CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// The body with padding, so much that the whole is `size` bytes, without holding it in memory.
fn padded(bytes: &Bytes, size: u64, padding: Padding) -> Vec<Step> {
    let needed = size.saturating_sub(bytes.len() as u64 + padding.length());
    let chunk = Bytes::from_static(&PAD_CHUNK);
    let (times, rest) = (needed / chunk.len() as u64, needed % chunk.len() as u64);
    vec![
        Step::Data(bytes.slice(..bytes.len().saturating_sub(padding.replaced))),
        Step::Data(Bytes::from_static(padding.open.as_bytes())),
        Step::Repeat(chunk.clone(), times),
        Step::Data(chunk.slice(..usize::try_from(rest).unwrap_or(0))),
        Step::Data(Bytes::from_static(padding.close.as_bytes())),
    ]
}

/// The Bundle with a flood of further entries, which are made while they are sent.
fn flooded(bundle: &Bundle, bytes: &Bytes, base: &str, faults: &[Fault]) -> Option<Vec<Step>> {
    let (copied, size) = bundle.flood.as_ref()?;
    // A fault that broke the end of the text leaves nothing to add entries to.
    let open = bytes.strip_suffix(b"]}")?.len();
    let pieces = render::copies(copied, base, faults);
    let each = pieces.join("0123456789").len() as u64;
    let left = size.saturating_sub(bytes.len() as u64).checked_div(each).unwrap_or(0);
    let entries = Step::Numbered { pieces, next: 1, left };
    Some(vec![Step::Data(bytes.slice(..open)), entries, Step::Data(bytes.slice(open..))])
}
