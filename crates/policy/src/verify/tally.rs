//! What is remembered of an answer between its two passes: a few dozen bytes an entry, bounded in all.

use std::ops::Range;

use fhir::ResourceType;

/// Most bytes of ids and links remembered: with 100,000 entries of 40 bytes this stays under 12 MiB.
const BYTES_MAX: usize = 6 * 1024 * 1024;
/// Most resources named one by one, as many as a page in memory may have; of more it is said how many.
const NAMED_MAX: usize = 5_000;

/// An entry that may be released.
struct Kept {
    kind: ResourceType,
    included: bool,
    clause: u32,
    /// Where its id stands among the names.
    id: (u32, u8),
    start: u64,
    length: u32,
}

/// How one entry leads to another.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Lead {
    /// It refers to it by an include.
    Include,
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
        self.kept.push(Kept { kind, included, clause, id, start: range.start, length });
        if self.labels.len() < NAMED_MAX {
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

    /// As `connect::keep_connected`: drops what came along and is not led to; gives back how many. Sorts anew.
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
                    Lead::Include if is(&kept, *from) => *to,
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
        let before = self.kept.len();
        let mut marks = kept.iter();
        self.kept.retain(|_| marks.next() == Some(&true));
        // Names of dropped entries are not named.
        let mut marks = kept.iter();
        self.labels.retain(|_| marks.next() == Some(&true));
        self.links = Vec::new();
        self.sort();
        before - self.kept.len()
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
        let mut labels = self.labels;
        if self.kept.len() > labels.len() {
            labels.push(format!("+{}", self.kept.len() - labels.len()));
        }
        labels
    }
}
