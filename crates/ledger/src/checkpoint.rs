//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): origin, size and root in a signed note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::{self, InvalidNote, NoteKey};
use crate::sign::{SignError, Signer};

/// A log at one size.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Checkpoint {
    /// Which log: `<host>/<tenant>/<node>/<year>`.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The note text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Signs it under its own origin as key name. Only for sizes that are durable: a log never signs two histories.
    ///
    /// # Errors
    /// [`SignError`] when the signer fails or the origin cannot be a key name.
    pub fn sign(&self, signer: &dyn Signer) -> Result<String, SignError> {
        note::sign(&self.text(), &self.origin, signer)
    }

    /// Reads a note and checks that `key` signed it for the origin it names.
    ///
    /// # Errors
    /// [`InvalidNote`].
    pub fn open(text: &str, key: &NoteKey) -> Result<Self, InvalidNote> {
        let checkpoint = Self::parse(note::open(text, key)?)?;
        if checkpoint.origin == key.name { Ok(checkpoint) } else { Err(InvalidNote::Unsigned) }
    }

    /// Reads the note text alone; says nothing about who signed it. Extension lines are allowed and ignored.
    ///
    /// # Errors
    /// [`InvalidNote::Form`].
    pub fn parse(text: &str) -> Result<Self, InvalidNote> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(InvalidNote::Form);
        };
        let digits = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        match (size.parse(), root) {
            (Ok(size), Some(root)) if digits && !origin.is_empty() && text.ends_with('\n') => {
                Ok(Self { origin: origin.to_owned(), size, root })
            }
            _ => Err(InvalidNote::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    #[test]
    fn a_checkpoint_reads_back_and_nothing_else_does() {
        let key = SigningKey::from_seed(&[3; 32]).unwrap();
        let checkpoint =
            Checkpoint { origin: "gate.example/mercy/gate-1/2026".to_owned(), size: 20_852_163, root: [7; 32] };
        let note = checkpoint.sign(&key).unwrap();
        let name = NoteKey { name: checkpoint.origin.clone(), key: key.verifying_key() };
        assert_eq!(Checkpoint::open(&note, &name), Ok(checkpoint.clone()));
        let other = NoteKey { name: "gate.example/other/gate-1/2026".to_owned(), ..name.clone() };
        assert!(Checkpoint::open(&note, &other).is_err());
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(Checkpoint::open(&changed, &name).is_err(), "byte {at}");
            }
        }
        let root = STANDARD.encode([7; 32]);
        for bad in
            [format!("o\n01\n{root}\n"), format!("o\n+1\n{root}\n"), format!("\n1\n{root}\n"), format!("o\n1\n{root}")]
        {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
        }
        assert!(Checkpoint::parse(&format!("o\n0\n{root}\nextension\n")).is_ok());
    }
}
