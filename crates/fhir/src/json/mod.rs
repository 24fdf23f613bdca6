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
    /// Of a string that is a value: what stands in it, see [`MARK_NAMES`] and [`MARK_HIDES`].
    marks: u8,
    /// Of a key: [`name_hash`] of the name.
    hash: u16,
}

/// What an index without nodes would begin with: an empty object, which grants nothing.
static NOTHING: Node = Node { start: 0, end: 0, next: 0, kind: Kind::Object, marks: 0, hash: 0 };

/// A `P` or a percent sign stands in it.
const MARK_NAMES: u8 = 1;
/// A `\\u` escape stands in it, which can stand for any character.
const MARK_HIDES: u8 = 2;

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
    of: &'d Document<'d>,
    node: &'d Node,
    at: u32,
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
    #[inline]
    pub fn root(&self) -> Value<'_> {
        // INVARIANT: `scan` leaves at least one node.
        Value { of: self, node: self.nodes.first().unwrap_or(&NOTHING), at: 0 }
    }
}

impl<'d> Value<'d> {
    #[inline]
    fn with(&self, node: &'d Node, at: u32) -> Value<'d> {
        Value { of: self.of, node, at }
    }

    /// Its kind.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        self.node.kind
    }

    /// Its bytes in the document, quotes included for strings.
    #[must_use]
    #[inline]
    pub fn span(&self) -> Range<usize> {
        self.node.start as usize..self.node.end as usize
    }

    /// Its text as written, quotes included for strings.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'d str {
        self.of.text.get(self.span()).unwrap_or("")
    }

    /// Whether it is an object.
    #[must_use]
    #[inline]
    pub fn is_object(&self) -> bool {
        self.node.kind == Kind::Object
    }

    /// Whether it is an array.
    #[must_use]
    #[inline]
    pub fn is_array(&self) -> bool {
        self.node.kind == Kind::Array
    }

    /// Whether it is a string.
    #[must_use]
    #[inline]
    pub fn is_string(&self) -> bool {
        matches!(self.node.kind, Kind::Plain | Kind::Escaped)
    }

    /// Its text, unescaped, if it is a string.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> Option<Cow<'d, str>> {
        let inner = || self.of.text.get(self.node.start as usize + 1..(self.node.end as usize).checked_sub(1)?);
        match self.node.kind {
            Kind::Plain => inner().map(Cow::Borrowed),
            Kind::Escaped => inner().map(|raw| Cow::Owned(text::unescape(raw))),
            _ => None,
        }
    }

    /// Whether it is the string `wanted`.
    #[must_use]
    #[inline]
    pub fn is_str(&self, wanted: &str) -> bool {
        match self.node.kind {
            Kind::Plain => self.is_plain(wanted),
            Kind::Escaped => self.as_str().is_some_and(|text| text == wanted),
            _ => false,
        }
    }

    /// The same of a string without escapes.
    #[inline]
    fn is_plain(&self, wanted: &str) -> bool {
        let (start, end) = (self.node.start as usize + 1, (self.node.end as usize).saturating_sub(1));
        end.checked_sub(start) == Some(wanted.len())
            && self.of.text.as_bytes().get(start..end) == Some(wanted.as_bytes())
    }

    /// Whether a `P` or a percent sign may stand in it, once unescaped, if it is a string: without either it names no
    /// Patient, however it is encoded.
    #[must_use]
    #[inline]
    pub fn may_name(&self) -> bool {
        self.node.marks != 0
    }

    /// Whether characters of it may be hidden behind `\u` escapes, if it is a string. Where none are, text without quotes,
    /// slashes, backslashes and control characters stands in [`Self::raw`] as in [`Self::as_str`].
    #[must_use]
    #[inline]
    pub fn may_hide(&self) -> bool {
        self.node.marks & MARK_HIDES != 0
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
    #[inline]
    pub fn members(&self) -> Members<'d> {
        let (at, end) = if self.is_object() { (self.at + 1, self.node.next) } else { (0, 0) };
        Members { of: *self, at, end }
    }

    /// Elements of an array in order; nothing for any other value.
    #[must_use]
    #[inline]
    pub fn elements(&self) -> Elements<'d> {
        let (at, end) = if self.is_array() { (self.at + 1, self.node.next) } else { (0, 0) };
        Elements { of: *self, at, end }
    }

    /// The member `name` of an object.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> Option<Value<'d>> {
        let hash = name_hash(name.as_bytes());
        self.members().find(|(key, _)| key.hash() == hash && key.is(name)).map(|(_, value)| value)
    }

    /// The string member `name` of an object.
    #[must_use]
    #[inline]
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
    #[inline]
    pub fn text(&self) -> Cow<'d, str> {
        self.0.as_str().unwrap_or(Cow::Borrowed(""))
    }

    /// Whether the name is `wanted`, however it is escaped.
    #[must_use]
    #[inline]
    pub fn is(&self, wanted: &str) -> bool {
        self.0.is_str(wanted)
    }

    /// [`name_hash`] of the name, unescaped: found out while scanning, so that most names are told apart without looking.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> u16 {
        self.0.node.hash
    }

    /// Its bytes in the document, quotes included.
    #[must_use]
    #[inline]
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

/// A hash of a member's name, for telling names apart quickly; equal hashes prove nothing. Made of the length and the first
/// seven bytes, which no input can make slow: whoever has equal ones compares the names.
#[must_use]
#[inline]
pub const fn name_hash(name: &[u8]) -> u16 {
    fold(tag(name))
}

/// Length and first seven bytes: equal for equal names, different for almost all others.
#[inline]
const fn tag(name: &[u8]) -> u64 {
    let mut tag = (name.len() as u64) << 56;
    let mut rest = name;
    let mut shift = 0;
    while let [byte, behind @ ..] = rest
        && shift < 56
    {
        tag |= (*byte as u64) << shift;
        shift += 8;
        rest = behind;
    }
    tag
}

#[inline]
const fn fold(tag: u64) -> u16 {
    let [.., low, high] = tag.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Members of an object.
pub struct Members<'d> {
    of: Value<'d>,
    at: u32,
    end: u32,
}

impl<'d> Iterator for Members<'d> {
    type Item = (Key<'d>, Value<'d>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let [key, value] = self.of.of.nodes.get(self.at as usize..)?.first_chunk()?;
        let (key, value) = (self.of.with(key, self.at), self.of.with(value, self.at + 1));
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

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let node = self.of.of.nodes.get(self.at as usize)?;
        let value = self.of.with(node, self.at);
        self.at = node.next;
        Some(value)
    }
}

#[cfg(test)]
mod tests;
