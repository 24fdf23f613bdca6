//! From record to leaf bytes and back: stamping, tagging, sealing, opening. Runs in the task that has the record, not in the writer.

use std::sync::Arc;

use domain::audit::cbor::{self, Leaf};
use domain::audit::{AuditRecord, Phi};
use vault::NONCE_BYTES;

use super::{Core, RecordError};
use crate::clock::random;
use crate::keys::{KeyError, KeyRing};

/// A leaf on its way to the writer.
#[derive(Debug)]
pub(super) struct SealedLeaf {
    pub(super) origin: Arc<str>,
    pub(super) bytes: Vec<u8>,
}

impl Core {
    /// Seals a record into one leaf, or several when its resources do not fit one.
    pub(super) fn seal(&self, record: AuditRecord) -> Result<Vec<SealedLeaf>, RecordError> {
        let parts = cbor::split(record)?;
        parts.iter().map(|part| self.seal_one(part)).collect()
    }

    fn seal_one(&self, record: &AuditRecord) -> Result<SealedLeaf, RecordError> {
        let stamp = self.stamps.next(&self.node, self.clock.now());
        let at = stamp.ts_us / 1000;
        let key = self.keys.audit_key(&record.tenant, at)?;
        // The tenant's own id stands for its one upstream: it stays when the upstream's address changes.
        let tag = |id: &String| self.keys.patient_tag(&record.tenant, &record.tenant, id, at);
        let tags = record.phi.patients.iter().map(tag).collect::<Result<Vec<_>, _>>()?;
        let clear = cbor::encode_clear(record, &stamp, &tags, key.kid())?;
        let nonce = random::<NONCE_BYTES>()?;
        let sealed = key.seal(&nonce, &clear, &cbor::encode_phi(&record.phi))?;
        let bytes = cbor::finish(clear, &nonce, &sealed)?;
        let year = crate::keys::month_of(at) / 100;
        let origin = format!("{}/{}/{}/{year}", self.host, record.tenant, self.node).into();
        Ok(SealedLeaf { origin, bytes })
    }
}

/// Opens the sealed part of a leaf.
pub(super) fn open_phi(keys: &KeyRing, leaf: &Leaf<'_>) -> Result<Phi, KeyError> {
    let key = keys.audit_key_named(&leaf.record.tenant, &leaf.kid)?;
    let (nonce, sealed) = leaf.sealed.split_first_chunk::<NONCE_BYTES>().ok_or(vault::OpenError)?;
    let plain = key.open(nonce, leaf.aad, sealed)?;
    cbor::decode_phi(&plain).map_err(|_| vault::OpenError.into())
}
