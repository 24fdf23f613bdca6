//! De-identification of one FHIR R4 resource: what a profile does not keep does not leave.
//!
//! Every element is looked up in the R4 table, every text that leaves is from a closed set (a code of a public terminology,
//! a unit, a state), made here (a year, three digits), a surrogate, or of the profile's own file. See
//! `docs/deidentification.md` for what that does not claim. Pure: no runtime, sockets, files, clock or randomness.

mod known;
mod leaf;
mod profile;
mod surrogates;
mod ucum;
mod walk;

use std::fmt;

use fhir::ResourceType;
use fhir::json::Value;

pub use known::is_public_code;
pub use profile::{FILE_BYTES_MAX, InvalidProfile, Profile, RULES_MAX, Sha256, Standing};
pub use surrogates::{Original, SeededSurrogates, SurrogateError, Surrogates};

use walk::Walk;

/// The label every resource leaves with: parts were taken away, and the holder of the surrogates can lead back.
pub const LABEL: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"PSEUDED"}"#;

/// What became of the single values of a resource.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Left as they were: numbers, booleans, and whatever a wider profile keeps.
    pub kept: usize,
    /// Left since they are known: codes, units, states.
    pub known: usize,
    /// Became a year, a bucket, three digits, or a number within bounds.
    pub generalized: usize,
    /// Became a surrogate.
    pub surrogates: usize,
    /// Became the text of a rule.
    pub substituted: usize,
    /// Did not leave.
    pub dropped: usize,
    /// Did not leave since R4 has nothing like it; whole elements count once.
    pub not_understood: usize,
}

impl Counts {
    /// The same of two resources together.
    pub fn add(&mut self, other: &Self) {
        self.kept += other.kept;
        self.known += other.known;
        self.generalized += other.generalized;
        self.surrogates += other.surrogates;
        self.substituted += other.substituted;
        self.dropped += other.dropped;
        self.not_understood += other.not_understood;
    }
}

/// The oldest year that a date which leaves in `year` may name: in an older one somebody of the oldest age told can have been
/// born.
#[must_use]
pub fn oldest_year(year: u16) -> i32 {
    i32::from(year) - leaf::AGE_MAX
}

/// What was done, for the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// The profile's digest.
    pub profile: [u8; 32],
    /// Values by what became of them.
    pub counts: Counts,
}

/// A resource that may leave.
pub struct Deidentified {
    /// Its JSON, written anew.
    pub bytes: Vec<u8>,
    /// What was done.
    pub report: Report,
}

/// Surrogates and years are less than PHI, but no log needs them.
impl fmt::Debug for Deidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deidentified").field("bytes", &"[sealed]").field("report", &self.report).finish()
    }
}

/// Why there is no data. Says nothing of the resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is not the R4 resource it is said to be, or a part is not and the profile raises errors.
    NotUnderstood,
    /// A `modifierExtension` or `implicitRules` may turn its meaning round, and we do not know how.
    Modified,
    /// It is nested deeper than anything in R4.
    TooDeep,
    /// No surrogate was to be had.
    Surrogates,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUnderstood => "something in the resource is not R4 as the tables know it",
            Self::Modified => "a modifierExtension or implicitRules may change what the resource means",
            Self::TooDeep => "the resource is nested too deep",
            Self::Surrogates => "no surrogate was to be had",
        })
    }
}

impl std::error::Error for Refusal {}

/// De-identifies a resource of type `kind`. `year` is the current one, by which ages are told.
///
/// The resources in a Bundle or in Parameters are de-identified each by itself; contained ones never leave.
///
/// # Errors
/// If anything about it cannot be understood or no surrogate can be had: there is no data then, not some.
pub fn deidentify(
    kind: ResourceType,
    resource: Value<'_>,
    profile: &Profile,
    year: u16,
    surrogates: &mut dyn Surrogates,
) -> Result<Deidentified, Refusal> {
    let mut walk = Walk::new(profile, i32::from(year), surrogates);
    walk.resource(kind, resource, 0)?;
    Ok(Deidentified { bytes: walk.out, report: Report { profile: profile.digest, counts: walk.counts } })
}
