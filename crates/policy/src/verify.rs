//! `verify`: the only maker of a [`Released`]. Judges every resource an upstream answered, whatever was asked.

mod edit;
mod judge;
mod project;
mod search;
mod walk;

use domain::{Actions, Reason};
use fhir::json::{Document, Value};
use fhir::{Id, ResourceType};

use crate::cursor::PageCursor;
use crate::outcome;
use crate::permit::{Answered, Plan, Shape, UpstreamAnswer};
use crate::released::{Counts, Finding, Released};
use edit::Edits;
use judge::Refusal;

/// Judges an answer. `seal` turns a page cursor into a token; where it gives none, the link is left out.
#[must_use]
pub fn verify(answered: Answered, seal: &mut dyn FnMut(&PageCursor) -> Option<String>) -> Released {
    let Answered { plan, answer } = answered;
    let part = match read_answer(&answer, matches!(plan.shape, Shape::Read { .. })) {
        Err(part) => *part,
        Ok(document) => match &plan.shape {
            Shape::Read { id } => read(&plan, id, &document, &answer),
            Shape::Search { .. } => search::search(&plan, document.root(), document.text(), seal),
        },
    };
    release(*plan, answer.status, part)
}

/// What verification makes of an answer, before the plan's own facts are added.
pub(crate) struct Part {
    status: u16,
    body: Vec<u8>,
    reason: Option<Reason>,
    etag: Option<String>,
    last_modified: Option<String>,
    counts: Counts,
    resources: Vec<String>,
    findings: Vec<Finding>,
    clauses: Vec<u32>,
}

impl Part {
    fn refused(status: u16, reason: Reason, body: Vec<u8>) -> Self {
        Self {
            status,
            body,
            reason: Some(reason),
            etag: None,
            last_modified: None,
            counts: Counts::default(),
            resources: Vec::new(),
            findings: Vec::new(),
            clauses: Vec::new(),
        }
    }

    fn not_found() -> Self {
        Self::refused(404, Reason::NotFound, outcome::not_found())
    }

    fn broken() -> Self {
        Self::refused(502, Reason::UpstreamBroken, outcome::upstream_broken())
    }
}

fn release(plan: Plan, upstream_status: u16, mut part: Part) -> Released {
    part.clauses.sort_unstable();
    part.clauses.dedup();
    Released {
        status: part.status,
        body: part.body,
        etag: part.etag,
        last_modified: part.last_modified,
        reason: part.reason.or(plan.remark),
        counts: part.counts,
        resources: part.resources,
        findings: part.findings,
        clauses: if part.clauses.is_empty() { plan.clauses } else { part.clauses },
        kind: plan.kind,
        interaction: match &plan.shape {
            Shape::Read { .. } => "read",
            Shape::Search { page: None, .. } => "search",
            Shape::Search { .. } => "page",
        },
        call: plan.call,
        upstream_status,
    }
}

/// Status, media type and strict JSON, before any of it is looked at.
fn read_answer(answer: &UpstreamAnswer, is_read: bool) -> Result<Document<'_>, Box<Part>> {
    match answer.status {
        200 => {}
        // An upstream that refuses one instance by 403 and misses another by 404 would tell which exists.
        403 if is_read => return Err(Box::new(Part::not_found())),
        // 410 confirms that something existed, so it is the same 404 (RD-36).
        404 | 410 => return Err(Box::new(Part::not_found())),
        429 | 503 | 504 => {
            let body = outcome::upstream_unavailable();
            return Err(Box::new(Part::refused(503, Reason::UpstreamUnavailable, body)));
        }
        // Redirects (ER-03), unasked 202 (EX-10), partial content, refusals of our own credential, faults.
        _ => return Err(Box::new(Part::broken())),
    }
    if !answer.content_type.as_deref().is_some_and(is_json) {
        return Err(Box::new(Part::broken()));
    }
    Document::parse(&answer.body).map_err(|_| Box::new(Part::broken()))
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
    match version(resource) {
        Some(version) => format!("{kind}/{id}/_history/{version}"),
        None => format!("{kind}/{id}"),
    }
}

fn version(resource: Value<'_>) -> Option<String> {
    let version = resource.get("meta")?.get_str("versionId")?;
    Id::fits(&version).then(|| version.into_owned())
}

fn read(plan: &Plan, id: &Id, document: &Document<'_>, answer: &UpstreamAnswer) -> Part {
    let resource = document.root();
    // Another resource than the one asked for is a broken upstream, not a foreign one (RD-26, RD-28).
    let Some((kind, found)) = identity(resource) else { return Part::broken() };
    if kind != plan.kind || found != id.as_str() {
        return Part::broken();
    }
    let mut edits = Edits::default();
    let judged = judge::judge(plan, kind, &found, &[Actions::READ], resource)
        .and_then(|clause| walk::walk(plan, kind, resource, &mut edits).map(|()| clause));
    let clause = match judged {
        Ok(clause) => clause,
        Err(Refusal) => {
            let mut part = Part::not_found();
            part.counts.filtered = 1;
            return part;
        }
    };
    let label = label(kind, &found, resource);
    edits.settle(&mut |target_kind, target_id| target_kind == kind && target_id == found);
    let mut body = Vec::with_capacity(resource.raw().len() + 256);
    project::write(&mut body, kind, &plan.view, resource, &edits, document.text());
    Part {
        status: 200,
        body,
        reason: None,
        etag: version(resource).map(|version| format!("W/\"{version}\"")),
        last_modified: answer.last_modified.as_deref().filter(|text| is_http_date(text)).map(str::to_owned),
        counts: Counts { released: 1, filtered: 0 },
        resources: vec![label],
        findings: Vec::new(),
        clauses: vec![clause],
    }
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
