//! What a path names, with its method: a type, an instance, a version, the system, or something that is not offered.

use super::{ExportOf, InvalidKind, InvalidRequest, Method, Raw, bulk, decode};
use crate::{Id, ResourceType};

/// A place together with what is done there.
pub(super) enum Target {
    Capabilities,
    /// A search by GET, or a page of one.
    Type(ResourceType),
    /// A search by POST.
    Form(ResourceType),
    Instance(ResourceType, Id),
    Version(ResourceType, Id, Id),
    History(ResourceType, Id),
    /// A search in the compartment of this patient.
    Compartment(Id, ResourceType),
    Everything(Id),
    LastN(ResourceType),
    Binary(Id),
    Create(ResourceType),
    Update(ResourceType, Id),
    Patch(ResourceType, Id),
    Delete(ResourceType, Id),
    /// A batch or transaction.
    System,
    /// A kick-off of an export.
    Export(ExportOf),
    /// A job: how far it is.
    Status(String),
    /// A job: its end.
    Cancel(String),
    /// One file of a job.
    File(String, u32),
}

const READS: &str = "GET, HEAD";
const SEARCHES: &str = "POST";
const TYPE: &str = "GET, HEAD, POST";
const INSTANCE: &str = "GET, HEAD, PUT, PATCH, DELETE";

