//! Whether whoever presents a bound token holds the key it is bound to (RS-04): without that, a stolen one would do.

use domain::{Confirmation, Reason, Session};

use crate::error::Refusal;

/// Judges the `cnf` of a verified token against what this request shows. A bearer token has none and passes.
///
/// # Errors
/// 401 `invalid_token`, one text for a wrong key and for none.
pub(super) fn holds(session: &Session, certificate: Option<[u8; 32]>) -> Result<(), Refusal> {
    match &session.confirmation {
        None => Ok(()),
        Some(Confirmation::Mtls(bound)) => by_certificate(bound, certificate),
        // No proof of a DPoP key is read here, so a token that needs one opens nothing (RFC 9449 §7.2).
        Some(Confirmation::Dpop(_)) => Err(refused("the access token is bound to a DPoP key")),
    }
}

/// RFC 8705 §3: the certificate of this connection is the one the token was issued to.
///
/// # Errors
/// 401 `invalid_token` (NEG-226).
pub(super) fn by_certificate(bound: &[u8; 32], presented: Option<[u8; 32]>) -> Result<(), Refusal> {
    if presented.as_ref() == Some(bound) {
        return Ok(());
    }
    Err(refused("the access token is bound to a client certificate: open the connection with it"))
}

fn refused(says: &str) -> Refusal {
    Refusal::new(Reason::TokenInvalid, says)
}

#[test]
fn neg_226_another_certificate_or_none_is_refused() {
    assert!(by_certificate(&[1; 32], Some([1; 32])).is_ok());
    for other in [None, Some([2; 32])] {
        let refusal = by_certificate(&[1; 32], other).unwrap_err();
        assert_eq!(refusal.status, http::StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.challenge().as_deref(), Some("Bearer error=\"invalid_token\""));
    }
}
