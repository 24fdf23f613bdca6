//! Codes of records and alerts in words. They name no patient: a code is all that an alert shows without opening its sealed part.

/// What an alert says and what to do about it.
#[must_use]
pub fn alert(code: &str) -> &'static str {
    match code {
        "upstream-ignored-filter" => {
            "the upstream ignored a search filter and sent other patients' resources; they were held back and such searches are refused until `hilum check` proves the filter"
        }
        "upstream-foreign-link" => "a page link of the upstream led elsewhere and was dropped; results end early",
        "upstream-rewrote" => {
            "the upstream stored something else than was written, or says so; compare the record with what the integration sent"
        }
        "export-started" => {
            "a bulk export has begun; the record says of which population, `hilum audit search --kind fhir-export` what became of it"
        }
        "upstream-foreign-line" => {
            "a file of an export held lines of nobody it is for (inactive members too); they were held back, and the record of the file counts them"
        }
        "upstream-broken-manifest" => {
            "the upstream's list of the files of an export cannot be used; nothing of it was passed on"
        }
        "upstream-finding" => "an answer of the upstream broke a rule and was cut to what may be shown",
        "type-unexpected" => {
            "the integration asked for a type it is not expected to touch (S2-04); ask its owners why, or suspend it"
        }
        "key-reused" => "someone tried to register a key that belongs to another integration; make a new pair",
        "key-of-another-integration" => {
            "a client signed with a key that belongs to another integration or environment; suspend it and ask its owners"
        }
        "client-of-another-tenant" => "an integration of another tenant was presented here",
        "assertion-replayed" => "a client assertion came a second time; it may have been stolen, so ask for a new key",
        "passkey-copied" => {
            "a passkey's counter went back: it may have been copied; the sign-in was refused, so remove that passkey (`hilum person passkey-remove`)"
        }
        "patient-budget-spent" => {
            "the distinct patients of an hour or a day are used up; more are refused until it is over"
        }
        "launcher-denied" => "a launcher asked to start what it may not start",
        "absent-budget-spent" => {
            "a session asked too often for what is not there or not its own, as one does who guesses ids; it is refused now"
        }
        "request-budget-spent" => {
            "a session made more requests in a minute than its approval allows; a loop, or a walk through the record"
        }
        "page-budget-spent" => {
            "a session asked for more pages of one search than its approval allows, as one does who copies a whole record"
        }
        "byte-budget-spent" => "a session has had all the bytes its approval allows; nothing more is released to it",
        "type-budget-spent" => {
            "a session asked for more kinds of resources than its approval allows, as one does who joins a full profile"
        }
        "ledger-torn-tail" => {
            "the ledger ended in an unfinished commit, as after a crash; nothing acknowledged was lost"
        }
        "ledger-checkpoint-damaged" => "one copy of the newest checkpoint does not verify; the other does",
        "time-regressed" => "the machine's clock went backwards; check its time source",
        other => match reason(other) {
            "" => "open the record for what it says: hilum explain RECORD",
            says => says,
        },
    }
}

