//! Who is at the door: every route is entered here, and every refusal leaves through here and is recorded.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::{PersonId, Reason, Role, TenantId};

use super::Route;
use super::problem::{ApiError, Refused};
use crate::authorize::Peer;
use crate::registry::Registry;
use crate::registry::people::{Caller, TOKEN_IDLE, credential_hash};
use crate::registry::trail::Deed;

/// Who may use a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// Nobody need be signed in.
    Public,
    /// Anyone who is signed in.
    Person,
    /// One of these roles in the tenant the path names; for paths without one, in any tenant.
    Role(&'static [Role]),
}

/// A signed-in person on one route.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub caller: Caller,
    /// The tenant the path names.
    pub tenant: Option<TenantId>,
    noun: &'static str,
    verb: &'static str,
}

impl Visit {
    /// The tenant the path names.
    ///
    /// # Errors
    /// 404; a route without a tenant never asks.
    pub(super) fn tenant(&self) -> Result<&TenantId, ApiError> {
        self.tenant.as_ref().ok_or_else(|| ApiError::missing("tenant"))
    }

    /// What this visit does to `id`, for its records.
    pub(super) fn deed(&self, id: impl ToString, note: impl Into<String>) -> Deed {
        Deed {
            tenant: self.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            noun: self.noun,
            verb: self.verb,
            id: id.to_string(),
            note: note.into(),
            ..Deed::default()
        }
    }
}

/// Left in a refusal by a route for people who are not signed in yet: someone tried to get in, as whom if they said.
#[derive(Clone, Debug)]
pub(super) struct Attempt(pub Option<PersonId>);

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // `enter` put it there; a route that lacks it was declared public by mistake and stays shut.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::unauthorized(Reason::TokenMissing, "sign in first"))
    }
}

/// Path parameters by name, decoded by the router.
fn param(params: &RawPathParams, name: &str) -> Option<String> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// The address of a peer; a request that came by no listener has none.
pub(crate) fn address(peer: Option<Peer>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

/// Lets a request in, or records why not.
pub(super) async fn enter(
    State((registry, route)): State<(Registry, Route)>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = address(request.extensions().get::<Peer>().copied());
    let path: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    let (caller, response) = match admit(&registry, &route, &params, request.headers()).await {
        Ok(None) => (None, next.run(request).await),
        Ok(Some(visit)) => {
            let caller = visit.caller.clone();
            request.extensions_mut().insert(visit);
            (Some(caller), next.run(request).await)
        }
        Err((caller, why)) => (caller, why.into_response()),
    };
    let Some(refused) = response.extensions().get::<Refused>().copied().filter(|refused| !refused.recorded) else {
        return response;
    };
    // A tenant that does not exist has no ledger of its own.
    let tenant = param(&params, "tenant").filter(|id| registry.0.tenants.iter().any(|tenant| tenant.id.as_str() == id));
    let tenant = tenant.unwrap_or_default();
    let mut id: String = path.join("/").chars().take(200).collect();
    if caller.is_none() {
        // Whoever is not signed in can neither fill the ledger nor keep others waiting for it; every refusal is counted. Attempts to
        // get in have records of their own, as many as people can look at.
        let attempt = response.extensions().get::<Attempt>().cloned();
        let attempt = attempt.filter(|_| registry.0.passphrases.worth_a_record(registry.0.clock.now()));
        let Some(Attempt(person)) = attempt else {
            registry.0.trail.counted(&tenant, refused.reason, peer);
            return response;
        };
        id = person.map(|person| person.to_string()).unwrap_or_default();
    }
    let peer = caller.is_none().then_some(peer);
    let deed = Deed { tenant, noun: route.noun, verb: route.verb, id, note: String::new(), peer };
    let status = response.status().as_u16();
    match registry.0.trail.refused(caller.as_ref(), &deed, refused.reason, status).await {
        Ok(()) => response,
        Err(why) => ApiError::from(why).into_response(),
    }
}

type Refusal = (Option<Caller>, ApiError);

async fn admit(
    registry: &Registry,
    route: &Route,
    params: &RawPathParams,
    headers: &HeaderMap,
) -> Result<Option<Visit>, Refusal> {
    if route.need == Need::Public {
        return Ok(None);
    }
    let caller = authenticate(registry, headers).await.map_err(|why| (None, why))?;
    let tenant = param(params, "tenant");
    let tenant: Option<TenantId> = match tenant {
        None => None,
        Some(text) => match text.parse() {
            Ok(tenant) => Some(tenant),
            Err(_) => return Err((Some(caller), ApiError::missing("tenant"))),
        },
    };
    let allowed = match (route.need, &tenant) {
        (Need::Role(roles), Some(tenant)) => roles.iter().any(|role| caller.holds(Some(tenant), *role)),
        (Need::Role(roles), None) => caller.holds_anywhere(roles),
        (Need::Person | Need::Public, _) => true,
    };
    if !allowed {
        let needed = match route.need {
            Need::Role(roles) => roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or "),
            _ => String::new(),
        };
        let place = tenant.as_ref().map_or_else(String::new, |tenant| format!(" in {tenant}"));
        let why = ApiError::forbidden(Reason::RoleInsufficient, format!("this takes the role {needed}{place}"));
        return Err((Some(caller), why));
    }
    // Only someone with a role over every tenant learns which tenants there are not.
    if let Some(tenant) = &tenant
        && !registry.0.tenants.iter().any(|known| known.id == *tenant)
    {
        return Err((Some(caller), ApiError::missing("tenant")));
    }
    Ok(Some(Visit { caller, tenant, noun: route.noun, verb: route.verb }))
}

/// The person behind `Authorization: Bearer`.
async fn authenticate(registry: &Registry, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else {
        return Err(ApiError::unauthorized(
            Reason::TokenMissing,
            "send `Authorization: Bearer` with the token of /login",
        ));
    };
    let over = || ApiError::unauthorized(Reason::TokenInvalid, "the token is unknown or has ended; sign in again");
    let text = value.to_str().map_err(|_| over())?;
    let secret = text
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret)
        .filter(|secret| (1..=128).contains(&secret.len()))
        .ok_or_else(over)?;
    let token = credential_hash(secret);
    let now = registry.0.clock.now();
    let person = registry.0.store.use_api_token(&token, now, now - TOKEN_IDLE).await?.ok_or_else(over)?;
    registry.caller(person, token).await?.ok_or_else(over)
}
