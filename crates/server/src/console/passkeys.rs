//! A person's own passkeys: seen, enrolled, removed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::Reason;
use serde_json::json;
use store::{Means, PasskeyGone};

use super::ceremony::{self, Attestation};
use super::door::{Form, Sent, Turned, Visitor};
use super::pages;
use crate::registry::trail::Deed;
use crate::registry::{Registry, outcome_of};

type Answer = Result<Response, Turned>;

pub(super) async fn show(State(registry): State<Registry>, visitor: Visitor) -> Answer {
    let Ok(caller) = visitor.caller() else { return Ok(Redirect::to("/console/sign-in").into_response()) };
    let passkeys = registry.store().passkeys(&caller.person).await?;
    Ok(Html(pages::passkeys(&visitor, &passkeys)).into_response())
}

/// Whoever signs in at an identity provider does so and no other way.
fn not_by_provider(visitor: &Visitor) -> Result<(), Turned> {
    match &visitor.signed_in {
        Some((caller, Means::Provider)) => {
            let says = "You sign in at your identity provider, so you have no passkeys here.";
            let turned = Turned::new(StatusCode::FORBIDDEN, Reason::ClientInvalid, says);
            Err(turned.tried("passkey", "enrol", Some(caller.person.clone())))
        }
        _ => Ok(()),
    }
}

pub(super) async fn options(State(registry): State<Registry>, visitor: Visitor, _: Sent<serde_json::Value>) -> Answer {
    not_by_provider(&visitor)?;
    Ok(Json(ceremony::enrol_options(&registry, &visitor).await?).into_response())
}

pub(super) async fn enrol(State(registry): State<Registry>, visitor: Visitor, Sent(sent): Sent<Attestation>) -> Answer {
    not_by_provider(&visitor)?;
    ceremony::enrol(&registry, &visitor, &sent).await?;
    // With the first one the session by passphrase is over, and the page leads to signing in with it.
    Ok((StatusCode::CREATED, Json(json!({ "next": "/console/passkeys" }))).into_response())
}

pub(super) async fn remove(State(registry): State<Registry>, visitor: Visitor, form: Form) -> Answer {
    let caller = visitor.caller()?;
    let id: String = form.get("passkey").chars().take(64).collect();
    let turned = |status, says: &str| {
        Turned::new(status, Reason::RequestInvalid, says).tried("passkey", "remove-own", Some(caller.person.clone()))
    };
    let deed = Deed { noun: "passkey", verb: "remove-own", id: format!("{} {id}", caller.person), ..Deed::default() };
    let intent = registry.trail().intend(Some(caller), &deed).await?;
    let gone = registry.store().remove_passkey(&caller.person, &id, false).await?;
    let (status, done) = match gone {
        PasskeyGone::Gone | PasskeyGone::Last => (200, Ok(())),
        PasskeyGone::Kept => {
            let says = "This is your last passkey. Add another one first; if it is lost, a colleague can remove it.";
            (409, Err(turned(StatusCode::CONFLICT, says)))
        }
        PasskeyGone::Unknown => (404, Err(turned(StatusCode::NOT_FOUND, "You have no such passkey."))),
    };
    registry.trail().conclude(intent, outcome_of(status), status, registry.feed()).await?;
    done.map_err(Turned::recorded)?;
    Ok(Redirect::to("/console/passkeys").into_response())
}
