//! Which answer a request gets: metadata, read, vread, a list, a write, a Bundle of them, or a refusal.

use std::sync::{PoisonError, RwLock};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::capability;
use crate::fault::Fault;
use crate::search::{self, UnknownParameters};
use crate::serve::binary;
use crate::serve::export::Exports;
use crate::serve::listing::{Lists, PageLinks};
use crate::serve::message::{Ask, Content, Refused, Reply, etag};
use crate::serve::outcome;
use crate::serve::write::{Target, Write};
use crate::shelf::{Found, Shelf, Stored};
use crate::time;

/// Everything an answer depends on.
pub(crate) struct State {
    pub(crate) base: String,
    pub(crate) now: i64,
    pub(crate) shelf: RwLock<Shelf>,
    pub(crate) unknown: UnknownParameters,
    pub(crate) links: PageLinks,
    /// The token endpoint, if there is one.
    pub(crate) security: Option<String>,
    /// The authorization endpoint, if there is one.
    pub(crate) authorize: Option<String>,
    pub(super) lists: Lists,
    pub(super) exports: Exports,
}

impl State {
    pub(crate) fn new(base: String, now: i64, shelf: Shelf, unknown: UnknownParameters, links: PageLinks) -> Self {
        Self {
            base,
            now,
            shelf: RwLock::new(shelf),
            unknown,
            links,
            security: None,
            authorize: None,
            lists: Lists::default(),
            exports: Exports::default(),
        }
    }

    /// Answers one request to the FHIR base.
    pub(crate) fn answer(&self, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let decoded = segments(ask.path);
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        if ask.method == "POST" && segments.is_empty() {
            return self.bundle(ask, faults);
        }
        {
            let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(reply) = self.export(&shelf, ask, &segments, faults) {
                return reply;
            }
        }
        let Some(target) = Target::read(ask.method, &segments) else {
            let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
            return self.look(&shelf, ask, faults);
        };
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        self.race(&mut shelf, faults);
        let (resource, at) = (self.body(&shelf, ask), shelf.tick(self.now));
        let write = Write { target, resource, id: None, at };
        self.write(&mut shelf, write, ask, faults).map_or_else(Reply::from, |(reply, _)| reply)
    }

    /// Answers a request that changes nothing.
    pub(super) fn look(&self, shelf: &Shelf, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let decoded = segments(ask.path);
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        match (ask.method, segments.as_slice()) {
            ("GET" | "HEAD", ["metadata"]) if faults.contains(&Fault::MalformedCapabilities) => {
                Reply::plain(200, Value::Null)
            }
            ("GET" | "HEAD", ["metadata"]) => Reply::plain(200, capability::statement(shelf, self)),
            ("GET", []) => self.next_page(shelf, &search::pairs(ask.query), faults),
            ("GET", ["_history"]) => self.list(shelf, "_history", ask.pairs(), faults),
            (_, [kind, ..]) if kind.parse::<fhir::ResourceType>().is_err() => {
                Refused::new(404, "processing", &format!("HAPI-0302: Unknown resource type '{kind}'")).into()
            }
            ("GET" | "HEAD", [kind]) => self.list(shelf, kind, ask.pairs(), faults),
            ("POST", [kind, "_search"]) => self.list(shelf, kind, ask.pairs(), faults),
            ("GET" | "HEAD", [kind, id, "_history"]) => {
                self.list(shelf, &format!("{kind}/{id}/_history"), ask.pairs(), faults)
            }
            ("GET" | "HEAD" | "POST", ["Patient", id, "$everything"]) => {
                self.list(shelf, &format!("Patient/{id}/$everything"), ask.pairs(), faults)
            }
            ("GET" | "HEAD" | "POST", ["Observation", "$lastn"]) => {
                self.list(shelf, "Observation/$lastn", ask.pairs(), faults)
            }
            ("GET" | "HEAD", [kind, id]) if !id.starts_with(['$', '_']) => {
                self.read(shelf, kind, id, shelf.find(kind, id), ask, faults)
            }
            ("GET" | "HEAD", [kind, id, "_history", version]) => {
                self.read(shelf, kind, id, shelf.version(kind, id, version), ask, faults)
            }
            ("GET" | "HEAD" | "POST", _) => {
                Refused::new(400, "not-supported", "HAPI-0446: this demonstration upstream has no such operation")
                    .into()
            }
            (method, _) => {
                Refused::new(405, "not-supported", &format!("HAPI-0445: {method} is not supported here")).into()
            }
        }
    }

    fn read(&self, shelf: &Shelf, kind: &str, id: &str, found: Found<'_>, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let found = faults.iter().find_map(|fault| other(shelf, fault)).unwrap_or(found);
        let stored = match found {
            Found::Here(stored) => stored,
            Found::Deleted => return self.gone(shelf, kind, id).into(),
            Found::Absent => return Reply::plain(404, outcome::not_found(kind, id, &self.bystander(shelf, id))),
        };
        let etag = etag(&stored.version);
        let unchanged = match ask.if_none_match {
            Some(tags) => tags.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"),
            None => ask.if_modified_since == Some(time::http_date(stored.updated).as_str()),
        };
        if unchanged {
            return Reply::about(304, stored);
        }
        let pairs = search::pairs(ask.query);
        let first = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let resource = search::project(&stored.resource, first("_elements"), first("_summary"));
        binary::answer(Reply { content: Content::Resource(resource), ..Reply::about(200, stored) }, ask, faults)
    }

    /// The refusal of what is deleted.
    pub(super) fn gone(&self, shelf: &Shelf, kind: &str, id: &str) -> Refused {
        let bystander = self.bystander(shelf, id);
        Refused::new(
            410,
            "deleted",
            &format!("HAPI-2049: Resource {kind}/{id} was deleted; it belonged to {bystander}"),
        )
    }

    /// Some patient that was not asked for: what a chatty error message lets slip.
    pub(super) fn bystander(&self, shelf: &Shelf, asked: &str) -> String {
        let patient = shelf.all("Patient").find(|stored| stored.id != asked);
        patient.map_or_else(|| "Patient/unknown".to_owned(), |stored| format!("Patient/{}", stored.id))
    }
}

/// The segments of a path, decoded.
pub(super) fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect()
}

/// The current version that a `Type/id` names.
pub(super) fn find<'s>(shelf: &'s Shelf, reference: &str) -> Option<&'s Stored> {
    let (kind, id) = reference.split_once('/')?;
    match shelf.find(kind, id) {
        Found::Here(stored) => Some(stored),
        Found::Deleted | Found::Absent => None,
    }
}

fn other<'s>(shelf: &'s Shelf, fault: &Fault) -> Option<Found<'s>> {
    match fault {
        Fault::OtherResource(reference) => find(shelf, reference).map(Found::Here),
        Fault::Gone => Some(Found::Deleted),
        _ => None,
    }
}
