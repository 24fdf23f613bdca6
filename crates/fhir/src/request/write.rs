//! Writes of one instance: the body is of the type and id its place names; conditional forms are refused (p9).

use super::decode::Pair;
use super::query::{self, Offers};
use super::{BODY_BYTES_MAX, Interaction, InvalidKind, InvalidRequest, Payload, Raw, Returns, Write, media};
use crate::json::Document;
use crate::patch::{InvalidPatch, Patch};
use crate::{Id, ResourceType};

pub(super) fn create(kind: ResourceType, raw: &Raw<'_>, pairs: &[Pair]) -> Result<Interaction, InvalidRequest> {
    common(raw, pairs)?;
    if raw.conditions.if_match.is_some() {
        return Err(InvalidRequest::malformed("a create matches no version"));
    }
    let (resource, _) = payload(kind, raw)?;
    Ok(Interaction::Write(Write::Create { kind, resource, returns: returns(raw) }))
}

pub(super) fn update(kind: ResourceType, id: Id, raw: &Raw<'_>, pairs: &[Pair]) -> Result<Interaction, InvalidRequest> {
    common(raw, pairs)?;
    let (resource, found) = payload(kind, raw)?;
    // WR-17
    if found.as_deref() != Some(id.as_str()) {
        return Err(InvalidRequest::malformed("the resource's `id` is not the one in the address"));
    }
    let if_match = if_match(raw)?;
    Ok(Interaction::Write(Write::Update { kind, id, if_match, resource, returns: returns(raw) }))
}

pub(super) fn patch(kind: ResourceType, id: Id, raw: &Raw<'_>, pairs: &[Pair]) -> Result<Interaction, InvalidRequest> {
    common(raw, pairs)?;
    let body = raw.body.ok_or_else(no_body)?;
    too_large(body.bytes)?;
    let patch = match media::patch(body.media) {
        Some(media::PatchMedia::Json) => Patch::parse_json(body.bytes),
        Some(media::PatchMedia::FhirPath) => Patch::parse_fhirpath(body.bytes),
        None => {
            let what = "send `application/json-patch+json`, or a FHIRPath Patch as `application/fhir+json`";
            return Err(InvalidRequest::new(InvalidKind::Media, what));
        }
    };
    let patch = patch.map_err(|why| match why {
        InvalidPatch::Malformed(what) => InvalidRequest::malformed(what),
        InvalidPatch::Unsupported(what) => InvalidRequest::new(InvalidKind::Media, what),
        InvalidPatch::TooLong(what) => InvalidRequest::new(InvalidKind::TooLarge, what),
    })?;
    let if_match = if_match(raw)?;
    Ok(Interaction::Write(Write::Patch { kind, id, if_match, patch, returns: returns(raw) }))
}

pub(super) fn delete(kind: ResourceType, id: Id, raw: &Raw<'_>, pairs: &[Pair]) -> Result<Interaction, InvalidRequest> {
    common(raw, pairs)?;
    let if_match = if_match(raw)?;
    Ok(Interaction::Write(Write::Delete { kind, id, if_match }))
}

/// No parameter but the format; no condition that would make the write depend on what the caller may not see (p9).
fn common(raw: &Raw<'_>, pairs: &[Pair]) -> Result<(), InvalidRequest> {
    query::view(pairs, Offers::Format)?;
    let conditional = |name: &str| {
        Err(InvalidRequest::new(InvalidKind::Forbidden, format!("`{name}`: conditional writes are not offered")))
    };
    if raw.conditions.if_none_exist.is_some() {
        return conditional("If-None-Exist");
    }
    if raw.conditions.if_none_match.is_some() {
        return conditional("If-None-Match");
    }
    Ok(())
}

/// The body as a resource of `kind`, and the id it states.
fn payload(kind: ResourceType, raw: &Raw<'_>) -> Result<(Payload, Option<String>), InvalidRequest> {
    let body = raw.body.ok_or_else(no_body)?;
    if !media::is_fhir(body.media) {
        return Err(InvalidRequest::new(InvalidKind::Media, "send the resource as `application/fhir+json`"));
    }
    too_large(body.bytes)?;
    let document = Document::parse(body.bytes)
        .map_err(|why| InvalidRequest::malformed(format!("the body is not the JSON that is read here: {why}")))?;
    let root = document.root();
    // WR-08
    if !root.get("resourceType").is_some_and(|found| found.is_str(kind.name())) {
        return Err(InvalidRequest::malformed(format!("the body is no `{kind}`")));
    }
    let id = match root.get("id") {
        None => None,
        Some(id) => Some(
            id.as_str()
                .filter(|id| Id::fits(id))
                .ok_or_else(|| InvalidRequest::malformed("the resource's `id` is not a FHIR id"))?,
        ),
    };
    let id = id.map(std::borrow::Cow::into_owned);
    Ok((Payload(document.text().to_owned()), id))
}

fn no_body() -> InvalidRequest {
    InvalidRequest::malformed("this request needs a body")
}

pub(super) fn too_large(bytes: &[u8]) -> Result<(), InvalidRequest> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(InvalidRequest::new(InvalidKind::TooLarge, "the body is too large"));
    }
    Ok(())
}

/// One entity tag, weak or not; `*` and lists say nothing about which version is meant.
fn if_match(raw: &Raw<'_>) -> Result<Option<Id>, InvalidRequest> {
    let Some(tag) = raw.conditions.if_match else { return Ok(None) };
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    version.map(Some).ok_or_else(|| InvalidRequest::malformed("`If-Match` is one entity tag, as `W/\"3\"`"))
}

/// Each preference is judged by itself, and none travels (HD-07).
pub(super) fn returns(raw: &Raw<'_>) -> Returns {
    let mut wanted = raw.conditions.prefer.unwrap_or_default().split([',', ';']).map(str::trim);
    let found = wanted.find_map(|preference| preference.strip_prefix("return="));
    match found.map(|value| value.trim_matches('"')) {
        Some("minimal") => Returns::Minimal,
        Some("OperationOutcome") => Returns::Outcome,
        _ => Returns::Representation,
    }
}
