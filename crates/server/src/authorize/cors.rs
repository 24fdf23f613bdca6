//! Which pages of other origins may call what (D-11): the origins that clients are registered with, at the endpoints for tokens and at the
//! FHIR base; every origin at what is public; none at the pages a person sees.

use axum::body::Body;
use domain::TenantId;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use crate::registry::Registry;

/// What scripts may send.
const MAY_SEND: &str = "accept, authorization, content-type, dpop, if-match, if-none-match, prefer";
/// What scripts may read beyond what every script may.
const MAY_READ: &str =
    "audit-receipt, content-location, dpop-nonce, etag, last-modified, location, retry-after, www-authenticate";
/// With which methods.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, HEAD";

/// A request from a page of another origin.
pub(crate) struct CrossOrigin {
    origin: HeaderValue,
    preflight: bool,
    allowed: bool,
}

impl CrossOrigin {
    /// What a request says of its page, and whether a client of the tenant is registered with that origin. `None`: it is of no page.
    pub(crate) fn of<B>(registry: &Registry, tenant: &TenantId, request: &Request<B>) -> Option<Self> {
        let origin = request.headers().get(ORIGIN)?.clone();
        let preflight =
            request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let text = origin.to_str().unwrap_or_default();
        let allowed = registry.snapshot().has_origin(tenant, text);
        Some(Self { origin, preflight, allowed })
    }

    /// The answer to a preflight, which is asked before there is a client; `None` where it is none.
    pub(crate) fn preflight(&self) -> Option<Response<Body>> {
        if !self.preflight {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.mark(response.headers_mut());
        if self.allowed {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, MAY_SEND),
                (ACCESS_CONTROL_MAX_AGE, "600"),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        Some(response)
    }

    /// Marks an answer, so that the page may read it if it may; success and refusal alike (TK-12). Credentials are never included: no
    /// endpoint for scripts takes a cookie.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_name(HeaderName::from_static("origin")));
        if self.allowed && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(MAY_READ));
        }
    }
}

/// Whether a path below `/{tenant}/` is one that scripts of registered origins call.
pub(crate) fn for_scripts(below: &str) -> bool {
    matches!(below, "oauth/token" | "oauth/revoke" | "oauth/introspect" | "oauth/par" | "oauth/register")
        || below == "fhir"
        || below.starts_with("fhir/") && below != "fhir/.well-known/smart-configuration"
}
