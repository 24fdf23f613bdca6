//! Passkeys as functions (W3C Web Authentication Level 3): what a browser sent + what was asked for → a credential, or a refusal.
//!
//! Pure: the challenge comes from the caller, who keeps it, uses it once and lets it expire. User verification is required always,
//! attestation is not asked for and never trusted, other origins are refused whole. Three algorithms: ES256, Ed25519, and the RS256 of
//! TPMs. `docs/decisions/webauthn.md` says why this is not a library.

mod client;
mod data;
mod key;

pub use client::challenge;
pub use data::{Flags, InvalidData};
pub use key::{Algorithm, InvalidKey, PublicKey};

use aws_lc_rs::digest::{SHA256, digest};

/// Longest client data, attestation object or authenticator data that is read: the largest of an authenticator is some kilobytes.
pub const BYTES_MAX: usize = 16 * 1024;
/// Longest credential id (WebAuthn §5.8.3, "credential ID": at most 1023 bytes).
pub const CREDENTIAL_ID_MAX: usize = 1_023;
/// Bytes of a challenge; §13.4.3 asks for 16 at least.
pub const CHALLENGE_BYTES: usize = 32;

/// Who we are to a browser.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The relying party's id: the host name alone.
    pub id: &'a str,
    /// The only origin ceremonies may run on, e.g. `https://gate-admin.mercy.example`.
    pub origin: &'a str,
}

/// A new credential, as far as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Chosen by the authenticator.
    pub id: Vec<u8>,
    /// Its public key (COSE, RFC 9052 §7), as it came; [`PublicKey::parse`] took it.
    pub key: Vec<u8>,
    /// Its signature counter; 0 of one that does not count.
    pub counter: u32,
}

/// A credential that was used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Used {
    /// Its signature counter now; the caller compares it with the one it keeps ([`counter_fits`]).
    pub counter: u32,
}

/// Why a ceremony is refused; the order is that of the checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The client data is too long, no JSON, or lacks a member.
    #[error("the client data cannot be read")]
    ClientData,
    /// The client data is of the other ceremony (§7.1 step 7, §7.2 step 11).
    #[error("this is the answer to another ceremony")]
    Ceremony,
    /// The challenge is another one.
    #[error("the challenge is another one")]
    Challenge,
    /// The browser ran it on another origin, or inside a page of one.
    #[error("it was done on another origin")]
    Origin,
    /// Authenticator data or attestation object cannot be read.
    #[error("the authenticator's data cannot be read: {0}")]
    Data(#[from] InvalidData),
    /// It was done for another relying party.
    #[error("it was done for another site")]
    Party,
    /// Nobody touched the authenticator.
    #[error("nobody was present")]
    Presence,
    /// The authenticator did not verify who touched it (PIN, finger, face).
    #[error("the person was not verified")]
    Verification,
    /// A backup flag contradicts another (§6.1.3).
    #[error("the backup flags contradict each other")]
    Backup,
    /// The key is of a kind that was not asked for, or malformed.
    #[error("the key cannot be used: {0}")]
    Key(#[from] InvalidKey),
    /// An attestation came that was not asked for, or one that does not verify.
    #[error("the attestation cannot be used")]
    Attestation,
    /// The signature is not by this key.
    #[error("the signature is not by this passkey")]
    Signature,
}

/// Reads the answer to `navigator.credentials.create` (§7.1).
///
/// # Errors
/// The first check it fails.
pub fn register(
    party: Party<'_>,
    challenge: &[u8],
    client_data: &[u8],
    attestation_object: &[u8],
) -> Result<Credential, Refused> {
    client::check(client_data, "webauthn.create", party, challenge)?;
    let object = data::attestation_object(attestation_object)?;
    let read = data::authenticator_data(object.data)?;
    let attested = read.attested.ok_or(InvalidData::NoCredential)?;
    verified(party, &read.rp_hash, read.flags)?;
    let key = PublicKey::parse(attested.key)?;
    object.check(&key, &sha256(client_data))?;
    Ok(Credential { id: attested.id.to_vec(), key: attested.key.to_vec(), counter: read.counter })
}

/// Reads the answer to `navigator.credentials.get` by the credential with this public key (§7.2).
///
/// # Errors
/// The first check it fails.
pub fn authenticate(
    party: Party<'_>,
    challenge: &[u8],
    key: &PublicKey,
    client_data: &[u8],
    authenticator_data: &[u8],
    signature: &[u8],
) -> Result<Used, Refused> {
    client::check(client_data, "webauthn.get", party, challenge)?;
    let read = data::authenticator_data(authenticator_data)?;
    verified(party, &read.rp_hash, read.flags)?;
    let mut signed = authenticator_data.to_vec();
    signed.extend_from_slice(&sha256(client_data));
    if !key.verify(&signed, signature) {
        return Err(Refused::Signature);
    }
    Ok(Used { counter: read.counter })
}

/// Whether a counter went on (§6.1.1): a copy of the authenticator shows by one that did not. Two zeros are one that does not count.
#[must_use]
pub fn counter_fits(kept: u32, sent: u32) -> bool {
    (kept == 0 && sent == 0) || sent > kept
}

fn verified(party: Party<'_>, rp_hash: &[u8; 32], flags: Flags) -> Result<(), Refused> {
    if *rp_hash != sha256(party.id.as_bytes()) {
        return Err(Refused::Party);
    }
    if !flags.present() {
        return Err(Refused::Presence);
    }
    if !flags.verified() {
        return Err(Refused::Verification);
    }
    if flags.backed_up() && !flags.may_back_up() {
        return Err(Refused::Backup);
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (slot, byte) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *slot = *byte;
    }
    out
}

#[test]
fn counters_go_on_or_are_not_there() {
    for (kept, sent, fits) in [(0, 0, true), (0, 1, true), (1, 2, true), (1, 1, false), (2, 1, false), (1, 0, false)] {
        assert_eq!(counter_fits(kept, sent), fits, "{kept} then {sent}");
    }
}
