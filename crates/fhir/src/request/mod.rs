//! Reading a FHIR request into a typed interaction: decoded once, by grammar, against an allow-list.
//!
//! What is read is all that is kept, and [`Search::canonical_query`] writes it back in one form, so that no two readers
//! of a request can disagree about it. Anything not understood is refused by name, never dropped (p5).
//!
//! A search that would infer from other resources (`_has`, a chain, a sort naming another type) is read as far as the
//! types it names and kept in [`Search::inference`]. `policy` answers such a search 403 where one of those types is not
//! granted and 400 otherwise (S1-26); it is never sent, and the canonical query leaves it out.
//!
//! Bodies are read as strictly: a form is more parameters, a resource is of the type the path names, a Bundle is a list of
//! requests each read by this very module.

mod bulk;
mod bundle;
mod canonical;
mod decode;
mod interaction;
mod media;
mod path;
mod query;
mod record;
mod value;
mod write;

use std::fmt;

pub use self::bulk::{Bulk, ExportOf, InvalidExportOf, KickOff, TypeFilter, asks_export, is_job};
pub use self::bundle::{Entry, Submission, SubmissionKind};
pub use self::interaction::{Everything, History, Interaction, Payload, Returns, Write};
use crate::params::ParamKind;
use crate::{Id, ResourceType};

/// Longest path below the FHIR base: two types, two ids of 64 characters and their separators, each byte encoded, fit.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest query: a page token or [`PARAMS_MAX`] parameters of ordinary length.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Most parameters in one query; real searches have fewer than ten.
pub const PARAMS_MAX: usize = 64;
/// Most values in one OR list: about the ids that fit into [`QUERY_BYTES_MAX`].
pub const VALUES_MAX: usize = 100;
/// Most `_include` and `_revinclude` together: each may multiply the answer.
pub const INCLUDES_MAX: usize = 16;
/// Longest `Accept` header that is read; browsers send about 150 bytes.
pub const ACCEPT_BYTES_MAX: usize = 1024;
/// Longest piece of the sender's own text in [`InvalidRequest::what`].
pub const QUOTE_CHARS_MAX: usize = 100;

/// Largest resource or Bundle taken from a client: attachments are written inline, and EHRs take a few megabytes.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest search form: the parameters of [`QUERY_BYTES_MAX`], with room for long lists of values.
pub const FORM_BYTES_MAX: usize = 16 * 1024;
/// Most entries in one batch or transaction; each may cost two upstream calls (BA-19).
pub const BUNDLE_ENTRIES_MAX: usize = 200;

/// The request's method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of HTTP")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

/// One HTTP request as far as it is FHIR.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    /// The method.
    pub method: Method,
    /// The path below the FHIR base, still percent-encoded; starts with `/` or is empty.
    pub path: &'a str,
    /// The query without `?`, still percent-encoded.
    pub query: Option<&'a str>,
    /// The `Accept` header; several are joined with commas.
    pub accept: Option<&'a str>,
    /// The body; `None` when none was announced.
    pub body: Option<Body<'a>>,
    /// Headers that make a request conditional or say what to answer.
    pub conditions: Conditions<'a>,
}

/// A body as it came.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    /// `Content-Type`.
    pub media: Option<&'a str>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Headers that change what a write means or how it is answered.
#[derive(Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-None-Match`: a condition on writes; on reads it is the responder's.
    pub if_none_match: Option<&'a str>,
    /// `If-None-Exist`.
    pub if_none_exist: Option<&'a str>,
    /// `Prefer`; several are joined with commas.
    pub prefer: Option<&'a str>,
}

impl<'a> Raw<'a> {
    /// A request without body, conditions and `Accept`.
    #[must_use]
    pub fn plain(method: Method, path: &'a str, query: Option<&'a str>) -> Self {
        Self { method, path, query, accept: None, body: None, conditions: Conditions::default() }
    }
}

/// How resources are to be shown. Projection is done here, never asked of the upstream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// `_elements`: top-level names.
    pub elements: Option<Vec<String>>,
    /// `_summary`.
    pub summary: Option<Summary>,
    /// `_pretty`.
    pub pretty: bool,
}

/// `_summary`; `count` is not offered (EL-04).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of the standard")]
pub enum Summary {
    True,
    Text,
    Data,
    False,
}

