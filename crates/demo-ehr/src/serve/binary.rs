//! Binary: its content as it is, unless the caller asks for FHIR (R4 §2.38.1, "Serving Binary Resources").

use std::sync::Arc;

use serde_json::Value;

use crate::base64;
use crate::fault::Fault;
use crate::search;
use crate::serve::message::{Ask, Content, Reply};

/// Content type of a Binary that states none.
const UNKNOWN: &str = "application/octet-stream";

/// Answers a Binary that was read: as resource to those who ask for it, else as what it holds.
pub(super) fn answer(mut reply: Reply, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
    let Content::Resource(resource) = &reply.content else { return reply };
    if resource.get("resourceType").and_then(Value::as_str) != Some("Binary") || wants_fhir(ask) {
        return reply;
    }
    let resource = changed(Arc::clone(resource), faults);
    let text = |key: &str| resource.get(key).and_then(Value::as_str);
    let kind = text("contentType").unwrap_or(UNKNOWN).to_owned();
    let bytes = text("data").and_then(base64::decode).unwrap_or_default();
    // The header names whose it is, as the standard wants it: one more thing that a gate must not pass on.
    if let Some(context) = resource.pointer("/securityContext/reference").and_then(Value::as_str) {
        reply.headers.push(("x-security-context", context.to_owned()));
    }
    reply.content = Content::Raw(kind, bytes);
    reply
}

fn wants_fhir(ask: &Ask<'_>) -> bool {
    let format = search::pairs(ask.query).into_iter().find(|(name, _)| name == "_format").map(|(_, value)| value);
    ask.accept.is_some_and(|accept| accept.contains("fhir+json"))
        || format.is_some_and(|format| format.contains("json"))
}

/// A Binary with the content that faults give it; any other resource as it is.
pub(super) fn changed(resource: Arc<Value>, faults: &[Fault]) -> Arc<Value> {
    faults.iter().fold(resource, |resource, fault| {
        let (key, value) = match fault {
            Fault::BinaryBytes(bytes) => ("data", base64::encode(bytes)),
            Fault::BinaryType(kind) => ("contentType", kind.clone()),
            _ => return resource,
        };
        if resource.get("resourceType").and_then(Value::as_str) != Some("Binary") {
            return resource;
        }
        let mut copy = (*resource).clone();
        if let Some(members) = copy.as_object_mut() {
            members.insert(key.to_owned(), Value::String(value));
        }
        Arc::new(copy)
    })
}
