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

/// Whether `_format` is JSON. In a query an unencoded `+` is a space, and clients write `application/fhir+json` so.
pub(super) fn check_format(value: &str) -> Result<(), InvalidRequest> {
    match value {
        "json" | "application/json" | "application/fhir+json" | "application/fhir json" => Ok(()),
        _ => Err(refused("`_format`")),
    }
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
