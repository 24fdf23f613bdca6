//! Pages for people on the admin listener: signing in (a browser, or a command line by way of one) and their passkeys.
//!
//! Server-rendered, without inline script or anything from elsewhere. The one script there is runs the passkey ceremonies, which no
//! page can do without. Every request comes in through `door`, and every refusal leaves and is recorded there.

mod ceremony;
mod door;
mod origin;
mod pages;
mod passkeys;
mod provider;
mod sign_in;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

pub use origin::Origin;

use crate::registry::Registry;

/// Largest body: two authenticator structures in base64 and a little more.
const BODY_MAX: usize = 64 * 1024;

const STYLE: &str = include_str!("../../assets/console/console.css");
const SCRIPT: &str = include_str!("../../assets/console/passkey.js");

/// The pages. Those for which somebody must be signed in say so themselves, by asking the visitor for it.
pub(crate) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/console", get(|| async { Redirect::to("/console/passkeys") }))
        .route("/console/sign-in", get(sign_in::show))
        .route("/console/sign-in/options", post(sign_in::options))
        .route("/console/sign-in/passkey", post(sign_in::by_passkey))
        .route("/console/sign-in/passphrase", post(sign_in::by_passphrase))
        .route("/console/sign-in/provider", post(provider::begin))
        .route("/console/sign-in/finish", get(provider::finish))
        .route("/console/sign-in/answer", post(sign_in::answer))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/passkeys", get(passkeys::show))
        .route("/console/passkeys/options", post(passkeys::options))
        .route("/console/passkeys/enrol", post(passkeys::enrol))
        .route("/console/passkeys/remove", post(passkeys::remove))
        .route("/console/console.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/console/passkey.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(registry.clone(), door::enter))
        // From another site: by a browser without its cookie, and by the provider itself.
        .route("/console/sign-in/callback", get(provider::callback))
        .route("/console/sign-in/back-channel", post(provider::back_channel).layer(DefaultBodyLimit::max(BODY_MAX)))
        .with_state(registry)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
