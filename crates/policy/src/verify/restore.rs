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
    let mut restoring = Restoring { cx, out: Vec::with_capacity(new.raw().len() + 64), links: BTreeSet::new() };
    restoring.object(pair, new, without_id, 0)?;
    let text = String::from_utf8(restoring.out).map_err(|_| Hidden)?;
    Ok(Restored { text, links: restoring.links })
}

struct Restoring<'c> {
    cx: &'c Context,
    out: Vec<u8>,
    links: BTreeSet<Link>,
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
            && same(seen, new)
        {
            self.out.extend_from_slice(old.raw().as_bytes());
            return Ok(());
        }
        match new.kind() {
            Kind::Object => self.object(pair, new, false, depth),
            Kind::Array => self.array(name, pair, new, depth),
            Kind::Plain | Kind::Escaped => {
                self.string(name, new);
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
            let hidden: Vec<_> = old.members().filter(|(key, _)| seen.get(&key.text()).is_none()).collect();
            if !hidden.is_empty() {
                // Names beside a reference belong to it, and stay with it as long as it is the same.
                let (asked, shown) = (new.get("reference"), seen.get("reference"));
                let stays = asked.zip(shown).is_some_and(|(asked, shown)| same(shown, asked));
                if !stays {
                    return Err(Hidden);
                }
                for (key, value) in hidden {
                    if new.get(&key.text()).is_none() {
                        self.comma(&mut first);
                        quote_into(&mut self.out, &key.text());
                        self.out.push(b':');
                        self.out.extend_from_slice(value.raw().as_bytes());
                    }
                }
            }
        }
        self.out.push(b'}');
        Ok(())
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
        let mut matches: Vec<Option<usize>> = vec![None; elements.len()];
        let mut start = 0;
        for (element, slot) in elements.iter().zip(matches.iter_mut()) {
            // In order first, so that a list nobody touched costs one comparison an element.
            let found = (start..pairs.len())
                .chain(0..start)
                .find(|at| !taken.get(*at).is_some_and(|t| *t) && pairs.get(*at).is_some_and(|p| same(p.1, *element)));
            if let Some(at) = found {
                if let Some(slot) = taken.get_mut(at) {
                    *slot = true;
                }
                start = at + 1;
                *slot = Some(at);
            }
        }
        self.out.push(b'[');
        let mut first = true;
        for (place, (element, found)) in elements.iter().zip(&matches).enumerate() {
            self.comma(&mut first);
            let at = found.or_else(|| Some(place).filter(|at| taken.get(*at) == Some(&false)));
            let below = at.and_then(|at| pairs.get(at)).copied();
            self.value(name, below, *element, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn string(&mut self, name: &str, new: Value<'_>) {
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
    match (a.kind(), b.kind()) {
        (Kind::Object, Kind::Object) => {
            a.members().count() == b.members().count()
                && a.members().all(|(key, value)| b.get(&key.text()).is_some_and(|other| same(value, other)))
        }
        (Kind::Array, Kind::Array) => {
            a.elements().count() == b.elements().count() && a.elements().zip(b.elements()).all(|(a, b)| same(a, b))
        }
        (Kind::Plain | Kind::Escaped, Kind::Plain | Kind::Escaped) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b || without_proof(&a) == without_proof(&b),
            _ => false,
        },
        (a_kind, b_kind) => a_kind == b_kind && a.raw() == b.raw(),
    }
}

fn without_proof(text: &str) -> &str {
    text.split_once("?_hilum=").map_or(text, |(address, _)| address)
}
