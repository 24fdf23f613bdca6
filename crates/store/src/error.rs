//! What can go wrong with a database, told apart as far as a caller could act on it.

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none of the three forms.
    #[error("the store url must be `sqlite:PATH`, `sqlite::memory:` or `postgres://…`")]
    Url,
    /// The database cannot be reached or opened.
    #[error("the database cannot be opened: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("the schema cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// A query failed; nothing of it took effect.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed or is not there.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row breaks an invariant this crate wrote it with.
    #[error("the database holds {0}")]
    Corrupt(&'static str),
    /// A value that cannot be written as a row.
    #[error("the object cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// The writer is gone or its queue is full.
    #[error("the store takes no more requests at the moment")]
    Busy,
}

impl StoreError {
    /// Whether the same transaction may succeed when it is tried again (serialisation failure, deadlock).
    #[must_use]
    pub fn transient(&self) -> bool {
        let Self::Database(sqlx::Error::Database(inner)) = self else { return false };
        matches!(inner.code().as_deref(), Some("40001" | "40P01" | "5" | "261" | "517"))
    }

    /// Whether a constraint of the schema refused the row.
    #[must_use]
    pub fn constraint(&self) -> bool {
        let Self::Database(sqlx::Error::Database(inner)) = self else { return false };
        inner.is_unique_violation() || inner.is_foreign_key_violation() || inner.is_check_violation()
    }
}
