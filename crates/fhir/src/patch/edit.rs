//! Changing a text in one place: where the commas go, and the text between two operations.

use std::borrow::Cow;
use std::ops::Range;

use super::{PatchError, RESULT_BYTES_MAX, WORK_BYTES_MAX};
use crate::json::{Document, InvalidJson, Room, Value, quote};

/// One change: these bytes of the text become those.
pub(super) struct Edit {
    range: Range<usize>,
    with: String,
}

/// A resource while it is patched.
pub(super) struct Work<'a> {
    text: Cow<'a, str>,
    room: Room,
    spent: usize,
}

impl<'a> Work<'a> {
    pub(super) fn new(resource: &'a str) -> Self {
        Self { text: Cow::Borrowed(resource), room: Room::default(), spent: 0 }
    }

    /// Looks at the resource as it now is and makes the change that `decide` wants, if it wants one.
    pub(super) fn step(
        &mut self,
        decide: impl FnOnce(Value<'_>) -> Result<Option<Edit>, PatchError>,
    ) -> Result<(), PatchError> {
        self.spent = self.spent.saturating_add(self.text.len());
        if self.text.len() > RESULT_BYTES_MAX || self.spent > WORK_BYTES_MAX {
            return Err(PatchError::Limit);
        }
        let document = Document::parse_in(self.text.as_bytes(), std::mem::take(&mut self.room)).map_err(limit)?;
        if !document.root().is_object() {
            return Err(PatchError::Invalid);
        }
        let edit = decide(document.root())?;
        self.room = document.into_room();
        if let Some(edit) = edit {
            self.text = Cow::Owned(edit.splice(&self.text).ok_or(PatchError::Invalid)?);
        }
        Ok(())
    }

    /// The resource, looked at once more.
    pub(super) fn finish(mut self) -> Result<String, PatchError> {
        self.step(|_| Ok(None))?;
        Ok(self.text.into_owned())
    }
}

fn limit(why: InvalidJson) -> PatchError {
    if matches!(why, InvalidJson::Limit(_)) { PatchError::Limit } else { PatchError::Invalid }
}

impl Edit {
    fn splice(&self, text: &str) -> Option<String> {
        let (before, after) = (text.get(..self.range.start)?, text.get(self.range.end..)?);
        let mut out = String::with_capacity(before.len() + self.with.len() + after.len());
        out.push_str(before);
        out.push_str(&self.with);
        out.push_str(after);
        Some(out)
    }

    /// `with` in place of `value`.
    pub(super) fn replace(value: Value<'_>, with: impl Into<String>) -> Self {
        Self { range: value.span(), with: with.into() }
    }

    /// A new last member of an object that has none of this name.
    pub(super) fn add_member(object: Value<'_>, name: &str, value: &str) -> Self {
        let member = format!("{}:{value}", quote(name));
        match object.members().last() {
            Some((_, last)) => Self { range: last.span().end..last.span().end, with: format!(",{member}") },
            None => Self::first(object, member),
        }
    }

    /// Another name and value in place of the member `name`.
    pub(super) fn replace_member(object: Value<'_>, name: &str, new_name: &str, value: &str) -> Option<Self> {
        let (key, old) = object.members().find(|(key, _)| key.is(name))?;
        Some(Self { range: key.span().start..old.span().end, with: format!("{}:{value}", quote(new_name)) })
    }

    /// A new element of an array before the one at `index`, or at its end.
    pub(super) fn add_element(array: Value<'_>, index: usize, value: &str) -> Option<Self> {
        let (mut length, mut last) = (0, None);
        for element in array.elements() {
            let span = element.span();
            if length == index {
                return Some(Self { range: span.start..span.start, with: format!("{value},") });
            }
            (length, last) = (length + 1, Some(span.end));
        }
        match last {
            _ if length != index => None,
            Some(end) => Some(Self { range: end..end, with: format!(",{value}") }),
            None => Some(Self::first(array, value.to_owned())),
        }
    }

    /// Right behind the bracket of what is empty.
    fn first(of: Value<'_>, with: String) -> Self {
        let at = of.span().start + 1;
        Self { range: at..at, with }
    }

    /// An object without the member `name`.
    pub(super) fn remove_member(object: Value<'_>, name: &str) -> Option<Self> {
        let at = object.members().position(|(key, _)| key.is(name))?;
        Self::remove(object.members().map(|(key, value)| key.span().start..value.span().end), at)
    }

    /// An array without the element at `index`.
    pub(super) fn remove_element(array: Value<'_>, index: usize) -> Option<Self> {
        Self::remove(array.elements().map(|element| element.span()), index)
    }

    /// The one of `items` at `at` goes with the comma behind it, or the comma before it if it is the last.
    fn remove(items: impl Iterator<Item = Range<usize>>, at: usize) -> Option<Self> {
        let mut before = None;
        let mut items = items.enumerate();
        let item = loop {
            let (index, span) = items.next()?;
            if index == at {
                break span;
            }
            before = Some(span.end);
        };
        let range = match (items.next(), before) {
            (Some((_, next)), _) => item.start..next.start,
            (None, Some(end)) => end..item.end,
            (None, None) => item,
        };
        Some(Self { range, with: String::new() })
    }

    /// An array whose element at `source` comes to stand at `destination`. What stands between elements stays.
    pub(super) fn move_element(array: Value<'_>, source: usize, destination: usize) -> Option<Self> {
        let mut order: Vec<Value<'_>> = array.elements().collect();
        if source >= order.len() || destination >= order.len() {
            return None;
        }
        let spans: Vec<_> = order.iter().map(|element| element.span()).collect();
        let moved = order.remove(source);
        order.insert(destination, moved);
        let (whole, offset) = (array.raw(), array.span().start);
        let mut with = String::with_capacity(whole.len());
        let mut at = offset;
        for (span, element) in spans.iter().zip(&order) {
            with.push_str(whole.get(at.checked_sub(offset)?..span.start.checked_sub(offset)?)?);
            with.push_str(element.raw());
            at = span.end;
        }
        with.push_str(whole.get(at.checked_sub(offset)?..)?);
        Some(Self { range: array.span(), with })
    }
}
