//! `$lastn`, made of searches: what is last is found among what the session may see, so that nothing hidden takes a place.

use fhir::json::{Document, Value, quote_into};

use super::bundle::{self, Judged};
use super::fill::GATHERED_BYTES_MAX;
use super::{Part, Step, label, project, too_costly};
use crate::permit::{Plan, UpstreamCall};
use crate::released::Counts;
use crate::shape::{Gathered, Last};

/// Most observations looked at; a patient with more has to be asked about by code or category.
const SEEN_MAX: u32 = 20_000;

pub(super) fn step(plan: &Plan, last: &mut Last, document: &Document<'_>, mut judged: Judged<'_>) -> Step {
    let left_out = judged.left_out();
    for entry in judged.accepted.drain(..) {
        last.seen += 1;
        if !last.known.insert(entry.id.clone().into_owned()) {
            continue;
        }
        let (code, time) = (code(entry.resource), time(entry.resource));
        let places = last.by_code.entry(code).or_default();
        // An upstream orders by time alone, and what is equal in time now this way and now that: of these the first by id.
        let place = if places.len() < last.max as usize {
            places.push(last.gathered.len());
            None
        } else {
            let equals = places.iter().filter_map(|place| Some((*place, last.gathered.get(*place)?)));
            let later = equals.filter(|(_, known)| known.time == time && *known.id > *entry.id);
            let Some((place, _)) = later.max_by(|(_, a), (_, b)| a.id.cmp(&b.id)) else { continue };
            Some(place)
        };
        let mut body = Vec::with_capacity(entry.resource.raw().len());
        project::write(&mut body, entry.kind, &plan.view, entry.resource, &entry.edits, document.text());
        let label = label(entry.kind, &entry.id, entry.resource);
        let (id, clause) = (entry.id.into_owned(), entry.clause);
        last.bytes += body.len();
        let gathered = Gathered { time, id, label, clause, body };
        match place.and_then(|place| last.gathered.get_mut(place)) {
            Some(known) => {
                last.bytes -= known.body.len();
                *known = gathered;
            }
            None => last.gathered.push(gathered),
        }
    }
    let next = match bundle::next_url(document.root()) {
        Some(url) if !left_out => match bundle::below_base(&url, &plan.cx.upstream_base) {
            Some((path, query)) => Some(UpstreamCall::get(path, query)),
            None => return Part::broken().into(),
        },
        _ => None,
    };
    match next {
        _ if last.bytes > GATHERED_BYTES_MAX => Step::Denied(too_costly()),
        Some(_) if last.seen > SEEN_MAX => Step::Denied(too_costly()),
        Some(call) => Step::Next(call),
        None => Part { findings: std::mem::take(&mut judged.findings), ..build(plan, last, judged.filtered) }.into(),
    }
}

/// What observations are grouped by: their codings, else their text.
fn code(resource: Value<'_>) -> String {
    let mut codings = Vec::new();
    resource.at_path(&["code", "coding"], &mut |coding| {
        let part = |name: &str| coding.get_str(name).unwrap_or_default().into_owned();
        codings.push(format!("{}|{}", part("system"), part("code")));
    });
    if codings.is_empty() {
        return resource.get("code").and_then(|code| code.get_str("text")).unwrap_or_default().into_owned();
    }
    codings.sort_unstable();
    codings.join(",")
}

/// When an observation was made, or began, as written; what is written in two ways is not equal.
fn time(resource: Value<'_>) -> String {
    let mut times = resource.members().filter(|(name, _)| name.text().starts_with("effective"));
    times
        .next()
        .map(|(_, time)| time)
        .map(|time| time.get("start").unwrap_or(time))
        .map_or_else(String::new, |time| time.raw().to_owned())
}

fn build(plan: &Plan, last: &Last, filtered: u32) -> Part {
    let mut out = Vec::new();
    bundle::begin(&mut out, "searchset", &format!("{}/{}/$lastn", plan.cx.public_base, plan.kind), None);
    let mut separator: &[u8] = br#","entry":["#;
    for entry in &last.gathered {
        out.extend_from_slice(std::mem::replace(&mut separator, b","));
        out.extend(*br#"{"fullUrl":"#);
        quote_into(&mut out, &format!("{}/{}/{}", plan.cx.public_base, plan.kind, entry.id));
        out.extend(*br#","resource":"#);
        out.extend_from_slice(&entry.body);
        out.extend(*br#","search":{"mode":"match"}}"#);
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
    Part {
        counts: Counts { released: u32::try_from(last.gathered.len()).unwrap_or(u32::MAX), filtered },
        resources: last.gathered.iter().map(|entry| entry.label.clone()).collect(),
        clauses: last.gathered.iter().map(|entry| entry.clause).collect(),
        ..Part::new(200, None, out)
    }
}
