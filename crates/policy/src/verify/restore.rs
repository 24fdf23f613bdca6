//! The way back: what a client writes is put together with what was hidden from it, so that writing a resource as it was
//! read changes nothing, and addresses of ours become the upstream's again.
//!
//! `old` is the resource as stored and `seen` the same as it was released. Where the client left what it saw, the stored
//! bytes stay; where it changed an element of which something is hidden, the write is refused rather than losing that part.

use std::collections::BTreeSet;

use fhir::ResourceType;
use fhir::json::{Kind, Value, quote_into};
use fhir::references::{self, Reference};

use crate::context::Context;

/// Deepest nesting followed; `Document` allows no more.
const DEPTH_MAX: u32 = fhir::json::DEPTH_MAX;

/// Most values looked at to find what stayed as it was: four times the widest document. A long list in which nothing
/// stayed would be compared with each of its elements; what is left then counts as changed, which loses nothing.
const WORK_MAX: usize = 4 * fhir::json::NODES_MAX;

/// An element that is hidden in part was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hidden;

/// A link to a Binary in what is written.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Link {
    pub(super) id: String,
    /// The sealed proof it carries.
    pub(super) sealed: Option<String>,
}

/// What is to be sent upstream.
pub(super) struct Restored {
    pub(super) text: String,
    /// Links to Binaries that the client wrote.
    pub(super) links: BTreeSet<Link>,
}

/// Makes the upstream's form of what a client wrote. `without_id` drops the root's id: a create is given one.
pub(super) fn restore(
    cx: &Context,
    pair: Option<(Value<'_>, Value<'_>)>,
    new: Value<'_>,
    without_id: bool,
) -> Result<Restored, Hidden> {
    let out = Vec::with_capacity(new.raw().len() + 64);
    let mut restoring = Restoring { cx, out, links: BTreeSet::new(), work: WORK_MAX };
    restoring.object(pair, new, without_id, 0)?;
    let text = String::from_utf8(restoring.out).map_err(|_| Hidden)?;
    Ok(Restored { text, links: restoring.links })
}

struct Restoring<'c> {
    cx: &'c Context,
    out: Vec<u8>,
    links: BTreeSet<Link>,
    /// Comparisons that are left.
    work: usize,
}

