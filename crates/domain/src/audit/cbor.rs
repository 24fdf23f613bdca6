//! The record as bytes: deterministic CBOR (RFC 8949 §4.2.1: shortest forms, definite lengths, fixed order).
//!
//! One leaf, version 1, is an array of 17:
//! ```text
//! [1, tenant, node, boot(8 B), seq, ts_us, clock_ok, kind, phase, outcome, request_id(16 B),
//!  [integration, person, session(16 B)|null, jti, roles],
//!  [reason, task, approval(16 B)|null, digest, purpose_of_use, [clause…]],
//!  [kind, interaction, released, filtered, bytes, digest, status],
//!  [patient tag(16 B)…], kid, sealed(24 B nonce ‖ ciphertext ‖ 16 B tag)]
//! ```
//! The associated data of the sealed part is every byte before it, `kid` included. What is sealed is, in plain, an array of 8:
//! `[patients, resources, request, peer, agent, scope, [[name, value]…], note]`. Texts longer than their limit are cut; a cut text
//! ends in `…`. A digest of even lower-case hexadecimal is written as bytes.

use minicbor::{Decoder, Encoder};

use super::{Actor, AuditRecord, DecisionPart, Kind, ObjectPart, Outcome, Phase, Phi};
use crate::id::{ApprovalId, SessionId};

/// Version this code writes and the only one it reads.
pub const VERSION: u8 = 1;
/// Longest leaf (C2SP entry bundle).
pub const LEAF_BYTES_MAX: usize = 65_535;
/// Soft cap of a leaf; resources that do not fit go into continuation records.
pub const LEAF_BYTES_SOFT: usize = 16 * 1024;
/// Most patients in one record: 900 tags of 17 bytes are the soft cap. One session has one patient, so more is a fault.
pub const PATIENTS_MAX: usize = 900;
/// Most continuation records of one record.
pub const PARTS_MAX: usize = 64;
/// Longest identifier or name in the clear part.
const NAME_BYTES_MAX: usize = 256;
/// Most clauses named; a scope set is far smaller.
const CLAUSES_MAX: usize = 256;
/// Longest request line kept.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Longest free text and scope string kept, each.
const TEXT_BYTES_MAX: usize = 2 * 1024;
/// Longest `User-Agent` or peer kept.
const AGENT_BYTES_MAX: usize = 256;
/// Most attributes kept, and the longest value.
const ATTRIBUTES_MAX: usize = 64;
/// Longest `Type/id/_history/v`: two ids of 64 and a type name, rounded up.
const RESOURCE_BYTES_MAX: usize = 256;
/// Bytes of resource names in one record; with everything else at its limit the leaf stays below its hard limit.
const RESOURCES_BYTES_SOFT: usize = 8 * 1024;
/// Interaction name of a continuation record.
pub const CONTINUED: &str = "continued";

/// What the ledger adds to a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// Node name.
    pub node: String,
    /// Random number of this run of the process.
    pub boot: [u8; 8],
    /// Counts up within the run.
    pub seq: u64,
    /// Microseconds since the Unix epoch; never repeats or falls within a node's ledger.
    pub ts_us: i64,
    /// Whether the machine's clock agreed with the ledger's.
    pub clock_ok: bool,
}

/// Why a record cannot be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// More than [`PATIENTS_MAX`] patients.
    #[error("a record names too many patients")]
    Patients,
    /// More resources than [`PARTS_MAX`] records hold.
    #[error("a record names too many resources")]
    Resources,
    /// Longer than [`LEAF_BYTES_MAX`] after everything was cut to its limit; many patients with long ids can do that.
    #[error("the record is too large")]
    TooLarge,
}

/// Bytes that are not a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an audit record of a known version")]
pub struct InvalidRecord;

impl From<minicbor::decode::Error> for InvalidRecord {
    fn from(_: minicbor::decode::Error) -> Self {
        Self
    }
}

/// A leaf read back: all but the PHI, which is still sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf<'a> {
    /// What the ledger added.
    pub stamp: Stamp,
    /// The record, with an empty `phi`.
    pub record: AuditRecord,
    /// Patient tags.
    pub tags: Vec<[u8; 16]>,
    /// Id of the sealing key, `yyyymm`.
    pub kid: String,
    /// Nonce, ciphertext and tag.
    pub sealed: &'a [u8],
    /// Associated data of the sealed part.
    pub aad: &'a [u8],
}

