//! The shelf: every resource of the demonstration upstream with its versions, in the order they were put there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::time;

/// One stored version.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) version: String,
    /// Milliseconds since 1970, from `meta.lastUpdated`.
    pub(crate) updated: i64,
    pub(crate) resource: Arc<Value>,
}

/// What is known under one type and id.
#[derive(Clone, Debug, Default)]
struct Slot {
    versions: Vec<Stored>,
    deleted: bool,
}

/// All resources by type and id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    slots: HashMap<(String, String), Slot>,
    order: BTreeMap<String, Vec<String>>,
}

/// What a read finds.
pub(crate) enum Found<'a> {
    Here(&'a Stored),
    Deleted,
    Absent,
}

impl Shelf {
    /// Puts a resource as the newest version; one without type or id is left out. Returns whether it was put.
    pub(crate) fn put(&mut self, mut resource: Value, now: i64) -> bool {
        let (Some(kind), Some(id)) = (text(&resource, "resourceType"), text(&resource, "id")) else { return false };
        let slot = self.slots.entry((kind.clone(), id.clone())).or_default();
        if slot.versions.is_empty() {
            self.order.entry(kind.clone()).or_default().push(id.clone());
        }
        let next = (slot.versions.len() + 1).to_string();
        if let Some(members) = resource.as_object_mut() {
            let meta = members.entry("meta").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(meta) = meta.as_object_mut() {
                meta.entry("versionId").or_insert(Value::String(next.clone()));
                meta.entry("lastUpdated").or_insert_with(|| Value::String(time::instant(now)));
            }
        }
        let meta = resource.get("meta");
        let version = meta.and_then(|m| text(m, "versionId")).unwrap_or(next);
        let updated = meta
            .and_then(|m| m.get("lastUpdated"))
            .and_then(Value::as_str)
            .and_then(time::span)
            .map_or(now, |span| span.start);
        slot.deleted = false;
        slot.versions.push(Stored { kind, id, version, updated, resource: Arc::new(resource) });
        true
    }

    /// Marks an instance deleted: reads answer 410, searches pass over it.
    pub(crate) fn delete(&mut self, kind: &str, id: &str) {
        let slot = self.slots.entry((kind.to_owned(), id.to_owned())).or_default();
        slot.deleted = true;
    }

    /// The current version.
    pub(crate) fn find(&self, kind: &str, id: &str) -> Found<'_> {
        match self.slots.get(&(kind.to_owned(), id.to_owned())) {
            Some(slot) if slot.deleted => Found::Deleted,
            Some(slot) => slot.versions.last().map_or(Found::Absent, Found::Here),
            None => Found::Absent,
        }
    }

    /// One stated version.
    pub(crate) fn version(&self, kind: &str, id: &str, version: &str) -> Found<'_> {
        self.slots
            .get(&(kind.to_owned(), id.to_owned()))
            .and_then(|slot| slot.versions.iter().find(|stored| stored.version == version))
            .map_or(Found::Absent, Found::Here)
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

    /// How many instances there are, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.order.values().map(Vec::len).sum()
    }

    /// Replaces `{base}` in every text by the base URL, so that fixtures can hold absolute references to this server.
    pub(crate) fn set_base(&mut self, base: &str) {
        for stored in self.slots.values_mut().flat_map(|slot| slot.versions.iter_mut()) {
            if mentions_base(&stored.resource) {
                let mut resource = (*stored.resource).clone();
                fill_base(&mut resource, base);
                stored.resource = Arc::new(resource);
            }
        }
    }
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
