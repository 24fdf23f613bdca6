//! Sessions with a person, the sign-ins they hang on, and their refresh tokens.

use domain::{Millis, SessionId, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::sessions::SessionRow;
use crate::tokens::UsedAssertion;
use crate::{Store, StoreError};

/// How long after its use a refresh token may come again without ending its family: an answer that was lost is asked for again
/// (D-04). It is refused all the same, so there are never two branches.
pub const REUSE_GRACE: Millis = 10_000;

/// A person at a browser, about to be signed in; `hash` is SHA-256 of the cookie.
#[derive(Clone, Eq, PartialEq)]
pub struct NewSignIn {
    /// SHA-256 of the cookie.
    pub hash: [u8; 32],
    /// In which tenant.
    pub tenant: TenantId,
    /// The person's keyed tag.
    pub person_tag: [u8; 16],
    /// Who it is, sealed.
    pub sealed: Vec<u8>,
    /// When.
    pub created_at: Millis,
    /// When it ends whatever happens.
    pub expires_at: Millis,
}

impl std::fmt::Debug for NewSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSignIn({}, [sealed])", self.tenant)
    }
}

/// A refresh token about to be given out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewRefresh {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Until when it may be used.
    pub expires_at: Millis,
}

/// What a session with a person has beside what every session has.
#[derive(Clone, Eq, PartialEq)]
pub struct NewPersonSession {
    /// SHA-256 of the code that is redeemed.
    pub code: [u8; 32],
    /// The person's keyed tag.
    pub person_tag: [u8; 16],
    /// The sign-in it ends with, if it does.
    pub sign_in: Option<[u8; 32]>,
    /// What a refresh needs, sealed.
    pub sealed: Vec<u8>,
    /// When it ends unless it is refreshed before; `None` if it is not refreshed, or lives as long as its refresh token.
    pub idle_at: Option<Millis>,
    /// Its first refresh token.
    pub refresh: Option<NewRefresh>,
}

impl std::fmt::Debug for NewPersonSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewPersonSession([sealed])")
    }
}

/// A session with a person as it stands.
#[derive(Clone, Eq, PartialEq)]
pub struct PersonSession {
    /// The session.
    pub row: SessionRow,
    /// The sign-in it ends with, if it does.
    pub sign_in: Option<[u8; 32]>,
    /// What a refresh needs, sealed.
    pub sealed: Vec<u8>,
    /// When a token was last issued for it.
    pub used_at: Millis,
    /// When it ends unless it is refreshed before.
    pub idle_at: Option<Millis>,
}

impl std::fmt::Debug for PersonSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PersonSession({}, [sealed])", self.row.session.id)
    }
}

/// What a presented refresh token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FoundRefresh {
    /// Unused, of this session.
    Fresh(Box<PersonSession>),
    /// Used before, of this session.
    Used(SessionId),
    /// None that is known.
    Unknown,
}

/// A refresh that was decided and is to be made durable.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The client's assertion.
    pub assertion: UsedAssertion,
    /// SHA-256 of the presented token.
    pub hash: [u8; 32],
    /// Its session.
    pub session: SessionId,
    /// The token that takes its place; `None`: the same one goes on.
    pub rotated: Option<NewRefresh>,
    /// When the family ends now, for a token that goes on.
    pub expires_at: Millis,
    /// The newest access token's `jti`.
    pub jti: String,
    /// When it ends unless it is refreshed again.
    pub idle_at: Option<Millis>,
    /// When.
    pub now: Millis,
}

/// Why a refresh did not take effect; the assertion is used up in every case but the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshRefusal {
    /// The assertion was used before.
    AssertionReplayed,
    /// The token was used, or its session ended, in the meantime.
    Spent,
}

const USE: Statement<3> = Statement::new(
    "INSERT INTO used_assertion (issuer, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT (issuer, jti) DO NOTHING",
);
const SIGN_IN: Statement<6> = Statement::new(
    "INSERT INTO sign_in (hash, tenant, person_tag, sealed, created_at, used_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $5, $6)",
);
const SIGNED_IN: Statement<4> = Statement::new(
    "SELECT sealed FROM sign_in
     WHERE hash = $1 AND tenant = $2 AND ended_at IS NULL AND expires_at > $3 AND used_at > $4",
);
const TOUCH_SIGN_IN: Statement<2> =
    Statement::new("UPDATE sign_in SET used_at = $2 WHERE hash = $1 AND ended_at IS NULL AND used_at < $2");
