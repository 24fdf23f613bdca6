//! What the EHR granted to the sessions that it launched: sealed, one row a session, worked on by one node at a time.

use domain::{Approval, ApprovalStatus, Integration, Millis, SessionId, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::{Store, StoreError};

/// A grant as it stands.
#[derive(Clone, Eq, PartialEq)]
pub struct GrantRow {
    /// Whose.
    pub session: SessionId,
    /// In which tenant.
    pub tenant: TenantId,
    /// The tokens, sealed.
    pub sealed: Vec<u8>,
    /// How many times its tokens were replaced, and one.
    pub revision: u64,
    /// When its session is over at the latest; then the tokens are to be revoked.
    pub expires_at: Millis,
    /// How often that was tried.
    pub attempts: u64,
}

impl std::fmt::Debug for GrantRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrantRow({} {}, [sealed])", self.session, self.revision)
    }
}

/// One node's leave to work on a grant, until a time; whoever comes after that time has another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrantClaim {
    /// Whose grant.
    pub session: SessionId,
    /// The revision that was claimed.
    pub revision: u64,
    /// Until when.
    pub until: Millis,
}

const INSERT: Statement<4> = Statement::new(
    "INSERT INTO upstream_grant (session, tenant, sealed, revision, expires_at, claimed_until, attempts)
     VALUES ($1, $2, $3, 1, $4, 0, 0) ON CONFLICT (session) DO NOTHING RETURNING session",
);
/// A session may have been ended before its grant was kept.
const OVER_IF_ENDED: Statement<1> = Statement::new(
    "UPDATE upstream_grant SET expires_at = 0
     WHERE session = $1 AND EXISTS (SELECT 1 FROM session WHERE id = $1 AND ended_at IS NOT NULL)",
);
const FIND: Statement<1> = Statement::new(
    "SELECT session, tenant, sealed, revision, expires_at, attempts FROM upstream_grant WHERE session = $1",
);
const KEEP: Statement<3> = Statement::new(
    "UPDATE upstream_grant SET expires_at = $2 WHERE session = $1 AND attempts = 0 AND expires_at > $3
       AND NOT EXISTS (SELECT 1 FROM session WHERE id = $1 AND ended_at IS NOT NULL) RETURNING session",
);
/// A grant whose session is over is claimed for nothing but its revocation.
const CLAIM: Statement<4> = Statement::new(
    "UPDATE upstream_grant SET claimed_until = $4
     WHERE session = $1 AND revision = $2 AND claimed_until <= $3 AND expires_at > $3 AND attempts = 0
     RETURNING session",
);
const CLAIM_DUE: Statement<4> = Statement::new(
    "UPDATE upstream_grant SET claimed_until = $4, attempts = attempts + 1
     WHERE session = $1 AND revision = $2 AND claimed_until <= $3 AND expires_at <= $3 RETURNING session",
);
const REPLACE: Statement<5> = Statement::new(
    "UPDATE upstream_grant SET sealed = $4, revision = revision + 1, claimed_until = 0,
       expires_at = CASE WHEN expires_at < $5 THEN expires_at ELSE $5 END
     WHERE session = $1 AND revision = $2 AND claimed_until = $3 RETURNING session",
);
const RELEASE: Statement<4> = Statement::new(
    "UPDATE upstream_grant SET claimed_until = $4 WHERE session = $1 AND revision = $2 AND claimed_until = $3
     RETURNING session",
);
const DELETE: Statement<3> = Statement::new(
    "DELETE FROM upstream_grant WHERE session = $1 AND revision = $2 AND claimed_until = $3 RETURNING session",
);
const DUE: Statement<2> = Statement::new(
    "SELECT session, tenant, sealed, revision, expires_at, attempts FROM upstream_grant
     WHERE expires_at <= $1 AND claimed_until <= $1 ORDER BY expires_at LIMIT $2",
);
/// Part of the end of a session.
pub(crate) const OVER: Statement<2> =
    Statement::new("UPDATE upstream_grant SET expires_at = $2 WHERE session = $1 AND expires_at > $2");
const OVER_BEFORE: Statement<3> = Statement::new(
    "UPDATE upstream_grant SET expires_at = $3 WHERE expires_at > $3 AND session IN
       (SELECT g.session FROM upstream_grant g JOIN session s ON s.id = g.session
        WHERE s.integration = $1 AND s.epoch < $2)",
);

/// Part of an integration's change: its epoch ends every session that began under an earlier one.
pub(crate) async fn over_before(tx: &mut Tx, integration: &Integration, at: Millis) -> Result<(), StoreError> {
    let binds = [Bind::Text(integration.id.as_str()), Bind::Int(number(integration.epoch)), Bind::Int(at)];
    tx.run(OVER_BEFORE, binds).await.map(drop)
}

const OVER_APPROVAL: Statement<2> = Statement::new(
    "UPDATE upstream_grant SET expires_at = $2 WHERE expires_at > $2 AND session IN
       (SELECT g.session FROM upstream_grant g JOIN session s ON s.id = g.session WHERE s.approval = $1)",
);

