//! Records as people and programs see them: JSON shapes for the API and the command line, a record in words, and offline verification.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::audit::Phi;
use domain::audit::cbor::Leaf;
use ledger::note::{InvalidNote, NoteKey};
use ledger::{Checkpoint, VerifyingKey};
use serde::Serialize;
use store::wal::VerifyWalError;

use super::read::RecordId;
use crate::hex::hex;

/// One page of records.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The records, newest first.
    pub records: Vec<RecordView>,
    /// Where the next page goes on; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A record.
#[derive(Clone, Debug, Serialize)]
pub struct RecordView {
    /// `tenant/node/year-index`.
    pub id: String,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// Whether the machine's clock agreed.
    pub clock_ok: bool,
    /// Tenant, or `_system`.
    pub tenant: String,
    /// Node.
    pub node: String,
    /// Run of the process.
    pub boot: String,
    /// Place within the run.
    pub seq: u64,
    /// `fhir.read`, …
    pub kind: &'static str,
    /// `done`, `intent`, `outcome`.
    pub phase: &'static str,
    /// `success`, `denied`, `failed`.
    pub outcome: &'static str,
    /// Ties together all records of one request.
    pub request: String,
    /// `client_id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub integration: String,
    /// Person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub person: String,
    /// The person's roles.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub roles: String,
    /// Session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// `jti`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Reason or alert code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Task profile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// Approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Digest of what was approved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub approval_digest: String,
    /// Purpose of use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purpose_of_use: String,
    /// Scope clauses that allowed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<u32>,
    /// Resource type or registry noun.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// `read`, `search`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interaction: String,
    /// Resources released.
    pub released: u32,
    /// Resources held back; in a `flood`, refusals counted.
    pub filtered: u32,
    /// Bytes released.
    pub bytes: u64,
    /// SHA-256 of what was released.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// HTTP status.
    pub status: u16,
    /// What was sealed, when it was asked for and opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phi: Option<PhiView>,
    /// Why the sealed part did not open, when it was asked for: its key was destroyed, or the record is not genuine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phi_sealed: Option<String>,
}

/// The sealed part, opened. Prints `[sealed]`; only serialisation shows it.
#[derive(Clone, Serialize)]
pub struct PhiView {
    /// Patients concerned.
    pub patients: Vec<String>,
    /// Resources released.
    pub resources: Vec<String>,
    /// The request.
    pub request: String,
    /// Peer address, or prefix.
    pub peer: String,
    /// `User-Agent`.
    pub agent: String,
    /// Scope.
    pub scope: String,
    /// What the decision looked at.
    pub attributes: Vec<(String, String)>,
    /// Free text.
    pub note: String,
}

impl std::fmt::Debug for PhiView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PhiView([sealed])")
    }
}

impl From<Phi> for PhiView {
    fn from(phi: Phi) -> Self {
        let Phi { patients, resources, request, peer, agent, scope, attributes, note } = phi;
        Self { patients, resources, request, peer, agent, scope, attributes, note }
    }
}

/// A record in words.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// Sentences.
    pub says: Vec<String>,
    /// The record.
    pub record: RecordView,
    /// The other records of its request.
    pub related: Vec<RecordView>,
}

impl RecordView {
    pub(super) fn new(id: &RecordId, leaf: &Leaf<'_>, phi: Option<Result<Phi, String>>) -> Self {
        let (record, stamp) = (&leaf.record, &leaf.stamp);
        let (phi, phi_sealed) = match phi {
            None => (None, None),
            Some(Ok(phi)) => (Some(phi.into()), None),
            Some(Err(why)) => (None, Some(why)),
        };
        Self {
            id: id.to_string(),
            time: rfc3339(stamp.ts_us),
            clock_ok: stamp.clock_ok,
            tenant: record.tenant.clone(),
            node: stamp.node.clone(),
            boot: hex(&stamp.boot),
            seq: stamp.seq,
            kind: record.kind.name(),
            phase: record.phase.name(),
            outcome: record.outcome.name(),
            request: hex(&record.request_id),
            integration: record.actor.integration.clone(),
            person: record.actor.person.clone(),
            roles: record.actor.roles.clone(),
            session: record.actor.session.map(|id| id.to_string()),
            jti: record.actor.jti.clone(),
            reason: record.decision.reason.clone(),
            task: record.decision.task.clone(),
            approval: record.decision.approval.map(|id| id.to_string()),
            approval_digest: record.decision.digest.clone(),
            purpose_of_use: record.decision.purpose_of_use.clone(),
            clauses: record.decision.clauses.clone(),
            object: record.object.kind.clone(),
            interaction: record.object.interaction.clone(),
            released: record.object.released,
            filtered: record.object.filtered,
            bytes: record.object.bytes,
            digest: record.object.digest.clone(),
            status: record.object.status,
            phi,
            phi_sealed,
        }
    }
}

