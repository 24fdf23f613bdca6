//! What a refused FHIR request looks like from outside: status, OperationOutcome and challenge, chosen here alone.
//!
//! A caller is told what would help and never a foreign id; what an operator sees is in the audit record.

use domain::Reason;
use fhir::request::{InvalidKind, InvalidRequest};
use http::StatusCode;
use policy::Denial;

/// One refusal, ready to be recorded and answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Why, as a stable code for records.
    pub reason: Reason,
    /// `OperationOutcome.issue.code` (R4 IssueType).
    pub issue: &'static str,
    /// For the caller.
    pub says: String,
    /// For 403: the scope that would help (RFC 6750 §3.1).
    pub scope: Option<String>,
    /// For 405: the methods that are offered.
    pub allow: Option<&'static str>,
    /// For 503, and for a 429 that ends by itself: seconds to wait.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// The refusal for `reason`, in the caller's words.
    #[must_use]
    pub fn new(reason: Reason, says: impl Into<String>) -> Self {
        let (status, issue) = status_of(reason);
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        Self { status, reason, issue, says: says.into(), scope: None, allow: None, retry_after }
    }

    /// The challenge of RFC 6750 §3, for 401 and 403.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        match self.status {
            StatusCode::UNAUTHORIZED if self.reason == Reason::TokenMissing => Some("Bearer".into()),
            StatusCode::UNAUTHORIZED => Some("Bearer error=\"invalid_token\"".into()),
            StatusCode::FORBIDDEN => match &self.scope {
                Some(scope) => Some(format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", quotable(scope))),
                None => Some("Bearer error=\"insufficient_scope\"".into()),
            },
            _ => None,
        }
    }

    /// The body: one issue (FHIR R4 OperationOutcome).
    #[must_use]
    pub fn outcome(&self) -> Vec<u8> {
        outcome("error", self.issue, &self.says)
    }
}

/// An OperationOutcome with one issue.
#[must_use]
pub fn outcome(severity: &str, code: &str, says: &str) -> Vec<u8> {
    serde_json::json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": severity, "code": code, "details": { "text": says } }]
    })
    .to_string()
    .into_bytes()
}

/// A quoted-string's content (RFC 9110 §5.6.4), printable ASCII only.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\').collect()
}

fn status_of(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::TokenMissing => (StatusCode::UNAUTHORIZED, "login"),
        Reason::TokenInvalid | Reason::SessionEnded | Reason::IntegrationInactive => {
            (StatusCode::UNAUTHORIZED, "expired")
        }
        Reason::RequestInvalid => (StatusCode::BAD_REQUEST, "invalid"),
        Reason::NotSupported => (StatusCode::BAD_REQUEST, "not-supported"),
        Reason::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "not-supported"),
        Reason::NotFound => (StatusCode::NOT_FOUND, "not-found"),
        Reason::FilterUnproved | Reason::UpstreamBroken => (StatusCode::BAD_GATEWAY, "transient"),
        Reason::UpstreamUnavailable | Reason::RecordFailed | Reason::Overloaded => {
            (StatusCode::SERVICE_UNAVAILABLE, "transient")
        }
        Reason::BudgetSpent
        | Reason::AbsentBudgetSpent
        | Reason::RequestBudgetSpent
        | Reason::PageBudgetSpent
        | Reason::ByteBudgetSpent
        | Reason::TypeBudgetSpent => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
        Reason::VersionConflict => (StatusCode::PRECONDITION_FAILED, "conflict"),
        Reason::UpstreamRefused => (StatusCode::UNPROCESSABLE_ENTITY, "processing"),
        Reason::OutcomeUnknown => (StatusCode::INTERNAL_SERVER_ERROR, "incomplete"),
        Reason::TooCostly => (StatusCode::BAD_REQUEST, "too-costly"),
        // Everything else is an authenticated caller asking for what it may not have.
        _ => (StatusCode::FORBIDDEN, "forbidden"),
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let mut refusal = Self::new(denial.reason, denial.says);
        refusal.scope = denial.scope;
        refusal
    }
}

impl From<InvalidRequest> for Refusal {
    fn from(invalid: InvalidRequest) -> Self {
        let InvalidRequest { kind, what } = invalid;
        match kind {
            InvalidKind::Malformed => Self::new(Reason::RequestInvalid, what),
            InvalidKind::TooLarge => Self {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                issue: "too-long",
                ..Self::new(Reason::RequestInvalid, what)
            },
            InvalidKind::Media => Self {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                issue: "not-supported",
                ..Self::new(Reason::NotSupported, what)
            },
            InvalidKind::TooLong => {
                Self { status: StatusCode::URI_TOO_LONG, issue: "too-long", ..Self::new(Reason::RequestInvalid, what) }
            }
            InvalidKind::NotSupported => Self::new(Reason::NotSupported, what),
            InvalidKind::Forbidden => {
                Self { status: StatusCode::FORBIDDEN, issue: "not-supported", ..Self::new(Reason::NotSupported, what) }
            }
            InvalidKind::Export => Self::new(Reason::ExportRefused, what),
            InvalidKind::NotFound => Self::new(Reason::NotFound, what),
            InvalidKind::Method { allow } => Self { allow: Some(allow), ..Self::new(Reason::MethodNotAllowed, what) },
            InvalidKind::NotAcceptable => Self {
                status: StatusCode::NOT_ACCEPTABLE,
                issue: "not-supported",
                ..Self::new(Reason::NotSupported, what)
            },
        }
    }
}
