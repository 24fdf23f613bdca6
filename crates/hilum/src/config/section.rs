//! Reading TOML tables so that every mistake is reported at once, each with its line.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mistake {
    /// Line, from 1; 0 when it is not in the file.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub what: String,
}

/// The mistakes found so far in one text.
pub struct Mistakes<'a> {
    text: &'a str,
    found: RefCell<BTreeSet<Mistake>>,
}

impl<'a> Mistakes<'a> {
    /// No mistakes yet in `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Adds one at byte `offset`.
    pub fn add(&self, offset: usize, what: impl Into<String>) {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        self.found.borrow_mut().insert(Mistake { line, what: what.into() });
    }

    /// Adds one that is not in the file.
    pub fn add_elsewhere(&self, what: impl Into<String>) {
        self.found.borrow_mut().insert(Mistake { line: 0, what: what.into() });
    }

    /// All of them, by line.
    pub fn into_list(self) -> Vec<Mistake> {
        self.found.into_inner().into_iter().collect()
    }
}

/// A value with the place it was written at.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Byte offset in the file.
    pub offset: usize,
}

/// One table being read; what was not asked for is an unknown key.
pub struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    name: String,
    offset: usize,
    asked: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes<'a>,
}

impl<'a, 't> Section<'a, 't> {
    /// The whole file.
    pub fn root(table: &'a Spanned<DeTable<'t>>, mistakes: &'a Mistakes<'a>) -> Self {
        Self { table: table.get_ref(), name: String::new(), offset: 0, asked: RefCell::default(), mistakes }
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// A mistake about this table as a whole.
    pub fn mistake(&self, what: impl Into<String>) {
        self.mistakes.add(self.offset, what);
    }

    /// A mistake about one value of it.
    pub fn mistake_at<T>(&self, at: &At<T>, what: impl Into<String>) {
        self.mistakes.add(at.offset, what);
    }

    fn missing(&self, key: &str, example: &str) {
        self.mistake(format!("`{}` is missing, e.g. {key} = {example}", self.key(key)));
    }

    /// A text that may be absent.
    pub fn text(&self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.mistakes.add(value.span().start, format!("`{}` must be a text in quotes", self.key(key)));
            return None;
        };
        Some(At { value: text.to_owned(), offset: value.span().start })
    }

    /// A text that must be there; `example` as it would be written.
    pub fn required(&self, key: &'static str, example: &str) -> Option<At<String>> {
        if !self.table.contains_key(key) {
            self.asked.borrow_mut().insert(key);
            self.missing(key, example);
            return None;
        }
        self.text(key)
    }

    /// A whole number within `range`, or its default.
    pub fn number(&self, key: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(value) = self.get(key) else { return default };
        let parsed =
            value.get_ref().as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        match parsed.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let what =
                    format!("`{}` must be a whole number from {} to {}", self.key(key), range.start(), range.end());
                self.mistakes.add(value.span().start, what);
                default
            }
        }
    }

    /// A list of texts; absent is `None`.
    pub fn texts(&self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.mistakes.add(value.span().start, format!("`{}` must be a list of texts", self.key(key)));
            return None;
        };
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => out.push(At { value: text.to_owned(), offset: item.span().start }),
                None => self.mistakes.add(item.span().start, format!("`{}` must be a list of texts", self.key(key))),
            }
        }
        Some(out)
    }

    /// A table that may be absent.
    pub fn section(&self, key: &'static str) -> Option<Section<'a, 't>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.mistakes.add(value.span().start, format!("`{}` must be a table", self.key(key)));
            return None;
        };
        Some(self.below(table, self.key(key), value.span().start))
    }

    /// A table that must be there.
    pub fn required_section(&self, key: &'static str, example: &str) -> Option<Section<'a, 't>> {
        if !self.table.contains_key(key) {
            self.asked.borrow_mut().insert(key);
            self.missing(key, example);
            return None;
        }
        self.section(key)
    }

    /// A list of tables (`[[key]]`).
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a, 't>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.mistakes.add(value.span().start, format!("write `[[{}]]` for each", self.key(key)));
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => out.push(self.below(table, self.key(key), item.span().start)),
                None => self.mistakes.add(item.span().start, format!("write `[[{}]]` for each", self.key(key))),
            }
        }
        out
    }

    fn below(&self, table: &'a DeTable<'t>, name: String, offset: usize) -> Self {
        Self { table, name, offset, asked: RefCell::default(), mistakes: self.mistakes }
    }

    /// Every key nobody asked for is a mistake.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if !asked.contains(key.get_ref().as_ref()) {
                let known = asked.iter().copied().collect::<Vec<_>>().join("`, `");
                let what = format!("unknown key `{}`; known here: `{known}`", self.key(key.get_ref()));
                self.mistakes.add(key.span().start, what);
            }
        }
    }
}
