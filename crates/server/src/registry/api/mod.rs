//! `/api/v1`: what people do, for the CLI, the console and other programs alike. Lives on the admin listener alone.
//!
//! One table of routes gives the router, the access rules, the names in records and the OpenAPI document.

mod accounts;
mod apply;
mod approvals;
mod bodies;
mod door;
mod integrations;
mod ledger;
mod logins;
mod openapi;
mod passkeys;
mod people;
mod policies;
mod problem;
mod read;
mod registrations;
mod roles;
mod sessions;
mod shapes;
mod tasks;
mod tenants;
mod visit;

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use domain::{Reason, Role};
use std::collections::BTreeMap;

use super::Registry;
use problem::ApiError;
pub(crate) use read::show_time;
#[cfg(test)]
pub(super) use read::task_ref;
pub(super) use visit::Need;
pub(crate) use visit::address;

const OPERATOR: Need = Need::Role(&[Role::Operator]);
const OFFICER: Need = Need::Role(&[Role::PrivacyOfficer]);
const EITHER: Need = Need::Role(&[Role::Operator, Role::PrivacyOfficer]);
const READER: Need = Need::Role(&[Role::PrivacyOfficer, Role::Auditor]);
const ANY: Need = Need::Role(&[Role::Operator, Role::PrivacyOfficer, Role::Auditor]);

/// One route.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path template.
    pub path: &'static str,
    /// Who may use it.
    pub need: Need,
    /// What it is about, in records.
    pub noun: &'static str,
    /// What it does, in records.
    pub verb: &'static str,
    /// For the OpenAPI document.
    pub summary: &'static str,
    handler: MethodRouter<Registry>,
}