/// `_total`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of the standard")]
pub enum Total {
    None,
    Estimate,
    Accurate,
}

/// A search of one type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search {
    /// The type searched.
    pub kind: ResourceType,
    /// The patient whose compartment the path names: `Patient/{id}/Type`.
    pub compartment: Option<Id>,
    /// How it was asked.
    pub asked: Asked,
    /// What must all hold, sorted; a repeated key is there repeatedly.
    pub params: Vec<Param>,
    /// Inferences it would draw; not empty: refuse it (see the module).
    pub inference: Vec<Inference>,
    /// `_include`, sorted.
    pub includes: Vec<Include>,
    /// `_revinclude`, sorted.
    pub revincludes: Vec<Include>,
    /// `_sort`: parameter, and whether it is descending.
    pub sort: Vec<(String, bool)>,
    /// `_count`.
    pub count: Option<u32>,
    /// `_total`.
    pub total: Option<Total>,
    /// How the entries are to be shown.
    pub view: View,
}

/// The form in which a search was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// `GET Type?…`.
    Get,
    /// `POST Type/_search`: its parameters are no part of an address.
    Form,
    /// `GET Observation/$lastn?…`: of each code the last so many.
    LastN(u32),
}

/// One search parameter with its alternatives.
#[derive(Clone, Eq, PartialEq)]
pub struct Param {
    /// Its name in the table of the searched type.
    pub name: &'static str,
    /// How its values are read.
    pub kind: ParamKind,
    /// Its modifier.
    pub modifier: Option<Modifier>,
    /// The OR list: decoded once, split, un-escaped. Never empty, no value is empty.
    pub values: Vec<String>,
}

/// A modifier that is offered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Modifier {
    /// `:exact`, on strings.
    Exact,
    /// `:contains`, on strings.
    Contains,
    /// `:not`, on tokens.
    Not,
    /// `:missing`, except on references to patients.
    Missing,
    /// `:Patient` and the like, on references that may point there.
    Type(ResourceType),
}

/// A search that would tell something about resources other than those returned.
#[derive(Clone, Eq, PartialEq)]
pub struct Inference {
    /// The key that asks for it, as sent.
    pub param: String,
    /// Its value, as sent.
    pub value: String,
    /// The types it looks into.
    pub types: Vec<ResourceType>,
    /// How it reads as a search of its own, where it looks into one type by one step.
    pub hop: Option<Hop>,
}

/// A chain or reverse chain of one step, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// The type it looks into.
    pub kind: ResourceType,
    /// What resources of that type must satisfy.
    pub wanted: Param,
    /// The parameter that refers: of the type searched for a chain, of [`Hop::kind`] for `_has`.
    pub link: &'static str,
    /// Whether it is a reverse chain.
    pub reverse: bool,
}

/// One `_include` or `_revinclude`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Include {
    /// The type that holds the reference.
    pub source: ResourceType,
    /// Its reference parameter.
    pub param: &'static str,
    /// Only references to this type.
    pub target: Option<ResourceType>,
    /// `:iterate`: also from resources that were included themselves.
    pub iterate: bool,
}

/// A request that is refused as it stands.
#[derive(Clone, Eq, PartialEq)]
pub struct InvalidRequest {
    /// What is wrong with it, which decides the status.
    pub kind: InvalidKind,
    /// What the sender may be told; it can quote the sender's own text and goes to nobody else.
    pub what: String,
}

/// Causes of refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidKind {
    /// It cannot be parsed, or could be parsed in two ways: 400 `invalid`.
    Malformed,
    /// A parameter, modifier or value that is not offered: 400 `not-supported`.
    NotSupported,
    /// An interaction that is not offered: 403 (operations, history, compartment paths, system level, Binary).
    Forbidden,
    /// An export in a form that nobody is offered, or within a Bundle: 403, and a person looks at it (S1-13).
    Export,
    /// No such place: 404.
    NotFound,
    /// The place does not take this method: 405.
    Method {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// No format but JSON is offered: 406.
    NotAcceptable,
    /// The body is of a kind that is not read here: 415.
    Media,
    /// The address is over a limit of this module: 414.
    TooLong,
    /// The body is over a limit of this module: 413.
    TooLarge,
}

