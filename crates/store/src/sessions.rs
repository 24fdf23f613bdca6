//! Sessions after they started: found, listed, ended.

use domain::session::LaunchKind;
use domain::{IntegrationId, Millis, SessionId, TaskRef, TenantId};

use crate::engine::{Bind, Row, Statement};
use crate::feed::{self, FeedKind};
use crate::grants;
use crate::tokens::NewSession;
use crate::{Store, StoreError};

/// Most sessions in one list.
const LIST_MAX: u32 = 1_000;

/// A session as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionRow {
    /// How it started.
    pub session: NewSession,
    /// Whether it was ended before its token expired.
    pub ended: Option<Ended>,
}

/// Who ended a session, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// When.
    pub at: Millis,
    /// A person's id, a client id, or a reason of the system.
    pub by: String,
}

/// Which sessions to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only this integration's.
    pub integration: Option<IntegrationId>,
    /// Only those about the patient with this tag.
    pub patient_tag: Option<[u8; 16]>,
    /// Only those whose token still lives at this time and that were not ended.
    pub live_at: Option<Millis>,
    /// Only those that started before.
    pub before: Option<Millis>,
    /// At most this many; 0 means the most there may be, 1000.
    pub limit: u32,
}

const FIND: Statement<1> = Statement::new(
    "SELECT id, tenant, integration, approval, task, version, epoch, launch, patient_sealed, patient_tag, scope, jti,
            created_at, expires_at, ended_at, ended_by
     FROM session WHERE id = $1",
);
const LIST: Statement<6> = Statement::new(
    "SELECT id, tenant, integration, approval, task, version, epoch, launch, patient_sealed, patient_tag, scope, jti,
            created_at, expires_at, ended_at, ended_by
     FROM session
     WHERE tenant = $1
       AND (CAST($2 AS TEXT) IS NULL OR integration = $2)
       AND (length($3) = 0 OR patient_tag = $3)
       AND (CAST($4 AS BIGINT) IS NULL OR (ended_at IS NULL AND expires_at > $4))
       AND created_at < $5
     ORDER BY created_at DESC, id LIMIT $6",
);
const END: Statement<3> =
    Statement::new("UPDATE session SET ended_at = $2, ended_by = $3 WHERE id = $1 AND ended_at IS NULL RETURNING id");
const ENDED_SINCE: Statement<1> = Statement::new("SELECT id FROM session WHERE ended_at >= $1");

pub(crate) fn session_of(row: &Row) -> Result<SessionRow, StoreError> {
    let version = u32::try_from(row.int(5)?).map_err(|_| StoreError::Corrupt("a version out of range"))?;
    let session = NewSession {
        id: row.parsed(0)?,
        tenant: row.parsed(1)?,
        integration: row.parsed(2)?,
        approval: row.parsed(3)?,
        task: TaskRef { name: row.parsed(4)?, version },
        epoch: row.count(6)?,
        launch: LaunchKind::read(&row.text(7)?).ok_or(StoreError::Corrupt("an unknown kind of launch"))?,
        patient_sealed: row.blob(8)?,
        patient_tag: row.bytes(9)?,
        scope: row.text(10)?,
        jti: row.text(11)?,
        created_at: row.int(12)?,
        expires_at: row.int(13)?,
    };
    let ended = match (row.maybe_int(14)?, row.maybe_text(15)?) {
        (Some(at), Some(by)) => Some(Ended { at, by }),
        _ => None,
    };
    Ok(SessionRow { session, ended })
}

impl Store {
    /// One session.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_session(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let id = id.to_string();
        let rows = self.pool.read(FIND, [Bind::Text(&id)]).await?;
        rows.first().map(session_of).transpose()
    }

    /// Sessions of a tenant, newest first, at most 1000.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sessions(&self, tenant: &TenantId, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let limit = if filter.limit == 0 { LIST_MAX } else { filter.limit.min(LIST_MAX) };
        let tag: &[u8] = filter.patient_tag.as_ref().map_or(&[], |tag| tag);
        let binds = [
            Bind::Text(tenant.as_str()),
            Bind::MaybeText(filter.integration.as_ref().map(IntegrationId::as_str)),
            Bind::Blob(tag),
            Bind::MaybeInt(filter.live_at),
            Bind::Int(filter.before.unwrap_or(i64::MAX)),
            Bind::Int(i64::from(limit)),
        ];
        self.pool.read(LIST, binds).await?.iter().map(session_of).collect()
    }

    /// Ends a session for good and tells every node; `None` when there is no such session or it was ended before.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn end_session(&self, id: &SessionId, at: Millis, by: &str) -> Result<Option<u64>, StoreError> {
        let id = id.to_string();
        let mut tx = self.pool.begin().await?;
        if tx.row(END, [Bind::Text(&id), Bind::Int(at), Bind::Text(by)]).await?.is_none() {
            return Ok(None);
        }
        // Whoever ends a session, its upstream grant is to be revoked.
        tx.run(grants::OVER, [Bind::Text(&id), Bind::Int(at)]).await?;
        let feed = feed::enter(&mut tx, FeedKind::SessionEnded, &id, at).await?;
        tx.commit().await?;
        Ok(Some(feed))
    }

    /// Every session ended at or after `at`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn ended_since(&self, at: Millis) -> Result<Vec<SessionId>, StoreError> {
        self.pool.read(ENDED_SINCE, [Bind::Int(at)]).await?.iter().map(|row| row.parsed(0)).collect()
    }
}