/// Part of an approval's change: one that is not in force any more has sessions no more.
pub(crate) async fn over_with(tx: &mut Tx, approval: &Approval, at: Millis) -> Result<(), StoreError> {
    if matches!(approval.status, ApprovalStatus::Requested | ApprovalStatus::Approved { .. }) {
        return Ok(());
    }
    let id = approval.id.to_string();
    tx.run(OVER_APPROVAL, [Bind::Text(&id), Bind::Int(at)]).await.map(drop)
}

fn grant_of(row: &Row) -> Result<GrantRow, StoreError> {
    Ok(GrantRow {
        session: row.parsed(0)?,
        tenant: row.parsed(1)?,
        sealed: row.blob(2)?,
        revision: row.count(3)?,
        expires_at: row.int(4)?,
        attempts: row.count(5)?,
    })
}

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

impl Store {
    /// Keeps a grant for a session until it is over; `false` when the session has one already.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn insert_grant(
        &self,
        session: &SessionId,
        tenant: &TenantId,
        sealed: &[u8],
        expires_at: Millis,
    ) -> Result<bool, StoreError> {
        let id = session.to_string();
        let binds = [Bind::Text(&id), Bind::Text(tenant.as_str()), Bind::Blob(sealed), Bind::Int(expires_at)];
        let mut tx = self.pool.begin().await?;
        let done = tx.row(INSERT, binds).await?.is_some();
        tx.run(OVER_IF_ENDED, [Bind::Text(&id)]).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// A session's grant.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_grant(&self, session: &SessionId) -> Result<Option<GrantRow>, StoreError> {
        let id = session.to_string();
        let rows = self.pool.read(FIND, [Bind::Text(&id)]).await?;
        rows.first().map(grant_of).transpose()
    }

    /// Moves the time at which a session is over; `false` when it has ended by `now` or its grant is being revoked.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn keep_grant(&self, session: &SessionId, expires_at: Millis, now: Millis) -> Result<bool, StoreError> {
        let id = session.to_string();
        let mut tx = self.pool.begin().await?;
        let done = tx.row(KEEP, [Bind::Text(&id), Bind::Int(expires_at), Bind::Int(now)]).await?.is_some();
        tx.commit().await?;
        Ok(done)
    }

    /// Claims a living grant for its refresh; `None` when another node has it, its tokens were replaced, or its session is over.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn claim_grant(
        &self,
        session: &SessionId,
        revision: u64,
        now: Millis,
        until: Millis,
    ) -> Result<Option<GrantClaim>, StoreError> {
        self.claim(CLAIM, session, revision, now, until).await
    }

    /// Claims a grant whose session is over, for one more attempt to revoke it.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn claim_due_grant(
        &self,
        session: &SessionId,
        revision: u64,
        now: Millis,
        until: Millis,
    ) -> Result<Option<GrantClaim>, StoreError> {
        self.claim(CLAIM_DUE, session, revision, now, until).await
    }

    async fn claim(
        &self,
        statement: Statement<4>,
        session: &SessionId,
        revision: u64,
        now: Millis,
        until: Millis,
    ) -> Result<Option<GrantClaim>, StoreError> {
        let id = session.to_string();
        let binds = [Bind::Text(&id), Bind::Int(number(revision)), Bind::Int(now), Bind::Int(until)];
        let mut tx = self.pool.begin().await?;
        let done = tx.row(statement, binds).await?;
        tx.commit().await?;
        Ok(done.map(|_| GrantClaim { session: *session, revision, until }))
    }

    /// Replaces the tokens of a claimed grant and gives the claim back; its session is over at `over_at`, or earlier if it was before.
    /// `false` when the claim has run out and somebody else has it.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn replace_grant(&self, claim: &GrantClaim, sealed: &[u8], over_at: Millis) -> Result<bool, StoreError> {
        let id = claim.session.to_string();
        let [session, revision, until] = held(claim, &id);
        let mut tx = self.pool.begin().await?;
        let done = tx.row(REPLACE, [session, revision, until, Bind::Blob(sealed), Bind::Int(over_at)]).await?;
        tx.commit().await?;
        Ok(done.is_some())
    }

    /// Gives a claim back; nobody has another before `again_at`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn release_grant(&self, claim: &GrantClaim, again_at: Millis) -> Result<bool, StoreError> {
        let id = claim.session.to_string();
        let [session, revision, until] = held(claim, &id);
        let mut tx = self.pool.begin().await?;
        let done = tx.row(RELEASE, [session, revision, until, Bind::Int(again_at)]).await?;
        tx.commit().await?;
        Ok(done.is_some())
    }

    /// Forgets a claimed grant.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn delete_grant(&self, claim: &GrantClaim) -> Result<bool, StoreError> {
        let id = claim.session.to_string();
        let mut tx = self.pool.begin().await?;
        let done = tx.row(DELETE, held(claim, &id)).await?;
        tx.commit().await?;
        Ok(done.is_some())
    }

    /// Grants of sessions that are over, which nobody works on at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn due_grants(&self, now: Millis, most: u32) -> Result<Vec<GrantRow>, StoreError> {
        self.pool.read(DUE, [Bind::Int(now), Bind::Int(i64::from(most))]).await?.iter().map(grant_of).collect()
    }
}

fn held<'a>(claim: &GrantClaim, id: &'a str) -> [Bind<'a>; 3] {
    [Bind::Text(id), Bind::Int(number(claim.revision)), Bind::Int(claim.until)]
}
