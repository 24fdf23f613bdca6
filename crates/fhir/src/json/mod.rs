//! Strict JSON (RFC 8259) as an index over the original bytes: no value is copied and no tree is built.
//!
//! The whole text is checked before anything is read from it: grammar, UTF-8, duplicate members (compared after
//! unescaping), lone surrogates, and the limits below. Numbers keep their text, so nothing is altered on the way out.

mod scan;
pub mod stream;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

pub use text::{indent_into, quote, quote_into};

/// Longest text indexed: offsets are 32 bits, and 64 MiB is far above any body the gate buffers.
pub const LENGTH_MAX: usize = 64 * 1024 * 1024;
/// Deepest nesting: FHIR data stays below 20; extensions and questionnaires get room for more.
pub const DEPTH_MAX: u32 = 64;
/// Most values and keys in one text: 1 Mi nodes of 16 bytes are 16 MiB of index.
pub const NODES_MAX: usize = 1 << 20;
/// Most members in one object: the largest R4 element has fewer than 100.
pub const MEMBERS_MAX: usize = 1_024;

/// Why a text is not the strict JSON we read. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidJson {
    /// Not RFC 8259 grammar at this byte, trailing text and a byte order mark included.
    Grammar(usize),
    /// Not UTF-8 from this byte on.
    Encoding(usize),
    /// A surrogate escape without its other half at this byte.
    Surrogate(usize),
    /// An object has two members of one name; the second starts at this byte.
    Duplicate(usize),
    /// One of the limits is passed at this byte.
    Limit(usize),
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grammar(at) => write!(f, "not JSON at byte {at}"),
            Self::Encoding(at) => write!(f, "not UTF-8 at byte {at}"),
            Self::Surrogate(at) => write!(f, "a lone surrogate at byte {at}"),
            Self::Duplicate(at) => write!(f, "a duplicate member at byte {at}"),
            Self::Limit(at) => write!(f, "too long, deep or wide at byte {at}"),
        }
    }
}

impl std::error::Error for InvalidJson {}

/// What kind of value a node is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `{…}`.
    Object,
    /// `[…]`.
    Array,
    /// `"…"`, without escapes.
    Plain,
    /// `"…"`, with escapes.
    Escaped,
    /// A number, as written.
    Number,
    /// `true`.
    True,
    /// `false`.
    False,
    /// `null`.
    Null,
}

/// One value or key. An object's nodes are key, value, key, value…; `next` is the node after the whole subtree.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    next: u32,
    kind: Kind,
}

/// Room for an index, to be used again for the next text.
#[derive(Debug, Default)]
pub struct Room(Vec<Node>);

/// A checked text and its index.
pub struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

/// One value inside a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'d> {
    text: &'d str,
    nodes: &'d [Node],
    at: u32,
    node: Node,
}

/// The name of a member.
#[derive(Clone, Copy)]
pub struct Key<'d>(Value<'d>);

/// Documents hold PHI: debug output shows none of it.
impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document([sealed])")
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?}, [sealed])", self.node.kind)
    }
}

impl<'a> Document<'a> {
    /// Checks and indexes a whole text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidJson> {
        Self::parse_in(bytes, Room::default())
    }

    /// The same with room kept from an earlier document.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse_in(bytes: &'a [u8], room: Room) -> Result<Self, InvalidJson> {
        let mut nodes = room.0;
        nodes.clear();
        let text = scan::scan(bytes, &mut nodes)?;
        Ok(Self { text, nodes })
    }

    /// Gives the room back.
    #[must_use]
    pub fn into_room(self) -> Room {
        Room(self.nodes)
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        // INVARIANT: `scan` leaves at least one node; the fallback is an empty object and so grants nothing.
        let node = self.nodes.first().copied().unwrap_or(Node { start: 0, end: 0, next: 0, kind: Kind::Object });
        Value { text: self.text, nodes: &self.nodes, at: 0, node }
    }
}

