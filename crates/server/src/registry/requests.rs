//! Requests to be registered (RFC 7591): judged by the rules of a manifest, and nothing more than asked for (REG-06).

use domain::{
    Class, ClientAuth, Environment, Integration, IntegrationId, IntegrationStatus, Keys, Millis, Owners,
    RequestedScope, ResourceMatch, TenantId,
};
use fhir::ResourceType;
use oauth::registration::ClientMetadata;
use store::RegistrationLimits;

use super::{jwks, rules};

/// How long a request waits for people.
pub(crate) const REQUEST_LIFE: Millis = 30 * 24 * 3_600_000;

/// Anybody may ask, so few can: as many as people can look at, and from one address as many as a person tries in an hour.
pub(crate) const LIMITS: RegistrationLimits = RegistrationLimits { waiting_max: 100, peer_max: 10, window: 3_600_000 };

/// Stands where people will say who answers for it.
const NOBODY: [&str; 2] = ["business@requested.invalid", "technical@requested.invalid"];

/// Mistakes in what was asked, by the rules for manifests, with the keys in their canonical form.
pub(crate) fn judge(
    tenant: &TenantId,
    id: &IntegrationId,
    mut asked: ClientMetadata,
    now: Millis,
) -> Result<ClientMetadata, Vec<String>> {
    if let Some(set) = &asked.jwks {
        if !set.is_object() {
            return Err(vec!["`jwks` must be a JWK Set".to_owned()]);
        }
        let keys = jwks::read(set).map_err(|mistakes| named("jwks", mistakes))?;
        asked.jwks = serde_json::from_str(&keys.text).ok();
    }
    let draft = draft(tenant, id, &asked, now).ok_or_else(|| vec!["the metadata do not go together".to_owned()])?;
    let mistakes = rules::integration(&draft, now);
    if mistakes.is_empty() { Ok(asked) } else { Err(mistakes) }
}

fn named(field: &str, mistakes: Vec<String>) -> Vec<String> {
    mistakes.into_iter().map(|what| format!("`{field}`: {what}")).collect()
}

/// What would be registered, were nothing else to be said. It is judged and thrown away.
fn draft(tenant: &TenantId, id: &IntegrationId, asked: &ClientMetadata, now: Millis) -> Option<Integration> {
    let method = asked.method().ok()?;
    let public = method == domain::AuthMethod::None;
    let items = RequestedScope::read_all(asked.scope.as_deref().unwrap_or_default()).ok()?;
    let named = items.iter().filter_map(|item| match item {
        RequestedScope::Fhir(scope) => match scope.resource {
            ResourceMatch::One(kind) => Some(kind),
            ResourceMatch::Every => None,
        },
        _ => None,
    });
    let [business, technical] = NOBODY;
    Some(Integration {
        id: id.clone(),
        tenant: tenant.clone(),
        name: asked.client_name.clone(),
        // A public client is of no other class; what any other is, people say.
        class: if public { Class::PatientApp } else { Class::ClinicalAi },
        environment: Environment::Production,
        owners: Owners { business: business.parse().ok()?, technical: technical.parse().ok()? },
        vendor: asked.client_name.clone(),
        purpose: asked.client_name.clone(),
        data_classes: ["requested".to_owned()].into(),
        expected: named.chain([ResourceType::PATIENT]).collect(),
        expires_at: now + REQUEST_LIFE,
        revocation_contact: asked.contacts.first().cloned().unwrap_or_else(|| "nobody yet".to_owned()),
        auth: ClientAuth {
            method,
            keys: match (&asked.jwks, &asked.jwks_uri) {
                (Some(set), _) => Keys::Jwks(set.to_string()),
                (None, Some(url)) => Keys::JwksUrl(url.clone()),
                (None, None) => Keys::Absent,
            },
            algorithms: Default::default(),
            audience: Default::default(),
        },
        redirect_uris: asked.redirect_uris.clone(),
        launch_urls: Vec::new(),
        origins: Vec::new(),
        frame_ancestors: Vec::new(),
        demands: Default::default(),
        introspects: Default::default(),
        launches: Default::default(),
        role: None,
        status: IntegrationStatus::Requested,
        epoch: 0,
    })
}
