//! What an upstream really does, tried with two test patients (`hilum check`): does it filter, does it version, where do its
//! links point. Reads only, and nothing it reads leaves this file: the report names types and parameters, never content.

use fhir::references::Reference;
use fhir::{Id, ResourceType};
use http::header::ETAG;
use serde_json::Value;

use super::upstream::{Upstream, header_text};

/// Matches looked at per search.
const COUNT: u32 = 50;

/// Whether the upstream filters a type by a parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterVerdict {
    /// Each patient's search gave that patient's resources alone, and at least one gave some.
    Filters,
    /// A search gave another patient's resource: the parameter is ignored.
    Ignores,
    /// Neither patient has such a resource, so nothing is proved.
    Vacuous,
    /// The upstream does not offer the search (4xx).
    Unsupported,
    /// The upstream failed or answered something else than a searchset.
    Failed,
}

/// One (type, parameter) tried.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct FilterProof {
    /// The type.
    pub kind: &'static str,
    /// The parameter.
    pub param: &'static str,
    /// What came of it.
    pub verdict: FilterVerdict,
    /// Matches seen for the first and second patient.
    pub matches: (usize, usize),
}

/// Where `next` links point.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    /// No search had a next page.
    None,
    /// Below the registered base.
    WithinBase,
    /// Elsewhere: such pages are refused, so results end at the first page.
    Elsewhere,
}

/// Whether the upstream refuses an update that names an old version (RFC 9110 §13.1.1), which safe writes will need.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMatch {
    /// Nobody asked to try: it needs an update of a test patient.
    NotTried,
    /// 412: honoured, and nothing was changed.
    Honoured,
    /// The update was taken all the same; the resource now has one more version, with the same content.
    Ignored,
    /// Updates are refused or fail whatever they name.
    NoUpdates,
}

/// What `hilum check` learned of an upstream.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct CheckReport {
    /// Both test patients can be read.
    pub patients_readable: bool,
    /// A read carries an `ETag`.
    pub etag: bool,
    /// A read carries `meta.versionId`, which `If-Match` needs.
    pub version_id: bool,
    /// Whether `If-Match` works.
    pub if_match: IfMatch,
    /// Where `next` links point.
    pub next_links: Page,
    /// Every type by its narrowing parameter.
    pub filters: Vec<FilterProof>,
}

pub(super) async fn run(upstream: &Upstream, a: &Id, b: &Id) -> CheckReport {
    let mut report = CheckReport {
        patients_readable: false,
        etag: false,
        version_id: false,
        if_match: IfMatch::NotTried,
        next_links: Page::None,
        filters: Vec::new(),
    };
    let (first, second) = (read(upstream, a).await, read(upstream, b).await);
    if let (Some((etag, version_id)), Some(_)) = (first, second) {
        (report.patients_readable, report.etag, report.version_id) = (true, etag, version_id);
    }
    for kind in ResourceType::all() {
        let Some(param) = fhir::params::narrow_by(kind) else { continue };
        let (of_a, of_b) = (search(upstream, kind, param, a).await, search(upstream, kind, param, b).await);
        for found in [&of_a, &of_b].into_iter().flatten() {
            report.next_links = match (report.next_links, found.next) {
                (Page::Elsewhere, _) | (_, Page::Elsewhere) => Page::Elsewhere,
                (Page::WithinBase, _) | (_, Page::WithinBase) => Page::WithinBase,
                (Page::None, Page::None) => Page::None,
            };
        }
        report.filters.push(judge(kind, param, &of_a, &of_b));
    }
    report
}

struct Found {
    own: usize,
    foreign: usize,
    next: Page,
}

fn judge(
    kind: ResourceType,
    param: &'static str,
    a: &Result<Found, FilterVerdict>,
    b: &Result<Found, FilterVerdict>,
) -> FilterProof {
    let (verdict, matches) = match (a, b) {
        (Ok(a), Ok(b)) => {
            let verdict = match (a.foreign + b.foreign, a.own + b.own) {
                (0, 0) => FilterVerdict::Vacuous,
                (0, _) => FilterVerdict::Filters,
                _ => FilterVerdict::Ignores,
            };
            (verdict, (a.own + a.foreign, b.own + b.foreign))
        }
        (Err(verdict), _) | (_, Err(verdict)) => (*verdict, (0, 0)),
    };
    FilterProof { kind: kind.name(), param, verdict, matches }
}

/// Sends the first test patient back unchanged, as an update of a version it never had.
pub(super) async fn if_match(upstream: &Upstream, patient: &Id) -> IfMatch {
    let url = format!("{}/Patient/{patient}", upstream.base());
    let Ok(current) = upstream.fetch(None, &url).await else { return IfMatch::NoUpdates };
    if current.status != http::StatusCode::OK {
        return IfMatch::NoUpdates;
    }
    match upstream.put_stale(&url, current.body).await {
        Ok(http::StatusCode::PRECONDITION_FAILED | http::StatusCode::CONFLICT) => IfMatch::Honoured,
        Ok(status) if status.is_success() => IfMatch::Ignored,
        _ => IfMatch::NoUpdates,
    }
}

