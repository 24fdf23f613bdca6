//! `verify`: the only maker of a [`Released`]. Judges every resource an upstream answered, whatever was asked.
//!
//! Where an answer leads on — to the next page of `$lastn`, from a resource as stored to its change — `verify` is also what
//! permits that next call, having judged the answer before it.

mod binary;
mod bundle;
mod connect;
mod consents;
mod edit;
mod everything;
mod fill;
mod history;
mod hops;
mod judge;
mod last;
mod line;
mod manifest;
pub(crate) mod members;
mod project;
mod restore;
mod search;
mod stream;
pub(crate) mod submission;
mod tally;
mod walk;
pub(crate) mod write;

use domain::{Actions, Reason};
use fhir::json::{Document, Value, indent_into};
use fhir::{Id, ResourceType};

use crate::consent::Consents;
use crate::context::Authority;
use crate::decide::Denial;
use crate::outcome;
use crate::permit::{Answered, Permit, Plan, STEPS_MAX, UpstreamAnswer, UpstreamCall, WritePermit};
use crate::released::{Content, Counts, Finding, Released};
use crate::shape::Shape;
use edit::Edits;
pub use line::{BrokenLine, Held, Line, LineJudge, ReleasedLine, decide_lines};
pub use manifest::{ExportFile, InvalidManifest, Manifest};
pub use stream::{Interrupted, Sink, Source, verify_spooled};

/// Turns bytes into a sealed text; where it gives none, the link is left out.
pub type Sealer<'s> = dyn FnMut(&[u8]) -> Option<String> + 's;

/// What became of an answer.
#[must_use]
#[expect(clippy::large_enum_variant, reason = "made once for an answer, and taken apart where it is made")]
pub enum Verdict {
    /// This may leave.
    Released(Released),
    /// The answer was judged; the next thing to ask.
    Next(Permit),
    /// The answer was judged; the change that may be made, once its intent is on record.
    Write(WritePermit),
    /// What was asked is refused, seen what it is about.
    Denied(Denial),
    /// What the patient consented to; `None` when it cannot be known.
    Consents(Option<Consents>),
}

/// What a shape makes of its answer.
enum Step {
    Done(Part),
    Next(UpstreamCall),
    Write(UpstreamCall),
    Denied(Denial),
    Consents(Option<Consents>),
}

impl From<Part> for Step {
    fn from(part: Part) -> Self {
        Self::Done(part)
    }
}

/// Judges an answer.
pub fn verify(answered: Answered, seal: &mut Sealer<'_>) -> Verdict {
    let Answered { mut plan, answer } = answered;
    match step(&mut plan, &answer, seal) {
        Step::Done(part) => Verdict::Released(release(*plan, answer.status, part)),
        Step::Denied(denial) if denial.reason == Reason::NotFound => {
            // Foreign and absent are one answer for writes too (p2).
            Verdict::Released(release(*plan, answer.status, Part::not_found()))
        }
        Step::Denied(denial) => Verdict::Denied(denial),
        Step::Consents(consents) => Verdict::Consents(consents),
        Step::Next(_) | Step::Write(_) if plan.steps >= STEPS_MAX => Verdict::Denied(too_costly()),
        Step::Next(call) => {
            plan.call = call;
            plan.steps += 1;
            Verdict::Next(Permit(plan))
        }
        Step::Write(call) => {
            plan.call = call;
            plan.steps += 1;
            Verdict::Write(WritePermit(plan))
        }
    }
}

/// More would have to be asked or held than one answer may cost. It tells what every request tells that asks for too much: a
/// part of the answer would tell how much lies where.
fn too_costly() -> Denial {
    Denial::new(Reason::TooCostly, "this takes too many steps; narrow it, or ask for less at once")
}

