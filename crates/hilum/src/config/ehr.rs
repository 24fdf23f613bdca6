//! `[tenant.ehr]`: Hilum as a confidential SMART client of the EHR, for launches from there.

use std::path::Path;

use server::settings::{EhrSettings, OutboundSettings};

use super::reference;
use super::section::Section;
use super::tenant::upstream_url;

/// Longest scope: that of a session is bounded the same way.
const SCOPE_BYTES_MAX: usize = 4_096;

/// The EHR that launches apps, where there is one. `None` inside is a mistake.
pub fn read(
    tenant: &Section<'_, '_>,
    folder: &Path,
    outbound: &OutboundSettings,
    upstream: Option<&str>,
) -> Option<Option<EhrSettings>> {
    let Some(section) = tenant.section("ehr") else { return Some(None) };
    let fhir = section.required("fhir", "\"https://ehr.mercy.example/fhir/r4\"").and_then(|at| {
        let url = upstream_url(&section, &at, outbound)?;
        // The EHR's ids and tokens are good at the EHR: at another server they would name another patient.
        if upstream.is_some_and(|upstream| upstream.trim_end_matches('/') != url.trim_end_matches('/')) {
            section.mistake_at(&at, "`ehr.fhir` and `upstream.fhir` must be one server, written alike");
            return None;
        }
        Some(url)
    });
    let client_id = section.required("client_id", "\"hilum\"");
    let key = section
        .required("key", "\"file:/run/secrets/ehr-launch-key.pem\"")
        .and_then(|at| reference::file(&section, &at, folder));
    let scope = section.required("scope", "\"launch openid fhirUser online_access patient/*.rs\"");
    if let Some(scope) = &scope {
        let words: Vec<&str> = scope.value.split(' ').collect();
        let graphic = scope.value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !words.contains(&"launch") || words.contains(&"") || !graphic || scope.value.len() > SCOPE_BYTES_MAX {
            section.mistake_at(scope, "`ehr.scope` must be scopes with one space between them, `launch` among them");
        }
    }
    section.finish();
    Some(Some(EhrSettings { fhir: fhir?, client_id: client_id?.value, key: key?, scope: scope?.value }))
}
