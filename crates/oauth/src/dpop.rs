//! DPoP proofs (RFC 9449): a JWT signed by the key it names, for one request, by one who holds a token or asks for one.
//!
//! What is checked here is the proof itself. Whether its nonce is one of this node's and whether its `jti` was seen before is for
//! whoever keeps nonces and memory; whether its key is that of a token, a code or a refresh token for whoever holds those.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Millis;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::jose::{InvalidJws, UnverifiedJws, seconds, text};
use crate::jwk::{InvalidKeySet, PublicKey};

/// Longest proof read: RS384 with a key of 4096 bits needs 2.5 KiB beside its `htu`.
pub const PROOF_BYTES_MAX: usize = 8 * 1024;
/// Furthest `iat` behind or ahead of now.
pub const WINDOW_SECONDS: i64 = 60;
/// Longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;
/// Longest `htm`; the longest registered method has 17.
const METHOD_BYTES_MAX: usize = 32;
/// Longest `nonce` and `ath`.
const NAME_BYTES_MAX: usize = 1_024;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidProof {
    /// Longer than [`PROOF_BYTES_MAX`].
    #[error("the proof is too long")]
    Size,
    /// The JWT itself; `none` and HMAC are no algorithms here.
    #[error(transparent)]
    Jws(#[from] InvalidJws),
    /// `typ` is not `dpop+jwt`.
    #[error("`typ` is not dpop+jwt")]
    Type,
    /// `jwk` is missing or no public key that fits the algorithm.
    #[error("`jwk` is not one public key that fits the algorithm")]
    Key,
    /// `jwk` holds private or symmetric key material: whoever sent it has given it away.
    #[error("`jwk` holds private or symmetric key material")]
    Private,
    /// `jti` is missing, empty or too long.
    #[error("`jti` is missing or too long")]
    Jti,
    /// `htm` is not the request's method.
    #[error("`htm` is not the method of the request")]
    Method,
    /// `htu` is not the request's URL.
    #[error("`htu` is not the URL of the request")]
    Url,
    /// `iat` is missing, no integer, or more than 60 seconds away; or `exp` or `nbf` do not hold.
    #[error("`iat` is missing or more than 60 seconds away from the server's time")]
    Time,
    /// `ath` is missing or not the hash of the access token.
    #[error("`ath` is not the hash of the access token")]
    AccessToken,
    /// `nonce` is no text.
    #[error("`nonce` is malformed")]
    Nonce,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
}

/// A well-formed proof that proves nothing yet.
#[derive(Debug)]
pub struct UnverifiedProof {
    jws: UnverifiedJws,
    key: PublicKey,
    jti: String,
    method: String,
    /// `htu`, normalised.
    url: String,
    issued: i64,
    nonce: Option<String>,
}

/// The request a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its method, as sent.
    pub method: &'a str,
    /// Its public URL; never built from request headers (PF-14). A query is of no account.
    pub url: &'a str,
    /// The access token sent with it, at a resource server; there the proof must carry its hash.
    pub access_token: Option<&'a str>,
}

/// Whoever sent the request holds the private key to `thumbprint`, if `nonce` is a good one and `jti` is new.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedProof {
    /// RFC 7638 thumbprint of its key (SHA-256): what `cnf.jkt` and `dpop_jkt` say in base64url.
    pub thumbprint: [u8; 32],
    /// `jti`.
    pub jti: String,
    /// `htu`, normalised.
    pub url: String,
    /// `nonce`.
    pub nonce: Option<String>,
    /// When it may be forgotten, in milliseconds: from then on its `iat` refuses it.
    pub forget_at: Millis,
}

/// Reads a proof.
///
/// # Errors
/// The rule it breaks.
pub fn read(proof: &str) -> Result<UnverifiedProof, InvalidProof> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(InvalidProof::Size);
    }
    let (jws, header) = UnverifiedJws::parse_with_header(proof)?;
    // RFC 8725 §3.11: another token of ours or of the client's is no proof.
    if jws.header.typ.as_deref() != Some("dpop+jwt") {
        return Err(InvalidProof::Type);
    }
    let Some(Value::Object(jwk)) = header.get("jwk") else { return Err(InvalidProof::Key) };
    let key = PublicKey::alone(jwk).map_err(|why| match why {
        InvalidKeySet::Private => InvalidProof::Private,
        _ => InvalidProof::Key,
    })?;
    if !key.fits(jws.header.algorithm) {
        return Err(InvalidProof::Key);
    }
    let jti = text(&jws.claims, "jti", JTI_BYTES_MAX).ok_or(InvalidProof::Jti)?.to_owned();
    let method = text(&jws.claims, "htm", METHOD_BYTES_MAX).ok_or(InvalidProof::Method)?.to_owned();
    let url = text(&jws.claims, "htu", PROOF_BYTES_MAX).and_then(normal).ok_or(InvalidProof::Url)?;
    let issued = seconds(&jws.claims, "iat").flatten().ok_or(InvalidProof::Time)?;
    let nonce = match jws.claims.get("nonce") {
        None => None,
        Some(_) => Some(text(&jws.claims, "nonce", NAME_BYTES_MAX).ok_or(InvalidProof::Nonce)?.to_owned()),
    };
    Ok(UnverifiedProof { jws, key, jti, method, url, issued, nonce })
}

