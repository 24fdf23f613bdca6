//! `_elements` and `_summary`, applied here to a resource that was judged whole (EL-01, EL-03, EL-05).

use fhir::ResourceType;
use fhir::json::{Value, quote_into};
use fhir::request::{Summary, View};
use fhir::summary;

use super::edit::Edits;

const SUBSETTED: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

/// Suffixes of choice elements, one datatype per line: `_elements=value` means `valueQuantity` too.
const CHOICES: &str = include_str!("choices.txt");

/// What a view keeps of the top-level elements.
enum Keep<'v> {
    AllBut(&'static str),
    Only { named: &'v [String], listed: &'static [&'static str], mandatory: &'static [&'static str] },
}

impl Keep<'_> {
    fn keeps(&self, name: &str) -> bool {
        // A primitive's extensions stand beside it under `_name`.
        let name = name.strip_prefix('_').unwrap_or(name);
        match self {
            Self::AllBut(left_out) => name != *left_out,
            Self::Only { named, listed, mandatory } => {
                matches!(name, "resourceType" | "id" | "meta" | "implicitRules" | "modifierExtension")
                    || listed.contains(&name)
                    || mandatory.contains(&name)
                    || named.iter().any(|wanted| is_choice_of(name, wanted))
            }
        }
    }
}

fn is_choice_of(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|suffix| suffix.is_empty() || CHOICES.lines().any(|known| known == suffix))
}

/// Appends `resource` with its edits, as far as `view` shows it.
pub(super) fn write(
    out: &mut Vec<u8>,
    kind: ResourceType,
    view: &View,
    resource: Value<'_>,
    edits: &Edits,
    text: &str,
) {
    let only = |named, listed| Keep::Only { named, listed, mandatory: summary::mandatory(kind) };
    let keep = match (&view.elements, view.summary) {
        (Some(named), _) => only(named.as_slice(), &[]),
        (None, Some(Summary::True)) => only(&[], summary::summary(kind)),
        (None, Some(Summary::Text)) => only(&[], &["text"]),
        (None, Some(Summary::Data)) => Keep::AllBut("text"),
        (None, None | Some(Summary::False)) => {
            edits.apply(out, text, resource.span());
            return;
        }
    };
    out.push(b'{');
    let mut first = true;
    let mut comma = |out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
    };
    let mut marked = false;
    for (key, value) in resource.members() {
        let name = key.text();
        if !keep.keeps(&name) {
            continue;
        }
        comma(out);
        quote_into(out, &name);
        out.push(b':');
        if name == "meta" && value.is_object() {
            marked = true;
            write_meta(out, value, edits, text);
        } else {
            edits.apply(out, text, value.span());
        }
    }
    if !marked {
        comma(out);
        out.extend(format!(r#""meta":{{"tag":[{SUBSETTED}]}}"#).into_bytes());
    }
    out.push(b'}');
}

/// `meta` with the tag that says something was left out.
fn write_meta(out: &mut Vec<u8>, meta: Value<'_>, edits: &Edits, text: &str) {
    out.push(b'{');
    for (key, value) in meta.members().filter(|(key, _)| !key.is("tag")) {
        quote_into(out, &key.text());
        out.push(b':');
        edits.apply(out, text, value.span());
        out.push(b',');
    }
    out.extend(*br#""tag":["#);
    for tag in meta.get("tag").iter().flat_map(Value::elements) {
        if !tag.get("code").is_some_and(|code| code.is_str("SUBSETTED")) {
            edits.apply(out, text, tag.span());
            out.push(b',');
        }
    }
    out.extend(SUBSETTED.bytes());
    out.extend(*b"]}");
}
