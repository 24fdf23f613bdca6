//! Why something was refused: stable codes, the same in records, alerts and tests.

/// One cause of refusal. `code` is stable; what the caller sees is chosen in the server's `error.rs`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// No token was sent.
    TokenMissing,
    /// The token is malformed, forged, expired, for another audience, or lacks a claim.
    TokenInvalid,
    /// The session was ended, or its integration or approval is no longer what it was.
    SessionEnded,
    /// The integration is suspended, ended or expired.
    IntegrationInactive,
    /// No approval in force covers this.
    ApprovalMissing,
    /// The request cannot be parsed or is not canonical.
    RequestInvalid,
    /// The interaction, parameter or operation is not offered.
    NotSupported,
    /// The method is not offered here.
    MethodNotAllowed,
    /// No scope covers this type with this interaction.
    ScopeInsufficient,
    /// The type is not among the integration's expected ones (S2-04).
    TypeUnexpected,
    /// The type is outside the patient compartment and not shared.
    TypeNotShared,
    /// The request names another patient (p2).
    OtherPatient,
    /// A search without a patient was narrowed to the session's (S1-23).
    UnboundSearch,
    /// A search ordered through chain or `_has` over a type that is not granted.
    InferenceRefused,
    /// The instance does not exist or is not the session's: one answer for both (p2).
    NotFound,
    /// The upstream ignored a filter for this type and parameter; `hilum check` must prove it again.
    FilterUnproved,
    /// The upstream's answer broke the contract.
    UpstreamBroken,
    /// The upstream could not be reached or was too slow.
    UpstreamUnavailable,
    /// A budget is spent that has no reason of its own.
    BudgetSpent,
    /// The session has looked too often for what is absent or not its own.
    AbsentBudgetSpent,
    /// The session has made its requests of this minute.
    RequestBudgetSpent,
    /// The page lies behind the last one of a search.
    PageBudgetSpent,
    /// The session has had its bytes.
    ByteBudgetSpent,
    /// The session has had its distinct resource types (S1-25).
    TypeBudgetSpent,
    /// The audit record could not be made durable.
    RecordFailed,
    /// Too many requests are being worked on.
    Overloaded,
    /// Client authentication failed.
    ClientInvalid,
    /// The grant (ticket, relationship) is not valid.
    GrantInvalid,
    /// The scope asked for cannot be granted.
    ScopeInvalid,
    /// The caller's role does not allow this.
    RoleInsufficient,
    /// Requester and approver are one person (S0-05).
    SelfApproval,
    /// The page link is not this session's.
    PageInvalid,
    /// The task's profile does not list the operation (S1-36).
    OperationRefused,
    /// What is to be written is not of this session's patient alone, or changes what a client may not change.
    WriteRefused,
    /// The version meant is not the current one.
    VersionConflict,
    /// The upstream refused what was to be written.
    UpstreamRefused,
    /// The upstream was asked to write and its answer is missing: it may have written or not.
    OutcomeUnknown,
    /// Answering would take more steps than one request may.
    TooCostly,
    /// The organisation's policies do not allow it.
    Policy,
    /// The integration's role keeps it from this (S4-05 … S4-10).
    RoleRefused,
    /// A de-identified session asked for what cannot be made safe, or what was to leave could not be (S4-06).
    DeIdentified,
    /// A bulk export was asked for by one who may not have it, or in a form that nobody is offered (S1-13).
    ExportRefused,
    /// The person has a passkey, so a passphrase no longer signs them in.
    PasskeyRequired,
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TokenMissing => "token-missing",
            Self::TokenInvalid => "token-invalid",
            Self::SessionEnded => "session-ended",
            Self::IntegrationInactive => "integration-inactive",
            Self::ApprovalMissing => "approval-missing",
            Self::RequestInvalid => "request-invalid",
            Self::NotSupported => "not-supported",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::ScopeInsufficient => "scope-insufficient",
            Self::TypeUnexpected => "type-unexpected",
            Self::TypeNotShared => "type-not-shared",
            Self::OtherPatient => "other-patient",
            Self::UnboundSearch => "unbound-search",
            Self::InferenceRefused => "inference-refused",
            Self::NotFound => "not-found",
            Self::FilterUnproved => "filter-unproved",
            Self::UpstreamBroken => "upstream-broken",
            Self::UpstreamUnavailable => "upstream-unavailable",
            Self::BudgetSpent => "budget-spent",
            Self::AbsentBudgetSpent => "absent-budget-spent",
            Self::RequestBudgetSpent => "request-budget-spent",
            Self::PageBudgetSpent => "page-budget-spent",
            Self::ByteBudgetSpent => "byte-budget-spent",
            Self::TypeBudgetSpent => "type-budget-spent",
            Self::RecordFailed => "record-failed",
            Self::Overloaded => "overloaded",
            Self::ClientInvalid => "client-invalid",
            Self::GrantInvalid => "grant-invalid",
            Self::ScopeInvalid => "scope-invalid",
            Self::RoleInsufficient => "role-insufficient",
            Self::SelfApproval => "self-approval",
            Self::PageInvalid => "page-invalid",
            Self::OperationRefused => "operation-refused",
            Self::WriteRefused => "write-refused",
            Self::VersionConflict => "version-conflict",
            Self::UpstreamRefused => "upstream-refused",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::TooCostly => "too-costly",
            Self::Policy => "policy",
            Self::RoleRefused => "role-refused",
            Self::DeIdentified => "de-identified",
            Self::ExportRefused => "export-refused",
            Self::PasskeyRequired => "passkey-required",
        }
    }
}
