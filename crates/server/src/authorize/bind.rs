<<<<<<< HEAD
//! Which key a token is bound to: what the client proved to hold, what it must, and what the task demands (RFC 9449, SEC-02).

use domain::{Confirmation, Demand, Millis, Reason, SenderConstraint, TaskProfile};
use http::HeaderMap;
use oauth::ErrorCode;

use super::Service;
use super::client::Caller;
use super::token::Denied;
use crate::proofs::ProofRefusal;

/// The key to bind a token of this caller's to; `dpop` is the thumbprint of the key it proved to hold with this request.
///
/// # Errors
/// The client or the task must have a bound token, and nothing here proves a key to bind it to.
=======
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
>>>>>>> auth
pub(super) fn bind(
    caller: &Caller,
    profile: &TaskProfile,
    dpop: Option<[u8; 32]>,
) -> Result<Option<Confirmation>, Denied> {
<<<<<<< HEAD
    let demands = &caller.integration.demands;
    let refused = |code, says: &str| Err(Denied::new(Reason::ProofInvalid, code, says));
    if demands.contains(&Demand::Mtls) {
        return refused(ErrorCode::InvalidRequest, "tokens of this client are bound to its certificate: send it");
    }
    match dpop {
        Some(thumbprint) => Ok(Some(Confirmation::Dpop(thumbprint))),
        None if demands.contains(&Demand::Dpop) => {
            refused(ErrorCode::InvalidDpopProof, "tokens of this client are bound to a key: send a DPoP proof")
        }
        None if profile.sender_constraint == SenderConstraint::Required => {
            refused(ErrorCode::InvalidRequest, "tokens of this task are bound to a key: send a DPoP proof")
        }
        None => Ok(None),
    }
}

impl From<ProofRefusal> for Denied {
    fn from(why: ProofRefusal) -> Self {
        let (reason, code) = match &why {
            ProofRefusal::Invalid(_) => (Reason::ProofInvalid, ErrorCode::InvalidDpopProof),
            ProofRefusal::UseNonce(_) => (Reason::ProofNonce, ErrorCode::UseDpopNonce),
            ProofRefusal::Full => (Reason::Overloaded, ErrorCode::TemporarilyUnavailable),
        };
        Self::new(reason, code, why.to_string())
    }
}

impl Service {
    /// The key a request to `url` proves to hold, by POST and with its proof used up: for callers who have authenticated, since a
    /// proof of somebody unknown must not fill the memory. `nonce` becomes what the answer says in `DPoP-Nonce`.
    ///
    /// A code with `dpop_jkt`, and a refresh token of a public client, are honoured only where they name this very thumbprint: another
    /// key, or none, is `invalid_grant` (NEG-223, NEG-225). Where a public client redeems, use [`crate::proofs::Proofs::read`], compare,
    /// and then `spend`: until then nothing is known of it.
    pub(super) fn proved(
        &self,
        headers: &HeaderMap,
        url: &str,
        nonce: &mut Option<String>,
        now: Millis,
    ) -> Result<Option<[u8; 32]>, Denied> {
        match self.proofs.check(headers, "POST", url, None, now) {
            Ok(None) => Ok(None),
            Ok(Some(proof)) => {
                *nonce = proof.next;
                Ok(Some(proof.thumbprint))
            }
            Err(why) => {
                *nonce = why.nonce().map(str::to_owned);
                Err(why.into())
            }
        }
=======
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
>>>>>>> auth
    }
}