fn step(plan: &mut Plan, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Step {
    // The EHR does not take its own token any more, or there is none: nothing was done, whatever was asked.
    if answer.status == 401 && plan.cx.authority != Authority::Tenant {
        return Step::Done(Part::token_gone());
    }
    // The shape is taken out, so that what it holds can change while the plan is read.
    let mut shape = std::mem::replace(&mut plan.shape, Shape::Gone);
    let step = match &mut shape {
        Shape::Write(writing) => writing.step(plan, answer, seal),
        Shape::Transaction(transaction) => transaction.step(plan, answer, seal),
        Shape::Binary(binary) => binary::step(plan, binary, answer),
        Shape::Read { id } => match read_answer(answer, Asked::Instance) {
            Ok(document) => read(plan, id, None, document.root(), &document, answer, seal).into(),
            Err(part) => Step::Done(*part),
        },
        Shape::Vread { id, after, .. } | Shape::History { id, after, .. } if after.is_some() => {
            past(plan, id, after, answer)
        }
        Shape::Vread { id, version, .. } => match read_answer(answer, Asked::Instance) {
            Ok(document) => read(plan, id, Some(version), document.root(), &document, answer, seal).into(),
            Err(part) => Step::Done(*part),
        },
        Shape::History { id, page, applied, filling, .. } => match read_answer(answer, Asked::Instance) {
            Ok(document) => history::step(plan, id, (page.as_ref(), applied), filling, &document, seal),
            Err(part) => Step::Done(*part),
        },
        Shape::Search(shape) => match read_answer(answer, Asked::List) {
            Ok(document) => search::step(plan, shape, &document, seal),
            Err(part) => Step::Done(*part),
        },
        Shape::Everything { page, applied, filling } => match read_answer(answer, Asked::Instance) {
            Ok(document) => everything::step(plan, (page.as_ref(), applied), filling, &document, seal),
            Err(part) => Step::Done(*part),
        },
        Shape::Consents(builder) => consents::step(plan, builder, answer),
        Shape::Gone => Step::Done(Part::broken()),
    };
    plan.shape = shape;
    step
}

/// What verification makes of an answer, before the plan's own facts are added.
pub(crate) struct Part {
    status: u16,
    body: Vec<u8>,
    content: Content,
    location: Option<String>,
    reason: Option<Reason>,
    etag: Option<String>,
    last_modified: Option<String>,
    counts: Counts,
    resources: Vec<String>,
    findings: Vec<Finding>,
    clauses: Vec<u32>,
    /// How long the body is that was written elsewhere.
    spooled: Option<u64>,
}

impl Part {
    /// FHIR JSON of ours, with nothing released in it.
    fn new(status: u16, reason: Option<Reason>, body: Vec<u8>) -> Self {
        Self {
            status,
            body,
            content: Content::Fhir,
            location: None,
            reason,
            etag: None,
            last_modified: None,
            counts: Counts::default(),
            resources: Vec::new(),
            findings: Vec::new(),
            clauses: Vec::new(),
            spooled: None,
        }
    }

    fn refused(status: u16, reason: Reason, body: Vec<u8>) -> Self {
        Self::new(status, Some(reason), body)
    }

    fn not_found() -> Self {
        Self::refused(404, Reason::NotFound, outcome::not_found())
    }

    /// There, and not this session's.
    fn foreign() -> Self {
        let mut part = Self::not_found();
        part.counts.filtered = 1;
        part
    }

    fn broken() -> Self {
        Self::refused(502, Reason::UpstreamBroken, outcome::upstream_broken())
    }

    fn token_gone() -> Self {
        Self::refused(401, Reason::UpstreamTokenGone, outcome::token_gone())
    }

    fn unavailable() -> Self {
        Self::refused(503, Reason::UpstreamUnavailable, outcome::upstream_unavailable())
    }
}

fn release(plan: Plan, upstream_status: u16, mut part: Part) -> Released {
    part.clauses.sort_unstable();
    part.clauses.dedup();
    // `_pretty`; an answer too large for memory stays as it is.
    if plan.view.pretty && part.content == Content::Fhir && !part.body.is_empty() {
        let mut shown = Vec::with_capacity(part.body.len() * 3 / 2);
        indent_into(&mut shown, &part.body);
        part.body = shown;
    }
    Released {
        status: part.status,
        body: part.body,
        content: part.content,
        location: part.location,
        etag: part.etag,
        last_modified: part.last_modified,
        reason: part.reason.or(plan.remark),
        counts: part.counts,
        resources: part.resources,
        findings: part.findings,
        clauses: if part.clauses.is_empty() { plan.clauses } else { part.clauses },
        kind: plan.kind,
        interaction: plan.interaction,
        call: plan.call,
        spooled: part.spooled,
        upstream_status,
    }
}

/// What was asked for, as far as refusals differ.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Asked {
    /// One instance, or what belongs to it.
    Instance,
    /// A list.
    List,
}

/// Status, media type and strict JSON, before any of it is looked at.
fn read_answer(answer: &UpstreamAnswer, asked: Asked) -> Result<Document<'_>, Box<Part>> {
    match answer.status {
        200 => {}
        // An upstream that refuses one instance by 403 and misses another by 404 would tell which exists.
        403 if asked == Asked::Instance => return Err(Box::new(Part::not_found())),
        // 410 confirms that something existed, so it is the same 404 (RD-36).
        404 | 410 => return Err(Box::new(Part::not_found())),
        429 | 503 | 504 => return Err(Box::new(Part::unavailable())),
        // Redirects (ER-03), unasked 202 (EX-10), partial content, refusals of our own credential, faults.
        _ => return Err(Box::new(Part::broken())),
    }
    parse(answer).ok_or_else(|| Box::new(Part::broken()))
}

