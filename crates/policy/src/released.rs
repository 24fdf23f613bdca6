//! What verification let through: the only body that may reach a caller.

use domain::Reason;
use fhir::ResourceType;

use crate::permit::UpstreamCall;

/// Resources let through and held back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Released, included ones among them.
    pub released: u32,
    /// Held back.
    pub filtered: u32,
}

/// Something in the upstream's answer that a person must look at.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// A match of a search narrowed by `param` was another patient's: the upstream ignored the filter.
    ForeignMatch {
        /// The type searched.
        kind: ResourceType,
        /// The parameter that should have filtered.
        param: String,
    },
    /// A `next` link led away from the upstream, and was dropped (PG-06).
    ForeignLink,
    /// What the upstream says it stored is not what was written, or is of another patient (WR-38).
    Rewritten {
        /// The type written.
        kind: ResourceType,
    },
}

/// What a released body is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// FHIR JSON.
    Fhir,
    /// The content of a Binary, of this media type.
    Raw(String),
}

/// The verified answer. Made by `verify` alone; owns what the audit record and the responder need.
// INVARIANT: `body` holds only bytes that verification released, text of our own, or what [`Released::veiled`] was given for them.
pub struct Released {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) content: Content,
    pub(crate) location: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) counts: Counts,
    pub(crate) resources: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) clauses: Vec<u32>,
    pub(crate) call: UpstreamCall,
    pub(crate) kind: ResourceType,
    pub(crate) interaction: &'static str,
    pub(crate) spooled: Option<u64>,
    pub(crate) upstream_status: u16,
}

/// Holds PHI: debug output shows the status only.
impl std::fmt::Debug for Released {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Released({}, [sealed])", self.status)
    }
}

impl Released {
    /// The same answer with less in it: `body` was made of this one's by taking away what identifies somebody, or by putting
    /// something else in its place, and it alone leaves. Versions, dates and places that would stand in headers go too.
    /// `None` for what is no FHIR JSON in memory: nothing of it could be looked at.
    #[must_use]
    pub fn veiled(self, body: Vec<u8>) -> Option<Self> {
        if self.content != Content::Fhir || self.spooled.is_some() {
            return None;
        }
        Some(Self { body, location: None, etag: None, last_modified: None, ..self })
    }

    /// The status to answer with: 200, 201, 204, or that of a refusal.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body to answer with: FHIR JSON, an OperationOutcome of ours for anything but 200.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, taken.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// How long the body is, if it was written to a sink; then [`Released::body`] is empty.
    #[must_use]
    pub fn spooled(&self) -> Option<u64> {
        self.spooled
    }

    /// What the body is.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Where a created or changed resource is, in public form.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// A weak entity tag made of the resource's version; reads only.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The upstream's `Last-Modified`, if it is a date and a resource was released; reads only.
    #[must_use]
    pub fn last_modified(&self) -> Option<&str> {
        self.last_modified.as_deref()
    }

    /// Why nothing was released, or what is remarkable about the release.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// How many resources were released and held back.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Released resources, `Type/id` or `Type/id/_history/version`.
    #[must_use]
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// What a person must look at.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Indexes of the session's scope clauses that allowed it, ascending.
    #[must_use]
    pub fn clauses(&self) -> &[u32] {
        &self.clauses
    }

    /// The upstream call it came from.
    #[must_use]
    pub fn call(&self) -> &UpstreamCall {
        &self.call
    }

    /// The type asked for.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    /// [`fhir::request::Interaction::name`] of what was asked.
    #[must_use]
    pub fn interaction_name(&self) -> &'static str {
        self.interaction
    }

    /// The status the upstream answered with, for operators only.
    #[must_use]
    pub fn upstream_status(&self) -> u16 {
        self.upstream_status
    }
}
