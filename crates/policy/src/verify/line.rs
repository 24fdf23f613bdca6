//! One line of a file of an export: judged as a session of the one member it belongs to would have it (S1-15).
//!
//! Whose it is, is read by the owner rule and must be one member alone; from there on it is a read like any other, with that
//! member's compartment, Consents, labels, slices and references. A line is released whole or held back; what is no line of
//! the file at all ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Filter, Reason};
use fhir::json::{Document, Room, Value};
use fhir::owner::{self, OwnerRule};
use fhir::references::{self, Reference};
use fhir::{Id, ResourceType};

use super::edit::Edits;
use super::{judge, walk};
use crate::consent::Consents;
use crate::context::{Authority, Context};
use crate::criteria;
use crate::decide::{Denial, Guard};
use crate::export::{self, EXPORTS, ExportAsk, ExportJob, Members};
use crate::grants::Grants;

/// Stands for the patient where a resource is nobody's: the longest id there is, which no server gives.
const NOBODY: &str = "----------------------------------------------------------------";

/// What became of a line.
#[derive(Debug)]
pub enum Line {
    /// Nothing stands in it.
    Empty,
    /// This may leave.
    Released(ReleasedLine),
    /// It stays.
    Held(Held),
    /// It is this member's, whose Consents must be known first; then it is judged again.
    Asks(Id),
}

/// Why a line stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Held {
    /// It is of another type than its file.
    Kind,
    /// It belongs to no member, to several, or to nobody who can be told.
    Foreign,
    /// It does not meet the `_typeFilter` of the kick-off.
    Unasked,
    /// It is a member's, and its scope, labels, Consents, policies or contents keep it back.
    Withheld,
}

/// Bytes that are no line of a file: not strict JSON, or no resource with a type and an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BrokenLine;

impl std::fmt::Display for BrokenLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a line of an export")
    }
}

impl std::error::Error for BrokenLine {}

/// A line that was let through, with its line break. Made by [`LineJudge::line`] alone.
// INVARIANT: `body` holds only bytes that verification released, and one line break, at its end.
pub struct ReleasedLine {
    body: Vec<u8>,
    label: String,
    clause: u32,
    patient: Option<Id>,
}

/// Holds PHI: debug output shows none of it.
impl std::fmt::Debug for ReleasedLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReleasedLine([sealed])")
    }
}

impl ReleasedLine {
    /// `Type/id` or `Type/id/_history/version`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The index of the session's scope clause that allowed it.
    #[must_use]
    pub fn clause(&self) -> u32 {
        self.clause
    }

    /// Whose it is; none where it is nobody's.
    #[must_use]
    pub fn patient(&self) -> Option<&Id> {
        self.patient.as_ref()
    }