/// Reads a request.
///
/// # Errors
/// The first reason to refuse it: path, then method, then format, then parameters, then body.
pub fn read(raw: &Raw<'_>) -> Result<Interaction, InvalidRequest> {
    use path::Target;
    let target = path::read(raw).map_err(|why| if asks_export(raw.path) { bulk::refused() } else { why })?;
    match target {
        Target::Binary(_) => {}
        Target::File(..) => media::check_ndjson(raw.accept)?,
        _ => media::check_accept(raw.accept)?,
    }
    let pairs = decode::pairs(raw.query.unwrap_or_default())?;
    if matches!(raw.method, Method::Get | Method::Head | Method::Delete) && raw.body.is_some() {
        return Err(InvalidRequest::malformed("this request has no body"));
    }
    match target {
        Target::Capabilities => query::view(&pairs, query::Offers::Format).map(|_| Interaction::Capabilities),
        Target::Instance(kind, id) => {
            query::view(&pairs, query::Offers::FormatAndProjection).map(|view| Interaction::Read { kind, id, view })
        }
        Target::Version(kind, id, version) => query::view(&pairs, query::Offers::FormatAndProjection)
            .map(|view| Interaction::Vread { kind, id, version, view }),
        Target::History(kind, id) => record::history(kind, id, &pairs).map(Interaction::History),
        Target::Everything(id) => record::everything(id, &pairs).map(Interaction::Everything),
        Target::Type(kind) => match query::page(&pairs)? {
            Some(token) => Ok(Interaction::Page { kind, token }),
            None => query::search(kind, &pairs, Asked::Get).map(Interaction::Search),
        },
        Target::LastN(kind) => record::last_n(kind, &pairs).map(Interaction::Search),
        Target::Form(kind) => {
            let pairs = query::with_form(pairs, raw.body)?;
            query::search(kind, &pairs, Asked::Form).map(Interaction::Search)
        }
        Target::Compartment(patient, kind) => {
            let (pairs, asked) = match raw.method {
                Method::Post => (query::with_form(pairs, raw.body)?, Asked::Form),
                _ => (pairs, Asked::Get),
            };
            let search = query::search(kind, &pairs, asked)?;
            Ok(Interaction::Search(Search { compartment: Some(patient), ..search }))
        }
        Target::Binary(id) => record::binary(id, raw.accept, &pairs),
        Target::Create(kind) => write::create(kind, raw, &pairs),
        Target::Update(kind, id) => write::update(kind, id, raw, &pairs),
        Target::Patch(kind, id) => write::patch(kind, id, raw, &pairs),
        Target::Delete(kind, id) => write::delete(kind, id, raw, &pairs),
        Target::System => bundle::read(raw, &pairs).map(Interaction::Bundle),
        Target::Export(of) => bulk::kick_off(of, &pairs).map(|kick_off| Interaction::Bulk(Bulk::KickOff(kick_off))),
        Target::Status(job) => {
            query::view(&pairs, query::Offers::Format).map(|_| Interaction::Bulk(Bulk::Status { job }))
        }
        Target::Cancel(job) => {
            query::view(&pairs, query::Offers::Format).map(|_| Interaction::Bulk(Bulk::Cancel { job }))
        }
        Target::File(job, number) => match pairs.first() {
            None => Ok(Interaction::Bulk(Bulk::File { job, number })),
            Some(pair) => Err(query::unknown(&pair.key)),
        },
    }
}

impl InvalidRequest {
    pub(crate) fn new(kind: InvalidKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::new(InvalidKind::Malformed, what)
    }

    pub(crate) fn not_supported(what: impl Into<String>) -> Self {
        Self::new(InvalidKind::NotSupported, what)
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        Self::new(InvalidKind::Method { allow }, format!("this place takes {allow}"))
    }
}

/// The sender's own text for a message: cut, and without control characters.
pub(crate) fn quote(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(QUOTE_CHARS_MAX).collect();
    format!("`{shown}`")
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param({} {:?} {:?} [sealed])", self.name, self.kind, self.modifier)
    }
}

impl fmt::Debug for Inference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inference({:?} [sealed])", self.types)
    }
}

impl fmt::Debug for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InvalidRequest({:?} [sealed])", self.kind)
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for InvalidRequest {}
