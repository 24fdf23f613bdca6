//! Signing in on the pages, by passkey or, until there is one, by passphrase; and saying yes to a command line that waits.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::audit::Outcome;
use domain::{Millis, PersonId, Reason};
use serde::Deserialize;
use serde_json::json;
use store::{ANYBODY, ConsoleSession, LoginRequest, LoginState, Means};

use super::ceremony::{self, Assertion};
use super::door::{Form, NewSecret, Sent, Turned, Visitor};
use super::pages;
use crate::clock::random_text;
use crate::registry::Registry;
use crate::registry::entry::Entry;
use crate::registry::people::credential_hash;
use crate::registry::trail::Deed;

/// A page session ends after this long whatever happens (S4-03).
pub(super) const LIFE: Millis = 8 * 3_600_000;

/// The query of the page.
#[derive(Deserialize)]
pub(super) struct Asked {
    /// The command line that waits, if one does.
    #[serde(default)]
    request: String,
}

type Answer = Result<Response, Turned>;

fn page(text: String) -> Answer {
    Ok(Html(text).into_response())
}

/// The id of a request is 32 hexadecimal digits; anything else names none and is not repeated anywhere.
pub(super) fn plain(id: &str) -> &str {
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { id } else { "" }
}

pub(super) fn place(request: &str) -> String {
    match plain(request) {
        "" => "/console/passkeys".to_owned(),
        id => format!("/console/sign-in?request={id}"),
    }
}

pub(super) async fn show(State(registry): State<Registry>, visitor: Visitor, Query(asked): Query<Asked>) -> Answer {
    let request = match asked.request.as_str() {
        "" => None,
        id => Some(registry.store().find_login(plain(id), registry.now()).await?),
    };
    let over = "This sign-in is over: it took longer than five minutes, or is not known. Start again in your terminal.";
    match (&visitor.signed_in, request) {
        (_, Some(None)) => page(pages::notice("Nothing waits here", over)),
        (None, None) => page(pages::sign_in(&visitor, "", None, "", registry.providers())),
        (None, Some(Some(request))) => page(pages::sign_in(&visitor, "", Some(&request), "", registry.providers())),
        (Some(_), None) => Ok(Redirect::to("/console/passkeys").into_response()),
        (Some((caller, means)), Some(Some(request))) => page(asked_page(&visitor, &caller.person, *means, &request)),
    }
}

/// What somebody who is signed in sees of a command line that waits.
fn asked_page(visitor: &Visitor, person: &PersonId, means: Means, request: &LoginRequest) -> String {
    if !is_for(request, person, means) {
        let says = "The command line waits for somebody else. Sign out here, or start again there with your own name.";
        return pages::signed_in_notice(visitor, "This is not for you", says);
    }
    match request.state {
        LoginState::Asked => pages::confirm(visitor, request),
        LoginState::Granted | LoginState::Taken => {
            let says = "Your command line is signed in. You can close this page and go back to your terminal.";
            pages::signed_in_notice(visitor, "Done", says)
        }
        LoginState::Refused => {
            let says = "The command line was refused. If you did not start it, somebody tried to get in as you: tell your security team.";
            pages::signed_in_notice(visitor, "Refused", says)
        }
    }
}

/// Whether this command line waits for this person: by name, or for whoever signs in at an identity provider.
fn is_for(request: &LoginRequest, person: &PersonId, means: Means) -> bool {
    request.person == person.as_str() || (request.person == ANYBODY && means == Means::Provider)
}

pub(super) async fn options(State(registry): State<Registry>, visitor: Visitor, _: Sent<serde_json::Value>) -> Answer {
    Ok(Json(ceremony::sign_in_options(&registry, &visitor).await?).into_response())
}

/// What the script sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByPasskey {
    answer: Assertion,
    #[serde(default)]
    request: String,
}

pub(super) async fn by_passkey(
    State(registry): State<Registry>,
    visitor: Visitor,
    Sent(sent): Sent<ByPasskey>,
) -> Answer {
    let person = ceremony::sign_in(&registry, &visitor, &sent.answer).await?;
    let mut response = Json(json!({ "next": place(&sent.request) })).into_response();
    open(&registry, &visitor, person, Means::Passkey, &mut response).await?;
    Ok(response)
}

pub(super) async fn by_passphrase(State(registry): State<Registry>, visitor: Visitor, form: Form) -> Answer {
    let (name, request) = (form.get("person"), form.get("request"));
    let turned = match registry.by_passphrase(name, form.get("passphrase")).await? {
        Entry::In(person) => {
            let mut response = Redirect::to(&place(request)).into_response();
            open(&registry, &visitor, person, Means::Passphrase, &mut response).await?;
            return Ok(response);
        }
        Entry::Wait(wait, person) => {
            let says = format!("Too many attempts. Wait {} seconds and try again.", wait / 1_000 + 1);
            Turned::new(StatusCode::TOO_MANY_REQUESTS, Reason::BudgetSpent, says.clone())
                .on(again(&registry, &visitor, name, request, &says).await?)
                .tried("console-session", "sign-in", person)
        }
        Entry::Wrong(person) => {
            let says = "Person and passphrase do not fit.";
            Turned::new(StatusCode::UNAUTHORIZED, Reason::ClientInvalid, says)
                .on(again(&registry, &visitor, name, request, says).await?)
                .tried("console-session", "sign-in", person)
        }
        Entry::Passkey(person) => {
            let says = "You have a passkey, so the passphrase no longer signs you in. If it is lost, a colleague can remove it: hilum person passkey-remove.";
            Turned::new(StatusCode::FORBIDDEN, Reason::PasskeyRequired, says)
                .on(again(&registry, &visitor, name, request, says).await?)
                .tried("console-session", "sign-in", Some(person))
        }
    };
    Err(turned)
}

