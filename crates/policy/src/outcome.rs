//! OperationOutcome bodies of our own. Constant per cause, so that two refusals of one kind are equal byte for byte.

use fhir::json::quote;

/// A one-issue OperationOutcome: `severity` and `code` from the FHIR value sets, `says` for the reader.
#[must_use]
pub fn outcome(severity: &str, code: &str, says: &str) -> Vec<u8> {
    format!(
        r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":{},"code":{},"diagnostics":{}}}]}}"#,
        quote(severity),
        quote(code),
        quote(says)
    )
    .into_bytes()
}

/// One answer for "does not exist" and "not this session's" (p2).
pub(crate) fn not_found() -> Vec<u8> {
    outcome("error", "not-found", "no such resource for this session")
}

/// The upstream broke the contract; nothing of its text passes (p10).
pub(crate) fn upstream_broken() -> Vec<u8> {
    outcome("error", "exception", "the server behind the gate gave an answer that cannot be released")
}

/// The upstream is not able to answer now.
pub(crate) fn upstream_unavailable() -> Vec<u8> {
    outcome("error", "transient", "the server behind the gate is not available; try again later")
}

/// The EHR's own token of this session is at its end, and no other is used (DESIGN, step 5).
pub(crate) fn token_gone() -> Vec<u8> {
    outcome("error", "expired", "the EHR has ended what it granted to this session; launch the app again")
}

/// Goes into a search result from which something was left out.
pub(crate) fn left_out() -> Vec<u8> {
    outcome("information", "suppressed", "results outside what this session may see were left out")
}

/// Goes into a search result where the upstream had put an outcome of its own: its text is not passed on (ER-02).
pub(crate) fn remark() -> Vec<u8> {
    outcome("information", "informational", "the server behind the gate added a remark to this result")
}