/// Splits a record whose resources exceed the soft cap. The first part keeps everything; the others repeat who, why and the patients
/// and hold only further resources, under interaction `continued`. Sums over `released` stay right.
///
/// # Errors
/// [`EncodeError`].
pub fn split(record: AuditRecord) -> Result<Vec<AuditRecord>, EncodeError> {
    if record.phi.patients.len() > PATIENTS_MAX {
        return Err(EncodeError::Patients);
    }
    // Nearly every record: nothing is copied then.
    if record.phi.resources.iter().map(String::len).sum::<usize>() <= RESOURCES_BYTES_SOFT {
        return Ok(vec![record]);
    }
    let mut groups: Vec<Vec<String>> = vec![Vec::new()];
    let mut held = 0;
    for resource in &record.phi.resources {
        if held + resource.len() > RESOURCES_BYTES_SOFT {
            groups.push(Vec::new());
            held = 0;
        }
        held += resource.len().min(RESOURCE_BYTES_MAX);
        if let Some(group) = groups.last_mut() {
            group.push(resource.clone());
        }
    }
    if groups.len() > PARTS_MAX {
        return Err(EncodeError::Resources);
    }
    let continuation = AuditRecord {
        object: ObjectPart {
            kind: record.object.kind.clone(),
            interaction: CONTINUED.to_owned(),
            status: record.object.status,
            ..ObjectPart::default()
        },
        phi: Phi { patients: record.phi.patients.clone(), ..Phi::default() },
        ..record.clone()
    };
    let mut parts = vec![record];
    for (at, group) in groups.into_iter().enumerate() {
        match parts.get_mut(at) {
            Some(first) => first.phi.resources = group,
            None => {
                let mut part = continuation.clone();
                part.phi.resources = group;
                parts.push(part);
            }
        }
    }
    Ok(parts)
}

/// The clear part: the leaf's bytes up to the sealed part, and the associated data of it.
///
/// # Errors
/// [`EncodeError::Patients`].
pub fn encode_clear(record: &AuditRecord, stamp: &Stamp, tags: &[[u8; 16]], kid: &str) -> Result<Vec<u8>, EncodeError> {
    if tags.len() > PATIENTS_MAX {
        return Err(EncodeError::Patients);
    }
    let mut out = Vec::with_capacity(512);
    // Writing to a `Vec` cannot fail.
    let _ = write_clear(&mut Encoder::new(&mut out), record, stamp, tags, kid);
    Ok(out)
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_clear(
    e: &mut Encoder<&mut Vec<u8>>,
    record: &AuditRecord,
    stamp: &Stamp,
    tags: &[[u8; 16]],
    kid: &str,
) -> Written {
    e.array(17)?.u8(VERSION)?.str(&cut(&record.tenant, NAME_BYTES_MAX))?.str(&cut(&stamp.node, NAME_BYTES_MAX))?;
    e.bytes(&stamp.boot)?.u64(stamp.seq)?.i64(stamp.ts_us)?.bool(stamp.clock_ok)?;
    e.u8(record.kind.code())?.u8(record.phase.code())?.u8(record.outcome.code())?.bytes(&record.request_id)?;
    let actor = &record.actor;
    e.array(5)?.str(&name(&actor.integration))?.str(&name(&actor.person))?;
    write_id(e, actor.session.map(|id| id.0))?;
    e.str(&name(&actor.jti))?.str(&name(&actor.roles))?;
    let decision = &record.decision;
    e.array(6)?.str(&name(&decision.reason))?.str(&name(&decision.task))?;
    write_id(e, decision.approval.map(|id| id.0))?;
    write_digest(e, &decision.digest)?;
    e.str(&name(&decision.purpose_of_use))?;
    let clauses = decision.clauses.get(..CLAUSES_MAX).unwrap_or(&decision.clauses);
    e.array(clauses.len() as u64)?;
    for clause in clauses {
        e.u32(*clause)?;
    }
    let object = &record.object;
    e.array(7)?.str(&name(&object.kind))?.str(&name(&object.interaction))?;
    e.u32(object.released)?.u32(object.filtered)?.u64(object.bytes)?;
    write_digest(e, &object.digest)?;
    e.u16(object.status)?;
    e.array(tags.len() as u64)?;
    for tag in tags {
        e.bytes(tag)?;
    }
    e.str(&name(kid))?;
    Ok(())
}

/// A name, cut to its limit.
fn name(text: &str) -> std::borrow::Cow<'_, str> {
    cut(text, NAME_BYTES_MAX)
}

