//! Formats: JSON is the only one (FM-01, FM-02, FM-03).

use super::{ACCEPT_BYTES_MAX, InvalidKind, InvalidRequest};

/// Whether the `Accept` header takes JSON; absent, it takes anything.
pub(super) fn check_accept(accept: Option<&str>) -> Result<(), InvalidRequest> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(()) };
    if accept.len() <= ACCEPT_BYTES_MAX && accept.split(',').any(takes_json) {
        return Ok(());
    }
    Err(refused("`Accept`"))
}

/// Whether the `Accept` header takes NDJSON; absent, it takes anything.
pub(super) fn check_ndjson(accept: Option<&str>) -> Result<(), InvalidRequest> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(()) };
    let takes = |range: &str| {
        let media = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(media.as_str(), "*/*" | "application/*" | "application/fhir+ndjson" | "application/ndjson")
    };
    if accept.len() <= ACCEPT_BYTES_MAX && accept.split(',').any(takes) {
        return Ok(());
    }
    Err(InvalidRequest::new(InvalidKind::NotAcceptable, "the files of an export are `application/fhir+ndjson`"))
}

/// Whether `_format` is JSON. In a query an unencoded `+` is a space, and clients write `application/fhir+json` so.
pub(super) fn check_format(value: &str) -> Result<(), InvalidRequest> {
    match value {
        "json" | "application/json" | "application/fhir+json" | "application/fhir json" => Ok(()),
        _ => Err(refused("`_format`")),
    }
}

/// Media type of JSON Patch (RFC 6902 §6).
pub(super) const JSON_PATCH: &str = "application/json-patch+json";

/// Which patch a body is.
pub(super) enum PatchMedia {
    Json,
    FhirPath,
}

/// The kind of patch a `Content-Type` announces.
pub(super) fn patch(media: Option<&str>) -> Option<PatchMedia> {
    if is_type(media, &[JSON_PATCH]) {
        return Some(PatchMedia::Json);
    }
    is_type(media, &["application/fhir+json"]).then_some(PatchMedia::FhirPath)
}

/// Whether a body is FHIR JSON in UTF-8.
pub(super) fn is_fhir(media: Option<&str>) -> bool {
    is_type(media, &["application/fhir+json", "application/json", "application/json+fhir"])
}

/// Whether a body is a form in UTF-8; an encoding that hides its keys is none (PS-05, PS-06).
pub(super) fn is_form(media: Option<&str>) -> bool {
    is_type(media, &["application/x-www-form-urlencoded"])
}

fn is_type(media: Option<&str>, types: &[&str]) -> bool {
    let mut parts = media.unwrap_or_default().split(';').map(str::trim);
    let named = parts.next().unwrap_or_default();
    types.iter().any(|known| named.eq_ignore_ascii_case(known))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            Some((name, value)) if name.trim().eq_ignore_ascii_case("fhirversion") => {
                matches!(value.trim(), "4.0" | "4.0.1")
            }
            _ => true,
        })
}

/// Whether `Accept` names FHIR JSON itself: then a Binary is wanted as a resource, else as its content.
pub(super) fn wants_fhir(accept: Option<&str>) -> Result<bool, InvalidRequest> {
    let accept = accept.unwrap_or_default();
    if accept.len() > ACCEPT_BYTES_MAX {
        return Err(refused("`Accept`"));
    }
    let named = |name: &str| {
        let mut ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        ranges.any(|media| media.eq_ignore_ascii_case(name))
    };
    let json = named("application/fhir+json") || named("application/json");
    // The resource in another format of FHIR is not its content either (FM-01).
    if !json && (named("application/fhir+xml") || named("application/fhir+turtle")) {
        return Err(refused("`Accept`"));
    }
    Ok(json)
}

fn takes_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    matches!(media.as_str(), "*/*" | "application/*" | "application/json" | "application/fhir+json")
        && parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                // `q=0` means "not this".
                "q" => value.parse::<f32>().is_ok_and(|q| q > 0.0),
                "fhirversion" => value == "4.0" || value == "4.0.1",
                "charset" => value.eq_ignore_ascii_case("utf-8"),
                _ => true,
            }
        })
}

fn refused(where_: &str) -> InvalidRequest {
    InvalidRequest::new(
        InvalidKind::NotAcceptable,
        format!("{where_} asks for a format other than `application/fhir+json`"),
    )
}
