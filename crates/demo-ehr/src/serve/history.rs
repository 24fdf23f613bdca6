//! The history of one instance, or of all: every version, newest first, deletions among them.

use crate::fault::Fault;
use crate::serve::listing::{Listed, Listing};
use crate::serve::message::{Content, Entry, Refused, etag, part};
use crate::serve::outcome;
use crate::serve::route::State;
use crate::shelf::{Change, Shelf, Stored};
use crate::time;

impl State {
    pub(super) fn history(
        &self,
        shelf: &Shelf,
        kind: &str,
        id: &str,
        listing: &Listing<'_>,
    ) -> Result<Listed, Refused> {
        let mut versions: Vec<&Stored> = shelf.versions(kind, id).iter().collect();
        if versions.is_empty() {
            return Err(Refused { status: 404, outcome: outcome::not_found(kind, id, &self.bystander(shelf, id)) });
        }
        versions.reverse();
        for fault in listing.faults {
            match fault {
                Fault::Gone => return Err(self.gone(shelf, kind, id)),
                Fault::HistoryOfOther(reference) => versions = versions_of(shelf, reference).collect(),
                Fault::HistoryWithForeign(reference) => {
                    versions.extend(versions_of(shelf, reference));
                    versions.sort_by_key(|stored| std::cmp::Reverse(stored.updated));
                }
                _ => {}
            }
        }
        Ok(told(versions, listing))
    }

    /// The history of everything, newest first.
    pub(super) fn history_of_all(&self, shelf: &Shelf, listing: &Listing<'_>) -> Listed {
        let mut versions: Vec<&Stored> = shelf.every_version().collect();
        // Names break ties, so that a page begins where the one before it ends.
        versions.sort_by(|a, b| (b.updated, &b.kind, &b.id).cmp(&(a.updated, &a.kind, &a.id)));
        told(versions, listing)
    }
}

fn told(mut versions: Vec<&Stored>, listing: &Listing<'_>) -> Listed {
    if let Some(since) = listing.first("_since").and_then(time::span) {
        versions.retain(|stored| stored.updated >= since.start);
    }
    let bare = listing.faults.contains(&Fault::HistoryWithoutResources);
    let entries: Vec<Entry> = versions.into_iter().map(|stored| entry(stored, bare)).collect();
    listing.page("history", entries.len(), entries)
}

fn versions_of<'s>(shelf: &'s Shelf, reference: &str) -> impl Iterator<Item = &'s Stored> {
    let (kind, id) = reference.split_once('/').unwrap_or((reference, ""));
    shelf.versions(kind, id).iter().rev()
}

fn entry(stored: &Stored, bare: bool) -> Entry {
    let name = format!("{}/{}", stored.kind, stored.id);
    let (method, url, status) = match stored.change {
        Change::Created => ("POST", stored.kind.clone(), "201 Created"),
        Change::Updated => ("PUT", name.clone(), "200 OK"),
        Change::Deleted => ("DELETE", name.clone(), "204 No Content"),
    };
    let content = match stored.change {
        Change::Deleted => Content::Empty,
        Change::Created | Change::Updated if bare => Content::Empty,
        Change::Created | Change::Updated => Content::Resource(stored.resource.clone()),
    };
    Entry {
        name: Some(name),
        content,
        mode: None,
        request: Some(part(&[("method", Some(method.to_owned())), ("url", Some(url))])),
        response: Some(part(&[
            ("status", Some(status.to_owned())),
            ("etag", Some(etag(&stored.version))),
            ("lastModified", Some(time::instant(stored.updated))),
        ])),
    }
}
