//! Answers that come in pages: searches, histories, `$everything`, `$lastn`, their links, and the faults of a page.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;
use crate::search::{self, Mode, Search};
use crate::serve::message::{Bundle, Content, Entry, Refused, Reply};
use crate::serve::route::{State, find};
use crate::shelf::Shelf;

/// Lists remembered for `_getpages` links; the oldest go first.
const LISTS_MAX: usize = 1024;
/// Entries on a page when `_count` is absent.
const COUNT_DEFAULT: usize = 20;
/// Most entries on a page.
const COUNT_MAX: usize = 500;

/// How links to the next page look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PageLinks {
    /// `?_getpages=<opaque>` at the base, as HAPI does it.
    #[default]
    GetPages,
    /// The same search with `_page=<offset>` added.
    PageParameter,
}

/// A list whose pages are still to be had.
#[derive(Clone, Debug)]
struct Remembered {
    token: String,
    path: String,
    pairs: Vec<(String, String)>,
}

/// The lists remembered, and how many there have been.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<(u64, VecDeque<Remembered>)>);

impl Lists {
    /// The token of a list: the same for the same list.
    fn remember(&self, path: &str, pairs: &[(String, String)]) -> String {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lists.1.iter().find(|list| list.path == path && list.pairs == pairs) {
            return known.token.clone();
        }
        lists.0 += 1;
        let token = format!("{:016x}-{:04x}", crate::random::Random::new(lists.0).next(), lists.0);
        if lists.1.len() >= LISTS_MAX {
            lists.1.pop_front();
        }
        lists.1.push_back(Remembered { token: token.clone(), path: path.to_owned(), pairs: pairs.to_vec() });
        token
    }

    fn recall(&self, token: &str) -> Option<Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.iter().find(|list| list.token == token).cloned()
    }
}

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// `Bundle.type`.
    pub(crate) kind: &'static str,
    pub(crate) entries: Vec<Entry>,
    pub(crate) total: Option<usize>,
    /// Offset of the next page.
    pub(crate) next: Option<usize>,
}

/// Which list, and from where on.
pub(crate) struct Listing<'a> {
    pub(crate) pairs: &'a [(String, String)],
    pub(crate) offset: usize,
    pub(crate) faults: &'a [Fault],
}

impl Listing<'_> {
    /// The first value of a parameter that no fault ignores.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let ignored = self.faults.iter().any(|fault| fault.ignores(name));
        self.pairs.iter().find(|(own, value)| own == name && !value.is_empty() && !ignored).map(|(_, v)| v.as_str())
    }

    /// How many entries a page has.
    pub(crate) fn count(&self) -> usize {
        let count = self.pairs.iter().find(|(name, _)| name == "_count");
        count.and_then(|(_, count)| count.parse().ok()).unwrap_or(COUNT_DEFAULT).min(COUNT_MAX)
    }

    /// Cuts a page out of all entries.
    pub(crate) fn page(&self, kind: &'static str, total: usize, all: Vec<Entry>) -> Listed {
        let length = all.len();
        let entries: Vec<Entry> = all.into_iter().skip(self.offset).take(self.count()).collect();
        let reached = self.offset.saturating_add(entries.len());
        let next = (reached < length && !entries.is_empty()).then_some(reached);
        Listed { kind, entries, total: Some(total), next }
    }
}

impl State {
    /// Answers the first page of a list, or the one that `_page` names.
    pub(super) fn list(&self, shelf: &Shelf, path: &str, mut pairs: Vec<(String, String)>, faults: &[Fault]) -> Reply {
        let mut offset = 0;
        if self.links == PageLinks::PageParameter {
            let page = pairs.iter().find(|(name, _)| name == "_page");
            offset = page.and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
            pairs.retain(|(name, _)| name != "_page");
        }
        self.list_from(shelf, path, &Listing { pairs: &pairs, offset, faults })
    }

    /// Answers a page that a `_getpages` link leads to.
    pub(super) fn next_page(&self, shelf: &Shelf, pairs: &[(String, String)], faults: &[Fault]) -> Reply {
        let first = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let Some(token) = first("_getpages") else {
            return Refused::new(400, "not-supported", "HAPI-0446: searches over all types are not supported").into();
        };
        let Some(list) = self.lists.recall(token) else {
            let text = format!("HAPI-0417: Search ID \"{token}\" does not exist and may have expired");
            return Refused::new(410, "not-found", &text).into();
        };
        let offset = first("_getpagesoffset").and_then(|text| text.parse().ok()).unwrap_or(0);
        self.list_from(shelf, &list.path, &Listing { pairs: &list.pairs, offset, faults })
    }

