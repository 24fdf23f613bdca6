//! Answers too large for memory: read twice from where they are kept, entry by entry (DESIGN, step 7).
//!
//! The first pass judges every entry and remembers which are released, and where they stand; only when the whole text has
//! proved to be strict JSON does the second pass write them, with what the first has found out about all of them.

use std::collections::HashSet;
use std::ops::Range;

use domain::Actions;
use fhir::ResourceType;
use fhir::json::stream::BundleReader;
use fhir::json::{Document, Value};

use super::bundle::{self, Judged};
use super::{Part, Sealer, Step, connect, identity, is_json, label, release, search};
use crate::grants::EITHER;
use crate::outcome;
use crate::permit::{Answered, Permit, Plan, STEPS_MAX};
use crate::released::{Counts, Finding};
use crate::shape::{SearchShape, Shape};
use crate::verify::{Verdict, too_costly};

/// Most references remembered for includes: a hundred thousand entries lead to a few each.
const LINKS_MAX: usize = 400_000;
/// Most resources a record names one by one, as many as a page in memory may have; of more it says how many. Count and
/// digest are of all.
const NAMED_MAX: usize = 5_000;

/// What keeps an answer could not go on; then nothing of it is released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interrupted;

/// An answer that is kept outside of memory.
pub trait Source {
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

type Name = (ResourceType, String);

/// An entry that may be released.
struct Kept {
    name: Name,
    label: String,
    range: Range<u64>,
    included: bool,
    clause: u32,
    /// What it leads to: by which include, forward or reverse, and to whom.
    leads: Vec<(Lead, Name)>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Lead {
    Include(usize),
    Reverse(usize),
}

/// What the first pass found.
struct Tally {
    /// What a match needs: of a search `s`, of `$everything` either letter.
    letters: &'static [Actions],
    kept: Vec<Kept>,
    links: usize,
    filtered: u32,
    remarks: bool,
    findings: Vec<Finding>,
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
    let Answered { mut plan, answer } = answered;
    let mut shape = std::mem::replace(&mut plan.shape, Shape::Gone);
    let step = if answer.status == 200 && answer.content_type.as_deref().is_some_and(is_json) {
        match step(&plan, &mut shape, source, sink, seal) {
            Ok(step) => step,
            Err(Interrupted) => Part::unavailable().into(),
        }
    } else {
        Part::broken().into()
    };
    plan.shape = shape;
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

fn step(
    plan: &Plan,
    shape: &mut Shape,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    seal: &mut Sealer<'_>,
) -> Result<Step, Interrupted> {
    let letters: &[Actions] = if matches!(shape, Shape::Search(_)) { &[Actions::SEARCH] } else { &EITHER };
    let (kept, findings) = (Vec::new(), Vec::new());
    let mut tally = Tally { letters, kept, links: 0, filtered: 0, remarks: false, findings };
    let mut reader = BundleReader::new();
    let mut index = 0;
    while let Some(chunk) = source.chunk(index)? {
        let read = reader.push(chunk, &mut |entry| {
            judge(plan, shape, entry.document.root(), entry.range.clone(), &mut tally);
        });
        if read.is_err() || tally.links > LINKS_MAX {
            return Ok(Part::broken().into());
        }
        index += 1;
    }
    let Ok(head) = reader.finish() else { return Ok(Part::broken().into()) };
    let Ok(head) = Document::parse(head.bytes()) else { return Ok(Part::broken().into()) };
    if bundle::entries(head.root(), "searchset").is_none_or(|inline| !inline.is_empty()) {
        return Ok(Part::broken().into());
    }
    if let Shape::Search(shape) = &*shape {
        keep_connected(shape, &mut tally);
    }
    // Links and findings are those of a page in memory, which had these results.
    let mut judged = Judged { filtered: tally.filtered, remarks: tally.remarks, ..Judged::default() };
    judged.findings = std::mem::take(&mut tally.findings);
    let links = match shape {
        Shape::Search(shape) => match search::links(plan, shape, head.root(), tally.kept.is_empty(), &mut judged, seal)
        {
            Ok(links) => links,
            Err(call) => return Ok(Step::Next(call)),
        },
        Shape::Everything { page, applied } => {
            super::everything::links(plan, page.as_ref(), applied, head.root(), &mut judged, seal)
        }
        _ => return Ok(Part::broken().into()),
    };
    let (own, next) = links;
    write(plan, &tally, &judged, &own, next.as_deref(), source, sink, seal).map(Into::into)
}

/// One entry of the first pass.
fn judge(plan: &Plan, shape: &Shape, entry: Value<'_>, range: Range<u64>, tally: &mut Tally) {
    let mut judged = Judged::default();
    match shape {
        Shape::Search(shape) if shape.empty => judged.filtered = 1,
        Shape::Search(shape) => search::judge_entry(plan, shape, entry, &mut judged, &mut |_| None),
        _ => match entry.get("resource").map(|found| bundle::accept(plan, found, &EITHER, false, &mut |_| None)) {
            Some(Ok(accepted)) => judged.accepted.push(accepted),
            _ => judged.filtered = 1,
        },
    }
    tally.filtered = tally.filtered.saturating_add(judged.filtered);
    tally.remarks |= judged.remarks;
    for finding in judged.findings {
        if !tally.findings.contains(&finding) {
            tally.findings.push(finding);
        }
    }
    for accepted in judged.accepted {
        let mut leads = Vec::new();
        if let Shape::Search(shape) = shape {
            leads_of(plan, shape, accepted.kind, accepted.resource, accepted.included, &mut leads);
        }
        tally.links += leads.len();
        tally.kept.push(Kept {
            label: label(accepted.kind, &accepted.id, accepted.resource),
            name: (accepted.kind, accepted.id.into_owned()),
            range: range.clone(),
            included: accepted.included,
            clause: accepted.clause,
            leads,
        });
    }
}

fn leads_of(
    plan: &Plan,
    shape: &SearchShape,
    kind: ResourceType,
    resource: Value<'_>,
    included: bool,
    out: &mut Vec<(Lead, Name)>,
) {
    for (at, include) in shape.includes.iter().enumerate().filter(|(_, include)| include.iterate || !included) {
        connect::refers_to(&plan.cx, include, kind, resource, &mut |name| out.push((Lead::Include(at), name)));
    }
    for (at, include) in shape.revincludes.iter().enumerate().filter(|_| included) {
        connect::refers_to(&plan.cx, include, kind, resource, &mut |name| out.push((Lead::Reverse(at), name)));
    }
}

/// As `connect::keep_connected`, over what was remembered.
fn keep_connected(shape: &SearchShape, tally: &mut Tally) {
    if tally.kept.iter().all(|entry| !entry.included) {
        return;
    }
    let mut kept: HashSet<Name> = HashSet::new();
    let mut led_to: HashSet<Name> = HashSet::new();
    let mut fresh: Vec<usize> = Vec::new();
    for (at, entry) in tally.kept.iter().enumerate().filter(|(_, entry)| !entry.included) {
        kept.insert(entry.name.clone());
        fresh.push(at);
    }
    let mut first = true;
    while !fresh.is_empty() {
        for entry in fresh.drain(..).filter_map(|at| tally.kept.get(at)) {
            let forward = entry.leads.iter().filter(|(lead, _)| matches!(lead, Lead::Include(_)));
            led_to.extend(forward.map(|(_, name)| name.clone()));
        }
        for (at, entry) in tally.kept.iter().enumerate() {
            let iterates = |at: &usize| shape.revincludes.get(*at).is_some_and(|include| include.iterate);
            let back = entry.leads.iter().any(|(lead, name)| match lead {
                Lead::Reverse(at) => (first || iterates(at)) && kept.contains(name),
                Lead::Include(_) => false,
            });
            if entry.included && !kept.contains(&entry.name) && (back || led_to.contains(&entry.name)) {
                fresh.push(at);
            }
        }
        kept.extend(fresh.iter().filter_map(|at| tally.kept.get(*at)).map(|entry| entry.name.clone()));
        first = false;
    }
    let before = tally.kept.len();
    tally.kept.retain(|entry| !entry.included || kept.contains(&entry.name));
    tally.filtered = tally.filtered.saturating_add(u32::try_from(before - tally.kept.len()).unwrap_or(u32::MAX));
}

/// The second pass.
#[expect(clippy::too_many_arguments, reason = "the two passes meet here and nowhere else")]
fn write(
    plan: &Plan,
    tally: &Tally,
    judged: &Judged<'_>,
    own: &str,
    next: Option<&str>,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    seal: &mut Sealer<'_>,
) -> Result<Part, Interrupted> {
    let released: HashSet<(ResourceType, &str)> =
        tally.kept.iter().map(|entry| (entry.name.0, entry.name.1.as_str())).collect();
    let mut out = Vec::new();
    bundle::begin(&mut out, "searchset", own, next);
    let mut length = 0_u64;
    let mut separator: &[u8] = br#","entry":["#;
    let mut raw = Vec::new();
    let mut clauses: Vec<u32> = Vec::new();
    for entry in &tally.kept {
        raw.clear();
        source.read(entry.range.clone(), &mut raw)?;
        let Ok(document) = Document::parse(&raw) else { return Err(Interrupted) };
        let resource = document.root().get("resource").ok_or(Interrupted)?;
        // The same bytes under the same rules: anything else than the first judgement is a fault of what keeps them.
        let letters = if entry.included { &EITHER } else { tally.letters };
        let mut accepted = bundle::accept(plan, resource, letters, entry.included, seal).map_err(|_| Interrupted)?;
        if identity(resource).is_none_or(|(kind, id)| kind != entry.name.0 || id != entry.name.1.as_str()) {
            return Err(Interrupted);
        }
        accepted.edits.settle(&mut |kind, id| released.contains(&(kind, id)));
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        bundle::write_entry(&mut out, plan, &accepted, document.text());
        if !clauses.contains(&entry.clause) {
            clauses.push(entry.clause);
        }
        length += out.len() as u64;
        sink.write(&out)?;
        out.clear();
    }
    if judged.left_out() || judged.remarks {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend(*br#"{"resource":"#);
        out.extend(if judged.left_out() { outcome::left_out() } else { outcome::remark() });
        out.extend(*br#","search":{"mode":"outcome"}}"#);
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
    length += out.len() as u64;
    sink.write(&out)?;
    let mut resources: Vec<String> = tally.kept.iter().take(NAMED_MAX).map(|entry| entry.label.clone()).collect();
    if tally.kept.len() > NAMED_MAX {
        resources.push(format!("+{}", tally.kept.len() - NAMED_MAX));
    }
    Ok(Part {
        counts: Counts { released: u32::try_from(tally.kept.len()).unwrap_or(u32::MAX), filtered: tally.filtered },
        resources,
        findings: judged.findings.clone(),
        clauses,
        spooled: Some(length),
        ..Part::new(200, None, Vec::new())
    })
}
