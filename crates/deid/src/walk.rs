//! The walk over a resource: every element is resolved against the R4 table, given to the rules, and written anew or not.

use fhir::elements::{Complex, Datatype, Element, Primitive};
use fhir::json::{Kind, Value, quote_into};
use fhir::references::{self, Reference};
use fhir::{Id, ResourceType};

use crate::known;
use crate::leaf::{self, Measure};
use crate::profile::Profile;
use crate::profile::narrow::is_quantity;
use crate::profile::rules::{Method, Node, State, Trail, leave};
use crate::surrogates::{Original, Surrogates};
use crate::ucum;
use crate::{Counts, LABEL, Refusal};

/// Deepest nesting followed: that of the JSON scanner, so nothing that was read is ever too deep. Each level takes a few
/// hundred bytes of stack.
const DEPTH_MAX: u32 = fhir::json::DEPTH_MAX;

/// Where both rule sets stand at one element.
#[derive(Clone, Copy)]
struct Frame {
    own: Trail,
    ceiling: Option<Trail>,
}

/// What the members of one object have to know of each other.
#[derive(Clone, Copy)]
struct Around<'w> {
    place: Complex,
    /// Whether its `system` and `code` are known to say nothing but what they mean.
    coded: bool,
    /// What the profile shows such a code as.
    display: Option<&'w str>,
    /// What it measures, if it is a quantity.
    measure: Measure,
    /// Whether it may be an address in the United States.
    in_us: bool,
    /// Whether it is the `meta` of a resource, which gets the label.
    labelled: bool,
}

/// One walk.
pub(crate) struct Walk<'w> {
    pub(crate) profile: &'w Profile,
    pub(crate) year: i32,
    pub(crate) surrogates: &'w mut dyn Surrogates,
    pub(crate) out: Vec<u8>,
    pub(crate) counts: Counts,
    own: Vec<State>,
    ceiling: Vec<State>,
}

impl<'w> Walk<'w> {
    pub(crate) fn new(profile: &'w Profile, year: i32, surrogates: &'w mut dyn Surrogates) -> Self {
        let (own, ceiling) = (Vec::new(), Vec::new());
        Self { profile, year, surrogates, out: Vec::new(), counts: Counts::default(), own, ceiling }
    }

    /// Writes a resource with its label.
    pub(crate) fn resource(&mut self, kind: ResourceType, resource: Value<'_>, depth: u32) -> Result<(), Refusal> {
        let place = Complex::resource(kind).ok_or(Refusal::NotUnderstood)?;
        if !resource.is_object() || !resource.get("resourceType").is_some_and(|name| name.is_str(kind.name())) {
            return Err(Refusal::NotUnderstood);
        }
        if changes_meaning(resource) || resource.get("implicitRules").is_some() {
            return Err(Refusal::Modified);
        }
        let frame = Frame {
            own: self.profile.rules.root(&mut self.own, Some(kind), Some(resource)),
            ceiling: self
                .profile
                .ceiling
                .as_ref()
                .map(|rules| rules.root(&mut self.ceiling, Some(kind), Some(resource))),
        };
        self.out.extend_from_slice(b"{\"resourceType\":");
        quote_into(&mut self.out, kind.name());
        let mut labelled = false;
        let around = self.around(place, resource);
        for (key, value) in resource.members().filter(|(key, _)| !key.is("resourceType")) {
            let is_meta = key.is("meta");
            let mark = self.out.len();
            self.out.push(b',');
            let written = if is_meta && value.is_object() {
                self.meta(place, value, frame, depth)?;
                true
            } else {
                self.member(Some(kind), &around, &key.text(), value, frame, depth)?
            };
            labelled |= is_meta && written;
            if !written {
                self.out.truncate(mark);
            }
        }
        if !labelled {
            self.out.extend_from_slice(b",\"meta\":{\"security\":[");
            self.out.extend_from_slice(LABEL.as_bytes());
            self.out.extend_from_slice(b"]}");
        }
        self.out.push(b'}');
        self.leave(frame);
        Ok(())
    }

    /// `meta`, which is written even if only the label is in it.
    fn meta(&mut self, of: Complex, meta: Value<'_>, frame: Frame, depth: u32) -> Result<(), Refusal> {
        self.out.extend_from_slice(b"\"meta\":");
        let Some(Element { name, datatype: datatype @ Datatype::Complex(place), .. }) = of.element("meta") else {
            return Err(Refusal::NotUnderstood);
        };
        let inner = self.enter(frame, name, *datatype, meta);
        let around = Around { labelled: true, ..self.around(*place, meta) };
        if changes_meaning(meta) || !self.members(&around, meta, inner, depth + 1)? {
            self.out.extend_from_slice(b"{\"security\":[");
            self.out.extend_from_slice(LABEL.as_bytes());
            self.out.extend_from_slice(b"]}");
        }
        self.leave(inner);
        Ok(())
    }

