//! What an answer must look like to be released, one shape per kind of call.

use std::collections::{HashMap, HashSet};

use fhir::request::{Include, Search};
use fhir::{Id, ResourceType};

use crate::consent::ConsentsBuilder;
use crate::cursor::{PageCursor, Start};
use crate::permit::UpstreamCall;
use crate::released::Finding;
use crate::verify::submission::Transaction;
use crate::verify::write::Writing;

/// What the answer to a call must be.
pub(crate) enum Shape {
    /// This instance.
    Read { id: Id },
    /// This version of an instance; `after` is its call, while the instance as it is now is being asked for.
    Vread { id: Id, version: Id, after: Option<UpstreamCall> },
    /// Versions of this instance; `after` as above.
    History { id: Id, page: Option<PageCursor>, applied: String, after: Option<UpstreamCall>, filling: Filling },
    /// A searchset.
    Search(Box<SearchShape>),
    /// A searchset over all types.
    Everything { page: Option<PageCursor>, applied: String, filling: Filling },
    /// A Binary, and what proves that it may be had.
    Binary(BinaryShape),
    /// A step of a write.
    Write(Box<Writing>),
    /// A step of a transaction.
    Transaction(Box<Transaction>),
    /// The patient's Consents, which are rules and never released.
    Consents(Box<ConsentsBuilder>),
    /// Taken out while it is being worked on; matches no answer.
    Gone,
}

/// What a search may bring.
#[derive(Default)]
pub(crate) struct SearchShape {
    /// No resource can match (a reference to a foreign base): nothing is released whatever comes.
    pub(crate) empty: bool,
    /// The parameter that narrows it to the patient; none for shared types.
    pub(crate) narrowed_by: Option<&'static str>,
    /// What is asked to come along.
    pub(crate) includes: Vec<Include>,
    /// What is asked to come along by its references to the results.
    pub(crate) revincludes: Vec<Include>,
    /// The query as applied, for the self link.
    pub(crate) applied: String,
    /// The page this is, if it is not the first.
    pub(crate) page: Option<PageCursor>,
    /// The page as far as it is there.
    pub(crate) filling: Filling,
    /// The slices of the scope, where each is asked for by a search of its own.
    pub(crate) union: Option<Union>,
    /// Of each code the last so many.
    pub(crate) last: Option<Last>,
    /// Searches whose results this one is to refer to; the first is what is being asked.
    pub(crate) hops: Vec<Hop>,
    /// The search itself, while hops are being asked.
    pub(crate) waiting: Option<Search>,
}

/// A page that is put together from several of the upstream's.
#[derive(Default)]
pub(crate) struct Filling {
    /// How many matches it is to have; where that was not asked for, as many as the upstream's first page.
    pub(crate) size: Option<u32>,
    /// Where on the upstream's page at hand it begins.
    pub(crate) start: Option<Start>,
    /// The entries that earlier pages of the upstream's gave.
    pub(crate) entries: String,
    /// How many matches are among them.
    pub(crate) matches: u32,
    /// Upstream pages asked on for.
    pub(crate) calls: u16,
    /// What was held back so far.
    pub(crate) filtered: u32,
    /// The upstream put an outcome of its own there.
    pub(crate) remarks: bool,
    /// What was found out about the upstream so far.
    pub(crate) findings: Vec<Finding>,
}

impl Filling {
    /// Of a first page, or of the one a cursor leads to.
    pub(crate) fn of(size: Option<u32>, start: Option<Start>) -> Self {
        Self { size, start, ..Self::default() }
    }
}

/// Slices of one type that no single search expresses: each is searched by itself, and a resource belongs to the first
/// slice it lies in, so that none comes twice (SR-32).
#[derive(Clone)]
pub(crate) struct Union {
    /// Which slice the search at hand asks for: its place among the clauses that cover the type's search.
    pub(crate) at: u16,
    /// The queries of the slices that follow.
    pub(crate) rest: Vec<String>,
}

/// What `$lastn` has gathered so far.
#[derive(Default)]
pub(crate) struct Last {
    pub(crate) max: u32,
    /// Rendered entries, newest first.
    pub(crate) gathered: Vec<Gathered>,
    /// The places of those of one code.
    pub(crate) by_code: HashMap<String, Vec<usize>>,
    /// The ids of all that were looked at.
    pub(crate) known: HashSet<String>,
    /// Resources looked at.
    pub(crate) seen: u32,
    /// Bytes gathered.
    pub(crate) bytes: usize,
}

/// One entry of `$lastn`.
pub(crate) struct Gathered {
    /// When it was made, as written.
    pub(crate) time: String,
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) clause: u32,
    pub(crate) body: Vec<u8>,
}

/// A chain or reverse chain, answered by a search of the caller's own (CH-05, CH-08).
pub(crate) struct Hop {
    /// The type searched.
    pub(crate) kind: ResourceType,
    /// Its narrowed query.
    pub(crate) query: String,
    /// By which parameter it is narrowed.
    pub(crate) narrowed_by: &'static str,
    /// What its results say of the search that waits.
    pub(crate) joins: Joins,
    /// What earlier pages of it found.
    pub(crate) found: Vec<String>,
}

/// How a hop's results narrow the search that waits for them.
pub(crate) enum Joins {
    /// That search refers to one of them by this parameter.
    By(&'static str),
    /// One of them refers by this parameter to what that search finds.
    From(&'static str),
}

/// How a Binary is proved the session's.
pub(crate) struct BinaryShape {
    pub(crate) id: Id,
    /// Whether its content is wanted, not the resource.
    pub(crate) raw: bool,
    /// The attachment's media type, if a proof came with the request.
    pub(crate) proven: Option<Option<String>>,
    /// The Binary as read, while a second look-up decides about it.
    pub(crate) held: Option<(Vec<u8>, ProvedBy)>,
}

/// The second look-up for a Binary.
pub(crate) enum ProvedBy {
    /// The instance its `securityContext` names.
    Context(ResourceType, Id),
    /// A document of the session's patient that links to it.
    Document,
}

impl Shape {
    /// How much it holds of answers that were judged.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Search(shape) => shape.filling.entries.len() + shape.last.as_ref().map_or(0, |last| last.bytes),
            Self::Everything { filling, .. } | Self::History { filling, .. } => filling.entries.len(),
            _ => 0,
        }
    }

    /// `Type/id` of what a write is to change.
    pub(crate) fn targets(&self) -> Vec<String> {
        match self {
            Self::Write(writing) => vec![writing.target()],
            Self::Transaction(transaction) => transaction.targets(),
            _ => Vec::new(),
        }
    }
}
