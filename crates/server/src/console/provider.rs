//! Signing in on the pages at an identity provider: there and back, for the browser that began, once.
//!
//! The browser comes back from another site, so its strict cookie stays away at first. `callback` therefore only leads it on, from a page
//! of ours, to `finish`, where the cookie is. Neither takes a word of it for granted: what counts is what the provider's token says.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::audit::Outcome;
use domain::{Millis, Reason};
use oauth::form::Form as Query;
use store::{ConsoleSession, Means, ProviderCeremony, ProviderSignIn};

use super::door::{Form, NewSecret, Turned, Visitor};
use super::sign_in::{LIFE, place, plain};
use super::{Origin, pages};
use crate::clock::random_text;
use crate::identity::{Sealed, SignInError, SignedIn, Wish};
use crate::keys::SYSTEM;
use crate::registry::Registry;
use crate::registry::people::credential_hash;
use crate::registry::providers::AdminProvider;
use crate::registry::trail::Deed;

/// A sign-in under way is kept this long.
const CEREMONY_LIFE: Millis = 10 * 60_000;
/// What a sealed value is: neither can stand in the other's place.
const PENDING: &str = "provider-pending";
const HINT: &str = "provider-hint";
/// Longest logout token with its form.
const LOGOUT_BYTES_MAX: usize = 32 * 1024;

type Answer = Result<Response, Turned>;

fn redirect_uri(origin: &Origin) -> String {
    format!("{}/console/sign-in/callback", origin.url())
}

fn unavailable(why: SignInError) -> Turned {
    Turned::new(StatusCode::BAD_GATEWAY, Reason::UpstreamUnavailable, why.says()).noted(why.to_string())
}

fn found<'a>(registry: &'a Registry, place: &str) -> Result<&'a AdminProvider, Turned> {
    let provider = registry.providers().iter().find(|provider| provider.place() == place);
    provider.ok_or_else(Turned::unreadable)
}

/// Leads the browser to the provider.
pub(super) async fn begin(State(registry): State<Registry>, visitor: Visitor, form: Form) -> Answer {
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    let provider = found(&registry, form.get("place"))?;
    let begun = provider.provider.begin(&redirect_uri(origin), Wish::default()).await.map_err(unavailable)?;
    let text = serde_json::to_vec(&begun.pending).map_err(|_| Turned::unreadable())?;
    let ceremony = ProviderCeremony {
        browser: visitor.browser(),
        place: provider.place().to_owned(),
        request: plain(form.get("request")).to_owned(),
        pending: sealed(&registry, PENDING, &text)?,
    };
    let state = credential_hash(begun.pending.state());
    registry.store().begin_provider(&state, &ceremony, registry.now() + CEREMONY_LIFE).await?;
    // A page with a link, since rules for forms (CSP `form-action`) would stop a redirect to another site.
    Ok(Html(pages::onward(&provider.name, &begun.url)).into_response())
}

/// Where the provider sends the browser: on to `finish`, from a page of ours. Sets no cookie and looks at none.
pub(super) async fn callback(RawQuery(query): RawQuery) -> Response {
    let to = format!("/console/sign-in/finish?{}", query.unwrap_or_default());
    let mut response = Html(pages::onward("Hilum", &to)).into_response();
    super::door::ruled_page(&mut response);
    response
}

/// The browser is back: who is it?
pub(super) async fn finish(State(registry): State<Registry>, visitor: Visitor, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let tried = |turned: Turned| turned.tried("console-session", "sign-in", None);
    let over = || {
        let says = "This sign-in took too long, was done before, or began in another browser. Start again.";
        tried(Turned::new(StatusCode::UNAUTHORIZED, Reason::GrantInvalid, says).noted("no such sign-in under way"))
    };
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    let form = Query::read(query.as_bytes()).map_err(|_| Turned::unreadable())?;
    let state = credential_hash(form.get("state").ok_or_else(over)?);
    let ceremony = registry.store().redeem_provider(&state, &visitor.browser(), registry.now()).await?;
    let ceremony = ceremony.ok_or_else(over)?;
    let provider = found(&registry, &ceremony.place)?;
    let pending = opened(&registry, PENDING, &ceremony.pending)?;
    let pending = serde_json::from_slice(&pending).map_err(|_| over())?;
    let finished = provider.provider.finish(&pending, &query, &redirect_uri(origin), registry.now()).await;
    let person = finished.map_err(|why| match why {
        SignInError::Unreachable | SignInError::Discovery(_) | SignInError::Credential => tried(unavailable(why)),
        why => tried(Turned::new(StatusCode::FORBIDDEN, Reason::ClientInvalid, why.says()).noted(why.to_string())),
    })?;
    open(&registry, &visitor, provider, person, &ceremony.request).await
}

