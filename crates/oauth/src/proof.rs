//! What a request offers as proof of who sends it: exactly one method (RFC 6749 §2.3, TK-11), read and not yet judged.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::assertion::ASSERTION_TYPE;
use crate::error::{ErrorCode, OAuthError};
use crate::form::{Form, decoded};

/// Longest credentials of HTTP Basic read: a client id and a secret of 256 bits in any encoding fit several times.
const BASIC_BYTES_MAX: usize = 4 * 1024;

/// What a request offers. A certificate is not among it: that is the connection's, and whether it counts is the registration's matter.
#[derive(Clone)]
pub enum ClientProof {
    /// An assertion (RFC 7523 §2.2).
    Assertion {
        /// The `client_id` parameter, which must agree with the assertion when present.
        client_id: Option<String>,
        /// `client_assertion`.
        assertion: String,
    },
    /// A secret by HTTP Basic (RFC 6749 §2.3.1). Credentials that cannot be read are kept as such that fit no client: whoever tried
    /// this way is answered with 401 and its challenge (§5.2).
    Secret {
        /// The client's name; empty when unreadable.
        client_id: String,
        /// SHA-256 of the secret, in each of the readings there are (D-08: form-decoded, then raw).
        sha256: Vec<[u8; 32]>,
    },
    /// A name alone: a public client, or one whose certificate speaks for it (RFC 8705 §2).
    Named {
        /// The `client_id` parameter.
        client_id: String,
    },
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion { .. } => "Assertion([sealed])",
            Self::Secret { .. } => "Secret([sealed])",
            Self::Named { .. } => "Named([sealed])",
        })
    }
}

impl ClientProof {
    /// Whether HTTP Basic was tried, so that a refusal must carry its challenge (RFC 6749 §5.2, NEG-070).
    #[must_use]
    pub fn by_basic(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }
}

/// The parts of a request that can prove something, from wherever they were sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Offered<'a> {
    /// The one `Authorization` header.
    pub(crate) authorization: Option<&'a str>,
    /// `client_assertion_type`.
    pub(crate) kind: Option<&'a str>,
    /// `client_assertion`.
    pub(crate) assertion: Option<&'a str>,
    /// `client_secret`, which is never accepted there (CA-12).
    pub(crate) secret: Option<&'a str>,
    /// The client's own name in the body.
    pub(crate) client_id: Option<&'a str>,
}

/// The proof in a form and its `Authorization` header.
///
/// # Errors
/// `invalid_request` for two methods, `invalid_client` for none or half of one.
pub(crate) fn form_proof(form: &Form, authorization: Option<&str>) -> Result<ClientProof, OAuthError> {
    read_proof(Offered {
        authorization,
        kind: form.get("client_assertion_type"),
        assertion: form.get("client_assertion"),
        secret: form.get("client_secret"),
        client_id: form.get("client_id"),
    })
}

/// The one proof among what is offered.
///
/// # Errors
/// `invalid_request` for two methods, `invalid_client` for none or half of one.
pub(crate) fn read_proof(offered: Offered<'_>) -> Result<ClientProof, OAuthError> {
    let by_assertion = offered.kind.is_some() || offered.assertion.is_some();
    let methods = [by_assertion, offered.authorization.is_some(), offered.secret.is_some()];
    if methods.into_iter().filter(|method| *method).count() > 1 {
        let says = "authenticate by one method: an assertion, or a secret by HTTP Basic, or a client certificate";
        return Err(OAuthError::new(ErrorCode::InvalidRequest, says));
    }
    let missing = |says: String| Err(OAuthError::new(ErrorCode::InvalidClient, says));
    if offered.secret.is_some() {
        return missing("client_secret is not read from a body; a registered secret is sent by HTTP Basic".to_owned());
    }
    if let Some(header) = offered.authorization {
        return basic(header, offered.client_id);
    }
    match (offered.kind, offered.assertion, offered.client_id) {
        (Some(ASSERTION_TYPE), Some(assertion), client_id) => {
            Ok(ClientProof::Assertion { client_id: client_id.map(str::to_owned), assertion: assertion.to_owned() })
        }
        (None, None, Some(client_id)) => Ok(ClientProof::Named { client_id: client_id.to_owned() }),
        _ => missing(format!("send client_assertion together with client_assertion_type={ASSERTION_TYPE}")),
    }
}

