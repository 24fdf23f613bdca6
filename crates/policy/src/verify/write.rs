//! Writes: the stored resource is read and judged, then what is to be stored, then what it refers to; only then is it sent,
//! under the version that was judged (b.12). What comes back is judged like any answer.

use domain::{Actions, Reason};
use fhir::json::Document;
use fhir::patch::{Patch, PatchError};
use fhir::request::{Returns, Write};
use fhir::{Id, ResourceType};

use super::edit::Edits;
use super::restore;
use super::{Asked, Part, Sealer, Step, identity, judge, read_answer, version, walk};
use crate::context::Context;
use crate::decide::Denial;
use crate::permit::{Plan, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};

mod answer;
mod content;

pub(super) use answer::finish;

/// What is done.
enum Op {
    Create,
    Update,
    Patch(Patch),
    Delete,
}

/// Where a write stands.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stage {
    /// The stored resource is being read.
    Stored,
    /// What the new one refers to is being read: which of them.
    Proving(usize),
    /// Everything was judged.
    Ready,
}

/// One write, from its request to its answer.
pub(crate) struct Writing {
    op: Op,
    pub(super) kind: ResourceType,
    pub(super) id: Option<Id>,
    if_match: Option<Id>,
    pub(super) returns: Returns,
    /// The client's text, and then the upstream's.
    body: String,
    stage: Stage,
    /// The stored version that was judged.
    version: Option<String>,
    proving: Vec<(ResourceType, String)>,
    /// The clause that admits it.
    pub(super) clause: Option<u32>,
}

/// What is to be done next.
pub(crate) enum Advance {
    /// This must be asked.
    Ask(UpstreamCall),
    /// The change may be made.
    Ready,
    /// It is refused.
    Refused(Denial),
    /// The upstream does not answer as it should.
    Failed(Box<Part>),
}

impl Writing {
    /// Begins a write; a create is judged at once.
    pub(crate) fn begin(cx: &Context, write: Write) -> (Self, Advance) {
        let new = |op, kind, id, if_match, returns, body| Self {
            op,
            kind,
            id,
            if_match,
            returns,
            body,
            stage: Stage::Stored,
            version: None,
            proving: Vec::new(),
            clause: None,
        };
        let mut writing = match write {
            Write::Create { kind, resource, returns } => {
                new(Op::Create, kind, None, None, returns, resource.text().to_owned())
            }
            Write::Update { kind, id, if_match, resource, returns } => {
                new(Op::Update, kind, Some(id), if_match, returns, resource.text().to_owned())
            }
            Write::Patch { kind, id, if_match, patch, returns } => {
                new(Op::Patch(patch), kind, Some(id), if_match, returns, String::new())
            }
            Write::Delete { kind, id, if_match } => {
                new(Op::Delete, kind, Some(id), if_match, Returns::Minimal, String::new())
            }
        };
        let advance = match &writing.id {
            None => writing.created(cx).unwrap_or_else(Advance::Refused),
            Some(id) => Advance::Ask(UpstreamCall::get(format!("{}/{id}", writing.kind), "")),
        };
        (writing, advance)
    }

    /// The letter it needs.
    pub(crate) fn letter(write: &Write) -> Actions {
        match write {
            Write::Create { .. } => Actions::CREATE,
            Write::Update { .. } | Write::Patch { .. } => Actions::UPDATE,
            Write::Delete { .. } => Actions::DELETE,
        }
    }

    /// `Type/id`, or `Type` for what is to be created.
    pub(crate) fn target(&self) -> String {
        match &self.id {
            Some(id) => format!("{}/{id}", self.kind),
            None => self.kind.name().to_owned(),
        }
    }

    /// The call that makes the change.
    pub(crate) fn call(&self) -> UpstreamCall {
        let (verb, body) = match self.op {
            Op::Create => (Verb::Post, Some(UpstreamBody::Resource(self.body.clone()))),
            Op::Update | Op::Patch(_) => (Verb::Put, Some(UpstreamBody::Resource(self.body.clone()))),
            Op::Delete => (Verb::Delete, None),
        };
        let if_match = self.version.as_ref().map(|version| format!("W/\"{version}\""));
        UpstreamCall { verb, path: self.target(), query: String::new(), body, if_match }
    }

    /// What it sends, for a transaction.
    pub(super) fn body(&self) -> Option<&str> {
        (!matches!(self.op, Op::Delete)).then_some(self.body.as_str())
    }

