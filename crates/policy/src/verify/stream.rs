//! Answers too large for memory: read twice from where they are kept, entry by entry (DESIGN, step 7).
//!
//! The first pass judges every entry and remembers which are released, and where they stand; only when the whole text has
//! proved to be strict JSON does the second pass write them, with what the first has found out about all of them.

use std::ops::Range;

use domain::{Actions, Reason};
use fhir::json::stream::{BundleReader, Head, StreamError};
use fhir::json::{Document, Value};

use super::bundle::{self, Accepted, Judged, Next};
use super::fill::{self, GATHERED_BYTES_MAX};
use super::tally::{Lead, Tally};
use super::{Part, Sealer, Step, Verdict, connect, everything, is_json, label, release, search, too_costly, verify};
use crate::decide::Denial;
use crate::grants::EITHER;
use crate::permit::{Answered, Permit, Plan, STEPS_MAX, UpstreamCall};
use crate::released::{Counts, Finding};
use crate::shape::{Filling, Shape};

/// Longest answer that is read whole after all, where one of its entries is too large to be judged apart.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What keeps an answer could not go on; then nothing of it is released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interrupted;

/// An answer that is kept outside of memory.
pub trait Source {
    /// How many bytes there are.
    fn length(&self) -> u64;

    /// The piece at `index`, counted from 0; none behind the last.
    ///
    /// # Errors
    /// [`Interrupted`].
    fn chunk(&mut self, index: u64) -> Result<Option<&[u8]>, Interrupted>;

