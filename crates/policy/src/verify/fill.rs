//! Pages that do not tell of what is held back: each is filled from as many of the upstream's as it takes.
//!
//! A page has as many matches as were asked for, or as the upstream's own pages have, wherever something is held back between them;
//! it has a next link only where a further match is known to be released; and that link says at which match it begins.

use std::collections::HashSet;

use fhir::json::{Document, Value};

use super::bundle::{self, Accepted, Judged, Next};
use super::{Step, label, too_costly};
use crate::cursor::Start;
use crate::permit::{Plan, UpstreamCall};
use crate::shape::Filling;

/// Most upstream calls for one page: with pages of 20, two thousand matches in a row that are held back.
const CALLS_MAX: u16 = 100;
/// Most bytes held of what is put together from several answers: a page while it is filled, `$lastn`.
pub(super) const GATHERED_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Filling {
    /// How many matches are still to come; of an unknown size, all that the upstream's page has.
    pub(super) fn wants(&self) -> usize {
        self.size.map_or(usize::MAX, |size| size.saturating_sub(self.matches) as usize)
    }

    /// Whether all of the page is on the upstream's page at hand.
    pub(super) fn is_single(&self) -> bool {
        self.entries.is_empty()
    }

    /// Learns the size of a page that was asked for without one: of the upstream's page, where that is followed by another and so
    /// is full. How many matches are on a last one would depend on what is held back.
    pub(super) fn learn(&mut self, bundle: Value<'_>, seen: u32) {
        if self.size.is_none() && seen > 0 && bundle::next_url(bundle).is_some() {
            self.size = Some(seen);
        }
    }

    /// Keeps an entry for the page; it is judged again with all the others.
    pub(super) fn put(&mut self, resource: Value<'_>, included: bool, method: Option<&'static str>) {
        let out = &mut self.entries;
        out.push_str(if out.is_empty() { r#"{"entry":[{"resource":"# } else { r#",{"resource":"# });
        out.push_str(resource.raw());
        out.push_str(if included { r#","search":{"mode":"include"}"# } else { r#","search":{"mode":"match"}"# });
        if let Some(method) = method {
            // One of three words of ours.
            out.push_str(&format!(r#","request":{{"method":"{method}"}}"#));
        }
        out.push('}');
        self.matches = self.matches.saturating_add(u32::from(!included));
    }

    fn put_all(&mut self, judged: &mut Judged<'_>) {
        for entry in judged.accepted.drain(..) {
            self.put(entry.resource, entry.included, entry.method);
        }
        self.filtered = self.filtered.saturating_add(judged.filtered);
        self.remarks |= judged.remarks;
        for finding in judged.findings.drain(..) {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    /// What was found out about pages of the upstream's of which nothing was kept.
    pub(super) fn add_to(&mut self, judged: &mut Judged<'_>) {
        judged.filtered = judged.filtered.saturating_add(self.filtered);
        judged.remarks |= self.remarks;
        let earlier = std::mem::take(&mut self.findings);
        judged.findings.extend(earlier);
    }

    /// All entries as one text, and what was found out about the upstream's pages.
    pub(super) fn whole(&mut self, judged: &mut Judged<'_>) -> String {
        self.put_all(judged);
        let mut text = std::mem::take(&mut self.entries);
        text.push_str("]}");
        judged.filtered = self.filtered;
        judged.remarks = self.remarks;
        judged.findings = std::mem::take(&mut self.findings);
        text
    }
}

/// What [`Filling::whole`] made, entry by entry.
pub(super) fn entries<'d>(whole: &'d Document<'_>) -> impl Iterator<Item = Value<'d>> {
    whole.root().get("entry").into_iter().flat_map(|list| list.elements())
}

/// Cuts the page out of the upstream's page at hand; gives back the first match that is left over. What is cut off stays where
/// `includes` may lead to it: the upstream names nothing twice.
pub(super) fn cut(filling: &mut Filling, judged: &mut Judged<'_>, includes: bool) -> Option<Start> {
    let wants = filling.wants();
    let from = filling.start.take().map_or(0, |start| {
        let mut matches = judged.accepted.iter().filter(|entry| !entry.included);
        matches.position(|entry| name(entry) == start.name).unwrap_or(start.offset as usize)
    });
    let (mut at, mut over) = (0_usize, None);
    for entry in &mut judged.accepted {
        if entry.included {
            continue;
        }
        if at >= from.saturating_add(wants) && over.is_none() {
            over = Some(Start { offset: u32::try_from(at).unwrap_or(u32::MAX), name: name(entry) });
        }
        entry.cut = at < from || at >= from.saturating_add(wants);
        entry.included = entry.cut;
        at += 1;
    }
    if !includes {
        judged.accepted.retain(|entry| !entry.cut);
    }
    over
}

/// The next page, where it begins on the upstream's page at hand.
pub(super) fn here(plan: &Plan, start: Start) -> Next {
    Next { at: plan.call.clone(), start: Some(start) }
}

/// By what a page finds the match it begins with again.
fn name(entry: &Accepted<'_>) -> String {
    match entry.method {
        // Of a history every version is one.
        Some(_) => label(entry.kind, &entry.id, entry.resource),
        None => format!("{}/{}", entry.kind, entry.id),
    }
}

/// Asks the upstream's next page, with what this one gave kept.
pub(super) fn ask_on(filling: &mut Filling, mut judged: Judged<'_>, call: UpstreamCall) -> Step {
    filling.put_all(&mut judged);
    filling.calls += 1;
    let bounded = filling.calls < CALLS_MAX && filling.entries.len() <= GATHERED_BYTES_MAX;
    if bounded { Step::Next(call) } else { Step::Denied(too_costly()) }
}

/// Matches in their order, and behind them what came along, once each and by name: its place would tell from which of the
/// upstream's pages it came.
pub(super) fn in_order(judged: &mut Judged<'_>) {
    if judged.accepted.iter().all(|entry| !entry.included) {
        return;
    }
    let (matches, mut along): (Vec<_>, Vec<_>) =
        std::mem::take(&mut judged.accepted).into_iter().partition(|entry| !entry.included);
    along.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    along.dedup_by(|a, b| (a.kind, &a.id) == (b.kind, &b.id));
    let names: HashSet<_> = matches.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
    along.retain(|entry| !names.contains(&(entry.kind, entry.id.clone())));
    judged.accepted = matches;
    judged.accepted.extend(along);
}