/// The body, if it says it is JSON and is.
fn parse(answer: &UpstreamAnswer) -> Option<Document<'_>> {
    if !answer.content_type.as_deref().is_some_and(is_json) {
        return None;
    }
    Document::parse(&answer.body).ok()
}

/// FHIR JSON or plain JSON in UTF-8 (FM-04).
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or("").to_ascii_lowercase();
    matches!(media.as_str(), "application/fhir+json" | "application/json" | "application/json+fhir")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// The type and id a resource claims, if both are by the grammar.
fn identity<'d>(resource: Value<'d>) -> Option<(ResourceType, std::borrow::Cow<'d, str>)> {
    let kind = resource.get_str("resourceType")?.parse().ok()?;
    let id = resource.get_str("id").filter(|id| Id::fits(id))?;
    Some((kind, id))
}

/// `Type/id` or `Type/id/_history/version`.
fn label(kind: ResourceType, id: &str, resource: Value<'_>) -> String {
    let (marker, version) = match version(resource) {
        Some(version) => ("/_history/", version),
        None => ("", String::new()),
    };
    [kind.name(), "/", id, marker, &version].concat()
}

fn version(resource: Value<'_>) -> Option<String> {
    let version = resource.get("meta")?.get_str("versionId")?;
    Id::fits(&version).then(|| version.into_owned())
}

/// One instance, in the version asked for if one was.
fn read(
    plan: &Plan,
    id: &Id,
    asked: Option<&Id>,
    resource: Value<'_>,
    document: &Document<'_>,
    answer: &UpstreamAnswer,
    seal: &mut Sealer<'_>,
) -> Part {
    // Another resource than the one asked for is a broken upstream, not a foreign one (RD-26, RD-28).
    let Some((kind, found)) = identity(resource) else { return Part::broken() };
    let version = version(resource);
    let is_version = asked.is_none_or(|asked| version.as_deref().is_none_or(|found| found == asked.as_str()));
    if kind != plan.kind || found != id.as_str() || !is_version {
        return Part::broken();
    }
    let mut edits = Edits::default();
    let judged = judge::judge(&plan.cx, kind, &found, &[Actions::READ], resource)
        .and_then(|clause| walk::walk(&plan.cx, kind, resource, &mut edits, &mut links(seal)).map(|()| clause));
    let Ok(clause) = judged else { return Part::foreign() };
    let label = label(kind, &found, resource);
    edits.settle(&mut |target_kind, target_id| target_kind == kind && target_id == found);
    let mut body = Vec::with_capacity(resource.raw().len() + 256);
    project::write(&mut body, kind, &plan.view, resource, &edits, document.text());
    Part {
        etag: version.map(|version| format!("W/\"{version}\"")),
        last_modified: answer.last_modified.as_deref().filter(|text| is_http_date(text)).map(str::to_owned),
        counts: Counts { released: 1, filtered: 0 },
        resources: vec![label],
        clauses: vec![clause],
        ..Part::new(200, None, body)
    }
}

/// The past of an instance is for those who may read it now. A record that was filed under the wrong patient, one that was
/// labelled or forbidden later, and one that was deleted would otherwise still be had by their old versions.
fn past(plan: &Plan, id: &Id, after: &mut Option<UpstreamCall>, answer: &UpstreamAnswer) -> Step {
    let document = match read_answer(answer, Asked::Instance) {
        Ok(document) => document,
        Err(part) => return Step::Done(*part),
    };
    let part = read(plan, id, None, document.root(), &document, answer, &mut |_| None);
    match after.take() {
        Some(call) if part.status == 200 => Step::Next(call),
        _ => part.into(),
    }
}

/// Proofs of link, sealed.
fn links<'s>(seal: &'s mut Sealer<'_>) -> impl FnMut(&crate::proof::BinaryProof) -> Option<String> + 's {
    move |proof| seal(&proof.encode())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` and no other words (RFC 9110 §5.6.7): a header is no place for free text.
fn is_http_date(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let Some((day, rest)) = text.split_once(", ") else { return false };
    let [date, month, year, time, "GMT"] = rest.split(' ').collect::<Vec<_>>()[..] else { return false };
    DAYS.contains(&day)
        && MONTHS.contains(&month)
        && digits(date, 2)
        && digits(year, 4)
        && matches!(time.split(':').collect::<Vec<_>>()[..], [h, m, s] if [h, m, s].iter().all(|part| digits(part, 2)))
}

#[test]
fn last_modified_is_a_date_and_nothing_else() {
    assert!(is_http_date("Sun, 06 Nov 1994 08:49:37 GMT"));
    for text in
        ["Patient P2 Zwei mrn two   GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 8:49:37 GMT", "", "P2"]
    {
        assert!(!is_http_date(text), "`{text}`");
    }
}
