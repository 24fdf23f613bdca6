//! What a person can un-tick of a grant, and what is left of it: never more than was there (SC-16, SC-17, US-03, US-04).
//!
//! Each type is one row. Below Condition and Observation each category is a row of its own, even when the whole type was
//! asked; without one of them the whole type becomes the categories that stay.

use std::collections::BTreeSet;

use domain::scope::Spelling;
use domain::{Actions, Filter, Level, ResourceMatch, Scope, ScopeSet};
use fhir::ResourceType;

use crate::words;

/// The search parameter by which Condition and Observation are divided.
const CATEGORY: &str = "category";

/// One row that a person can un-tick.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// What the form sends while it is ticked; made of the grant's text, so that it can mean no other row.
    pub id: String,
    /// Whose data.
    pub level: Level,
    /// The name of what it opens.
    pub words: String,
    /// What may be done with it, e.g. `see and add`.
    pub may: String,
    /// Whether the record can be changed by it.
    pub writes: bool,
    /// What data it opens and how it is restricted, each in a line.
    pub detail: Vec<String>,
    /// The row without which this one counts for nothing.
    pub parent: Option<String>,
}

/// What was sent back names a row that was not offered; nothing of it is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a choice was sent that was not offered")]
pub struct InvalidChoice;

/// The rows for a grant: patient's before user's, what people look for first before the rest.
#[must_use]
pub fn choices(granted: &ScopeSet) -> Vec<Choice> {
    groups(granted).iter().flat_map(Group::rows).collect()
}

/// What is left of `granted` when only `ticked` stays. With all ticked it is `granted` itself (D-09); with nothing it is
/// empty, which is a denial and never a default (NEG-040).
///
/// # Errors
/// When a row is named that [`choices`] does not offer.
pub fn keep(granted: &ScopeSet, ticked: &BTreeSet<String>) -> Result<ScopeSet, InvalidChoice> {
    let groups = groups(granted);
    let offered: BTreeSet<String> = groups.iter().flat_map(Group::rows).map(|row| row.id).collect();
    if !ticked.is_subset(&offered) {
        return Err(InvalidChoice);
    }
    let mut kept = Vec::new();
    for scope in &granted.0 {
        let group = groups.iter().find(|group| group.holds(scope)).ok_or(InvalidChoice)?;
        for left in group.left(scope, ticked) {
            // What was granted twice stays so when nothing changed; what narrowing made alike is said once.
            if left == *scope || !kept.contains(&left) {
                kept.push(left);
            }
        }
    }
    Ok(ScopeSet(kept))
}

/// The clauses of one level and type; of all types where `*` is among them, since a type then cannot be taken out.
struct Group<'a> {
    level: Level,
    resource: ResourceMatch,
    scopes: Vec<&'a Scope>,
    slices: Vec<Slice>,
}

/// One value of `category`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Slice(String);

fn groups(granted: &ScopeSet) -> Vec<Group<'_>> {
    let every: BTreeSet<Level> =
        granted.0.iter().filter(|scope| scope.resource == ResourceMatch::Every).map(|scope| scope.level).collect();
    let mut out: Vec<Group<'_>> = Vec::new();
    for scope in &granted.0 {
        let resource = if every.contains(&scope.level) { ResourceMatch::Every } else { scope.resource };
        match out.iter_mut().find(|group| group.level == scope.level && group.resource == resource) {
            Some(group) => group.scopes.push(scope),
            None => out.push(Group { level: scope.level, resource, scopes: vec![scope], slices: Vec::new() }),
        }
    }
    for group in &mut out {
        group.slices = group.divide();
    }
    out.sort_by_cached_key(|group| match group.resource {
        ResourceMatch::Every => (group.level, 0, String::new()),
        ResourceMatch::One(kind) => (group.level, words::rank(kind), words::kind(kind).name),
    });
    out
}

