//! `[tenant.identity]`, `[admin.identity]` and `[tenant.people]`: where people sign in, and for how long.

use std::path::Path;
use std::time::Duration;

use domain::Role;
use server::settings::{
    ClaimSettings, OidcAuth, OidcSettings, OutboundSettings, PeopleSettings, ProviderAudience, SignIn,
};

use super::reference;
use super::section::{At, Section};
use super::tenant::upstream_url;

/// Longest name or value of a claim: names may be URLs.
const CLAIM_BYTES_MAX: usize = 256;
/// Most scopes, values of `acr` or `amr`, or roles.
const LIST_MAX: usize = 32;
/// Where the bound parameter of a patient search stands.
const PLACE: &str = "{fhirUser}";
/// Longest patient search.
const SEARCH_BYTES_MAX: usize = 1_024;

/// The people of one tenant: `[tenant.identity]` and `[tenant.people]`, either of which may be absent.
pub fn read(tenant: &Section<'_, '_>, folder: &Path, outbound: &OutboundSettings) -> Option<PeopleSettings> {
    let default = PeopleSettings::default();
    let sign_in = match tenant.section("identity") {
        Some(section) => identity(&section, folder, outbound).map(|oidc| SignIn::Oidc(Box::new(oidc))),
        None => Some(SignIn::Nowhere),
    };
    // Read in any case, so that all mistakes show at once.
    let Some(section) = tenant.section("people") else { return Some(PeopleSettings { sign_in: sign_in?, ..default }) };
    let patients = section.text("patients").and_then(|at| patients(&section, at));
    let minutes = |number: u64| Duration::from_secs(60 * number);
    let idle = section.number("idle_minutes", 15, 1..=15);
    let sign_in_max = section.number("sign_in_max_hours", 8, 1..=8);
    let session_max = section.number("session_max_minutes", 60, 1..=480);
    section.finish();
    Some(PeopleSettings {
        sign_in: sign_in?,
        patients,
        idle: minutes(idle),
        sign_in_max: minutes(60 * sign_in_max),
        session_max: minutes(session_max),
    })
}

/// One identity provider.
pub fn identity(section: &Section<'_, '_>, folder: &Path, outbound: &OutboundSettings) -> Option<OidcSettings> {
    let kind = section.required("kind", "\"oidc\"");
    if let Some(kind) = kind.as_ref().filter(|kind| kind.value != "oidc") {
        section.mistake_at(kind, format!("`{}` is no kind of identity provider; write \"oidc\"", kind.value));
    }
    let issuer = section.required("issuer", "\"https://login.mercy.example/realms/mercy\"").and_then(|at| {
        // Compared byte by byte with what the provider says of itself, so a final slash is kept.
        upstream_url(section, &at, outbound).map(|_| at.value)
    });
    let client_id = section.required("client_id", "\"hilum\"").map(|at| at.value);
    let auth = auth(section, folder);
    let scopes = words(section, "scopes", |word| {
        word.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    });
    let acr = words(section, "acr", |word| word.bytes().all(|byte| byte.is_ascii_graphic()));
    let amr = words(section, "amr", |word| word.bytes().all(|byte| byte.is_ascii_graphic()));
    let claims = match section.section("claims") {
        Some(section) => claims(&section),
        None => Some(ClaimSettings { fhir_user: None, patient: None, roles: Vec::new() }),
    };
    section.finish();
    Some(OidcSettings { issuer: issuer?, client_id: client_id?, auth: auth?, scopes, claims: claims?, acr, amr })
}

/// `key`, with `assertion_audience`, or `secret`.
fn auth(section: &Section<'_, '_>, folder: &Path) -> Option<OidcAuth> {
    let file = |at: At<String>| reference::file(section, &at, folder);
    let audience = match section.text("assertion_audience") {
        None => Some(ProviderAudience::Issuer),
        Some(at) => match at.value.as_str() {
            "issuer" => Some(ProviderAudience::Issuer),
            "token-endpoint" => Some(ProviderAudience::TokenEndpoint),
            other => {
                section.mistake_at(&at, format!("`{other}`: the audience is \"issuer\" or \"token-endpoint\""));
                None
            }
        },
    };
    match (section.text("key"), section.text("secret")) {
        (Some(key), None) => Some(OidcAuth::Key { file: file(key)?, audience: audience? }),
        (None, Some(secret)) => file(secret).map(OidcAuth::Secret),
        (Some(key), Some(_)) => {
            section.mistake_at(&key, "write `key` or `secret`, not both");
            None
        }
        (None, None) => {
            section
                .mistake("how Hilum authenticates there is missing: key = \"file:…\" (better) or secret = \"file:…\"");
            None
        }
    }
}

