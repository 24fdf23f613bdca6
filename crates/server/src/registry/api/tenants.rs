//! Tenants, their token signing keys, and what is known of their upstreams.

use axum::extract::State;
use domain::{Reason, Role};
use serde_json::json;

use super::problem::ApiError;
use super::read::show_time;
use super::visit::Visit;
use super::{Answer, ok, shapes};
use crate::registry::Registry;
use crate::settings::TenantSettings;

const ROLES: [Role; 3] = [Role::Operator, Role::PrivacyOfficer, Role::Auditor];

fn shape(tenant: &TenantSettings) -> shapes::TenantShape {
    shapes::TenantShape {
        id: tenant.id.to_string(),
        name: tenant.name.clone(),
        issuer: tenant.issuer(),
        fhir: tenant.fhir_base(),
    }
}

pub(super) async fn list(State(registry): State<Registry>, visit: Visit) -> Answer {
    let mine = |tenant: &&TenantSettings| ROLES.iter().any(|role| visit.caller.holds(Some(&tenant.id), *role));
    ok(shapes::items(registry.0.tenants.iter().filter(mine).map(shape)))
}

pub(super) async fn show(State(registry): State<Registry>, visit: Visit) -> Answer {
    let id = visit.tenant()?;
    let tenant = registry.0.tenants.iter().find(|tenant| tenant.id == *id);
    ok(shape(tenant.ok_or_else(|| ApiError::missing("tenant"))?))
}

pub(super) async fn keys(State(registry): State<Registry>, visit: Visit) -> Answer {
    let tenant = visit.tenant()?;
    let ring = registry.0.keys.as_ref().ok_or_else(no_keys)?;
    let shown: Vec<_> = ring.token_keys(tenant).into_iter().map(|key| key.kid).collect();
    // Only token keys are shown, by name and time; what they are is in the tenant's JWK Set.
    let rows = registry.0.store.keys().await?;
    // A row's name is `tenant/purpose/kid`; only the last part is on the wire.
    let kid = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mine = rows.iter().filter(|row| row.tenant == tenant.as_str() && shown.contains(&kid(&row.kid)));
    ok(shapes::items(mine.map(|row| {
        json!({
            "kid": kid(&row.kid),
            "created_at": show_time(row.created_at),
            "retired_at": row.retired_at.map(show_time),
        })
    })))
}

pub(super) async fn rotate(State(registry): State<Registry>, visit: Visit) -> Answer {
    let tenant = visit.tenant()?;
    let ring = registry.0.keys.as_ref().ok_or_else(no_keys)?;
    let now = registry.0.clock.now();
    let kid = registry
        .carry_out(&visit, visit.deed("token", ""), async {
            ring.rotate_token_key(tenant, now).await.map_err(|why| {
                tracing::error!("a token key could not be rotated: {why}");
                ApiError::unavailable(Reason::Overloaded, "the key could not be rotated; the old one stays")
            })
        })
        .await?;
    ok(json!({ "kid": kid }))
}

pub(super) async fn filters(State(registry): State<Registry>, visit: Visit) -> Answer {
    ok(shapes::items(registry.snapshot().filters(visit.tenant()?).map(shapes::filter)))
}

fn no_keys() -> ApiError {
    ApiError::unavailable(Reason::Overloaded, "this process holds no keys")
}
