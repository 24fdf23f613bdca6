//! What is remembered of an answer between its two passes: a few dozen bytes an entry, bounded in all.

use std::ops::Range;

use fhir::ResourceType;

use crate::cursor::Start;

/// Most bytes of ids and links remembered: with 100,000 entries of 40 bytes this stays under 12 MiB.
const BYTES_MAX: usize = 6 * 1024 * 1024;
/// Most resources named one by one, as many as a page in memory may have; of more it is said how many.
const NAMED_MAX: usize = 5_000;

/// An entry that may be released.
#[derive(Clone, Copy)]
struct Kept {
    kind: ResourceType,
    included: bool,
    /// A match of another page, here only where an include leads to it.
    cut: bool,
    clause: u32,
    /// Its name among the labels, where it has one.
    label: Option<u32>,
    /// Where its id stands among the names.
    id: (u32, u8),
    start: u64,
    length: u32,
}

/// How one entry leads to another.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Lead {
    /// It refers to it by an include, that may be one which iterates.
    Include {
        /// Whether it does.
        iterates: bool,
    },
    /// It refers to it by a reverse include, that may be one which iterates.
    Reverse {
        /// Whether it does.
        iterates: bool,
    },
}

struct Link {
    from: u32,
    lead: Lead,
    kind: ResourceType,
    id: (u32, u8),
}

/// Entries in the order they came.
#[derive(Default)]
pub(super) struct Tally {
    kept: Vec<Kept>,
    links: Vec<Link>,
    names: String,
    labels: Vec<String>,
    /// Entries by type and id, once all are there.
    sorted: Vec<u32>,
    too_much: bool,
}

impl Tally {
    /// Remembers an entry; gives back its place.
    pub(super) fn keep(
        &mut self,
        kind: ResourceType,
        id: &str,
        range: Range<u64>,
        included: bool,
        clause: u32,
        label: impl FnOnce() -> String,
    ) -> u32 {
        let at = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let id = self.name(id);
        let length = u32::try_from(range.end.saturating_sub(range.start)).unwrap_or(u32::MAX);
        let named = (self.labels.len() < NAMED_MAX).then_some(at);
        self.kept.push(Kept { kind, included, cut: false, clause, label: named, id, start: range.start, length });
        if named.is_some() {
            self.labels.push(label());
        }
        at
    }

    /// Remembers that the entry at `from` leads to an instance.
    pub(super) fn link(&mut self, from: u32, lead: Lead, kind: ResourceType, id: &str) {
        let id = self.name(id);
        self.links.push(Link { from, lead, kind, id });
    }

    fn name(&mut self, id: &str) -> (u32, u8) {
        let held = self.names.len() + self.links.len() * size_of::<Link>();
        self.too_much |= held + id.len() > BYTES_MAX;
        let start = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        if !self.too_much {
            self.names.push_str(id);
        }
        (start, u8::try_from(id.len()).unwrap_or(0))
    }

    /// Whether more was to be remembered than may be; then nothing of the answer is released.
    pub(super) fn too_much(&self) -> bool {
        self.too_much
    }

    /// As `fill::cut`: marks what is on another page.
    pub(super) fn cut(&mut self, start: Option<Start>, wants: usize, includes: bool) -> Option<Start> {
        let name = |entry: &Kept| format!("{}/{}", entry.kind, self.text(entry.id));
        let from = start.map_or(0, |start| {
            let mut matches = self.kept.iter().filter(|entry| !entry.included);
            matches.position(|entry| name(entry) == start.name).unwrap_or(start.offset as usize)
        });
        let until = from.saturating_add(wants);
        let mut matches = self.kept.iter().filter(|entry| !entry.included);
        let over = matches
            .nth(until)
            .map(|entry| Start { offset: u32::try_from(until).unwrap_or(u32::MAX), name: name(entry) });
        for (at, entry) in self.kept.iter_mut().filter(|entry| !entry.included).enumerate() {
            entry.cut = at < from || at >= until;
            entry.included = entry.cut;
        }
        if !includes {
            self.kept.retain(|entry| !entry.cut);
        }
        over
    }

