//! What a refused FHIR request looks like from outside: status, OperationOutcome and challenge, chosen here alone.
//!
//! A caller is told what would help and never a foreign id; what an operator sees is in the audit record.

use domain::Reason;
use fhir::request::{InvalidKind, InvalidRequest};
use http::StatusCode;
use policy::Denial;

/// By which scheme a token comes; a challenge answers in the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scheme {
    /// RFC 6750.
    #[default]
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

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

    /// The challenge, for 401 and 403: RFC 6750 §3 or RFC 9449 §7.1. A 401 says with `metadata` where it is described who
    /// gives tokens (RFC 9728 §5.1).
    #[must_use]
    pub fn challenge(&self, scheme: Scheme, metadata: Option<&str>) -> Option<String> {
        let (error, scope, metadata) = match (self.status, self.reason) {
            (StatusCode::UNAUTHORIZED, Reason::TokenMissing) => (None, None, metadata),
            (StatusCode::UNAUTHORIZED, Reason::ProofInvalid) => (Some("invalid_dpop_proof"), None, metadata),
            (StatusCode::UNAUTHORIZED, Reason::ProofNonce) => (Some("use_dpop_nonce"), None, metadata),
            (StatusCode::UNAUTHORIZED, _) => (Some("invalid_token"), None, metadata),
            (StatusCode::FORBIDDEN, _) => (Some("insufficient_scope"), self.scope.as_deref(), None),
            _ => return None,
        };
        let (name, algorithms) = match scheme {
            Scheme::Bearer => ("Bearer", None),
            Scheme::Dpop => ("DPoP", Some(oauth::jose::algorithms().join(" "))),
        };
        let said =
            [("error", error), ("scope", scope), ("algs", algorithms.as_deref()), ("resource_metadata", metadata)];
        let said = said.iter().filter_map(|(name, value)| Some(format!("{name}=\"{}\"", quotable((*value)?))));
        Some(format!("{name} {}", said.collect::<Vec<_>>().join(", ")).trim_end().to_owned())
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
        Reason::TokenInvalid | Reason::SessionEnded | Reason::IntegrationInactive | Reason::UpstreamTokenGone => {
            (StatusCode::UNAUTHORIZED, "expired")
        }
        Reason::ProofInvalid | Reason::ProofNonce => (StatusCode::UNAUTHORIZED, "security"),
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