    /// Writes an object's members that leave; nothing at all if none does.
    fn members(&mut self, around: &Around<'_>, object: Value<'_>, frame: Frame, depth: u32) -> Result<bool, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        let start = self.out.len();
        let (mut any, mut labelled) = (false, false);
        self.out.push(b'{');
        for (key, value) in object.members() {
            let mark = self.out.len();
            if any {
                self.out.push(b',');
            }
            if self.member(None, around, &key.text(), value, frame, depth)? {
                any = true;
                labelled |= around.labelled && key.is("security");
            } else {
                self.out.truncate(mark);
            }
        }
        if around.labelled && !labelled {
            self.out.extend_from_slice(if any { b",\"security\":[" } else { b"\"security\":[" });
            self.out.extend_from_slice(LABEL.as_bytes());
            self.out.push(b']');
            any = true;
        }
        if any {
            self.out.push(b'}');
        } else {
            self.out.truncate(start);
        }
        Ok(any)
    }

    /// Writes `"name":value` if anything of it leaves. `kind` is there at the elements of a resource.
    fn member(
        &mut self,
        kind: Option<ResourceType>,
        around: &Around<'_>,
        name: &str,
        value: Value<'_>,
        frame: Frame,
        depth: u32,
    ) -> Result<bool, Refusal> {
        // The ids and extensions of a primitive.
        if let Some(plain) = name.strip_prefix('_') {
            if around.place.element(plain).is_none() {
                return self.not_understood();
            }
            self.counts.dropped += 1;
            return Ok(false);
        }
        let Some(element) = around.place.element(name) else { return self.not_understood() };
        // Written with the value it belongs to.
        if around.measure == Measure::Over && element.name == "comparator" {
            return Ok(false);
        }
        quote_into(&mut self.out, name);
        self.out.push(b':');
        if value.is_array() != element.repeats {
            return self.not_understood();
        }
        if !element.repeats {
            return self.one(kind, around, element, value, frame, depth);
        }
        self.out.push(b'[');
        let mut any = false;
        for item in value.elements() {
            let mark = self.out.len();
            if any {
                self.out.push(b',');
            }
            // Where a primitive has only an extension the list has a null.
            let is_gap = item.kind() == Kind::Null && matches!(element.datatype, Datatype::Primitive(_));
            if !is_gap && self.one(None, around, element, item, frame, depth)? {
                any = true;
            } else {
                self.out.truncate(mark);
            }
        }
        if around.labelled && element.name == "security" {
            self.out.extend_from_slice(if any { b"," } else { b"" });
            self.out.extend_from_slice(LABEL.as_bytes());
            any = true;
        }
        self.out.push(b']');
        Ok(any)
    }

    /// Writes one value of an element if anything of it leaves.
    fn one(
        &mut self,
        kind: Option<ResourceType>,
        around: &Around<'_>,
        element: &Element,
        value: Value<'_>,
        frame: Frame,
        depth: u32,
    ) -> Result<bool, Refusal> {
        if matches!(element.datatype, Datatype::Resource) {
            return self.inner_resource(element, value, depth);
        }
        let inner = self.enter(frame, element.name, element.datatype, value);
        let written = match element.datatype {
            Datatype::Primitive(primitive) => self.leaf(kind, around, element, primitive, value, inner),
            _ if !value.is_object() => self.not_understood(),
            // What changes the meaning of the rest is not understood, so the rest is not either.
            _ if changes_meaning(value) => self.not_understood(),
            Datatype::Complex(place) => self.members(&self.around(place, value), value, inner, depth + 1),
            Datatype::Resource => Ok(false),
        };
        self.leave(inner);
        written
    }

    /// A resource inside another: those of a Bundle or of Parameters by rules of their own, contained ones never.
    fn inner_resource(&mut self, element: &Element, value: Value<'_>, depth: u32) -> Result<bool, Refusal> {
        if element.name == "contained" {
            self.counts.dropped += 1;
            return Ok(false);
        }
        if depth >= DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        match value.get_str("resourceType").and_then(|name| name.parse().ok()) {
            Some(kind) => self.resource(kind, value, depth + 1).map(|()| true),
            None => Err(Refusal::NotUnderstood),
        }
    }

    /// Writes a primitive, or not.
    fn leaf(
        &mut self,
        kind: Option<ResourceType>,
        around: &Around<'_>,
        element: &Element,
        primitive: Primitive,
        value: Value<'_>,
        frame: Frame,
    ) -> Result<bool, Refusal> {
        if !leaf::fits(primitive, value) {
            return self.not_understood();
        }
        let text = value.as_str().unwrap_or_default();
        let own = self.profile.rules.method(frame.own);
        let ceiling = self.profile.ceiling.as_ref().zip(frame.ceiling).map(|(rules, trail)| rules.method(trail));
        let method = ceiling.map_or(own, |ceiling| ceiling.max(own));
        let written = match method {
            Method::Keep => self.keep(value, &text),
            // Not what the upstream wrote: that is text, and can say whose code it is.
            Method::KeepKnown if element.name == "display" && around.display.is_some() => {
                quote_into(&mut self.out, around.display.unwrap_or_default());
                self.counts.known += 1;
                return Ok(true);
            }
            Method::KeepKnown if self.is_known(around, element, primitive, &text) => {
                self.keep(value, &text);
                self.counts.known += 1;
                return Ok(true);
            }
            Method::Generalize => self.generalize(around, element, primitive, value, &text),
            Method::Surrogate => return self.surrogate(kind, around, element, primitive, &text),
            Method::Substitute if matches!(primitive, Primitive::String | Primitive::Markdown) => {
                quote_into(&mut self.out, self.profile.rules.replacement(frame.own));
                true
            }
            Method::KeepKnown | Method::Substitute | Method::Redact => false,
        };
        *match method {
            _ if !written => &mut self.counts.dropped,
            Method::Generalize => &mut self.counts.generalized,
            Method::Substitute => &mut self.counts.substituted,
            _ => &mut self.counts.kept,
        } += 1;
        Ok(written)
    }

    fn keep(&mut self, value: Value<'_>, text: &str) -> bool {
        if value.is_string() {
            quote_into(&mut self.out, text);
        } else {
            self.out.extend_from_slice(value.raw().as_bytes());
        }
        true
    }

    /// Whether it is in the closed set that belongs to its element.
    fn is_known(&self, around: &Around<'_>, element: &Element, primitive: Primitive, text: &str) -> bool {
        let holder = around.place.name();
        match (holder, element.name, primitive) {
            (_, "system" | "code", _) if holder == "Coding" || is_quantity(holder) => around.coded,
            (_, "unit", _) if is_quantity(holder) => ucum::is_unit(text),
            ("Address", "state", _) => known::is_state(text),
            ("Address", "country", _) => known::is_country(text),
            ("Reference", "type", _) => text.parse::<ResourceType>().is_ok(),
            ("Money", "currency", _) => known::is_currency(text),
            (_, "language", Primitive::Code) => known::is_language(text),
            (_, _, Primitive::Code) => known::is_code(text),
            (_, _, Primitive::Boolean | Primitive::Decimal | Primitive::Integer) => true,
            (_, _, Primitive::PositiveInt | Primitive::UnsignedInt) => true,
            _ => false,
        }
    }

    fn generalize(
        &mut self,
        around: &Around<'_>,
        element: &Element,
        primitive: Primitive,
        value: Value<'_>,
        text: &str,
    ) -> bool {
        match primitive {
            Primitive::Date | Primitive::DateTime => {
                let Some(year) = leaf::year(text) else { return false };
                // The oldest year in which somebody of the oldest age told can have been born.
                let first = self.year - leaf::AGE_MAX;
                let is_birth = matches!(element.name, "birthDate" | "born");
                if year < first && !is_birth {
                    return false;
                }
                let year = if year < first { self.year - leaf::AGE_TOP } else { year };
                quote_into(&mut self.out, &format!("{year:04}"));
            }
            Primitive::Integer => {
                let known = value.raw().parse::<i64>().is_ok_and(|number| number <= i64::from(leaf::AGE_MAX));
                return known && self.keep(value, text);
            }
            Primitive::Decimal if is_quantity(around.place.name()) && element.name == "value" => match around.measure {
                Measure::Known => self.out.extend_from_slice(value.raw().as_bytes()),
                Measure::Over => {
                    self.out.extend_from_slice(format!("{},\"comparator\":\">=\"", leaf::AGE_TOP).as_bytes())
                }
                Measure::Unknown => return false,
            },
            Primitive::String if around.in_us && element.name == "postalCode" => {
                let Some(area) = leaf::zip3(text, &|area| self.profile.is_small_area(area)) else { return false };
                quote_into(&mut self.out, area);
            }
            _ => return false,
        }
        true
    }

    fn surrogate(
        &mut self,
        kind: Option<ResourceType>,
        around: &Around<'_>,
        element: &Element,
        primitive: Primitive,
        text: &str,
    ) -> Result<bool, Refusal> {
        let written = match (kind, primitive) {
            (Some(kind), Primitive::Id) if element.name == "id" => {
                let surrogate = self.ask(Original::Instance { base: None, kind, id: text })?;
                quote_into(&mut self.out, surrogate.as_str());
                true
            }
            (_, Primitive::String) if around.place.name() == "Reference" && element.name == "reference" => {
                let (base, kind, id) = match references::parse(text) {
                    Reference::Relative { kind, id, .. } => (None, kind, id),
                    Reference::Absolute { base, kind, id, .. } => (Some(base), kind, id),
                    Reference::Fragment(_) => return self.dropped(),
                    Reference::Other(text) => return self.urn(text),
                };
                let surrogate = self.ask(Original::Instance { base, kind, id })?;
                quote_into(&mut self.out, &format!("{}/{}", kind.name(), surrogate.as_str()));
                true
            }
            (_, Primitive::Uri) if element.name == "fullUrl" => return self.urn(text),
            _ => return self.dropped(),
        };
        self.counts.surrogates += usize::from(written);
        Ok(written)
    }

    /// `urn:uuid:…`, by which the entries of a Bundle name each other.
    fn urn(&mut self, text: &str) -> Result<bool, Refusal> {
        let Some(id) = text.strip_prefix("urn:uuid:").filter(|id| Id::fits(id)) else { return self.dropped() };
        let surrogate = self.ask(Original::Code(&id.to_ascii_lowercase()))?;
        quote_into(&mut self.out, &format!("urn:uuid:{}", surrogate.as_str()));
        self.counts.surrogates += 1;
        Ok(true)
    }

    /// A table that gives back what it was asked is none.
    fn ask(&mut self, original: Original<'_>) -> Result<Id, Refusal> {
        let surrogate = self.surrogates.surrogate(original).map_err(|_| Refusal::Surrogates)?;
        let (Original::Instance { id, .. } | Original::Code(id)) = original;
        if surrogate.as_str() == id { Err(Refusal::Surrogates) } else { Ok(surrogate) }
    }

    fn around(&self, place: Complex, object: Value<'_>) -> Around<'w> {
        let name = place.name();
        let mut around =
            Around { place, coded: false, display: None, measure: Measure::Known, in_us: true, labelled: false };
        if (name == "Coding" || is_quantity(name))
            && let (Some(system), Some(code)) = (object.get_str("system"), object.get_str("code"))
        {
            let is_local = || self.profile.lists(&system) && is_local_code(&code);
            around.coded = known::is_coding(&system, &code) || is_local();
            around.display = self.profile.display(&system, &code).filter(|_| around.coded && name == "Coding");
        }
        if is_quantity(name) {
            around.measure = leaf::measure(object, around.coded, name == "Age");
        } else if name == "Address" {
            let country = object.get("country");
            around.in_us =
                country.is_none_or(|country| country.as_str().is_some_and(|text| known::is_united_states(&text)));
        }
        around
    }

    fn enter(&mut self, above: Frame, name: &str, datatype: Datatype, value: Value<'_>) -> Frame {
        let node = Node { name, datatype, value: Some(value) };
        let ceiling = self.profile.ceiling.as_ref().zip(above.ceiling);
        Frame {
            own: self.profile.rules.enter(&mut self.own, above.own, &node),
            ceiling: ceiling.map(|(rules, above)| rules.enter(&mut self.ceiling, above, &node)),
        }
    }

    fn leave(&mut self, frame: Frame) {
        leave(&mut self.own, frame.own);
        if let Some(ceiling) = frame.ceiling {
            leave(&mut self.ceiling, ceiling);
        }
    }

    fn dropped(&mut self) -> Result<bool, Refusal> {
        self.counts.dropped += 1;
        Ok(false)
    }

    /// Something that is not R4 as we know it: dropped, or the end.
    fn not_understood(&mut self) -> Result<bool, Refusal> {
        self.counts.not_understood += 1;
        if self.profile.raises { Err(Refusal::NotUnderstood) } else { Ok(false) }
    }
}

/// Whether something stands in it that may turn its meaning round (R4, "modifierExtension").
fn changes_meaning(object: Value<'_>) -> bool {
    object.get("modifierExtension").is_some()
}

/// A code of a system that the profile lists: no sentence, no control characters.
fn is_local_code(code: &str) -> bool {
    !code.is_empty() && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic())
}