const SIGN_OUT: Statement<2> = Statement::new("UPDATE sign_in SET ended_at = $2 WHERE hash = $1 AND ended_at IS NULL");
const OF_PERSON: Statement<2> =
    Statement::new("SELECT hash, sealed FROM sign_in WHERE tenant = $1 AND person_tag = $2 AND ended_at IS NULL");
const OF_TENANT: Statement<2> =
    Statement::new("SELECT hash, sealed FROM sign_in WHERE tenant = $1 AND ended_at IS NULL AND expires_at > $2");
const START: Statement<7> = Statement::new(
    "INSERT INTO person_session (session, tenant, person_tag, sign_in, sealed, used_at, idle_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
const GIVE: Statement<4> =
    Statement::new("INSERT INTO refresh_token (hash, session, created_at, expires_at) VALUES ($1, $2, $3, $4)");
const FIND: Statement<1> = Statement::new(
    "SELECT s.id, s.tenant, s.integration, s.approval, s.task, s.version, s.epoch, s.launch, s.patient_sealed,
            s.patient_tag, s.scope, s.jti, s.created_at, s.expires_at, s.ended_at, s.ended_by,
            p.sign_in, p.sealed, p.used_at, p.idle_at
     FROM person_session p JOIN session s ON s.id = p.session WHERE p.session = $1",
);
const OF_TAG: Statement<3> = Statement::new(
    "SELECT s.id, s.tenant, s.integration, s.approval, s.task, s.version, s.epoch, s.launch, s.patient_sealed,
            s.patient_tag, s.scope, s.jti, s.created_at, s.expires_at, s.ended_at, s.ended_by,
            p.sign_in, p.sealed, p.used_at, p.idle_at
     FROM person_session p JOIN session s ON s.id = p.session
     WHERE p.tenant = $1 AND p.person_tag = $2 AND s.ended_at IS NULL AND s.expires_at > $3
     ORDER BY s.created_at DESC, s.id LIMIT 200",
);
const TOKEN: Statement<2> =
    Statement::new("SELECT session, used_at FROM refresh_token WHERE hash = $1 AND expires_at > $2");
const USED_SINCE: Statement<3> =
    Statement::new("SELECT 1 FROM refresh_token WHERE session = $1 AND hash <> $2 AND used_at >= $3");
const ROTATE: Statement<2> =
    Statement::new("UPDATE refresh_token SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2");
const PROLONG: Statement<3> =
    Statement::new("UPDATE refresh_token SET expires_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $3");
const RENEW_SESSION: Statement<4> = Statement::new(
    "UPDATE session SET jti = $2, expires_at = $3 WHERE id = $1 AND ended_at IS NULL AND expires_at > $4",
);
const RENEW_PERSON: Statement<3> =
    Statement::new("UPDATE person_session SET used_at = $2, idle_at = $3 WHERE session = $1");
const HANGING: Statement<1> = Statement::new(
    "SELECT p.session FROM person_session p JOIN session s ON s.id = p.session
     WHERE p.sign_in = $1 AND s.ended_at IS NULL",
);
const IDLE: Statement<2> = Statement::new(
    "SELECT s.tenant, p.session FROM person_session p JOIN session s ON s.id = p.session
     WHERE p.idle_at <= $1 AND s.ended_at IS NULL AND s.expires_at > $1 LIMIT $2",
);

/// Most sessions ended for idleness in one round.
const IDLE_MAX: i64 = 500;

fn found(row: &Row) -> Result<PersonSession, StoreError> {
    let sign_in = row.maybe_blob(16)?.map(TryInto::try_into).transpose();
    Ok(PersonSession {
        row: crate::sessions::session_of(row)?,
        sign_in: sign_in.map_err(|_| StoreError::Corrupt("a hash of another length"))?,
        sealed: row.blob(17)?,
        used_at: row.int(18)?,
        idle_at: row.maybe_int(19)?,
    })
}

/// Writes what a session with a person has, in the transaction that starts the session.
pub(crate) async fn start(
    tx: &mut Tx,
    session: &SessionId,
    tenant: &TenantId,
    person: &NewPersonSession,
    now: Millis,
) -> Result<(), StoreError> {
    let id = session.to_string();
    let binds = [
        Bind::Text(&id),
        Bind::Text(tenant.as_str()),
        Bind::Blob(&person.person_tag),
        Bind::MaybeBlob(person.sign_in.as_ref().map(<[u8; 32]>::as_slice)),
        Bind::Blob(&person.sealed),
        Bind::Int(now),
        Bind::MaybeInt(person.idle_at),
    ];
    tx.run(START, binds).await?;
    if let Some(refresh) = &person.refresh {
        tx.run(GIVE, [Bind::Blob(&refresh.hash), Bind::Text(&id), Bind::Int(now), Bind::Int(refresh.expires_at)])
            .await?;
    }
    Ok(())
}

impl Store {
    /// Signs a person in.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sign_in(&self, new: &NewSignIn) -> Result<(), StoreError> {
        let binds = [
            Bind::Blob(&new.hash),
            Bind::Text(new.tenant.as_str()),
            Bind::Blob(&new.person_tag),
            Bind::Blob(&new.sealed),
            Bind::Int(new.created_at),
            Bind::Int(new.expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(SIGN_IN, binds).await?;
        tx.commit().await
    }

    /// Who is signed in by this cookie, if they gave a sign within `idle` before `now`; and this is one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn signed_in(
        &self,
        tenant: &TenantId,
        hash: &[u8; 32],
        now: Millis,
        idle: Millis,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let binds =
            [Bind::Blob(hash), Bind::Text(tenant.as_str()), Bind::Int(now), Bind::Int(now.saturating_sub(idle))];
        let Some(row) = tx.row(SIGNED_IN, binds).await? else { return Ok(None) };
        let sealed = row.blob(0)?;
        tx.run(TOUCH_SIGN_IN, [Bind::Blob(hash), Bind::Int(now)]).await?;
        tx.commit().await?;
        Ok(Some(sealed))
    }

    /// Signs a browser out; the living sessions that hang on it, for the caller to end.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sign_out(&self, hash: &[u8; 32], now: Millis) -> Result<Vec<SessionId>, StoreError> {
        let mut tx = self.pool.begin().await?;
        tx.run(SIGN_OUT, [Bind::Blob(hash), Bind::Int(now)]).await?;
        let rows = tx.rows(HANGING, [Bind::Blob(hash)]).await?;
        tx.commit().await?;
        rows.iter().map(|row| row.parsed(0)).collect()
    }

    /// Every sign-in of a person that was not ended: its hash, and its person, sealed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sign_ins_of(
        &self,
        tenant: &TenantId,
        person_tag: &[u8; 16],
    ) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let rows = self.pool.read(OF_PERSON, [Bind::Text(tenant.as_str()), Bind::Blob(person_tag)]).await?;
        rows.iter().map(|row| Ok((row.bytes(0)?, row.blob(1)?))).collect()
    }

    /// The same of everybody in a tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sign_ins_in(&self, tenant: &TenantId, now: Millis) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let rows = self.pool.read(OF_TENANT, [Bind::Text(tenant.as_str()), Bind::Int(now)]).await?;
        rows.iter().map(|row| Ok((row.bytes(0)?, row.blob(1)?))).collect()
    }

    /// What a refresh token is at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_refresh(&self, hash: &[u8; 32], now: Millis) -> Result<FoundRefresh, StoreError> {
        let rows = self.pool.read(TOKEN, [Bind::Blob(hash), Bind::Int(now)]).await?;
        let Some(row) = rows.first() else { return Ok(FoundRefresh::Unknown) };
        let session: SessionId = row.parsed(0)?;
        if let Some(used) = row.maybe_int(1)? {
            // Within the grace it is merely unknown: its answer was lost. Not so once a successor was used, which nobody has who did not
            // get that answer (RF-08, PF-08).
            let id = session.to_string();
            let since = self.pool.read(USED_SINCE, [Bind::Text(&id), Bind::Blob(hash), Bind::Int(used)]).await?;
            let lately = since.is_empty() && now.saturating_sub(used) < REUSE_GRACE;
            return Ok(if lately { FoundRefresh::Unknown } else { FoundRefresh::Used(session) });
        }
        Ok(self.person_session(&session).await?.map_or(FoundRefresh::Unknown, |one| FoundRefresh::Fresh(Box::new(one))))
    }

    /// The session of a refresh token that may still be used, for who wants to revoke it.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn session_of_refresh(&self, hash: &[u8; 32], now: Millis) -> Result<Option<SessionId>, StoreError> {
        let rows = self.pool.read(TOKEN, [Bind::Blob(hash), Bind::Int(now)]).await?;
        rows.first().map(|row| row.parsed(0)).transpose()
    }

    /// One session with a person.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn person_session(&self, id: &SessionId) -> Result<Option<PersonSession>, StoreError> {
        let id = id.to_string();
        let rows = self.pool.read(FIND, [Bind::Text(&id)]).await?;
        rows.first().map(found).transpose()
    }

    /// The living sessions of one person, newest first, at most 200.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn sessions_of_person(
        &self,
        tenant: &TenantId,
        person_tag: &[u8; 16],
        now: Millis,
    ) -> Result<Vec<PersonSession>, StoreError> {
        let binds = [Bind::Text(tenant.as_str()), Bind::Blob(person_tag), Bind::Int(now)];
        self.pool.read(OF_TAG, binds).await?.iter().map(found).collect()
    }

    /// Makes a refresh durable; what did not take effect left nothing but the used assertion.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn refresh(&self, refresh: &Refresh) -> Result<Result<u64, RefreshRefusal>, StoreError> {
        let id = refresh.session.to_string();
        let UsedAssertion { issuer, jti, expires_at } = &refresh.assertion;
        let mut tx = self.pool.begin().await?;
        if tx.run(USE, [Bind::Text(issuer), Bind::Text(jti), Bind::Int(*expires_at)]).await? == 0 {
            return Ok(Err(RefreshRefusal::AssertionReplayed));
        }
        let (hash, now) = (Bind::Blob(&refresh.hash), Bind::Int(refresh.now));
        let taken = match &refresh.rotated {
            Some(_) => tx.run(ROTATE, [hash, now]).await?,
            None => tx.run(PROLONG, [hash, Bind::Int(refresh.expires_at), now]).await?,
        };
        let renew = [Bind::Text(&id), Bind::Text(&refresh.jti), Bind::Int(refresh.expires_at), now];
        if taken == 0 || tx.run(RENEW_SESSION, renew).await? == 0 {
            drop(tx);
            // The assertion is used up whatever became of the rest.
            let mut tx = self.pool.begin().await?;
            tx.run(USE, [Bind::Text(issuer), Bind::Text(jti), Bind::Int(*expires_at)]).await?;
            tx.commit().await?;
            return Ok(Err(RefreshRefusal::Spent));
        }
        if let Some(new) = &refresh.rotated {
            tx.run(GIVE, [Bind::Blob(&new.hash), Bind::Text(&id), now, Bind::Int(new.expires_at)]).await?;
        }
        tx.run(RENEW_PERSON, [Bind::Text(&id), now, Bind::MaybeInt(refresh.idle_at)]).await?;
        let feed = crate::feed::reached(&mut tx).await?;
        tx.commit().await?;
        Ok(Ok(feed))
    }

    /// Sessions that were not refreshed in time and are not ended yet, at most 500.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn idle_sessions(&self, now: Millis) -> Result<Vec<(TenantId, SessionId)>, StoreError> {
        let rows = self.pool.read(IDLE, [Bind::Int(now), Bind::Int(IDLE_MAX)]).await?;
        rows.iter().map(|row| Ok((row.parsed(0)?, row.parsed(1)?))).collect()
    }
}