/// The form once more, with what was wrong.
async fn again(
    registry: &Registry,
    visitor: &Visitor,
    name: &str,
    request: &str,
    says: &str,
) -> Result<String, Turned> {
    let request = registry.store().find_login(plain(request), registry.now()).await?;
    Ok(pages::sign_in(visitor, says, request.as_ref(), name, registry.providers()))
}

/// Signs a person in on this browser, under a new secret: whoever knew the one before knows nothing now.
async fn open(
    registry: &Registry,
    visitor: &Visitor,
    person: PersonId,
    means: Means,
    response: &mut Response,
) -> Result<(), Turned> {
    if registry.store().identity_of(&person).await?.is_some() {
        let says = "You sign in at your identity provider, and no other way.";
        let turned = Turned::new(StatusCode::FORBIDDEN, Reason::ClientInvalid, says);
        return Err(turned.tried("console-session", "sign-in", Some(person)));
    }
    let (secret, now) = (random_text()?, registry.now());
    let deed = Deed {
        noun: "console-session",
        verb: "sign-in",
        id: person.to_string(),
        note: means.as_str().into(),
        peer: Some(visitor.peer),
        ..Deed::default()
    };
    let intent = registry.trail().intend(None, &deed).await?;
    if let Some((caller, _)) = &visitor.signed_in {
        registry.store().end_console_session(&caller.token).await?;
    }
    let session = ConsoleSession { person, means };
    registry.store().add_console_session(&credential_hash(&secret), &session, now, now + LIFE).await?;
    registry.trail().conclude(intent, Outcome::Success, 200, registry.feed()).await?;
    response.extensions_mut().insert(NewSecret(secret));
    Ok(())
}

/// Yes or no to the command line whose code was compared.
pub(super) async fn answer(State(registry): State<Registry>, visitor: Visitor, form: Form) -> Answer {
    let caller = visitor.caller()?;
    let (id, says) = (plain(form.get("request")), form.get("answer"));
    let (verb, state) = match says {
        "yes" => ("grant", LoginState::Granted),
        "no" => ("refuse", LoginState::Refused),
        _ => return Err(Turned::unreadable()),
    };
    let turned = |says: &str| {
        Turned::new(StatusCode::CONFLICT, Reason::GrantInvalid, says).tried(
            "login-request",
            verb,
            Some(caller.person.clone()),
        )
    };
    let found = registry.store().find_login(id, registry.now()).await?;
    let request = found.ok_or_else(|| turned("This sign-in is over. Start again in your terminal."))?;
    // What was said yes to is what was shown.
    if request.code != form.get("code") {
        return Err(turned("The code is another one now. Start again in your terminal."));
    }
    let means = visitor.signed_in.as_ref().map(|(_, means)| *means);
    if !means.is_some_and(|means| is_for(&request, &caller.person, means)) {
        return Err(turned("The command line waits for somebody else."));
    }
    let deed = Deed {
        noun: "login-request",
        verb,
        id: caller.person.to_string(),
        note: format!("asked from {}, answered from {}", request.peer, visitor.peer),
        peer: Some(visitor.peer),
        ..Deed::default()
    };
    let intent = registry.trail().intend(Some(caller), &deed).await?;
    let done = registry.store().answer_login(id, &caller.person, state, &caller.token, registry.now()).await?;
    let (outcome, status) = if done { (Outcome::Success, 200) } else { (Outcome::Denied, 409) };
    registry.trail().conclude(intent, outcome, status, registry.feed()).await?;
    if !done {
        return Err(turned("This was answered already.").recorded());
    }
    Ok(Redirect::to(&place(id)).into_response())
}

pub(super) async fn sign_out(State(registry): State<Registry>, visitor: Visitor, _: Form) -> Answer {
    let mut elsewhere = None;
    if let Some((caller, _)) = &visitor.signed_in {
        let deed = Deed { noun: "console-session", verb: "sign-out", id: caller.person.to_string(), ..Deed::default() };
        let intent = registry.trail().intend(Some(caller), &deed).await?;
        registry.store().end_console_session(&caller.token).await?;
        elsewhere = super::provider::end(&registry, &caller.token).await?;
        registry.trail().conclude(intent, Outcome::Success, 200, registry.feed()).await?;
    }
    let mut response = Html(pages::signed_out(elsewhere.as_deref().unwrap_or_default())).into_response();
    response.extensions_mut().insert(NewSecret(random_text()?));
    Ok(response)
}