/// Reads `Basic …`. A `client_id` in the body is allowed beside it, if it names the same client.
fn basic(header: &str, named: Option<&str>) -> Result<ClientProof, OAuthError> {
    let unreadable = ClientProof::Secret { client_id: String::new(), sha256: Vec::new() };
    let Some((client_id, sha256)) = credentials(header) else { return Ok(unreadable) };
    if named.is_some_and(|named| named != client_id) {
        let says = "client_id in the body is not the client that the Authorization header names";
        return Err(OAuthError::new(ErrorCode::InvalidRequest, says));
    }
    Ok(ClientProof::Secret { client_id, sha256 })
}

/// RFC 6749 §2.3.1 wants both halves form-encoded, many clients send them raw. A client id is of letters that mean the same both ways,
/// and a raw secret that happens to decode is tried as both.
fn credentials(header: &str) -> Option<(String, Vec<[u8; 32]>)> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("basic") || token.len() > BASIC_BYTES_MAX {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let readings = [decoded(secret).filter(|text| text != secret), Some(secret.to_owned())];
    let hash = |secret: String| digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().try_into().ok();
    let sha256 = readings.into_iter().flatten().filter(|secret| !secret.is_empty()).filter_map(hash).collect();
    Some((decoded(id).unwrap_or_else(|| id.to_owned()), sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn hash(secret: &str) -> [u8; 32] {
        digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().try_into().unwrap()
    }

    fn read(form: &str, authorization: Option<&str>) -> Result<ClientProof, ErrorCode> {
        form_proof(&Form::read(form.as_bytes()).unwrap(), authorization).map_err(|why| why.code)
    }

    #[test]
    fn neg_077_a_secret_is_read_form_decoded_and_raw() {
        let secret = "p+ /%:q";
        for pair in ["app:p+ /%:q".to_owned(), "app:p%2B+%2F%25%3Aq".to_owned(), "app:p%2B%20%2f%25%3aq".to_owned()] {
            let Ok(ClientProof::Secret { client_id, sha256 }) = read("", Some(&header(&pair))) else {
                panic!("{pair}")
            };
            assert_eq!(client_id, "app");
            assert!(sha256.contains(&hash(secret)), "D-08: `{pair}`");
        }
    }

    #[test]
    fn tk_11_one_method_or_none() {
        let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let basic = header("app:s");
        let both = format!("{kind}&client_assertion=a.b.c");
        for (form, authorization, expected) in [
            (both.as_str(), Some(basic.as_str()), ErrorCode::InvalidRequest),
            (kind, Some(basic.as_str()), ErrorCode::InvalidRequest),
            (both.as_str(), Some("Bearer x"), ErrorCode::InvalidRequest),
            ("client_secret=s&client_id=app", Some(basic.as_str()), ErrorCode::InvalidRequest),
            ("client_id=another", Some(basic.as_str()), ErrorCode::InvalidRequest),
            ("client_secret=s&client_id=app", None, ErrorCode::InvalidClient),
            (kind, None, ErrorCode::InvalidClient),
            ("client_assertion=a.b.c&client_id=app", None, ErrorCode::InvalidClient),
            ("client_assertion_type=jwt&client_assertion=a.b.c", None, ErrorCode::InvalidClient),
            ("", None, ErrorCode::InvalidClient),
        ] {
            assert_eq!(read(form, authorization).unwrap_err(), expected, "{form} {authorization:?}");
        }
        assert!(matches!(read(&both, None), Ok(ClientProof::Assertion { client_id: None, .. })));
        assert!(matches!(read("client_id=app", None), Ok(ClientProof::Named { client_id }) if client_id == "app"));
        assert!(read("client_id=app", Some(&basic)).unwrap().by_basic());
    }

    #[test]
    fn unreadable_credentials_fit_nobody() {
        let long = header(&format!("app:{}", "x".repeat(BASIC_BYTES_MAX)));
        for bad in ["Basic", "Basic !", "Bearer x", "Basic YXBw", "Basic /w==", &long, ""] {
            let read = read("client_id=app", Some(bad)).unwrap();
            assert!(
                matches!(&read, ClientProof::Secret { client_id, sha256 } if client_id.is_empty() && sha256.is_empty())
            );
        }
        assert!(matches!(read("", Some(&header("app:"))), Ok(ClientProof::Secret { sha256, .. }) if sha256.is_empty()));
        assert!(!format!("{:?}", read("", Some(&header("app:hush"))).unwrap()).contains("hush"));
    }
}
