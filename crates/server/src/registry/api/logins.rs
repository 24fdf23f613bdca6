//! Signing in a command line by way of a page: it asks, shows a code, and fetches its token once the person has said yes on the page.
//!
//! The page shows the same code and the address that asked, and only the person it was asked for can say yes; so a link that somebody
//! else sends has to be confirmed against a code that its receiver's own terminal does not show.

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use domain::{Millis, Reason};
use serde_json::json;
use store::{ANYBODY, LoginRequest, LoginState, Took};

use super::Answer;
use super::accounts::{attempted, signed_in};
use super::problem::ApiError;
use super::read::Body;
use crate::authorize::Peer;
use crate::clock::{random, random_text};
use crate::hex::hex;
use crate::registry::Registry;
use crate::registry::entry;
use crate::registry::people::{TOKEN_LIFE, credential_hash};
use crate::registry::trail::Deed;

/// A command line waits this long.
pub(crate) const LOGIN_LIFE: Millis = 5 * 60_000;
/// Seconds between two questions of a command line.
const INTERVAL: u32 = 2;
/// Longest name of a person, in bytes.
const PERSON_MAX: usize = 129;

pub(super) async fn ask(
    State(registry): State<Registry>,
    peer: Option<Extension<Peer>>,
    Body(mut fields): Body,
) -> Answer {
    // Whoever signs in at an identity provider is known by no name before.
    let person = fields.maybe::<String>("person");
    let person = match person {
        None if registry.providers().is_empty() => fields.must::<String>("person"),
        person => Some(person.unwrap_or_else(|| ANYBODY.to_owned())),
    };
    let person = fields.end(person).map_err(ApiError::mistakes)?;
    if person.is_empty() || person.len() > PERSON_MAX {
        return Err(ApiError::mistakes(["`person` must have 1 to 129 bytes".to_owned()]));
    }
    let Some(origin) = registry.console_origin() else {
        return Err(ApiError::conflict(
            "the pages to sign in on have no address yet: set `public_url` under [admin] in the gate's configuration",
        ));
    };
    let now = registry.0.clock.now();
    let peer = super::visit::address(peer.map(|Extension(peer)| peer));
    if !registry.0.asked.may(peer, now) {
        return Err(ApiError::slow_down(60_000));
    }
    let (secret, id, code) = (random_text()?, hex(&random::<16>()?), entry::code(random()?));
    let request =
        LoginRequest { id: id.clone(), person, code: code.clone(), peer: peer.to_string(), state: LoginState::Asked };
    if !registry.0.store.ask_login(&request, &credential_hash(&secret), now, now + LOGIN_LIFE).await? {
        return Err(ApiError::slow_down(60_000));
    }
    let body = json!({
        "secret": secret,
        "code": code,
        "url": format!("{}/console/sign-in?request={id}", origin.url()),
        "interval_seconds": INTERVAL,
        "expires_seconds": LOGIN_LIFE / 1_000,
    });
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

pub(super) async fn fetch(State(registry): State<Registry>, Body(mut fields): Body) -> Answer {
    let secret = fields.must::<String>("secret");
    let secret = fields.end(secret).map_err(ApiError::mistakes)?;
    let inner = &registry.0;
    let (now, hash) = (inner.clock.now(), credential_hash(&secret));
    let over = || ApiError::unauthorized(Reason::GrantInvalid, "this sign-in is over; start again");
    let request = match inner.store.find_login_by_secret(&hash, now).await? {
        Some(request) => request,
        None => return Ok(attempted(over(), None)),
    };
    match request.state {
        LoginState::Asked => {
            let waiting = json!({ "waiting": true, "interval_seconds": INTERVAL });
            return Ok((StatusCode::ACCEPTED, axum::Json(waiting)).into_response());
        }
        LoginState::Refused => {
            return Ok(attempted(ApiError::unauthorized(Reason::GrantInvalid, "it was refused on the page"), None));
        }
        LoginState::Taken => return Ok(attempted(over(), None)),
        LoginState::Granted => {}
    }
    let token = random_text()?;
    let deed =
        Deed { noun: "api-token", verb: "sign-in", id: request.person, note: "by page".into(), ..Deed::default() };
    let intent = inner.trail.intend(None, &deed).await?;
    let took = inner.store.take_login(&hash, &credential_hash(&token), now, now + TOKEN_LIFE).await?;
    let Took::Token(person, expires_at) = took else {
        inner.trail.conclude(intent, domain::audit::Outcome::Denied, 401, registry.feed()).await?;
        return Err(ApiError { recorded: true, ..over() });
    };
    inner.trail.conclude(intent, domain::audit::Outcome::Success, 200, registry.feed()).await?;
    signed_in(&token, &person, expires_at)
}