    /// Appends the bytes of `range` to `out`.
    ///
    /// # Errors
    /// [`Interrupted`].
    fn read(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Interrupted>;
}

/// Where a released answer is written. Nothing written leaves before the whole is recorded.
pub trait Sink {
    /// Writes on.
    ///
    /// # Errors
    /// [`Interrupted`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), Interrupted>;
}

/// What the first pass found.
struct Found {
    /// What a match needs: of a search `s`, of `$everything` either letter.
    letters: &'static [Actions],
    tally: Tally,
    filtered: u32,
    seen: u32,
    remarks: bool,
    findings: Vec<Finding>,
}

/// How the passes ended.
enum Passed {
    Step(Box<Step>),
    /// One entry is too large to be judged apart.
    Whole,
}

impl Permit {
    /// Whether the answer is a list that can be judged from outside of memory; any other has to fit into it.
    #[must_use]
    pub fn takes_long(&self) -> bool {
        match &self.0.shape {
            Shape::Search(shape) => shape.waiting.is_none() && shape.last.is_none(),
            Shape::Everything { .. } => true,
            _ => false,
        }
    }
}

/// As [`crate::verify`], for an answer whose body is in `source`; what is released is written to `sink`.
pub fn verify_spooled(
    answered: Answered,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    seal: &mut Sealer<'_>,
) -> Verdict {
    if answered.answer.status != 200 {
        // A refusal is one whatever its body says.
        return verify(answered, seal);
    }
    let Answered { mut plan, mut answer } = answered;
    let mut shape = std::mem::replace(&mut plan.shape, Shape::Gone);
    let passed = if answer.content_type.as_deref().is_some_and(is_json) {
        step(&plan, &mut shape, source, sink, seal)
    } else {
        Ok(Passed::Step(Box::new(Part::broken().into())))
    };
    plan.shape = shape;
    let step = match passed {
        Ok(Passed::Step(step)) => *step,
        Ok(Passed::Whole) if source.length() <= WHOLE_BYTES_MAX => {
            let length = source.length();
            return match source.read(0..length, &mut answer.body) {
                Ok(()) => verify(Answered { plan, answer }, seal),
                Err(Interrupted) => Verdict::Denied(interrupted()),
            };
        }
        Ok(Passed::Whole) => Part::broken().into(),
        Err(Interrupted) => return Verdict::Denied(interrupted()),
    };
    match step {
        Step::Done(part) => Verdict::Released(release(*plan, answer.status, part)),
        Step::Next(_) if plan.steps >= STEPS_MAX => Verdict::Denied(too_costly()),
        Step::Next(call) => {
            plan.call = call;
            plan.steps += 1;
            Verdict::Next(Permit(plan))
        }
        Step::Denied(denial) => Verdict::Denied(denial),
        Step::Write(_) | Step::Consents(_) => Verdict::Denied(too_costly()),
    }
}

/// The place that keeps answers failed: not the upstream's doing.
fn interrupted() -> Denial {
    Denial::new(Reason::Overloaded, "the answer could not be kept while it was judged; try again")
}

/// The first pass: what may be released, and the Bundle without its entries.
fn first(plan: &Plan, shape: &Shape, source: &mut dyn Source) -> Result<Result<(Found, Head), Passed>, Interrupted> {
    let broken = || Ok(Err(Passed::Step(Box::new(Part::broken().into()))));
    let letters: &[Actions] = if matches!(shape, Shape::Search(_)) { &[Actions::SEARCH] } else { &EITHER };
    let mut found =
        Found { letters, tally: Tally::default(), filtered: 0, seen: 0, remarks: false, findings: Vec::new() };
    let mut reader = BundleReader::new();
    let mut index = 0;
    while let Some(chunk) = source.chunk(index)? {
        let read = reader.push(chunk, &mut |entry| {
            judge(plan, shape, entry.document.root(), entry.range.clone(), &mut found);
        });
        match read {
            Ok(()) if found.tally.too_much() => return Ok(Err(Passed::Step(Box::new(Step::Denied(too_costly()))))),
            Ok(()) => {}
            Err(StreamError::Limit(_)) => return Ok(Err(Passed::Whole)),
            Err(_) => return broken(),
        }
        index += 1;
    }
    match reader.finish() {
        Ok(head) => Ok(Ok((found, head))),
        Err(StreamError::Limit(_)) => Ok(Err(Passed::Whole)),
        Err(_) => broken(),
    }
}

fn step(
    plan: &Plan,
    shape: &mut Shape,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    seal: &mut Sealer<'_>,
) -> Result<Passed, Interrupted> {
    let broken = || Ok(Passed::Step(Box::new(Part::broken().into())));
    let (mut found, head) = match first(plan, shape, source)? {
        Ok(found) => found,
        Err(passed) => return Ok(passed),
    };
    let Ok(head) = Document::parse(head.bytes()) else { return broken() };
    if bundle::entries(head.root(), "searchset").is_none_or(|inline| !inline.is_empty()) {
        return broken();
    }
    // Links and findings are those of a page in memory, which had these results.
    let mut judged = Judged { filtered: found.filtered, seen: found.seen, remarks: found.remarks, ..Judged::default() };
    judged.findings = std::mem::take(&mut found.findings);
    let includes = matches!(shape, Shape::Search(shape) if search::includes(shape));
    let Some(filling) = filling_of(shape) else { return broken() };
    filling.learn(head.root(), judged.seen);
    let over = found.tally.cut(filling.start.take(), filling.wants(), includes).filter(|_| !judged.left_out());
    let fits = found.tally.bytes() + filling.entries.len() as u64 <= GATHERED_BYTES_MAX as u64;
    let mut next = over.map(|start| fill::here(plan, start));
    if next.is_none()
        && let Some(call) = following(plan, shape, head.root(), &mut judged)
    {
        let Some(filling) = filling_of(shape) else { return broken() };
        if fits {
            gather(&found, filling, source)?;
            return Ok(Passed::Step(Box::new(fill::ask_on(filling, judged, call))));
        }
        // Too much to be held while more is asked: the page ends here, full or not.
        next = Some(Next { at: call, start: None });
    }
    let (own, next) = match shape {
        Shape::Search(shape) => search::links(plan, shape, next, seal),
        Shape::Everything { page, applied, filling } => {
            everything::links(plan, (page.as_ref(), applied), filling.size, next, seal)
        }
        _ => return broken(),
    };
    let Some(filling) = filling_of(shape) else { return broken() };
    if !filling.is_single() {
        if !fits {
            return Ok(Passed::Step(Box::new(Step::Denied(too_costly()))));
        }
        gather(&found, filling, source)?;
        let part = match shape {
            Shape::Search(shape) => search::whole(plan, shape, judged, &own, next.as_deref(), seal),
            Shape::Everything { filling, .. } => everything::whole(plan, filling, judged, &own, next.as_deref(), seal),
            _ => return broken(),
        };
        return Ok(Passed::Step(Box::new(part.into())));
    }
    filling.add_to(&mut judged);
    found.tally.sort();
    let dropped = found.tally.keep_connected();
    judged.filtered = judged.filtered.saturating_add(u32::try_from(dropped).unwrap_or(u32::MAX));
    let mut begun = Vec::new();
    bundle::begin(&mut begun, "searchset", &own, next.as_deref());
    write(plan, found, judged, begun, source, sink, seal).map(|part| Passed::Step(Box::new(part.into())))
}

fn filling_of(shape: &mut Shape) -> Option<&mut Filling> {
    match shape {
        Shape::Search(shape) => Some(&mut shape.filling),
        Shape::Everything { filling, .. } => Some(filling),
        _ => None,
    }
}

fn following(plan: &Plan, shape: &mut Shape, head: Value<'_>, judged: &mut Judged<'_>) -> Option<UpstreamCall> {
    match shape {
        Shape::Search(shape) => search::following(plan, shape, head, judged),
        _ => bundle::next_call(plan, head, &mut judged.findings),
    }
}

/// Puts what was found to what earlier pages gave.
fn gather(found: &Found, filling: &mut Filling, source: &mut dyn Source) -> Result<(), Interrupted> {
    let mut raw = Vec::new();
    for (_, _, range, included, _) in found.tally.entries() {
        raw.clear();
        source.read(range, &mut raw)?;
        let document = Document::parse(&raw).map_err(|_| Interrupted)?;
        filling.put(document.root().get("resource").ok_or(Interrupted)?, included, None);
    }
    Ok(())
}

/// One entry of the first pass.
fn judge(plan: &Plan, shape: &Shape, entry: Value<'_>, range: Range<u64>, found: &mut Found) {
    let mut judged = Judged::default();
    match shape {
        Shape::Search(shape) if shape.empty => judged.filtered = 1,
        Shape::Search(shape) => search::judge_entry(plan, shape, entry, &mut judged, &mut |_| None),
        _ => {
            judged.seen = 1;
            match entry.get("resource").map(|found| bundle::accept(plan, found, &EITHER, false, &mut |_| None)) {
                Some(Ok(accepted)) => judged.accepted.push(accepted),
                _ => judged.filtered = 1,
            }
        }
    }
    found.filtered = found.filtered.saturating_add(judged.filtered);
    found.seen = found.seen.saturating_add(judged.seen);
    found.remarks |= judged.remarks;
    for finding in judged.findings {
        if !found.findings.contains(&finding) {
            found.findings.push(finding);
        }
    }
    let tally = &mut found.tally;
    for Accepted { kind, id, resource, included, clause, .. } in judged.accepted {
        let at = tally.keep(kind, &id, range.clone(), included, clause, || label(kind, &id, resource));
        let Shape::Search(shape) = shape else { continue };
        for include in &shape.includes {
            let lead = Lead::Include { iterates: include.iterate };
            connect::refers_to(&plan.cx, include, kind, resource, &mut |(kind, id)| tally.link(at, lead, kind, &id));
        }
        for include in &shape.revincludes {
            let lead = Lead::Reverse { iterates: include.iterate };
            connect::refers_to(&plan.cx, include, kind, resource, &mut |(kind, id)| tally.link(at, lead, kind, &id));
        }
    }
}

/// The second pass, behind what was begun.
fn write(
    plan: &Plan,
    found: Found,
    judged: Judged<'_>,
    mut out: Vec<u8>,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    seal: &mut Sealer<'_>,
) -> Result<Part, Interrupted> {
    let Found { letters, tally, .. } = found;
    let mut length = 0_u64;
    let mut separator: &[u8] = br#","entry":["#;
    let (mut raw, mut clauses) = (Vec::new(), Vec::<u32>::new());
    for (kind, id, range, included, clause) in tally.entries() {
        raw.clear();
        source.read(range, &mut raw)?;
        let Ok(document) = Document::parse(&raw) else { return Err(Interrupted) };
        let resource = document.root().get("resource").ok_or(Interrupted)?;
        // The same bytes under the same rules: anything else than the first judgement is a fault of what keeps them.
        let letters = if included { &EITHER } else { letters };
        let mut accepted = bundle::accept(plan, resource, letters, included, seal).map_err(|_| Interrupted)?;
        if accepted.kind != kind || accepted.id != id {
            return Err(Interrupted);
        }
        accepted.edits.settle(&mut |kind, id| tally.holds(kind, id));
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        bundle::write_entry(&mut out, plan, &accepted, document.text());
        if !clauses.contains(&clause) {
            clauses.push(clause);
        }
        length += out.len() as u64;
        sink.write(&out)?;
        out.clear();
    }
    bundle::end(&mut out, separator, &judged);
    length += out.len() as u64;
    sink.write(&out)?;
    Ok(Part {
        counts: Counts { released: u32::try_from(tally.len()).unwrap_or(u32::MAX), filtered: judged.filtered },
        resources: tally.into_labels(),
        findings: judged.findings,
        clauses,
        spooled: Some(length),
        ..Part::new(200, None, Vec::new())
    })
}