fn write_id(e: &mut Encoder<&mut Vec<u8>>, id: Option<[u8; 16]>) -> Written {
    match id {
        Some(id) => e.bytes(&id)?,
        None => e.null()?,
    };
    Ok(())
}

fn write_digest(e: &mut Encoder<&mut Vec<u8>>, digest: &str) -> Written {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let even = !digest.is_empty() && digest.len().is_multiple_of(2) && digest.len() <= 2 * NAME_BYTES_MAX;
    if !even || !digest.bytes().all(hex) {
        e.str(&cut(digest, NAME_BYTES_MAX))?;
        return Ok(());
    }
    let value = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'a' + 10 };
    let pair = |pair: &[u8]| pair.iter().fold(0, |high, digit| high << 4 | value(*digit));
    e.bytes_len((digest.len() / 2) as u64)?;
    e.writer_mut().extend(digest.as_bytes().chunks_exact(2).map(pair));
    Ok(())
}

/// Ends a leaf: the clear part and the sealed value become its bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`].
pub fn finish(mut clear: Vec<u8>, nonce: &[u8], sealed: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut head = Vec::with_capacity(9);
    // Writing to a `Vec` cannot fail.
    let _ = Encoder::new(&mut head).bytes_len((nonce.len() + sealed.len()) as u64);
    clear.reserve(head.len() + nonce.len() + sealed.len());
    clear.extend_from_slice(&head);
    clear.extend_from_slice(nonce);
    clear.extend_from_slice(sealed);
    if clear.len() <= LEAF_BYTES_MAX { Ok(clear) } else { Err(EncodeError::TooLarge) }
}

/// What is sealed, in plain.
#[must_use]
pub fn encode_phi(phi: &Phi) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    // Writing to a `Vec` cannot fail.
    let _ = write_phi(&mut Encoder::new(&mut out), phi);
    out
}

fn write_phi(e: &mut Encoder<&mut Vec<u8>>, phi: &Phi) -> Written {
    e.array(8)?;
    for list in [&phi.patients, &phi.resources] {
        e.array(list.len() as u64)?;
        for text in list {
            e.str(&cut(text, RESOURCE_BYTES_MAX))?;
        }
    }
    e.str(&cut(&phi.request, REQUEST_BYTES_MAX))?.str(&cut(&phi.peer, AGENT_BYTES_MAX))?;
    e.str(&cut(&phi.agent, AGENT_BYTES_MAX))?.str(&cut(&phi.scope, TEXT_BYTES_MAX))?;
    let attributes = phi.attributes.get(..ATTRIBUTES_MAX).unwrap_or(&phi.attributes);
    e.array(attributes.len() as u64)?;
    for (name, value) in attributes {
        e.array(2)?.str(&cut(name, NAME_BYTES_MAX))?.str(&cut(value, NAME_BYTES_MAX))?;
    }
    e.str(&cut(&phi.note, TEXT_BYTES_MAX))?;
    Ok(())
}

