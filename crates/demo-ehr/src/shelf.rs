//! The shelf: every resource of the demonstration upstream with its versions, in the order they were put there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::time;

/// How a version came about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Created,
    Updated,
    Deleted,
}

/// One stored version.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) version: String,
    /// Milliseconds since 1970, from `meta.lastUpdated`.
    pub(crate) updated: i64,
    pub(crate) change: Change,
    /// JSON `null` for a deletion.
    pub(crate) resource: Arc<Value>,
}

/// Whose word on `meta.versionId` and `meta.lastUpdated` counts.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stamp {
    /// The resource's, where it has one: fixtures state their own.
    Keep,
    /// The shelf's: a client's word on them is no news to a server (R4 §2.26.1.1).
    Replace,
}

/// All resources by type and id, oldest version first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    slots: HashMap<(String, String), Vec<Stored>>,
    order: BTreeMap<String, Vec<String>>,
    /// Writes so far: they date the next one.
    writes: i64,
    /// Ids given out so far.
    ids: u64,
}

/// What a read finds.
pub(crate) enum Found<'a> {
    Here(&'a Stored),
    Deleted,
    Absent,
}

impl Shelf {
    /// Puts a resource as the newest version; one without type or id is left out. Returns whether it was put.
    pub(crate) fn put(&mut self, resource: Value, now: i64) -> bool {
        let (Some(kind), Some(id)) = (text(&resource, "resourceType"), text(&resource, "id")) else { return false };
        self.push(&kind, &id, Some(resource), now, Stamp::Keep);
        true
    }

    /// Writes a resource as the newest version of this instance, with the shelf's own version and time.
    pub(crate) fn write(&mut self, kind: &str, id: &str, resource: Value, at: i64) -> Stored {
        self.push(kind, id, Some(resource), at, Stamp::Replace)
    }

    /// Marks an instance deleted, which is a version of its own: reads answer 410, searches pass over it.
    pub(crate) fn delete(&mut self, kind: &str, id: &str, at: i64) -> Stored {
        self.push(kind, id, None, at, Stamp::Replace)
    }

    fn push(&mut self, kind: &str, id: &str, resource: Option<Value>, at: i64, stamp: Stamp) -> Stored {
        let versions = self.slots.entry((kind.to_owned(), id.to_owned())).or_default();
        if versions.is_empty() {
            self.order.entry(kind.to_owned()).or_default().push(id.to_owned());
        }
        let last = versions.last();
        let change = match (&resource, last) {
            (None, _) => Change::Deleted,
            (Some(_), Some(last)) if last.change != Change::Deleted => Change::Updated,
            (Some(_), _) => Change::Created,
        };
        let number = last.and_then(|last| last.version.parse().ok()).unwrap_or(0).max(versions.len()) + 1;
        let (mut version, mut updated) = (number.to_string(), at);
        let resource = resource.map_or(Value::Null, |mut resource| {
            if let Some(members) = resource.as_object_mut() {
                members.insert("id".to_owned(), Value::String(id.to_owned()));
                (version, updated) = self::stamp(members, version.clone(), at, stamp);
            }
            resource
        });
        let (kind, id) = (kind.to_owned(), id.to_owned());
        let stored = Stored { kind, id, version, updated, change, resource: Arc::new(resource) };
        versions.push(stored.clone());
        stored
    }

    /// Takes back the newest version of an instance: what a transaction does with its writes when one of them fails.
    pub(crate) fn undo(&mut self, kind: &str, id: &str) {
        let key = (kind.to_owned(), id.to_owned());
        let Some(versions) = self.slots.get_mut(&key) else { return };
        versions.pop();
        if versions.is_empty() {
            self.slots.remove(&key);
            self.order.entry(kind.to_owned()).or_default().retain(|own| own != id);
        }
    }

    /// The time of the next write. Each is one second after the one before, so that a test can tell them apart.
    pub(crate) fn tick(&mut self, now: i64) -> i64 {
        self.writes += 1;
        now.saturating_add(self.writes.saturating_mul(1000))
    }

