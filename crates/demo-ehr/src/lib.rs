//! A small in-memory FHIR R4 upstream with synthetic patients and fault modes, for demonstrations and tests.
//!
//! A demonstration upstream, not a FHIR server product: it holds generated people only, forgets everything when it
//! stops, and can be told to misbehave in many ways ([`Fault`]).
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let ehr = demo_ehr::DemoEhr::new(1, 50, 1_795_398_735_000);
//! let running = ehr.start(([127, 0, 0, 1], 0).into()).await?;
//! running.faults.on(demo_ehr::Fault::IgnoreParameter("patient".into()));
//! assert!(running.requests.all().is_empty());
//! # Ok(()) }
//! ```
//!
//! # Launching apps
//!
//! With a [`SmartClient`] it also acts as an EHR that launches apps (SMART App Launch 2.2): `GET /launch` is a page on which
//! a person picks a clinician, a patient, an encounter and an app; apps that start on their own meet a page of the same
//! kind at the authorization endpoint. It asks nobody for a password, being a demonstration, and is strict in all else.
//! [`Running::mint_launch`] and [`Running::launch_url`] do by program what the page does; [`Seen::bearer`] and
//! [`Running::app_token`] tell which token a request came with and what that was good for. With [`Auth::SmartLaunch`] the
//! FHIR base wants such a token, and lets one with `patient/` scopes see one patient only. The faults whose names begin
//! with `token-`, `id-token-`, `authorize-`, `refresh-` and `revocation-` make it misbehave.
//!
//! ```no_run
//! # async fn example(jwks: serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
//! let app = demo_ehr::SmartClient {
//!     client_id: "my-app".into(),
//!     keys: demo_ehr::ClientKeys::Jwks(jwks),
//!     redirect_uris: vec!["http://127.0.0.1:9000/callback".into()],
//!     launch_url: Some("http://127.0.0.1:9000/launch".into()),
//!     launch_urls: Vec::new(),
//! };
//! let ehr = demo_ehr::DemoEhr::new(1, 50, 1_795_398_735_000).auth(demo_ehr::Auth::SmartLaunch).smart_client(app);
//! let running = ehr.start(([127, 0, 0, 1], 0).into()).await?;
//! let context = demo_ehr::LaunchContext::new("prac-01", "pat-001");
//! let browser_goes_to = running.launch_url("my-app", context)?;
//! # Ok(()) }
//! ```

mod base64;
mod capability;
mod clock;
mod fault;
mod fixture;
mod generate;
mod random;
mod requests;
mod search;
mod serve;
mod shelf;
mod time;

use std::io;
use std::net::SocketAddr;

use serde_json::Value;

pub use clock::Clock;
pub use fault::{Fault, Faults, IdTokenFlaw, InvalidFault, Named, Place, named};
pub use fixture::fixture;
pub use requests::{Requests, Seen};
pub use search::UnknownParameters;
pub use serve::Running;
pub use serve::listing::PageLinks;
pub use serve::smart::{AppToken, ClientKeys, InvalidClient, LaunchContext, LaunchError, SmartClient, TokenState};
pub use serve::token::Auth;

/// Fewest patients a generated hospital has.
pub const PATIENTS_MIN: usize = 50;
/// Most patients a generated hospital has; each takes about 100 KB.
pub const PATIENTS_MAX: usize = 20_000;

/// An upstream that is set up but not yet listening.
#[derive(Clone, Debug)]
pub struct DemoEhr {
    shelf: shelf::Shelf,
    now: i64,
    auth: Auth,
    unknown: UnknownParameters,
    links: PageLinks,
    switchboard: Switchboard,
    smart: serve::smart::Setup,
}

/// Seconds an access token of an app lives, unless told otherwise: so few that clients must renew theirs.
const APP_TOKEN_SECONDS: u64 = 300;

/// Whether faults can be switched over HTTP.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Switchboard {
    /// By the handle alone.
    #[default]
    Inside,
    /// Also at `/faults`, beside the FHIR base: GET lists the names, PUT takes one `name` or `name=value` a line and
    /// switches all others off.
    Outside,
}

impl DemoEhr {
    /// A hospital with generated people. The same seed, number and `now` (milliseconds since 1970) always make the same.
    #[must_use]
    pub fn new(seed: u64, patients: usize, now: i64) -> Self {
        Self::filled(generate::hospital(seed, patients.clamp(PATIENTS_MIN, PATIENTS_MAX), now), now)
    }

    /// Exactly these resources. A resource that comes again (same type and id) is the next version of the first, and
    /// `{base}` in any text becomes this server's base URL. Ones without type or id are left out.
    #[must_use]
    pub fn from_resources(resources: Vec<Value>) -> Self {
        // 2026-01-01T00:00:00Z: for `meta.lastUpdated` of resources that state none.
        Self::filled(resources, 1_767_225_600_000)
    }

    fn filled(resources: Vec<Value>, now: i64) -> Self {
        let mut shelf = shelf::Shelf::default();
        for resource in resources {
            let _put = shelf.put(resource, now);
        }
        let (auth, unknown) = (Auth::default(), UnknownParameters::default());
        let (links, switchboard) = (PageLinks::default(), Switchboard::default());
        let (clients, clock) = (Vec::new(), Clock::system());
        let smart = serve::smart::Setup { clients, seconds: APP_TOKEN_SECONDS, clock };
        Self { shelf, now, auth, unknown, links, switchboard, smart }
    }

    /// Sets how callers are authenticated.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets what happens to search parameters it does not know.
    #[must_use]
    pub fn unknown_parameters(mut self, unknown: UnknownParameters) -> Self {
        self.unknown = unknown;
        self
    }

    /// Sets how `next` links look.
    #[must_use]
    pub fn page_links(mut self, links: PageLinks) -> Self {
        self.links = links;
        self
    }

    /// Sets whether faults can be switched over HTTP. Whoever reaches the listener can then: it is meant for loopback.
    #[must_use]
    pub fn switchboard(mut self, switchboard: Switchboard) -> Self {
        self.switchboard = switchboard;
        self
    }

    /// Registers an app; with the first one the launch side is there. Combine with [`Auth::SmartLaunch`].
    #[must_use]
    pub fn smart_client(mut self, client: SmartClient) -> Self {
        self.smart.clients.push(client);
        self
    }

    /// Sets the clock by which launches, codes, tokens and assertions end.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.smart.clock = clock;
        self
    }

    /// Marks an instance deleted: reads answer 410.
    #[must_use]
    pub fn deleted(mut self, kind: &str, id: &str) -> Self {
        self.shelf.delete(kind, id, self.now);
        self
    }

    /// How many resources it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The current resources of a type, in the order they were put.
    #[must_use]
    pub fn resources(&self, kind: &str) -> Vec<Value> {
        self.shelf.all(kind).map(|stored| (*stored.resource).clone()).collect()
    }

    /// Listens on `address` (port 0 takes a free one; meant for loopback) until the returned handle is dropped.
    ///
    /// # Errors
    /// When the address cannot be bound, or an app's registration is none ([`SmartClient::check`]).
    pub async fn start(self, address: SocketAddr) -> io::Result<Running> {
        serve::start(self, address).await
    }
}