/// The table. Whoever adds a line adds its handler, its access rule and its documentation in one place.
#[rustfmt::skip]
pub(super) fn routes() -> Vec<Route> {
    use Need::{Person, Public};
    let mut out = Vec::new();
    let mut add = |method, path, need, noun, verb, summary, handler| out.push(Route { method, path, need, noun, verb, summary, handler });

    add("GET", "/api/v1/openapi.json", Public, "openapi", "show", "This document", get(openapi::show));
    add("POST", "/api/v1/init", Public, "person", "initialise", "Use the single-use credential of `hilum init` to create the first people", post(accounts::initialise));
    add("POST", "/api/v1/login", Public, "api-token", "sign-in", "Sign in with person id and passphrase; the token ends after 15 minutes idle or 8 hours", post(accounts::login));
    add("POST", "/api/v1/login/requests", Public, "login-request", "ask", "Sign a command line in by way of a page: gives a code to compare, the page's address, and a secret to ask with", post(logins::ask));
    add("POST", "/api/v1/login/token", Public, "login-request", "fetch", "The token of a command line's sign-in, once, when the person has said yes on the page; 202 until then", post(logins::fetch));
    add("POST", "/api/v1/logout", Person, "api-token", "sign-out", "Sign out", post(accounts::logout));
    add("GET", "/api/v1/me", Person, "person", "me", "Who is signed in", get(accounts::me));
    add("POST", "/api/v1/me/passphrase", Person, "person", "passphrase", "Change one's own passphrase; every token ends", post(accounts::passphrase));
    add("GET", "/api/v1/tenants", Person, "tenant", "list", "Tenants in which the person has a role", get(tenants::list));
    add("POST", "/api/v1/apply", EITHER, "manifest", "apply", "Declare integrations, tasks and approval requests (operators) or policies (privacy officers), in TOML, or roles of AI services (operators), in YAML; never approves. Query: tenant, dry_run", post(apply::apply));

    add("GET", "/api/v1/audit/verify", READER, "audit", "verify", "Verify the whole ledger: every entry under its log's signed root", get(ledger::verify));

    add("GET", "/api/v1/people", ANY, "person", "list", "Everyone", get(people::list));
    add("POST", "/api/v1/people", EITHER, "person", "create", "Create a person", post(people::create));
    add("GET", "/api/v1/people/{id}", ANY, "person", "show", "One person", get(people::show));
    add("POST", "/api/v1/people/{id}/grant", EITHER, "role", "grant", "Grant a role in a tenant, or in every one", post(people::grant));
    add("POST", "/api/v1/people/{id}/revoke", EITHER, "role", "revoke", "Take a role away", post(people::revoke));
    add("POST", "/api/v1/people/{id}/disable", EITHER, "person", "disable", "Switch an account off; its tokens end at once", post(people::disable));
    add("POST", "/api/v1/people/{id}/enable", EITHER, "person", "enable", "Switch an account on again", post(people::enable));
    add("GET", "/api/v1/people/{id}/passkeys", ANY, "passkey", "list", "Somebody's passkeys", get(passkeys::list));
    add("POST", "/api/v1/people/{id}/passkeys/{passkey}/remove", EITHER, "passkey", "remove", "Take somebody's lost passkey away and sign them out; after the last one their passphrase works again", post(passkeys::remove));

    add("GET", "/api/v1/tenants/{tenant}", ANY, "tenant", "show", "One tenant", get(tenants::show));
    add("GET", "/api/v1/tenants/{tenant}/integrations", ANY, "integration", "list", "Integrations", get(integrations::list));
    add("GET", "/api/v1/tenants/{tenant}/integrations/{id}", ANY, "integration", "show", "One integration with its approvals", get(integrations::show));
    add("PUT", "/api/v1/tenants/{tenant}/integrations/{id}", OPERATOR, "integration", "put", "Register or change an integration; a change of what an approval covers suspends it", put(integrations::put));
    add("POST", "/api/v1/tenants/{tenant}/integrations/{id}/suspend", EITHER, "integration", "suspend", "Switch off for now: everything it was issued ends", post(integrations::suspend));
    add("POST", "/api/v1/tenants/{tenant}/integrations/{id}/resume", OFFICER, "integration", "resume", "Switch a suspended one on again", post(integrations::resume));
    add("POST", "/api/v1/tenants/{tenant}/integrations/{id}/end", EITHER, "integration", "end", "Switch off for good, with all its approvals", post(integrations::end));

    add("GET", "/api/v1/tenants/{tenant}/registrations", ANY, "registration", "list", "What asks to be registered (RFC 7591), newest first; nothing works by it", get(registrations::list));
    add("GET", "/api/v1/tenants/{tenant}/registrations/{id}", ANY, "registration", "show", "One such request; to accept it, apply a manifest with its id", get(registrations::show));
    add("POST", "/api/v1/tenants/{tenant}/registrations/{id}/reject", EITHER, "registration", "reject", "Refuse it", post(registrations::reject));

    add("GET", "/api/v1/tenants/{tenant}/tasks", ANY, "task", "list", "Task profiles, every version", get(tasks::list));
    add("GET", "/api/v1/tenants/{tenant}/tasks/{name}", ANY, "task", "show", "A task profile. Query: version (default the newest)", get(tasks::show));
    add("PUT", "/api/v1/tenants/{tenant}/tasks/{name}/{version}", OPERATOR, "task", "put", "Write a version; versions never change", put(tasks::put));

    add("GET", "/api/v1/tenants/{tenant}/roles", ANY, "service-role", "list", "Roles of AI services: what the integrations that name one may not do", get(roles::list));
    add("GET", "/api/v1/tenants/{tenant}/roles/{name}", ANY, "service-role", "show", "One role, with the integrations that name it", get(roles::show));

    add("GET", "/api/v1/tenants/{tenant}/policy", ANY, "policy", "show", "The organisation's policies in force", get(policies::show));

    add("GET", "/api/v1/tenants/{tenant}/approvals", ANY, "approval", "list", "Approvals, newest request first. Query: status, integration", get(approvals::list));
    add("POST", "/api/v1/tenants/{tenant}/approvals", OPERATOR, "approval", "request", "Ask for an approval", post(approvals::request));
    add("GET", "/api/v1/tenants/{tenant}/approvals/{id}", ANY, "approval", "show", "One approval: what is asked, in plain words", get(approvals::show));
    add("POST", "/api/v1/tenants/{tenant}/approvals/{id}/approve", OFFICER, "approval", "approve", "Approve until a date; never one's own request", post(approvals::approve));
    add("POST", "/api/v1/tenants/{tenant}/approvals/{id}/reject", OFFICER, "approval", "reject", "Refuse what was asked", post(approvals::reject));
    add("POST", "/api/v1/tenants/{tenant}/approvals/{id}/suspend", EITHER, "approval", "suspend", "Switch off until it is asked for again", post(approvals::suspend));
    add("POST", "/api/v1/tenants/{tenant}/approvals/{id}/end", EITHER, "approval", "end", "End for good", post(approvals::end));

    add("GET", "/api/v1/tenants/{tenant}/sessions", ANY, "session", "list", "Sessions, newest first. Query: live, integration, limit", get(sessions::list));
    add("GET", "/api/v1/tenants/{tenant}/sessions/{id}", ANY, "session", "show", "One session", get(sessions::show));
    add("POST", "/api/v1/tenants/{tenant}/sessions/{id}/end", EITHER, "session", "end", "End a session: its token stops working at once", post(sessions::end));

    add("GET", "/api/v1/tenants/{tenant}/keys", ANY, "key", "list", "Token signing keys", get(tenants::keys));
    add("POST", "/api/v1/tenants/{tenant}/keys/rotate", OPERATOR, "key", "rotate", "Make a new token signing key; the old one verifies until its tokens have ended", post(tenants::rotate));
    add("GET", "/api/v1/tenants/{tenant}/filters", ANY, "filter", "list", "What the upstream is known to filter by, as `hilum check` found", get(tenants::filters));

    add("GET", "/api/v1/system/alerts", ANY, "alert", "list-system", "Alerts of the installation itself, newest first. Query: limit, before", get(ledger::system_alerts));
    add("GET", "/api/v1/system/audit", ANY, "audit", "search-system", "Starts, stops and operator events, newest first. Query: limit, before", get(ledger::system_records));
    add("GET", "/api/v1/tenants/{tenant}/alerts", ANY, "alert", "list", "Alerts, newest first, without patient data. Query: limit, before", get(ledger::alerts));
    add("GET", "/api/v1/tenants/{tenant}/audit", READER, "audit", "search", "Audit records, newest first. Query: kind, outcome, integration, person, session, reason, object, from, to, phi, limit, before", get(ledger::search));
    add("GET", "/api/v1/tenants/{tenant}/who", READER, "audit", "who", "Everything recorded about one patient. Query: patient, from, to, limit, before", get(ledger::who));
    add("GET", "/api/v1/tenants/{tenant}/audit/{node}/{index}", READER, "audit", "show", "One record, opened", get(ledger::show));
    add("GET", "/api/v1/tenants/{tenant}/audit/{node}/{index}/explain", READER, "audit", "explain", "One record in words, with the others of its request", get(ledger::explain));
    out
}

