//! JSON Patch (RFC 6902): reading its operations and applying one.

use super::edit::{Edit, Work};
use super::pointer::{self, Pointer};
use super::{InvalidPatch, PatchError, each, equal, quoted};
use crate::json::{Document, Value};

/// One operation. Values are kept as the sender wrote them.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Operation {
    Add { path: Pointer, value: String },
    Remove { path: Pointer },
    Replace { path: Pointer, value: String },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: String },
}

/// Reads the array of operations.
pub(super) fn parse(root: Value<'_>) -> Result<Vec<Operation>, InvalidPatch> {
    if !root.is_array() {
        return InvalidPatch::malformed("a JSON Patch is an array");
    }
    each(root.elements(), operation)
}

/// Members that RFC 6902 does not name for an operation are ignored (§4).
fn operation(value: Value<'_>) -> Result<Operation, InvalidPatch> {
    if !value.is_object() {
        return InvalidPatch::malformed("an operation is an object");
    }
    let text = |name: &str| match value.get(name).map(|member| member.as_str()) {
        Some(Some(text)) => Ok(text),
        Some(None) => InvalidPatch::malformed(format!("`{name}` is not a string")),
        None => InvalidPatch::malformed(format!("`{name}` is missing")),
    };
    let pointer = |name: &str| {
        let text = text(name)?;
        let parsed = Pointer::parse(&text);
        parsed.ok_or_else(|| InvalidPatch::Malformed(format!("{} is not a JSON Pointer", quoted(&text))))
    };
    let given = || match value.get("value") {
        Some(given) => Ok(given.raw().to_owned()),
        None => InvalidPatch::malformed("`value` is missing"),
    };
    let (op, path) = (text("op")?, pointer("path")?);
    match &*op {
        "add" => Ok(Operation::Add { path, value: given()? }),
        "remove" => Ok(Operation::Remove { path }),
        "replace" => Ok(Operation::Replace { path, value: given()? }),
        "move" => {
            let from = pointer("from")?;
            // §4.4: a value cannot become its own child.
            if from.holds(&path) {
                return InvalidPatch::malformed("a value is moved into itself");
            }
            Ok(Operation::Move { from, path })
        }
        "copy" => Ok(Operation::Copy { from: pointer("from")?, path }),
        "test" => Ok(Operation::Test { path, value: given()? }),
        _ => InvalidPatch::malformed(format!("{} is no operation", quoted(&op))),
    }
}

impl Operation {
    /// Applies it to the resource as it now is.
    pub(super) fn apply(&self, work: &mut Work<'_>) -> Result<(), PatchError> {
        match self {
            Self::Add { path, value } => work.step(|root| add(root, path, value).map(Some)),
            Self::Remove { path } => work.step(|root| remove(root, path).map(Some)),
            Self::Replace { path, value } => {
                work.step(|root| Ok(Some(Edit::replace(path.find(root).ok_or(PatchError::NoTarget)?, value.as_str()))))
            }
            Self::Copy { from, path } => work.step(|root| {
                let value = from.find(root).ok_or(PatchError::NoTarget)?;
                add(root, path, value.raw()).map(Some)
            }),
            Self::Move { from, path } => move_value(work, from, path),
            Self::Test { path, value } => work.step(|root| test(root, path, value).map(|()| None)),
        }
    }
}

/// §4.1: a new member or element, or another value for a member that is there.
fn add(root: Value<'_>, path: &Pointer, value: &str) -> Result<Edit, PatchError> {
    let Some((above, last)) = path.split() else { return Ok(Edit::replace(root, value)) };
    let holder = pointer::find(root, above).ok_or(PatchError::NoTarget)?;
    if holder.is_object() {
        return Ok(match holder.get(last) {
            Some(old) => Edit::replace(old, value),
            None => Edit::add_member(holder, last, value),
        });
    }
    if !holder.is_array() {
        return Err(PatchError::NoTarget);
    }
    let index = if last == "-" { Some(holder.elements().count()) } else { pointer::index(last) };
    index.and_then(|index| Edit::add_element(holder, index, value)).ok_or(PatchError::NoTarget)
}

/// §4.2. A resource cannot be removed from itself: nothing would be left to send.
fn remove(root: Value<'_>, path: &Pointer) -> Result<Edit, PatchError> {
    let (above, last) = path.split().ok_or(PatchError::Invalid)?;
    let holder = pointer::find(root, above).ok_or(PatchError::NoTarget)?;
    let edit = if holder.is_array() {
        pointer::index(last).and_then(|index| Edit::remove_element(holder, index))
    } else {
        Edit::remove_member(holder, last)
    };
    edit.ok_or(PatchError::NoTarget)
}

/// §4.4: a removal, then an addition of what was removed.
fn move_value(work: &mut Work<'_>, from: &Pointer, path: &Pointer) -> Result<(), PatchError> {
    let mut moved = String::new();
    work.step(|root| {
        let value = from.find(root).ok_or(PatchError::NoTarget)?;
        if from == path {
            return Ok(None);
        }
        value.raw().clone_into(&mut moved);
        remove(root, from).map(Some)
    })?;
    if from == path { Ok(()) } else { work.step(|root| add(root, path, &moved).map(Some)) }
}

fn test(root: Value<'_>, path: &Pointer, value: &str) -> Result<(), PatchError> {
    let found = path.find(root).ok_or(PatchError::NoTarget)?;
    let wanted = Document::parse(value.as_bytes()).map_err(|_| PatchError::Invalid)?;
    if equal::same(found, wanted.root()) { Ok(()) } else { Err(PatchError::TestFailed) }
}
