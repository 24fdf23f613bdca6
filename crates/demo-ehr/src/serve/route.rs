//! Which answer a request gets: metadata, read, vread, search, the next page, or a refusal.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::capability;
use crate::fault::Fault;
use crate::search::{self, Mode, Search, UnknownParameters};
use crate::serve::outcome;
use crate::serve::render::Searchset;
use crate::shelf::{Found, Shelf, Stored};
use crate::time;

/// Searches remembered for `_getpages` links; the oldest go first.
const SEARCHES_MAX: usize = 1024;

/// How links to the next page look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PageLinks {
    /// `?_getpages=<opaque>` at the base, as HAPI does it.
    #[default]
    GetPages,
    /// The same search with `_page=<offset>` added.
    PageParameter,
}

/// A request, read.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// Below the base, without the leading slash.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) form: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
    pub(crate) if_modified_since: Option<&'a str>,
}

/// What is in an answer, before it is bytes.
#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    /// Written as it is, untouched by faults.
    Plain(Value),
    Resource(Arc<Value>),
    Bundle(Searchset),
}

/// An answer before faults of the transport.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

/// A search whose pages are still to be had.
#[derive(Clone)]
struct Remembered {
    token: String,
    kind: String,
    pairs: Vec<(String, String)>,
}

/// Everything an answer depends on.
pub(crate) struct State {
    pub(crate) base: String,
    pub(crate) now: i64,
    pub(crate) shelf: RwLock<Shelf>,
    pub(crate) unknown: UnknownParameters,
    pub(crate) links: PageLinks,
    pub(crate) security: Option<String>,
    searches: Mutex<(u64, VecDeque<Remembered>)>,
}

impl Reply {
    pub(crate) fn outcome(status: u16, outcome: Value) -> Self {
        Self { status, headers: Vec::new(), content: Content::Plain(outcome) }
    }

    fn refuse(status: u16, code: &str, text: &str) -> Self {
        Self::outcome(status, outcome::outcome(code, text))
    }
}

impl State {
    pub(crate) fn new(base: String, now: i64, shelf: Shelf, unknown: UnknownParameters, links: PageLinks) -> Self {
        let searches = Mutex::default();
        Self { base, now, shelf: RwLock::new(shelf), unknown, links, security: None, searches }
    }

    /// Answers one request to the FHIR base.
    pub(crate) fn answer(&self, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let decoded: Vec<String> = ask
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        match (ask.method, segments.as_slice()) {
            ("GET" | "HEAD", ["metadata"]) if faults.contains(&Fault::MalformedCapabilities) => {
                Reply { status: 200, headers: Vec::new(), content: Content::Plain(Value::Null) }
            }
            ("GET" | "HEAD", ["metadata"]) => {
                let statement = capability::statement(&shelf, &self.base, self.now, self.security.as_deref());
                Reply { status: 200, headers: Vec::new(), content: Content::Plain(statement) }
            }
            ("GET", []) => self.next_page(&shelf, &search::pairs(ask.query), faults),
            (_, [kind, ..]) if kind.parse::<fhir::ResourceType>().is_err() => {
                Reply::refuse(404, "processing", &format!("HAPI-0302: Unknown resource type '{kind}'"))
            }
            ("GET" | "HEAD", [kind]) => self.search(&shelf, kind, search::pairs(ask.query), faults),
            ("POST", [kind, "_search"]) => {
                let mut pairs = search::pairs(ask.query);
                pairs.extend(search::pairs(ask.form.unwrap_or("")));
                self.search(&shelf, kind, pairs, faults)
            }
            ("GET" | "HEAD", [kind, id]) if !id.starts_with(['$', '_']) => {
                self.read(&shelf, kind, id, shelf.find(kind, id), ask, faults)
            }
            ("GET" | "HEAD", [kind, id, "_history", version]) => {
                self.read(&shelf, kind, id, shelf.version(kind, id, version), ask, faults)
            }
            ("GET" | "HEAD" | "POST", _) => {
                Reply::refuse(400, "not-supported", "HAPI-0446: this demonstration upstream has no such operation")
            }
            (method, _) => Reply::refuse(405, "not-supported", &format!("HAPI-0445: {method} is not supported here")),
        }
    }

    fn read(&self, shelf: &Shelf, kind: &str, id: &str, found: Found<'_>, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let found = faults.iter().find_map(|fault| other(shelf, fault)).unwrap_or(found);
        let stored = match found {
            Found::Here(stored) => stored,
            Found::Deleted => {
                let text = format!(
                    "HAPI-2049: Resource {kind}/{id} was deleted; it belonged to {}",
                    self.bystander(shelf, id)
                );
                return Reply::refuse(410, "deleted", &text);
            }
            Found::Absent => return Reply::outcome(404, outcome::not_found(kind, id, &self.bystander(shelf, id))),
        };
        let etag = format!("W/\"{}\"", stored.version);
        let modified = time::http_date(stored.updated);
        let mut headers = vec![("etag", etag.clone())];
        if !faults.contains(&Fault::EtagOnly) {
            headers.push(("last-modified", modified.clone()));
        }
        let unchanged = match ask.if_none_match {
            Some(tags) => tags.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"),
            None => ask.if_modified_since == Some(modified.as_str()),
        };
        if unchanged {
            return Reply { status: 304, headers, content: Content::Empty };
        }
        let pairs = search::pairs(ask.query);
        let first = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let resource = search::project(&stored.resource, first("_elements"), first("_summary"));
        Reply { status: 200, headers, content: Content::Resource(resource) }
    }

