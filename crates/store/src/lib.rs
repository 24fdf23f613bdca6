//! SQL, object storage and the write-ahead log: the only crate that knows a database or a log file.
//!
//! One SQL text per query in the dialect that SQLite and PostgreSQL share; `engine.rs` is the only file that tells
//! them apart. Times are arguments.

mod engine;
mod error;
mod exports;
mod feed;
mod finder;
mod grants;
mod identities;
mod keys;
mod logins;
mod once;
mod passkeys;
mod people;
mod person_sessions;
mod purge;
mod registry;
mod roles;
mod sessions;
mod surrogates;
mod tokens;
pub mod wal;
mod writer;

use std::sync::Arc;

use sqlx::migrate::{Migration, MigrationType, Migrator};

pub use error::{OpenError, StoreError};
pub use exports::{ExportOwner, ExportRow, ExportState};
pub use feed::{FeedEntry, FeedKind};
pub use grants::{GrantClaim, GrantRow};
pub use identities::{ProviderCeremony, ProviderSignIn, Roles};
pub use keys::WrappedKey;
pub use logins::{ANYBODY, ConsoleSession, LoginRequest, LoginState, Means, Took};
pub use once::{NewOnce, OnceKind, Taken};
pub use passkeys::{AddPasskeyRefusal, Ceremony, CeremonyKind, Passkey, PasskeyGone};
pub use people::{AddRefusal, GrantRefusal, NewPerson, PersonRow, RoleGrant};
pub use person_sessions::{
    FoundRefresh, NewPersonSession, NewRefresh, NewSignIn, PersonSession, REUSE_GRACE, Refresh, RefreshRefusal,
};
pub use registry::{
    ApprovalRow, Change, ChangeRefusal, FilterRow, FilterState, IntegrationRow, PolicyRow, PutApproval, PutIntegration,
    PutPolicy, RegistryRows, Thumbprint,
};
pub use roles::{PutRole, RoleRow};
pub use sessions::{Ended, SessionFilter, SessionRow};
pub use surrogates::{NewSurrogate, Originals, SurrogateOwner, Surrogates};
pub use tokens::{Issue, IssueRefusal, Issued, Mint, NewSession, NewTicket, Ticket, UsedAssertion};

use engine::Pool;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    writer: Arc<writer::Writer>,
    finder: Arc<finder::Finder>,
}

impl Store {
    /// Opens `sqlite:PATH`, `sqlite::memory:` or `postgres://…`, brings the schema up to date and starts the task that
    /// commits token requests in groups. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]: a url of another form, an unreachable database, or a schema that does not fit.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let pool = Pool::connect(url).await?;
        match &pool {
            Pool::Sqlite { writer, .. } => migrator(SQLITE).run(writer).await?,
            Pool::Postgres(pool) => migrator(POSTGRES).run(pool).await?,
        }
        let writer = Arc::new(writer::Writer::start(pool.clone()));
        let finder = Arc::new(finder::Finder::start(pool.clone()));
        Ok(Self { pool, writer, finder })
    }

    /// Closes every connection; what waits in the writer's queue is refused.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Migrations, in order: `(number, name, text)`.
type Migrations = &'static [(i64, &'static str, &'static str)];

const SQLITE: Migrations = &[
    (1, "start", include_str!("../migrations/sqlite/0001_start.sql")),
    (2, "policy", include_str!("../migrations/sqlite/0002_policy.sql")),
    (3, "role", include_str!("../migrations/sqlite/0003_role.sql")),
    (4, "export", include_str!("../migrations/sqlite/0004_export.sql")),
    (5, "person_session", include_str!("../migrations/sqlite/0005_person_session.sql")),
    (6, "passkey", include_str!("../migrations/sqlite/0006_passkey.sql")),
    (7, "upstream_grant", include_str!("../migrations/sqlite/0007_upstream_grant.sql")),
    (9, "identity", include_str!("../migrations/sqlite/0009_identity.sql")),
];
const POSTGRES: Migrations = &[
    (1, "start", include_str!("../migrations/postgres/0001_start.sql")),
    (2, "policy", include_str!("../migrations/postgres/0002_policy.sql")),
    (3, "role", include_str!("../migrations/postgres/0003_role.sql")),
    (4, "export", include_str!("../migrations/postgres/0004_export.sql")),
    (5, "person_session", include_str!("../migrations/postgres/0005_person_session.sql")),
    (6, "passkey", include_str!("../migrations/postgres/0006_passkey.sql")),
    (7, "upstream_grant", include_str!("../migrations/postgres/0007_upstream_grant.sql")),
    (9, "identity", include_str!("../migrations/postgres/0009_identity.sql")),
];

fn migrator(migrations: Migrations) -> Migrator {
    let list = migrations.iter().map(|&(number, name, text)| {
        let text = sqlx::SqlSafeStr::into_sql_str(text);
        Migration::new(number, name.into(), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(list.collect())
}
