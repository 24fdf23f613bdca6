//! The paths of rules: the part of FHIRPath that rule files use, read against the element table. What is not understood
//! to the end is an error, and so is an element R4 does not have.

use fhir::ResourceType;
use fhir::elements::{self, Complex, Datatype, Primitive};

/// One alternative of a path: what must be met from the resource down to the element.
pub(crate) type Pattern = Vec<Selector>;

/// One step of a path.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Selector {
    pub(crate) what: What,
    /// `as` and `ofType`: only if it holds this.
    pub(crate) of: Option<Datatype>,
    /// `where(name = 'text')`: only if it has this text there.
    pub(crate) filter: Option<(Box<str>, Box<str>)>,
}

/// What a step takes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// A resource: of this type, or any.
    Root(Option<ResourceType>),
    /// An element of what was met before.
    Child(Box<str>),
    /// `nodesByType('…')`: anything below that holds this.
    DeepType(Datatype),
    /// `nodesByName('…')`: any element below of this name.
    DeepName(Box<str>),
}

/// Longest path read: known ones have below 200 bytes. It bounds steps as well.
const LENGTH_MAX: usize = 1_000;
/// Most alternatives: with the most rules of a file their numbers fit 16 bits.
const ALTERNATIVES_MAX: usize = 64;
/// Most brackets in one of them: a cast, a filter and two searches take four pairs.
const BRACKETS_MAX: usize = 8;

/// Reads a path with all its alternatives.
pub(crate) fn parse(text: &str) -> Result<Vec<Pattern>, String> {
    let alternatives = split(text, '|');
    if text.len() > LENGTH_MAX || alternatives.len() > ALTERNATIVES_MAX {
        return Err(format!("it is longer than {LENGTH_MAX} bytes or has more than {ALTERNATIVES_MAX} alternatives"));
    }
    let read = |alternative: &str| match alternative.trim() {
        "" => Err("an alternative is empty".to_owned()),
        long if long.matches('(').count() > BRACKETS_MAX => Err(format!("it has more than {BRACKETS_MAX} brackets")),
        alternative => Ok(expression(alternative)?.0),
    };
    alternatives.into_iter().map(read).collect()
}

/// Parts of `text` between `at`, quotes and brackets kept whole.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_u32, false);
    for (index, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            c if c == at && !quoted && depth == 0 => {
                parts.push(text.get(start..index).unwrap_or(""));
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts
}

/// The datatypes that what was read so far can hold.
type Here = Vec<Datatype>;

fn expression(text: &str) -> Result<(Pattern, Here), String> {
    // `a.b as T` binds weaker than the dots.
    if let Some((before, kind)) = text.rsplit_once(" as ").filter(|(_, kind)| is_word(kind.trim())) {
        let (mut pattern, mut here) = expression(before.trim())?;
        cast(&mut pattern, &mut here, kind.trim())?;
        return Ok((pattern, here));
    }
    let steps = split(text, '.');
    let (first, rest) = steps.split_first().ok_or("the path is empty")?;
    let first = first.trim();
    let (mut pattern, mut here) = match first.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => expression(inner.trim())?,
        None => start(first)?,
    };
    for step in rest {
        add(&mut pattern, &mut here, step.trim())?;
    }
    Ok((pattern, here))
}

fn start(text: &str) -> Result<(Pattern, Here), String> {
    let root = |kind| Selector { what: What::Root(kind), of: None, filter: None };
    if text.contains('(') {
        let (mut pattern, mut here) = (vec![root(None)], Vec::new());
        add(&mut pattern, &mut here, text)?;
        return Ok((pattern, here));
    }
    let place = |place: Option<Complex>| place.map(Datatype::Complex).into_iter().collect();
    if text == "Resource" {
        return Ok((vec![root(None)], place(Complex::datatype("DomainResource"))));
    }
    let kind: ResourceType = text.parse().map_err(|_| format!("`{text}` is no R4 resource type"))?;
    Ok((vec![root(Some(kind))], place(Complex::resource(kind))))
}

