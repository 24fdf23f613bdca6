//! Keys of the process as rows: wrapped under the root key before they come here.

use domain::Millis;

use crate::engine::{Bind, Statement};
use crate::feed::{self, FeedKind};
use crate::{Store, StoreError};

/// One key, wrapped.
#[derive(Clone, Eq, PartialEq)]
pub struct WrappedKey {
    /// Tenant id, or `_system`.
    pub tenant: String,
    /// What it is for.
    pub purpose: String,
    /// Its name.
    pub kid: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it stopped being used for new things.
    pub retired_at: Option<Millis>,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedKey({} {} {}, [sealed])", self.tenant, self.purpose, self.kid)
    }
}

const ALL: Statement<0> = Statement::new(
    "SELECT tenant, purpose, kid, created_at, retired_at, wrapped FROM wrapped_key ORDER BY created_at, kid",
);
const INSERT: Statement<6> = Statement::new(
    "INSERT INTO wrapped_key (tenant, purpose, kid, created_at, retired_at, wrapped) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (kid) DO NOTHING",
);
const RETIRE: Statement<2> =
    Statement::new("UPDATE wrapped_key SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL");

impl Store {
    /// Every key.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn keys(&self) -> Result<Vec<WrappedKey>, StoreError> {
        let rows = self.pool.read(ALL, []).await?;
        rows.iter()
            .map(|row| {
                Ok(WrappedKey {
                    tenant: row.text(0)?,
                    purpose: row.text(1)?,
                    kid: row.text(2)?,
                    created_at: row.int(3)?,
                    retired_at: row.maybe_int(4)?,
                    wrapped: row.blob(5)?,
                })
            })
            .collect()
    }

    /// Keeps a new key; `false` when one of that name exists and was left alone.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn insert_key(&self, key: &WrappedKey) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let binds = [
            Bind::Text(&key.tenant),
            Bind::Text(&key.purpose),
            Bind::Text(&key.kid),
            Bind::Int(key.created_at),
            Bind::MaybeInt(key.retired_at),
            Bind::Blob(&key.wrapped),
        ];
        if tx.run(INSERT, binds).await? == 0 {
            return Ok(false);
        }
        feed::enter(&mut tx, FeedKind::Key, &key.kid, key.created_at).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Marks a key as no longer used for new things; one already retired keeps its time.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn retire_key(&self, kid: &str, at: Millis) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        if tx.run(RETIRE, [Bind::Text(kid), Bind::Int(at)]).await? > 0 {
            feed::enter(&mut tx, FeedKind::Key, kid, at).await?;
        }
        tx.commit().await
    }
}
