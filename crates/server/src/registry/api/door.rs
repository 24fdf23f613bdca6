//! How a change is carried out: intent durable, then the deed, then its outcome. Refusals on the way are recorded too.

use std::future::Future;

use domain::Reason;
use domain::audit::Phi;
use store::ChangeRefusal;

use super::problem::ApiError;
use super::visit::Visit;
use crate::registry::Registry;
use crate::registry::plan::{self, Plan};
use crate::registry::trail::Deed;

impl Registry {
    /// Runs `action` between its two records.
    pub(super) async fn carry_out<T>(
        &self,
        visit: &Visit,
        deed: Deed,
        action: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let intent = self.0.trail.intend(Some(&visit.caller), &deed).await?;
        let done = action.await;
        let status = done.as_ref().map_or_else(|why| why.status.as_u16(), |_| 200);
        if let Err(why) = self.0.trail.conclude(intent, plan::outcome(status), status, self.feed()).await {
            // The intent stands in the ledger, so nothing went unseen; but nobody can tell how it ended from there.
            tracing::error!("the outcome of a change could not be recorded: {why}");
            if done.is_ok() {
                let says =
                    "outcome unknown: the change was made but its outcome could not be recorded; read before retrying";
                return Err(ApiError::unrecorded(says));
            }
        }
        done.map_err(|why| ApiError { recorded: true, ..why })
    }

    /// Writes a plan, with its records.
    pub(super) async fn write_plan(&self, visit: &Visit, deed: Deed, plan: &Plan) -> Result<(), ApiError> {
        if plan.change.is_empty() {
            return Ok(());
        }
        let written = async {
            match self.write(&plan.change).await? {
                Ok(_) => Ok(()),
                Err(refusal) => {
                    self.alert_taken(visit, &refusal).await;
                    Err(ApiError::from(refusal))
                }
            }
        };
        self.carry_out(visit, deed, written).await
    }

    /// A key that someone else registered is more than a mistake (S1-33, S2-15).
    async fn alert_taken(&self, visit: &Visit, refusal: &ChangeRefusal) {
        let ChangeRefusal::KeyTaken(thumbprint) = refusal else { return };
        if let (Some(audit), Some(tenant)) = (&self.0.audit, &visit.tenant) {
            let text = format!("{} tried to register the key {} again", visit.caller.person, thumbprint.0);
            audit.alert(tenant, "key-reused", &text, Phi::default()).await;
        }
    }
}

impl ApiError {
    pub(super) fn unrecorded(says: &str) -> Self {
        let mut out = Self::unavailable(Reason::RecordFailed, says);
        out.status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        out.retry_after = None;
        out.recorded = true;
        out
    }
}
