//! Bulk Data Access (HL7 Bulk Data Access IG 2.0, "export"): which requests ask for an export, and what they ask for.
//!
//! A path that speaks of an export in any spelling is told apart from all others by [`asks_export`], so that whoever may
//! not have one is refused whatever else is wrong with the request, and a person looks at it (S1-13).

use std::fmt;
use std::str::FromStr;

use super::decode::Pair;
use super::{InvalidKind, InvalidRequest, query, quote, record};
use crate::{Id, ResourceType};

/// Decodings after which a path is looked at: one is meant, the others are somebody's way around a filter.
const DECODINGS_MAX: usize = 3;
/// Most `_typeFilter`s in one kick-off: some for each of the types a task may have.
const FILTERS_MAX: usize = 64;
/// Digits of a job's name: 128 random bits.
const JOB_DIGITS: usize = 32;
/// Most digits of a file's number.
const FILE_DIGITS_MAX: usize = 6;

/// A request of the export flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Bulk {
    /// `GET Group/id/$export`, `GET Patient/$export`.
    KickOff(KickOff),
    /// `GET $bulk/job`.
    Status {
        /// The job, as [`is_job`] has it.
        job: String,
    },
    /// `DELETE $bulk/job`.
    Cancel {
        /// The job.
        job: String,
    },
    /// `GET $bulk/job/number`.
    File {
        /// The job.
        job: String,
        /// Which of its files.
        number: u32,
    },
}

impl Bulk {
    /// Its name in records and tests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::KickOff(_) => "export",
            Self::Status { .. } => "export-status",
            Self::Cancel { .. } => "export-cancel",
            Self::File { .. } => "export-file",
        }
    }
}

/// Whose records are to be exported.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ExportOf {
    /// The members of this Group.
    Group(Id),
    /// Every patient's.
    AllPatients,
}

/// Text that names no population.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidExportOf;

impl fmt::Display for InvalidExportOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be `Group/[id]` or `all-patients`")
    }
}

impl std::error::Error for InvalidExportOf {}

impl FromStr for ExportOf {
    type Err = InvalidExportOf;

    fn from_str(text: &str) -> Result<Self, InvalidExportOf> {
        match text.split_once('/') {
            None if text == "all-patients" => Ok(Self::AllPatients),
            Some(("Group", id)) => id.parse().map(Self::Group).map_err(|_| InvalidExportOf),
            _ => Err(InvalidExportOf),
        }
    }
}

impl fmt::Display for ExportOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => write!(f, "Group/{id}"),
            Self::AllPatients => f.write_str("all-patients"),
        }
    }
}

impl serde::Serialize for ExportOf {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ExportOf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| serde::de::Error::custom(format!("`{text}`: {why}")))
    }
}

/// What an export is asked to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KickOff {
    /// Whose records.
    pub of: ExportOf,
    /// `_type`, sorted; empty: all that may be had.
    pub kinds: Vec<ResourceType>,
    /// `_typeFilter`, in order.
    pub filters: Vec<TypeFilter>,
}

/// One `_typeFilter`: `Type?query`. Several of one type are alternatives.
#[derive(Clone, Eq, PartialEq)]
pub struct TypeFilter {
    /// The type it is about.
    pub kind: ResourceType,
    /// Its query, decoded as a part of the kick-off's own and no further.
    pub query: String,
}

impl fmt::Debug for TypeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeFilter({}, [sealed])", self.kind)
    }
}

