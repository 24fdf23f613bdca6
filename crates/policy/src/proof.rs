//! Proofs of link: a released attachment's address carries one, and with it its Binary can be had (BI-01 … BI-08).

use domain::{Millis, SessionId};
use fhir::Id;

use crate::cursor::{InvalidCursor, Reader, put_text};

/// First byte of every encoded proof, apart from the versions of page cursors.
const VERSION: u8 = 0x41;
/// Longest media type kept.
const MEDIA_BYTES_MAX: usize = 200;
/// Most proofs looked for in one body: real resources link to a handful.
pub const PROOFS_MAX: usize = 64;

/// That a resource released to a session linked to a Binary.
#[derive(Clone, Eq, PartialEq)]
pub struct BinaryProof {
    pub(crate) session: SessionId,
    pub(crate) id: Id,
    /// The attachment's `contentType`.
    pub(crate) media: Option<String>,
    pub(crate) expires_at: Millis,
}

/// Names an instance of a patient's record: debug output shows none of it.
impl std::fmt::Debug for BinaryProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BinaryProof([sealed])")
    }
}

impl BinaryProof {
    /// Its bytes, to be sealed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.session.0);
        out.extend(self.expires_at.to_be_bytes());
        put_text(&mut out, self.id.as_str());
        put_text(&mut out, self.media.as_deref().filter(|media| media.len() <= MEDIA_BYTES_MAX).unwrap_or(""));
        out
    }

    /// Reads the bytes of an opened seal.
    ///
    /// # Errors
    /// They are no proof of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCursor> {
        let mut reader = Reader(bytes);
        if reader.array()? != [VERSION] {
            return Err(InvalidCursor);
        }
        let session = SessionId(reader.array()?);
        let expires_at = Millis::from_be_bytes(reader.array()?);
        let id = reader.text()?.parse().map_err(|_| InvalidCursor)?;
        let media = Some(reader.text()?.to_owned()).filter(|media| !media.is_empty());
        if !reader.0.is_empty() {
            return Err(InvalidCursor);
        }
        Ok(Self { session, id, media, expires_at })
    }

    /// Whether it proves `id` to `session` now.
    pub(crate) fn proves(&self, session: SessionId, id: &str, now: Millis) -> bool {
        self.session == session && self.id.as_str() == id && now < self.expires_at
    }
}

/// The sealed texts in a body's attachment addresses, to be opened before the body is judged.
#[must_use]
pub fn sealed_texts(body: &str) -> Vec<&str> {
    let mut found: Vec<&str> = body
        .split("?_hilum=")
        .skip(1)
        .map(|rest| {
            let end = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            rest.get(..end.unwrap_or(rest.len())).unwrap_or("")
        })
        .filter(|text| !text.is_empty())
        .take(PROOFS_MAX)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_proof_reads_as_it_was_written_and_version_1_stays() {
    let proof = BinaryProof {
        session: SessionId([9; 16]),
        id: "B1".parse().unwrap(),
        media: Some("application/pdf".into()),
        expires_at: 1_800_000_000_000,
    };
    let hex: String = proof.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../tests/golden/binary-proof-1.hex").trim());
    assert_eq!(BinaryProof::decode(&proof.encode()), Ok(proof.clone()));
    assert_eq!(BinaryProof::decode(&[1, 2, 3]), Err(InvalidCursor));
    assert!(proof.proves(SessionId([9; 16]), "B1", 0));
    assert!(!proof.proves(SessionId([8; 16]), "B1", 0));
    assert!(!proof.proves(SessionId([9; 16]), "B2", 0));
    assert!(!proof.proves(SessionId([9; 16]), "B1", 1_800_000_000_000));
}

#[test]
fn sealed_texts_are_found_where_addresses_have_them() {
    let body = r#"{"url":"https://pep/fhir/Binary/B1?_hilum=aB-_9","x":"Binary/B2?_hilum=zz","y":"?_hilum="}"#;
    assert_eq!(sealed_texts(body), ["aB-_9", "zz"]);
}