impl Restoring<'_> {
    fn value(
        &mut self,
        name: &str,
        pair: Option<(Value<'_>, Value<'_>)>,
        new: Value<'_>,
        depth: u32,
    ) -> Result<(), Hidden> {
        if depth > DEPTH_MAX {
            return Err(Hidden);
        }
        if let Some((old, seen)) = pair
            && same_within(seen, new, &mut self.work)
        {
            self.out.extend_from_slice(old.raw().as_bytes());
            return Ok(());
        }
        let alike =
            |(old, _): (Value<'_>, Value<'_>)| old.is_object() && new.is_object() || old.is_array() && new.is_array();
        // What takes the place of something else takes nothing hidden with it.
        if let Some((old, seen)) = pair
            && !alike((old, seen))
            && self.hides(old, seen)
        {
            return Err(Hidden);
        }
        match new.kind() {
            Kind::Object => self.object(pair, new, false, depth),
            Kind::Array => self.array(name, pair, new, depth),
            Kind::Plain | Kind::Escaped => {
                self.string(name, pair.map(|(old, _)| old), new);
                Ok(())
            }
            _ => {
                self.out.extend_from_slice(new.raw().as_bytes());
                Ok(())
            }
        }
    }

    fn object(
        &mut self,
        pair: Option<(Value<'_>, Value<'_>)>,
        new: Value<'_>,
        without_id: bool,
        depth: u32,
    ) -> Result<(), Hidden> {
        let pair = pair.filter(|(old, seen)| old.is_object() && seen.is_object());
        self.out.push(b'{');
        let mut first = true;
        for (key, value) in new.members() {
            if without_id && key.is("id") {
                continue;
            }
            self.comma(&mut first);
            let name = key.text();
            quote_into(&mut self.out, &name);
            self.out.push(b':');
            let below = pair.and_then(|(old, seen)| Some((old.get(&name)?, seen.get(&name)?)));
            self.value(&name, below, value, depth + 1)?;
        }
        if let Some((old, seen)) = pair {
            self.keep_hidden(old, seen, new, &mut first)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The members of `old` that were not shown stay; what the client takes away takes none of them along.
    fn keep_hidden(&mut self, old: Value<'_>, seen: Value<'_>, new: Value<'_>, first: &mut bool) -> Result<(), Hidden> {
        let (asked, shown) = (new.get("reference"), seen.get("reference"));
        let same_reference = asked.zip(shown).is_some_and(|(asked, shown)| same(shown, asked));
        for (key, value) in old.members() {
            let name = key.text();
            let (is, was) = (new.get(&name), seen.get(&name));
            match (is, was) {
                (None, Some(was)) if self.hides(value, was) => return Err(Hidden),
                (_, Some(_)) => {}
                // A name of the client's in place of one it never saw.
                (Some(_), None) => return Err(Hidden),
                // Names beside a reference belong to it: they stay with it, and go with it when another takes its place.
                (None, None) if same_reference => {
                    self.comma(first);
                    quote_into(&mut self.out, &name);
                    self.out.push(b':');
                    self.out.extend_from_slice(value.raw().as_bytes());
                }
                (None, None) if asked.is_some() && shown.is_some() && is_name(&name) => {}
                (None, None) => return Err(Hidden),
            }
        }
        Ok(())
    }

    /// Whether something of `old` is not shown in `seen`: more than the other form of an address, and more than names
    /// beside a reference that is shown.
    fn hides(&self, old: Value<'_>, seen: Value<'_>) -> bool {
        match (old.kind(), seen.kind()) {
            (Kind::Object, Kind::Object) => {
                let named = seen.get("reference").is_some();
                let hidden = |(key, value): (fhir::json::Key<'_>, Value<'_>)| match seen.get(&key.text()) {
                    Some(seen) => self.hides(value, seen),
                    None => !(named && is_name(&key.text())),
                };
                old.members().any(hidden)
            }
            (Kind::Array, Kind::Array) => {
                old.elements().count() != seen.elements().count()
                    || old.elements().zip(seen.elements()).any(|(old, seen)| self.hides(old, seen))
            }
            _ => match (old.as_str(), seen.as_str()) {
                (Some(old), Some(seen)) => old != seen && self.plain(&old) != self.plain(&seen),
                _ => old.raw() != seen.raw(),
            },
        }
    }

    /// A text with the addresses of both sides in one form.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(self.cx.upstream_base.as_str(), &self.cx.public_base);
        let address = without_proof(&text);
        let relative = address.strip_prefix(self.cx.public_base.as_str()).map(|rest| rest.trim_start_matches('/'));
        // A link with its proof names no version.
        match references::parse(relative.unwrap_or(address)) {
            Reference::Relative { kind: ResourceType::BINARY, id, .. } => format!("Binary/{id}"),
            _ => relative.unwrap_or(address).to_owned(),
        }
    }

    /// Elements that are as they were seen are found wherever they stand now; of the others each is matched to the one that
    /// stood in its place.
    fn array(
        &mut self,
        name: &str,
        pair: Option<(Value<'_>, Value<'_>)>,
        new: Value<'_>,
        depth: u32,
    ) -> Result<(), Hidden> {
        let pairs: Vec<(Value<'_>, Value<'_>)> = match pair {
            Some((old, seen)) if old.is_array() && seen.is_array() => old.elements().zip(seen.elements()).collect(),
            _ => Vec::new(),
        };
        let elements: Vec<Value<'_>> = new.elements().collect();
        let mut taken = vec![false; pairs.len()];
        let mut changed = vec![false; pairs.len()];
        let mut matches: Vec<Option<usize>> = vec![None; elements.len()];
        let mut work = self.work;
        let mut start = 0;
        for (element, slot) in elements.iter().zip(matches.iter_mut()) {
            // In order first, so that a list nobody touched costs one comparison an element.
            let mut found = None;
            for at in (start..pairs.len()).chain(0..start) {
                work = work.saturating_sub(1);
                if work == 0 {
                    break;
                }
                let free = taken.get(at) == Some(&false);
                if free && pairs.get(at).is_some_and(|(_, seen)| same_within(*seen, *element, &mut work)) {
                    found = Some(at);
                    break;
                }
            }
            if let Some(at) = found {
                if let Some(slot) = taken.get_mut(at) {
                    *slot = true;
                }
                start = at + 1;
                *slot = Some(at);
            }
        }
        self.work = work;
        self.out.push(b'[');
        let mut first = true;
        for (place, (element, found)) in elements.iter().zip(&matches).enumerate() {
            self.comma(&mut first);
            let at = found.or_else(|| Some(place).filter(|at| taken.get(*at) == Some(&false)));
            if let Some(changed) = at.and_then(|at| changed.get_mut(at)) {
                *changed = true;
            }
            let below = at.and_then(|at| pairs.get(at)).copied();
            self.value(name, below, *element, depth + 1)?;
        }
        self.out.push(b']');
        // What is gone altogether was shown whole.
        let mut gone = pairs.iter().zip(&changed).filter(|(_, kept)| !**kept);
        if gone.any(|((old, seen), _)| self.hides(*old, *seen)) {
            return Err(Hidden);
        }
        Ok(())
    }

    fn string(&mut self, name: &str, old: Option<Value<'_>>, new: Value<'_>) {
        let Some(text) = new.as_str() else { return };
        let (ours, theirs) = (&self.cx.public_base, &self.cx.upstream_base);
        if name == "div" {
            quote_into(&mut self.out, &text.replace(ours.as_str(), theirs));
            return;
        }
        let (address, sealed) = match text.split_once("?_hilum=") {
            Some((address, sealed)) => (address, Some(sealed.to_owned())),
            None => (&*text, None),
        };
        let below = [ours, theirs].into_iter().find_map(|base| {
            address.strip_prefix(base.as_str()).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#', '|']))
        });
        let relative = below.map_or(address, |rest| rest.trim_start_matches('/'));
        if let ("url", Reference::Relative { kind: ResourceType::BINARY, id, .. }) = (name, references::parse(relative))
        {
            self.links.insert(Link { id: id.to_owned(), sealed });
            // The same link as before, in the upstream's own words.
            if let Some(old) = old
                && old.as_str().is_some_and(|old| super::walk::binary_id(self.cx, &old) == Some(id))
            {
                self.out.extend_from_slice(old.raw().as_bytes());
                return;
            }
            quote_into(&mut self.out, &format!("Binary/{id}"));
            return;
        }
        match below {
            Some(_) if name == "reference" => quote_into(&mut self.out, relative),
            Some(rest) => quote_into(&mut self.out, &format!("{theirs}{rest}")),
            None => self.out.extend_from_slice(new.raw().as_bytes()),
        }
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }
}

