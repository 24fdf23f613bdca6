//! Sign-in of people at an identity provider: Hilum as an OpenID Connect relying party (authorization code, PKCE, nonce).
//!
//! Nothing here keeps a session: a sign-in begins with [`Pending`], which its caller keeps sealed and bound to one browser, and
//! ends in [`SignedIn`] or a refusal. The provider's access token is never used and never kept.

mod claims;
mod client_auth;
mod discovery;
mod error;
mod pending;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Millis;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use oauth::form::Form;
use oauth::{Algorithm, KeySet, id_token, logout_token};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use self::client_auth::ClientCredential;
use self::discovery::{Discovery, Document};
use crate::broker::ClientKeys;
use crate::clock::{Clock, random_text};
use crate::outbound::{Limits, Outbound};
use crate::settings::{OidcAuth, OidcSettings};

pub use self::claims::{FhirUser, RolesRefused, SignedIn};
pub use self::discovery::DiscoveryProblem;
pub use self::error::{BackChannelError, OpenIdentityError, SignInError};
pub use self::pending::{Begun, Pending, Prompt, Sealed, Wish};

/// What one token request may cost. An ID token with its claims is at most 24 KiB, and two others come with it.
const TOKEN_LIMITS: Limits = Limits { timeout: Duration::from_secs(10), body_bytes_max: 128 * 1024 };
/// A person has this long at the identity provider: a password, a second factor, perhaps a walk to fetch a key.
const PENDING_MILLIS_MAX: Millis = 600_000;
/// Longest query that comes back.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Longest `login_hint` that is passed on.
const HINT_BYTES_MAX: usize = 256;
/// Logout tokens remembered so that each is honoured once; they live five minutes.
const LOGOUTS_MAX: usize = 16_384;
/// RFC 3986 "unreserved" stays as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One identity provider, as one tenant's people (or the installation's) sign in there.
pub struct IdentityProvider {
    settings: OidcSettings,
    credential: ClientCredential,
    discovery: Discovery,
    keys: ClientKeys,
    outbound: Outbound,
    clock: Clock,
    /// FHIR bases below which an absolute `fhirUser` is one of ours.
    bases: Vec<String>,
    logouts: Mutex<HashMap<String, Millis>>,
}

impl std::fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityProvider({})", self.settings.issuer)
    }
}

/// Whose sign-ins end because the provider says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndOf {
    /// The person, if named.
    pub subject: Option<String>,
    /// The one session at the provider, if named.
    pub sid: Option<String>,
    /// The token's own name, for [`IdentityProvider::not_honoured`].
    pub jti: String,
}

impl IdentityProvider {
    /// A provider by its settings. Nothing is asked of the network until somebody signs in.
    ///
    /// # Errors
    /// [`OpenIdentityError`] when the issuer is no URL that Hilum calls or our credential cannot be read.
    pub fn open(settings: &OidcSettings, outbound: Outbound, clock: Clock) -> Result<Self, OpenIdentityError> {
        if !discovery::acceptable(&settings.issuer) || settings.issuer.contains('?') {
            return Err(OpenIdentityError::Issuer(settings.issuer.clone()));
        }
        let credential = ClientCredential::open(&settings.auth, clock.clone())?;
        Ok(Self {
            settings: settings.clone(),
            credential,
            discovery: Discovery::new(&settings.issuer, outbound.clone(), clock.clone()),
            keys: ClientKeys::new(outbound.clone(), clock.clone()),
            outbound,
            clock,
            bases: Vec::new(),
            logouts: Mutex::default(),
        })
    }

