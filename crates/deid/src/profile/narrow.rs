//! Rules held against the element table before any data is there: whether a method can do anything where its path leads,
//! and whether a profile lets through more than the one it must stay within.

use std::collections::BTreeSet;

use fhir::elements::{self, Complex, Datatype, Element, Primitive};

use super::path::{Pattern, Selector, What};
use super::rules::{Method, Node, RuleSet, State, Trail, leave};

/// Whether some element that `pattern` leads to satisfies `wanted`, which is told the holder of the element, the element,
/// and what `ceiling` does with it.
pub(crate) fn leads_to(
    pattern: &Pattern,
    ceiling: Option<&RuleSet>,
    wanted: &dyn Fn(Complex, &Element, Method) -> bool,
) -> bool {
    let mut look = Look { ceiling, wanted, stack: Vec::new(), seen: BTreeSet::new() };
    let Some((Selector { what: What::Root(kind), .. }, rest)) = pattern.split_first() else { return false };
    // From the last `nodesBy…` on, wherever that is met; otherwise from the resource down.
    if let Some(deep) = rest.iter().rposition(|selector| !matches!(selector.what, What::Child(_))) {
        let rest = rest.get(deep..).unwrap_or_default();
        return elements::all().any(|place| {
            let trail = look.root(None);
            let trail = look.enter(trail, place.name(), Datatype::Complex(place));
            let found = look.down(place, trail, rest);
            look.stack.clear();
            found
        });
    }
    let place = kind.map_or_else(|| Complex::datatype("DomainResource"), Complex::resource);
    let trail = look.root(*kind);
    place.is_some_and(|place| look.down(place, trail, rest))
}

struct Look<'l> {
    ceiling: Option<&'l RuleSet>,
    wanted: &'l dyn Fn(Complex, &Element, Method) -> bool,
    stack: Vec<State>,
    /// Places looked at below the end of the pattern: each once, or recursive structures would have no end.
    seen: BTreeSet<Complex>,
}

impl Look<'_> {
    fn root(&mut self, kind: Option<fhir::ResourceType>) -> Option<Trail> {
        self.ceiling.map(|rules| rules.root(&mut self.stack, kind, None))
    }

    fn enter(&mut self, above: Option<Trail>, name: &str, datatype: Datatype) -> Option<Trail> {
        let node = Node { name, datatype, value: None };
        self.ceiling.zip(above).map(|(rules, above)| rules.enter(&mut self.stack, above, &node))
    }

    /// Follows `selectors` from `place`, then looks at everything below.
    fn down(&mut self, place: Complex, trail: Option<Trail>, selectors: &[Selector]) -> bool {
        let rest = match selectors.split_first() {
            Some((_, rest)) => rest,
            None if self.seen.insert(place) => &[],
            None => return false,
        };
        place.elements().any(|(_, element)| {
            // Extensions can hold anything anywhere: what they could hold says nothing of a rule that does not name them.
            let further = || !matches!(element.name, "extension" | "modifierExtension");
            if !selectors.first().map_or_else(further, |selector| is_met(selector, element)) {
                return false;
            }
            let inner = self.enter(trail, element.name, element.datatype);
            let method = self.ceiling.zip(inner).map_or(Method::Keep, |(rules, inner)| rules.method(inner));
            let found = match element.datatype {
                Datatype::Primitive(_) => rest.is_empty() && (self.wanted)(place, element, method),
                Datatype::Complex(below) => self.down(below, inner, rest),
                Datatype::Resource => false,
            };
            if let Some(inner) = inner {
                leave(&mut self.stack, inner);
            }
            found
        })
    }
}

fn is_met(selector: &Selector, element: &Element) -> bool {
    let met = match &selector.what {
        What::Root(_) => false,
        What::Child(name) | What::DeepName(name) => **name == *element.name,
        What::DeepType(datatype) => *datatype == element.datatype,
    };
    met && selector.of.is_none_or(|of| of == element.datatype)
}

/// Whether `method` can do anything with this element but drop it.
pub(crate) fn applies(method: Method, holder: Complex, element: &Element) -> bool {
    let Datatype::Primitive(primitive) = element.datatype else { return false };
    match method {
        Method::Keep | Method::KeepKnown | Method::Redact => true,
        Method::Generalize => match primitive {
            Primitive::Date | Primitive::DateTime | Primitive::Integer => true,
            Primitive::String => holder.name() == "Address" && element.name == "postalCode",
            Primitive::Decimal => is_quantity(holder.name()) && element.name == "value",
            _ => false,
        },
        Method::Surrogate => match primitive {
            Primitive::Id => element.name == "id",
            Primitive::String => holder.name() == "Reference" && element.name == "reference",
            Primitive::Uri => element.name == "fullUrl",
            _ => false,
        },
        Method::Substitute => matches!(primitive, Primitive::String | Primitive::Markdown),
    }
}

/// Whether a datatype is a number with a unit.
pub(crate) fn is_quantity(name: &str) -> bool {
    matches!(name, "Quantity" | "Age" | "Duration" | "Count" | "Distance" | "SimpleQuantity" | "MoneyQuantity")
}

/// Whether a rule of `method` says more than that `ceiling` already does: what it asks for leaves in some form that the
/// rule can have meant. A rule to keep a code is met by keeping the known ones; one to keep a date not by keeping its year.
pub(crate) fn is_within(method: Method, ceiling: Method) -> bool {
    method >= ceiling || (method == Method::Keep && ceiling == Method::KeepKnown)
}