/// Whether two values say the same: members in any order, numbers as written, links whatever proof they carry.
pub(super) fn same(a: Value<'_>, b: Value<'_>) -> bool {
    same_within(a, b, &mut { WORK_MAX })
}

/// The same, as far as there is work left for it; beyond that nothing is the same.
fn same_within(a: Value<'_>, b: Value<'_>, work: &mut usize) -> bool {
    if *work == 0 {
        return false;
    }
    *work -= 1;
    match (a.kind(), b.kind()) {
        (Kind::Object, Kind::Object) => {
            let mut others = b.members();
            // Mostly they are in the same order; only where they are not each is looked for.
            let all = a.members().all(|(key, value)| {
                let name = key.text();
                let other = match others.next() {
                    Some((other, found)) if other.is(&name) => Some(found),
                    _ => {
                        *work = work.saturating_sub(fhir::json::MEMBERS_MAX / 16);
                        b.get(&name)
                    }
                };
                other.is_some_and(|other| same_within(value, other, work))
            });
            all && a.members().count() == b.members().count()
        }
        (Kind::Array, Kind::Array) => {
            let (mut left, mut right) = (a.elements(), b.elements());
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if same_within(a, b, work) => {}
                    _ => return false,
                }
            }
        }
        (Kind::Plain | Kind::Escaped, Kind::Plain | Kind::Escaped) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b || without_proof(&a) == without_proof(&b),
            _ => false,
        },
        (a_kind, b_kind) => a_kind == b_kind && a.raw() == b.raw(),
    }
}

/// Members that say whom a reference means, and are hidden while the reference is shown.
fn is_name(name: &str) -> bool {
    matches!(name, "identifier" | "display" | "_display")
}

fn without_proof(text: &str) -> &str {
    text.split_once("?_hilum=").map_or(text, |(address, _)| address)
}