/// Says a record in sentences, from its own fields alone: it explains itself years later.
pub(super) fn words(record: &RecordView) -> Vec<String> {
    let actor = match (record.integration.as_str(), record.person.as_str()) {
        ("", "") => "the system".to_owned(),
        (integration, "") => format!("integration `{integration}`"),
        ("", person) => format!("`{person}`"),
        (integration, person) => format!("integration `{integration}` for `{person}`"),
    };
    let what = match (record.interaction.as_str(), record.object.as_str()) {
        ("", "") => record.kind.to_owned(),
        (interaction, "") => format!("{} ({interaction})", record.kind),
        ("", object) => format!("{} ({object})", record.kind),
        (interaction, object) => format!("{interaction} of {object}"),
    };
    let ended = match record.outcome {
        "success" => "was allowed",
        "denied" => "was refused",
        _ => "failed",
    };
    let mut says = vec![format!("at {} in tenant `{}`: {what} by {actor} {ended}", record.time, record.tenant)];
    if !record.reason.is_empty() {
        says.push(format!("reason: {}", record.reason));
    }
    if !record.task.is_empty() {
        let purpose = if record.purpose_of_use.is_empty() { "no purpose" } else { &record.purpose_of_use };
        says.push(format!("task profile `{}` for {purpose}", record.task));
    }
    if let Some(approval) = &record.approval {
        says.push(format!("under approval {approval}, which bound the terms with digest {}", record.approval_digest));
    }
    if !record.clauses.is_empty() {
        let clauses: Vec<String> = record.clauses.iter().map(u32::to_string).collect();
        says.push(format!("scope clauses that allowed it (counted from 0): {}", clauses.join(", ")));
    }
    if record.status != 0 {
        let (status, released, filtered, bytes) = (record.status, record.released, record.filtered, record.bytes);
        says.push(format!("answered {status}: {released} resources released ({bytes} bytes), {filtered} held back"));
    }
    if let Some(phi) = &record.phi {
        says.extend(phi.patients.iter().map(|patient| format!("patient: {patient}")));
        says.extend((!phi.request.is_empty()).then(|| format!("asked: {}", phi.request)));
        says.extend((!phi.scope.is_empty()).then(|| format!("scope: {}", phi.scope)));
        says.extend(phi.attributes.iter().map(|(name, value)| format!("{name}: {value}")));
        says.extend((!phi.note.is_empty()).then(|| format!("note: {}", phi.note)));
    }
    if !record.clock_ok {
        says.push("the machine's clock was behind the ledger's at that time".to_owned());
    }
    says
}

/// One log of a verified ledger.
#[derive(Clone, Debug, Serialize)]
pub struct LogView {
    /// Which.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root, base64.
    pub root: String,
}

/// What offline verification found to be true.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Commits read.
    pub commits: u64,
    /// Entries read, each under its log's root.
    pub entries: u64,
    /// The logs.
    pub logs: Vec<LogView>,
    /// Bytes of an unfinished commit at the end; 0 after a clean stop. Anything else is either a crash or a damaged last commit.
    pub torn_bytes: usize,
    /// Checkpoint files that do not verify.
    pub damaged_checkpoints: Vec<&'static str>,
    /// Whether nothing at all is out of order.
    pub clean: bool,
}

/// A ledger is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A log or file.
    #[error(transparent)]
    Wal(#[from] VerifyWalError),
    /// A checkpoint that was given is not signed by the ledger's key.
    #[error("the checkpoint is not one of this ledger: {0}")]
    Checkpoint(#[from] InvalidNote),
}

/// Verifies a ledger folder without the process, the database or any secret: `key` is the ledger's public key. `checkpoints` are
/// signed notes kept elsewhere; each must be a prefix of what is there.
///
/// # Errors
/// [`VerifyError`]: damage, a missing segment, or another history than a checkpoint's.
pub fn verify(dir: &Path, key: &VerifyingKey, checkpoints: &[&str]) -> Result<VerifyReport, VerifyError> {
    let open = |note: &&str| {
        let name = note.lines().next().unwrap_or_default().to_owned();
        Checkpoint::open(note, &NoteKey { name, key: *key })
    };
    let given = checkpoints.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let verified = store::wal::verify(dir, key, &given)?;
    let log = |head: Checkpoint| LogView { origin: head.origin, size: head.size, root: STANDARD.encode(head.root) };
    Ok(VerifyReport {
        segments: verified.segments,
        commits: verified.commits,
        entries: verified.entries,
        logs: verified.heads.into_iter().map(log).collect(),
        clean: verified.torn_bytes == 0 && verified.damaged_checkpoints.is_empty(),
        torn_bytes: verified.torn_bytes,
        damaged_checkpoints: verified.damaged_checkpoints,
    })
}

/// UTC with exactly six decimals, so that texts sort as times do.
fn rfc3339(ts_us: i64) -> String {
    use time::macros::format_description;
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ts_us) * 1000);
    at.ok().and_then(|at| at.format(form).ok()).unwrap_or_else(|| ts_us.to_string())
}