    /// The same provider, whose people may be named by absolute URLs below this FHIR base.
    #[must_use]
    pub fn below(mut self, base: &str) -> Self {
        self.bases.push(base.trim_end_matches('/').to_owned());
        self
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Our public keys there; empty where we authenticate by a secret.
    #[must_use]
    pub fn public_keys(&self) -> Vec<Value> {
        self.credential.public_keys()
    }

    /// Begins a sign-in: where to send the browser, and what must be kept for its return.
    ///
    /// # Errors
    /// [`SignInError`] when the provider cannot be reached or does not fit.
    pub async fn begin(&self, redirect_uri: &str, wish: Wish) -> Result<Begun, SignInError> {
        let document = self.discovery.get().await?;
        let fresh = || random_text().map_err(|_| SignInError::Random);
        // Whoever must prove anew who they are is only believed by an `auth_time` after the question, which `max_age` brings along.
        let max_age = if wish.prompt == Some(Prompt::Login) { Some(0) } else { wish.max_age };
        let pending = Pending {
            issuer: self.settings.issuer.clone(),
            state: fresh()?,
            nonce: fresh()?,
            verifier: fresh()?,
            redirect_uri: redirect_uri.to_owned(),
            began_at: self.clock.now(),
            max_age,
        };
        let mut scope = "openid".to_owned();
        for name in self.settings.scopes.iter().filter(|name| *name != "openid") {
            scope.push(' ');
            scope.push_str(name);
        }
        let challenge = oauth::pkce::challenge(&pending.verifier);
        let age = max_age.map(|age| age.to_string());
        let acr = self.settings.acr.join(" ");
        let hint = wish.login_hint.filter(|hint| !hint.is_empty() && hint.len() <= HINT_BYTES_MAX);
        let parameters = [
            ("response_type", Some("code")),
            ("client_id", Some(self.settings.client_id.as_str())),
            ("redirect_uri", Some(redirect_uri)),
            ("scope", Some(scope.as_str())),
            ("state", Some(pending.state.as_str())),
            ("nonce", Some(pending.nonce.as_str())),
            ("code_challenge", Some(challenge.as_str())),
            ("code_challenge_method", Some("S256")),
            ("prompt", wish.prompt.map(Prompt::as_str)),
            ("max_age", age.as_deref()),
            ("acr_values", Some(acr.as_str()).filter(|acr| !acr.is_empty())),
            ("login_hint", hint.as_deref()),
        ];
        Ok(Begun { url: with_query(&document.authorization_endpoint, &parameters), pending })
    }

    /// Ends a sign-in with the query that the browser brought back. `pending` must have been taken out of where it was kept, so that it
    /// is used once.
    ///
    /// # Errors
    /// [`SignInError`]: why this person is not signed in.
    pub async fn finish(
        &self,
        pending: &Pending,
        query: &str,
        redirect_uri: &str,
        now: Millis,
    ) -> Result<SignedIn, SignInError> {
        let age = now.saturating_sub(pending.began_at);
        if !(0..=PENDING_MILLIS_MAX).contains(&age) {
            return Err(SignInError::Expired);
        }
        if pending.redirect_uri != redirect_uri || pending.issuer != self.settings.issuer {
            return Err(SignInError::State);
        }
        if query.len() > QUERY_BYTES_MAX {
            return Err(SignInError::Query);
        }
        let form = Form::read(query.as_bytes()).map_err(|_| SignInError::Query)?;
        let state = form.get("state").ok_or(SignInError::State)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(state.as_bytes(), pending.state.as_bytes())) {
            return Err(SignInError::State);
        }
        let document = self.discovery.get().await?;
        match form.get("iss") {
            Some(issuer) if issuer == self.settings.issuer => {}
            // RFC 9207 §2.4: missing where it is announced is as wrong as another's.
            None if !document.sends_issuer => {}
            _ => return Err(SignInError::Mixed),
        }
        if let Some(code) = form.get("error") {
            return Err(SignInError::answered(code));
        }
        let code = form.get("code").ok_or(SignInError::Query)?;
        let token = self.redeem(&document, code, pending).await?;
        self.judge(&document, &token, pending, now).await
    }

    /// The URL that signs the person out at the provider as well (OpenID Connect RP-Initiated Logout); `None` where it offers none.
    pub async fn logout_url(
        &self,
        id_token_hint: &Sealed,
        post_logout_redirect_uri: &str,
        state: &str,
    ) -> Option<String> {
        let document = self.discovery.get().await.ok()?;
        let endpoint = document.end_session_endpoint.as_deref()?;
        let parameters = [
            ("id_token_hint", Some(id_token_hint.expose())),
            ("client_id", Some(self.settings.client_id.as_str())),
            ("post_logout_redirect_uri", Some(post_logout_redirect_uri)),
            ("state", Some(state).filter(|state| !state.is_empty())),
        ];
        Some(with_query(endpoint, &parameters))
    }

