//! A Bundle too large to index whole, read as it arrives: the outer structure here, each entry as a [`Document`] of its own.
//!
//! Every byte is either structure that this file checks, or belongs to a piece (a root key, the value of a root member, an
//! element of `entry`) that [`Document::parse`] accepted. So what is read to the end is what `Document` would have accepted
//! whole: grammar, UTF-8, duplicates, depth and members mean the same. Until [`BundleReader::finish`] has succeeded nothing of
//! it may be released: the last byte can still make all of it no JSON.

mod piece;

use std::fmt;
use std::ops::Range;

use super::{DEPTH_MAX, Document, InvalidJson, MEMBERS_MAX, Room};
use piece::Piece;

/// Most bytes beside `entry`: a Bundle has type, total, a few links and a signature there.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Longest entry: with its index it is held in memory, and a request has 16 MiB at the very most.
pub const ENTRY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most values and keys in one entry: 4 MiB of index, one for every 8 bytes of the longest entry; FHIR needs about 12 each.
pub const ENTRY_NODES_MAX: usize = 256 * 1024;
/// Most entries: who reads them remembers something of each, and 100 bytes of each are 10 MB.
pub const ENTRIES_MAX: u64 = 100_000;

/// Why a text is not read to its end. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamError {
    /// [`Document`] would refuse the text too. Errors found at the very end count bytes in the [`Head`].
    Invalid(InvalidJson),
    /// Something else than an object at this byte: no resource.
    NotObject(usize),
    /// A limit of this reader is passed at this byte. Read whole and in memory, the text may still fit: one large resource
    /// without an `entry` array, or one large entry.
    Limit(usize),
}

impl From<InvalidJson> for StreamError {
    fn from(why: InvalidJson) -> Self {
        Self::Invalid(why)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => why.fmt(f),
            Self::NotObject(at) => write!(f, "not an object at byte {at}"),
            Self::Limit(at) => write!(f, "a part is too large at byte {at}"),
        }
    }
}

impl std::error::Error for StreamError {}

/// One element of the root's `entry`, checked by itself.
#[derive(Clone, Debug)]
pub struct Entry<'e> {
    /// The element alone: its spans count from its own first byte.
    pub document: &'e Document<'e>,
    /// Its bytes in the whole text, to find it again: they are exactly the document's text.
    pub range: Range<u64>,
}

/// The root without its `entry` array.
pub struct Head {
    text: Vec<u8>,
    entries: Option<u64>,
}

/// Holds PHI: debug output shows the count only.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?} entries, [sealed])", self.entries)
    }
}

impl Head {
    /// An object with the root's members in the order written, for [`Document::parse`]. An `entry` that is no array is
    /// among them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// How many elements `entry` had; none when the root has no `entry` array, and then the head is the whole.
    #[must_use]
    pub fn entries(&self) -> Option<u64> {
        self.entries
    }
}

/// Where in the outer structure the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Start,
    FirstKey,
    NextKey,
    InKey,
    Colon,
    Value,
    InValue,
    AfterValue,
    FirstEntry,
    NextEntry,
    InEntry,
    AfterEntry,
    End,
}

/// Reads one text, in chunks of any size. Memory: the head, one entry and its index.
pub struct BundleReader {
    at: u64,
    place: Place,
    piece: Piece,
    room: Room,
    /// The root object without `entry` and without the closing brace.
    head: Vec<u8>,
    members: usize,
    /// Whether the key before the value is `entry`, and whether there was such a key at all.
    at_entry: bool,
    entry_seen: bool,
    entries: Option<u64>,
    // INVARIANT: once set, nothing succeeds any more.
    failed: Option<StreamError>,
}

/// Holds PHI: debug output shows none of it.
impl fmt::Debug for BundleReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleReader({:?} at {}, [sealed])", self.place, self.at)
    }
}

impl Default for BundleReader {
    fn default() -> Self {
        Self::new()
    }
}

