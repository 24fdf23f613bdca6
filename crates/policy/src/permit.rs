//! A permitted call and its answer: the links of the chain between `decide` and `verify`.

use domain::{Reason, SessionId};
use fhir::request::View;
use fhir::{Id, ResourceType};

use crate::cursor::PageCursor;
use crate::grants::Grants;

/// One GET to the upstream, relative to its FHIR base.
#[derive(Clone, Eq, PartialEq)]
pub struct UpstreamCall {
    /// Below the base, without a slash in front: `Observation/O1`, `Observation`; empty for a page link on the base.
    pub path: String,
    /// Without the question mark; empty for none.
    pub query: String,
}

/// Names a patient: debug output shows none of it.
impl std::fmt::Debug for UpstreamCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamCall([sealed])")
    }
}

/// What the upstream answered, unjudged.
pub struct UpstreamAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type` as received.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
    /// `ETag` as received; not used for bodies we rebuild.
    pub etag: Option<String>,
    /// `Last-Modified` as received.
    pub last_modified: Option<String>,
}

/// Holds PHI: debug output shows the status only.
impl std::fmt::Debug for UpstreamAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamAnswer({}, [sealed])", self.status)
    }
}

/// What the answer must look like to be released.
pub(crate) enum Shape {
    Read {
        id: Id,
    },
    Search {
        /// No resource can match (a reference to a foreign base): nothing is released whatever comes.
        empty: bool,
        /// The parameter that narrows it to the patient; none for shared types.
        narrowed_by: Option<&'static str>,
        /// Whether anything was asked to be included.
        includes: bool,
        /// The query as applied, for the self link.
        applied: String,
        /// The page this is, if it is not the first.
        page: Option<PageCursor>,
    },
}

/// Everything `verify` needs; owned, so that nothing it judges by can change in between.
pub(crate) struct Plan {
    pub(crate) call: UpstreamCall,
    pub(crate) shape: Shape,
    pub(crate) kind: ResourceType,
    pub(crate) view: View,
    pub(crate) patient: Id,
    pub(crate) grants: Grants,
    pub(crate) upstream_base: String,
    pub(crate) public_base: String,
    pub(crate) session: SessionId,
    pub(crate) scope: String,
    pub(crate) page_expires_at: domain::Millis,
    pub(crate) clauses: Vec<u32>,
    pub(crate) remark: Option<Reason>,
}

impl Plan {
    pub(crate) fn interaction_name(&self) -> &'static str {
        match &self.shape {
            Shape::Read { .. } => "read",
            Shape::Search { page: None, .. } => "search",
            Shape::Search { .. } => "page",
        }
    }
}

/// Leave to make one upstream call. Made by `decide` alone, used up by the answer.
// INVARIANT: the plan was judged as a whole; there is no way to change or copy it.
#[must_use]
pub struct Permit(pub(crate) Box<Plan>);

/// An upstream answer together with the permit it answers. Made by [`Permit::answered`] alone, used up by `verify`.
#[must_use]
pub struct Answered {
    pub(crate) plan: Box<Plan>,
    pub(crate) answer: UpstreamAnswer,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({} {}, [sealed])", self.0.interaction_name(), self.0.kind)
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answered({}, [sealed])", self.answer.status)
    }
}

impl Permit {
    /// The one call it permits.
    #[must_use]
    pub fn call(&self) -> &UpstreamCall {
        &self.0.call
    }

    /// Indexes of the session's scope clauses that cover the type asked for.
    #[must_use]
    pub fn clauses(&self) -> &[u32] {
        &self.0.clauses
    }

    /// `read`, `search` or `page`.
    #[must_use]
    pub fn interaction_name(&self) -> &'static str {
        self.0.interaction_name()
    }

    /// The type asked for.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.0.kind
    }

    /// What a reviewer should know of a request that was allowed, e.g. that it named no patient.
    #[must_use]
    pub fn remark(&self) -> Option<Reason> {
        self.0.remark
    }

    /// Joins the call to its answer; the permit is used up.
    pub fn answered(self, answer: UpstreamAnswer) -> Answered {
        Answered { plan: self.0, answer }
    }
}

impl Answered {
    /// The status the upstream answered with.
    #[must_use]
    pub fn upstream_status(&self) -> u16 {
        self.answer.status
    }

    /// The type asked for.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.plan.kind
    }
}
