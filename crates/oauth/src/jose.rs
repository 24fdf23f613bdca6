//! JWS in compact form (RFC 7515), as little of it as Hilum needs and nothing that RFC 8725 warns of.
//!
//! Exactly three parts of base64url without padding or white space; unique members; `alg` from a short list; `crit`, `b64` and
//! JWE refused; keys named by the message itself (`jwk`, `x5c`, `x5u`) never looked at, but for the `jwk` of a DPoP proof.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json::read_object;

/// Longest compact JWS read: a scope string at its own limit (16 KiB) in base64url, and room for the other claims.
pub const COMPACT_BYTES_MAX: usize = 24 * 1024;
/// Longest string accepted as `kid`, `typ` or `jku`.
const HEADER_TEXT_MAX: usize = 2_048;

/// The signature algorithms Hilum verifies (RFC 7518 §3.1). `none` and every HMAC have no variant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// ECDSA P-256, SHA-256.
    Es256,
    /// ECDSA P-384, SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5, SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5, SHA-256: in ID tokens of others alone, where OpenID Connect makes it the one every provider has.
    Rs256,
    /// RSASSA-PSS, SHA-256.
    Ps256,
}

impl Algorithm {
    /// What clients may sign with, in the order they are advertised.
    pub const ALL: [Self; 4] = [Self::Es384, Self::Rs384, Self::Es256, Self::Ps256];
    /// What an identity provider may sign with (OpenID Connect Core §15.1 makes RS256 mandatory to implement there).
    pub const OF_ID_TOKENS: [Self; 5] = [Self::Rs256, Self::Es256, Self::Ps256, Self::Rs384, Self::Es384];

    /// As in `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs384 => "RS384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// Reads `alg` as clients may write it; names are case-sensitive.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::among(&Self::ALL, text)
    }

    fn among(allowed: &[Self], text: &str) -> Option<Self> {
        allowed.iter().copied().find(|algorithm| algorithm.as_str() == text)
    }
}

/// Their names, as metadata and challenges list them.
#[must_use]
pub fn algorithms() -> Vec<&'static str> {
    Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect()
}

/// Text that is no JWS this server accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidJws {
    /// Longer than [`COMPACT_BYTES_MAX`].
    #[error("the token is too long")]
    Size,
    /// Not three base64url parts without padding.
    #[error("the token is not three base64url parts")]
    Form,
    /// Header or payload is not one JSON object with unique members, or a header member has the wrong type.
    #[error("the token's JSON is malformed")]
    Json,
    /// `alg` is not one Hilum verifies.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// `crit` or `b64` is present.
    #[error("the token carries a critical header extension")]
    Critical,
}

/// The header members that may influence anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`.
    pub kid: Option<String>,
    /// `typ`.
    pub typ: Option<String>,
    /// `jku`; compared with the registration, never fetched.
    pub jku: Option<String>,
}

/// A parsed compact JWS whose signature nobody has checked yet.
#[derive(Clone)]
pub struct UnverifiedJws {
    /// Its header.
    pub header: Header,
    /// Its payload's members.
    pub claims: Map<String, Value>,
    signed: Box<str>,
    signature: Vec<u8>,
}

impl std::fmt::Debug for UnverifiedJws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnverifiedJws([sealed])")
    }
}

impl UnverifiedJws {
    /// Reads a compact JWS by an algorithm of [`Algorithm::ALL`].
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidJws> {
        Self::parse_signed_by(text, &Algorithm::ALL)
    }

    /// Reads a compact JWS by one of these algorithms.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse_signed_by(text: &str, allowed: &[Algorithm]) -> Result<Self, InvalidJws> {
        Self::parse_whole(text, allowed).map(|(jws, _)| jws)
    }

    /// Reads a compact JWS with all members of its header, for the one kind of message that names its own key: DPoP proofs.
    pub(crate) fn parse_with_header(text: &str) -> Result<(Self, Map<String, Value>), InvalidJws> {
        Self::parse_whole(text, &Algorithm::ALL)
    }

    fn parse_whole(text: &str, allowed: &[Algorithm]) -> Result<(Self, Map<String, Value>), InvalidJws> {
        if text.len() > COMPACT_BYTES_MAX {
            return Err(InvalidJws::Size);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidJws::Form);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(InvalidJws::Form);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidJws::Form);
        let (head, body, signature_bytes) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header_members = read_object(&head).map_err(|_| InvalidJws::Json)?;
        let header = read_header(&header_members, allowed)?;
        let claims = read_object(&body).map_err(|_| InvalidJws::Json)?;
        let signed = text.get(..text.len() - signature.len() - 1).ok_or(InvalidJws::Form)?;
        Ok((Self { header, claims, signed: signed.into(), signature: signature_bytes }, header_members))
    }

    /// The bytes the signature covers.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The signature, raw.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn read_header(members: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Header, InvalidJws> {
    // RFC 7515 §4.1.11 and RFC 7797: an extension we do not understand must refuse the token; we understand none.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(InvalidJws::Critical);
    }
    // `enc` marks a JWE, `cty: JWT` a nested token (RFC 7519 §5.2).
    if members.contains_key("enc") || members.contains_key("zip") || members.contains_key("cty") {
        return Err(InvalidJws::Form);
    }
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= HEADER_TEXT_MAX => Ok(Some(text.clone())),
        Some(_) => Err(InvalidJws::Json),
    };
    let algorithm =
        text("alg")?.as_deref().and_then(|name| Algorithm::among(allowed, name)).ok_or(InvalidJws::Algorithm)?;
    Ok(Header { algorithm, kid: text("kid")?, typ: text("typ")?, jku: text("jku")? })
}

/// Joins header and claims to the text that a signer signs.
#[must_use]
pub fn signing_input(header: &Value, claims: &Value) -> String {
    let mut out = URL_SAFE_NO_PAD.encode(header.to_string());
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut out);
    out
}

/// Appends the signature to what [`signing_input`] made.
#[must_use]
pub fn finish(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

/// A claim that must be a whole number of seconds written as an integer (`1e9`, `1.0` and `"1"` are none).
pub(crate) fn seconds(claims: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    match claims.get(name) {
        None => Some(None),
        Some(Value::Number(number)) => number.as_i64().map(Some),
        Some(_) => None,
    }
}

/// A claim that must be a non-empty string of at most `max` bytes.
pub(crate) fn text<'a>(claims: &'a Map<String, Value>, name: &str, max: usize) -> Option<&'a str> {
    match claims.get(name) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= max => Some(text),
        _ => None,
    }
}
