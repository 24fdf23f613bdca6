//! A permitted call and its answer: the links of the chain between `decide` and `verify`.
//!
//! A [`Permit`] asks the upstream for something; a [`WritePermit`] changes something there, and cannot be used before its
//! intent is on record: only `server::audit` hands it on.

use std::sync::Arc;

use domain::Reason;
use fhir::ResourceType;
use fhir::request::View;

use crate::context::{Authority, Context};
use crate::shape::Shape;

/// Most upstream calls for one interaction: the pages of `$lastn`, or the look-ups of a transaction.
pub(crate) const STEPS_MAX: u16 = 400;

/// What a call does upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of HTTP")]
pub enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// The body of a call.
#[derive(Clone, Eq, PartialEq)]
pub enum UpstreamBody {
    /// A search form, `application/x-www-form-urlencoded`.
    Form(String),
    /// A resource, `application/fhir+json`.
    Resource(String),
}

/// One call to the upstream, relative to its FHIR base.
#[derive(Clone, Eq, PartialEq)]
pub struct UpstreamCall {
    /// What it does.
    pub verb: Verb,
    /// Below the base, without a slash in front: `Observation/O1`, `Observation`; empty for the base itself.
    pub path: String,
    /// Without the question mark; empty for none.
    pub query: String,
    /// What it sends.
    pub body: Option<UpstreamBody>,
    /// `If-Match`: the entity tag of the version that was judged.
    pub if_match: Option<String>,
}

impl UpstreamCall {
    /// A GET.
    pub(crate) fn get(path: impl Into<String>, query: impl Into<String>) -> Self {
        Self { verb: Verb::Get, path: path.into(), query: query.into(), body: None, if_match: None }
    }
}

/// Names a patient: debug output shows none of it.
impl std::fmt::Debug for UpstreamCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamCall([sealed])")
    }
}

/// What the upstream answered, unjudged.
#[derive(Default)]
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
    /// `Location` as received: where a create put its resource.
    pub location: Option<String>,
}

/// Holds PHI: debug output shows the status only.
impl std::fmt::Debug for UpstreamAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamAnswer({}, [sealed])", self.status)
    }
}

/// Everything `verify` needs; owned, so that nothing it judges by can change in between.
pub(crate) struct Plan {
    pub(crate) call: UpstreamCall,
    pub(crate) shape: Shape,
    pub(crate) kind: ResourceType,
    pub(crate) view: View,
    pub(crate) cx: Arc<Context>,
    pub(crate) interaction: &'static str,
    pub(crate) clauses: Vec<u32>,
    pub(crate) remark: Option<Reason>,
    /// Calls made so far.
    pub(crate) steps: u16,
}

/// Leave to ask the upstream once. Made by `decide` and, for what follows on an answer, by `verify`; used up by the answer.
// INVARIANT: the plan was judged as a whole; there is no way to change or copy it.
#[must_use]
pub struct Permit(pub(crate) Box<Plan>);

/// Leave to change something upstream, once its intent is on record.
// INVARIANT: as of a permit.
#[must_use]
pub struct WritePermit(pub(crate) Box<Plan>);

/// An upstream answer together with the permit it answers. Made by [`Permit::answered`] alone, used up by `verify`.
#[must_use]
pub struct Answered {
    pub(crate) plan: Box<Plan>,
    pub(crate) answer: UpstreamAnswer,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({} {}, [sealed])", self.0.interaction, self.0.kind)
    }
}

impl std::fmt::Debug for WritePermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WritePermit({} {}, [sealed])", self.0.interaction, self.0.kind)
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

    /// Whose token the call is made with.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.0.cx.authority
    }

    /// Indexes of the session's scope clauses that cover the type asked for.
    #[must_use]
    pub fn clauses(&self) -> &[u32] {
        &self.0.clauses
    }

    /// [`fhir::request::Interaction::name`] of what is asked.
    #[must_use]
    pub fn interaction_name(&self) -> &'static str {
        self.0.interaction
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

    /// How many bytes of earlier answers are kept for what is to be released.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.0.shape.kept_bytes()
    }

    /// Joins the call to its answer; the permit is used up.
    pub fn answered(self, answer: UpstreamAnswer) -> Answered {
        Answered { plan: self.0, answer }
    }
}

impl WritePermit {
    /// The one call it permits.
    #[must_use]
    pub fn call(&self) -> &UpstreamCall {
        &self.0.call
    }

    /// Whose token the call is made with.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.0.cx.authority
    }

    /// Indexes of the session's scope clauses that cover what is written.
    #[must_use]
    pub fn clauses(&self) -> &[u32] {
        &self.0.clauses
    }

    /// `create`, `update`, `patch`, `delete` or `transaction`.
    #[must_use]
    pub fn interaction_name(&self) -> &'static str {
        self.0.interaction
    }

    /// The type written.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.0.kind
    }

    /// `Type/id` of every instance that is to change, `Type` where one is to be created; for the record of intent.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.0.shape.targets()
    }

    /// Joins the call to its answer; the permit is used up. Whoever calls this has the intent on record.
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
