//! Reading the audit log. Who reads it is recorded before they see it (S2-29 ff.), and sealed parts open only when asked.

use axum::extract::{Path, State};
use axum::http::Uri;
use domain::Reason;
use domain::audit::{Kind, Outcome};
use std::collections::BTreeMap;

use super::problem::ApiError;
use super::read::parse_time;
use super::visit::Visit;
use super::{Answer, asked, ok, query};
use crate::audit::{Audit, Cursor, Filter, PhiAccess, ReadAuditError, RecordId, SEARCH_MAX};
use crate::registry::Registry;

impl Registry {
    fn ledger(&self) -> Result<&Audit, ApiError> {
        self.0.audit.as_ref().ok_or_else(|| ApiError::unavailable(Reason::Overloaded, "this process holds no ledger"))
    }

    /// The record that someone reads the log, durable before they do.
    async fn note_reading(&self, visit: &Visit, uri: &Uri, patients: Vec<String>) -> Result<(), ApiError> {
        let deed = visit.deed("", uri.path_and_query().map(ToString::to_string).unwrap_or_default());
        Ok(self.0.trail.read(&visit.caller, &deed, patients).await?)
    }
}

impl From<ReadAuditError> for ApiError {
    fn from(why: ReadAuditError) -> Self {
        tracing::error!("the ledger could not be read: {why}");
        Self::unavailable(Reason::Overloaded, "the ledger could not be read")
    }
}

/// Every kind by its word on the API.
const KINDS: [(&str, Kind); 27] = [
    ("fhir-read", Kind::FhirRead),
    ("fhir-search", Kind::FhirSearch),
    ("fhir-denied", Kind::FhirDenied),
    ("fhir-error", Kind::FhirError),
    ("token-issue", Kind::TokenIssue),
    ("token-denied", Kind::TokenDenied),
    ("token-revoke", Kind::TokenRevoke),
    ("token-introspect", Kind::TokenIntrospect),
    ("launch-mint", Kind::LaunchMint),
    ("launch-denied", Kind::LaunchDenied),
    ("relationship-check", Kind::RelationshipCheck),
    ("session-end", Kind::SessionEnd),
    ("registry-change", Kind::RegistryChange),
    ("registry-denied", Kind::RegistryDenied),
    ("audit-read", Kind::AuditRead),
    ("alert", Kind::Alert),
    ("boot", Kind::Boot),
    ("key-change", Kind::KeyChange),
    ("flood", Kind::Flood),
    ("fhir-history", Kind::FhirHistory),
    ("fhir-create", Kind::FhirCreate),
    ("fhir-update", Kind::FhirUpdate),
    ("fhir-patch", Kind::FhirPatch),
    ("fhir-delete", Kind::FhirDelete),
    ("fhir-operation", Kind::FhirOperation),
    ("fhir-transaction", Kind::FhirTransaction),
    ("fhir-export", Kind::FhirExport),
];

/// A kind as a person writes it: `fhir-read` or, as records show it, `fhir.read`.
fn kind(text: &str) -> Result<Kind, ApiError> {
    let word = text.replace(['.', '_'], "-");
    let found = KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
    found.ok_or_else(|| {
        let words: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
        ApiError::malformed(format!("`kind`: `{text}` is none of {}", words.join(", ")))
    })
}

fn page(query: &BTreeMap<String, String>) -> Result<(Option<Cursor>, usize), ApiError> {
    let limit: usize = asked(query, "limit")?.unwrap_or(0);
    if limit > SEARCH_MAX {
        return Err(ApiError::malformed(format!("`limit` is at most {SEARCH_MAX}")));
    }
    Ok((asked(query, "before")?, limit))
}

fn time(query: &BTreeMap<String, String>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let time = parse_time(text);
    time.map(Some)
        .ok_or_else(|| ApiError::malformed(format!("`{name}`: `{text}` is neither a date nor an RFC 3339 time")))
}

pub(super) async fn alerts(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    let (before, limit) = page(&query(&uri, &["limit", "before"])?)?;
    let tenant = Some(visit.tenant()?.to_string());
    let filter = Filter { tenant, kinds: vec![Kind::Alert], before, limit, ..Filter::default() };
    registry.note_reading(&visit, &uri, Vec::new()).await?;
    ok(registry.ledger()?.search(filter, PhiAccess::Sealed).await?)
}

/// The installation's own log (`_system`): starts, stops, operator events and their alerts; nothing of any patient is in it.
pub(super) async fn system_alerts(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    system(&registry, &visit, &uri, vec![Kind::Alert]).await
}

