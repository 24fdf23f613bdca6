//! Asking for the patient's own Consents: never released, only read as rules (S3-10).

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Millis, Session, Subject};
use fhir::ResourceType;
use fhir::request::View;

use crate::consent::{Consents, ConsentsBuilder};
use crate::context::{Authority, Context};
use crate::grants::Grants;
use crate::permit::{Permit, Plan, UpstreamCall};
use crate::rules::TenantRules;
use crate::shape::Shape;

/// Leave to ask for the Consents of a session's patient; `None` for a session without one. Its answer becomes
/// [`crate::Verdict::Consents`] and nothing else.
#[must_use]
pub fn ask_consents(rules: &TenantRules, session: &Session, now: Millis) -> Option<Permit> {
    let Subject::Patient(patient) = &session.subject else { return None };
    let kind = ResourceType::CONSENT;
    let query = format!("_count={}&patient=Patient/{patient}", rules.count_max);
    let cx = Context {
        patient: patient.clone(),
        grants: Grants::none(),
        upstream_base: rules.upstream_base.clone(),
        public_base: rules.public_base.clone(),
        session: session.id,
        authority: Authority::of(session),
        scope: String::new(),
        purpose_of_use: session.purpose_of_use.clone(),
        now,
        links_expire_at: now,
        page: 1,
        consents: Consents::none(),
        proofs: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    let builder = ConsentsBuilder::new(patient, &rules.upstream_base);
    Some(Permit(Box::new(Plan {
        call: UpstreamCall::get(kind.name(), query),
        shape: Shape::Consents(Box::new(builder)),
        kind,
        view: View::default(),
        cx: Arc::new(cx),
        interaction: "consents",
        clauses: Vec::new(),
        remark: None,
        steps: 1,
    })))
}
