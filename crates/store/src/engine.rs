//! The two engines behind one face: pools, transactions, binds and rows. No SQL text is chosen by engine.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Postgres, Row as _, Sqlite, Transaction};

use crate::error::{OpenError, StoreError};

/// Connections for readers: a token endpoint and an API need few; SQLite reads do not block each other.
const READERS_MAX: u32 = 4;
/// PostgreSQL connections per node; a hundred nodes stay below common server limits.
const POSTGRES_MAX: u32 = 8;
/// Longest wait for a connection or a lock before the caller is refused.
const WAIT: Duration = Duration::from_secs(5);

/// One SQL text with its number of binds; the two are compared when the program is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement<const N: usize>(&'static str);

impl<const N: usize> Statement<N> {
    /// The text, whose highest `$n` must be `N`: a missing bind would be a silent NULL on SQLite.
    pub(crate) const fn new(sql: &'static str) -> Self {
        assert!(binds(sql) == N, "the statement's binds and its arity differ");
        Self(sql)
    }
}

/// The highest `$n` in a text.
pub(crate) const fn binds(sql: &str) -> usize {
    let mut rest = sql.as_bytes();
    let mut highest = 0;
    let mut number: Option<usize> = None;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        number = match (*byte, number) {
            (b'$', _) => Some(0),
            (digit @ b'0'..=b'9', Some(n)) => Some(n * 10 + (digit - b'0') as usize),
            _ => None,
        };
        if let Some(n) = number
            && n > highest
        {
            highest = n;
        }
    }
    highest
}

/// One bound value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bind<'a> {
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Int(i64),
    MaybeInt(Option<i64>),
    Blob(&'a [u8]),
    MaybeBlob(Option<&'a [u8]>),
}

/// One row of either engine; columns are read by position.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&self, index: usize) -> Result<$type, StoreError> {
            match self {
                Self::Sqlite(row) => Ok(row.try_get(index)?),
                Self::Postgres(row) => Ok(row.try_get(index)?),
            }
        }
    };
}

impl Row {
    column!(text, String);
    column!(int, i64);
    column!(maybe_text, Option<String>);
    column!(maybe_int, Option<i64>);
    column!(blob, Vec<u8>);
    column!(maybe_blob, Option<Vec<u8>>);

    /// A count, number or epoch: never negative.
    pub(crate) fn count(&self, index: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(index)?).map_err(|_| StoreError::Corrupt("a negative count"))
    }

    /// A fixed number of bytes.
    pub(crate) fn bytes<const N: usize>(&self, index: usize) -> Result<[u8; N], StoreError> {
        self.blob(index)?.try_into().map_err(|_| StoreError::Corrupt("a hash or tag of another length"))
    }

    /// Text that parses as one of the domain's names.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, index: usize) -> Result<T, StoreError> {
        self.text(index)?.parse().map_err(|_| StoreError::Corrupt("a name that no longer parses"))
    }

    /// A body written by this crate.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, index: usize) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(index)?).map_err(|_| StoreError::Corrupt("a body that no longer parses"))
    }
}

/// Connections to one database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    /// One writer, several readers (in memory: one connection is both).
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

macro_rules! bound {
    ($sql:expr, $binds:expr) => {{
        let mut query = sqlx::query($sql);
        for bind in $binds {
            query = match *bind {
                Bind::Text(value) => query.bind(value),
                Bind::MaybeText(value) => query.bind(value),
                Bind::Int(value) => query.bind(value),
                Bind::MaybeInt(value) => query.bind(value),
                Bind::Blob(value) => query.bind(value),
                Bind::MaybeBlob(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Pool {
    /// Connects; creates the SQLite file when it is missing.
    pub(crate) async fn connect(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let pool = PgPoolOptions::new().max_connections(POSTGRES_MAX).acquire_timeout(WAIT).connect(url).await?;
            return Ok(Self::Postgres(pool));
        }
        let Some(path) = url.strip_prefix("sqlite:") else {
            return Err(OpenError::Url);
        };
        let options =
            SqliteConnectOptions::new().foreign_keys(true).synchronous(SqliteSynchronous::Full).busy_timeout(WAIT);
        if path == ":memory:" {
            // The one connection is the database: it must never be dropped for idleness.
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(WAIT)
                .connect_with(options.in_memory(true))
                .await?;
            return Ok(Self::Sqlite { writer: pool.clone(), readers: pool });
        }
        private_file(path)?;
        let options = options.filename(path).journal_mode(SqliteJournalMode::Wal);
        // Measured on groups of token requests: temporary lists in memory, a cache that holds the indexes, and a checkpoint every
        // 32 MB instead of every 4 take a tenth off a commit.
        let tuned = options
            .clone()
            .pragma("temp_store", "2")
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", "8000");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(WAIT)
            .connect_with(tuned.create_if_missing(true))
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(WAIT)
            .connect_lazy_with(options.read_only(true));
        Ok(Self::Sqlite { writer, readers })
    }

    /// Rows of a query that changes nothing.
    pub(crate) async fn read<const N: usize>(
        &self,
        statement: Statement<N>,
        binds: [Bind<'_>; N],
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite { readers, .. } => {
                let rows = bound!(statement.0, &binds).fetch_all(readers).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool) => {
                let rows = bound!(statement.0, &binds).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Starts a transaction that writes: SQLite takes its write lock at once, so no later statement can find it taken.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)),
            Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await?)),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Creates a missing database file for its owner alone; SQLite gives its log files the same mode.
fn private_file(path: &str) -> Result<(), OpenError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop).map_err(|why| OpenError::Database(sqlx::Error::Io(why)))
}

/// One open transaction; dropping it rolls back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// Runs a statement and gives the rows it returns.
    pub(crate) async fn rows<const N: usize>(
        &mut self,
        statement: Statement<N>,
        binds: [Bind<'_>; N],
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => {
                let rows = bound!(statement.0, &binds).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(tx) => {
                let rows = bound!(statement.0, &binds).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row, if any.
    pub(crate) async fn row<const N: usize>(
        &mut self,
        statement: Statement<N>,
        binds: [Bind<'_>; N],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement, binds).await?.into_iter().next())
    }

    /// Runs a statement and counts the rows it touched.
    pub(crate) async fn run<const N: usize>(
        &mut self,
        statement: Statement<N>,
        binds: [Bind<'_>; N],
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(tx) => Ok(bound!(statement.0, &binds).execute(&mut **tx).await?.rows_affected()),
            Self::Postgres(tx) => Ok(bound!(statement.0, &binds).execute(&mut **tx).await?.rows_affected()),
        }
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => Ok(tx.commit().await?),
            Self::Postgres(tx) => Ok(tx.commit().await?),
        }
    }
}

#[test]
fn binds_are_counted_by_the_highest_number() {
    for (sql, count) in [("SELECT 1", 0), ("a = $1 AND b = $1", 1), ("$1,$2,$10", 10), ("'$' || $3x", 3)] {
        assert_eq!(binds(sql), count, "{sql}");
    }
}