fn add(pattern: &mut Pattern, here: &mut Here, step: &str) -> Result<(), String> {
    if is_word(step) {
        let found: Here =
            children(here).filter(|element| element.name == step).map(|element| element.datatype).collect();
        if found.is_empty() {
            return Err(format!("R4 has no element `{step}` there"));
        }
        *here = found;
        pattern.push(Selector { what: What::Child(step.into()), of: None, filter: None });
        return Ok(());
    }
    let (function, argument) =
        step.strip_suffix(')').and_then(|step| step.split_once('(')).ok_or(format!("`{step}` is not understood"))?;
    match function {
        "nodesByType" => {
            let name = quoted(argument)?;
            let kind = datatype(name).filter(|kind| *kind != Datatype::Resource);
            let kind = kind.ok_or(format!("`{name}` is no R4 datatype"))?;
            *here = vec![kind];
            pattern.push(Selector { what: What::DeepType(kind), of: None, filter: None });
        }
        "nodesByName" => {
            let name = quoted(argument)?;
            if !elements::is_name(name) {
                return Err(format!("R4 has no element `{name}`"));
            }
            let all = elements::all().flat_map(Complex::elements).map(|(_, element)| element);
            *here = all.filter(|element| element.name == name).map(|element| element.datatype).collect();
            pattern.push(Selector { what: What::DeepName(name.into()), of: None, filter: None });
        }
        "as" | "ofType" => cast(pattern, here, argument.trim())?,
        "where" => {
            let (name, text) = argument.split_once('=').ok_or("`where` takes one `element = 'text'`")?;
            let (name, text) = (name.trim(), quoted(text.trim())?);
            let is_text = |datatype| match datatype {
                Datatype::Primitive(Primitive::Boolean | Primitive::Decimal | Primitive::Integer) => false,
                Datatype::Primitive(Primitive::PositiveInt | Primitive::UnsignedInt) => false,
                Datatype::Primitive(_) => true,
                _ => false,
            };
            // By its name on the wire, so that a choice, which has another, is not looked for in vain.
            if !is_word(name)
                || !places(here).filter_map(|place| place.element(name)).any(|found| is_text(found.datatype))
            {
                return Err(format!("R4 has no element `{name}` with a text there"));
            }
            let last = pattern.last_mut().ok_or("the path is empty")?;
            if last.filter.replace((name.into(), text.into())).is_some() {
                return Err("`where` can stand only once at an element".to_owned());
            }
        }
        _ => return Err(format!("`{function}` is not supported")),
    }
    Ok(())
}

fn cast(pattern: &mut Pattern, here: &mut Here, name: &str) -> Result<(), String> {
    let kind = datatype(name).filter(|kind| here.contains(kind));
    let kind = kind.ok_or(format!("it is never a `{name}` in R4"))?;
    match pattern.last_mut() {
        Some(Selector { what: What::Child(_) | What::DeepName(_), of: of @ None, .. }) => *of = Some(kind),
        _ => return Err("`as` and `ofType` stand behind an element".to_owned()),
    }
    *here = vec![kind];
    Ok(())
}

fn places(here: &Here) -> impl Iterator<Item = Complex> {
    here.iter().filter_map(|datatype| match datatype {
        Datatype::Complex(place) => Some(*place),
        _ => None,
    })
}

fn children(here: &Here) -> impl Iterator<Item = &'static elements::Element> {
    places(here).flat_map(Complex::elements).map(|(_, element)| element)
}

fn datatype(name: &str) -> Option<Datatype> {
    let name = name.strip_prefix("FHIR.").unwrap_or(name);
    let complex = || Complex::datatype(name).filter(|_| !matches!(name, "DomainResource" | "BackboneElement"));
    Primitive::named(name).map(Datatype::Primitive).or_else(|| complex().map(Datatype::Complex))
}

/// What stands between single quotes.
fn quoted(text: &str) -> Result<&str, String> {
    let inner = text.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    inner.filter(|inner| !inner.contains(['\'', '\\'])).ok_or(format!("`{text}` should be one text in single quotes"))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[test]
fn paths_are_understood_to_the_end_or_refused() {
    for text in [
        "Resource",
        "Patient",
        "Resource.id",
        "Resource.meta.lastUpdated",
        "Patient.address",
        "Patient.address.state | Patient.address.country",
        "nodesByType('HumanName')",
        "nodesByType('Address').country",
        "nodesByName('birthDate')",
        "Patient.contact.nodesByType('HumanName').family",
        "Observation.value",
        "Observation.value as Quantity",
        "(Observation.value as Quantity).value",
        "Observation.value.as(Quantity).value",
        "Observation.value.ofType(Quantity).code | Observation.component.value.ofType(integer)",
        "FamilyMemberHistory.condition.onset as Age",
        "Patient.telecom.where(system = 'phone')",
        "Patient.identifier.where(system='http://a.b/c|d').value",
        "nodesByType('Extension').where(url = 'x').value",
        "Bundle.entry.fullUrl",
        "Observation.component.referenceRange.low",
    ] {
        assert!(parse(text).is_ok(), "`{text}`: {:?}", parse(text));
    }
    assert!(
        parse(&"(".repeat(1_000)).is_err() && parse(&format!("{}Patient{}", "(".repeat(9), ")".repeat(9))).is_err()
    );
    for text in [
        "",
        "patient",
        "Patient.adress",
        "Patient.address |",
        "Patient..name",
        "Resource.name",
        "nodesByType('Humanname')",
        "nodesByType('Patient')",
        "nodesByType('BackboneElement')",
        "nodesByType(HumanName)",
        "nodesByName('nmae')",
        "Observation.valueQuantity",
        "Observation.value as Address",
        "Patient as Patient",
        "Patient.name.first()",
        "Patient.name[0]",
        "Patient.descendants()",
        "Patient.telecom.where(system != 'phone')",
        "Patient.telecom.where(system = 'a' or use = 'b')",
        "Patient.telecom.where(nmae = 'a')",
        "Patient.telecom.where(rank = '1')",
        "Patient.extension.where(value = 'x')",
        "%resource.id",
        "Patient.name)",
    ] {
        assert!(parse(text).is_err(), "`{text}`");
    }
}
