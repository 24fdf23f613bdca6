//! The value that a FHIRPath Patch operation carries, and how it is written as an element.

use super::PatchError;
use super::elements::{ANY, Element, Holds, Place, Shape};
use crate::json::{Kind, quote};

/// A value as Parameters carry it.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Given {
    /// `valueString` and the like: the type as it ends that name, and the value as written.
    Value { suffix: String, kind: Kind, text: String },
    /// `resource`, as written.
    Resource(String),
    /// `part`: the elements of something that is no datatype.
    Parts(Vec<(String, Given)>),
}

impl Given {
    /// The name on the wire and the text of this value as `element` (as one of it, if it repeats).
    ///
    /// R4, "FHIRPath Patch": a value of another type than the element's is an error.
    pub(super) fn write(&self, element: &Element) -> Result<(String, String), PatchError> {
        match element.holds {
            Holds::Only(shape) => Ok((element.name.to_owned(), self.text(shape)?)),
            Holds::Choice(types) => {
                let Self::Value { suffix, kind, text } = self else { return Err(PatchError::Invalid) };
                let shape = Shape::in_choice(types, suffix).ok_or(PatchError::Invalid)?;
                let wire = format!("{}{suffix}", element.name);
                if shape.fits(*kind) { Ok((wire, text.clone())) } else { Err(PatchError::Invalid) }
            }
        }
    }

    fn text(&self, shape: Shape) -> Result<String, PatchError> {
        match (self, shape) {
            (Self::Resource(text), Shape::Resource) => Ok(text.clone()),
            (Self::Parts(parts), Shape::Object(place)) => object(parts, place),
            (Self::Value { suffix, kind, text }, shape) if shape.fits(*kind) => {
                let given = Shape::in_choice(ANY, suffix);
                // Senders write 5 as an integer for a decimal as well.
                let right = given == Some(shape) || (shape == Shape::Decimal && given == Some(Shape::Integer));
                if right { Ok(text.clone()) } else { Err(PatchError::Invalid) }
            }
            _ => Err(PatchError::Invalid),
        }
    }
}

/// An element while its object is gathered: what is to be written, under which name.
#[derive(Clone, Eq, PartialEq)]
struct Member {
    element: Element,
    wire: String,
    texts: Vec<String>,
}

/// The object of `parts`; those of one name are the elements of a list.
fn object(parts: &[(String, Given)], place: Place) -> Result<String, PatchError> {
    let mut members: Vec<Member> = Vec::new();
    for (name, given) in parts {
        let element = place.child(name).ok_or(PatchError::Invalid)?;
        let (wire, text) = given.write(&element)?;
        // Compared by the element, so that a choice has one value whatever its types.
        match members.iter_mut().find(|member| member.element.name == element.name) {
            Some(member) if element.repeats => member.texts.push(text),
            Some(_) => return Err(PatchError::Invalid),
            None => members.push(Member { element, wire, texts: vec![text] }),
        }
    }
    let written = members.iter().map(|Member { element, wire, texts }| {
        let joined = texts.join(",");
        let value = if element.repeats { format!("[{joined}]") } else { joined };
        format!("{}:{value}", quote(wire))
    });
    Ok(format!("{{{}}}", written.collect::<Vec<_>>().join(",")))
}