    /// Judges a logout token that the provider has posted (OpenID Connect Back-Channel Logout). Each is honoured once.
    ///
    /// # Errors
    /// [`BackChannelError`].
    pub async fn back_channel(&self, token: &str) -> Result<EndOf, BackChannelError> {
        let unverified = logout_token::read(token)?;
        let document = self.discovery.get().await.map_err(|_| BackChannelError::Unreachable)?;
        let keys = self.keys(&document, unverified.kid(), unverified.algorithm()).await;
        let keys = keys.ok_or(BackChannelError::Unreachable)?;
        let now = self.clock.now();
        let logout = unverified.verify(&self.settings.issuer, &self.settings.client_id, &keys, now)?;
        let mut logouts = self.logouts.lock();
        logouts.retain(|_, forget_at| *forget_at > now);
        if logouts.len() >= LOGOUTS_MAX {
            return Err(BackChannelError::Busy);
        }
        if logouts.insert(logout.jti.clone(), logout.forget_at).is_some() {
            return Err(BackChannelError::Replayed);
        }
        Ok(EndOf { subject: logout.subject, sid: logout.sid, jti: logout.jti })
    }

    /// What a logout token asks for could not be done: the provider may send it again.
    pub fn not_honoured(&self, end: &EndOf) {
        self.logouts.lock().remove(&end.jti);
    }

    /// Whether the provider answers and offers what Hilum needs; for `hilum check`.
    ///
    /// # Errors
    /// [`SignInError`] when it cannot be reached or is another's; otherwise what will not work, if anything.
    pub async fn check(&self) -> Result<Vec<DiscoveryProblem>, SignInError> {
        let document = self.discovery.get().await?;
        let method = match self.settings.auth {
            OidcAuth::Key { .. } => "private_key_jwt",
            OidcAuth::Secret(_) => "client_secret_basic",
        };
        Ok(document.problems(method))
    }

    async fn redeem(&self, document: &Document, code: &str, pending: &Pending) -> Result<String, SignInError> {
        let encoded = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        let mut body = format!(
            "grant_type=authorization_code&code={}&redirect_uri={}&code_verifier={}",
            encoded(code),
            encoded(&pending.redirect_uri),
            encoded(&pending.verifier)
        );
        let mut request = Request::post(&document.token_endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        let proof = self.credential.prove(&self.settings, &document.token_endpoint, self.clock.now());
        match proof.ok_or(SignInError::Credential)? {
            client_auth::Proof::Assertion(parameters) => body.push_str(&parameters),
            client_auth::Proof::Basic(mut header) => {
                HeaderValue::set_sensitive(&mut header, true);
                request = request.header(AUTHORIZATION, header);
            }
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| SignInError::Unreachable)?;
        let answer = self.outbound.call(request, TOKEN_LIMITS).await.map_err(|_| SignInError::Unreachable)?;
        if answer.status != StatusCode::OK {
            return Err(SignInError::Code);
        }
        let members = oauth::json::read_object(&answer.body).map_err(|_| SignInError::Answer)?;
        let token = members.get("id_token").and_then(Value::as_str).ok_or(SignInError::Answer)?;
        Ok(token.to_owned())
    }

    async fn judge(
        &self,
        document: &Document,
        token: &str,
        pending: &Pending,
        now: Millis,
    ) -> Result<SignedIn, SignInError> {
        let unverified = id_token::read(token)?;
        let keys = self.keys(document, unverified.kid(), unverified.algorithm()).await;
        let keys = keys.ok_or(SignInError::Unreachable)?;
        let since =
            |age: u64| pending.began_at.div_euclid(1_000).saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        let expected = id_token::Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &pending.nonce,
            keys: &keys,
            authenticated_since: pending.max_age.map(since),
            acr: &self.settings.acr,
            amr: &self.settings.amr,
        };
        let verified = unverified.verify(&expected, now)?;
        claims::read(&self.settings, &self.bases, verified, token)
    }

    /// The provider's keys, fetched once more for an unknown `kid` and otherwise no oftener than their `Cache-Control` asks.
    async fn keys(&self, document: &Document, kid: &str, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        self.keys.get_vetted(&document.jwks_uri, kid, algorithm).await
    }
}

/// The URL with these parameters; one that has a query of its own keeps it (AZ-19).
fn with_query(url: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut out = url.to_owned();
    let mut mark = if url.contains('?') { '&' } else { '?' };
    for (name, value) in parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        out.push(mark);
        out.push_str(name);
        out.push('=');
        out.extend(utf8_percent_encode(value, QUERY));
        mark = '&';
    }
    out
}

#[test]
fn az_19_a_query_is_kept() {
    let parameters = [("a", Some("x y&=")), ("b", None), ("c", Some("ä"))];
    assert_eq!(with_query("https://idp.example/auth", &parameters), "https://idp.example/auth?a=x%20y%26%3D&c=%C3%A4");
    assert_eq!(
        with_query("https://idp.example/auth?p=1", &parameters),
        "https://idp.example/auth?p=1&a=x%20y%26%3D&c=%C3%A4"
    );
}