impl<'d> Value<'d> {
    fn sibling(&self, at: u32) -> Option<Value<'d>> {
        let node = *self.nodes.get(usize::try_from(at).ok()?)?;
        Some(Value { text: self.text, nodes: self.nodes, at, node })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.node.kind
    }

    /// Its bytes in the document, quotes included for strings.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.node.start as usize..self.node.end as usize
    }

    /// Its text as written, quotes included for strings.
    #[must_use]
    pub fn raw(&self) -> &'d str {
        self.text.get(self.span()).unwrap_or("")
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.node.kind == Kind::Object
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.node.kind == Kind::Array
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_string(&self) -> bool {
        matches!(self.node.kind, Kind::Plain | Kind::Escaped)
    }

    /// Its text, unescaped, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'d, str>> {
        let inner = || self.text.get(self.node.start as usize + 1..(self.node.end as usize).checked_sub(1)?);
        match self.node.kind {
            Kind::Plain => inner().map(Cow::Borrowed),
            Kind::Escaped => inner().map(|raw| Cow::Owned(text::unescape(raw))),
            _ => None,
        }
    }

    /// Whether it is the string `wanted`.
    #[must_use]
    pub fn is_str(&self, wanted: &str) -> bool {
        self.as_str().is_some_and(|text| text == wanted)
    }

    /// Its truth, if it is a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.node.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// Members of an object in the order written; nothing for any other value.
    #[must_use]
    pub fn members(&self) -> Members<'d> {
        let (at, end) = if self.is_object() { (self.at + 1, self.node.next) } else { (0, 0) };
        Members { of: *self, at, end }
    }

    /// Elements of an array in order; nothing for any other value.
    #[must_use]
    pub fn elements(&self) -> Elements<'d> {
        let (at, end) = if self.is_array() { (self.at + 1, self.node.next) } else { (0, 0) };
        Elements { of: *self, at, end }
    }

    /// The member `name` of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'d>> {
        self.members().find(|(key, _)| key.is(name)).map(|(_, value)| value)
    }

    /// The string member `name` of an object.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<Cow<'d, str>> {
        self.get(name)?.as_str()
    }

    /// Visits this value's elements if it is an array, or the value itself: FHIR elements repeat or do not.
    pub fn each(&self, visit: &mut dyn FnMut(Value<'d>)) {
        if self.is_array() {
            self.elements().for_each(visit);
        } else {
            visit(*self);
        }
    }

    /// Visits every value at a path of element names, through arrays.
    pub fn at_path(&self, path: &[&str], visit: &mut dyn FnMut(Value<'d>)) {
        match path {
            [] => self.each(visit),
            [first, rest @ ..] => self.each(&mut |value| {
                if let Some(value) = value.get(first) {
                    value.at_path(rest, visit);
                }
            }),
        }
    }
}

impl<'d> Key<'d> {
    /// The name, unescaped.
    #[must_use]
    pub fn text(&self) -> Cow<'d, str> {
        self.0.as_str().unwrap_or(Cow::Borrowed(""))
    }

    /// Whether the name is `wanted`, however it is escaped.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        let node = self.0.node;
        match node.kind {
            Kind::Plain => {
                (node.end - node.start) as usize == wanted.len() + 2
                    && self.0.text.get(node.start as usize + 1..node.end as usize - 1) == Some(wanted)
            }
            _ => self.text() == wanted,
        }
    }

    /// Its bytes in the document, quotes included.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

/// Members of an object.
pub struct Members<'d> {
    of: Value<'d>,
    at: u32,
    end: u32,
}

impl<'d> Iterator for Members<'d> {
    type Item = (Key<'d>, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let key = self.of.sibling(self.at)?;
        let value = self.of.sibling(self.at + 1)?;
        self.at = value.node.next;
        Some((Key(key), value))
    }
}

/// Elements of an array.
pub struct Elements<'d> {
    of: Value<'d>,
    at: u32,
    end: u32,
}

impl<'d> Iterator for Elements<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let value = self.of.sibling(self.at)?;
        self.at = value.node.next;
        Some(value)
    }
}

#[cfg(test)]
mod tests;
