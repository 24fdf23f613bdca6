//! Writes a resource or a Bundle as text, with the faults that live inside the text.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::fault::{Fault, Place};
use crate::search::{Mode, tag_subsetted};
use crate::serve::route::Content;
use crate::time;

/// A Bundle before it is text.
#[derive(Debug, Default)]
pub(crate) struct Searchset {
    pub(crate) entries: Vec<(Arc<Value>, Option<Mode>)>,
    pub(crate) total: Option<usize>,
    pub(crate) self_link: String,
    pub(crate) next_link: Option<String>,
    pub(crate) id: String,
    pub(crate) now: i64,
}

/// The text of an answer.
pub(crate) fn text(content: &Content, base: &str, faults: &[Fault]) -> Vec<u8> {
    let body = match content {
        Content::Empty => return Vec::new(),
        Content::Plain(value) => return value.to_string().into_bytes(),
        Content::Resource(value) => resource(value, faults),
        Content::Bundle(bundle) => searchset(bundle, base, faults),
    };
    bytes(body, faults)
}

fn searchset(bundle: &Searchset, base: &str, faults: &[Fault]) -> String {
    let mut kind = "searchset";
    let mut total = bundle.total.map(|total| total as u64);
    let mut self_link = bundle.self_link.as_str();
    let mut next_link = bundle.next_link.as_deref();
    let mut full_url_of = None;
    let mut modes = true;
    for fault in faults {
        match fault {
            Fault::BundleType(other) => kind = other,
            Fault::Total(lie) => total = Some(*lie),
            Fault::SelfLink(url) => self_link = url,
            Fault::NextLink(url) => next_link = Some(url),
            Fault::FullUrl(other) => full_url_of = Some(other.as_str()),
            Fault::MissingSearchMode => modes = false,
            _ => {}
        }
    }
    let mut links = vec![json!({"relation": "self", "url": self_link})];
    links.extend(next_link.map(|url| json!({"relation": "next", "url": url})));
    let mut out = format!(
        "{{\"resourceType\":\"Bundle\",\"id\":\"{}\",\"meta\":{{\"lastUpdated\":\"{}\"}},\"type\":{},",
        bundle.id,
        time::instant(bundle.now),
        json!(kind)
    );
    if let Some(total) = total {
        out.push_str(&format!("\"total\":{total},"));
    }
    out.push_str(&format!("\"link\":{}", Value::Array(links)));
    if !bundle.entries.is_empty() {
        let entries: Vec<String> = bundle
            .entries
            .iter()
            .map(|(value, mode)| {
                let own = format!("{}/{}", name(value, "resourceType"), name(value, "id"));
                let url = format!("{base}/{}", full_url_of.unwrap_or(&own));
                let search = match mode {
                    Some(Mode::Match) if modes => ",\"search\":{\"mode\":\"match\"}",
                    Some(Mode::Include) if modes => ",\"search\":{\"mode\":\"include\"}",
                    _ => "",
                };
                format!("{{\"fullUrl\":{},\"resource\":{}{search}}}", json!(url), resource(value, faults))
            })
            .collect();
        out.push_str(&format!(",\"entry\":[{}]", entries.join(",")));
    }
    out.push('}');
    out
}

fn name<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Members that say whose a resource is, in the types this upstream holds.
const OWNERS: [&str; 4] = ["subject", "patient", "beneficiary", "for"];

fn resource(value: &Arc<Value>, faults: &[Fault]) -> String {
    let changed = faults.iter().fold(Arc::clone(value), change);
    faults.iter().fold(changed.to_string(), write)
}

/// Faults that are visible in the tree.
fn change(value: Arc<Value>, fault: &Fault) -> Arc<Value> {
    let edit = |edit: &dyn Fn(&mut Map<String, Value>)| {
        let mut copy = (*value).clone();
        if let Some(members) = copy.as_object_mut() {
            edit(members);
        }
        Arc::new(copy)
    };
    match fault {
        Fault::ForeignSubject(reference) => edit(&|members| {
            for owner in OWNERS {
                if let Some(member) = members.get_mut(owner) {
                    *member = json!({ "reference": reference });
                }
            }
        }),
        Fault::ContainedPatient(id) => edit(&|members| {
            let patient =
                json!({"resourceType": "Patient", "id": id, "name": [{"family": "Contained", "given": ["Foreign"]}]});
            let contained = members.entry("contained").or_insert_with(|| json!([]));
            if let Some(items) = contained.as_array_mut() {
                items.push(patient);
            }
        }),
        Fault::Subsetted => edit(&|members| {
            OWNERS.iter().for_each(|owner| drop(members.remove(*owner)));
            tag_subsetted(members);
        }),
        Fault::EtagOnly => edit(&|members| drop(members.remove("meta"))),
        _ => value,
    }
}

/// Faults that only exist in the text.
fn write(text: String, fault: &Fault) -> String {
    match fault {
        Fault::DuplicateKey { key, value, place } => member(&text, key, &value.to_string(), *place),
        Fault::DeepNesting(depth) => {
            let nested = format!("{}{}{}", "{\"a\":[".repeat(*depth), "1", "]}".repeat(*depth));
            member(&text, "extension", &format!("[{{\"url\":\"x\",\"valueAny\":{nested}}}]"), Place::Last)
        }
        Fault::NumberText(digits) => {
            member(&text, "valueQuantity", &format!("{{\"value\":{digits},\"unit\":\"mmol/L\"}}"), Place::Last)
        }
        _ => text,
    }
}

/// Writes one more member into the outermost object, key and value exactly as given.
fn member(text: &str, key: &str, value: &str, place: Place) -> String {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    match place {
        Place::First => format!("{{\"{key}\":{value},{inner}}}"),
        Place::Last => format!("{{{inner},\"{key}\":{value}}}"),
    }
}

/// Faults of the body as a whole.
fn bytes(text: String, faults: &[Fault]) -> Vec<u8> {
    let mut body = text.into_bytes();
    for fault in faults {
        match fault {
            Fault::MalformedJson => body = b"{\"resourceType\": \"Observation\", \"id\": oops,, }".to_vec(),
            Fault::TruncatedJson(length) => body.truncate(*length),
            Fault::ByteOrderMark => body = [b"\xef\xbb\xbf".as_slice(), &body].concat(),
            Fault::InvalidUtf8 => {
                let last = body.pop();
                body.extend_from_slice(b",\"language\":\"\xc3\x28\xff\"");
                body.extend(last);
            }
            _ => {}
        }
    }
    body
}
