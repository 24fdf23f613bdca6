//! `Recorded`: a released answer whose record is durable. The only thing the responder takes.

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

impl Audit {
    /// Makes the record of a release durable; only then can the release be answered. On an error the body is dropped.
    ///
    /// # Errors
    /// [`RecordError`]: nothing may be released.
    pub async fn record(&self, slot: Slot, record: AuditRecord, released: Released) -> Result<Recorded, RecordError> {
        let receipt = self.append(slot, record).await?;
        Ok(Recorded { released, receipt })
    }
}