impl Group<'_> {
    fn holds(&self, scope: &Scope) -> bool {
        self.level == scope.level && (self.resource == ResourceMatch::Every || self.resource == scope.resource)
    }

    /// The slices people choose from: the known ones where something of the whole type can be read, and those that are named.
    fn divide(&self) -> Vec<Slice> {
        let ResourceMatch::One(kind) = self.resource else { return Vec::new() };
        let known = words::categories(kind);
        if known.is_empty() {
            return Vec::new();
        }
        let read = |scope: &&&Scope| !scope.actions.and(Actions::V1_READ).is_empty();
        let whole = self.scopes.iter().filter(read).any(|scope| values(scope).is_empty());
        let mut out: Vec<Slice> = Vec::new();
        if whole {
            out.extend(known.iter().map(|category| Slice(category.token())));
        }
        for value in self.scopes.iter().flat_map(|scope| values(scope)) {
            let slice = slice(kind, value);
            if !out.contains(&slice) {
                out.push(slice);
            }
        }
        out
    }

    /// The only slice, where no clause goes beyond it: then it is the row, and nothing stands above it.
    fn alone(&self) -> Option<&Slice> {
        match self.slices.as_slice() {
            [only] if self.scopes.iter().all(|scope| !values(scope).is_empty()) => Some(only),
            _ => None,
        }
    }

    fn id(&self) -> String {
        let kind = match self.resource {
            ResourceMatch::Every => "*",
            ResourceMatch::One(kind) => kind.name(),
        };
        let level = match self.level {
            Level::Patient => "patient",
            Level::User => "user",
            Level::System => "system",
        };
        format!("{level}/{kind}")
    }

    fn slice_id(&self, slice: &Slice) -> String {
        format!("{}?{CATEGORY}={}", self.id(), slice.0)
    }

    fn rows(&self) -> Vec<Choice> {
        if let Some(only) = self.alone() {
            return vec![self.slice_row(only, None)];
        }
        let own = match self.resource {
            ResourceMatch::Every => words::everything(),
            ResourceMatch::One(kind) => words::kind(kind),
        };
        let mut detail = vec![words::capital(&own.holds)];
        detail.extend(self.restrictions());
        if self.slices.len() > 1 {
            detail.push("If you leave out a kind below, only the kinds that stay ticked are opened".to_owned());
        }
        let mut rows = vec![self.row(self.id(), own.name, detail, None, &self.scopes)];
        rows.extend(self.slices.iter().map(|slice| self.slice_row(slice, Some(self.id()))));
        rows
    }

    fn slice_row(&self, slice: &Slice, parent: Option<String>) -> Choice {
        let kind = match self.resource {
            ResourceMatch::Every => None,
            ResourceMatch::One(kind) => Some(kind),
        };
        let known = kind.and_then(|kind| words::category(kind, &slice.0));
        let (name, holds) = match (known, kind) {
            (Some(known), _) => (known.name.to_owned(), words::capital(known.holds)),
            (None, Some(kind)) => {
                let only = Filter { pairs: vec![(CATEGORY.to_owned(), slice.0.clone())] };
                (words::kind(kind).name, format!("Only where {}", words::filter(Some(kind), &only)))
            }
            (None, None) => (slice.0.clone(), String::new()),
        };
        let of: Vec<&Scope> = self
            .scopes
            .iter()
            .filter(|scope| {
                let values = values(scope);
                values.is_empty()
                    || kind.is_some_and(|kind| values.iter().any(|value| self::slice(kind, value) == *slice))
            })
            .copied()
            .collect();
        let mut detail = vec![holds];
        if parent.is_none() {
            detail.extend(self.restrictions());
        }
        self.row(self.slice_id(slice), name, detail, parent, &of)
    }

    fn row(&self, id: String, words: String, detail: Vec<String>, parent: Option<String>, of: &[&Scope]) -> Choice {
        let letters = of.iter().fold(Actions::NONE, |letters, scope| letters.or(scope.actions));
        let may = words::actions(letters);
        Choice { id, level: self.level, words, may, writes: words::writes(letters), detail, parent }
    }

    /// What the clauses' queries leave out, in words; the categories that are rows are not said again.
    fn restrictions(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let wide = self.scopes.iter().any(|scope| scope.filter.is_none());
        for scope in &self.scopes {
            let kind = match scope.resource {
                ResourceMatch::Every => None,
                ResourceMatch::One(kind) => Some(kind),
            };
            let Some(filter) = &scope.filter else { continue };
            let said = |(name, _): &&(String, String)| self.slices.is_empty() || name != CATEGORY;
            let pairs: Vec<(String, String)> = filter.pairs.iter().filter(said).cloned().collect();
            if pairs.is_empty() {
                continue;
            }
            let only = words::filter(kind, &Filter { pairs });
            let line = if wide || self.scopes.len() > 1 {
                format!("{} where {only}", words::capital(&words::actions(scope.actions)))
            } else {
                format!("Only where {only}")
            };
            if !out.contains(&line) {
                out.push(line);
            }
        }
        out
    }

    /// What is left of one clause.
    fn left(&self, scope: &Scope, ticked: &BTreeSet<String>) -> Vec<Scope> {
        if self.alone().is_none() && !ticked.contains(&self.id()) {
            return Vec::new();
        }
        let stays = |slice: &Slice| ticked.contains(&self.slice_id(slice));
        if self.slices.iter().all(stays) {
            return vec![scope.clone()];
        }
        let ResourceMatch::One(kind) = self.resource else { return Vec::new() };
        if values(scope).is_empty() {
            return self.slices.iter().filter(|slice| stays(slice)).map(|slice| narrowed(scope, slice)).collect();
        }
        without(scope, kind, &stays).into_iter().collect()
    }
}

