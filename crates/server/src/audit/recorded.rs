//! `Recorded`: a released answer whose record is durable, the only thing the responder takes. `Intended`: a change whose
//! intent is, the only thing the broker writes by.

use domain::audit::AuditRecord;
use policy::{Released, WritePermit};
use store::wal::Receipt;

use super::{Audit, RecordError, Slot};

/// A released answer and the proof that it was recorded.
///
/// ```compile_fail
/// fn unrecorded(released: policy::Released, receipt: store::wal::Receipt) -> server::audit::Recorded {
///     server::audit::Recorded { released, receipt }
/// }
/// ```
// INVARIANT: made by `Audit::record` alone, after the record of this very `Released` was durable.
#[derive(Debug)]
pub struct Recorded {
    released: Released,
    receipt: Receipt,
}

impl Recorded {
    /// What may leave.
    #[must_use]
    pub fn released(&self) -> &Released {
        &self.released
    }

    /// Where it is recorded.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Takes out what may leave.
    #[must_use]
    pub fn into_released(self) -> Released {
        self.released
    }
}

/// A permitted change and the proof that its intent was recorded before it is made.
// INVARIANT: made by `Audit::intend` alone, after the record of this very change was durable.
#[derive(Debug)]
pub struct Intended {
    permit: WritePermit,
    #[expect(dead_code, reason = "held as the proof that it exists")]
    receipt: Receipt,
}

impl Intended {
    /// The permit, for the call.
    pub(crate) fn into_permit(self) -> WritePermit {
        self.permit
    }
}

impl Audit {
    /// Makes the record of an intent durable; only then can the change be made.
    ///
    /// # Errors
    /// [`RecordError`]: nothing may be changed.
    pub fn intend(
        &self,
        slot: Slot,
        record: AuditRecord,
        permit: WritePermit,
    ) -> impl Future<Output = Result<Intended, RecordError>> + Send + use<'_> {
        let appended = self.append(slot, record);
        async move { Ok(Intended { permit, receipt: appended.await? }) }
    }

    /// Makes the record of a release durable; only then can the release be answered. On an error the body is dropped.
    ///
    /// # Errors
    /// [`RecordError`]: nothing may be released.
    pub fn record(
        &self,
        slot: Slot,
        record: AuditRecord,
        released: Released,
    ) -> impl Future<Output = Result<Recorded, RecordError>> + Send + use<'_> {
        let appended = self.append(slot, record);
        async move { Ok(Recorded { released, receipt: appended.await? }) }
    }
}
