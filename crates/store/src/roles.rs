//! Roles of AI services as rows, written with whatever else a change of the registry writes.

use domain::{RoleName, ServiceRole, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::{Store, StoreError};

/// A role with the revision a later write must name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleRow {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: RoleName,
    /// What it says.
    pub role: ServiceRole,
    /// Grows with every write, from 1.
    pub revision: u64,
}

/// A role to insert (`expected` is `None`) or replace.
#[derive(Clone, Debug)]
pub struct PutRole {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: RoleName,
    /// What it says.
    pub role: ServiceRole,
    /// The revision it replaces.
    pub expected: Option<u64>,
}

const ROLES: Statement<0> = Statement::new("SELECT tenant, name, body, revision FROM service_role");
const INSERT: Statement<3> = Statement::new(
    "INSERT INTO service_role (tenant, name, revision, body) VALUES ($1, $2, 1, $3)
     ON CONFLICT (tenant, name) DO NOTHING RETURNING name",
);
const UPDATE: Statement<4> = Statement::new(
    "UPDATE service_role SET revision = revision + 1, body = $3
     WHERE tenant = $1 AND name = $2 AND revision = $4 RETURNING name",
);

fn role_of(row: &Row) -> Result<RoleRow, StoreError> {
    Ok(RoleRow { tenant: row.parsed(0)?, name: row.parsed(1)?, role: row.json(2)?, revision: row.count(3)? })
}

impl Store {
    /// The roles of all tenants.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row no longer parses.
    pub async fn roles(&self) -> Result<Vec<RoleRow>, StoreError> {
        self.pool.read(ROLES, []).await?.iter().map(role_of).collect()
    }
}

/// `false` when it has changed since it was read, or exists already.
pub(crate) async fn put(tx: &mut Tx, put: &PutRole) -> Result<bool, StoreError> {
    let body = serde_json::to_string(&put.role)?;
    let (tenant, name, body) = (Bind::Text(put.tenant.as_str()), Bind::Text(put.name.as_str()), Bind::Text(&body));
    let row = match put.expected {
        None => tx.row(INSERT, [tenant, name, body]).await?,
        Some(revision) => {
            let revision = Bind::Int(i64::try_from(revision).unwrap_or(i64::MAX));
            tx.row(UPDATE, [tenant, name, body, revision]).await?
        }
    };
    Ok(row.is_some())
}
