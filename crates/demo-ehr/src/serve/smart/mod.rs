//! The launch side: apps start here, as from an EHR, and get tokens that open one patient's records.
//!
//! A demonstration peer, so it asks people for no password; in all else it is as strict as the specifications let it be
//! (SMART App Launch 2.2, RFC 6749, 7009, 7523, 7636, 9207, 9700): a lax peer would hide the mistakes of its clients.

mod answer;
mod assertion;
mod authorize;
mod book;
mod client;
mod context;
mod discovery;
mod form;
mod jose;
mod launch;
pub(super) mod limit;
mod page;
mod scope;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::fault::{Fault, Faults};
use crate::requests::Seen;
use crate::serve::route::State;
use crate::serve::wire::Response;

use self::book::Book;

pub use book::{AppToken, TokenState};
pub use client::{ClientKeys, InvalidClient, SmartClient};
pub use context::{LaunchContext, LaunchError};

/// Where the style of the EHR is told; a change of its content would need another path.
const STYLE: &str = "/smart-style-1.json";

/// How the launch side is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) clients: Vec<SmartClient>,
    pub(crate) seconds: u64,
    pub(crate) clock: Clock,
}

/// The launch side of a running EHR.
pub(super) struct Smart {
    clients: BTreeMap<String, SmartClient>,
    /// Lifetime of an access token.
    seconds: i64,
    clock: Clock,
    book: Mutex<Book>,
    key: jose::IdKey,
    /// `http://127.0.0.1:40123`: the OpenID Connect issuer, which is not the FHIR base.
    issuer: String,
    /// Whether it also has SMART Backend Services.
    backend: bool,
}

impl Smart {
    /// Sets it up.
    ///
    /// # Errors
    /// A registration that is none, and a failing random source.
    pub(super) fn new(setup: Setup, issuer: String, backend: bool) -> io::Result<Self> {
        let mut clients = BTreeMap::new();
        for client in setup.clients {
            client.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
            if let Some(twice) = clients.insert(client.client_id.clone(), client) {
                let why = InvalidClient::Twice(twice.client_id);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        let key = jose::IdKey::generate().ok_or_else(|| io::Error::other("the random source failed"))?;
        let seconds = i64::try_from(setup.seconds).unwrap_or(i64::MAX);
        Ok(Self { clients, seconds, clock: setup.clock, book: Mutex::default(), key, issuer, backend })
    }

    /// The answer to a request for one of its paths; none for any other.
    pub(super) async fn answer(&self, seen: &Seen, state: &State, faults: &Faults) -> Option<Response> {
        let met = |place: &str| faults.meet_launch(place);
        match seen.path.as_str() {
            "/fhir/.well-known/smart-configuration" => Some(self.smart_configuration(seen, state, &met("discovery"))),
            "/.well-known/openid-configuration" => Some(self.openid_configuration(seen, state, &met("discovery"))),
            "/jwks" => Some(only_get(seen, answer::data(200, &self.key.jwks()))),
            STYLE => Some(only_get(seen, answer::data(200, &discovery::style()))),
            "/launch" => Some(self.launch_page(seen, state)),
            "/authorize" => Some(self.authorize(seen, state, &met("authorize"))),
            "/authorize/choose" => Some(self.choose(seen, state, &met("authorize"))),
            "/revoke" => Some(self.revoke(seen, &met("revoke")).await),
            "/token" if !self.is_for_backend(seen) => Some(self.token(seen, state, &met("token")).await),
            _ => None,
        }
    }

    /// Whether SMART Backend Services answers this token request.
    fn is_for_backend(&self, seen: &Seen) -> bool {
        let pairs = crate::search::pairs(&seen.body);
        self.backend && pairs.contains(&answer::pair("grant_type", "client_credentials"))
    }

    /// What a token that was sent is good for.
    pub(super) fn app_token(&self, token: &str) -> Option<AppToken> {
        self.book().token(token, self.clock.now())
    }

    /// The same, when it is good for anything.
    pub(super) fn live(&self, seen: &Seen) -> Option<AppToken> {
        self.app_token(seen.bearer()?).filter(|token| token.state == TokenState::Live)
    }

    /// Forgets every grant.
    pub(super) fn forget(&self) {
        self.book().forget();
    }

    /// Signs a person out.
    pub(super) fn sign_out(&self, practitioner: &str) {
        self.book().sign_out(practitioner);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn only_get(seen: &Seen, response: Response) -> Response {
    if matches!(seen.method.as_str(), "GET" | "HEAD") { response } else { answer::wrong_method("GET") }
}

/// Whether paths outside of the FHIR base belong to the launch side; their bodies are forms.
pub(super) fn is_form(path: &str) -> bool {
    ["/token", "/revoke", "/authorize", "/authorize/choose", "/launch"].contains(&path)
}

/// The value of the first fault of a kind.
fn told<'f, T>(faults: &'f [Fault], which: impl Fn(&'f Fault) -> Option<T>) -> Option<T> {
    faults.iter().find_map(which)
}