    /// Some patient that was not asked for: what a chatty error message lets slip.
    fn bystander(&self, shelf: &Shelf, asked: &str) -> String {
        let patient = shelf.all("Patient").find(|stored| stored.id != asked);
        patient.map_or_else(|| "Patient/unknown".to_owned(), |stored| format!("Patient/{}", stored.id))
    }

    fn search(&self, shelf: &Shelf, kind: &str, mut pairs: Vec<(String, String)>, faults: &[Fault]) -> Reply {
        let mut offset = 0;
        if self.links == PageLinks::PageParameter {
            offset =
                pairs.iter().find(|(name, _)| name == "_page").and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
            pairs.retain(|(name, _)| name != "_page");
        }
        self.page(shelf, kind, &pairs, offset, faults)
    }

    fn page(&self, shelf: &Shelf, kind: &str, pairs: &[(String, String)], offset: usize, faults: &[Fault]) -> Reply {
        let search = Search { kind, pairs, offset, base: &self.base, unknown: self.unknown, faults };
        let mut page = match search.run(shelf) {
            Ok(page) => page,
            Err(name) => {
                let known: Vec<&str> = search::table::all(kind).map(|parameter| parameter.name).collect();
                let text = format!(
                    "HAPI-0524: Unknown search parameter \"{name}\" for resource type \"{kind}\". Valid search parameters for this search are: {known:?}"
                );
                return Reply::refuse(400, "processing", &text);
            }
        };
        for fault in faults {
            let (reference, mode) = match fault {
                Fault::ForeignMatch(reference) => (reference, Some(Mode::Match)),
                Fault::ForeignInclude(reference) => (reference, Some(Mode::Include)),
                Fault::ForeignWithoutMode(reference) => (reference, None),
                _ => continue,
            };
            if let Some(stored) = find(shelf, reference) {
                page.entries.push((Arc::clone(&stored.resource), mode));
            }
        }
        let query = search::query(pairs);
        let separator = if query.is_empty() { "" } else { "?" };
        let next_link = page.next.map(|next| self.next_link(kind, pairs, next));
        let bundle = Searchset {
            entries: page.entries,
            total: page.total,
            self_link: format!("{}/{kind}{separator}{query}", self.base),
            next_link,
            id: format!("page-{offset}"),
            now: self.now,
        };
        Reply { status: 200, headers: Vec::new(), content: Content::Bundle(bundle) }
    }

    fn next_link(&self, kind: &str, pairs: &[(String, String)], offset: usize) -> String {
        if self.links == PageLinks::PageParameter {
            let mut pairs = pairs.to_vec();
            pairs.push(("_page".to_owned(), offset.to_string()));
            return format!("{}/{kind}?{}", self.base, search::query(&pairs));
        }
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = searches.1.iter().find(|s| s.kind == kind && s.pairs == pairs).map(|s| s.token.clone());
        let token = known.unwrap_or_else(|| {
            searches.0 += 1;
            let number = crate::random::Random::new(searches.0).next();
            let token = format!("{number:016x}-{:04x}", searches.0);
            if searches.1.len() >= SEARCHES_MAX {
                searches.1.pop_front();
            }
            searches.1.push_back(Remembered { token: token.clone(), kind: kind.to_owned(), pairs: pairs.to_vec() });
            token
        });
        format!("{}?_getpages={token}&_getpagesoffset={offset}&_bundletype=searchset", self.base)
    }

    fn next_page(&self, shelf: &Shelf, pairs: &[(String, String)], faults: &[Fault]) -> Reply {
        let first = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let Some(token) = first("_getpages") else {
            return Reply::refuse(400, "not-supported", "HAPI-0446: searches over all types are not supported");
        };
        let searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(remembered) = searches.1.iter().find(|s| s.token == token).cloned() else {
            return Reply::refuse(
                410,
                "not-found",
                &format!("HAPI-0417: Search ID \"{token}\" does not exist and may have expired"),
            );
        };
        drop(searches);
        let offset = first("_getpagesoffset").and_then(|text| text.parse().ok()).unwrap_or(0);
        self.page(shelf, &remembered.kind, &remembered.pairs, offset, faults)
    }
}

fn find<'s>(shelf: &'s Shelf, reference: &str) -> Option<&'s Stored> {
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
