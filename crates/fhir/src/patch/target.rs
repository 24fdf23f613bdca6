//! Where a FHIRPath Patch operation works in a resource, and what it does there.

use super::PatchError;
use super::edit::{Edit, Work};
use super::elements::{Element, HasExtension, Holds, Place, Shape};
use super::fhirpath::{Action, Operation, Path, Step};
use super::given::Given;
use crate::ResourceType;
use crate::json::Value;

/// Most values met on the way of one path: with some 200 bytes each, 13 MiB. Elements repeat a few hundred times at most.
const HOPS_MAX: usize = 1 << 16;

impl From<HasExtension> for PatchError {
    fn from(_: HasExtension) -> Self {
        Self::Invalid
    }
}

impl Operation {
    /// Applies it to the resource, which is a `kind`, as it now is.
    pub(super) fn apply(&self, kind: ResourceType, work: &mut Work<'_>) -> Result<(), PatchError> {
        if self.path.kind != kind {
            return Err(PatchError::Invalid);
        }
        work.step(|root| match &self.action {
            Action::Add { name, value } => add(&self.path, root, name, value).map(Some),
            Action::Insert { index, value } => insert(&self.path, root, *index, value).map(Some),
            Action::Delete => delete(&self.path, root),
            Action::Replace { value } => replace(&self.path, root, value).map(Some),
            Action::Move { source, destination } => {
                let Slot { found, .. } = list(&self.path, root)?;
                let array = found.filter(Value::is_array).ok_or(PatchError::NoTarget)?;
                Edit::move_element(array, *source, *destination).ok_or(PatchError::NoTarget).map(Some)
            }
        })
    }
}

/// A value on the way along a path.
struct Hop<'d> {
    value: Value<'d>,
    shape: Shape,
    within: Option<Within<'d>>,
}

/// Where a value stands in the one above it.
struct Within<'d> {
    /// The hop of `object`.
    up: usize,
    object: Value<'d>,
    /// The name on the wire.
    name: String,
    /// The member, and the position in it, if it is a list.
    list: Option<(Value<'d>, usize)>,
    element: Element,
}

/// All values along a path; the last of them are those it leads to.
struct Trail<'d> {
    hops: Vec<Hop<'d>>,
    ends: Vec<usize>,
}

impl<'d> Trail<'d> {
    fn follow(kind: ResourceType, steps: &[Step], root: Value<'d>) -> Result<Self, PatchError> {
        let place = Place::resource(kind).ok_or(PatchError::Invalid)?;
        let hop = Hop { value: root, shape: Shape::Object(place), within: None };
        let mut trail = Self { hops: vec![hop], ends: vec![0] };
        for step in steps {
            let from = std::mem::take(&mut trail.ends);
            for at in from {
                trail.step(at, &step.name)?;
            }
            if let Some(index) = step.index {
                trail.ends = trail.ends.get(index).copied().into_iter().collect();
            }
        }
        Ok(trail)
    }

    /// Adds what the element `name` of the hop at `up` holds.
    fn step(&mut self, up: usize, name: &str) -> Result<(), PatchError> {
        let hop = self.hops.get(up).ok_or(PatchError::Invalid)?;
        let object = hop.value;
        let element = hop.shape.place(object).and_then(|place| place.child(name)).ok_or(PatchError::Invalid)?;
        let Some((name, member, shape)) = element.find(object)? else { return Ok(()) };
        let single = (!member.is_array()).then_some((member, None));
        let listed = member.elements().enumerate().map(|(index, value)| (value, Some((member, index))));
        for (value, list) in single.into_iter().chain(listed) {
            if self.hops.len() >= HOPS_MAX {
                return Err(PatchError::Limit);
            }
            self.ends.push(self.hops.len());
            let within = Within { up, object, name: name.clone(), list, element };
            self.hops.push(Hop { value, shape, within: Some(within) });
        }
        Ok(())
    }

    /// The one value it leads to, if it leads anywhere. More than one is an error for every operation of R4.
    fn one(&self) -> Result<Option<&Hop<'d>>, PatchError> {
        match self.ends.as_slice() {
            [] => Ok(None),
            [end] => Ok(self.hops.get(*end)),
            _ => Err(PatchError::Invalid),
        }
    }
}