/// As [`system_alerts`], every kind.
pub(super) async fn system_records(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    system(&registry, &visit, &uri, Vec::new()).await
}

async fn system(registry: &Registry, visit: &Visit, uri: &Uri, kinds: Vec<Kind>) -> Answer {
    let (before, limit) = page(&query(uri, &["limit", "before"])?)?;
    let filter = Filter { tenant: Some("_system".to_owned()), kinds, before, limit, ..Filter::default() };
    registry.note_reading(visit, uri, Vec::new()).await?;
    ok(registry.ledger()?.search(filter, PhiAccess::Sealed).await?)
}

pub(super) async fn search(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    let known = [
        "kind",
        "outcome",
        "integration",
        "person",
        "session",
        "reason",
        "object",
        "from",
        "to",
        "phi",
        "limit",
        "before",
    ];
    let query = query(&uri, &known)?;
    let (before, limit) = page(&query)?;
    let outcome = match query.get("outcome").map(String::as_str) {
        None => None,
        Some("success") => Some(Outcome::Success),
        Some("denied") => Some(Outcome::Denied),
        Some("failed") => Some(Outcome::Failed),
        Some(_) => return Err(ApiError::malformed("`outcome` is success, denied or failed")),
    };
    let filter = Filter {
        tenant: Some(visit.tenant()?.to_string()),
        kinds: query.get("kind").map(|text| kind(text)).transpose()?.into_iter().collect(),
        outcome,
        integration: query.get("integration").cloned(),
        person: query.get("person").cloned(),
        session: asked(&query, "session")?,
        reason: query.get("reason").cloned(),
        object: query.get("object").cloned(),
        since: time(&query, "from")?,
        until: time(&query, "to")?,
        before,
        limit,
        ..Filter::default()
    };
    let phi = if asked::<bool>(&query, "phi")?.unwrap_or(false) { PhiAccess::Open } else { PhiAccess::Sealed };
    registry.note_reading(&visit, &uri, Vec::new()).await?;
    ok(registry.ledger()?.search(filter, phi).await?)
}

pub(super) async fn who(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    let query = query(&uri, &["patient", "from", "to", "limit", "before"])?;
    let (before, limit) = page(&query)?;
    let patient = query.get("patient").map(|text| text.strip_prefix("Patient/").unwrap_or(text).to_owned());
    let patient =
        patient.filter(|id| fhir::Id::fits(id)).ok_or_else(|| ApiError::malformed("`patient` must be a patient id"))?;
    let filter = Filter {
        tenant: Some(visit.tenant()?.to_string()),
        patient: Some(patient.clone()),
        since: time(&query, "from")?,
        until: time(&query, "to")?,
        before,
        limit,
        ..Filter::default()
    };
    registry.note_reading(&visit, &uri, vec![patient]).await?;
    ok(registry.ledger()?.search(filter, PhiAccess::Open).await?)
}

/// A ledger that does not verify is an answer, not a fault: `{"clean": false, "damage": …}`.
pub(super) async fn verify(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    query(&uri, &[])?;
    registry.note_reading(&visit, &uri, Vec::new()).await?;
    match registry.ledger()?.verify().await? {
        Ok(report) => ok(report),
        Err(damage) => ok(serde_json::json!({ "clean": false, "damage": damage.to_string() })),
    }
}

fn record_id(visit: &Visit, node: &str, index: &str) -> Result<RecordId, ApiError> {
    let id = format!("{}/{node}/{index}", visit.tenant()?);
    id.parse().map_err(|_| ApiError::missing("record"))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    uri: Uri,
    Path((_, node, index)): Path<(String, String, String)>,
) -> Answer {
    let id = record_id(&visit, &node, &index)?;
    registry.note_reading(&visit, &uri, Vec::new()).await?;
    let record = registry.ledger()?.show(id, PhiAccess::Open).await?;
    ok(record.ok_or_else(|| ApiError::missing("record"))?)
}

pub(super) async fn explain(
    State(registry): State<Registry>,
    visit: Visit,
    uri: Uri,
    Path((_, node, index)): Path<(String, String, String)>,
) -> Answer {
    let id = record_id(&visit, &node, &index)?;
    registry.note_reading(&visit, &uri, Vec::new()).await?;
    let explained = registry.ledger()?.explain(id, PhiAccess::Open).await?;
    ok(explained.ok_or_else(|| ApiError::missing("record"))?)
}
