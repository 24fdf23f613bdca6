//! Discovery documents and public keys: anonymous, cacheable, readable from any origin (DISC-22, D-11).

use std::collections::BTreeSet;
use std::sync::Arc;

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
    public(discovery::smart_configuration(&tenant.endpoints, &scopes(&service, tenant)))
}

/// `GET /.well-known/oauth-authorization-server/{tenant}`
pub(super) async fn authorization_server(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    public(discovery::authorization_server(&tenant.endpoints, &scopes(&service, tenant)))
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
