//! `[[tenant]]`, `[tenant.upstream]` and `client_ca`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use domain::TenantId;
use fhir::ResourceType;
use server::settings::{ConsentSource, OutboundSettings, TenantSettings, UpstreamAuth, UpstreamSettings};

use super::section::{At, Section};
use super::{ehr, loopback, people, public_url, reference};

/// Longest wait for an upstream by default; a search of a busy EHR takes seconds, not minutes.
const TIMEOUT_SECONDS: u64 = 30;
/// Largest upstream answer by default: what is too large for memory is spooled.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Reads one tenant; `None` when it has mistakes.
pub fn read(
    section: &Section<'_, '_>,
    folder: &Path,
    server_url: Option<&str>,
    outbound: &OutboundSettings,
) -> Option<TenantSettings> {
    let id = section.required("id", "\"mercy\"").and_then(|at| match at.value.parse::<TenantId>() {
        Ok(id) => Some(id),
        Err(why) => {
            section.mistake_at(&at, format!("`{}`: {why}", at.value));
            None
        }
    });
    let name = section.required("name", "\"Mercy Health\"");
    let own_url = section.text("public_url");
    let url = match &own_url {
        Some(at) => public_url(section, at),
        None => server_url.map(str::to_owned),
    };
    let upstream = section
        .required_section("upstream", "{ fhir = \"https://ehr.example/fhir\", auth = { kind = \"none\" } }")
        .and_then(|s| upstream(&s, folder, outbound));
    let people = people::read(section, folder, outbound);
    let ehr = ehr::read(section, folder, outbound, upstream.as_ref().map(|upstream| upstream.fhir.as_str()));
    let client_ca = match section.text("client_ca") {
        Some(at) => reference::file(section, &at, folder).map(Some),
        None => Some(None),
    };
    section.finish();
    Some(TenantSettings {
        id: id?,
        name: name?.value,
        public_url: url?,
        upstream: upstream?,
        people: people?,
        ehr: ehr?,
        client_ca: client_ca?,
    })
}

fn upstream(section: &Section<'_, '_>, folder: &Path, outbound: &OutboundSettings) -> Option<UpstreamSettings> {
    let fhir = section
        .required("fhir", "\"https://ehr.mercy.example/fhir/r4\"")
        .and_then(|at| upstream_url(section, &at, outbound));
    let auth = section.required_section("auth", "{ kind = \"none\" }").and_then(|s| auth(&s, folder, outbound));
    let shared = match section.texts("shared") {
        Some(names) => names.iter().filter_map(|at| shared(section, at)).collect(),
        None => fhir::owner::SHARED_DEFAULT.iter().copied().collect::<BTreeSet<_>>(),
    };
    let timeout = section.number("timeout_seconds", TIMEOUT_SECONDS, 1..=300);
    let body = section.number("body_bytes_max", BODY_BYTES_MAX, 1_024..=4 * 1024 * 1024 * 1024);
    let consent = match section.text("consent") {
        None => ConsentSource::default(),
        Some(at) if at.value == "upstream" => ConsentSource::Upstream,
        Some(at) if at.value == "none" => ConsentSource::None,
        Some(at) => {
            section.mistake_at(&at, format!("`{}`: consent is read from \"upstream\" or \"none\"", at.value));
            return None;
        }
    };
    section.finish();
    Some(UpstreamSettings {
        fhir: fhir?,
        auth: auth?,
        shared,
        timeout: Duration::from_secs(timeout),
        body_bytes_max: usize::try_from(body).unwrap_or(usize::MAX),
        consent,
    })
}

/// https, or http on loopback to a host that `[outbound] allow_private` names.
pub(super) fn upstream_url(section: &Section<'_, '_>, at: &At<String>, outbound: &OutboundSettings) -> Option<String> {
    let url = at.value.trim_end_matches('/');
    let authority = |rest: &str| rest.split('/').next().unwrap_or("").to_owned();
    let clean = |rest: &str| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']);
    match url.split_once("://") {
        Some(("https", rest)) if clean(rest) => Some(url.to_owned()),
        Some(("http", rest)) if clean(rest) && loopback(&authority(rest)) => {
            let host = authority(rest);
            let name =
                host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).trim_matches(['[', ']']).to_owned();
            if outbound.allow_private.contains(&name) {
                return Some(url.to_owned());
            }
            section.mistake_at(at, format!("`{name}` is a private address: name it in `[outbound] allow_private`"));
            None
        }
        _ => {
            section
                .mistake_at(at, format!("`{}` must be an https URL (http on loopback only) without query", at.value));
            None
        }
    }
}

fn auth(section: &Section<'_, '_>, folder: &Path, outbound: &OutboundSettings) -> Option<UpstreamAuth> {
    let kind = section.required("kind", "\"none\", \"bearer\" or \"smart-backend\"")?;
    let auth = match kind.value.as_str() {
        "none" => Some(UpstreamAuth::None),
        "bearer" => section
            .required("token", "\"file:/run/secrets/ehr-token\"")
            .and_then(|at| reference::file(section, &at, folder))
            .map(|token| UpstreamAuth::Bearer { token }),
        "smart-backend" => {
            let client_id = section.required("client_id", "\"hilum\"");
            let key = section
                .required("key", "\"file:/run/secrets/ehr-key.pem\"")
                .and_then(|at| reference::file(section, &at, folder));
            let token_url = section
                .required("token_url", "\"https://ehr.example/oauth/token\"")
                .and_then(|at| upstream_url(section, &at, outbound));
            let scope = section.required("scope", "\"system/Patient.rs system/Observation.rs\"");
            match (client_id, key, token_url, scope) {
                (Some(client_id), Some(key), Some(token_url), Some(scope)) => {
                    Some(UpstreamAuth::SmartBackend { client_id: client_id.value, key, token_url, scope: scope.value })
                }
                _ => None,
            }
        }
        // S0-10: a shared user and password is no way to reach an EHR.
        other => {
            section
                .mistake_at(&kind, format!("`{other}` is no way to authenticate; write none, bearer or smart-backend"));
            return None;
        }
    };
    section.finish();
    auth
}

fn shared(section: &Section<'_, '_>, at: &At<String>) -> Option<ResourceType> {
    match at.value.parse::<ResourceType>() {
        Ok(kind) if fhir::owner::shareable(kind) => Some(kind),
        Ok(kind) => {
            section.mistake_at(at, format!("`{kind}` may hold patient data and cannot be shared"));
            None
        }
        Err(_) => {
            section.mistake_at(at, format!("`{}` is not an R4 resource type", at.value));
            None
        }
    }
}