/// Whether a raw path speaks of an export: of `$export`, `$group-export` or any operation named so, in whatever case and
/// however often encoded, wherever it stands.
#[must_use]
pub fn asks_export(path: &str) -> bool {
    let mut text = path.as_bytes().to_ascii_lowercase();
    for _ in 0..DECODINGS_MAX {
        if names_export(&text) {
            return true;
        }
        let decoded = decoded(&text);
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    names_export(&text)
}

/// Whether a text has the form of a job's name.
#[must_use]
pub fn is_job(text: &str) -> bool {
    text.len() == JOB_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The number of a file.
pub(super) fn file_number(text: &str) -> Option<u32> {
    let plain = (1..=FILE_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    // One number has one name.
    let plain = plain && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The answer to every export that is asked for in a form that nobody is offered.
pub(super) fn refused() -> InvalidRequest {
    InvalidRequest::new(
        InvalidKind::Export,
        "bulk export is offered as GET Group/[id]/$export and GET Patient/$export, outside of a Bundle, to integrations \
         of class analytics with an approval for it",
    )
}

/// The parameters of a kick-off; what is not named here would widen it or means nothing (p5).
pub(super) fn kick_off(of: ExportOf, pairs: &[Pair]) -> Result<KickOff, InvalidRequest> {
    let (mut kinds, mut filters, mut format) = (Vec::new(), Vec::new(), None);
    for pair in pairs {
        match pair.key.as_str() {
            // Given repeatedly or as a list, or both (IG 2.0, "Query Parameters").
            "_type" => kinds.extend(record::types(&pair.value)?),
            "_typeFilter" => {
                for text in pair.value.split(',') {
                    filters.push(filter(text)?);
                }
            }
            "_outputFormat" => {
                check_format(&pair.value)?;
                query::once(&mut format, pair, ())?;
            }
            _ => return Err(query::unknown(&pair.key)),
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    if filters.len() > FILTERS_MAX {
        return Err(InvalidRequest::malformed("too many `_typeFilter`"));
    }
    let exported = |filter: &TypeFilter| kinds.is_empty() || kinds.contains(&filter.kind);
    if !filters.iter().all(exported) {
        return Err(InvalidRequest::malformed("a `_typeFilter` is about a type that `_type` does not name"));
    }
    Ok(KickOff { of, kinds, filters })
}

fn filter(text: &str) -> Result<TypeFilter, InvalidRequest> {
    let malformed = || InvalidRequest::malformed(format!("{}: a `_typeFilter` is `Type?query`", quote(text)));
    let (kind, query) = text.split_once('?').ok_or_else(malformed)?;
    let kind = kind.parse().map_err(|_| malformed())?;
    if query.is_empty() {
        return Err(malformed());
    }
    Ok(TypeFilter { kind, query: query.to_owned() })
}

/// In a query an unencoded `+` is a space, and clients write media types so.
fn check_format(value: &str) -> Result<(), InvalidRequest> {
    match value {
        "application/fhir+ndjson" | "application/fhir ndjson" | "application/ndjson" | "ndjson" => Ok(()),
        _ => Err(InvalidRequest::not_supported("`_outputFormat`: exports are `application/fhir+ndjson`")),
    }
}

/// Whether an operation of that name stands between any two characters that could end a segment.
fn names_export(text: &[u8]) -> bool {
    const WORD: &[u8] = b"export";
    text.split(|byte| matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#' | b'&' | b'=' | b',' | b' '))
        .any(|segment| segment.first() == Some(&b'$') && segment.windows(WORD.len()).any(|window| window == WORD))
}

/// Percent-encoding taken away once, in lower case; what is no encoding stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let value = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(value.unwrap_or(*first).to_ascii_lowercase());
        rest = if value.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[test]
fn s1_13_every_spelling_of_an_export_is_known() {
    for path in [
        "/$export",
        "/%24export",
        "/%24%65%78%70%6f%72%74",
        "/%2524export",
        "/%252524export",
        "/$EXPORT",
        "/$Export/",
        "/Patient/$export",
        "/Patient//$export",
        "/Group/x/$group-export",
        "/Group/x/$export;v=1",
        "/Group/x/./$export",
        "/Group/x/../$export",
        "/Group/x%2f$export",
        "/Group\\x\\$export",
        "/$export-poll-status",
        "/$davinci-data-export",
        "/Patient/$export/x",
        "https://other/fhir/$export",
        "/Patient?x=$export",
    ] {
        assert!(asks_export(path), "{path}");
    }
    for path in [
        "",
        "/",
        "/$everything",
        "/Patient/export",
        "/Group/export-1",
        "/$bulk/0123",
        "/x$export",
        "/%",
        "/%2",
        "/%zz$export",
        "/$ex/port",
    ] {
        assert!(!asks_export(path), "{path}");
    }
}

#[test]
fn a_population_is_named_exactly() {
    for text in ["Group/G1", "all-patients"] {
        assert_eq!(text.parse::<ExportOf>().unwrap().to_string(), text);
    }
    for text in ["", "Group", "Group/", "Group/a/b", "group/G1", "Patient/P1", "all-patients/", "*"] {
        assert!(text.parse::<ExportOf>().is_err(), "`{text}`");
    }
}

#[test]
fn jobs_and_files_have_one_name_each() {
    assert!(is_job(&"0a".repeat(16)));
    for text in ["", "0a", &"0A".repeat(16), &"0a".repeat(17), &"0g".repeat(16)] {
        assert!(!is_job(text), "`{text}`");
    }
    for (text, number) in
        [("0", Some(0)), ("12", Some(12)), ("012", None), ("", None), ("1e3", None), ("9999999", None)]
    {
        assert_eq!(file_number(text), number, "`{text}`");
    }
}
