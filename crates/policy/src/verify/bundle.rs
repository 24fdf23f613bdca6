//! Bundles: entries that are released, the links between pages, and the answer built anew.

use std::borrow::Cow;
use std::collections::HashSet;

use fhir::ResourceType;
use fhir::json::{Document, Value, quote_into};

use super::edit::Edits;
use super::judge::{self, Refusal};
use super::{Part, Sealer, identity, label, links, project, walk};
use crate::cursor::{PageCursor, Pages, Start};
use crate::outcome;
use crate::permit::{Plan, UpstreamBody, UpstreamCall};
use crate::released::{Counts, Finding};

/// Most entries in one page, includes counted: far above any `_count` we send.
const ENTRIES_MAX: usize = 5_000;
/// Longest next link taken from an upstream.
const NEXT_BYTES_MAX: usize = 8 * 1024;

/// An entry that is released.
pub(super) struct Accepted<'d> {
    pub(super) kind: ResourceType,
    pub(super) id: Cow<'d, str>,
    pub(super) resource: Value<'d>,
    pub(super) edits: Edits,
    pub(super) included: bool,
    pub(super) clause: u32,
    /// Of a version, how it came about.
    pub(super) method: Option<&'static str>,
    /// A match of another page, here only where an include leads to it.
    pub(super) cut: bool,
}

/// What came of all entries.
#[derive(Default)]
pub(super) struct Judged<'d> {
    pub(super) accepted: Vec<Accepted<'d>>,
    pub(super) filtered: u32,
    /// How many matches the upstream's page has, whatever became of them.
    pub(super) seen: u32,
    /// The upstream put an outcome of its own there.
    pub(super) remarks: bool,
    pub(super) findings: Vec<Finding>,
}

impl Judged<'_> {
    /// Whether a match was another patient's where the upstream was told to find none (S1-31). Only then is the caller told
    /// that something was left out: anything else that is held back depends on what the caller may not see.
    pub(super) fn left_out(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::ForeignMatch { .. }))
    }

    fn counts(&self) -> Counts {
        Counts { released: u32::try_from(self.accepted.len()).unwrap_or(u32::MAX), filtered: self.filtered }
    }
}

/// The entries of a Bundle of this type, or `None` when it is none.
pub(super) fn entries<'d>(bundle: Value<'d>, of_type: &str) -> Option<Vec<Value<'d>>> {
    let fits = bundle.get("resourceType").is_some_and(|kind| kind.is_str("Bundle"))
        && bundle.get("type").is_some_and(|kind| kind.is_str(of_type));
    let entries: Vec<_> = match bundle.get("entry") {
        None => Vec::new(),
        Some(list) if list.is_array() => list.elements().take(ENTRIES_MAX + 1).collect(),
        Some(_) => return None,
    };
    (fits && entries.len() <= ENTRIES_MAX).then_some(entries)
}

/// Judges and walks one resource; what is accepted is not yet settled.
pub(super) fn accept<'d>(
    plan: &Plan,
    resource: Value<'d>,
    letters: &[domain::Actions],
    included: bool,
    seal: &mut Sealer<'_>,
) -> Result<Accepted<'d>, Refusal> {
    let (kind, id) = identity(resource).ok_or(Refusal)?;
    let mut edits = Edits::default();
    let clause = judge::judge(&plan.cx, kind, &id, letters, resource)?;
    walk::walk(&plan.cx, kind, resource, &mut edits, &mut links(seal))?;
    Ok(Accepted { kind, id, resource, edits, included, clause, method: None, cut: false })
}

/// References among the released keep their display.
pub(super) fn settle(accepted: &mut [Accepted<'_>]) {
    let released: HashSet<(ResourceType, Cow<'_, str>)> =
        accepted.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
    for entry in accepted {
        entry.edits.settle(&mut |kind, id| released.contains(&(kind, Cow::Borrowed(id))));
    }
}

/// The upstream's next link, if it has one.
pub(super) fn next_url(bundle: Value<'_>) -> Option<String> {
    let link = bundle.get("link")?;
    let next = link.elements().find(|link| link.get("relation").is_some_and(|relation| relation.is_str("next")))?;
    next.get_str("url").map(Cow::into_owned)
}

/// That link as a call, if it stays on the upstream (PG-01, PG-06).
pub(super) fn next_call(plan: &Plan, bundle: Value<'_>, findings: &mut Vec<Finding>) -> Option<UpstreamCall> {
    let url = next_url(bundle)?;
    let call = below_base(&url, &plan.cx.upstream_base).map(|(path, query)| UpstreamCall::get(path, query));
    let call = call.or_else(|| own_everything(plan, &url));
    if call.is_none() {
        findings.push(Finding::ForeignLink);
    }
    call
}

/// A page of `$everything` that the upstream keeps at the operation's own address, for the session's patient and no other.
fn own_everything(plan: &Plan, url: &str) -> Option<UpstreamCall> {
    let path = format!("Patient/{}/$everything", plan.cx.patient);
    let query = url.strip_prefix(&plan.cx.upstream_base)?.strip_prefix('/')?.strip_prefix(&path)?.strip_prefix('?')?;
    (plan.kind == ResourceType::PATIENT && url.len() <= NEXT_BYTES_MAX && query_fits(query))
        .then(|| UpstreamCall::get(path, query))
}

/// Where a page begins.
pub(super) struct Next {
    /// The upstream's page.
    pub(super) at: UpstreamCall,
    /// Where on it.
    pub(super) start: Option<Start>,
}

/// A cursor of this session to another page of the same answer.
pub(super) fn cursor(
    plan: &Plan,
    size: Option<u32>,
    Next { at, start }: Next,
    narrowed_by: Option<&'static str>,
    pages: Pages,
) -> PageCursor {
    let (query, form) = match at.body {
        Some(UpstreamBody::Form(form)) => (form, true),
        _ => (at.query, false),
    };
    PageCursor {
        session: plan.cx.session,
        scope: plan.cx.scope.clone(),
        kind: plan.kind,
        path: at.path,
        query,
        form,
        number: plan.cx.page.saturating_add(1),
        size,
        start,
        view: plan.view.clone(),
        narrowed_by,
        pages,
        expires_at: plan.cx.links_expire_at,
    }
}

/// The address of the page at hand: its own cursor's, or what was asked for at `base`.
pub(super) fn own_url(
    plan: &Plan,
    base: String,
    (page, applied): (Option<&PageCursor>, &str),
    seal: &mut Sealer<'_>,
) -> String {
    match page {
        Some(cursor) => page_url(plan, cursor, seal).unwrap_or(base),
        None if applied.is_empty() => base,
        None => format!("{base}?{applied}"),
    }
}

/// Splits a URL below `base` into path and query; nothing that another reader could take for another place.
pub(super) fn below_base<'u>(url: &'u str, base: &str) -> Option<(&'u str, &'u str)> {
    if url.len() > NEXT_BYTES_MAX {
        return None;
    }
    let rest = url.strip_prefix(base)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix('/') {
        Some(path) => path,
        None if path.is_empty() => path,
        None => return None,
    };
    let path_fits = path.is_empty()
        || path.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        });
    (path_fits && query_fits(query)).then_some((path, query))
}