/// Reads a leaf's clear part.
///
/// # Errors
/// [`InvalidRecord`].
pub fn decode(bytes: &[u8]) -> Result<Leaf<'_>, InvalidRecord> {
    let d = &mut Decoder::new(bytes);
    list(d, 17)?;
    if d.u8()? != VERSION {
        return Err(InvalidRecord);
    }
    let tenant = d.str()?.to_owned();
    let stamp =
        Stamp { node: d.str()?.to_owned(), boot: fixed(d)?, seq: d.u64()?, ts_us: d.i64()?, clock_ok: d.bool()? };
    let kind = Kind::from_code(d.u8()?).ok_or(InvalidRecord)?;
    let phase = Phase::from_code(d.u8()?).ok_or(InvalidRecord)?;
    let outcome = Outcome::from_code(d.u8()?).ok_or(InvalidRecord)?;
    let request_id = fixed(d)?;
    list(d, 5)?;
    let actor = Actor {
        integration: d.str()?.to_owned(),
        person: d.str()?.to_owned(),
        session: maybe_id(d)?.map(SessionId),
        jti: d.str()?.to_owned(),
        roles: d.str()?.to_owned(),
    };
    list(d, 6)?;
    let decision = DecisionPart {
        reason: d.str()?.to_owned(),
        task: d.str()?.to_owned(),
        approval: maybe_id(d)?.map(ApprovalId),
        digest: digest(d)?,
        purpose_of_use: d.str()?.to_owned(),
        clauses: many(d, CLAUSES_MAX, |d| Ok(d.u32()?))?,
    };
    list(d, 7)?;
    let object = ObjectPart {
        kind: d.str()?.to_owned(),
        interaction: d.str()?.to_owned(),
        released: d.u32()?,
        filtered: d.u32()?,
        bytes: d.u64()?,
        digest: digest(d)?,
        status: d.u16()?,
    };
    let tags = many(d, PATIENTS_MAX, fixed)?;
    let kid = d.str()?.to_owned();
    let aad = bytes.get(..d.position()).ok_or(InvalidRecord)?;
    let sealed = d.bytes()?;
    if d.position() != bytes.len() {
        return Err(InvalidRecord);
    }
    let record = AuditRecord { tenant, kind, phase, outcome, request_id, actor, decision, object, phi: Phi::default() };
    Ok(Leaf { stamp, record, tags, kid, sealed, aad })
}

/// Reads what was sealed.
///
/// # Errors
/// [`InvalidRecord`].
pub fn decode_phi(bytes: &[u8]) -> Result<Phi, InvalidRecord> {
    let d = &mut Decoder::new(bytes);
    list(d, 8)?;
    let text = |d: &mut Decoder<'_>| Ok(d.str()?.to_owned());
    let phi = Phi {
        patients: many(d, LEAF_BYTES_MAX, text)?,
        resources: many(d, LEAF_BYTES_MAX, text)?,
        request: text(d)?,
        peer: text(d)?,
        agent: text(d)?,
        scope: text(d)?,
        attributes: many(d, ATTRIBUTES_MAX, |d| {
            list(d, 2)?;
            Ok((d.str()?.to_owned(), d.str()?.to_owned()))
        })?,
        note: text(d)?,
    };
    if d.position() == bytes.len() { Ok(phi) } else { Err(InvalidRecord) }
}

fn list(d: &mut Decoder<'_>, length: u64) -> Result<(), InvalidRecord> {
    if d.array()? == Some(length) { Ok(()) } else { Err(InvalidRecord) }
}

fn many<'b, T>(
    d: &mut Decoder<'b>,
    max: usize,
    mut one: impl FnMut(&mut Decoder<'b>) -> Result<T, InvalidRecord>,
) -> Result<Vec<T>, InvalidRecord> {
    let count = d.array()?.and_then(|count| usize::try_from(count).ok()).ok_or(InvalidRecord)?;
    if count > max {
        return Err(InvalidRecord);
    }
    (0..count).map(|_| one(d)).collect()
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], InvalidRecord> {
    d.bytes()?.try_into().map_err(|_| InvalidRecord)
}

fn maybe_id(d: &mut Decoder<'_>) -> Result<Option<[u8; 16]>, InvalidRecord> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    fixed(d).map(Some)
}

fn digest(d: &mut Decoder<'_>) -> Result<String, InvalidRecord> {
    if d.datatype()? == minicbor::data::Type::Bytes {
        return Ok(d.bytes()?.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Ok(d.str()?.to_owned())
}

/// A text of at most `max` bytes; a longer one is cut at a character and ends in `…`.
fn cut(text: &str, max: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= max {
        return text.into();
    }
    let end = (0..=max.saturating_sub('…'.len_utf8())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests;
