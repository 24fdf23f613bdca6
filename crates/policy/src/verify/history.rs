//! An instance's history: each version judged by itself, as if it had been asked for alone (VR-03 … VR-19).

use domain::Actions;
use fhir::Id;
use fhir::json::{Document, Value, quote_into};

use super::bundle::{self, Accepted, Judged};
use super::{Part, Sealer, Step, fill, identity, label, project};
use crate::cursor::{PageCursor, Pages};
use crate::permit::Plan;
use crate::released::Counts;
use crate::shape::Filling;

pub(super) fn step(
    plan: &Plan,
    id: &Id,
    asked: (Option<&PageCursor>, &str),
    filling: &mut Filling,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Step {
    let Some(entries) = bundle::entries(document.root(), "history") else { return Part::broken().into() };
    let mut judged = each(plan, id, entries.into_iter(), seal);
    filling.learn(document.root(), judged.seen);
    let over = fill::cut(filling, &mut judged, false);
    if over.is_none()
        && let Some(call) = bundle::next_call(plan, document.root(), &mut judged.findings)
    {
        return match fill::ask_on(filling, judged, call) {
            // So many versions of which none is the session's are the same as none.
            Step::Denied(_) if filling.is_single() => Part::foreign().into(),
            step => step,
        };
    }
    let base = format!("{}/{}/{id}/_history", plan.cx.public_base, plan.kind);
    let own = bundle::own_url(plan, base, asked, seal);
    let next = over.and_then(|start| {
        let cursor = bundle::cursor(plan, filling.size, fill::here(plan, start), None, Pages::History(id.clone()));
        bundle::page_url(plan, &cursor, seal)
    });
    if filling.is_single() {
        filling.add_to(&mut judged);
        return settled(plan, document, judged, &own, next.as_deref()).into();
    }
    let text = filling.whole(&mut judged);
    let Ok(document) = Document::parse(text.as_bytes()) else { return Part::broken().into() };
    let mut again = each(plan, id, fill::entries(&document), seal);
    if again.filtered > 0 {
        return Part::broken().into();
    }
    (again.filtered, again.findings) = (judged.filtered, judged.findings);
    settled(plan, &document, again, &own, next.as_deref()).into()
}

fn each<'d>(plan: &Plan, id: &Id, entries: impl Iterator<Item = Value<'d>>, seal: &mut Sealer<'_>) -> Judged<'d> {
    let mut judged = Judged::default();
    for entry in entries {
        judged.seen += 1;
        // A deletion has no body to judge, and a version of another instance was not asked for (VR-16).
        let resource = entry.get("resource").filter(|resource| {
            identity(*resource).is_some_and(|(kind, found)| kind == plan.kind && found == id.as_str())
        });
        match resource.map(|resource| bundle::accept(plan, resource, &[Actions::READ], false, seal)) {
            Some(Ok(accepted)) => judged.accepted.push(Accepted { method: Some(method(entry)), ..accepted }),
            _ => judged.filtered += 1,
        }
    }
    judged
}

fn settled(plan: &Plan, document: &Document<'_>, mut judged: Judged<'_>, own: &str, next: Option<&str>) -> Part {
    if judged.accepted.is_empty() {
        // Whose versions they are is not told by an empty page: none of the session's is the same as none at all.
        return Part { findings: judged.findings, ..Part::foreign() };
    }
    bundle::settle(&mut judged.accepted);
    build(plan, document, judged, own, next)
}

/// How a version came about, in the standard's words.
fn method(entry: Value<'_>) -> &'static str {
    match entry.get("request").and_then(|request| request.get_str("method")).as_deref() {
        Some("POST") => "POST",
        Some("PATCH") => "PATCH",
        _ => "PUT",
    }
}

fn build(plan: &Plan, document: &Document<'_>, judged: Judged<'_>, own: &str, next: Option<&str>) -> Part {
    let text = document.text();
    let mut out = Vec::with_capacity(text.len() + 1_024);
    bundle::begin(&mut out, "history", own, next);
    let mut separator: &[u8] = br#","entry":["#;
    let (mut resources, mut clauses) = (Vec::new(), Vec::new());
    for entry in &judged.accepted {
        let method = entry.method.unwrap_or("PUT");
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend(*br#"{"fullUrl":"#);
        quote_into(&mut out, &format!("{}/{}/{}", plan.cx.public_base, entry.kind, entry.id));
        out.extend(*br#","resource":"#);
        project::write(&mut out, entry.kind, &plan.view, entry.resource, &entry.edits, text);
        let created = method == "POST";
        let url = if created { entry.kind.name().to_owned() } else { format!("{}/{}", entry.kind, entry.id) };
        out.extend(format!(r#","request":{{"method":"{method}","url":"{url}"}},"response":{{"status":"#).into_bytes());
        quote_into(&mut out, if created { "201 Created" } else { "200 OK" });
        let meta = |name: &str| entry.resource.get("meta").and_then(|meta| meta.get_str(name));
        if let Some(version) = meta("versionId").filter(|version| Id::fits(version)) {
            out.extend(*br#","etag":"#);
            quote_into(&mut out, &format!("W/\"{version}\""));
        }
        if let Some(modified) = meta("lastUpdated").filter(|text| is_instant(text)) {
            out.extend(*br#","lastModified":"#);
            quote_into(&mut out, &modified);
        }
        out.extend(*b"}}");
        resources.push(label(entry.kind, &entry.id, entry.resource));
        clauses.push(entry.clause);
    }
    out.extend(*b"]}");
    let released = u32::try_from(judged.accepted.len()).unwrap_or(u32::MAX);
    let counts = Counts { released, filtered: judged.filtered };
    Part { counts, resources, findings: judged.findings, clauses, ..Part::new(200, None, out) }
}

/// The characters of an instant and no others: here stands no free text of the upstream's.
fn is_instant(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_digit() || b"-:.+TZ".contains(&b))
}
