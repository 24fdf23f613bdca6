//! Refusals of the API as problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Reason;
use serde::Serialize;
use store::{ChangeRefusal, StoreError};

use crate::registry::trail::RecordFailed;

/// One mistake in what was sent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Mistake {
    /// Line of the manifest, from 1; absent for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub title: &'static str,
    /// What would help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Stable code of the reason.
    pub reason: &'static str,
    /// All mistakes at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

/// A refusal or fault on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub title: &'static str,
    pub detail: String,
    pub reason: Reason,
    pub mistakes: Vec<Mistake>,
    /// Seconds to wait.
    pub retry_after: Option<i64>,
    /// Whether a record of it is durable already.
    pub recorded: bool,
}

/// Left in the response for the middleware that records refusals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub reason: Reason,
    pub recorded: bool,
}

impl ApiError {
    fn new(status: StatusCode, title: &'static str, reason: Reason, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), reason, mistakes: Vec::new(), retry_after: None, recorded: false }
    }

    /// Nobody is signed in.
    pub(crate) fn unauthorized(reason: Reason, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not signed in", reason, detail)
    }

    /// Signed in, but not allowed.
    pub(crate) fn forbidden(reason: Reason, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not allowed", reason, detail)
    }

    /// There is no such thing here.
    pub(crate) fn missing(what: &str) -> Self {
        let place = if what == "tenant" { "here" } else { "in this tenant" };
        Self::new(StatusCode::NOT_FOUND, "not found", Reason::NotFound, format!("there is no such {what} {place}"))
    }

    /// It cannot be done as things stand.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", Reason::RequestInvalid, detail)
    }

    /// What was sent cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed request", Reason::RequestInvalid, detail)
    }

    /// What was sent can be read but is wrong.
    pub(crate) fn mistakes(mistakes: impl IntoIterator<Item = String>) -> Self {
        Self::listed(mistakes.into_iter().map(|what| Mistake { line: None, what }).collect())
    }

    /// The same, with lines.
    pub(crate) fn listed(mistakes: Vec<Mistake>) -> Self {
        let says = if mistakes.len() == 1 { "there is one mistake" } else { "there are several mistakes" };
        let mut out = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not valid", Reason::RequestInvalid, says);
        out.mistakes = mistakes;
        out
    }

    /// Too many attempts.
    pub(crate) fn slow_down(millis: i64) -> Self {
        let mut out =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too many attempts", Reason::BudgetSpent, "wait and try again");
        out.retry_after = Some(millis / 1_000 + 1);
        out
    }

    /// Something of ours failed; what failed is logged, not told.
    pub(crate) fn unavailable(reason: Reason, detail: impl Into<String>) -> Self {
        let mut out = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not available", reason, detail);
        out.retry_after = Some(1);
        out
    }
}

impl From<StoreError> for ApiError {
    fn from(why: StoreError) -> Self {
        tracing::error!("the store failed: {why}");
        Self::unavailable(Reason::Overloaded, "the store failed; try again")
    }
}

impl From<RecordFailed> for ApiError {
    fn from(_: RecordFailed) -> Self {
        let mut out = Self::unavailable(Reason::RecordFailed, "the audit record could not be made durable");
        // Trying to record that would only fail again.
        out.recorded = true;
        out
    }
}

impl From<crate::clock::RandomError> for ApiError {
    fn from(_: crate::clock::RandomError) -> Self {
        Self::unavailable(Reason::Overloaded, "the random source failed")
    }
}

impl From<ChangeRefusal> for ApiError {
    fn from(why: ChangeRefusal) -> Self {
        Self::conflict(match why {
            ChangeRefusal::Stale(id) => format!("`{id}` has changed meanwhile or is taken; read it again"),
            // Whose key it is stays unsaid: it may be another tenant's (S1-33).
            ChangeRefusal::KeyTaken(thumbprint) => format!(
                "the key with thumbprint {} is registered for another integration or environment; make a new key pair",
                thumbprint.0
            ),
            ChangeRefusal::ProfileExists(task) => {
                format!("task {task} exists with other content; write the next version")
            }
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let refused = Refused { reason: self.reason, recorded: self.recorded };
        let problem = Problem {
            kind: "about:blank",
            status: self.status.as_u16(),
            title: self.title,
            detail: self.detail,
            reason: self.reason.code(),
            mistakes: self.mistakes,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(refused);
        response
    }
}
