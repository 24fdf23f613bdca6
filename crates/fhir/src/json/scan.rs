//! The scanner: one pass over the bytes, strict grammar, and the index as its only product.

use super::{DEPTH_MAX, InvalidJson, Kind, LENGTH_MAX, MEMBERS_MAX, NODES_MAX, Node};

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

    fn wrong<T>(&self) -> Result<T, InvalidJson> {
        Err(InvalidJson::Grammar(self.at))
    }

    fn push(&mut self, kind: Kind, start: usize) -> Result<usize, InvalidJson> {
        let index = self.nodes.len();
        if index >= NODES_MAX {
            return Err(InvalidJson::Limit(start));
        }
        let offset = |value: usize| u32::try_from(value).map_err(|_| InvalidJson::Limit(start));
        self.nodes.push(Node { start: offset(start)?, end: offset(self.at)?, next: offset(index + 1)?, kind });
        Ok(index)
    }

    fn close(&mut self, index: usize) -> Result<(), InvalidJson> {
        let offset = |value: usize| u32::try_from(value).map_err(|_| InvalidJson::Limit(self.at));
        let (end, next) = (offset(self.at)?, offset(self.nodes.len())?);
        if let Some(node) = self.nodes.get_mut(index) {
            node.end = end;
            node.next = next;
        }
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Result<(), InvalidJson> {
        let start = self.at;
        match self.peek() {
            b'"' => self.string().map(drop),
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

    /// Reads a string, opening quote included, and pushes its node.
    fn string(&mut self) -> Result<usize, InvalidJson> {
        let start = self.at;
        let mut kind = Kind::Plain;
        self.at += 1;
        loop {
            self.at += plain_run(self.bytes.get(self.at..).unwrap_or(&[]));
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return self.push(kind, start);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
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
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return self.close(index);
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return self.close(index);
                }
                _ => return self.wrong(),
            }
            self.space();
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), InvalidJson> {
        if depth >= DEPTH_MAX {
            return Err(InvalidJson::Limit(self.at));
        }
        let index = self.push(Kind::Object, self.at)?;
        let base = self.keys.len();
        self.at += 1;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return self.close(index);
        }
        loop {
            if self.peek() != b'"' {
                return self.wrong();
            }
            let key = self.string()?;
            self.admit(key, base)?;
            self.space();
            if self.peek() != b':' {
                return self.wrong();
            }
            self.at += 1;
            self.space();
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.finish_keys(base)?;
                    return self.close(index);
                }
                _ => return self.wrong(),
            }
            self.space();
        }
    }

    /// Takes a key into its open object, comparing it with those before while they are few.
    fn admit(&mut self, node: usize, base: usize) -> Result<(), InvalidJson> {
        let tag = tag(self.key_text(node).as_bytes());
        let node = u32::try_from(node).map_err(|_| InvalidJson::Limit(self.at))?;
        let before = self.keys.get(base..).unwrap_or(&[]);
        if before.len() >= MEMBERS_MAX {
            return Err(InvalidJson::Limit(self.at));
        }
        if before.len() < LINEAR_MAX {
            for other in before {
                if other.tag == tag && self.same_key(other.node, node) {
                    return Err(InvalidJson::Duplicate(self.key_start(node)));
                }
            }
        }
        self.keys.push(OpenKey { tag, node });
        Ok(())
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

/// Length and first seven bytes: equal for equal keys, different for almost all others.
fn tag(key: &[u8]) -> u64 {
    let mut out = [0; 8];
    for (slot, byte) in out.iter_mut().zip(key.iter().take(7)) {
        *slot = *byte;
    }
    u64::from_le_bytes(out) | (key.len() as u64) << 56
}

/// How many bytes from the start are neither a quote, a backslash nor a control character.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let Ok(word) = word.try_into().map(u64::from_le_bytes) else { return run };
        let zero = |value: u64| value.wrapping_sub(ONES) & !value;
        // Exact for the lowest marked byte, which is all that is used.
        let found =
            (zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5C)) | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGH;
        if found != 0 {
            return run + (found.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + words.remainder().iter().take_while(|byte| **byte >= 0x20 && !matches!(byte, b'"' | b'\\')).count()
}
