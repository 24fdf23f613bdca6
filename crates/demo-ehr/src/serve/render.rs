//! Writes a resource or a Bundle as text, with the faults that live inside the text.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::fault::{Fault, Place};
use crate::search::{Mode, tag_subsetted};
use crate::serve::binary;
use crate::serve::message::{Bundle, Content, Entry};
use crate::time;

/// The bytes of an answer.
pub(crate) fn text(content: &Content, base: &str, faults: &[Fault]) -> Vec<u8> {
    match content {
        Content::Plain(value) => value.to_string().into_bytes(),
        Content::Raw(_, raw) => raw.clone(),
        Content::Empty | Content::Resource(_) | Content::Bundle(_) => {
            json_text(content, base, faults).map_or_else(Vec::new, |body| bytes(body, faults))
        }
    }
}

/// Content as JSON; none, when there is none.
fn json_text(content: &Content, base: &str, faults: &[Fault]) -> Option<String> {
    match content {
        Content::Empty | Content::Raw(..) => None,
        Content::Plain(value) => Some(value.to_string()),
        Content::Resource(value) => Some(resource(value, faults)),
        Content::Bundle(inner) => Some(bundle(inner, base, faults)),
    }
}

fn bundle(bundle: &Bundle, base: &str, faults: &[Fault]) -> String {
    let mut kind = bundle.kind;
    let mut total = bundle.total.map(|total| total as u64);
    let mut self_link = bundle.self_link.as_deref();
    let mut next_link = bundle.next_link.as_deref();
    for fault in faults {
        match fault {
            Fault::BundleType(other) => kind = other,
            Fault::Total(lie) => total = Some(*lie),
            Fault::SelfLink(url) => self_link = Some(url),
            Fault::NextLink(url) => next_link = Some(url),
            _ => {}
        }
    }
    let mut out = format!(
        "{{\"resourceType\":\"Bundle\",\"id\":\"{}\",\"meta\":{{\"lastUpdated\":\"{}\"}},\"type\":{}",
        bundle.id,
        time::instant(bundle.now),
        json!(kind)
    );
    if let Some(total) = total {
        out.push_str(&format!(",\"total\":{total}"));
    }
    let links = [("self", self_link), ("next", next_link)];
    let links: Vec<Value> =
        links.iter().filter_map(|(relation, url)| Some(json!({"relation": relation, "url": (*url)?}))).collect();
    if !links.is_empty() {
        out.push_str(&format!(",\"link\":{}", Value::Array(links)));
    }
    let mut entries: Vec<String> = bundle.entries.iter().map(|own| entry(own, base, faults)).collect();
    if let Some((copied, _)) = &bundle.flood {
        entries.push(copy(copied, &"0".repeat(COPY_MARK.len()), base, faults));
    }
    if !entries.is_empty() {
        out.push_str(&format!(",\"entry\":[{}]", entries.join(",")));
    }
    out.push('}');
    out
}

fn entry(entry: &Entry, base: &str, faults: &[Fault]) -> String {
    let mut name = entry.name.as_deref();
    let mut modes = true;
    for fault in faults {
        match fault {
            Fault::FullUrl(other) => name = name.and(Some(other)),
            Fault::MissingSearchMode => modes = false,
            _ => {}
        }
    }
    let mode = entry.mode.filter(|_| modes).map(|mode| match mode {
        Mode::Match => "{\"mode\":\"match\"}".to_owned(),
        Mode::Include => "{\"mode\":\"include\"}".to_owned(),
    });
    let members = [
        ("fullUrl", name.map(|name| json!(format!("{base}/{name}")).to_string())),
        ("resource", json_text(&entry.content, base, faults)),
        ("search", mode),
        ("request", entry.request.as_ref().map(Value::to_string)),
        ("response", entry.response.as_ref().map(Value::to_string)),
    ];
    let members: Vec<String> =
        members.into_iter().filter_map(|(key, text)| Some(format!("\"{key}\":{}", text?))).collect();
    format!("{{{}}}", members.join(","))
}

/// Stands for the number in the entries of a flood.
const COPY_MARK: &str = "~~~~~~~~~~";

/// One entry of a flood under an id of its own.
fn copy(copied: &Arc<Value>, number: &str, base: &str, faults: &[Fault]) -> String {
    let mut copied = (**copied).clone();
    if let Some(members) = copied.as_object_mut() {
        members.insert("id".to_owned(), json!(format!("pad-{number}")));
    }
    entry(&Entry::found(Arc::new(copied), Some(Mode::Match)), base, faults)
}

/// The text of a flood's further entries: what stands before, between and after the places of their number.
pub(crate) fn copies(copied: &Arc<Value>, base: &str, faults: &[Fault]) -> Vec<String> {
    format!(",{}", copy(copied, COPY_MARK, base, faults)).split(COPY_MARK).map(str::to_owned).collect()
}

/// Members that say whose a resource is, in the types this upstream holds.
const OWNERS: [&str; 4] = ["subject", "patient", "beneficiary", "for"];

/// Makes a resource somebody's.
pub(crate) fn own(members: &mut Map<String, Value>, reference: &Value) {
    for owner in OWNERS {
        if let Some(member) = members.get_mut(owner) {
            member.clone_from(reference);
        }
    }
}

fn resource(value: &Arc<Value>, faults: &[Fault]) -> String {
    let changed = faults.iter().fold(binary::changed(Arc::clone(value), faults), change);
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
        Fault::ForeignSubject(reference) => edit(&|members| own(members, &json!({ "reference": reference }))),
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
        // The narrative is written later, while the body is sent.
        Fault::LongNarrative(_) => edit(&|members| drop(members.remove("text"))),
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
