//! References: the text of `Reference.reference` by its exact grammar, and where references stand (R4 "References").

use crate::{Id, ResourceType};

pub use crate::structure::Place;

/// What the text of a reference says. Nothing is trimmed, decoded or guessed (CT-10).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reference<'a> {
    /// `Type/id` or `Type/id/_history/version`.
    Relative {
        /// The type named.
        kind: ResourceType,
        /// The id, by the id grammar.
        id: &'a str,
        /// The version, by the id grammar.
        version: Option<&'a str>,
    },
    /// The same below an `http` or `https` base.
    Absolute {
        /// Everything before `/Type`, exactly as written.
        base: &'a str,
        /// The type named.
        kind: ResourceType,
        /// The id, by the id grammar.
        id: &'a str,
        /// The version, by the id grammar.
        version: Option<&'a str>,
    },
    /// `#id`: a contained resource; `#` alone is the container.
    Fragment(&'a str),
    /// Anything else: `urn:uuid:…`, a conditional reference, sloppy data.
    Other(&'a str),
}

/// Reads the text of a reference.
#[must_use]
pub fn parse(text: &str) -> Reference<'_> {
    if let Some(fragment) = text.strip_prefix('#') {
        return if fragment.is_empty() || Id::fits(fragment) {
            Reference::Fragment(fragment)
        } else {
            Reference::Other(text)
        };
    }
    // From the end, segment by segment: `id`, or `version` and `_history` and `id`.
    let Some((above, last)) = cut(text) else { return Reference::Other(text) };
    let (above, id, version) = match cut(above) {
        Some((above, "_history")) => match cut(above) {
            Some((above, id)) => (above, id, Some(last)),
            None => return Reference::Other(text),
        },
        _ => (above, last, None),
    };
    if !Id::fits(id) || version.is_some_and(|version| !Id::fits(version)) {
        return Reference::Other(text);
    }
    let (base, name) = cut(above).map_or((None, above), |(base, name)| (Some(base), name));
    let Ok(kind) = name.parse::<ResourceType>() else { return Reference::Other(text) };
    match base {
        None => Reference::Relative { kind, id, version },
        Some(base) if is_base(base) => Reference::Absolute { base, kind, id, version },
        Some(_) => Reference::Other(text),
    }
}

/// The last segment of a path and what stands before it.
fn cut(text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == b'/')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// An `http(s)` URL with a host, no query, no fragment and no segment that is empty, dots or a version's.
fn is_base(base: &str) -> bool {
    let Some(rest) = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")) else { return false };
    rest.split('/').all(|segment| !matches!(segment, "" | "." | ".." | "_history"))
        && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'@' | b'"' | b'<' | b'>'))
}

/// Whether R4 has a Reference at `path` of a `kind`. Extensions are followed, `contained` is not: see [`Place`].
#[must_use]
pub fn is_reference(kind: ResourceType, path: &[&str]) -> bool {
    at(kind, path).is_reference()
}

/// Whether R4 has a Reference there that may point to a Patient.
#[must_use]
pub fn may_be_patient(kind: ResourceType, path: &[&str]) -> bool {
    at(kind, path).may_be_patient()
}

fn at(kind: ResourceType, path: &[&str]) -> Place {
    path.iter().fold(Place::root(kind), |place, name| place.child(name))
}

#[test]
fn ct_10_references_are_grammar_exact() {
    let patient = |id, version| Reference::Relative { kind: ResourceType::PATIENT, id, version };
    for (text, expected) in [
        ("Patient/P1", patient("P1", None)),
        ("Patient/P1/_history/3", patient("P1", Some("3"))),
        ("#p", Reference::Fragment("p")),
        ("#", Reference::Fragment("")),
        (
            "https://ehr/r4/Patient/P1",
            Reference::Absolute { base: "https://ehr/r4", kind: ResourceType::PATIENT, id: "P1", version: None },
        ),
    ] {
        assert_eq!(parse(text), expected, "`{text}`");
    }
    for text in [
        "",
        "P1",
        "Patient",
        "Patient/",
        "Patient/P1/",
        " Patient/P1",
        "Patient/P1 ",
        "patient/P1",
        "Patient/P1?x",
        "Patient/P1#x",
        "Patient/P 1",
        "/Patient/P1",
        "x/Patient/P1",
        "Patient/P1/_history/",
        "Patient/P1/_history",
        "Patient/P1/_history/1/2",
        "Patient/P1/_history/1/_history/2",
        "Patient/%501",
        "Patient//P1",
        "Patient/..",
        "Patient?identifier=a|b",
        "urn:uuid:0",
        "https:///Patient/P1",
        "https://Patient/P1",
        "https://ehr//r4/Patient/P1",
        "https://ehr/../r4/Patient/P1",
        "https://a@ehr/r4/Patient/P1",
        "ftp://ehr/Patient/P1",
        "https://ehr?x=/Patient/P1",
        "#a b",
        "Patient/P1/Observation/O1/",
        "_history/Patient/P1",
        "_history/P1",
        "/_history/1",
        "P1/_history/1",
        "Patient/_history/1",
        "https://ehr/_history/Patient/P1",
        "https://ehr/_history/x/Patient/P1",
        "https://ehr/r4/Patient/P1/_history/1/2",
    ] {
        assert_eq!(parse(text), Reference::Other(text), "`{text}`");
    }
}
