//! Which key a token is bound to (`cnf`, RFC 7800): decided once, before the session is written.

use domain::task::SenderConstraint;
use domain::{AuthMethod, Confirmation, Demand, Reason, TaskProfile};
use oauth::ErrorCode;

use super::client::Caller;
use super::token::Denied;

/// The key that the tokens of this request are bound to. `dpop` is the thumbprint of the key of a DPoP proof that was verified.
///
/// A registration may demand one kind of binding, and a task some kind; a client that sent a proof or authenticated by its certificate
/// gets what it showed (RFC 9449 §5, RFC 8705 §3).
///
/// # Errors
/// [`Denied`] with `invalid_request` where a binding is demanded and the request does not bring what it takes.
pub(super) fn bind(
    caller: &Caller,
    profile: &TaskProfile,
    dpop: Option<[u8; 32]>,
) -> Result<Option<Confirmation>, Denied> {
    let refused = |says: &str| Err(Denied::new(Reason::RequestInvalid, ErrorCode::InvalidRequest, says));
    let demands = &caller.integration.demands;
    let certificate = caller.certificate();
    if demands.contains(&Demand::Dpop) && dpop.is_none() {
        return refused("this client's tokens are bound to a DPoP key: send a DPoP proof");
    }
    if demands.contains(&Demand::Mtls) {
        return match (certificate, dpop) {
            (None, _) => refused("this client's tokens are bound to its certificate: open the connection with one"),
            // One token has one key; the one that is demanded would not be checked.
            (Some(_), Some(_)) => refused("this client's tokens are bound to its certificate: send no DPoP proof"),
            (Some(certificate), None) => Ok(Some(Confirmation::Mtls(certificate))),
        };
    }
    if let Some(key) = dpop {
        return Ok(Some(Confirmation::Dpop(key)));
    }
    let by_tls =
        matches!(caller.integration.auth.method, AuthMethod::TlsClientAuth(_) | AuthMethod::SelfSignedTlsClientAuth);
    let required = profile.sender_constraint == SenderConstraint::Required;
    match certificate {
        Some(certificate) if by_tls || required => Ok(Some(Confirmation::Mtls(certificate))),
        _ if by_tls || required => refused(
            "tokens of this task are bound to a key: send a DPoP proof, or open the connection with a certificate",
        ),
        _ => Ok(None),
    }
}
