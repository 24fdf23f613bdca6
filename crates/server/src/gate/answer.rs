//! The only place where the gate makes an HTTP response, and the only ways to make one.
//!
//! A released body needs its `Recorded`, a refusal its `Receipt`; neither can be made without the ledger.

use domain::Reason;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LOCATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderValue, LAST_MODIFIED, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use policy::Content;
use store::wal::Receipt;

use super::export::Lines;
use super::holder::Told;
use super::watched::Watched;
use crate::audit::Recorded;
use crate::error::Refusal;
use crate::proofs;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// A body of the gate's: in memory, a spool that is read as the connection takes it, or a file as it is judged.
pub type GateBody = Either<Full<Bytes>, Either<Watched, Lines>>;

/// What the gate answers with.
pub struct Answer(Inner);

enum Inner {
    Released(Box<Release>),
    Refused(Refusal),
    Public(Bytes),
    /// Of this caller alone, with nothing of a patient in it.
    Own(Vec<u8>),
    /// A step of an export, with nothing of a patient in it.
    Step(Step),
    /// A file of an export.
    Lines(Lines),
}

/// What a step of an export is answered with.
#[derive(Debug, Default)]
pub struct Step {
    /// 202, or 200 with the manifest.
    pub status: StatusCode,
    /// The manifest.
    pub body: Vec<u8>,
    /// Where the job is.
    pub content_location: Option<String>,
    /// Seconds after which to ask again.
    pub retry_after: Option<u32>,
}

struct Release {
    status: u16,
    body: Vec<u8>,
    /// The body, where it is not in memory.
    large: Option<Watched>,
    content: Content,
    etag: Option<String>,
    last_modified: Option<String>,
    location: Option<String>,
}

impl Answer {
    /// The verified and recorded answer; `304` when the caller's copy is current (RD-34: decided here, never upstream).
    #[must_use]
    pub fn released(recorded: Recorded, if_none_match: Option<&str>, large: Option<Watched>) -> Self {
        let released = recorded.into_released();
        let etag = released.etag().map(str::to_owned);
        let current = released.status() == 200
            && if_none_match.zip(etag.as_deref()).is_some_and(|(asked, etag)| matches_etag(asked, etag));
        let status = if current { 304 } else { released.status() };
        let last_modified = released.last_modified().map(str::to_owned);
        let location = released.location().map(str::to_owned);
        let content = released.content().clone();
        let released_apart = released.spooled().is_some();
        let body = if current { Vec::new() } else { released.into_body() };
        let large = large.filter(|_| released_apart);
        Self(Inner::Released(Box::new(Release { status, body, large, content, etag, last_modified, location })))
    }

    /// A change that was made and recorded, without what it says: there is no budget left for that.
    #[must_use]
    pub fn bare(recorded: Recorded) -> Self {
        let mut answer = Self::released(recorded, None, None);
        if let Inner::Released(release) = &mut answer.0 {
            (release.body, release.large) = (Vec::new(), None);
        }
        answer
    }

    /// The answers of a batch, each of which was made by one of the ways above.
    #[must_use]
    pub(super) fn of_entries(body: Vec<u8>) -> Self {
        let release = Release {
            status: 200,
            body,
            large: None,
            content: Content::Fhir,
            etag: None,
            last_modified: None,
            location: None,
        };
        Self(Inner::Released(Box::new(release)))
    }