impl BundleReader {
    /// A reader before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self {
            at: 0,
            place: Place::Start,
            piece: Piece::default(),
            room: Room::default(),
            head: vec![b'{'],
            members: 0,
            at_entry: false,
            entry_seen: false,
            entries: None,
            failed: None,
        }
    }

    /// Reads on; `each` gets every entry that becomes complete, in order.
    ///
    /// # Errors
    /// The first thing that is wrong, now and at every later call.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Entry<'_>)) -> Result<(), StreamError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let read = self.read(chunk, each);
        self.failed = read.err();
        read
    }

    /// Ends the text. Only after this may anything that was handed out be released.
    ///
    /// # Errors
    /// What went wrong before, a text that is cut off, or duplicate members of the root.
    pub fn finish(mut self) -> Result<Head, StreamError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        if self.place != Place::End {
            return Err(InvalidJson::Grammar(offset(self.at)).into());
        }
        self.head.push(b'}');
        // The pieces were checked one by one; that no two members have one name shows only here.
        Document::parse_in(&self.head, self.room)?;
        Ok(Head { text: self.head, entries: self.entries })
    }

    fn read(&mut self, mut chunk: &[u8], each: &mut dyn FnMut(Entry<'_>)) -> Result<(), StreamError> {
        while let Some(first) = chunk.first().copied() {
            let used = match self.place {
                Place::InKey | Place::InValue | Place::InEntry => {
                    let bytes_max = match self.place {
                        Place::InEntry => ENTRY_BYTES_MAX,
                        _ => HEAD_BYTES_MAX.saturating_sub(self.head.len()),
                    };
                    let taken = self.piece.take(chunk, self.at, bytes_max)?;
                    if taken.is_end {
                        self.end_piece(chunk, taken.bytes, each)?;
                    }
                    taken.bytes
                }
                _ => usize::from(self.structure(first)?),
            };
            self.at += used as u64;
            chunk = chunk.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Looks at one byte between pieces; gives back whether it is used up, which it is not where a piece begins with it.
    fn structure(&mut self, byte: u8) -> Result<bool, StreamError> {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return Ok(true);
        }
        self.place = match (self.place, byte) {
            (Place::Start, b'{') => Place::FirstKey,
            (Place::Start, _) => return Err(StreamError::NotObject(offset(self.at))),
            (Place::FirstKey | Place::NextKey, b'"') => return Ok(self.begin(Place::InKey, 0)),
            (Place::Colon, b':') => Place::Value,
            (Place::Value, b'[') if self.at_entry => {
                self.entries = Some(0);
                Place::FirstEntry
            }
            // Depth counts as in the whole: the root is 0, the value of its member 1, an element of `entry` 2.
            (Place::Value, _) => return Ok(self.begin(Place::InValue, 1)),
            (Place::AfterEntry, b',') => Place::NextEntry,
            (Place::FirstEntry | Place::AfterEntry, b']') => Place::AfterValue,
            (Place::FirstEntry | Place::NextEntry, _) => return Ok(self.begin(Place::InEntry, 2)),
            (Place::AfterValue, b',') => Place::NextKey,
            (Place::FirstKey | Place::AfterValue, b'}') => Place::End,
            _ => return Err(InvalidJson::Grammar(offset(self.at)).into()),
        };
        Ok(true)
    }

    fn begin(&mut self, place: Place, depth: u32) -> bool {
        self.place = place;
        self.piece.begin(self.at, DEPTH_MAX - depth);
        false
    }

    /// Checks a piece that is complete with the first `end` bytes of `chunk`, and keeps it or hands it out.
    fn end_piece(&mut self, chunk: &[u8], end: usize, each: &mut dyn FnMut(Entry<'_>)) -> Result<(), StreamError> {
        let start = self.piece.start();
        let text = self.piece.whole(chunk, end);
        let document =
            Document::parse_in(text, std::mem::take(&mut self.room)).map_err(|why| moved(why, offset(start)))?;
        self.place = match self.place {
            Place::InKey => {
                self.members += 1;
                if self.members > MEMBERS_MAX {
                    return Err(InvalidJson::Limit(offset(start)).into());
                }
                self.at_entry = document.root().is_str("entry");
                if self.at_entry && std::mem::replace(&mut self.entry_seen, true) {
                    return Err(InvalidJson::Duplicate(offset(start)).into());
                }
                Place::Colon
            }
            Place::InValue => Place::AfterValue,
            _ => {
                let count = self.entries.unwrap_or(0) + 1;
                if count > ENTRIES_MAX {
                    return Err(StreamError::Limit(offset(start)));
                }
                self.entries = Some(count);
                each(Entry { document: &document, range: start..start + document.text().len() as u64 });
                Place::AfterEntry
            }
        };
        match self.place {
            // The key of the `entry` array stays out; that of an `entry` which is no array comes with its value.
            Place::Colon if !self.at_entry => {
                if self.head.len() > 1 {
                    self.head.push(b',');
                }
                self.head.extend_from_slice(text);
                self.head.push(b':');
            }
            Place::AfterValue => {
                if self.at_entry {
                    self.head.extend_from_slice(if self.head.len() > 1 { b",\"entry\":" } else { b"\"entry\":" });
                }
                self.head.extend_from_slice(text);
            }
            _ => {}
        }
        self.room = document.into_room();
        Ok(())
    }
}

/// An offset for an error text; on 32-bit machines the end of what can be said.
fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The same error with its offset counted from the start of the whole.
fn moved(why: InvalidJson, by: usize) -> InvalidJson {
    match why {
        InvalidJson::Grammar(at) => InvalidJson::Grammar(at + by),
        InvalidJson::Encoding(at) => InvalidJson::Encoding(at + by),
        InvalidJson::Surrogate(at) => InvalidJson::Surrogate(at + by),
        InvalidJson::Duplicate(at) => InvalidJson::Duplicate(at + by),
        InvalidJson::Limit(at) => InvalidJson::Limit(at + by),
    }
}

#[cfg(test)]
mod tests;
