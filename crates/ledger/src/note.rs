//! Signed notes (<https://c2sp.org/signed-note>) with Ed25519 signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::sha256_of;
use crate::sign::{SignError, Signer, VerifyingKey};

/// Signature type byte of Ed25519.
const ED25519_TYPE: u8 = 1;
/// Longest note read: a checkpoint is about 200 bytes, 16 post-quantum signatures 80 kB; anything longer is no note of ours.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Most signature lines looked at; verifiers must accept at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// Why a note or a verifier key is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidNote {
    /// Not of the form the document prescribes.
    #[error("not a signed note")]
    Form,
    /// The verifier key is not of the form `name+id+key`, or its id does not fit.
    #[error("not an ed25519 verifier key")]
    Key,
    /// No line is signed by the key.
    #[error("the note is not signed by `the expected key`")]
    Unsigned,
    /// A line of the key does not verify.
    #[error("a signature of the note does not verify")]
    Signature,
}

/// A key with a name: what signs or verifies a note.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteKey {
    /// Key name; for checkpoints the origin.
    pub name: String,
    /// The key.
    pub key: VerifyingKey,
}

/// Whether a text may be a key name: not empty, no space, no `+`, nothing that breaks a line.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl NoteKey {
    /// The key id: the first four bytes of a hash over name, type and key.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256_of(&[self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.key.0]);
        [a, b, c, d]
    }

    /// Reads `name+hex(id)+base64(type || key)`.
    ///
    /// # Errors
    /// [`InvalidNote::Key`].
    pub fn parse(vkey: &str) -> Result<Self, InvalidNote> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidNote::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| InvalidNote::Key)?;
        let Some((&ED25519_TYPE, key)) = bytes.split_first() else { return Err(InvalidNote::Key) };
        let key = key.try_into().map_err(|_| InvalidNote::Key)?;
        let key = Self { name: name.to_owned(), key: VerifyingKey(key) };
        if is_name(name) && key.hex_id() == id { Ok(key) } else { Err(InvalidNote::Key) }
    }

    fn hex_id(&self) -> String {
        self.id().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Display for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend_from_slice(&self.key.0);
        write!(f, "{}+{}+{}", self.name, self.hex_id(), STANDARD.encode(bytes))
    }
}

/// Signs a text that ends in a newline.
///
/// # Errors
/// [`SignError`] when the signer fails or the name cannot be written.
pub fn sign(text: &str, name: &str, signer: &dyn Signer) -> Result<String, SignError> {
    if !is_name(name) || !text.ends_with('\n') {
        return Err(SignError);
    }
    let key = NoteKey { name: name.to_owned(), key: signer.verifying_key() };
    let mut bytes = key.id().to_vec();
    bytes.extend_from_slice(&signer.sign(text.as_bytes())?);
    Ok(format!("{text}\n— {name} {}\n", STANDARD.encode(bytes)))
}

/// The text of a note, if `key` signed it. Lines of other keys are ignored; one of this key that fails refuses the note.
///
/// # Errors
/// [`InvalidNote`].
pub fn open<'a>(note: &'a str, key: &NoteKey) -> Result<&'a str, InvalidNote> {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(InvalidNote::Form);
    }
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(InvalidNote::Form)?;
    let text = note.get(..text.len() + 1).ok_or(InvalidNote::Form)?;
    let mut signed = false;
    let lines = signatures.strip_suffix('\n').ok_or(InvalidNote::Form)?;
    for (count, line) in lines.split('\n').enumerate() {
        let (name, value) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(InvalidNote::Form)?;
        let value = STANDARD.decode(value).map_err(|_| InvalidNote::Form)?;
        let (id, signature) = value.split_first_chunk::<4>().ok_or(InvalidNote::Form)?;
        if !is_name(name) || count >= SIGNATURES_MAX {
            return Err(InvalidNote::Form);
        }
        if name == key.name && *id == key.id() {
            if !key.key.verifies(text.as_bytes(), signature) {
                return Err(InvalidNote::Signature);
            }
            signed = true;
        }
    }
    if signed { Ok(text) } else { Err(InvalidNote::Unsigned) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    /// The example of the C2SP document.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_c2sp_opens() {
        let key = NoteKey::parse(VKEY).unwrap();
        assert_eq!(key.to_string(), VKEY);
        assert_eq!(open(NOTE, &key), Ok("This is an example message.\n"));
        assert_eq!(open(&NOTE.replace("an example", "no example"), &key), Err(InvalidNote::Signature));
        assert!(NoteKey::parse(&VKEY.replace("530d903a", "530d903b")).is_err());
    }

    #[test]
    fn lines_of_other_keys_are_ignored() {
        let ours = SigningKey::from_seed(&[1; 32]).unwrap();
        let other = SigningKey::from_seed(&[2; 32]).unwrap();
        let key = NoteKey { name: "log".to_owned(), key: ours.verifying_key() };
        let note = sign("a\n\nb\n", "log", &ours).unwrap();
        assert_eq!(open(&note, &key), Ok("a\n\nb\n"));
        let theirs = sign("a\n\nb\n", "log", &other).unwrap();
        assert_eq!(open(&theirs, &key), Err(InvalidNote::Unsigned));
        let line = theirs.lines().last().unwrap();
        assert_eq!(open(&format!("{note}{line}\n"), &key), Ok("a\n\nb\n"));
        assert_eq!(NoteKey::parse(&key.to_string()), Ok(key));
        assert_eq!(sign("no newline", "log", &ours), Err(SignError));
        assert_eq!(sign("text\n", "two words", &ours), Err(SignError));
    }

    proptest::proptest! {
        #[test]
        fn open_never_panics(text in "(\\PC|\n|— ){0,200}") {
            let key = NoteKey::parse(VKEY).unwrap();
            let _ = NoteKey::parse(&text);
            proptest::prop_assert!(open(&text, &key).is_err());
        }
    }
}
