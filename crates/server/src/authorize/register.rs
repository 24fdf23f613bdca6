//! `POST /{tenant}/oauth/register`: RFC 7591 as a request. It gives a `client_id` with which nothing works until people have registered it.
//!
//! Anybody may ask, so a request is counted before it is recorded, and recorded before it is kept.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::Outcome;
use domain::{IntegrationId, IntegrationStatus, Millis, Reason};
use http::{Request, StatusCode};
use oauth::ErrorCode;
use oauth::registration::{ClientMetadata, REGISTRATION_BYTES_MAX};
use serde_json::{Value, json};
use store::NewRegistration;

use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::{Service, Tenant};
use crate::clock::random;
use crate::hex::hex;
use crate::registry::requests::{self, LIMITS, REQUEST_LIFE};
use crate::registry::trail::Deed;

/// Seconds after which an address may ask again.
const RETRY_SECONDS: u32 = 3_600;

/// Handles the endpoint, where people sign in: nothing else has an app that registers itself.
pub(super) async fn register(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant).filter(|tenant| tenant.offers.people()) else { return no_tenant() };
    let peer = origin(&request).peer.ip();
    match service.ask(tenant, request, peer).await {
        Ok(body) => answer(StatusCode::CREATED, body.to_string()),
        Err((refused, reason)) => {
            service.audit.count_anonymous(tenant.id.as_str(), reason, peer);
            refused.response()
        }
    }
}

impl Service {
    async fn ask(&self, tenant: &Tenant, request: Request<Body>, peer: IpAddr) -> Result<Value, (Refused, Reason)> {
        let malformed = |refused: Refused| (refused, Reason::RequestInvalid);
        let unavailable = |says: &str| (Refused::unavailable(says), Reason::Overloaded);
        let sent = body(request, "application/json", REGISTRATION_BYTES_MAX).await.map_err(malformed)?;
        let asked = ClientMetadata::read(&sent.bytes).map_err(|why| malformed(Refused::from(why)))?;
        let now = self.clock.now();
        let fresh: [u8; 16] = random().map_err(|_| unavailable("the random source failed"))?;
        let id: IntegrationId =
            format!("asked-{}", hex(&fresh)).parse().map_err(|_| unavailable("no client_id could be made"))?;
        let asked = requests::judge(&tenant.id, &id, asked, now).map_err(|mistakes| malformed(refused(&mistakes)))?;
        let echo = serde_json::to_value(&asked).map_err(|_| unavailable("the metadata could not be kept"))?;
        let peer_tag = self
            .keys
            .row_tag(tenant.id.as_str(), &format!("registration peer {}", site(peer)))
            .map_err(|_| unavailable("the keys failed"))?;
        let new = NewRegistration {
            id: id.clone(),
            tenant: tenant.id.clone(),
            body: echo.to_string(),
            peer_tag,
            created_at: now,
            expires_at: now + REQUEST_LIFE,
        };
        self.keep(&new, peer).await?;
        Ok(answered(&id, echo, now))
    }

    /// Records the request and keeps it, if there is room.
    async fn keep(&self, new: &NewRegistration, peer: IpAddr) -> Result<(), (Refused, Reason)> {
        let failed = |why: &dyn std::fmt::Display| {
            tracing::error!(%why, "a registration request could not be kept");
            (Refused::unavailable("the request could not be kept; try again"), Reason::Overloaded)
        };
        let room = self.store.has_registration_room(&new.tenant, &new.peer_tag, LIMITS, new.created_at).await;
        if !room.map_err(|why| failed(&why))? {
            return Err(full());
        }
        let deed = Deed {
            tenant: new.tenant.to_string(),
            noun: "registration",
            verb: "ask",
            id: new.id.to_string(),
            note: new.body.clone(),
            peer: Some(peer),
        };
        let trail = self.registry.trail();
        let intent = trail.intend(None, &deed).await.map_err(|why| failed(&why))?;
        let kept = self.store.request_registration(new, LIMITS).await;
        let (outcome, status) = match &kept {
            Ok(true) => (Outcome::Success, 201),
            Ok(false) => (Outcome::Denied, 429),
            Err(_) => (Outcome::Failed, 503),
        };
        let feed = self.registry.snapshot().feed();
        trail.conclude(intent, outcome, status, feed).await.map_err(|why| failed(&why))?;
        match kept {
            Ok(true) => Ok(()),
            Ok(false) => Err(full()),
            Err(why) => Err(failed(&why)),
        }
    }
}

/// The address as far as it tells networks apart: one host has all of an IPv6 /64.
fn site(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[test]
fn a_network_is_one_site() {
    let at = |text: &str| site(text.parse().unwrap());
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:0:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
}

/// RFC 7591 §3.2.1, with what nobody could know from there: that it is a request.
fn answered(id: &IntegrationId, mut echo: Value, now: Millis) -> Value {
    if let Value::Object(members) = &mut echo {
        let says =
            "people of this organisation decide; until they have registered this client_id nothing works with it";
        members.insert("client_id".into(), id.as_str().into());
        members.insert("client_id_issued_at".into(), now.div_euclid(1_000).into());
        members.insert("registration_status".into(), json!(IntegrationStatus::Requested));
        members.insert("registration_status_description".into(), says.into());
        members.insert("registration_expires_at".into(), (now + REQUEST_LIFE).div_euclid(1_000).into());
    }
    echo
}

/// By what the registry's rules find (RFC 7591 §3.2.2); addresses have a code of their own.
fn refused(mistakes: &[String]) -> Refused {
    let of_redirects = mistakes.iter().all(|mistake| mistake.starts_with("`redirect_uris`"));
    let code = if of_redirects { ErrorCode::InvalidRedirectUri } else { ErrorCode::InvalidClientMetadata };
    Refused::new(code, mistakes.join("; "))
}

fn full() -> (Refused, Reason) {
    let refused =
        Refused::unavailable("too many registration requests are waiting, or came from this address; try again later");
    let refused = Refused { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(RETRY_SECONDS), ..refused };
    (refused, Reason::RequestBudgetSpent)
}