impl UnverifiedProof {
    /// Checks the proof against the request it came with. What is still to be checked is said at [`VerifiedProof`].
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn verify(self, expected: &Expected<'_>, now: Millis) -> Result<VerifiedProof, InvalidProof> {
        if self.method != expected.method {
            return Err(InvalidProof::Method);
        }
        if normal(expected.url).as_deref() != Some(self.url.as_str()) {
            return Err(InvalidProof::Url);
        }
        self.in_time(now.div_euclid(1_000))?;
        if let Some(token) = expected.access_token {
            let hash = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()));
            let said = text(&self.jws.claims, "ath", NAME_BYTES_MAX).ok_or(InvalidProof::AccessToken)?;
            if !bool::from(said.as_bytes().ct_eq(hash.as_bytes())) {
                return Err(InvalidProof::AccessToken);
            }
        }
        if !self.key.verify(self.jws.header.algorithm, self.jws.signed(), self.jws.signature()) {
            return Err(InvalidProof::Signature);
        }
        let forget_at = (self.issued + WINDOW_SECONDS + 1) * 1_000;
        let (thumbprint, Self { jti, url, nonce, .. }) = (self.key.thumbprint(), self);
        Ok(VerifiedProof { thumbprint, jti, url, nonce, forget_at })
    }

    /// `iat` is near `now`; `exp` and `nbf` are not asked for, and hold where they are there (RFC 7519 §4.1).
    fn in_time(&self, now: i64) -> Result<(), InvalidProof> {
        let near = now.checked_sub(self.issued).is_some_and(|age| (-WINDOW_SECONDS..=WINDOW_SECONDS).contains(&age));
        let claim = |name: &str| seconds(&self.jws.claims, name).ok_or(InvalidProof::Time);
        let (expires, starts) = (claim("exp")?, claim("nbf")?);
        let holds = expires.is_none_or(|expires| now < expires.saturating_add(WINDOW_SECONDS))
            && starts.is_none_or(|starts| starts.saturating_sub(WINDOW_SECONDS) <= now);
        if near && holds { Ok(()) } else { Err(InvalidProof::Time) }
    }
}

/// Reads `dpop_jkt` (RFC 9449 §10): a thumbprint in base64url, and nothing else that decodes to one.
#[must_use]
pub fn read_thumbprint(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// An absolute http(s) URL without query and fragment, in the one form that RFC 3986 §6.2.2 and §6.2.3 have for it. Dot segments
/// stay: no path here has any, so what has them is another URL.
fn normal(url: &str) -> Option<String> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next()?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at)?;
    // An IPv6 address has colons of its own, within brackets.
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority.get(host_end..)?.find(':') {
        Some(colon) => (authority.get(..host_end + colon)?, authority.get(host_end + colon + 1..)?),
        None => (authority, ""),
    };
    if host.is_empty() || host.contains('@') {
        return None;
    }
    let mut out = format!("{scheme}://{}", host.to_ascii_lowercase());
    if !port.is_empty() {
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port: u16 = port.parse().ok()?;
        if port != default {
            out.push_str(&format!(":{port}"));
        }
    }
    if path.is_empty() {
        out.push('/');
    }
    normal_path(path, &mut out)?;
    Some(out)
}

/// Appends `path` with its escapes in upper case, and those of unreserved characters undone.
fn normal_path(path: &str, out: &mut String) -> Option<()> {
    let mut parts = path.split('%');
    out.push_str(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        match u8::from_str_radix(digits, 16).ok()? {
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        out.push_str(rest);
    }
    Some(())
}

#[test]
fn neg_221_a_url_has_one_form() {
    let base = normal("https://gate.example/mercy/oauth/token");
    for same in [
        "https://gate.example/mercy/oauth/token?a=b",
        "https://gate.example/mercy/oauth/token#f",
        "https://gate.example:443/mercy/oauth/token",
        "https://gate.example:/mercy/oauth/token",
        "HTTPS://Gate.Example/mercy/oauth/token",
        "https://gate.example/mercy/%6fauth/token",
    ] {
        assert_eq!(normal(same), base, "`{same}`");
    }
    for other in [
        "https://gate.example/mercy/oauth/token/",
        "https://gate.example/Mercy/oauth/token",
        "https://gate.example:444/mercy/oauth/token",
        "https://gate.example:80/mercy/oauth/token",
        "http://gate.example/mercy/oauth/token",
        "https://gate.example/mercy/x/../oauth/token",
        "https://gate.example/mercy%2Foauth/token",
        "https://gate.example.evil/mercy/oauth/token",
        "https://gate.example@evil/mercy/oauth/token",
    ] {
        assert_ne!(normal(other), base, "`{other}`");
    }
    assert_eq!(normal("https://gate.example"), normal("https://gate.example/?x"));
    assert_eq!(normal("http://[::1]:80/a%2f").as_deref(), Some("http://[::1]/a%2F"));
    for none in [
        "",
        "/mercy",
        "gate.example/x",
        "ftp://gate.example/",
        "https:///x",
        "https://a:x/",
        "https://a:99999/",
        "https://a/%",
        "https://a/%g0",
        "https://a/%+1",
        "https://a/ b",
        "https://a/\u{e9}",
    ] {
        assert_eq!(normal(none), None, "`{none}`");
    }
}