    /// The line, with its line break.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// Judges the lines of one file. Made by [`decide_lines`] alone.
pub struct LineJudge {
    /// Of the member whose line is at hand.
    cx: Context,
    kind: ResourceType,
    filters: Vec<Filter>,
    members: Members,
    nobody: Id,
    room: Room,
}

/// Judges whether this session may have a file of this type of this job, as everything stands now.
///
/// # Errors
/// Why not; the upstream is asked nothing then.
pub fn decide_lines(
    ask: &ExportAsk<'_>,
    job: &ExportJob,
    kind: ResourceType,
    guard: Option<Arc<dyn Guard>>,
) -> Result<LineJudge, Denial> {
    let refused = || Denial::new(Reason::ExportRefused, "the approval of this session does not cover this export");
    if ask.population()? != job.of() || !job.kinds().contains(&kind) {
        return Err(refused());
    }
    let grants = Grants::new(ask.integration, ask.profile, ask.session, ask.rules, guard);
    export::check(&grants, kind)?;
    let nobody: Id = NOBODY.parse().map_err(|_| refused())?;
    let cx = Context {
        patient: nobody.clone(),
        grants,
        upstream_base: ask.rules.upstream_base.clone(),
        public_base: ask.rules.public_base.clone(),
        session: ask.session.id,
        authority: Authority::of(ask.session),
        scope: ask.session.scopes.to_string(),
        purpose_of_use: ask.session.purpose_of_use.clone(),
        now: ask.now,
        links_expire_at: ask.now,
        page: 1,
        consents: Consents::unknown(),
        proofs: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    let (filters, members) = (job.filters_of(kind)?, job.members().clone());
    Ok(LineJudge { cx, kind, filters, members, nobody, room: Room::default() })
}

impl LineJudge {
    /// Judges one line, without its line break. `consents` tells what a member has consented to; `None` if that is not known
    /// yet.
    ///
    /// # Errors
    /// [`BrokenLine`]: the file is not what it should be, and nothing more of it may leave.
    pub fn line(&mut self, bytes: &[u8], consents: &dyn Fn(&Id) -> Option<Consents>) -> Result<Line, BrokenLine> {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Line::Empty);
        }
        // What some readers take for a line break would make two lines of one that was judged.
        if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(BrokenLine);
        }
        let document = Document::parse_in(bytes, std::mem::take(&mut self.room)).map_err(|_| BrokenLine)?;
        let line = self.judged(&document, consents);
        self.room = document.into_room();
        line
    }

    fn judged(
        &mut self,
        document: &Document<'_>,
        consents: &dyn Fn(&Id) -> Option<Consents>,
    ) -> Result<Line, BrokenLine> {
        let resource = document.root();
        let (kind, id) = super::identity(resource).ok_or(BrokenLine)?;
        if kind != self.kind {
            return Ok(Line::Held(Held::Kind));
        }
        let owner = match owned_by(&self.cx.upstream_base, kind, &id, resource) {
            Owner::One(owner) if self.members.holds(&owner) => Some(owner),
            Owner::Nobody => None,
            Owner::One(_) | Owner::Unknown => return Ok(Line::Held(Held::Foreign)),
        };
        if !self.filters.is_empty() && !self.filters.iter().any(|filter| criteria::holds(kind, filter, resource)) {
            return Ok(Line::Held(Held::Unasked));
        }
        (self.cx.patient, self.cx.consents) = match owner {
            // What is nobody's is shared, and nothing of a patient may be in it.
            None => (self.nobody.clone(), Consents::unknown()),
            Some(owner) => match consents(&owner) {
                Some(found) => (owner, found),
                None => return Ok(Line::Asks(owner)),
            },
        };
        let cx = &self.cx;
        let mut edits = Edits::default();
        let judged = judge::judge(cx, kind, &id, &[EXPORTS], resource)
            .and_then(|clause| walk::walk(cx, kind, resource, &mut edits, &mut |_| None).map(|()| clause));
        let Ok(clause) = judged else { return Ok(Line::Held(Held::Withheld)) };
        edits.settle(&mut |target_kind, target_id| target_kind == kind && target_id == id);
        let mut body = Vec::with_capacity(resource.raw().len() + 256);
        edits.apply(&mut body, document.text(), resource.span());
        body.push(b'\n');
        let patient = (cx.patient != self.nobody).then(|| cx.patient.clone());
        Ok(Line::Released(ReleasedLine { label: super::label(kind, &id, resource), body, clause, patient }))
    }
}

/// Whose a resource is, before it is judged.
enum Owner {
    /// This patient's alone, as far as the elements go by which it has an owner.
    One(Id),
    /// Nobody's: a type that has no owner.
    Nobody,
    /// Of nobody who can be told, or of several.
    Unknown,
}

/// Reads the owner where the owner rule looks. What else the rule asks is left to `judge`, for that owner.
fn owned_by(base: &str, kind: ResourceType, id: &str, resource: Value<'_>) -> Owner {
    let paths = match owner::rule(kind) {
        OwnerRule::Own => return id.parse().map_or(Owner::Unknown, Owner::One),
        OwnerRule::Outside => return Owner::Nobody,
        OwnerRule::Primary(paths) | OwnerRule::EveryParty(paths) | OwnerRule::Added(paths) => paths,
    };
    let (mut found, mut several) = (None::<String>, false);
    for path in paths {
        resource.at_path(path.elements, &mut |value| {
            let Some(text) = value.get_str("reference") else { return };
            let patient = match references::parse(&text) {
                Reference::Relative { kind: ResourceType::PATIENT, id, .. } => id,
                Reference::Absolute { base: at, kind: ResourceType::PATIENT, id, .. } if at == base => id,
                _ => return,
            };
            several |= found.as_deref().is_some_and(|known| known != patient);
            found.get_or_insert_with(|| patient.to_owned());
        });
    }
    match found.and_then(|id| id.parse().ok()) {
        Some(owner) if !several => Owner::One(owner),
        _ => Owner::Unknown,
    }
}

#[test]
fn nobody_is_an_id() {
    assert!(NOBODY.parse::<Id>().is_ok());
}
