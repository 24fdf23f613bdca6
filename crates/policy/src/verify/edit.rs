//! Changes to a resource, spliced into its original bytes: what is not edited leaves exactly as it came (FM-07).

use std::ops::Range;

use fhir::ResourceType;
use fhir::json::{Key, Value};

/// What an edit takes away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// Nothing: an address of the upstream's in public form.
    Address,
    /// Names beside a reference.
    Names,
    /// A name without a reference, of something that is no patient.
    NameOnly,
    /// Whatever leads to somebody else or to nothing that can be told.
    Foreign,
}

/// One replacement. Some depend on whether an instance is released in the same answer.
struct Edit {
    range: Range<usize>,
    why: Why,
    with: String,
    /// Only if this instance is not among the released ones.
    unless: Option<(ResourceType, String)>,
}

/// The edits of one resource.
#[derive(Default)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    pub(super) fn replace(&mut self, range: Range<usize>, why: Why, with: impl Into<String>) {
        self.0.push(Edit { range, why, with: with.into(), unless: None });
    }

    /// The texts that lead to somebody else, as they stand in `text`.
    pub(super) fn foreign<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.0
            .iter()
            .filter(|edit| edit.why == Why::Foreign)
            .map(move |edit| text.get(edit.range.clone()).unwrap_or(""))
    }

    /// Takes the members `gone` picks out of `object`, commas included.
    pub(super) fn remove_members(
        &mut self,
        object: Value<'_>,
        gone: &mut dyn FnMut(&Key<'_>) -> bool,
        why: Why,
        unless: Option<&(ResourceType, String)>,
    ) {
        let mut members = object.members().peekable();
        let mut kept_before = false;
        let mut end_before = object.span().start;
        while let Some((key, value)) = members.next() {
            let (start, end, gone) = (key.span().start, value.span().end, gone(&key));
            if gone {
                let next = members.peek().map_or(end, |(next, _)| next.span().start);
                // After a kept member the comma before goes, at the front the comma behind.
                let range = if kept_before { end_before..end } else { start..next };
                self.0.push(Edit { range, why, with: String::new(), unless: unless.cloned() });
            }
            kept_before |= !gone;
            end_before = end;
        }
    }

    /// Decides the conditional edits and puts all in order; afterwards the edits can be applied.
    pub(super) fn settle(&mut self, released: &mut dyn FnMut(ResourceType, &str) -> bool) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|edit| edit.unless.as_ref().is_none_or(|(kind, id)| !released(*kind, id)));
        // Of two that overlap the wider comes first, and swallows the other.
        self.0.sort_by(|a, b| (a.range.start, b.range.end).cmp(&(b.range.start, a.range.end)));
    }

    /// Appends the bytes of `range`, edited.
    pub(super) fn apply(&self, out: &mut Vec<u8>, text: &str, range: Range<usize>) {
        let mut at = range.start;
        let first = self.0.partition_point(|edit| edit.range.start < range.start);
        for edit in self.0.iter().skip(first).take_while(|edit| edit.range.start < range.end) {
            if edit.range.start < at {
                continue;
            }
            out.extend_from_slice(text.get(at..edit.range.start).unwrap_or("").as_bytes());
            out.extend_from_slice(edit.with.as_bytes());
            at = edit.range.end;
        }
        out.extend_from_slice(text.get(at..range.end).unwrap_or("").as_bytes());
    }
}
