//! What a client's assertion says of for whom and why it acts (`hl7-b2b`): asked for, held against the task, and kept (UD-09 … UD-12).

use domain::audit::AuditRecord;
use domain::{Actor, IntegrationId, Reason};
use oauth::ErrorCode;
use oauth::b2b::{self, B2b};
use oauth::grant::{Grant, TokenRequest};

use super::client::Caller;
use super::token::Denied;
use crate::registry::Standing;

/// What is said. A client that speaks UDAP and starts without a person must say it, and whoever says it must say it well (NEG-241).
pub(super) fn said(caller: &Caller, request: &TokenRequest) -> Result<Option<Box<B2b>>, Denied> {
    let said = match caller.assertion_claims() {
        Some(claims) => b2b::read(claims).map_err(|why| refused(&why.to_string()))?,
        None => None,
    };
    // With a person it is the person for whom the client acts, and the code says who that is.
    let alone = !matches!(request.grant, Grant::Code(_) | Grant::Refresh(_));
    if request.udap && alone && said.is_none() {
        return Err(refused("udap=1 needs a client assertion that says for whom and why"));
    }
    Ok(said.map(Box::new))
}

/// A session has its task's purpose and no other, so that purpose must be among those asserted (UD-12, NEG-242).
pub(super) fn suits(said: Option<&B2b>, standing: &Standing) -> Result<(), Denied> {
    let purpose = &standing.profile.purpose_of_use;
    match said {
        Some(said) if !said.is_for(purpose) => {
            Err(refused(&format!("the task is for {purpose}, which `purpose_of_use` does not name")))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(why: &str) -> Denied {
    Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, format!("extensions[\"hl7-b2b\"]: {why}"))
}

/// Whom a session without a signed-in person acts for, by the client's own word; the person's name stays out of tokens.
pub(super) fn actor(client: &IntegrationId, said: &B2b) -> Actor {
    Actor {
        sub: said.subject_id.clone().unwrap_or_default(),
        iss: client.to_string(),
        fhir_user: String::new(),
        subject_role: said.subject_role.clone().unwrap_or_default(),
        organization_id: said.organization_id.clone(),
        organization_name: said.organization_name.clone().unwrap_or_default(),
    }
}

/// Adds all of it to the sealed part of a record, the person's name and the consents too.
pub(super) fn record(record: &mut AuditRecord, said: Option<&B2b>) {
    let Some(said) = said else { return };
    let lists = [
        ("b2b.purpose_of_use", &said.purposes),
        ("b2b.consent_policy", &said.consent_policy),
        ("b2b.consent_reference", &said.consent_reference),
    ];
    let lists = lists.into_iter().flat_map(|(name, list)| list.iter().map(move |one| (name, one)));
    let texts = [
        ("b2b.organization_id", Some(&said.organization_id)),
        ("b2b.subject_id", said.subject_id.as_ref()),
        ("b2b.subject_name", said.subject_name.as_ref()),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    record.phi.attributes.extend(lists.chain(texts).map(|(name, text)| (name.to_owned(), text.clone())));
}
