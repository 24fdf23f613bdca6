//! A client's patch, applied here to the resource as stored, so that what would come out is judged before it is sent.
//!
//! Both forms work by splicing the text: numbers, member order and every byte that is not patched stay as they are. The
//! text is indexed anew after each operation, so a later operation sees what an earlier one left, and a limit of
//! [`Document`] that is passed on the way ends the patch.

mod edit;
mod elements;
mod equal;
mod fhirpath;
mod given;
mod pointer;
mod rfc6902;
mod target;

use std::fmt;

use crate::ResourceType;
use crate::json::{Document, InvalidJson, Value};
use edit::Work;

/// Most operations of one patch: clients send a handful, and each costs an indexing of the whole resource.
pub const OPERATIONS_MAX: usize = 100;
/// Longest patch: as an operation carries at most an element, far above what one needs.
pub const PATCH_BYTES_MAX: usize = 1024 * 1024;
/// Longest text before, between and after operations: `copy` can double it each time.
pub const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes indexed for one patch: about a second of work, or a hundred operations on a resource of 2.5 MiB.
pub const WORK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most characters of the sender's text that a refusal quotes.
const QUOTED_MAX: usize = 64;

/// A parsed patch. It can hold PHI: debug output shows none of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Patch(Form);

#[derive(Clone, Eq, PartialEq)]
enum Form {
    Json(Vec<rfc6902::Operation>),
    FhirPath(Vec<fhirpath::Operation>),
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patch([sealed])")
    }
}

/// A patch that is refused before any resource is looked at. Each holds what its sender, and nobody else, may be told:
/// it can quote the sender's own text, cut.
#[derive(Clone, Eq, PartialEq)]
pub enum InvalidPatch {
    /// It is not a patch of its form.
    Malformed(String),
    /// It may be one, and asks for what is not offered.
    Unsupported(String),
    /// It passes a limit.
    TooLong(String),
}

impl InvalidPatch {
    /// What the sender may be told.
    #[must_use]
    pub fn what(&self) -> &str {
        match self {
            Self::Malformed(what) | Self::Unsupported(what) | Self::TooLong(what) => what,
        }
    }

    fn malformed<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Malformed(what.into()))
    }

    fn unsupported<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Unsupported(what.into()))
    }
}

impl fmt::Display for InvalidPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(_) => "a malformed patch",
            Self::Unsupported(_) => "a patch of a kind that is not offered",
            Self::TooLong(_) => "a patch over a limit",
        })
    }
}

/// The sender's text is for the sender: logs get the cause alone.
impl fmt::Debug for InvalidPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [sealed]")
    }
}

impl std::error::Error for InvalidPatch {}

/// Why a patch could not be applied; nothing of the resource is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatchError {
    /// An operation names a place that is not there.
    NoTarget,
    /// A `test` operation found another value.
    TestFailed,
    /// The text would be too long, deep or wide, or the work too much.
    Limit,
    /// An operation does not fit what is there, or what would come out is no resource.
    Invalid,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTarget => "a patch operation names a place that is not there",
            Self::TestFailed => "a test of the patch failed",
            Self::Limit => "the patched resource would pass a limit",
            Self::Invalid => "a patch operation does not fit the resource",
        })
    }
}

impl std::error::Error for PatchError {}

impl Patch {
    /// Parses a JSON Patch (RFC 6902), media type `application/json-patch+json`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse_json(bytes: &[u8]) -> Result<Self, InvalidPatch> {
        rfc6902::parse(document(bytes)?.root()).map(Form::Json).map(Self)
    }

    /// Parses a FHIRPath Patch (FHIR R4, "FHIRPath Patch"): a Parameters resource. Its paths are element names and
    /// indices; anything more of FHIRPath is not offered.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse_fhirpath(bytes: &[u8]) -> Result<Self, InvalidPatch> {
        fhirpath::parse(document(bytes)?.root()).map(Form::FhirPath).map(Self)
    }

    /// Applies all operations in their order, or none. What comes out is a JSON object within the limits of
    /// [`Document`]; its `resourceType` and `id` may be others than before.
    ///
    /// # Errors
    /// Why the first operation that fails does.
    pub fn apply(&self, kind: ResourceType, resource: &str) -> Result<String, PatchError> {
        let mut work = Work::new(resource);
        match &self.0 {
            Form::Json(operations) => operations.iter().try_for_each(|operation| operation.apply(&mut work))?,
            Form::FhirPath(operations) => {
                operations.iter().try_for_each(|operation| operation.apply(kind, &mut work))?
            }
        }
        work.finish()
    }
}

fn document(bytes: &[u8]) -> Result<Document<'_>, InvalidPatch> {
    if bytes.len() > PATCH_BYTES_MAX {
        return Err(InvalidPatch::TooLong(format!("a patch has at most {PATCH_BYTES_MAX} bytes")));
    }
    Document::parse(bytes).map_err(|why| match why {
        InvalidJson::Limit(_) => InvalidPatch::TooLong(why.to_string()),
        _ => InvalidPatch::Malformed(why.to_string()),
    })
}

/// The operations of a patch, each parsed, while they are not too many.
fn each<'d, T>(
    operations: impl Iterator<Item = Value<'d>>,
    parse: impl Fn(Value<'d>) -> Result<T, InvalidPatch>,
) -> Result<Vec<T>, InvalidPatch> {
    let mut parsed = Vec::new();
    for operation in operations {
        if parsed.len() >= OPERATIONS_MAX {
            return Err(InvalidPatch::TooLong(format!("a patch has at most {OPERATIONS_MAX} operations")));
        }
        parsed.push(parse(operation)?);
    }
    Ok(parsed)
}

/// The sender's own text in backticks, cut.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{cut}{more}`")
}

#[cfg(test)]
mod tests;
