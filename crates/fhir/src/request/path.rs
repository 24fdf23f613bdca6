//! What a path names: a type, an instance, the metadata, or something that is not offered.

use super::{InvalidKind, InvalidRequest, Method, decode};
use crate::{Id, ResourceType};

/// A place that takes GET.
pub(super) enum Target {
    Capabilities,
    Type(ResourceType),
    Instance(ResourceType, Id),
}

pub(super) fn read(path: &str, method: Method) -> Result<Target, InvalidRequest> {
    let segments = decode::segments(path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    // Operations first and for every method: `$export` is 403 in all its forms (S1-13, p7).
    if segments.iter().any(|segment| segment.starts_with('$')) {
        return Err(forbidden("operations are not offered"));
    }
    match segments.as_slice() {
        [] => Err(forbidden("requests to the whole system are not offered")),
        ["metadata"] => Ok(Target::Capabilities),
        ["_history"] => Err(history(method)),
        ["_search"] if method == Method::Post => Err(forbidden("requests to the whole system are not offered")),
        [first, rest @ ..] => below_type(first, rest, method),
    }
}

fn below_type(first: &str, rest: &[&str], method: Method) -> Result<Target, InvalidRequest> {
    let Ok(kind) = first.parse::<ResourceType>() else {
        // A list of types or other nonsense is not the name of a place (SR-51).
        let is_name = first.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        return Err(if is_name {
            not_found("no such resource type")
        } else {
            InvalidRequest::malformed("no resource type")
        });
    };
    if kind == ResourceType::BINARY {
        return Err(forbidden("Binary is not offered"));
    }
    match rest {
        [] => Ok(Target::Type(kind)),
        ["_history"] => Err(history(method)),
        // GET does not search here, although some servers run it (PS-13).
        ["_search"] if matches!(method, Method::Get | Method::Head) => {
            Err(not_found("search by GET is on the type itself"))
        }
        ["_search"] => Err(InvalidRequest::method()),
        [id, below @ ..] => {
            let id: Id =
                id.parse().map_err(|_| InvalidRequest::malformed("the path holds something that is no FHIR id"))?;
            below_instance(kind, id, below, method)
        }
    }
}

fn below_instance(kind: ResourceType, id: Id, below: &[&str], method: Method) -> Result<Target, InvalidRequest> {
    match below {
        [] => Ok(Target::Instance(kind, id)),
        ["_history"] => Err(history(method)),
        ["_history", version] if Id::fits(version) => Err(history(method)),
        ["_history", ..] => Err(InvalidRequest::malformed("no version and no history is named so")),
        [other, ..] if *other == "*" || other.parse::<ResourceType>().is_ok() => {
            Err(forbidden("searches below an instance are not offered"))
        }
        _ => Err(not_found("nothing is named so below an instance")),
    }
}

/// History is not offered: 403 where the method would fit, 405 where it would not (VR-11, VR-20, WR-33).
fn history(method: Method) -> InvalidRequest {
    match method {
        Method::Get | Method::Head | Method::Delete => forbidden("versions and histories are not offered"),
        _ => InvalidRequest::method(),
    }
}

fn forbidden(what: &str) -> InvalidRequest {
    InvalidRequest::new(InvalidKind::Forbidden, what)
}

fn not_found(what: &str) -> InvalidRequest {
    InvalidRequest::new(InvalidKind::NotFound, what)
}
