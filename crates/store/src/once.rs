//! What may be used once: authorization codes, launch handles, pushed requests, and requests that wait for a person.
//!
//! Only SHA-256 of a handle is kept, and what it stands for is sealed by the caller. Using one is a single statement, so of any
//! number of requests that bring the same handle at the same moment, on however many nodes, at most one has it.

use domain::{Millis, TenantId};

use crate::engine::{Bind, Statement};
use crate::{Store, StoreError};

/// What a handle is for; one of one kind is none of another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OnceKind {
    /// An authorization code (RFC 6749 §4.1.2).
    Code,
    /// A launch context for an app (SMART, "EHR launch").
    Launch,
    /// A pushed authorization request (RFC 9126).
    Pushed,
    /// An authorization request that waits for its person.
    Waiting,
    /// A sign-in at the identity provider, on its way.
    SignIn,
    /// A launch at the EHR, on its way.
    EhrLaunch,
}

impl OnceKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Launch => "launch",
            Self::Pushed => "pushed",
            Self::Waiting => "waiting",
            Self::SignIn => "sign-in",
            Self::EhrLaunch => "ehr-launch",
        }
    }
}

/// A handle about to be given out.
#[derive(Clone, Eq, PartialEq)]
pub struct NewOnce {
    /// SHA-256 of the handle.
    pub hash: [u8; 32],
    /// In which tenant.
    pub tenant: TenantId,
    /// What for.
    pub kind: OnceKind,
    /// What it stands for, sealed.
    pub sealed: Vec<u8>,
    /// When.
    pub created_at: Millis,
    /// Until when it may be used.
    pub expires_at: Millis,
}

impl std::fmt::Debug for NewOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewOnce({:?} of {}, [sealed])", self.kind, self.tenant)
    }
}

/// What became of an attempt to use a handle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It was good, and is used now.
    Now(Vec<u8>),
    /// It was used before; what it stood for tells whose session that was.
    Before(Vec<u8>),
    /// There is none, or its time is over.
    Gone,
}

const PUT: Statement<6> = Statement::new(
    "INSERT INTO one_time (hash, tenant, kind, sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
);
const FIND: Statement<4> = Statement::new(
    "SELECT sealed FROM one_time WHERE hash = $1 AND tenant = $2 AND kind = $3 AND used_at IS NULL AND expires_at > $4",
);
const CHANGE: Statement<5> = Statement::new(
    "UPDATE one_time SET sealed = $5
     WHERE hash = $1 AND tenant = $2 AND kind = $3 AND used_at IS NULL AND expires_at > $4",
);
pub(crate) const TAKE: Statement<4> = Statement::new(
    "UPDATE one_time SET used_at = $4
     WHERE hash = $1 AND tenant = $2 AND kind = $3 AND used_at IS NULL AND expires_at > $4 RETURNING sealed",
);
const USED: Statement<3> =
    Statement::new("SELECT sealed FROM one_time WHERE hash = $1 AND tenant = $2 AND kind = $3 AND used_at IS NOT NULL");

fn key<'a>(tenant: &'a TenantId, kind: OnceKind, hash: &'a [u8; 32]) -> [Bind<'a>; 3] {
    [Bind::Blob(hash), Bind::Text(tenant.as_str()), Bind::Text(kind.as_str())]
}

impl Store {
    /// Keeps what a new handle stands for.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails, or the handle was not random.
    pub async fn put_once(&self, new: &NewOnce) -> Result<(), StoreError> {
        let [hash, tenant, kind] = key(&new.tenant, new.kind, &new.hash);
        let mut tx = self.pool.begin().await?;
        let rest = [Bind::Blob(&new.sealed), Bind::Int(new.created_at), Bind::Int(new.expires_at)];
        let [sealed, created, expires] = rest;
        tx.run(PUT, [hash, tenant, kind, sealed, created, expires]).await?;
        tx.commit().await
    }

    /// What a handle stands for, if it may still be used; it stays usable.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_once(
        &self,
        tenant: &TenantId,
        kind: OnceKind,
        hash: &[u8; 32],
        now: Millis,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let [hash, tenant, kind] = key(tenant, kind, hash);
        let rows = self.pool.read(FIND, [hash, tenant, kind, Bind::Int(now)]).await?;
        rows.first().map(|row| row.blob(0)).transpose()
    }

    /// Replaces what an unused handle stands for; `false` if it may no longer be used.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn change_once(
        &self,
        tenant: &TenantId,
        kind: OnceKind,
        hash: &[u8; 32],
        sealed: &[u8],
        now: Millis,
    ) -> Result<bool, StoreError> {
        let [hash, tenant, kind] = key(tenant, kind, hash);
        let mut tx = self.pool.begin().await?;
        let changed = tx.run(CHANGE, [hash, tenant, kind, Bind::Int(now), Bind::Blob(sealed)]).await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Uses a handle up.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn take_once(
        &self,
        tenant: &TenantId,
        kind: OnceKind,
        hash: &[u8; 32],
        now: Millis,
    ) -> Result<Taken, StoreError> {
        let [hash, tenant, kind] = key(tenant, kind, hash);
        let mut tx = self.pool.begin().await?;
        if let Some(row) = tx.row(TAKE, [hash, tenant, kind, Bind::Int(now)]).await? {
            let sealed = row.blob(0)?;
            tx.commit().await?;
            return Ok(Taken::Now(sealed));
        }
        Ok(match tx.row(USED, [hash, tenant, kind]).await? {
            Some(row) => Taken::Before(row.blob(0)?),
            None => Taken::Gone,
        })
    }
}
