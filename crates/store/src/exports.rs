//! Jobs of bulk export: kept until they expire, found by whoever made them and by nobody else (S1-14).

use domain::{ApprovalId, ExportId, IntegrationId, Millis, TenantId};

use crate::engine::{Bind, Statement};
use crate::{Store, StoreError};

/// How far a job is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExportState {
    /// The upstream is at work.
    Accepted,
    /// Its files are known.
    Complete,
    /// Its maker wants nothing more of it.
    Cancelled,
}

impl ExportState {
    const ALL: [Self; 3] = [Self::Accepted, Self::Complete, Self::Cancelled];

    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whose a job is: all three must fit, or there is no such job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The integration that made it.
    pub integration: IntegrationId,
    /// The approval it was made under.
    pub approval: ApprovalId,
}

/// A job as it stands.
#[derive(Clone, Eq, PartialEq)]
pub struct ExportRow {
    /// Its id.
    pub id: ExportId,
    /// Whose it is.
    pub owner: ExportOwner,
    /// How far it is.
    pub state: ExportState,
    /// What it is about, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Millis,
    /// When it is forgotten.
    pub expires_at: Millis,
}

impl std::fmt::Debug for ExportRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExportRow({} {:?}, [sealed])", self.id, self.state)
    }
}

const INSERT: Statement<8> = Statement::new(
    "INSERT INTO export_job (id, tenant, integration, approval, state, sealed, created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const FIND: Statement<5> = Statement::new(
    "SELECT state, sealed, created_at, expires_at FROM export_job
     WHERE id = $1 AND tenant = $2 AND integration = $3 AND approval = $4 AND expires_at > $5",
);
const LIVE: Statement<2> = Statement::new(
    "SELECT COUNT(*) FROM export_job WHERE integration = $1 AND expires_at > $2 AND state <> 'cancelled'",
);
const COMPLETE: Statement<2> = Statement::new(
    "UPDATE export_job SET state = 'complete', sealed = $2 WHERE id = $1 AND state = 'accepted' RETURNING id",
);
const CANCEL: Statement<1> =
    Statement::new("UPDATE export_job SET state = 'cancelled' WHERE id = $1 AND state <> 'cancelled' RETURNING id");

impl Store {
    /// Keeps a new job.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; then there is no such job.
    pub async fn insert_export(&self, row: &ExportRow) -> Result<(), StoreError> {
        let (id, approval) = (row.id.to_string(), row.owner.approval.to_string());
        let binds = [
            Bind::Text(&id),
            Bind::Text(row.owner.tenant.as_str()),
            Bind::Text(row.owner.integration.as_str()),
            Bind::Text(&approval),
            Bind::Text(row.state.word()),
            Bind::Blob(&row.sealed),
            Bind::Int(row.created_at),
            Bind::Int(row.expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(INSERT, binds).await?;
        tx.commit().await
    }

    /// The job of this id, if it is this owner's and has not expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_export(
        &self,
        id: &ExportId,
        owner: &ExportOwner,
        now: Millis,
    ) -> Result<Option<ExportRow>, StoreError> {
        let (text, approval) = (id.to_string(), owner.approval.to_string());
        let binds = [
            Bind::Text(&text),
            Bind::Text(owner.tenant.as_str()),
            Bind::Text(owner.integration.as_str()),
            Bind::Text(&approval),
            Bind::Int(now),
        ];
        let rows = self.pool.read(FIND, binds).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let word = row.text(0)?;
        let state = ExportState::ALL.into_iter().find(|state| state.word() == word);
        let state = state.ok_or(StoreError::Corrupt("an unknown state of an export"))?;
        Ok(Some(ExportRow {
            id: *id,
            owner: owner.clone(),
            state,
            sealed: row.blob(1)?,
            created_at: row.int(2)?,
            expires_at: row.int(3)?,
        }))
    }

    /// How many jobs of an integration are neither cancelled nor expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn live_exports(&self, integration: &IntegrationId, now: Millis) -> Result<u64, StoreError> {
        let rows = self.pool.read(LIVE, [Bind::Text(integration.as_str()), Bind::Int(now)]).await?;
        rows.first().ok_or(StoreError::Corrupt("a count without a row"))?.count(0)
    }

    /// Keeps what a job that is complete consists of; `false` when it was complete or cancelled before.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn complete_export(&self, id: &ExportId, sealed: &[u8]) -> Result<bool, StoreError> {
        let id = id.to_string();
        let mut tx = self.pool.begin().await?;
        let done = tx.row(COMPLETE, [Bind::Text(&id), Bind::Blob(sealed)]).await?.is_some();
        tx.commit().await?;
        Ok(done)
    }

    /// Cancels a job for good; `false` when it was cancelled before.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn cancel_export(&self, id: &ExportId) -> Result<bool, StoreError> {
        let id = id.to_string();
        let mut tx = self.pool.begin().await?;
        let done = tx.row(CANCEL, [Bind::Text(&id)]).await?.is_some();
        tx.commit().await?;
        Ok(done)
    }
}
