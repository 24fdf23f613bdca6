//! What a browser carries for one tenant: one cookie that names the browser, so that a page made for it is answered by it, and one that
//! names the sign-in of its person. Both are random, and only their hashes are kept.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use super::Tenant;
use super::handles::{self, Fault};
use super::pages::Csrf;

/// Whether pages may be shown in a frame of another site, so that cookies must be, too (D-07).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Embedding {
    /// They are not.
    Own,
    /// They are.
    Framed,
}

/// The cookies of one request.
#[derive(Clone)]
pub(super) struct Browser {
    /// The browser's own name; one without it is given one with the next page.
    name: Option<String>,
    sign_in: Option<String>,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser([sealed])")
    }
}

impl Browser {
    /// Reads the cookies of this tenant. One that is sent twice is none: which of them is ours is not known.
    pub(super) fn read(tenant: &Tenant, headers: &HeaderMap) -> Self {
        let get = |what: &str| {
            let name = cookie_name(tenant, what);
            let pairs =
                headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
            let mut found = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(known, _)| *known == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) if handles::hash(value).is_some() => Some(value.to_owned()),
                _ => None,
            }
        };
        Self { name: get("browser"), sign_in: get("sign-in") }
    }

    /// The hash of the browser's name, if it has one.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        handles::hash(self.name.as_deref()?)
    }

    /// The hash of the sign-in, if it has one.
    pub(super) fn sign_in(&self) -> Option<[u8; 32]> {
        handles::hash(self.sign_in.as_deref()?)
    }

    /// The secret that a form for this browser, its person and this request carries. It is made of the cookies, which no other site can
    /// read; a form that was shown to one person is not answered by the next at the same workstation.
    pub(super) fn csrf(&self, about: &str) -> Option<Csrf> {
        self.secret(b"csrf\0", self.sign_in.as_deref().unwrap_or_default(), about)
    }

    /// The same for the form by which somebody signs in, who may have signed in elsewhere in this browser meanwhile.
    pub(super) fn sign_in_csrf(&self, about: &str) -> Option<Csrf> {
        self.secret(b"sign-in\0", "", about)
    }

    fn secret(&self, label: &[u8], sign_in: &str, about: &str) -> Option<Csrf> {
        let name = self.name.as_deref()?;
        let text = [label, name.as_bytes(), b"\0", sign_in.as_bytes(), b"\0", about.as_bytes()].concat();
        Csrf::of(&URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &text)))
    }

    /// Names the browser unless it has a name; the cookie to set, if any.
    pub(super) fn named(&mut self, tenant: &Tenant, embedding: Embedding) -> Result<Option<HeaderValue>, Fault> {
        if self.name.is_some() {
            return Ok(None);
        }
        let (name, _) = handles::fresh()?;
        let cookie = cookie(tenant, "browser", &name, embedding);
        self.name = Some(name);
        cookie.map(Some)
    }

    /// The cookie of a new sign-in. It is a new one each time, so that nobody can have planted it.
    pub(super) fn signed_in(
        &mut self,
        tenant: &Tenant,
        secret: &str,
        embedding: Embedding,
    ) -> Result<HeaderValue, Fault> {
        self.sign_in = Some(secret.to_owned());
        cookie(tenant, "sign-in", secret, embedding)
    }

    /// The cookie that takes the sign-in away.
    pub(super) fn signed_out(tenant: &Tenant) -> Result<HeaderValue, Fault> {
        let mut text = attributes(tenant, &format!("{}=", cookie_name(tenant, "sign-in")), Embedding::Own);
        text.push_str("; Max-Age=0");
        HeaderValue::from_str(&text).map_err(|_| Fault("a cookie cannot be written"))
    }
}

/// Adds a cookie to an answer.
pub(super) fn set(headers: &mut HeaderMap, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
}

fn is_secure(tenant: &Tenant) -> bool {
    tenant.endpoints.issuer.starts_with("https://")
}

/// Plaintext exists on loopback alone, and there a browser takes no `__Secure-` cookie.
fn cookie_name(tenant: &Tenant, what: &str) -> String {
    let prefix = if is_secure(tenant) { "__Secure-" } else { "" };
    format!("{prefix}hilum-{}-{what}", tenant.id)
}

fn cookie(tenant: &Tenant, what: &str, value: &str, embedding: Embedding) -> Result<HeaderValue, Fault> {
    let text = attributes(tenant, &format!("{}={value}", cookie_name(tenant, what)), embedding);
    HeaderValue::from_str(&text).map_err(|_| Fault("a cookie cannot be written"))
}

/// Below the tenant's own OAuth endpoints, out of reach of scripts, gone with the browser.
fn attributes(tenant: &Tenant, pair: &str, embedding: Embedding) -> String {
    let site = match (is_secure(tenant), embedding) {
        (true, Embedding::Framed) => "; Secure; SameSite=None; Partitioned",
        (true, Embedding::Own) => "; Secure; SameSite=Lax",
        (false, _) => "; SameSite=Lax",
    };
    format!("{pair}; Path=/{}/oauth; HttpOnly{site}", tenant.id)
}
