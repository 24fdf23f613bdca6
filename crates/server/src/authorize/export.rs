//! How a session of a population starts: by the one approval of its client for an export, and by nothing in the request (S1-12).

use domain::{LaunchKind, Millis, Reason};
use oauth::ErrorCode;
use oauth::grant::{Grant, TokenRequest};
use oauth::scope::ScopeRefusal;

use super::client::Caller;
use super::token::{Denied, Launch};
use super::{Service, Tenant, shown};

impl Service {
    /// SMART Backend Services as it stands: `client_credentials` and a scope. Whose records they are is the approval's to say, so
    /// that a request can neither name nor change it.
    pub(super) fn by_export(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        request: &TokenRequest,
        now: Millis,
    ) -> Result<Launch, Denied> {
        if !matches!(request.grant, Grant::Absent) {
            let says = "an analytics client names no patient: send scope alone";
            return Err(Denied::new(Reason::GrantInvalid, ErrorCode::InvalidRequest, says));
        }
        // By name, each of them (DESIGN, "How a session starts").
        if request.scope.is_none() {
            return Err(ScopeRefusal::Missing.into());
        }
        let snapshot = self.registry.snapshot();
        let Some(standing) = snapshot.approved_export(&tenant.id, &caller.integration.id, now) else {
            let says = "no approval in force lets this client export anything";
            return Err(Denied::new(Reason::ApprovalMissing, ErrorCode::UnauthorizedClient, says));
        };
        shown::exports(&standing)?;
        Ok(Launch {
            kind: LaunchKind::Export,
            standing,
            patient: None,
            encounter: None,
            ticket: None,
            details: None,
            evidence: None,
            person: None,
        })
    }
}
