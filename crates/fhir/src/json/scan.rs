//! The scanner: one pass over the bytes, strict grammar, and the index as its only product.

use super::{
    DEPTH_MAX, InvalidJson, Kind, LENGTH_MAX, MARK_HIDES, MARK_NAMES, MEMBERS_MAX, NODES_MAX, Node, fold, tag,
};

/// Objects up to this many members compare each new key with all before it; wider ones are sorted once at their end.
const LINEAR_MAX: usize = 24;

/// Checks `bytes` whole and fills `nodes`; gives back the text.
pub(super) fn scan<'a>(bytes: &'a [u8], nodes: &mut Vec<Node>) -> Result<&'a str, InvalidJson> {
    if bytes.len() > LENGTH_MAX {
        return Err(InvalidJson::Limit(LENGTH_MAX));
    }
    let text = std::str::from_utf8(bytes).map_err(|why| InvalidJson::Encoding(why.valid_up_to()))?;
    nodes.reserve(bytes.len() / 12);
    let mut scanner = Scanner { text, bytes, at: 0, nodes, keys: Vec::with_capacity(64) };
    scanner.space();
    scanner.value(0)?;
    scanner.space();
    if scanner.at < bytes.len() { Err(InvalidJson::Grammar(scanner.at)) } else { Ok(text) }
}

/// A key of an object still open: where it lies, and a tag that tells most different keys apart.
#[derive(Clone, Copy)]
struct OpenKey {
    tag: u64,
    node: u32,
}

/// An object still open.
struct Open {
    /// Its first key among the open ones.
    base: usize,
    /// A bit for each hash of a key so far: a new bit is a new key.
    seen: u64,
}

struct Scanner<'a, 'n> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: &'n mut Vec<Node>,
    keys: Vec<OpenKey>,
}

