//! What an approval's hash covers: everything that may change its risk (S0-05). Any change of it suspends the approval.

use aws_lc_rs::digest::{SHA256, digest};
use domain::{Integration, ServiceRole, TaskProfile, Terms};
use serde_json::{Value, json};

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
    let mut parts = json!({
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
    });
    // Without a role the text is what it was before there were any.
    if let (Some(role), Value::Object(parts)) = (&integration.role, &mut parts) {
        parts.insert("role".to_owned(), json!(role));
    }
    // Likewise without any of what came later: only what is said is hashed.
    let later = json!({
        "launch_urls": integration.launch_urls,
        "origins": integration.origins,
        "frame_ancestors": integration.frame_ancestors,
        "demands": integration.demands,
    });
    if let (Value::Object(later), Value::Object(parts)) = (later, &mut parts) {
        parts.extend(later.into_iter().filter(|(_, value)| value.as_array().is_some_and(|list| !list.is_empty())));
        if !integration.introspects.is_default() {
            parts.insert("introspects".to_owned(), json!(integration.introspects));
        }
    }
    canonical::text(parts)
}

/// The hash of what a role says, which records name it by: SHA-256 of its canonical text, hexadecimal.
pub fn role_digest(role: &ServiceRole) -> String {
    sha256(canonical::text(json!(role)).as_bytes())
}

/// The approval's hash over integration, profile (with its content) and terms (launch modes with their rule text,
/// lifetime, budgets), and over what the integration's role says, if it names one.
pub fn subject(integration: &Integration, role: Option<&ServiceRole>, profile: &TaskProfile, terms: &Terms) -> String {
    let mut parts = vec![json!(FORM), json!(risk(integration)), json!(profile), json!(terms)];
    parts.extend(role.map(|role| json!(role)));
    sha256(canonical::text(Value::from(parts)).as_bytes())
}

/// Approvals given before a budget existed must go on fitting: what they do not say is not hashed.
#[test]
fn terms_are_hashed_as_they_were_when_they_were_approved() {
    use testkit::world::World;
    let world = World::new("patient/Observation.rs");
    let hash = |terms: &Value| {
        let terms: Terms = serde_json::from_value(terms.clone()).unwrap();
        subject(&world.integration, None, &world.profile, &terms)
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

#[test]
fn a_role_and_every_word_of_it_are_approved() {
    use testkit::world::World;
    let mut world = World::new("patient/Observation.rs");
    let terms = world.approval.terms.clone();
    let mut seen = vec![subject(&world.integration, None, &world.profile, &terms)];
    world.integration.role = "reader".parse().ok();
    for text in [
        r#"{"permissions":["data:read"]}"#,
        r#"{"permissions":["data:read"],"phi_access":"identified"}"#,
        r#"{"permissions":["data:read"],"session_timeout":"5m"}"#,
        r#"{"permissions":["data:read"],"mfa_required":true}"#,
        r#"{"permissions":["data:read"],"data_export":false}"#,
        r#"{"permissions":["data:read"],"environment":"test"}"#,
        r#"{"permissions":["data:read","model:read"]}"#,
    ] {
        let role: ServiceRole = serde_json::from_str(text).unwrap();
        seen.push(subject(&world.integration, Some(&role), &world.profile, &terms));
    }
    world.integration.role = "other".parse().ok();
    let role: ServiceRole = serde_json::from_str(r#"{"permissions":["data:read"]}"#).unwrap();
    seen.push(subject(&world.integration, Some(&role), &world.profile, &terms));
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}
