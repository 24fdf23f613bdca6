//! `Recorded`: a released answer whose record is durable, the only thing the responder takes. `Intended`: a change, or an
//! export, whose intent is, the only thing the broker writes and begins by.

use domain::audit::AuditRecord;
use policy::Released;
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

/// A permit of something with consequences, and the proof that its intent was recorded before it is used.
// INVARIANT: made by `Audit::intend` alone, after the record of this very permit was durable.
#[derive(Debug)]
pub struct Intended<P> {
    permit: P,
    #[expect(dead_code, reason = "held as the proof that it exists")]
    receipt: Receipt,
}

impl<P> Intended<P> {
    /// The permit, for the call.
    pub(crate) fn into_permit(self) -> P {
        self.permit
    }
}

impl Audit {
    /// Makes the record of an intent durable; only then can the permit be used.
    ///
    /// # Errors
    /// [`RecordError`]: nothing may be changed or begun.
    pub fn intend<P: Send>(
        &self,
        slot: Slot,
        record: AuditRecord,
        permit: P,
    ) -> impl Future<Output = Result<Intended<P>, RecordError>> + Send + use<'_, P> {
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
