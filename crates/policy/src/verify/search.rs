//! Search answers: every entry judged by itself, and the Bundle built anew.

use std::borrow::Cow;

use domain::Actions;
use fhir::ResourceType;
use fhir::json::{Value, quote_into};

use super::edit::Edits;
use super::judge::{self, Refusal};
use super::{Part, identity, label, project, walk};
use crate::cursor::PageCursor;
use crate::grants::EITHER;
use crate::outcome;
use crate::permit::{Plan, Shape};
use crate::released::{Counts, Finding};

/// Most entries in one page, includes counted: far above any `_count` we send.
const ENTRIES_MAX: usize = 5_000;
/// Longest next link taken from an upstream.
const NEXT_BYTES_MAX: usize = 8 * 1024;

/// An entry that is released.
struct Accepted<'d> {
    kind: ResourceType,
    id: Cow<'d, str>,
    resource: Value<'d>,
    edits: Edits,
    included: bool,
    clause: u32,
}

/// What came of all entries.
#[derive(Default)]
struct Judged<'d> {
    accepted: Vec<Accepted<'d>>,
    filtered: u32,
    /// A match was left out, which the caller is told. What would have come along is not, since that somebody else's
    /// resource refers to the session's is nothing to tell; nor what lies outside the slice of a scope.
    left_out: bool,
    remarks: bool,
    findings: Vec<Finding>,
}

pub(super) fn search(
    plan: &Plan,
    bundle: Value<'_>,
    text: &str,
    seal: &mut dyn FnMut(&PageCursor) -> Option<String>,
) -> Part {
    let is_searchset = bundle.get("resourceType").is_some_and(|kind| kind.is_str("Bundle"))
        && bundle.get("type").is_some_and(|kind| kind.is_str("searchset"));
    let Shape::Search { empty, narrowed_by, includes, applied, page } = &plan.shape else { return Part::broken() };
    let entries: Vec<_> = match bundle.get("entry") {
        None => Vec::new(),
        Some(list) if list.is_array() => list.elements().collect(),
        Some(_) => return Part::broken(),
    };
    if !is_searchset || entries.len() > ENTRIES_MAX {
        return Part::broken();
    }
    let mut judged = Judged::default();
    for entry in entries {
        if *empty {
            judged.filtered += 1;
        } else {
            judge_entry(plan, *narrowed_by, *includes, entry, &mut judged);
        }
    }
    settle(&mut judged.accepted);
    let next = if *empty || judged.findings.iter().any(|finding| matches!(finding, Finding::ForeignMatch { .. })) {
        None
    } else {
        next_page(plan, bundle, *narrowed_by, *includes, &mut judged.findings)
    };
    let base = format!("{}/{}", plan.public_base, plan.kind);
    let own = match page {
        Some(cursor) => seal(cursor).map_or_else(|| base.clone(), |token| format!("{base}?_hilum={token}")),
        None if applied.is_empty() => base.clone(),
        None => format!("{base}?{applied}"),
    };
    let next = next.and_then(|cursor| seal(&cursor)).map(|token| format!("{base}?_hilum={token}"));
    build(plan, text, judged, &own, next.as_deref())
}

fn judge_entry<'d>(
    plan: &Plan,
    narrowed_by: Option<&'static str>,
    includes: bool,
    entry: Value<'d>,
    judged: &mut Judged<'d>,
) {
    let Some(resource) = entry.get("resource") else {
        judged.filtered += 1;
        judged.left_out = true;
        return;
    };
    if resource.get("resourceType").is_some_and(|kind| kind.is_str("OperationOutcome")) {
        judged.remarks = true;
        return;
    }
    let Some((kind, id)) = identity(resource) else {
        judged.filtered += 1;
        judged.left_out = true;
        return;
    };
    // `search.mode` is the upstream's word: it decides how an entry is shown, never whether it is judged (SR-23).
    let said_included =
        entry.get("search").and_then(|search| search.get_str("mode")).is_some_and(|mode| mode == "include");
    let included = includes && (said_included || kind != plan.kind);
    let letters: &[Actions] = if included { &EITHER } else { &[Actions::SEARCH] };
    if kind != plan.kind && !includes {
        judged.filtered += 1;
        judged.left_out = true;
        return;
    }
    let mut edits = Edits::default();
    let verdict = judge::judge(plan, kind, &id, letters, resource)
        .and_then(|clause| walk::walk(plan, kind, resource, &mut edits).map(|()| clause));
    match verdict {
        Ok(clause) => judged.accepted.push(Accepted { kind, id, resource, edits, included, clause }),
        Err(Refusal) => {
            judged.filtered += 1;
            judged.left_out |= !included && !judge::is_outside_slice(plan, kind, &id, letters, resource);
            if let Some(param) = narrowed_by
                && !included
                && judge::ignores_filter(plan, kind, &id, param, resource)
            {
                let finding = Finding::ForeignMatch { kind, param: param.to_owned() };
                if !judged.findings.contains(&finding) {
                    judged.findings.push(finding);
                }
            }
        }
    }
}

