//! What the store promises, on SQLite in memory, on an SQLite file, and on PostgreSQL when `HILUM_TEST_POSTGRES` names
//! one (each run works in a schema of its own).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

#[path = "contract/exports.rs"]
mod exports;
#[path = "contract/grants.rs"]
mod grants;
#[path = "contract/groups.rs"]
mod groups;
#[path = "contract/passkeys.rs"]
mod passkeys;
#[path = "contract/people.rs"]
mod people;
#[path = "contract/registrations.rs"]
mod registrations;
#[path = "contract/registry.rs"]
mod registry;
#[path = "contract/roles.rs"]
mod roles;
#[path = "contract/tokens.rs"]
mod tokens;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::Budgets;
use domain::approval::{LaunchMode, Terms};
use domain::*;
use store::*;

pub const NOW: Millis = 1_795_000_000_000;

/// Runs a test body on every engine there is.
pub async fn on_every_engine<F: AsyncFn(Store)>(body: F) {
    body(Store::open("sqlite::memory:").await.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("hilum.db").display());
    body(Store::open(&file).await.unwrap()).await;
    let Ok(url) = std::env::var("HILUM_TEST_POSTGRES") else { return };
    static SCHEMA: AtomicU32 = AtomicU32::new(0);
    let schema = format!("hilum_{}_{}", std::process::id(), SCHEMA.fetch_add(1, Ordering::SeqCst));
    let admin = sqlx::postgres::PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&admin).await.unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let store = Store::open(&format!("{url}{mark}options=-csearch_path%3D{schema}")).await.unwrap();
    body(store.clone()).await;
    store.close().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).execute(&admin).await.unwrap();
}

pub fn integration(id: &str, tenant: &str) -> Integration {
    Integration {
        id: id.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        name: "Scheduler".into(),
        class: Class::ClinicalAi,
        environment: Environment::Production,
        owners: Owners {
            business: "bea@mercy.example".parse().unwrap(),
            technical: "tom@mercy.example".parse().unwrap(),
        },
        vendor: "Acme".into(),
        purpose: "books appointments".into(),
        data_classes: BTreeSet::from(["scheduling".to_owned()]),
        expected: BTreeSet::from(["Appointment".parse().unwrap()]),
        expires_at: NOW + 86_400_000,
        revocation_contact: "soc@mercy.example".into(),
        auth: ClientAuth {
            method: Default::default(),
            keys: Keys::JwksUrl("https://acme.example/jwks".into()),
            algorithms: BTreeSet::new(),
            audience: AssertionAudience::Both,
        },
        redirect_uris: vec![],
        launch_urls: Vec::new(),
        origins: Vec::new(),
        frame_ancestors: Vec::new(),
        demands: Default::default(),
        introspects: Default::default(),
        launches: BTreeSet::new(),
        role: None,
        status: IntegrationStatus::Active,
        epoch: 1,
    }
}

pub fn profile(version: u32) -> TaskProfile {
    TaskProfile {
        name: "scheduling".parse().unwrap(),
        version,
        purpose: "book appointments".into(),
        purpose_of_use: "HOPERAT".into(),
        scopes: "patient/Patient.rs patient/Appointment.rs".parse().unwrap(),
        operations: Default::default(),
        labels: Default::default(),
        sender_constraint: Default::default(),
    }
}

pub fn approval(byte: u8, integration: &str, tenant: &str) -> Approval {
    Approval {
        id: ApprovalId([byte; 16]),
        tenant: tenant.parse().unwrap(),
        integration: integration.parse().unwrap(),
        task: profile(1).reference(),
        terms: Terms { launch: vec![LaunchMode::Ticket {}], token_seconds: 300, budgets: Budgets::hourly(10) },
        justification: "needed".into(),
        requested_by: "olga@mercy.example".parse().unwrap(),
        requested_at: NOW,
        digest: "0".repeat(64),
        status: ApprovalStatus::Requested,
        first: None,
        approved_at: None,
    }
}

pub fn put(integration: Integration, keys: &[&str], expected: Option<u64>) -> PutIntegration {
    let thumbprints = keys.iter().map(|key| Thumbprint(format!("{key:A<43}"))).collect();
    PutIntegration { integration, thumbprints, expected }
}