    /// An id that nothing of this type has had: plain numbers, as HAPI gives them.
    pub(crate) fn fresh_id(&mut self, kind: &str) -> String {
        loop {
            self.ids += 1;
            let id = (1000 + self.ids).to_string();
            if !self.slots.contains_key(&(kind.to_owned(), id.clone())) {
                return id;
            }
        }
    }

    /// Every version of an instance, oldest first.
    pub(crate) fn versions(&self, kind: &str, id: &str) -> &[Stored] {
        self.slots.get(&(kind.to_owned(), id.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Every version of everything, the newest of an instance first.
    pub(crate) fn every_version(&self) -> impl Iterator<Item = &Stored> {
        self.slots.values().flat_map(|versions| versions.iter().rev())
    }

    /// The current version.
    pub(crate) fn find(&self, kind: &str, id: &str) -> Found<'_> {
        self.versions(kind, id).last().map_or(Found::Absent, found)
    }

    /// One stated version.
    pub(crate) fn version(&self, kind: &str, id: &str, version: &str) -> Found<'_> {
        self.versions(kind, id).iter().find(|stored| stored.version == version).map_or(Found::Absent, found)
    }

    /// The current, undeleted resources of a type, in the order they were put.
    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.order.get(kind).into_iter().flatten().filter_map(move |id| match self.find(kind, id) {
            Found::Here(stored) => Some(stored),
            Found::Deleted | Found::Absent => None,
        })
    }

    /// Types with at least one resource, alphabetically.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.order.keys().map(String::as_str)
    }

    /// A shelf with those versions only that this is true of. An instance of which none is left was never there.
    pub(crate) fn only(&self, is_kept: impl Fn(&Stored) -> bool) -> Self {
        let mut kept = Self { writes: self.writes, ids: self.ids, ..Self::default() };
        for (kind, ids) in &self.order {
            for id in ids {
                let versions: Vec<Stored> =
                    self.versions(kind, id).iter().filter(|stored| is_kept(stored)).cloned().collect();
                if versions.iter().any(|stored| stored.change != Change::Deleted) {
                    kept.order.entry(kind.clone()).or_default().push(id.clone());
                    kept.slots.insert((kind.clone(), id.clone()), versions);
                }
            }
        }
        kept
    }

    /// How many instances there are, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.order.values().map(Vec::len).sum()
    }

    /// Replaces `{base}` in every text by the base URL, so that fixtures can hold absolute references to this server.
    pub(crate) fn set_base(&mut self, base: &str) {
        for stored in self.slots.values_mut().flatten() {
            if mentions_base(&stored.resource) {
                let mut resource = (*stored.resource).clone();
                fill_base(&mut resource, base);
                stored.resource = Arc::new(resource);
            }
        }
    }
}

fn found(stored: &Stored) -> Found<'_> {
    if stored.change == Change::Deleted { Found::Deleted } else { Found::Here(stored) }
}

/// Writes version and time into `meta`, as far as they count, and returns those that stand there then.
fn stamp(members: &mut Map<String, Value>, version: String, at: i64, stamp: Stamp) -> (String, i64) {
    let meta = members.entry("meta").or_insert_with(|| Value::Object(Map::new()));
    if let Some(meta) = meta.as_object_mut() {
        for (key, own) in [("versionId", version.clone()), ("lastUpdated", time::instant(at))] {
            if stamp == Stamp::Replace || !meta.contains_key(key) {
                meta.insert(key.to_owned(), Value::String(own));
            }
        }
    }
    let updated = text(meta, "lastUpdated").as_deref().and_then(time::span).map_or(at, |span| span.start);
    (text(meta, "versionId").unwrap_or(version), updated)
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn mentions_base(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{base}"),
        Value::Array(items) => items.iter().any(mentions_base),
        Value::Object(members) => members.values().any(mentions_base),
        _ => false,
    }
}

fn fill_base(value: &mut Value, base: &str) {
    match value {
        Value::String(text) => *text = text.replace("{base}", base),
        Value::Array(items) => items.iter_mut().for_each(|item| fill_base(item, base)),
        Value::Object(members) => members.values_mut().for_each(|member| fill_base(member, base)),
        _ => {}
    }
}