/// The values of a clause's `category`, one by one: `category=a,b` is either (SC-06).
fn values(scope: &Scope) -> Vec<&str> {
    let pairs = scope.filter.iter().flat_map(|filter| &filter.pairs);
    pairs.filter(|(name, _)| name == CATEGORY).flat_map(|(_, value)| parts(value)).collect()
}

/// An escaped comma separates nothing (FHIR R4 search, "Escaping"); a value with an escape stays whole.
fn parts(value: &str) -> Vec<&str> {
    if value.contains('\\') { vec![value] } else { value.split(',').collect() }
}

/// The slice a value belongs to: a known category under its full name, so that `laboratory` alone is no second row.
fn slice(kind: ResourceType, value: &str) -> Slice {
    Slice(words::category(kind, value).map_or_else(|| value.to_owned(), words::Category::token))
}

/// The clause within one slice, with the same letters; v1 words carry no query, so it is spelled v2.
fn narrowed(scope: &Scope, slice: &Slice) -> Scope {
    let mut pairs = scope.filter.as_ref().map(|filter| filter.pairs.clone()).unwrap_or_default();
    pairs.push((CATEGORY.to_owned(), slice.0.clone()));
    Scope { filter: Some(Filter { pairs }), spelling: Spelling::V2, ..scope.clone() }
}

/// The clause without the categories that go; nothing when one of its pairs has none left.
fn without(scope: &Scope, kind: ResourceType, stays: &dyn Fn(&Slice) -> bool) -> Option<Scope> {
    let mut pairs = Vec::new();
    for (name, value) in scope.filter.iter().flat_map(|filter| &filter.pairs) {
        if name != CATEGORY {
            pairs.push((name.clone(), value.clone()));
            continue;
        }
        let left: Vec<&str> = parts(value).into_iter().filter(|part| stays(&slice(kind, part))).collect();
        if left.is_empty() {
            return None;
        }
        pairs.push((name.clone(), left.join(",")));
    }
    Some(Scope { filter: Some(Filter { pairs }), ..scope.clone() })
}

#[cfg(test)]
mod tests;