/// Whether the patient can be read, and whether the answer has an ETag and a version.
async fn read(upstream: &Upstream, patient: &Id) -> Option<(bool, bool)> {
    let answer = upstream.fetch(None, &format!("{}/Patient/{patient}", upstream.base())).await.ok()?;
    if answer.status != http::StatusCode::OK {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let version = body.pointer("/meta/versionId").is_some_and(Value::is_string);
    Some((header_text(&answer.headers, &ETAG).is_some(), version))
}

async fn search(upstream: &Upstream, kind: ResourceType, param: &str, patient: &Id) -> Result<Found, FilterVerdict> {
    let value = if param == "_id" { patient.to_string() } else { format!("Patient/{patient}") };
    let url = format!("{}/{}?{param}={value}&_count={COUNT}", upstream.base(), kind.name());
    let answer = upstream.fetch(None, &url).await.map_err(|_| FilterVerdict::Failed)?;
    if answer.status.is_client_error() {
        return Err(FilterVerdict::Unsupported);
    }
    let bundle = oauth::json::read_object(&answer.body).map_err(|_| FilterVerdict::Failed)?;
    if answer.status != http::StatusCode::OK || bundle.get("type").and_then(Value::as_str) != Some("searchset") {
        return Err(FilterVerdict::Failed);
    }
    let list = |name: &str| bundle.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let next = list("link").iter().find(|link| link.get("relation").and_then(Value::as_str) == Some("next"));
    let next = match next.and_then(|link| link.get("url")).and_then(Value::as_str) {
        None => Page::None,
        Some(url) if within(url, upstream.base()) => Page::WithinBase,
        Some(_) => Page::Elsewhere,
    };
    let mut found = Found { own: 0, foreign: 0, next };
    for entry in list("entry") {
        let Some(resource) = entry.get("resource") else { continue };
        if resource.get("resourceType").and_then(Value::as_str) == Some(kind.name()) {
            match is_of(resource, kind, patient, upstream.base()) {
                Some(true) => found.own += 1,
                Some(false) => found.foreign += 1,
                None => {}
            }
        }
    }
    Ok(found)
}

/// A link below the base, or one without an origin of its own.
fn within(url: &str, base: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?']);
    url.strip_prefix(base).is_some_and(below) || !url.contains("://") && !url.starts_with("//")
}

/// Whose a resource is, by what its compartment elements name. `None`: no element names a patient in a way that can be read.
fn is_of(resource: &Value, kind: ResourceType, patient: &Id, base: &str) -> Option<bool> {
    if kind == ResourceType::PATIENT {
        return Some(resource.get("id").and_then(Value::as_str) == Some(patient.as_str()));
    }
    let mut named = None;
    for path in fhir::compartment::patient_paths(kind) {
        for text in references(resource, path.elements) {
            let id = match fhir::references::parse(text) {
                Reference::Relative { kind: ResourceType::PATIENT, id, .. } => id,
                Reference::Absolute { base: theirs, kind: ResourceType::PATIENT, id, .. } if theirs == base => id,
                _ => continue,
            };
            if id == patient.as_str() {
                return Some(true);
            }
            named = Some(false);
        }
    }
    named
}

fn references<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    if let Value::Array(items) = value {
        return items.iter().flat_map(|item| references(item, path)).collect();
    }
    match path.split_first() {
        None => value.get("reference").and_then(Value::as_str).into_iter().collect(),
        Some((name, rest)) => value.get(*name).map(|value| references(value, rest)).unwrap_or_default(),
    }
}

#[test]
fn a_filter_is_proved_only_by_what_came_back() {
    let found = |own, foreign| Ok(Found { own, foreign, next: Page::None });
    let kind = ResourceType::OBSERVATION;
    for (a, b, verdict) in [
        (found(2, 0), found(1, 0), FilterVerdict::Filters),
        (found(2, 0), found(0, 0), FilterVerdict::Filters),
        (found(0, 0), found(0, 0), FilterVerdict::Vacuous),
        (found(2, 1), found(2, 1), FilterVerdict::Ignores),
        (found(0, 3), found(3, 0), FilterVerdict::Ignores),
        (Err(FilterVerdict::Unsupported), found(1, 0), FilterVerdict::Unsupported),
    ] {
        assert_eq!(judge(kind, "patient", &a, &b).verdict, verdict);
    }
}

#[test]
fn links_are_placed_by_their_origin() {
    let base = "https://ehr.example/fhir";
    for (url, inside) in [
        ("https://ehr.example/fhir?page=2", true),
        ("https://ehr.example/fhir/Observation?page=2", true),
        ("Observation?page=2", true),
        ("https://ehr.example/fhirx", false),
        ("https://evil.example/fhir?page=2", false),
        ("//evil.example/x", false),
    ] {
        assert_eq!(within(url, base), inside, "{url}");
    }
}
