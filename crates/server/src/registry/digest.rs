//! What an approval's hash covers: everything that may change its risk (S0-05). Any change of it suspends the approval.

use aws_lc_rs::digest::{SHA256, digest};
use domain::{Integration, TaskProfile, Terms};
use serde_json::json;

use super::canonical;
use crate::hex::hex;

/// First word of what is hashed; another form of the text below gets another number.
const FORM: &str = "hilum-approval-1";

/// SHA-256, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The integration's share: what may change its risk, apart from name, owners, contact and end date.
///
/// Sets are ordered, so equal content is equal text.
pub(crate) fn risk(integration: &Integration) -> String {
    canonical::text(json!({
        "id": integration.id,
        "tenant": integration.tenant,
        "class": integration.class,
        "environment": integration.environment,
        "vendor": integration.vendor,
        "purpose": integration.purpose,
        "data_classes": integration.data_classes,
        "expected": integration.expected,
        "auth": integration.auth,
        "redirect_uris": integration.redirect_uris,
        "launches": integration.launches,
    }))
}

/// The approval's hash over integration, profile (with its content) and terms (launch modes with their rule text,
/// lifetime, budgets).
pub fn subject(integration: &Integration, profile: &TaskProfile, terms: &Terms) -> String {
    sha256(canonical::text(json!([FORM, risk(integration), profile, terms])).as_bytes())
}

/// Approvals given before a budget existed must go on fitting: what they do not say is not hashed.
#[test]
fn terms_are_hashed_as_they_were_when_they_were_approved() {
    use serde_json::Value;
    use testkit::world::World;
    let world = World::new("patient/Observation.rs");
    let hash = |terms: &Value| {
        let terms: Terms = serde_json::from_value(terms.clone()).unwrap();
        subject(&world.integration, &world.profile, &terms)
    };
    let old = json!({
        "budgets": { "absent_per_session": 50, "patients_per_hour": 100 },
        "launch": [{ "mode": "ticket" }],
        "token_seconds": 300,
    });
    let as_it_was = canonical::text(json!([FORM, risk(&world.integration), world.profile, old]));
    assert_eq!(hash(&old), sha256(as_it_was.as_bytes()));
    let start = r#"["hilum-approval-1","{\"auth\":{"#;
    assert!(as_it_was.starts_with(start), "the order of names, not of the source: {as_it_was}");
    let mut seen = vec![hash(&old)];
    for (name, most) in domain::Budget::ALL.map(|budget| (budget.name(), budget.most())) {
        let mut changed = old.clone();
        changed["budgets"][name] = json!(most);
        seen.push(hash(&changed));
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "every budget counts");
}