/// A list of words without space, each once.
fn words(section: &Section<'_, '_>, key: &'static str, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let listed = section.texts(key).unwrap_or_default();
    if listed.len() > LIST_MAX {
        section.mistake(format!("`{key}` has more than {LIST_MAX} entries"));
    }
    for at in &listed {
        if at.value.is_empty() || at.value.len() > CLAIM_BYTES_MAX || !fits(&at.value) {
            section.mistake_at(at, format!("`{key}`: `{}` must be one word", at.value));
        }
    }
    listed.into_iter().map(|at| at.value).collect()
}

fn claims(section: &Section<'_, '_>) -> Option<ClaimSettings> {
    let name = |key| section.text(key).and_then(|at| claim_text(section, at));
    let (fhir_user, patient) = (name("fhir_user"), name("patient"));
    let mut roles = Vec::new();
    for entry in section.sections("roles") {
        let claim = entry.required("claim", "\"groups\"").and_then(|at| claim_text(&entry, at));
        let value = entry.required("value", "\"hilum-operators\"").and_then(|at| claim_text(&entry, at));
        let role = entry.required("role", "\"operator\"").and_then(|at| role(&entry, &at));
        entry.finish();
        if let (Some(claim), Some(value), Some(role)) = (claim, value, role) {
            roles.push((claim, value, role));
        }
    }
    if roles.len() > LIST_MAX {
        section.mistake(format!("`roles` has more than {LIST_MAX} entries"));
    }
    // One value that gives both would give neither, to everyone who has it.
    for (claim, value, role) in &roles {
        let both = |other: &(String, String, Role)| {
            other.0 == *claim && other.1 == *value && *role == Role::Operator && other.2 == Role::PrivacyOfficer
        };
        if roles.iter().any(both) {
            section.mistake(format!("`{claim}` = `{value}` gives operator and privacy-officer: nobody is both"));
        }
    }
    section.finish();
    Some(ClaimSettings { fhir_user, patient, roles })
}

fn claim_text(section: &Section<'_, '_>, at: At<String>) -> Option<String> {
    if (1..=CLAIM_BYTES_MAX).contains(&at.value.len()) && !at.value.chars().any(char::is_control) {
        return Some(at.value);
    }
    section.mistake_at(&at, format!("a claim is 1 to {CLAIM_BYTES_MAX} characters without control characters"));
    None
}

fn role(section: &Section<'_, '_>, at: &At<String>) -> Option<Role> {
    let found =
        [Role::Operator, Role::PrivacyOfficer, Role::Auditor].into_iter().find(|role| role.as_str() == at.value);
    if found.is_none() {
        section.mistake_at(at, format!("`{}` must be operator, privacy-officer or auditor", at.value));
    }
    found
}

/// `Type?parameters` with one `{fhirUser}` as a value or the end of one.
fn patients(section: &Section<'_, '_>, at: At<String>) -> Option<String> {
    let search = &at.value;
    let plain = search.len() <= SEARCH_BYTES_MAX && search.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let fits = plain
        && search.matches(PLACE).count() == 1
        && search.replace(PLACE, "").bytes().all(|byte| !matches!(byte, b'{' | b'}'))
        && search.split_once('?').is_some_and(|(kind, query)| {
            kind.parse::<fhir::ResourceType>().is_ok()
                && query
                    .split('&')
                    .all(|pair| pair.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.contains(PLACE)))
        });
    if !fits {
        section.mistake_at(
            &at,
            format!(
                "`{search}` must be one search with {PLACE} as a value, e.g. \"Patient?general-practitioner={PLACE}\""
            ),
        );
        return None;
    }
    Some(at.value)
}
