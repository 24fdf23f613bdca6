//! Authenticator data (WebAuthn §6.1) and the attestation object around it (§6.5.4), read to the last byte.

use minicbor::Decoder;
use minicbor::data::Type;

use crate::key::PublicKey;
use crate::{BYTES_MAX, CREDENTIAL_ID_MAX, Refused};

/// Why bytes of an authenticator cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidData {
    /// Longer than any authenticator sends.
    #[error("too long")]
    Long,
    /// It ends too early, or goes on.
    #[error("cut off, or longer than it says")]
    Length,
    /// Not the CBOR that CTAP2 prescribes.
    #[error("not canonical CBOR")]
    Cbor,
    /// A registration without a credential.
    #[error("no credential in it")]
    NoCredential,
    /// The credential id is empty or longer than 1023 bytes.
    #[error("the credential id has no allowed length")]
    CredentialId,
}

impl From<minicbor::decode::Error> for InvalidData {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Cbor
    }
}

/// The flag byte of authenticator data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    /// Somebody touched it.
    #[must_use]
    pub fn present(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// It knows who did.
    #[must_use]
    pub fn verified(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// The credential may be synced.
    #[must_use]
    pub fn may_back_up(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// The credential is synced.
    #[must_use]
    pub fn backed_up(self) -> bool {
        self.0 & 0x10 != 0
    }

    fn has_credential(self) -> bool {
        self.0 & 0x40 != 0
    }

    fn has_extensions(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// Authenticator data, read.
pub(crate) struct AuthenticatorData<'a> {
    pub rp_hash: [u8; 32],
    pub flags: Flags,
    pub counter: u32,
    pub attested: Option<Attested<'a>>,
}

/// The credential in authenticator data.
pub(crate) struct Attested<'a> {
    pub id: &'a [u8],
    /// COSE key, exactly its bytes.
    pub key: &'a [u8],
}

pub(crate) fn authenticator_data(bytes: &[u8]) -> Result<AuthenticatorData<'_>, InvalidData> {
    if bytes.len() > BYTES_MAX {
        return Err(InvalidData::Long);
    }
    let (rp_hash, rest) = bytes.split_first_chunk::<32>().ok_or(InvalidData::Length)?;
    let ([flags], rest) = rest.split_first_chunk::<1>().ok_or(InvalidData::Length)?;
    let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(InvalidData::Length)?;
    let flags = Flags(*flags);
    let mut attested = None;
    if flags.has_credential() {
        let (found, left) = credential(rest)?;
        attested = Some(found);
        rest = left;
    }
    if flags.has_extensions() {
        let (_, left) = item(rest, Type::Map)?;
        rest = left;
    }
    if !rest.is_empty() {
        return Err(InvalidData::Length);
    }
    Ok(AuthenticatorData { rp_hash: *rp_hash, flags, counter: u32::from_be_bytes(*counter), attested })
}

/// §6.5.1: aaguid, length of the id, id, key.
fn credential(bytes: &[u8]) -> Result<(Attested<'_>, &[u8]), InvalidData> {
    let (_aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(InvalidData::Length)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(InvalidData::Length)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(1..=CREDENTIAL_ID_MAX).contains(&length) {
        return Err(InvalidData::CredentialId);
    }
    let (id, rest) = rest.split_at_checked(length).ok_or(InvalidData::Length)?;
    let (key, rest) = item(rest, Type::Map)?;
    Ok((Attested { id, key }, rest))
}

/// One CBOR item of this type at the front, and what follows it.
fn item(bytes: &[u8], kind: Type) -> Result<(&[u8], &[u8]), InvalidData> {
    let mut decoder = Decoder::new(bytes);
    if decoder.datatype()? != kind {
        return Err(InvalidData::Cbor);
    }
    decoder.skip()?;
    bytes.split_at_checked(decoder.position()).ok_or(InvalidData::Length)
}

/// The parts of an attestation object.
pub(crate) struct AttestationObject<'a> {
    format: &'a str,
    statement: &'a [u8],
    pub data: &'a [u8],
}

pub(crate) fn attestation_object(bytes: &[u8]) -> Result<AttestationObject<'_>, InvalidData> {
    if bytes.len() > BYTES_MAX {
        return Err(InvalidData::Long);
    }
    let mut decoder = Decoder::new(bytes);
    if decoder.map()? != Some(3) {
        return Err(InvalidData::Cbor);
    }
    let (mut format, mut statement, mut data) = (None, None, None);
    for _ in 0..3 {
        match decoder.str()? {
            "fmt" if format.is_none() => format = Some(decoder.str()?),
            "attStmt" if statement.is_none() => {
                let rest = bytes.get(decoder.position()..).ok_or(InvalidData::Length)?;
                let (found, _) = item(rest, Type::Map)?;
                statement = Some(found);
                decoder.skip()?;
            }
            "authData" if data.is_none() => data = Some(decoder.bytes()?),
            _ => return Err(InvalidData::Cbor),
        }
    }
    if decoder.position() != bytes.len() {
        return Err(InvalidData::Length);
    }
    match (format, statement, data) {
        (Some(format), Some(statement), Some(data)) => Ok(AttestationObject { format, statement, data }),
        _ => Err(InvalidData::Cbor),
    }
}

impl AttestationObject<'_> {
    /// No attestation was asked for, so there is none (§8.7), or the key signed for itself (§8.2, "self attestation", which §5.1.3 lets
    /// through). Anything else would be a claim that nobody here checks.
    pub(crate) fn check(&self, key: &PublicKey, client_hash: &[u8; 32]) -> Result<(), Refused> {
        let mut decoder = Decoder::new(self.statement);
        let entries = decoder.map().ok().flatten().ok_or(Refused::Attestation)?;
        if self.format == "none" {
            return if entries == 0 { Ok(()) } else { Err(Refused::Attestation) };
        }
        if self.format != "packed" || entries != 2 {
            return Err(Refused::Attestation);
        }
        let (mut algorithm, mut signature) = (None, None);
        for _ in 0..entries {
            match decoder.str() {
                Ok("alg") => algorithm = decoder.i64().ok(),
                Ok("sig") => signature = decoder.bytes().ok(),
                _ => return Err(Refused::Attestation),
            }
        }
        let mut signed = self.data.to_vec();
        signed.extend_from_slice(client_hash);
        let by_itself =
            algorithm == Some(key.algorithm().number()) && key.verify(&signed, signature.unwrap_or_default());
        if by_itself { Ok(()) } else { Err(Refused::Attestation) }
    }
}