impl Scanner<'_, '_> {
    fn peek(&self) -> u8 {
        // NUL stands for the end: it is no JSON outside a string, so both are refused alike.
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// The next byte that is no white space.
    fn token(&mut self) -> u8 {
        let byte = self.peek();
        if byte > b' ' {
            return byte;
        }
        self.space();
        self.peek()
    }

    fn wrong<T>(&self) -> Result<T, InvalidJson> {
        Err(InvalidJson::Grammar(self.at))
    }

    fn push(&mut self, kind: Kind, start: usize) -> Result<usize, InvalidJson> {
        self.add(kind, start, 0, 0)
    }

    fn add(&mut self, kind: Kind, start: usize, marks: u8, hash: u16) -> Result<usize, InvalidJson> {
        let index = self.nodes.len();
        if index >= NODES_MAX {
            return Err(InvalidJson::Limit(start));
        }
        let (start, end, next) = (offset(start), offset(self.at), offset(index + 1));
        self.nodes.push(Node { start, end, next, kind, marks, hash });
        Ok(index)
    }

    fn close(&mut self, index: usize) {
        let (end, next) = (offset(self.at), offset(self.nodes.len()));
        if let Some(node) = self.nodes.get_mut(index) {
            node.end = end;
            node.next = next;
        }
    }

    fn value(&mut self, depth: u32) -> Result<(), InvalidJson> {
        let start = self.at;
        match self.peek() {
            b'"' => self.string(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b't' => self.word("true", Kind::True),
            b'f' => self.word("false", Kind::False),
            b'n' => self.word("null", Kind::Null),
            b'-' | b'0'..=b'9' => {
                self.number()?;
                self.push(Kind::Number, start).map(drop)
            }
            _ => self.wrong(),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), InvalidJson> {
        let start = self.at;
        if self.bytes.get(start..start + word.len()) != Some(word.as_bytes()) {
            return self.wrong();
        }
        self.at += word.len();
        self.push(kind, start).map(drop)
    }

    fn digits(&mut self) -> Result<(), InvalidJson> {
        if !self.peek().is_ascii_digit() {
            return self.wrong();
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), InvalidJson> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Reads a string that is a value, opening quote included, and pushes its node.
    fn string(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        let (kind, marks) = self.quoted::<true>()?;
        self.add(kind, start, marks, 0).map(drop)
    }

    /// Reads a string, opening quote included: whether it has escapes, and its marks.
    #[inline]
    fn quoted<const MARK: bool>(&mut self) -> Result<(Kind, u8), InvalidJson> {
        let mut kind = Kind::Plain;
        let (mut names, mut hides) = (0, 0);
        self.at += 1;
        loop {
            let Some(rest) = self.bytes.get(self.at..) else { return self.wrong() };
            let (run, found) = plain_run::<MARK>(rest);
            names |= found;
            self.at += run;
            match rest.get(run) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((kind, hides | if names == 0 { 0 } else { MARK_NAMES }));
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    if rest.get(run + 1) == Some(&b'u') {
                        hides = MARK_HIDES;
                    }
                    self.escape()?;
                }
                _ => return self.wrong(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unit()?;
                match unit {
                    0xD800..0xDC00 => {
                        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u".as_slice()) {
                            return Err(InvalidJson::Surrogate(start));
                        }
                        match self.unit()? {
                            0xDC00..0xE000 => Ok(()),
                            _ => Err(InvalidJson::Surrogate(start)),
                        }
                    }
                    0xDC00..0xE000 => Err(InvalidJson::Surrogate(start)),
                    _ => Ok(()),
                }
            }
            _ => self.wrong(),
        }
    }

    /// Reads `\uXXXX` at the current byte.
    fn unit(&mut self) -> Result<u32, InvalidJson> {
        let Some(digits) = self.bytes.get(self.at + 2..self.at + 6) else { return self.wrong() };
        let mut unit = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else { return self.wrong() };
            unit = unit * 16 + value;
        }
        self.at += 6;
        Ok(unit)
    }

    fn array(&mut self, depth: u32) -> Result<(), InvalidJson> {
        if depth >= DEPTH_MAX {
            return Err(InvalidJson::Limit(self.at));
        }
        let index = self.push(Kind::Array, self.at)?;
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            self.close(index);
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.token() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    self.close(index);
                    return Ok(());
                }
                _ => return self.wrong(),
            }
            self.token();
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), InvalidJson> {
        if depth >= DEPTH_MAX {
            return Err(InvalidJson::Limit(self.at));
        }
        let index = self.push(Kind::Object, self.at)?;
        let mut open = Open { base: self.keys.len(), seen: 0 };
        self.at += 1;
        if self.token() == b'}' {
            self.at += 1;
            self.close(index);
            return Ok(());
        }
        loop {
            if self.peek() != b'"' {
                return self.wrong();
            }
            self.key(&mut open)?;
            if self.token() != b':' {
                return self.wrong();
            }
            self.at += 1;
            self.token();
            self.value(depth + 1)?;
            match self.token() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.finish_keys(open.base)?;
                    self.close(index);
                    return Ok(());
                }
                _ => return self.wrong(),
            }
            self.token();
        }
    }

    /// Reads a key into its open object, comparing it with those before while they are few.
    fn key(&mut self, open: &mut Open) -> Result<(), InvalidJson> {
        let start = self.at;
        let (kind, _) = self.quoted::<false>()?;
        let inside = start + 1..self.at - 1;
        let tag = if kind == Kind::Plain {
            self.tag(inside)
        } else {
            tag(super::text::unescape(self.text.get(inside).unwrap_or("")).as_bytes())
        };
        let hash = fold(tag);
        let node = offset(self.add(kind, start, 0, hash)?);
        let before = self.keys.get(open.base..).unwrap_or(&[]);
        if before.len() >= MEMBERS_MAX {
            return Err(InvalidJson::Limit(self.at));
        }
        let bit = 1 << (hash & 63);
        if open.seen & bit != 0 && before.len() < LINEAR_MAX {
            for other in before {
                if other.tag == tag && self.same_key(other.node, node) {
                    return Err(InvalidJson::Duplicate(self.key_start(node)));
                }
            }
        }
        open.seen |= bit;
        self.keys.push(OpenKey { tag, node });
        Ok(())
    }

    /// The tag of the plain key there, by one load where eight bytes follow.
    fn tag(&self, inside: std::ops::Range<usize>) -> u64 {
        let length = inside.end.saturating_sub(inside.start);
        match self.bytes.get(inside.start..).and_then(|rest| rest.first_chunk()) {
            Some(word) if length < 8 => {
                u64::from_le_bytes(*word) & !(u64::MAX << (8 * length)) & (u64::MAX >> 8) | (length as u64) << 56
            }
            Some(word) => u64::from_le_bytes(*word) & (u64::MAX >> 8) | (length as u64) << 56,
            None => tag(self.bytes.get(inside).unwrap_or(&[])),
        }
    }

    /// Closes an object's keys. Sorting, not hashing: no input can make it slow.
    fn finish_keys(&mut self, base: usize) -> Result<(), InvalidJson> {
        let keys = self.keys.get(base..).unwrap_or(&[]);
        if keys.len() > LINEAR_MAX {
            let mut texts: Vec<_> = keys.iter().map(|key| (self.key_text(key.node as usize), key.node)).collect();
            texts.sort_unstable();
            let pair = texts.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
            if let Some([_, (_, node)]) = pair {
                return Err(InvalidJson::Duplicate(self.key_start(*node)));
            }
        }
        self.keys.truncate(base);
        Ok(())
    }

    fn key_start(&self, node: u32) -> usize {
        self.nodes.get(node as usize).map_or(self.at, |node| node.start as usize)
    }

    fn key_text(&self, node: usize) -> std::borrow::Cow<'_, str> {
        let Some(node) = self.nodes.get(node) else { return "".into() };
        let raw = self.text.get(node.start as usize + 1..(node.end as usize).saturating_sub(1)).unwrap_or("");
        if node.kind == Kind::Escaped { super::text::unescape(raw).into() } else { raw.into() }
    }

    fn same_key(&self, a: u32, b: u32) -> bool {
        self.key_text(a as usize) == self.key_text(b as usize)
    }
}

