//! Requests to be registered (RFC 7591): kept until people decide or they expire, and limited in number, since anybody may ask.

use domain::{IntegrationId, Millis, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::{Store, StoreError};

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RegistrationState {
    /// It waits for people.
    Requested,
    /// People said no.
    Rejected,
    /// An integration with its id was registered.
    Registered,
}

impl RegistrationState {
    const ALL: [Self; 3] = [Self::Requested, Self::Rejected, Self::Registered];

    /// As stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Rejected => "rejected",
            Self::Registered => "registered",
        }
    }
}

/// A new request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewRegistration {
    /// The `client_id` it was given.
    pub id: IntegrationId,
    /// In which tenant.
    pub tenant: TenantId,
    /// What was asked, as JSON text.
    pub body: String,
    /// Keyed tag of the address it came from.
    pub peer_tag: [u8; 16],
    /// When.
    pub created_at: Millis,
    /// When it is forgotten.
    pub expires_at: Millis,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegistrationLimits {
    /// Waiting in one tenant.
    pub waiting_max: u32,
    /// From one address to one tenant within `window`.
    pub peer_max: u32,
    /// Milliseconds.
    pub window: Millis,
}

/// A request as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistrationRow {
    /// The `client_id` it was given.
    pub id: IntegrationId,
    /// What became of it.
    pub state: RegistrationState,
    /// What was asked, as JSON text.
    pub body: String,
    /// When.
    pub created_at: Millis,
    /// When it is forgotten.
    pub expires_at: Millis,
    /// When people decided.
    pub decided_at: Option<Millis>,
}

/// Most rows listed; far more than may wait.
const LIST_MAX: i64 = 1_000;

const INSERT: Statement<9> = Statement::new(
    "INSERT INTO registration_request (id, tenant, state, body, peer_tag, created_at, expires_at)
     SELECT $1, $2, 'requested', $3, $4, $5, $6
     WHERE (SELECT COUNT(*) FROM registration_request WHERE tenant = $2 AND state = 'requested' AND expires_at > $5) < $7
       AND (SELECT COUNT(*) FROM registration_request WHERE tenant = $2 AND peer_tag = $4 AND created_at > $8) < $9
     RETURNING id",
);
const ROOM: Statement<6> = Statement::new(
    "SELECT COUNT(*) FROM registration_request
     WHERE (SELECT COUNT(*) FROM registration_request WHERE tenant = $1 AND state = 'requested' AND expires_at > $2) >= $3
        OR (SELECT COUNT(*) FROM registration_request WHERE tenant = $1 AND peer_tag = $4 AND created_at > $5) >= $6",
);
const LIST: Statement<3> = Statement::new(
    "SELECT id, state, body, created_at, expires_at, decided_at FROM registration_request
     WHERE tenant = $1 AND expires_at > $2 ORDER BY created_at DESC, id LIMIT $3",
);
const FIND: Statement<3> = Statement::new(
    "SELECT id, state, body, created_at, expires_at, decided_at FROM registration_request
     WHERE tenant = $1 AND id = $2 AND expires_at > $3",
);
const REJECT: Statement<3> = Statement::new(
    "UPDATE registration_request SET state = 'rejected', decided_at = $3
     WHERE tenant = $1 AND id = $2 AND state = 'requested' AND expires_at > $3 RETURNING id",
);
const REGISTERED: Statement<3> = Statement::new(
    "UPDATE registration_request SET state = 'registered', decided_at = $3
     WHERE tenant = $1 AND id = $2 AND state = 'requested'",
);

impl Store {
    /// Keeps a request, unless there are too many; then `false`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails, or the id is taken.
    pub async fn request_registration(
        &self,
        new: &NewRegistration,
        limits: RegistrationLimits,
    ) -> Result<bool, StoreError> {
        let binds = [
            Bind::Text(new.id.as_str()),
            Bind::Text(new.tenant.as_str()),
            Bind::Text(&new.body),
            Bind::Blob(&new.peer_tag),
            Bind::Int(new.created_at),
            Bind::Int(new.expires_at),
            Bind::Int(limits.waiting_max.into()),
            Bind::Int(new.created_at - limits.window),
            Bind::Int(limits.peer_max.into()),
        ];
        let mut tx = self.pool.begin().await?;
        let kept = tx.row(INSERT, binds).await?.is_some();
        tx.commit().await?;
        Ok(kept)
    }

    /// Whether one more would be kept now.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn has_registration_room(
        &self,
        tenant: &TenantId,
        peer_tag: &[u8; 16],
        limits: RegistrationLimits,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let binds = [
            Bind::Text(tenant.as_str()),
            Bind::Int(now),
            Bind::Int(limits.waiting_max.into()),
            Bind::Blob(peer_tag),
            Bind::Int(now - limits.window),
            Bind::Int(limits.peer_max.into()),
        ];
        let rows = self.pool.read(ROOM, binds).await?;
        Ok(rows.first().ok_or(StoreError::Corrupt("a count without a row"))?.count(0)? == 0)
    }

    /// A tenant's requests that have not expired, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn registrations(&self, tenant: &TenantId, now: Millis) -> Result<Vec<RegistrationRow>, StoreError> {
        let binds = [Bind::Text(tenant.as_str()), Bind::Int(now), Bind::Int(LIST_MAX)];
        self.pool.read(LIST, binds).await?.iter().map(read).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_registration(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        now: Millis,
    ) -> Result<Option<RegistrationRow>, StoreError> {
        let binds = [Bind::Text(tenant.as_str()), Bind::Text(id.as_str()), Bind::Int(now)];
        self.pool.read(FIND, binds).await?.first().map(read).transpose()
    }

    /// Says no; `false` when there is none that waits.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn reject_registration(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        at: Millis,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let binds = [Bind::Text(tenant.as_str()), Bind::Text(id.as_str()), Bind::Int(at)];
        let done = tx.row(REJECT, binds).await?.is_some();
        tx.commit().await?;
        Ok(done)
    }
}

/// Closes the request that an integration was registered for, with the writing of that integration.
pub(crate) async fn close(tx: &mut Tx, tenant: &TenantId, id: &IntegrationId, at: Millis) -> Result<(), StoreError> {
    tx.run(REGISTERED, [Bind::Text(tenant.as_str()), Bind::Text(id.as_str()), Bind::Int(at)]).await.map(drop)
}

fn read(row: &Row) -> Result<RegistrationRow, StoreError> {
    let word = row.text(1)?;
    let state = RegistrationState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(RegistrationRow {
        id: row.parsed(0)?,
        state: state.ok_or(StoreError::Corrupt("an unknown state of a registration request"))?,
        body: row.text(2)?,
        created_at: row.int(3)?,
        expires_at: row.int(4)?,
        decided_at: row.maybe_int(5)?,
    })
}
