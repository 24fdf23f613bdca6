//! What a request asks for, one variant per interaction of FHIR's REST interface (R4 "RESTful API").

use std::fmt;

use super::{Bulk, Search, Submission, View};
use crate::{Id, ResourceType};

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
    /// `GET Type/id/_history/version`.
    Vread {
        /// The type asked for.
        kind: ResourceType,
        /// The instance asked for.
        id: Id,
        /// Its version.
        version: Id,
        /// How it is to be shown.
        view: View,
    },
    /// `GET Type/id/_history`.
    History(History),
    /// `GET Type?…`, `POST Type/_search`, `GET Patient/id/Type?…`, `GET Observation/$lastn?…`.
    Search(Search),
    /// A further page of an earlier answer: `GET Type?_hilum=<token>`.
    Page {
        /// The type searched.
        kind: ResourceType,
        /// The sealed token.
        token: String,
    },
    /// `GET Patient/id/$everything`.
    Everything(Everything),
    /// `GET Binary/id`.
    Binary {
        /// The instance asked for.
        id: Id,
        /// The sealed proof that a released attachment linked to it.
        proof: Option<String>,
        /// Whether the content itself is wanted, not the resource around it.
        raw: bool,
        /// How the resource is to be shown.
        view: View,
    },
    /// `POST Type`, `PUT Type/id`, `PATCH Type/id`, `DELETE Type/id`.
    Write(Write),
    /// `POST` of a batch or transaction.
    Bundle(Submission),
    /// A step of a bulk export.
    Bulk(Bulk),
}

impl Interaction {
    /// The names [`Interaction::name`] gives, each once.
    pub const NAMES: [&str; 19] = [
        "capabilities",
        "read",
        "vread",
        "history",
        "search",
        "lastn",
        "page",
        "everything",
        "binary",
        "create",
        "update",
        "patch",
        "delete",
        "batch",
        "transaction",
        "export",
        "export-status",
        "export-cancel",
        "export-file",
    ];

    /// Its name in records and tests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Read { .. } => "read",
            Self::Vread { .. } => "vread",
            Self::History(_) => "history",
            Self::Search(Search { asked: super::Asked::LastN(_), .. }) => "lastn",
            Self::Search(_) => "search",
            Self::Page { .. } => "page",
            Self::Everything(_) => "everything",
            Self::Binary { .. } => "binary",
            Self::Write(write) => write.name(),
            Self::Bundle(submission) => submission.kind.name(),
            Self::Bulk(bulk) => bulk.name(),
        }
    }
}

/// An instance's history, newest version first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct History {
    /// The type asked for.
    pub kind: ResourceType,
    /// The instance asked for.
    pub id: Id,
    /// `_count`.
    pub count: Option<u32>,
    /// `_since`: an instant, by its grammar.
    pub since: Option<String>,
    /// How the versions are to be shown.
    pub view: View,
}

/// `$everything` of one patient (R4 Patient operations).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Everything {
    /// The patient named.
    pub id: Id,
    /// `start` and `end`: care dates, by their grammar.
    pub start: Option<String>,
    /// See [`Everything::start`].
    pub end: Option<String>,
    /// `_since`.
    pub since: Option<String>,
    /// `_type`; empty for all.
    pub kinds: Vec<ResourceType>,
    /// `_count`.
    pub count: Option<u32>,
    /// How the resources are to be shown.
    pub view: View,
}

/// A write of one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// `POST Type`.
    Create {
        /// Its type.
        kind: ResourceType,
        /// What to store.
        resource: Payload,
        /// What to answer with.
        returns: Returns,
    },
    /// `PUT Type/id`.
    Update {
        /// Its type.
        kind: ResourceType,
        /// Its id, in path and body.
        id: Id,
        /// `If-Match`: the version meant.
        if_match: Option<Id>,
        /// What to store.
        resource: Payload,
        /// What to answer with.
        returns: Returns,
    },
    /// `PATCH Type/id`.
    Patch {
        /// Its type.
        kind: ResourceType,
        /// Its id.
        id: Id,
        /// `If-Match`: the version meant.
        if_match: Option<Id>,
        /// What to change.
        patch: crate::patch::Patch,
        /// What to answer with.
        returns: Returns,
    },
    /// `DELETE Type/id`.
    Delete {
        /// Its type.
        kind: ResourceType,
        /// Its id.
        id: Id,
        /// `If-Match`: the version meant.
        if_match: Option<Id>,
    },
}

impl Write {
    /// `create`, `update`, `patch` or `delete`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::Patch { .. } => "patch",
            Self::Delete { .. } => "delete",
        }
    }

    /// The type written.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        match self {
            Self::Create { kind, .. }
            | Self::Update { kind, .. }
            | Self::Patch { kind, .. }
            | Self::Delete { kind, .. } => *kind,
        }
    }
}

/// `Prefer: return=…` (R4 "Managing Return Content").
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Returns {
    /// The resource as stored.
    #[default]
    Representation,
    /// Nothing.
    Minimal,
    /// An OperationOutcome, which is ours.
    Outcome,
}

/// A strict JSON resource from a client, of the type its place names. Shows nothing of itself.
#[derive(Clone, Eq, PartialEq)]
pub struct Payload(pub(super) String);

impl Payload {
    /// Its JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload([sealed])")
    }
}
