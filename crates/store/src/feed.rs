//! The change feed: numbered entries that tell every node what to read again.

use domain::Millis;

use crate::engine::{Bind, Statement, Tx};
use crate::{Store, StoreError};

/// Most entries read in one poll.
const POLL_MAX: i64 = 1_000;

/// What changed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FeedKind {
    /// An integration; the key is its id.
    Integration,
    /// A task profile; the key is `tenant/name@version`.
    Profile,
    /// An approval; the key is its id.
    Approval,
    /// What an upstream filters by; the key is `tenant/Type/param`.
    Filter,
    /// A session was ended; the key is its id.
    SessionEnded,
    /// A wrapped key; the key is its kid.
    Key,
    /// An organisation's policies; the key is the tenant.
    Policy,
    /// A role of AI services; the key is `tenant/name`.
    Role,
}

impl FeedKind {
    const ALL: [Self; 8] = [
        Self::Integration,
        Self::Profile,
        Self::Approval,
        Self::Filter,
        Self::SessionEnded,
        Self::Key,
        Self::Policy,
        Self::Role,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Integration => "integration",
            Self::Profile => "profile",
            Self::Approval => "approval",
            Self::Filter => "filter",
            Self::SessionEnded => "session-ended",
            Self::Key => "key",
            Self::Policy => "policy",
            Self::Role => "role",
        }
    }
}

/// One numbered change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedEntry {
    /// Its number; numbers have no gaps.
    pub n: u64,
    /// What changed.
    pub kind: FeedKind,
    /// Which.
    pub key: String,
}

const NEXT: Statement<0> = Statement::new("UPDATE feed SET n = n + 1 WHERE id = 1 RETURNING n");
const ENTER: Statement<4> = Statement::new("INSERT INTO feed_entry (n, kind, key, at) VALUES ($1, $2, $3, $4)");
const NOW: Statement<0> = Statement::new("SELECT n FROM feed WHERE id = 1");
const SINCE: Statement<2> = Statement::new("SELECT n, kind, key FROM feed_entry WHERE n > $1 ORDER BY n LIMIT $2");

/// Takes the next number inside the change's own transaction.
pub(crate) async fn enter(tx: &mut Tx, kind: FeedKind, key: &str, at: Millis) -> Result<u64, StoreError> {
    let row = tx.row(NEXT, []).await?.ok_or(StoreError::Corrupt("no feed row"))?;
    let n = row.int(0)?;
    tx.run(ENTER, [Bind::Int(n), Bind::Text(kind.as_str()), Bind::Text(key), Bind::Int(at)]).await?;
    row.count(0)
}

/// The number reached, seen inside a transaction.
pub(crate) async fn reached(tx: &mut Tx) -> Result<u64, StoreError> {
    tx.row(NOW, []).await?.ok_or(StoreError::Corrupt("no feed row"))?.count(0)
}

impl Store {
    /// The feed number reached.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn feed(&self) -> Result<u64, StoreError> {
        let rows = self.pool.read(NOW, []).await?;
        rows.first().ok_or(StoreError::Corrupt("no feed row"))?.count(0)
    }

    /// Entries after `n`, oldest first, at most 1000. The first is `n + 1`, or older entries have been purged and the
    /// reader must read everything again.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn feed_since(&self, n: u64) -> Result<Vec<FeedEntry>, StoreError> {
        let after = i64::try_from(n).unwrap_or(i64::MAX);
        let rows = self.pool.read(SINCE, [Bind::Int(after), Bind::Int(POLL_MAX)]).await?;
        rows.iter()
            .map(|row| {
                let word = row.text(1)?;
                let kind = FeedKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == word)
                    .ok_or(StoreError::Corrupt("an unknown kind of feed entry"))?;
                Ok(FeedEntry { n: row.count(0)?, kind, key: row.text(2)? })
            })
            .collect()
    }
}
