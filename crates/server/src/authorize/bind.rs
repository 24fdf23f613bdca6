//! Which key a token is bound to: what the client proved to hold, what it must, and what the task demands (RFC 9449, SEC-02).

use domain::{AuthMethod, Confirmation, Demand, Millis, Reason, SenderConstraint, TaskProfile};
use http::HeaderMap;
use oauth::ErrorCode;

use super::Service;
use super::client::Caller;
use super::token::Denied;
use crate::proofs::{ProofRefusal, Unspent};

/// The key to bind a token of this caller's to; `dpop` is the thumbprint of the key it proved to hold with this request.
///
/// A registration may demand one kind of binding, and a task some kind; a client that sent a proof or authenticated by its certificate
/// gets what it showed (RFC 9449 §5, RFC 8705 §3).
///
/// # Errors
/// The client or the task must have a bound token, and nothing here proves a key to bind it to.
pub(super) fn bind(
    caller: &Caller,
    profile: &TaskProfile,
    dpop: Option<[u8; 32]>,
) -> Result<Option<Confirmation>, Denied> {
    let refused = |says: &str| Err(Denied::new(Reason::ProofInvalid, ErrorCode::InvalidRequest, says));
    let demands = &caller.integration.demands;
    let certificate = caller.certificate();
    if demands.contains(&Demand::Dpop) && dpop.is_none() {
        let says = "tokens of this client are bound to a key: send a DPoP proof";
        return Err(Denied::new(Reason::ProofInvalid, ErrorCode::InvalidDpopProof, says));
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
    /// The key a request to `url` proves to hold, by POST; its proof is to be used up by [`Service::spend_proof`] before anything is given
    /// for it. `nonce` becomes what the answer says in `DPoP-Nonce`.
    ///
    /// A code with `dpop_jkt`, and a refresh token of a public client, are honoured only where they name this very thumbprint: another
    /// key, or none, is `invalid_grant` (NEG-223, NEG-225).
    pub(super) fn proved(
        &self,
        headers: &HeaderMap,
        url: &str,
        nonce: &mut Option<String>,
        now: Millis,
    ) -> Result<Option<Unspent>, Denied> {
        self.proofs.read(headers, "POST", url, None, now).map_err(|why| {
            *nonce = why.nonce().map(str::to_owned);
            why.into()
        })
    }

    /// Uses a proof up, once the caller has shown something good: whoever is nobody must not fill the memory, which the gate shares.
    pub(super) fn spend_proof(
        &self,
        proof: Option<Unspent>,
        nonce: &mut Option<String>,
        now: Millis,
    ) -> Result<(), Denied> {
        let Some(proof) = proof else { return Ok(()) };
        *nonce = self.proofs.spend(proof, now)?.next;
        Ok(())
    }
}
