//! What stands in place of an instance's id: a random code held elsewhere, never derived from anything (45 CFR 164.514(c)).

use std::collections::BTreeMap;
use std::fmt;

use fhir::{Id, ResourceType};

/// What a surrogate stands for.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub enum Original<'a> {
    /// An instance. Its base is there if a reference names one; without, it is the upstream itself.
    Instance {
        /// Everything before `/Type`, as written.
        base: Option<&'a str>,
        /// The type.
        kind: ResourceType,
        /// The id.
        id: &'a str,
    },
    /// Another code that is unique: the UUID by which the entries of a Bundle name each other, in lower case.
    Code(&'a str),
}

/// Whatever it stands for may identify a person.
impl fmt::Debug for Original<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Original([sealed])")
    }
}

/// The table of surrogates could not be asked, or has no room. There is no data then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SurrogateError;

impl fmt::Display for SurrogateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no surrogate was to be had")
    }
}

impl std::error::Error for SurrogateError {}

/// The table of surrogates of one session, role or whatever its holder decides.
pub trait Surrogates {
    /// The surrogate of `original`: the same each time, random, in the form of a UUID (36 characters, lower case).
    ///
    /// # Errors
    /// If there is none; the resource is then refused whole.
    fn surrogate(&mut self, original: Original<'_>) -> Result<Id, SurrogateError>;
}

/// A table in memory for previews and tests. Its surrogates follow from the seed, so they protect nobody.
#[derive(Default)]
pub struct SeededSurrogates {
    state: u64,
    known: BTreeMap<(Option<String>, String, String), Id>,
}

impl SeededSurrogates {
    /// An empty table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, known: BTreeMap::new() }
    }

    /// SplitMix64: a short generator with no bad seeds.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

impl Surrogates for SeededSurrogates {
    fn surrogate(&mut self, original: Original<'_>) -> Result<Id, SurrogateError> {
        let key = match original {
            Original::Instance { base, kind, id } => (base.map(str::to_owned), kind.name().to_owned(), id.to_owned()),
            Original::Code(text) => (None, String::new(), text.to_owned()),
        };
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let (high, low) = (self.next(), self.next());
        let (time, mid, version) = (high >> 32, (high >> 16) & 0xFFFF, 0x4000 | (high & 0xFFF));
        let (variant, node) = (0x8000 | ((low >> 48) & 0x3FFF), low & 0xFFFF_FFFF_FFFF);
        let made = format!("{time:08x}-{mid:04x}-{version:04x}-{variant:04x}-{node:012x}");
        let made: Id = made.parse().map_err(|_| SurrogateError)?;
        self.known.insert(key, made.clone());
        Ok(made)
    }
}
