//! SMART Backend Services towards an upstream: one access token, fetched once per window however many calls need it (S0-06).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use domain::Millis;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::key_file::KeyFile;
use super::signer::KeyFileError;
use crate::clock::{Clock, random};
use crate::outbound::{Limits, Outbound};

/// Life assumed when the upstream names none (S0-16): short.
const LIFE_SECONDS_DEFAULT: i64 = 60;
/// Longest life believed (S0-16).
const LIFE_SECONDS_MAX: i64 = 3_600;
/// Longest upstream token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// A failed fetch is not tried again for this long, so that a dead token endpoint is not hammered by every request.
const RETRY_MILLIS: Millis = 1_000;
/// What one token request may cost.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), body_bytes_max: 64 * 1024 };

/// No upstream token can be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoToken;

/// An upstream access token as a ready header.
pub(super) struct Token {
    header: HeaderValue,
    refresh_at: Millis,
    expires_at: Millis,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token([sealed])")
    }
}

impl Token {
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// One connection's credentials and its current token.
pub(super) struct Backend {
    client_id: String,
    key: KeyFile,
    token_url: String,
    scope: String,
    outbound: Outbound,
    clock: Clock,
    current: ArcSwapOption<Token>,
    /// Held while a token is fetched (single flight); the time is that of the last failure.
    fetching: tokio::sync::Mutex<Option<Millis>>,
}

impl Backend {
    pub(super) fn open(
        client_id: &str,
        key: &std::path::Path,
        token_url: &str,
        scope: &str,
        outbound: Outbound,
        clock: Clock,
    ) -> Result<Self, KeyFileError> {
        Ok(Self {
            client_id: client_id.to_owned(),
            key: KeyFile::open(key, clock.clone())?,
            token_url: token_url.to_owned(),
            scope: scope.to_owned(),
            outbound,
            clock,
            current: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::new(None),
        })
    }

    pub(super) fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Our public keys: the current one, and those whose assertions may still be under way.
    pub(super) fn public_keys(&self) -> Vec<Value> {
        self.key.public_keys()
    }

    /// A token that lives. Ahead of expiry one task renews it while everyone else goes on with the old one.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Arc<Token>, NoToken> {
        let now = self.clock.now();
        if let Some(token) = self.current.load_full() {
            if now < token.refresh_at {
                return Ok(token);
            }
            if now < token.expires_at {
                if self.fetching.try_lock().is_ok() {
                    let (backend, stale) = (Arc::clone(self), Arc::clone(&token));
                    tokio::spawn(async move { backend.renew(Some(&stale)).await });
                }
                return Ok(token);
            }
            return self.renew(Some(&token)).await;
        }
        self.renew(None).await
    }

    /// A token other than `stale`; waits for a fetch under way instead of starting a second one.
    pub(super) async fn renew(&self, stale: Option<&Arc<Token>>) -> Result<Arc<Token>, NoToken> {
        let mut failed_at = self.fetching.lock().await;
        if let Some(current) = self.current.load_full()
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, &current))
        {
            return Ok(current);
        }
        let now = self.clock.now();
        if failed_at.is_some_and(|at| now.saturating_sub(at) < RETRY_MILLIS) {
            return Err(NoToken);
        }
        match self.fetch().await {
            Ok(token) => {
                let token = Arc::new(token);
                self.current.store(Some(Arc::clone(&token)));
                *failed_at = None;
                Ok(token)
            }
            Err(why) => {
                tracing::warn!(client = %self.client_id, %why, "no upstream token");
                *failed_at = Some(self.clock.now());
                Err(NoToken)
            }
        }
    }

    async fn fetch(&self) -> Result<Token, &'static str> {
        let body = self.request_body().ok_or("the assertion cannot be signed")?;
        let request = Request::post(&self.token_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "the token url is not acceptable")?;
        let asked_at = self.clock.now();
        let answer = self.outbound.call(request, LIMITS).await.map_err(|_| "the token endpoint did not answer")?;
        if answer.status != http::StatusCode::OK {
            return Err("the token endpoint refused");
        }
        read_token(&answer.body, asked_at).ok_or("the token endpoint's answer is no bearer token")
    }

    fn request_body(&self) -> Option<String> {
        let assertion = self.key.assertion(&self.client_id, &self.token_url)?;
        let scope = utf8_percent_encode(&self.scope, NON_ALPHANUMERIC);
        let kind = utf8_percent_encode(oauth::assertion::ASSERTION_TYPE, NON_ALPHANUMERIC);
        Some(format!(
            "grant_type=client_credentials&scope={scope}&client_assertion_type={kind}&client_assertion={assertion}"
        ))
    }
}

fn read_token(body: &[u8], asked_at: Millis) -> Option<Token> {
    let members = oauth::json::read_object(body).ok()?;
    let kind = members.get("token_type")?.as_str()?;
    let token = members.get("access_token")?.as_str()?;
    // RFC 6750 §2.1: the b68token alphabet; anything else could break out of the header.
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if !kind.eq_ignore_ascii_case("bearer")
        || !(1..=TOKEN_BYTES_MAX).contains(&token.len())
        || !token.bytes().all(plain)
    {
        return None;
    }
    let life = match members.get("expires_in") {
        None | Some(Value::Null) => LIFE_SECONDS_DEFAULT,
        // Some servers write it as a string; the meaning is plain.
        Some(Value::String(text)) => text.parse().ok()?,
        Some(number) => number.as_i64()?,
    };
    if life <= 0 {
        return None;
    }
    let life = life.min(LIFE_SECONDS_MAX) * 1_000;
    // Renewed at 75 to 85 % of its life: many nodes with one key do not all ask at the same moment.
    let jitter = i64::from(random::<1>().map_or(0, |[byte]| byte)) * life / 2_560;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(Token { header, refresh_at: asked_at + life * 3 / 4 + jitter, expires_at: asked_at + life * 19 / 20 })
}

/// Where the token goes.
pub(super) const HEADER: http::HeaderName = AUTHORIZATION;

#[test]
fn s0_16_upstream_lives_are_honoured_within_bounds() {
    for (expires_in, life) in [
        (r#","expires_in":60"#, Some(60)),
        (r#","expires_in":300"#, Some(300)),
        (r#","expires_in":3600"#, Some(3_600)),
        (r#","expires_in":86400"#, Some(3_600)),
        (r#","expires_in":"300""#, Some(300)),
        ("", Some(60)),
        (r#","expires_in":0"#, None),
        (r#","expires_in":-5"#, None),
        (r#","expires_in":[]"#, None),
    ] {
        let body = format!(r#"{{"access_token":"abc","token_type":"bearer"{expires_in}}}"#);
        let token = read_token(body.as_bytes(), 1_000_000);
        assert_eq!(token.as_ref().map(|token| (token.expires_at - 1_000_000) / 950), life, "{expires_in}");
        if let Some(token) = token {
            assert!(token.refresh_at < token.expires_at, "{expires_in}");
            assert_eq!(format!("{token:?}"), "Token([sealed])");
            assert!(token.header().is_sensitive());
        }
    }
    for bad in [
        r#"{"access_token":"a b","token_type":"bearer"}"#,
        r#"{"access_token":"abc","token_type":"mac"}"#,
        r#"{"access_token":"abc"}"#,
        r#"{"access_token":"abc","access_token":"abd","token_type":"bearer"}"#,
        "<html>",
    ] {
        assert!(read_token(bad.as_bytes(), 0).is_none(), "{bad}");
    }
}
