//! Who holds a token: one that is bound to a key is good for nobody but the holder of that key (RFC 9449 §7, RFC 8705 §3).

use domain::{Confirmation, Reason, Session};
use http::Request;
use subtle::ConstantTimeEq as _;

use super::head::{Credential, Head};
use super::{Gate, Tenant};
use crate::error::{Refusal, Scheme};
use crate::listen::ClientCertificate;
use crate::proofs::ProofRefusal;

/// What an answer says of the token its request came with, whichever answer it is.
pub struct Told<'a> {
    /// The scheme challenges are made in.
    pub scheme: Scheme,
    /// Where a 401 sends those who have no token.
    pub metadata: Option<&'a str>,
    /// `DPoP-Nonce`, when the client needs another.
    pub nonce: Option<String>,
}

impl<'a> Told<'a> {
    /// Before anything is known.
    pub fn new(metadata: Option<&'a str>) -> Self {
        Self { scheme: Scheme::Bearer, metadata, nonce: None }
    }
}

/// A request as its token is judged by.
pub struct Presented<'a> {
    /// Its head, read.
    pub head: &'a Head<'a>,
    /// Its head, raw.
    pub request: &'a Request<()>,
    /// The raw path below the FHIR base.
    pub below: &'a str,
}

impl Gate {
    /// Whether the sender holds the key that the token of `session` is bound to. Checked once, when the request comes: what it streams
    /// or what entries it has is one request.
    pub(super) fn holds(
        &self,
        tenant: &Tenant,
        presented: &Presented<'_>,
        credential: Credential<'_>,
        session: &Session,
        told: &mut Told<'_>,
    ) -> Result<(), Refusal> {
        let invalid = |says: &str| Err(Refusal::new(Reason::TokenInvalid, says));
        match (&session.confirmation, credential.scheme) {
            (None, Scheme::Bearer) => Ok(()),
            (Some(Confirmation::Dpop(thumbprint)), Scheme::Dpop) => {
                self.by_dpop(tenant, presented, credential.token, thumbprint, told)
            }
            // RS-04: a stolen token would come so.
            (Some(Confirmation::Dpop(_)), Scheme::Bearer) => {
                told.scheme = Scheme::Dpop;
                invalid("this token is bound to a key: send it as `Authorization: DPoP` with a proof")
            }
            (Some(Confirmation::Mtls(bound)), Scheme::Bearer) => {
                let certificate = presented.request.extensions().get::<ClientCertificate>();
                by_certificate(bound, certificate.map(|certificate| certificate.sha256))
            }
            (Some(Confirmation::Mtls(_)), Scheme::Dpop) => {
                told.scheme = Scheme::Bearer;
                invalid("this token is bound to a client certificate: send it as `Authorization: Bearer`")
            }
            (None, Scheme::Dpop) => {
                told.scheme = Scheme::Bearer;
                invalid("this token is bound to no key: send it as `Authorization: Bearer`")
            }
        }
    }

    /// The proof must be for this token at this URL, by the key it is bound to, and new (DP-02, DP-03, DP-07).
    fn by_dpop(
        &self,
        tenant: &Tenant,
        presented: &Presented<'_>,
        token: &str,
        thumbprint: &[u8; 32],
        told: &mut Told<'_>,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        // PF-14: the public URL as it is configured and the path as it was sent, whatever `Host` says.
        let url = format!("{}{}", tenant.settings.fhir_base(), presented.below);
        let (headers, method) = (presented.request.headers(), presented.head.method_name);
        let proof = self.proofs.read(headers, method, &url, Some(token), now).and_then(|unspent| match unspent {
            Some(unspent) if bool::from(unspent.thumbprint().ct_eq(thumbprint)) => self.proofs.spend(unspent, now),
            Some(_) => Err(ProofRefusal::Invalid("the proof is by another key than the token is bound to".to_owned())),
            None => Err(ProofRefusal::Invalid("send a DPoP proof with this token".to_owned())),
        });
        match proof {
            Ok(proof) => {
                told.nonce = proof.next;
                Ok(())
            }
            Err(why) => {
                told.nonce = why.nonce().map(str::to_owned);
                Err(why.into())
            }
        }
    }
}

impl From<ProofRefusal> for Refusal {
    fn from(why: ProofRefusal) -> Self {
        let reason = match why {
            ProofRefusal::Invalid(_) => Reason::ProofInvalid,
            ProofRefusal::UseNonce(_) => Reason::ProofNonce,
            ProofRefusal::Full => Reason::Overloaded,
        };
        Self::new(reason, why.to_string())
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
        assert_eq!(refusal.reason, Reason::TokenInvalid);
    }
}