/// An element of an object, there or not.
struct Slot<'d> {
    object: Value<'d>,
    element: Element,
    found: Option<Value<'d>>,
}

/// The element `name` of the one value at `steps`.
fn slot<'d>(kind: ResourceType, steps: &[Step], root: Value<'d>, name: &str) -> Result<Slot<'d>, PatchError> {
    let trail = Trail::follow(kind, steps, root)?;
    let hop = trail.one()?.ok_or(PatchError::NoTarget)?;
    let object = hop.value;
    let element = hop.shape.place(object).and_then(|place| place.child(name)).ok_or(PatchError::Invalid)?;
    let found = element.find(object)?.map(|(_, value, _)| value);
    Ok(Slot { object, element, found })
}

/// The list a path names.
fn list<'d>(path: &Path, root: Value<'d>) -> Result<Slot<'d>, PatchError> {
    let (last, above) = path.steps.split_last().ok_or(PatchError::Invalid)?;
    let slot = slot(path.kind, above, root, &last.name)?;
    if slot.element.repeats { Ok(slot) } else { Err(PatchError::Invalid) }
}

/// R4: appended to a list; a single element is set, unless it is there already.
fn add(path: &Path, root: Value<'_>, name: &str, value: &Given) -> Result<Edit, PatchError> {
    let slot = slot(path.kind, &path.steps, root, name)?;
    if slot.element.repeats {
        let end = slot.found.map_or(0, |list| list.elements().count());
        return put(slot, end, value);
    }
    if slot.found.is_some() {
        return Err(PatchError::Invalid);
    }
    let (wire, text) = value.write(&slot.element)?;
    Ok(Edit::add_member(slot.object, &wire, &text))
}

fn insert(path: &Path, root: Value<'_>, index: usize, value: &Given) -> Result<Edit, PatchError> {
    put(list(path, root)?, index, value)
}

/// A new element of a list, which begins with it if it is not there.
fn put(slot: Slot<'_>, index: usize, value: &Given) -> Result<Edit, PatchError> {
    let (wire, text) = value.write(&slot.element)?;
    match slot.found {
        Some(list) if list.is_array() => Edit::add_element(list, index, &text).ok_or(PatchError::NoTarget),
        Some(_) => Err(PatchError::Invalid),
        None if index == 0 => Ok(Edit::add_member(slot.object, &wire, &format!("[{text}]"))),
        None => Err(PatchError::NoTarget),
    }
}

/// R4: what is not there need not be deleted. FHIR has no empty lists or objects, so what would be one goes too.
fn delete(path: &Path, root: Value<'_>) -> Result<Option<Edit>, PatchError> {
    let trail = Trail::follow(path.kind, &path.steps, root)?;
    let Some(mut hop) = trail.one()? else { return Ok(None) };
    loop {
        let within = hop.within.as_ref().ok_or(PatchError::Invalid)?;
        if let Some((list, index)) = within.list
            && list.elements().nth(1).is_some()
        {
            return Edit::remove_element(list, index).ok_or(PatchError::NoTarget).map(Some);
        }
        let above = trail.hops.get(within.up).ok_or(PatchError::Invalid)?;
        if above.within.is_none() || within.object.members().nth(1).is_some() {
            return Edit::remove_member(within.object, &within.name).ok_or(PatchError::NoTarget).map(Some);
        }
        hop = above;
    }
}

/// Another value for what is there; for a choice it can be one of another type and so of another name.
fn replace(path: &Path, root: Value<'_>, value: &Given) -> Result<Edit, PatchError> {
    let trail = Trail::follow(path.kind, &path.steps, root)?;
    let hop = trail.one()?.ok_or(PatchError::NoTarget)?;
    let within = hop.within.as_ref().ok_or(PatchError::Invalid)?;
    let (wire, text) = value.write(&within.element)?;
    match within.element.holds {
        Holds::Choice(_) if wire != within.name => {
            Edit::replace_member(within.object, &within.name, &wire, &text).ok_or(PatchError::NoTarget)
        }
        _ => Ok(Edit::replace(hop.value, text)),
    }
}