/// The router over the table.
pub(super) fn router(registry: Registry) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let door = axum::middleware::from_fn_with_state((registry.clone(), route.clone()), visit::enter);
        router = router.route(route.path, route.handler.clone().route_layer(door));
    }
    router
        .fallback(|| async { ApiError::nowhere() })
        .method_not_allowed_fallback(|| async { ApiError::method() })
        .layer(axum::middleware::map_response(sealed_from_caches))
        .with_state(registry)
}

/// Nothing here may be kept by a cache (RFC 9111 §5.2.2.5) or read as another type.
async fn sealed_from_caches(mut response: Response) -> Response {
    use axum::http::HeaderValue;
    use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What a handler answers.
type Answer = Result<Response, ApiError>;

/// 200 with a JSON body.
fn ok(value: impl serde::Serialize) -> Answer {
    Ok(axum::Json(value).into_response())
}

/// 201 with a JSON body.
fn created(value: impl serde::Serialize) -> Answer {
    Ok((StatusCode::CREATED, axum::Json(value)).into_response())
}

/// Query parameters: each at most once, only the ones named.
fn query(uri: &Uri, known: &[&str]) -> Result<BTreeMap<String, String>, ApiError> {
    let malformed = |_| ApiError::malformed("the query cannot be read");
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(malformed)?;
    let mut out = BTreeMap::new();
    for (name, value) in pairs {
        if !known.contains(&name.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(ApiError::malformed(format!("`{name}` is not a parameter here; known: {known}")));
        }
        if out.insert(name.clone(), value).is_some() {
            return Err(ApiError::malformed(format!("`{name}` is there twice")));
        }
    }
    Ok(out)
}

/// One query parameter as a type.
fn asked<T: std::str::FromStr>(query: &BTreeMap<String, String>, name: &str) -> Result<Option<T>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::malformed(format!("`{name}`: `{text}` cannot be read")))
}

impl ApiError {
    fn nowhere() -> Self {
        Self { detail: "there is no such route; see /api/v1/openapi.json".into(), ..Self::missing("route") }
    }

    fn method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            title: "method not allowed",
            reason: Reason::MethodNotAllowed,
            detail: "see /api/v1/openapi.json".into(),
            ..Self::missing("method")
        }
    }
}
