//! From HTTP to the types of `oauth` and back: bodies within limits, errors of RFC 6749, cache headers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use domain::Budget;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use oauth::{ErrorCode, OAuthError};

use super::Peer;
use crate::listen::ClientCertificate;

/// Longest wait for a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much more than is taken is read before the connection is given up.
const LATE_BYTES_MAX: usize = 256 * 1024;
/// Longest `User-Agent` kept.
const AGENT_CHARS_MAX: usize = 256;

/// Which scheme a 401 names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Challenge {
    /// RFC 9110 §15.5.2 wants one named, and none stands for private_key_jwt.
    #[default]
    Bearer,
    /// HTTP Basic was tried (RFC 6749 §5.2).
    Basic,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: OAuthError,
    /// For 429: seconds after which the window is free of everything that fills it now.
    pub(super) retry_after: Option<u32>,
    /// For 401.
    pub(super) challenge: Challenge,
}

impl Refused {
    /// A refusal with the status that belongs to its code.
    pub(super) fn new(code: ErrorCode, says: impl AsRef<str>) -> Self {
        Self::from(OAuthError::new(code, says))
    }

    /// Something of ours failed; nothing was done.
    pub(super) fn unavailable(says: &str) -> Self {
        Self::new(ErrorCode::TemporarilyUnavailable, says)
    }

    /// A distinct-patient budget is spent.
    pub(super) fn budget(budget: Budget) -> Self {
        let seconds = if budget == Budget::PatientsPerDay { 24 * 3_600 } else { 3_600 };
        let says = format!("the budget `{}` of distinct patients is spent; try again later", budget.name());
        let error = OAuthError::new(ErrorCode::TemporarilyUnavailable, says);
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            error,
            retry_after: Some(seconds),
            challenge: Challenge::default(),
        }
    }
}

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        let status = match error.code {
            ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, error, retry_after: None, challenge: Challenge::default() }
    }
}

impl Refused {
    /// The HTTP answer.
    pub(super) fn response(&self) -> Response {
        let mut response = json(self.status, self.error.body());
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static(match self.challenge {
                    Challenge::Bearer => "Bearer",
                    Challenge::Basic => r#"Basic realm="hilum", charset="UTF-8""#,
                }),
            );
        }
        let retry = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => self.retry_after,
        };
        if let Some(seconds) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// 404 for a tenant that is not there.
pub(super) fn no_tenant() -> Response {
    json(StatusCode::NOT_FOUND, OAuthError::new(ErrorCode::InvalidRequest, "no such tenant").body())
}

/// What carries or refuses a token is never cached, errors and 405 included (PF-12).
pub(super) async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Where a request came from: what is recorded of it, and the certificate its connection was opened with.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) peer: SocketAddr,
    pub(super) agent: String,
    /// As the listener saw it in the handshake; no header says so (NEG-008).
    pub(super) certificate: Option<ClientCertificate>,
}

/// What a request carries: its body, and its `Authorization` header if there is one.
pub(super) struct Sent {
    pub(super) bytes: Bytes,
    pub(super) authorization: Option<String>,
}

/// Who is on the line.
pub(super) fn origin(request: &Request<Body>) -> Origin {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let peer = request.extensions().get::<Peer>().map_or(unknown, |Peer(peer)| *peer);
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let certificate = request.extensions().get::<ClientCertificate>().cloned();
    Origin { peer, agent: agent.chars().take(AGENT_CHARS_MAX).collect(), certificate }
}

/// Reads the body if it is of the media type, within `most` bytes and ten seconds.
pub(super) async fn body(request: Request<Body>, media: &str, most: usize) -> Result<Sent, Refused> {
    let invalid = |says: &str| Refused::new(ErrorCode::InvalidRequest, says);
    let authorization = authorization(request.headers())?;
    if !is(request.headers(), media) {
        let status =
            if media == "application/json" { StatusCode::UNSUPPORTED_MEDIA_TYPE } else { StatusCode::BAD_REQUEST };
        let error = OAuthError::new(ErrorCode::InvalidRequest, format!("the content type must be {media}"));
        return Err(Refused { status, ..Refused::from(error) });
    }
    match tokio::time::timeout(BODY_TIMEOUT, whole(request.into_body(), most)).await {
        Ok(Some(bytes)) => Ok(Sent { bytes, authorization }),
        Ok(None) => Err(invalid("the request body is too long or was cut off")),
        Err(_) => Err(invalid("the request body took too long")),
    }
}

/// The body, if it came whole and is not longer than `most`. What is somewhat longer is read and thrown away: who still writes when the
/// connection closes may never see the answer.
async fn whole(mut body: Body, most: usize) -> Option<Bytes> {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= most {
            kept.extend_from_slice(&data);
        } else if length > most.saturating_add(LATE_BYTES_MAX) {
            return None;
        }
    }
    (length <= most).then(|| kept.into())
}

/// The one `Authorization` header. Two are two methods, and one that is no text is a proof that cannot be read.
fn authorization(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or_default().to_owned())),
        (Some(_), Some(_)) => Err(Refused::new(ErrorCode::InvalidRequest, "send one Authorization header at most")),
    }
}

fn is(headers: &HeaderMap, media: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media)
}

#[tokio::test]
async fn a_body_is_whole_and_within_its_limit_or_nothing() {
    let of = |parts: &'static [usize]| {
        let mut left = parts.iter().map(|length| Bytes::from(vec![7; *length]));
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(std::iter::from_fn(move || {
            left.next().map(|part| Ok::<_, std::io::Error>(hyper::body::Frame::data(part)))
        }))))
    };
    assert_eq!(whole(of(&[3, 2]), 5).await.map(|bytes| bytes.len()), Some(5));
    assert_eq!(whole(of(&[]), 5).await.map(|bytes| bytes.len()), Some(0));
    for parts in [&[6][..], &[3, 3], &[LATE_BYTES_MAX, 6], &[5, 0, 1]] {
        assert_eq!(whole(of(parts), 5).await, None);
    }
    let cut = Body::new(http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok(hyper::body::Frame::data(Bytes::from_static(b"abc"))),
        Err(std::io::Error::other("cut")),
    ])));
    assert_eq!(whole(cut, 5).await, None);
}
