//! Reading a FHIR request into a typed interaction: decoded once, by grammar, against an allow-list.
//!
//! What is read is all that is kept, and [`Search::canonical_query`] writes it back in one form, so that no two readers
//! of a request can disagree about it. Anything not understood is refused by name, never dropped (p5).
//!
//! A search that would infer from other resources (`_has`, a chain, a sort naming another type) is read as far as the
//! types it names and kept in [`Search::inference`]. `policy` answers such a search 403 where one of those types is not
//! granted and 400 otherwise (S1-26); it is never sent, and the canonical query leaves it out.

mod canonical;
mod decode;
mod media;
mod path;
mod query;
mod value;

use std::fmt;

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
    /// Whether a body is announced.
    pub body: bool,
}

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Interaction {
    /// `GET metadata`.
    Capabilities,
    /// `GET Type/id`.
    Read {
        /// The type asked for.
        kind: ResourceType,
        /// The instance asked for.
        id: Id,
        /// How it is to be shown.
        view: View,
    },
    /// `GET Type?…`.
    Search(Search),
    /// A further page of an earlier search: `GET Type?_hilum=<token>`.
    Page {
        /// The type searched.
        kind: ResourceType,
        /// The sealed token.
        token: String,
    },
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inference {
    /// The key that asks for it, as sent; never its value.
    pub param: String,
    /// The types it looks into.
    pub types: Vec<ResourceType>,
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
    /// No such place: 404.
    NotFound,
    /// The place does not take this method: 405.
    Method {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// No format but JSON is offered: 406.
    NotAcceptable,
    /// Over a limit of this module: 414.
    TooLong,
}

/// Reads a request.
///
/// # Errors
/// The first reason to refuse it: path, then method, then format, then parameters.
pub fn read(raw: &Raw<'_>) -> Result<Interaction, InvalidRequest> {
    let target = path::read(raw.path, raw.method)?;
    if !matches!(raw.method, Method::Get | Method::Head) {
        return Err(InvalidRequest::method());
    }
    if raw.body {
        return Err(InvalidRequest::malformed("a read or search by GET has no body"));
    }
    media::check_accept(raw.accept)?;
    let pairs = decode::pairs(raw.query.unwrap_or_default())?;
    match target {
        path::Target::Capabilities => query::view(&pairs, query::Offers::Format).map(|_| Interaction::Capabilities),
        path::Target::Instance(kind, id) => {
            query::view(&pairs, query::Offers::FormatAndProjection).map(|view| Interaction::Read { kind, id, view })
        }
        path::Target::Type(kind) => match query::page(&pairs)? {
            Some(token) => Ok(Interaction::Page { kind, token }),
            None => query::search(kind, &pairs).map(Interaction::Search),
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

    pub(crate) fn method() -> Self {
        Self::new(InvalidKind::Method { allow: "GET, HEAD" }, "only reading and searching by GET are offered here")
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