fn query_fits(query: &str) -> bool {
    query.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\' | b'`'))
}

/// The address of a page: its seal, where one was made.
pub(super) fn page_url(plan: &Plan, cursor: &PageCursor, seal: &mut Sealer<'_>) -> Option<String> {
    seal(&cursor.encode()).map(|token| format!("{}/{}?_hilum={token}", plan.cx.public_base, plan.kind))
}

/// The head of a Bundle, up to its links.
pub(super) fn begin(out: &mut Vec<u8>, of_type: &str, own: &str, next: Option<&str>) {
    out.extend(*br#"{"resourceType":"Bundle","type":"#);
    quote_into(out, of_type);
    out.extend(*br#","link":[{"relation":"self","url":"#);
    quote_into(out, own);
    if let Some(next) = next {
        out.extend(*br#"},{"relation":"next","url":"#);
        quote_into(out, next);
    }
    out.extend(*b"}]");
}

/// The end of a searchset: what is said of what is not there. `separator` is what would stand before one more entry.
pub(super) fn end(out: &mut Vec<u8>, mut separator: &[u8], judged: &Judged<'_>) {
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
}

/// One entry of a searchset.
pub(super) fn write_entry(out: &mut Vec<u8>, plan: &Plan, entry: &Accepted<'_>, text: &str) {
    out.extend_from_slice(br#"{"fullUrl":"#);
    quote_into(out, &plan.cx.public_base);
    // Type and id need no escapes.
    out.pop();
    for part in ["/", entry.kind.name(), "/", &entry.id] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(br#"","resource":"#);
    project::write(out, entry.kind, &plan.view, entry.resource, &entry.edits, text);
    let mode: &[u8] = if entry.included { b"include" } else { b"match" };
    out.extend_from_slice(br#","search":{"mode":""#);
    out.extend_from_slice(mode);
    out.extend_from_slice(br#""}}"#);
}

/// A searchset of what was accepted.
pub(super) fn build(plan: &Plan, document: &Document<'_>, judged: Judged<'_>, own: &str, next: Option<&str>) -> Part {
    let text = document.text();
    let mut out = Vec::with_capacity(text.len() + 1_024);
    begin(&mut out, "searchset", own, next);
    let mut separator: &[u8] = br#","entry":["#;
    let mut resources = Vec::with_capacity(judged.accepted.len());
    let mut clauses: Vec<u32> = Vec::new();
    for entry in &judged.accepted {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        write_entry(&mut out, plan, entry, text);
        resources.push(label(entry.kind, &entry.id, entry.resource));
        if !clauses.contains(&entry.clause) {
            clauses.push(entry.clause);
        }
    }
    end(&mut out, separator, &judged);
    let counts = judged.counts();
    Part { counts, resources, findings: judged.findings, clauses, ..Part::new(200, None, out) }
}

#[test]
fn pg_06_next_links_stay_below_the_base() {
    let base = "https://ehr/r4";
    for (url, expected) in [
        ("https://ehr/r4?_getpages=1&x=%20", Some(("", "_getpages=1&x=%20"))),
        ("https://ehr/r4/Observation?page=2", Some(("Observation", "page=2"))),
        ("https://ehr/r4/Observation/_search?page=2", Some(("Observation/_search", "page=2"))),
        ("https://ehr/r4x/Observation?page=2", None),
        ("https://ehr/r4.evil/Observation", None),
        ("https://ehr/r4@evil/Observation", None),
        ("https://evil/r4?_getpages=1", None),
        ("http://ehr/r4?_getpages=1", None),
        ("https://ehr/r4/../admin?x", None),
        ("https://ehr/r4/%2e%2e/admin", None),
        ("https://ehr/r4//evil", None),
        ("https://ehr/r4/Patient/$everything", None),
        ("https://ehr/r4?a=b#c", None),
        ("https://ehr/r4?a b", None),
        ("?_getpages=1", None),
    ] {
        assert_eq!(below_base(url, base), expected, "{url}");
    }
}