    /// The instance it changes; none for a create.
    pub(crate) fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    pub(super) fn is_create(&self) -> bool {
        matches!(self.op, Op::Create)
    }

    pub(super) fn is_delete(&self) -> bool {
        matches!(self.op, Op::Delete)
    }

    /// The look-up it waits for, if any.
    pub(super) fn wants(&self) -> Option<UpstreamCall> {
        match self.stage {
            Stage::Stored => self.id.as_ref().map(|id| UpstreamCall::get(format!("{}/{id}", self.kind), "")),
            Stage::Proving(at) => self.proving.get(at).map(|(kind, id)| UpstreamCall::get(format!("{kind}/{id}"), "")),
            Stage::Ready => None,
        }
    }

    /// One step of a write that came alone.
    pub(super) fn step(&mut self, plan: &mut Plan, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Step {
        if self.stage == Stage::Ready {
            return finish(plan, self, answer, seal).into();
        }
        match self.advance(&plan.cx, answer) {
            Advance::Ask(call) => Step::Next(call),
            Advance::Ready => {
                plan.clauses = self.clause.into_iter().collect();
                Step::Write(self.call())
            }
            Advance::Refused(denial) => Step::Denied(denial),
            Advance::Failed(part) => Step::Done(*part),
        }
    }

    /// Judges the answer to what was asked last.
    pub(super) fn advance(&mut self, cx: &Context, answer: &UpstreamAnswer) -> Advance {
        match self.stage {
            Stage::Stored => self.stored(cx, answer),
            Stage::Proving(at) => self.proved(cx, at, answer),
            Stage::Ready => Advance::Failed(Box::new(Part::broken())),
        }
    }

    fn created(&mut self, cx: &Context) -> Result<Advance, Denial> {
        let Ok(document) = Document::parse(self.body.as_bytes()) else { return Err(malformed()) };
        let restored = restore::restore(cx, None, document.root(), true).map_err(|_| malformed())?;
        content::check_own(cx, self.kind, &restored.text)?;
        content::check_links(cx, &restored.links, None)?;
        self.judge_new(cx, restored.text, None)
    }

    fn stored(&mut self, cx: &Context, answer: &UpstreamAnswer) -> Advance {
        let document = match read_answer(answer, Asked::Instance) {
            Ok(document) => document,
            Err(part) if part.reason == Some(Reason::NotFound) => return Advance::Refused(not_found()),
            Err(part) => return Advance::Failed(part),
        };
        let old = document.root();
        let Some(id) = self.id.clone() else { return Advance::Failed(Box::new(Part::broken())) };
        if !identity(old).is_some_and(|(kind, found)| kind == self.kind && found == id.as_str()) {
            return Advance::Failed(Box::new(Part::broken()));
        }
        match self.stored_as(cx, &id, &document, answer) {
            Ok(advance) => advance,
            Err(denial) => Advance::Refused(denial),
        }
    }

    /// The stored resource is the session's, in a slice it may change, and in the version it means.
    fn stored_as(
        &mut self,
        cx: &Context,
        id: &Id,
        document: &Document<'_>,
        answer: &UpstreamAnswer,
    ) -> Result<Advance, Denial> {
        let (old, kind) = (document.root(), self.kind);
        let mut edits = Edits::default();
        let visible = judge::is_member(cx, kind, id.as_str(), old)
            && !judge::is_denied(cx, kind, id.as_str(), old)
            && walk::walk(cx, kind, old, &mut edits, &mut |_| Some(String::new())).is_ok();
        if !visible {
            return Err(not_found());
        }
        let letter = if self.is_delete() { Actions::DELETE } else { Actions::UPDATE };
        let Some(clause) = cx.grants.admits(kind, &[letter], old) else {
            // What cannot be read is not said to be there.
            let readable = cx.grants.admits(kind, &[Actions::READ], old).is_some();
            return Err(if readable { content::outside_slice(kind, letter) } else { not_found() });
        };
        // A patch tells by its success what is stored, so it is for those who may read it (WR-25).
        if matches!(self.op, Op::Patch(_)) && cx.grants.admits(kind, &[Actions::READ], old).is_none() {
            return Err(content::outside_slice(kind, Actions::READ));
        }
        self.clause = Some(clause);
        let found = version(old).or_else(|| answer.etag.as_deref().and_then(content::tagged));
        let Some(found) = found else {
            let says = "the server behind the gate gives no versions, so a change cannot be made safely";
            return Err(Denial::new(Reason::UpstreamBroken, says));
        };
        if self.if_match.as_ref().is_some_and(|meant| meant.as_str() != found) {
            return Err(conflict());
        }
        self.version = Some(found);
        if self.is_delete() {
            self.stage = Stage::Ready;
            return Ok(Advance::Ready);
        }
        // The client knows the resource as it was released, and what it sends is put together with what was hidden.
        edits.settle(&mut |target, name| target == kind && name == id.as_str());
        let mut seen = Vec::with_capacity(old.raw().len() + 256);
        edits.apply(&mut seen, document.text(), old.span());
        let seen = String::from_utf8(seen).map_err(|_| malformed())?;
        if let Op::Patch(patch) = &self.op {
            self.body = patch.apply(kind, &seen).map_err(patch_failed)?;
        }
        let (Ok(shown), Ok(new)) = (Document::parse(seen.as_bytes()), Document::parse(self.body.as_bytes())) else {
            return Err(malformed());
        };
        if !identity(new.root()).is_some_and(|(new, name)| new == kind && name == id.as_str()) {
            return Err(Denial::new(Reason::RequestInvalid, "a resource's type and id are not changed"));
        }
        let restored = restore::restore(cx, Some((old, shown.root())), new.root(), false).map_err(|_| {
            let says = "the change is of an element of which a part is not shown to this session";
            Denial::new(Reason::WriteRefused, says)
        })?;
        let written = restore::restore(cx, None, new.root(), false).map_err(|_| malformed())?;
        content::check_own(cx, kind, &written.text)?;
        content::check_links(cx, &restored.links, Some(old))?;
        self.judge_new(cx, restored.text, Some(document))
    }

    /// Judges what is to be stored, as if it were already.
    fn judge_new(&mut self, cx: &Context, text: String, old: Option<&Document<'_>>) -> Result<Advance, Denial> {
        let letter = if self.is_create() { Actions::CREATE } else { Actions::UPDATE };
        let document = Document::parse(text.as_bytes()).map_err(|_| malformed())?;
        let id = self.id.as_ref().map_or("", Id::as_str);
        let judged = content::judge(cx, self.kind, id, letter, &document, old)?;
        self.clause = Some(judged.clause);
        self.proving = judged.refers_to;
        self.body = text;
        Ok(self.prove(0))
    }

    fn prove(&mut self, at: usize) -> Advance {
        match self.proving.get(at) {
            Some((kind, id)) => {
                self.stage = Stage::Proving(at);
                Advance::Ask(UpstreamCall::get(format!("{kind}/{id}"), ""))
            }
            None => {
                self.stage = Stage::Ready;
                Advance::Ready
            }
        }
    }

    /// What the new resource refers to is the session's patient's too; foreign and absent are one answer.
    fn proved(&mut self, cx: &Context, at: usize, answer: &UpstreamAnswer) -> Advance {
        let Some((kind, id)) = self.proving.get(at) else { return Advance::Failed(Box::new(Part::broken())) };
        let document = match read_answer(answer, Asked::Instance) {
            Ok(document) => document,
            Err(part) if part.reason == Some(Reason::NotFound) => return Advance::Refused(content::refers_elsewhere()),
            Err(part) => return Advance::Failed(part),
        };
        let found = document.root();
        let fits = identity(found).is_some_and(|(found, name)| found == *kind && *name == **id)
            && judge::is_member(cx, *kind, id, found)
            && !judge::is_denied(cx, *kind, id, found);
        if fits { self.prove(at + 1) } else { Advance::Refused(content::refers_elsewhere()) }
    }
}

fn not_found() -> Denial {
    Denial::new(Reason::NotFound, "no such resource for this session")
}

fn conflict() -> Denial {
    Denial::new(Reason::VersionConflict, "the resource has another version by now; read it again")
}

fn malformed() -> Denial {
    Denial::new(Reason::RequestInvalid, "the resource cannot be read")
}

fn patch_failed(why: PatchError) -> Denial {
    match why {
        PatchError::TestFailed => Denial::new(Reason::VersionConflict, "a `test` of the patch does not hold"),
        PatchError::NoTarget => Denial::new(Reason::RequestInvalid, "the patch names an element that is not there"),
        PatchError::Limit => Denial::new(Reason::RequestInvalid, "the patch makes the resource too large"),
        PatchError::Invalid => Denial::new(Reason::RequestInvalid, "the patch does not fit the resource"),
    }
}