/// Why something was refused, by `domain::Reason`'s code.
#[must_use]
pub fn reason(code: &str) -> &'static str {
    match code {
        "token-missing" => "no token was sent",
        "token-invalid" => "the token is malformed, forged, expired or for another audience",
        "session-ended" => "the session has ended",
        "integration-inactive" => "the integration is suspended, ended or expired",
        "approval-missing" => "no approval in force covers this",
        "request-invalid" => "the request could not be read",
        "not-supported" => "the interaction, parameter or operation is not offered",
        "method-not-allowed" => "the method is not offered",
        "scope-insufficient" => "no scope of the session covers this",
        "type-unexpected" => "the type is not among those the integration is expected to touch",
        "type-not-shared" => "the type is outside the patient's record and not shared",
        "other-patient" => "the request named another patient than the session's",
        "unbound-search" => "a search that named no patient was narrowed to the session's",
        "inference-refused" => "the search would have told about types that are not granted",
        "not-found" => "there is no such resource for this session",
        "filter-unproved" => "the upstream was seen to ignore this filter; `hilum check` must prove it again",
        "upstream-broken" => "the upstream's answer broke the contract",
        "upstream-unavailable" => "the upstream could not be reached or was too slow",
        "budget-spent" => "a budget is spent",
        "absent-budget-spent" => "the session has looked too often for what is absent or not its own",
        "request-budget-spent" => "the session has made its requests of the minute",
        "page-budget-spent" => "the page lies behind the last that one search may have",
        "byte-budget-spent" => "the session has had its bytes",
        "type-budget-spent" => "the session has had its distinct resource types",
        "record-failed" => "the audit record could not be made durable",
        "overloaded" => "too many requests were being worked on",
        "client-invalid" => "the client could not be authenticated",
        "grant-invalid" => "the launch ticket or relationship is not valid",
        "scope-invalid" => "the scope asked for cannot be granted",
        "role-insufficient" => "the person's role does not allow this",
        "self-approval" => "nobody approves their own request",
        "page-invalid" => "the page or attachment link is not this session's",
        "operation-refused" => "the task's profile does not list the operation",
        "write-refused" => "what was to be written is not of this session's patient alone, or not a client's to change",
        "version-conflict" => "the resource had another version by then",
        "upstream-refused" => "the upstream refused what was to be written",
        "outcome-unknown" => "the upstream was asked to write and did not answer; read the record before trying again",
        "policy" => "the organisation's policies do not allow it",
        "role-refused" => "the integration's role keeps it from this",
        "de-identified" => {
            "a de-identified session asked for what cannot be made safe, or what was to leave could not be"
        }
        "export-refused" => {
            "a bulk export was asked for by one who may not have it (S1-13); ask the integration's owners why"
        }
        "passkey-required" => {
            "a passphrase was used by somebody who has a passkey (S4-08); if it was not them, it is known to others"
        }
        "too-costly" => "answering would have taken more steps than one request may",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use domain::Reason;

    #[test]
    fn reasons_have_words() {
        for known in [
            Reason::TokenMissing,
            Reason::TokenInvalid,
            Reason::SessionEnded,
            Reason::IntegrationInactive,
            Reason::ApprovalMissing,
            Reason::RequestInvalid,
            Reason::NotSupported,
            Reason::MethodNotAllowed,
            Reason::ScopeInsufficient,
            Reason::TypeUnexpected,
            Reason::TypeNotShared,
            Reason::OtherPatient,
            Reason::UnboundSearch,
            Reason::InferenceRefused,
            Reason::NotFound,
            Reason::FilterUnproved,
            Reason::UpstreamBroken,
            Reason::UpstreamUnavailable,
            Reason::BudgetSpent,
            Reason::AbsentBudgetSpent,
            Reason::RequestBudgetSpent,
            Reason::PageBudgetSpent,
            Reason::ByteBudgetSpent,
            Reason::TypeBudgetSpent,
            Reason::RecordFailed,
            Reason::Overloaded,
            Reason::ClientInvalid,
            Reason::GrantInvalid,
            Reason::ScopeInvalid,
            Reason::RoleInsufficient,
            Reason::SelfApproval,
            Reason::PageInvalid,
            Reason::OperationRefused,
            Reason::WriteRefused,
            Reason::VersionConflict,
            Reason::UpstreamRefused,
            Reason::OutcomeUnknown,
            Reason::TooCostly,
            Reason::Policy,
            Reason::RoleRefused,
            Reason::DeIdentified,
            Reason::ExportRefused,
            Reason::PasskeyRequired,
        ] {
            assert!(!super::reason(known.code()).is_empty(), "{}", known.code());
            assert!(!super::alert(known.code()).is_empty(), "{}", known.code());
        }
    }
}
