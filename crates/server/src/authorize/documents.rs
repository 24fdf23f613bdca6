//! Discovery documents and public keys: anonymous, cacheable, readable from any origin (DISC-22, D-11).

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL,
};
use http::{HeaderValue, StatusCode};
use oauth::discovery;

use super::http::{json, no_tenant};
use super::{Service, Tenant};

/// How long these documents may be kept: shorter than the overlap in which two token keys are valid.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

fn public(body: String) -> Response {
    let mut response = json(StatusCode::OK, body);
    response.headers_mut().insert(CACHE_CONTROL, CACHE);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The preflight of a cross-origin GET.
pub(super) async fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type"),
        (ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Scopes that really work: those of the tasks the tenant has defined (DISC-10).
fn scopes(service: &Service, tenant: &Tenant) -> Vec<String> {
    let snapshot = service.registry.snapshot();
    let profiles = snapshot.profiles(&tenant.id);
    let scopes: BTreeSet<String> =
        profiles.iter().flat_map(|profile| &profile.scopes.0).map(ToString::to_string).collect();
    scopes.into_iter().collect()
}

/// `GET /{tenant}/fhir/.well-known/smart-configuration`
pub(super) async fn smart_configuration(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    public(discovery::smart_configuration(&tenant.endpoints, tenant.offers, &scopes(&service, tenant)))
}

/// `GET /.well-known/oauth-authorization-server/{tenant}`
pub(super) async fn authorization_server(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    public(discovery::authorization_server(&tenant.endpoints, tenant.offers, &scopes(&service, tenant)))
}

/// `GET /{tenant}/.well-known/openid-configuration`
pub(super) async fn openid_configuration(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    discovery::openid_configuration(&tenant.endpoints, tenant.offers, &scopes(&service, tenant))
        .map_or_else(no_tenant, public)
}

/// Where the style document is. Its name is that of its content, so that an address never changes its meaning (CX-04).
pub(super) fn style_url(tenant: &Tenant) -> String {
    format!("{}/{}", tenant.endpoints.oauth("style"), style_name())
}

fn style_name() -> String {
    let digest = digest::digest(&digest::SHA256, STYLE.as_bytes());
    format!("{}.json", crate::hex::hex(digest.as_ref().get(..8).unwrap_or_default()))
}

/// Colours and measures of our own pages, for apps that want to look at home (SMART, "context-style").
const STYLE: &str = r##"{"color_background":"#ffffff","color_error":"#b3261e","color_highlight":"#0b5cad","color_modal_backdrop":"#0b1f33","color_success":"#1b6e3c","color_text":"#14202b","dim_border_radius":"6px","dim_font_size":"16px","dim_spacing_size":"16px","font_family_body":"system-ui, sans-serif","font_family_heading":"system-ui, sans-serif"}"##;

/// `GET /{tenant}/oauth/style/{name}`
pub(super) async fn style(
    State(service): State<Arc<Service>>,
    Path((tenant, name)): Path<(String, String)>,
) -> Response {
    if service.tenant(&tenant).is_none() || name != style_name() {
        return no_tenant();
    }
    let mut response = public(STYLE.to_owned());
    let immutable = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, immutable);
    response
}

/// `GET /{tenant}/broker/ehr/jwks`: keys that verify our assertions at the EHR that launches apps here; never the keys above.
pub(super) async fn ehr_jwks(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    service.broker.ehr_jwks(&tenant.id).map_or_else(no_tenant, public)
}

/// `GET /{tenant}/broker/identity/jwks`: keys that verify our assertions at the identity provider.
pub(super) async fn identity_jwks(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Some(provider) = &tenant.provider else { return no_tenant() };
    public(serde_json::json!({ "keys": provider.public_keys() }).to_string())
}

/// `GET /.well-known/oauth-protected-resource/{tenant}/fhir`
pub(super) async fn protected_resource(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    public(discovery::protected_resource(&tenant.endpoints, &tenant.name, &scopes(&service, tenant)))
}

/// `GET /{tenant}/oauth/jwks`: keys that verify access tokens.
pub(super) async fn jwks(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.keys.jwks(&tenant.id, service.clock.now()).await {
        Ok(keys) => public(keys),
        Err(why) => {
            tracing::error!(tenant = %tenant.id, %why, "the keys cannot be shown");
            super::http::Refused::unavailable("the keys failed").response()
        }
    }
}

/// `GET /{tenant}/broker/upstream/jwks`: keys that verify our assertions at the upstream; never the keys above.
pub(super) async fn broker_jwks(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    service.broker.jwks(&tenant.id).map_or_else(no_tenant, public)
}