    /// How long the entries are together.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|entry| u64::from(entry.length)).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    fn text(&self, (start, length): (u32, u8)) -> &str {
        let start = start as usize;
        self.names.get(start..start + usize::from(length)).unwrap_or("")
    }

    /// Puts the entries in order, to be found.
    pub(super) fn sort(&mut self) {
        let mut sorted: Vec<u32> = (0..).take(self.kept.len()).collect();
        sorted.sort_unstable_by_key(|at| self.key(*at));
        self.sorted = sorted;
    }

    fn key(&self, at: u32) -> Option<(ResourceType, &str)> {
        self.kept.get(at as usize).map(|entry| (entry.kind, self.text(entry.id)))
    }

    fn find(&self, kind: ResourceType, id: &str) -> Option<u32> {
        let wanted = Some((kind, id));
        let found = self.sorted.partition_point(|at| self.key(*at) < wanted);
        self.sorted.get(found).copied().filter(|at| self.key(*at) == wanted)
    }

    /// Whether this instance is released.
    pub(super) fn holds(&self, kind: ResourceType, id: &str) -> bool {
        self.find(kind, id).is_some()
    }

    /// As `connect::keep_connected` and `fill::in_order`: drops what came along and is not led to, and gives back how many;
    /// what stays stands behind the matches, once each and by name. Sorts anew.
    pub(super) fn keep_connected(&mut self) -> usize {
        if self.kept.iter().all(|entry| !entry.included) {
            return 0;
        }
        // Every link by its ends; what leads to nothing that is here leads nowhere.
        let ends: Vec<(u32, u32, Lead)> = self
            .links
            .iter()
            .filter_map(|link| Some((link.from, self.find(link.kind, self.text(link.id))?, link.lead)))
            .collect();
        let mut kept: Vec<bool> = self.kept.iter().map(|entry| !entry.included).collect();
        let matches = kept.clone();
        let is = |set: &[bool], at: u32| set.get(at as usize) == Some(&true);
        loop {
            let mut more = false;
            for (from, to, lead) in &ends {
                let led = match lead {
                    Lead::Include { iterates } if is(if *iterates { &kept } else { &matches }, *from) => *to,
                    Lead::Reverse { iterates } if is(if *iterates { &kept } else { &matches }, *to) => *from,
                    _ => continue,
                };
                if let Some(slot) = kept.get_mut(led as usize)
                    && !*slot
                {
                    *slot = true;
                    more = true;
                }
            }
            if !more {
                break;
            }
        }
        let mut dropped = 0;
        let mut marks = kept.iter();
        self.kept.retain(|entry| {
            let keeps = marks.next() == Some(&true);
            dropped += usize::from(!keeps && !entry.cut);
            keeps
        });
        self.links = Vec::new();
        self.sort();
        let is_match = |at: &u32| self.kept.get(*at as usize).is_some_and(|entry| !entry.included);
        let names = self.sorted.chunk_by(|a, b| self.key(*a) == self.key(*b));
        let along: Vec<u32> =
            names.filter(|same| !same.iter().any(is_match)).filter_map(|same| same.iter().min().copied()).collect();
        let order: Vec<u32> =
            (0..).zip(&self.kept).filter(|(_, entry)| !entry.included).map(|(at, _)| at).chain(along).collect();
        self.kept = order.iter().filter_map(|at| self.kept.get(*at as usize).copied()).collect();
        self.sort();
        dropped
    }

    /// Kind, id, bytes, whether it came along, and the clause that admits it.
    pub(super) fn entries(&self) -> impl Iterator<Item = (ResourceType, &str, Range<u64>, bool, u32)> {
        self.kept.iter().map(|entry| {
            let range = entry.start..entry.start.saturating_add(u64::from(entry.length));
            (entry.kind, self.text(entry.id), range, entry.included, entry.clause)
        })
    }

    /// The names of what is released, for the record.
    pub(super) fn into_labels(self) -> Vec<String> {
        let mut all = self.labels;
        let mut labels: Vec<String> = Vec::with_capacity(self.kept.len().min(NAMED_MAX));
        for at in self.kept.iter().filter_map(|entry| entry.label) {
            labels.extend(all.get_mut(at as usize).map(std::mem::take));
        }
        if self.kept.len() > labels.len() {
            labels.push(format!("+{}", self.kept.len() - labels.len()));
        }
        labels
    }
}