pub(super) fn read(raw: &Raw<'_>) -> Result<Target, InvalidRequest> {
    let method = raw.method;
    let segments = decode::segments(raw.path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    // Operations first and for every method: what is not offered is 403 in all its forms (S1-13, p7).
    if segments.iter().any(|segment| segment.starts_with('$')) {
        return operation(&segments, method);
    }
    match segments.as_slice() {
        [] if method == Method::Post => Ok(Target::System),
        [] if matches!(method, Method::Get | Method::Head) => {
            Err(forbidden("searches of the whole system are not offered"))
        }
        [] => Err(InvalidRequest::method("POST")),
        ["metadata"] if reads(method) => Ok(Target::Capabilities),
        ["metadata"] => Err(InvalidRequest::method(READS)),
        ["_history"] => Err(wide_history(method)),
        ["_search"] if method == Method::Post => Err(forbidden("searches of the whole system are not offered")),
        [first, rest @ ..] => below_type(first, rest, raw),
    }
}

fn reads(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}

/// The operations that exist here; whether a task may use them is decided later (S1-36).
fn operation(segments: &[&str], method: Method) -> Result<Target, InvalidRequest> {
    match segments {
        ["Patient", id, "$everything"] if reads(method) => match id.parse() {
            Ok(id) => Ok(Target::Everything(id)),
            Err(_) => Err(InvalidRequest::malformed("the path holds something that is no FHIR id")),
        },
        ["Observation", "$lastn"] if reads(method) => Ok(Target::LastN(ResourceType::OBSERVATION)),
        // GET alone: HEAD would begin a job nobody hears of, and Parameters in a POST would be a second way to say the same.
        ["Group", id, "$export"] if method == Method::Get => match id.parse() {
            Ok(id) => Ok(Target::Export(ExportOf::Group(id))),
            Err(_) => Err(InvalidRequest::malformed("the path holds something that is no FHIR id")),
        },
        ["Patient", "$export"] if method == Method::Get => Ok(Target::Export(ExportOf::AllPatients)),
        ["$bulk", job, below @ ..] => job_at(job, below, method),
        _ => Err(forbidden("this operation is not offered")),
    }
}

/// A job or one of its files. What is not named as one is named here is the same as one that does not exist.
fn job_at(job: &str, below: &[&str], method: Method) -> Result<Target, InvalidRequest> {
    let absent = || not_found("no such resource for this session");
    if !bulk::is_job(job) {
        return Err(absent());
    }
    match (below, method) {
        ([], Method::Get) => Ok(Target::Status(job.to_owned())),
        ([], Method::Delete) => Ok(Target::Cancel(job.to_owned())),
        ([], _) => Err(InvalidRequest::method("GET, DELETE")),
        ([number], Method::Get) => match bulk::file_number(number) {
            Some(number) => Ok(Target::File(job.to_owned(), number)),
            None => Err(absent()),
        },
        ([_], _) => Err(InvalidRequest::method("GET")),
        _ => Err(absent()),
    }
}

fn below_type(first: &str, rest: &[&str], raw: &Raw<'_>) -> Result<Target, InvalidRequest> {
    let method = raw.method;
    let Ok(kind) = first.parse::<ResourceType>() else {
        // A list of types or other nonsense is not the name of a place (SR-51).
        let is_name = first.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        return Err(if is_name {
            not_found("no such resource type")
        } else {
            InvalidRequest::malformed("no resource type")
        });
    };
    match rest {
        [] => at_type(kind, raw),
        ["_history"] => Err(wide_history(method)),
        // GET does not search here, although some servers run it (PS-13).
        ["_search"] if reads(method) => Err(not_found("search by GET is on the type itself")),
        ["_search"] if method == Method::Post => searchable(kind).map(Target::Form),
        ["_search"] => Err(InvalidRequest::method(SEARCHES)),
        [id, below @ ..] => {
            let id: Id =
                id.parse().map_err(|_| InvalidRequest::malformed("the path holds something that is no FHIR id"))?;
            below_instance(kind, id, below, method)
        }
    }
}

/// On a type: search, create, and the conditional forms, which are refused whether or not they name a condition (p9).
fn at_type(kind: ResourceType, raw: &Raw<'_>) -> Result<Target, InvalidRequest> {
    match raw.method {
        Method::Get | Method::Head => searchable(kind).map(Target::Type),
        Method::Post => Ok(Target::Create(kind)),
        Method::Delete => Err(forbidden("deleting by a search is not offered")),
        Method::Put | Method::Patch if raw.query.is_some_and(|query| !query.is_empty()) => {
            Err(forbidden("conditional writes are not offered"))
        }
        _ => Err(InvalidRequest::method(TYPE)),
    }
}

/// A Binary has no owner to search by: each is had through what links to it.
fn searchable(kind: ResourceType) -> Result<ResourceType, InvalidRequest> {
    if kind == ResourceType::BINARY { Err(forbidden("Binary cannot be searched")) } else { Ok(kind) }
}

fn below_instance(kind: ResourceType, id: Id, below: &[&str], method: Method) -> Result<Target, InvalidRequest> {
    match below {
        [] => match method {
            Method::Get | Method::Head if kind == ResourceType::BINARY => Ok(Target::Binary(id)),
            Method::Get | Method::Head => Ok(Target::Instance(kind, id)),
            Method::Put => Ok(Target::Update(kind, id)),
            Method::Patch => Ok(Target::Patch(kind, id)),
            Method::Delete => Ok(Target::Delete(kind, id)),
            _ => Err(InvalidRequest::method(INSTANCE)),
        },
        ["_history", ..] if kind == ResourceType::BINARY => Err(forbidden("Binary has no history here")),
        ["_history"] if reads(method) => Ok(Target::History(kind, id)),
        ["_history"] => Err(past(method)),
        ["_history", version] => match version.parse() {
            Ok(version) if reads(method) => Ok(Target::Version(kind, id, version)),
            Ok(_) => Err(past(method)),
            Err(_) => Err(InvalidRequest::malformed("no version is named so")),
        },
        ["_history", ..] => Err(InvalidRequest::malformed("no version and no history is named so")),
        [other, rest @ ..] => in_compartment(kind, id, other, rest, method),
    }
}

/// `Patient/{id}/Type` and its `_search`; every other compartment reaches beyond one patient (CP-05 … CP-09).
fn in_compartment(
    kind: ResourceType,
    id: Id,
    other: &str,
    rest: &[&str],
    method: Method,
) -> Result<Target, InvalidRequest> {
    if other == "*" {
        return Err(forbidden("searches over all types of a compartment are not offered"));
    }
    let Ok(inner) = other.parse::<ResourceType>() else {
        return Err(not_found("nothing is named so below an instance"));
    };
    if kind != ResourceType::PATIENT {
        return Err(forbidden("only a patient's compartment can be searched"));
    }
    match rest {
        [] if reads(method) => searchable(inner).map(|inner| Target::Compartment(id, inner)),
        [] => Err(InvalidRequest::method(READS)),
        ["_search"] if method == Method::Post => searchable(inner).map(|inner| Target::Compartment(id, inner)),
        ["_search"] => Err(InvalidRequest::method(SEARCHES)),
        _ => Err(not_found("nothing is named so below an instance")),
    }
}

/// The history of a type or of the system is everybody's: 403 where the method would fit, 405 where it would not
/// (VR-11 … VR-14).
fn wide_history(method: Method) -> InvalidRequest {
    match method {
        Method::Get | Method::Head | Method::Delete => forbidden("the history of all instances is not offered"),
        _ => InvalidRequest::method(READS),
    }
}

/// The past is not changed (VR-20, WR-33).
fn past(method: Method) -> InvalidRequest {
    match method {
        Method::Delete => forbidden("versions are not deleted"),
        _ => InvalidRequest::method(READS),
    }
}

fn forbidden(what: &str) -> InvalidRequest {
    InvalidRequest::new(InvalidKind::Forbidden, what)
}

fn not_found(what: &str) -> InvalidRequest {
    InvalidRequest::new(InvalidKind::NotFound, what)
}