/// An offset into a text of at most [`LENGTH_MAX`] bytes, or a number of one of at most [`NODES_MAX`] nodes.
const fn offset(value: usize) -> u32 {
    // INVARIANT: checked against the limits before any is stored, so the largest 32-bit number stands for none.
    if value > u32::MAX as usize { u32::MAX } else { value as u32 }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is zero, and perhaps of some above the lowest such byte.
const fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// How many bytes from the start are neither a quote, a backslash nor a control character; and, if asked to `MARK`, not zero
/// if a `P` or a percent sign is among them.
#[inline]
pub(super) fn plain_run<const MARK: bool>(bytes: &[u8]) -> (usize, u64) {
    let (mut run, mut marks) = (0, 0);
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        // With one bit turned over the quote is the blank, and no other byte comes below it: less than 0x21 is one test.
        // Exact for the lowest marked byte, which is all that is used.
        let turned = word ^ (ONES * 0x02);
        let found = (turned.wrapping_sub(ONES * 0x21) & !turned & HIGH) | zero(word ^ (ONES * 0x5C));
        let marked = if MARK { zero(word ^ (ONES * 0x50)) | zero(word ^ (ONES * 0x25)) } else { 0 };
        if found != 0 {
            // Of the marks, those below the byte that ends the run.
            let below = (found & found.wrapping_neg()) - 1;
            return (run + (found.trailing_zeros() / 8) as usize, marks | marked & below);
        }
        marks |= marked;
        run += 8;
        rest = behind;
    }
    for byte in rest {
        if *byte < 0x20 || matches!(byte, b'"' | b'\\') {
            break;
        }
        marks |= u64::from(MARK && matches!(byte, b'P' | b'%'));
        run += 1;
    }
    (run, marks)
}