/// Opens a session for somebody whom the provider names, with the roles that it gives them.
async fn open(
    registry: &Registry,
    visitor: &Visitor,
    provider: &AdminProvider,
    person: SignedIn,
    request: &str,
) -> Answer {
    let says_who = format!(
        "provider; issuer {}, subject {}, acr {}",
        person.issuer,
        person.subject,
        person.acr.as_deref().unwrap_or("none")
    );
    let refused = |says: &str| {
        Turned::new(StatusCode::FORBIDDEN, Reason::RoleInsufficient, says).noted(says_who.clone()).tried(
            "console-session",
            "sign-in",
            None,
        )
    };
    if let Some(why) = person.roles_refused {
        registry.roles_refused(&person, why);
        return Err(refused(
            "Your account would ask and approve at once, so it may do nothing here. Ask who manages it.",
        ));
    }
    if person.roles.is_empty() {
        return Err(refused("Your account has no role here. Ask who manages it."));
    }
    let id = registry.person_at(&person).await?;
    let id = id.ok_or_else(|| refused("There is another account of your name. Ask who manages it."))?;
    if registry.store().find_person(&id).await?.is_none_or(|row| row.disabled_at.is_some()) {
        return Err(refused("Your account here is switched off."));
    }
    let (secret, now) = (random_text()?, registry.now());
    let given = ProviderSignIn {
        person: id.clone(),
        place: provider.place().to_owned(),
        sid: person.sid.clone(),
        roles: provider.roles(&person.roles),
        hint: sealed(registry, HINT, person.id_token_hint.expose().as_bytes())?,
    };
    let roles: Vec<&str> = person.roles.iter().map(|role| role.as_str()).collect();
    let deed = Deed {
        noun: "console-session",
        verb: "sign-in",
        id: id.to_string(),
        note: format!(
            "{says_who}, roles {} in {}",
            roles.join(" "),
            provider.tenant.as_ref().map_or("every tenant", |t| t.as_str())
        ),
        peer: Some(visitor.peer),
        ..Deed::default()
    };
    let intent = registry.trail().intend(None, &deed).await?;
    if let Some((caller, _)) = &visitor.signed_in {
        registry.store().end_provider_sign_in(&caller.token).await?;
    }
    let hash = credential_hash(&secret);
    // The roles first: a session without them could do nothing, roles without a session are nobody's.
    registry.store().add_provider_sign_in(&hash, &given, now + LIFE).await?;
    let session = ConsoleSession { person: id, means: Means::Provider };
    registry.store().add_console_session(&hash, &session, now, now + LIFE).await?;
    registry.trail().conclude(intent, Outcome::Success, 200, registry.feed()).await?;
    let mut response = Redirect::to(&place(request)).into_response();
    response.extensions_mut().insert(NewSecret(secret));
    Ok(response)
}

/// Ends what this browser was given; where the provider offers it, the address that signs out there too.
pub(super) async fn end(registry: &Registry, token: &[u8; 32]) -> Result<Option<String>, Turned> {
    let given = registry.store().provider_sign_in(token, registry.now()).await?;
    registry.store().end_provider_sign_in(token).await?;
    let (Some(given), Some(origin)) = (given, registry.console_origin()) else { return Ok(None) };
    let Some(provider) = registry.providers().iter().find(|provider| provider.place() == given.place) else {
        return Ok(None);
    };
    let hint = opened(registry, HINT, &given.hint)?;
    let Ok(hint) = String::from_utf8(hint) else { return Ok(None) };
    let back = format!("{}/console/sign-in", origin.url());
    Ok(provider.provider.logout_url(&Sealed::new(hint), &back, "").await)
}

/// A provider says that somebody is signed out (OpenID Connect Back-Channel Logout §2.5).
pub(super) async fn back_channel(State(registry): State<Registry>, body: axum::body::Bytes) -> Response {
    let answer = |status: StatusCode| {
        let mut response = status.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    };
    let refused = || answer(StatusCode::BAD_REQUEST);
    if body.len() > LOGOUT_BYTES_MAX {
        return refused();
    }
    let Ok(form) = Query::read(&body) else { return refused() };
    let Some(token) = form.get("logout_token") else { return refused() };
    for provider in registry.providers() {
        let Ok(end) = provider.provider.back_channel(token).await else { continue };
        let issuer = provider.provider.issuer();
        let deed = Deed {
            noun: "console-session",
            verb: "sign-out",
            id: end.subject.clone().unwrap_or_default(),
            note: format!("by the identity provider {issuer}"),
            ..Deed::default()
        };
        let failed = || provider.provider.not_honoured(&end);
        let Ok(intent) = registry.trail().intend(None, &deed).await else {
            failed();
            return answer(StatusCode::SERVICE_UNAVAILABLE);
        };
        let ended = registry.store().end_provider_sign_ins(issuer, end.subject.as_deref(), end.sid.as_deref()).await;
        let (outcome, status) = match &ended {
            Ok(_) => (Outcome::Success, StatusCode::OK),
            Err(_) => (Outcome::Failed, StatusCode::SERVICE_UNAVAILABLE),
        };
        let concluded = registry.trail().conclude(intent, outcome, status.as_u16(), registry.feed()).await;
        let status = if concluded.is_ok() { status } else { StatusCode::SERVICE_UNAVAILABLE };
        if status != StatusCode::OK {
            failed();
        }
        return answer(status);
    }
    registry.trail().counted("", Reason::TokenInvalid, std::net::Ipv4Addr::UNSPECIFIED.into());
    refused()
}

fn sealed(registry: &Registry, label: &str, plain: &[u8]) -> Result<Vec<u8>, Turned> {
    let keys = registry.keys().ok_or_else(Turned::broken)?;
    keys.seal_row(SYSTEM, label, plain).map_err(|why| {
        tracing::error!("a sign-in cannot be sealed: {why}");
        Turned::broken()
    })
}

fn opened(registry: &Registry, label: &str, sealed: &[u8]) -> Result<Vec<u8>, Turned> {
    let keys = registry.keys().ok_or_else(Turned::broken)?;
    keys.open_row(SYSTEM, label, sealed).map_err(|why| {
        tracing::error!("a sign-in cannot be opened: {why}");
        Turned::broken()
    })
}