    /// Status, body and what else a batch says of one answer.
    pub(super) fn into_entry(self) -> (u16, Vec<u8>, Vec<(&'static str, String)>) {
        match self.0 {
            // Content is no JSON: within a Bundle it would be read as whatever it says it is.
            Inner::Released(release) if release.content != Content::Fhir => {
                let refusal = Refusal::new(Reason::NotSupported, "the content of a Binary does not fit into a Bundle");
                (refusal.status.as_u16(), refusal.outcome(), Vec::new())
            }
            Inner::Released(release) => {
                let named = [("location", release.location), ("etag", release.etag)];
                let headers = named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                (release.status, release.body, headers)
            }
            Inner::Refused(refusal) => (refusal.status.as_u16(), refusal.outcome(), Vec::new()),
            Inner::Public(document) => (200, document.to_vec(), Vec::new()),
            Inner::Own(document) => (200, document, Vec::new()),
            // Refused within a Bundle when it was read.
            Inner::Step(_) | Inner::Lines(_) => {
                let refusal = Refusal::new(Reason::ExportRefused, "an export does not fit into a Bundle");
                (refusal.status.as_u16(), refusal.outcome(), Vec::new())
            }
        }
    }

    /// A refusal whose record is durable.
    #[must_use]
    pub fn refused(refusal: Refusal, _receipt: Receipt) -> Self {
        Self(Inner::Refused(refusal))
    }

    /// A refusal of someone unknown: counted in the ledger each second, not one by one (audit.md §9.2).
    #[must_use]
    pub fn unauthenticated(refusal: Refusal) -> Self {
        Self(Inner::Refused(refusal))
    }

    /// The ledger itself refused: 503, and nothing but that.
    #[must_use]
    pub fn unrecorded(refusal: Refusal) -> Self {
        Self(Inner::Refused(refusal))
    }

    /// A document that is the same for everybody.
    #[must_use]
    pub fn public(document: Bytes) -> Self {
        Self(Inner::Public(document))
    }

    /// A document about the caller's own rights.
    #[must_use]
    pub fn own(document: Vec<u8>) -> Self {
        Self(Inner::Own(document))
    }

    /// A step of an export whose record is durable.
    #[must_use]
    pub fn step(step: Step, _receipt: Receipt) -> Self {
        Self(Inner::Step(step))
    }

    /// A file of an export whose opening is on record.
    #[must_use]
    pub fn lines(lines: Lines, _opened: Receipt) -> Self {
        Self(Inner::Lines(lines))
    }

    /// As HTTP, with what `told` says of its sender's token.
    #[must_use]
    pub(super) fn into_response(self, told: &Told<'_>) -> Response<GateBody> {
        let (status, body) = match &self.0 {
            Inner::Released(release) => {
                (StatusCode::from_u16(release.status).unwrap_or(StatusCode::BAD_GATEWAY), Bytes::new())
            }
            Inner::Refused(refusal) => (refusal.status, Bytes::from(refusal.outcome())),
            Inner::Public(document) => (StatusCode::OK, document.clone()),
            Inner::Own(document) => (StatusCode::OK, Bytes::from(document.clone())),
            Inner::Step(step) => (step.status, Bytes::from(step.body.clone())),
            Inner::Lines(_) => (StatusCode::OK, Bytes::new()),
        };
        let mut response = Response::new(Either::Left(Full::new(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, FHIR_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        proofs::hand_out(told.nonce.as_deref(), headers);
        match self.0 {
            Inner::Released(release) => {
                let Release { body, large, content, etag, last_modified, location, .. } = *release;
                if let Content::Raw(media) = content {
                    as_file(headers, &media);
                }
                if body.is_empty() && large.is_none() {
                    headers.remove(CONTENT_TYPE);
                }
                // The EHR has ended what the session had of it: told like any other end of a session.
                if status == StatusCode::UNAUTHORIZED {
                    challenge(headers, told, &Refusal::new(Reason::UpstreamTokenGone, ""));
                }
                for (name, value) in [(ETAG, etag), (LAST_MODIFIED, last_modified), (LOCATION, location)] {
                    if let Some(value) = value.and_then(|text| HeaderValue::from_str(&text).ok()) {
                        headers.insert(name, value);
                    }
                }
                *response.body_mut() = match large {
                    Some(body) => Either::Right(Either::Left(body)),
                    None => Either::Left(Full::new(Bytes::from(body))),
                };
            }
            Inner::Refused(refusal) => {
                challenge(headers, told, &refusal);
                if let Some(allow) = refusal.allow {
                    headers.insert(ALLOW, HeaderValue::from_static(allow));
                }
                if let Some(seconds) = refusal.retry_after {
                    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
            }
            Inner::Own(_) => {}
            Inner::Step(step) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if step.body.is_empty() {
                    headers.remove(CONTENT_TYPE);
                }
                if let Some(place) = step.content_location.and_then(|text| HeaderValue::from_str(&text).ok()) {
                    headers.insert(CONTENT_LOCATION, place);
                }
                if let Some(seconds) = step.retry_after {
                    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                    headers.insert("x-progress", HeaderValue::from_static("in progress"));
                }
            }
            Inner::Lines(lines) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/fhir+ndjson"));
                *response.body_mut() = Either::Right(Either::Right(lines));
            }
            // DISC-22: any origin may read what is the same for everybody.
            Inner::Public(_) => {
                headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
            }
        }
        response
    }
}

fn challenge(headers: &mut http::HeaderMap, told: &Told<'_>, refusal: &Refusal) {
    let challenge = refusal.challenge(told.scheme, told.metadata);
    if let Some(challenge) = challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
}

/// Content that somebody put into a record: saved, never run or shown in the place of a page (BI-03).
fn as_file(headers: &mut http::HeaderMap, media: &str) {
    let media = HeaderValue::from_str(media).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_TYPE, media);
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
}

/// RFC 9110 §13.1.2: weak comparison, `*` or a list.
fn matches_etag(asked: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    asked.trim() == "*" || asked.split(',').any(|tag| opaque(tag) == opaque(etag))
}

#[test]
fn rd_34_etags_compare_weakly() {
    assert!(matches_etag("W/\"3\"", "W/\"3\""));
    assert!(matches_etag("\"1\", \"3\"", "W/\"3\""));
    assert!(matches_etag("*", "W/\"3\""));
    assert!(!matches_etag("\"2\"", "W/\"3\""));
}