    fn list_from(&self, shelf: &Shelf, path: &str, listing: &Listing<'_>) -> Reply {
        let segments: Vec<&str> = path.split('/').collect();
        let listed = match segments.as_slice() {
            [kind, id, "_history"] => self.history(shelf, kind, id, listing),
            ["_history"] => Ok(self.history_of_all(shelf, listing)),
            ["Patient", id, "$everything"] => self.everything(shelf, id, listing),
            ["Observation", "$lastn"] => self.last_n(shelf, listing),
            [kind] => self.search(shelf, kind, listing),
            _ => Err(Refused::new(400, "not-supported", "HAPI-0446: no such list")),
        };
        match listed {
            Ok(listed) => self.bound(shelf, path, listing, listed),
            Err(refused) => refused.into(),
        }
    }

    fn search(&self, shelf: &Shelf, kind: &str, listing: &Listing<'_>) -> Result<Listed, Refused> {
        let Listing { pairs, offset, faults } = *listing;
        let search =
            Search { kind, pairs, offset, count: listing.count(), base: &self.base, unknown: self.unknown, faults };
        let page = search.run(shelf).map_err(|name| unknown(kind, &name))?;
        let entries = page.entries.into_iter().map(|(resource, mode)| Entry::found(resource, Some(mode))).collect();
        Ok(Listed { kind: "searchset", entries, total: page.total, next: page.next })
    }

    /// Makes the Bundle of a page: its links, and what faults slip in.
    fn bound(&self, shelf: &Shelf, path: &str, listing: &Listing<'_>, listed: Listed) -> Reply {
        let Listed { kind, mut entries, total, next } = listed;
        for fault in listing.faults {
            let (reference, mode) = match fault {
                Fault::ForeignMatch(reference) if kind == "searchset" => (reference, Some(Mode::Match)),
                Fault::ForeignInclude(reference) if kind == "searchset" => (reference, Some(Mode::Include)),
                Fault::ForeignWithoutMode(reference) if kind == "searchset" => (reference, None),
                Fault::ForeignNextPage(reference) if listing.offset > 0 => (reference, Some(Mode::Match)),
                _ => continue,
            };
            if let Some(stored) = find(shelf, reference) {
                entries.push(Entry::found(stored.resource.clone(), mode));
            }
        }
        let flood = listing.faults.iter().find_map(|fault| match fault {
            Fault::Flood { reference, bytes } => Some((find(shelf, reference)?.resource.clone(), *bytes)),
            _ => None,
        });
        let query = search::query(listing.pairs);
        let separator = if query.is_empty() { "" } else { "?" };
        let bundle = Bundle {
            kind,
            id: format!("page-{}", listing.offset),
            now: self.now,
            total,
            self_link: Some(format!("{}/{path}{separator}{query}", self.base)),
            next_link: next.map(|next| self.next_link(path, listing.pairs, next, kind)),
            entries,
            flood,
        };
        Reply { status: 200, content: Content::Bundle(Box::new(bundle)), ..Reply::default() }
    }

    fn next_link(&self, path: &str, pairs: &[(String, String)], offset: usize, kind: &str) -> String {
        if self.links == PageLinks::PageParameter {
            let mut pairs = pairs.to_vec();
            pairs.push(("_page".to_owned(), offset.to_string()));
            return format!("{}/{path}?{}", self.base, search::query(&pairs));
        }
        let token = self.lists.remember(path, pairs);
        format!("{}?_getpages={token}&_getpagesoffset={offset}&_bundletype={kind}", self.base)
    }
}

/// The refusal of a parameter this server does not know: it lists those it does.
pub(super) fn unknown(kind: &str, name: &str) -> Refused {
    let known: Vec<&str> = search::table::all(kind).map(|parameter| parameter.name).collect();
    let text = format!(
        "HAPI-0524: Unknown search parameter \"{name}\" for resource type \"{kind}\". Valid search parameters for this search are: {known:?}"
    );
    Refused::new(400, "processing", &text)
}
