//! Where a JSON value ends: enough of the grammar to cut it out, and no more. What is cut out is parsed before it is used.

use super::{ENTRY_NODES_MAX, InvalidJson, StreamError, offset};

/// What the next byte of the value is part of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Form {
    /// Nothing yet: this is the first byte.
    #[default]
    First,
    /// A number or a word.
    Scalar,
    /// A string; after its end the value ends too, unless brackets are open.
    Text,
    /// A string, behind a backslash.
    Escape,
    /// Between the strings of an object or array.
    Nested,
}

/// How far a chunk was taken.
pub(super) struct Taken {
    pub(super) bytes: usize,
    pub(super) is_end: bool,
}

/// One value, as far as it has arrived.
#[derive(Default)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    start: u64,
    form: Form,
    /// Brackets open, whichever they are: that they match is for the parser.
    depth: u32,
    depth_max: u32,
    /// Brackets opened, commas and colons: with one more, at least the number of its nodes.
    marks: usize,
}

impl Piece {
    /// Starts a value at byte `start` of the whole, which may nest `depth_max` deep.
    pub(super) fn begin(&mut self, start: u64, depth_max: u32) {
        self.bytes.clear();
        (self.start, self.form, self.depth, self.depth_max, self.marks) = (start, Form::First, 0, depth_max, 0);
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Measures what of `chunk`, at byte `at` of the whole, belongs to the value; at most `bytes_max` in all. What is not its
    /// end is kept; with the end, all of it is given back by [`Piece::whole`].
    pub(super) fn take(&mut self, chunk: &[u8], at: u64, bytes_max: usize) -> Result<Taken, StreamError> {
        let taken = self.measure(chunk).map_err(|used| InvalidJson::Limit(offset(at + used as u64)))?;
        let too_long = self.bytes.len() + taken.bytes > bytes_max;
        if too_long || self.marks >= ENTRY_NODES_MAX {
            return Err(StreamError::Limit(offset(at)));
        }
        if !taken.is_end {
            self.bytes.extend_from_slice(chunk);
        }
        Ok(taken)
    }

    /// The whole value, which ends with the first `end` bytes of `chunk`. Most lie in one chunk, and are not copied.
    pub(super) fn whole<'p>(&'p mut self, chunk: &'p [u8], end: usize) -> &'p [u8] {
        let end = chunk.get(..end).unwrap_or_default();
        if self.bytes.is_empty() {
            return end;
        }
        self.bytes.extend_from_slice(end);
        &self.bytes
    }

    /// How far the value goes in `chunk`; the byte where it nests too deeply is the error.
    fn measure(&mut self, chunk: &[u8]) -> Result<Taken, usize> {
        let mut at = 0;
        while let Some(byte) = chunk.get(at).copied() {
            match self.form {
                Form::First => {
                    self.form = match byte {
                        b'"' => Form::Text,
                        b'{' | b'[' => Form::Nested,
                        _ => Form::Scalar,
                    };
                    // A bracket is counted as one, and a scalar can be empty: neither is used up here.
                    at += usize::from(byte == b'"');
                }
                Form::Scalar => {
                    let is_end = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}');
                    let rest = chunk.get(at..).unwrap_or_default();
                    let run = rest.iter().position(is_end);
                    return Ok(Taken { bytes: run.map_or(chunk.len(), |run| at + run), is_end: run.is_some() });
                }
                Form::Text => {
                    let rest = chunk.get(at..).unwrap_or_default();
                    let run = text_run(rest);
                    let Some(mark) = rest.get(run) else { break };
                    at += run + 1;
                    if *mark == b'\\' {
                        self.form = Form::Escape;
                    } else if self.depth == 0 {
                        return Ok(Taken { bytes: at, is_end: true });
                    } else {
                        self.form = Form::Nested;
                    }
                }
                Form::Escape => {
                    at += 1;
                    self.form = Form::Text;
                }
                Form::Nested => {
                    at += 1;
                    match byte {
                        b'"' => self.form = Form::Text,
                        b'{' | b'[' => {
                            self.marks += 1;
                            self.depth += 1;
                            if self.depth > self.depth_max {
                                return Err(at - 1);
                            }
                        }
                        b'}' | b']' => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 {
                                return Ok(Taken { bytes: at, is_end: true });
                            }
                        }
                        b',' | b':' => self.marks += 1,
                        _ => {}
                    }
                }
            }
        }
        Ok(Taken { bytes: chunk.len(), is_end: false })
    }
}

/// How many bytes from the start are neither a quote nor a backslash. Control characters are left to the parser.
fn text_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let Ok(word) = word.try_into().map(u64::from_le_bytes) else { return run };
        let zero = |value: u64| value.wrapping_sub(ONES) & !value;
        // Exact for the lowest marked byte, which is all that is used.
        let found = (zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5C))) & HIGH;
        if found != 0 {
            return run + (found.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + words.remainder().iter().take_while(|byte| !matches!(byte, b'"' | b'\\')).count()
}

#[test]
fn a_run_ends_at_the_first_mark() {
    for length in 0..40 {
        for mark in [b'"', b'\\'] {
            for fill in [b'x', b'!', b'#', b'[', b']', 0x00, 0x1f, 0x7f, 0xa2, 0xdc, 0xff] {
                let mut bytes = vec![fill; length];
                assert_eq!(text_run(&bytes), length);
                bytes.push(mark);
                bytes.extend([fill, mark, fill, b'"', fill, fill, fill, fill, fill]);
                assert_eq!(text_run(&bytes), length, "{fill}");
            }
        }
    }
}