/// References among the released keep their display.
fn settle(accepted: &mut [Accepted<'_>]) {
    let mut released: Vec<(ResourceType, String)> =
        accepted.iter().map(|entry| (entry.kind, entry.id.clone().into_owned())).collect();
    released.sort_unstable();
    for entry in accepted {
        entry
            .edits
            .settle(&mut |kind, id| released.binary_search_by(|(k, i)| (*k, i.as_str()).cmp(&(kind, id))).is_ok());
    }
}

/// The upstream's next link as a cursor, if it stays on the upstream (PG-01, PG-06).
fn next_page(
    plan: &Plan,
    bundle: Value<'_>,
    narrowed_by: Option<&'static str>,
    includes: bool,
    findings: &mut Vec<Finding>,
) -> Option<PageCursor> {
    let url = bundle
        .get("link")?
        .elements()
        .find(|link| link.get("relation").is_some_and(|relation| relation.is_str("next")))?
        .get_str("url")?;
    let Some((path, query)) = below_base(&url, &plan.upstream_base) else {
        findings.push(Finding::ForeignLink);
        return None;
    };
    Some(PageCursor {
        session: plan.session,
        scope: plan.scope.clone(),
        kind: plan.kind,
        path: path.to_owned(),
        query: query.to_owned(),
        view: plan.view.clone(),
        narrowed_by,
        includes,
        expires_at: plan.page_expires_at,
    })
}

/// Splits a URL below `base` into path and query; nothing that another reader could take for another place.
fn below_base<'u>(url: &'u str, base: &str) -> Option<(&'u str, &'u str)> {
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
    let query_fits =
        query.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\' | b'`'));
    (path_fits && query_fits).then_some((path, query))
}

fn build(plan: &Plan, text: &str, judged: Judged<'_>, own: &str, next: Option<&str>) -> Part {
    let mut out = Vec::with_capacity(text.len() + 1_024);
    out.extend(*br#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"#);
    quote_into(&mut out, own);
    if let Some(next) = next {
        out.extend(*br#"},{"relation":"next","url":"#);
        quote_into(&mut out, next);
    }
    out.extend(*b"}]");
    let mut separator: &[u8] = br#","entry":["#;
    let mut resources = Vec::with_capacity(judged.accepted.len());
    let mut clauses: Vec<u32> = Vec::new();
    for entry in &judged.accepted {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend(*br#"{"fullUrl":"#);
        quote_into(&mut out, &format!("{}/{}/{}", plan.public_base, entry.kind, entry.id));
        out.extend(*br#","resource":"#);
        project::write(&mut out, entry.kind, &plan.view, entry.resource, &entry.edits, text);
        let mode: &[u8] = if entry.included { b"include" } else { b"match" };
        out.extend(*br#","search":{"mode":""#);
        out.extend_from_slice(mode);
        out.extend(*br#""}}"#);
        resources.push(label(entry.kind, &entry.id, entry.resource));
        if !clauses.contains(&entry.clause) {
            clauses.push(entry.clause);
        }
    }
    if judged.left_out || judged.remarks {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend(*br#"{"resource":"#);
        out.extend(if judged.left_out { outcome::left_out() } else { outcome::remark() });
        out.extend(*br#","search":{"mode":"outcome"}}"#);
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
    Part {
        status: 200,
        body: out,
        reason: None,
        etag: None,
        last_modified: None,
        counts: Counts {
            released: u32::try_from(judged.accepted.len()).unwrap_or(u32::MAX),
            filtered: judged.filtered,
        },
        resources,
        findings: judged.findings,
        clauses,
    }
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
