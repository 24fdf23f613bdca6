//! People: accounts, passphrase hashes, role grants, API tokens and the single-use credential that makes the first ones.

use domain::{Millis, Person, PersonId, Role, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::{Store, StoreError};

/// How `role_grant.tenant` writes "every tenant"; no tenant id can be it.
const EVERY: &str = "*";

/// A person to create.
#[derive(Clone, Eq, PartialEq)]
pub struct NewPerson {
    /// Who.
    pub id: PersonId,
    /// For people.
    pub name: String,
    /// Argon2id hash of the passphrase, as a PHC string.
    pub credential: String,
    /// First roles.
    pub roles: Vec<RoleGrant>,
}

impl std::fmt::Debug for NewPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewPerson({}, [sealed])", self.id)
    }
}

/// A role in one tenant, or in every one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleGrant {
    /// Where; `None` is every tenant.
    pub tenant: Option<TenantId>,
    /// What.
    pub role: Role,
}

/// A person as they stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PersonRow {
    /// Who, with their roles.
    pub person: Person,
    /// When the account was switched off; `None` while it is on.
    pub disabled_at: Option<Millis>,
    /// When it was made.
    pub created_at: Millis,
}

/// Why a grant was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantRefusal {
    /// There is no such person.
    Unknown,
    /// The person would be operator and privacy officer in one tenant.
    BothDuties,
}

/// Why people were not created.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AddRefusal {
    /// The init credential is unknown, used or expired.
    Credential,
    /// The id exists.
    Exists(PersonId),
    /// The person would be operator and privacy officer in one tenant.
    BothDuties(PersonId),
}

pub(crate) const ADD: Statement<3> = Statement::new(
    "INSERT INTO person (id, name, revision, created_at) VALUES ($1, $2, 1, $3)
     ON CONFLICT (id) DO NOTHING RETURNING id",
);
const PUT_CREDENTIAL: Statement<3> = Statement::new(
    "INSERT INTO credential (person, hash, changed_at) VALUES ($1, $2, $3)
     ON CONFLICT (person) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at",
);
const CREDENTIAL: Statement<1> = Statement::new(
    "SELECT hash FROM credential WHERE person = (SELECT id FROM person WHERE id = $1 AND disabled_at IS NULL)",
);
/// Taking the person's row serialises grants to one person between nodes.
const TOUCH: Statement<1> =
    Statement::new("UPDATE person SET revision = revision + 1 WHERE id = $1 RETURNING revision");
const GRANT: Statement<6> = Statement::new(
    "INSERT INTO role_grant (person, tenant, role, granted_by, granted_at)
     SELECT $1, $2, $3, $4, $5
     WHERE NOT EXISTS (
       SELECT 1 FROM role_grant
       WHERE person = $1 AND role = $6 AND (tenant = $2 OR tenant = '*' OR CAST($2 AS TEXT) = '*'))
     ON CONFLICT (person, tenant, role) DO UPDATE SET granted_at = role_grant.granted_at
     RETURNING role",
);
const REVOKE: Statement<3> =
    Statement::new("DELETE FROM role_grant WHERE person = $1 AND tenant = $2 AND role = $3 RETURNING role");
const PEOPLE: Statement<0> = Statement::new("SELECT id, name, disabled_at, created_at FROM person ORDER BY id");
const PERSON: Statement<1> = Statement::new("SELECT id, name, disabled_at, created_at FROM person WHERE id = $1");
const ROLES: Statement<0> = Statement::new("SELECT person, tenant, role FROM role_grant ORDER BY tenant, role");
const ROLES_OF: Statement<1> =
    Statement::new("SELECT person, tenant, role FROM role_grant WHERE person = $1 ORDER BY tenant, role");
const DISABLE: Statement<2> =
    Statement::new("UPDATE person SET disabled_at = $2, revision = revision + 1 WHERE id = $1 RETURNING id");
const END_CONSOLE: Statement<1> = Statement::new("DELETE FROM console_session WHERE person = $1");
const END_PROVIDER: Statement<1> = Statement::new("DELETE FROM provider_sign_in WHERE person = $1");
const END_TOKENS: Statement<1> = Statement::new("DELETE FROM api_token WHERE person = $1");
pub(crate) const ADD_TOKEN: Statement<4> =
    Statement::new("INSERT INTO api_token (hash, person, created_at, used_at, expires_at) VALUES ($1, $2, $3, $3, $4)");
const USE_TOKEN: Statement<3> = Statement::new(
    "UPDATE api_token SET used_at = $2
     WHERE hash = $1 AND expires_at > $2 AND used_at > $3
       AND EXISTS (SELECT 1 FROM person WHERE person.id = api_token.person AND person.disabled_at IS NULL)
     RETURNING person",
);
const END_TOKEN: Statement<1> = Statement::new("DELETE FROM api_token WHERE hash = $1");
const ADD_INIT: Statement<3> =
    Statement::new("INSERT INTO init_credential (hash, created_at, expires_at) VALUES ($1, $2, $3)");
const USE_INIT: Statement<2> = Statement::new(
    "UPDATE init_credential SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING hash",
);

const INIT_USABLE: Statement<2> =
    Statement::new("SELECT 1 FROM init_credential WHERE hash = $1 AND used_at IS NULL AND expires_at > $2");

fn role_of(word: &str) -> Result<Role, StoreError> {
    [Role::Operator, Role::PrivacyOfficer, Role::Auditor]
        .into_iter()
        .find(|role| role.as_str() == word)
        .ok_or(StoreError::Corrupt("an unknown role"))
}

/// The role that may not be held beside this one in a tenant.
fn opposite(role: Role) -> &'static str {
    match role {
        Role::Operator => Role::PrivacyOfficer.as_str(),
        Role::PrivacyOfficer => Role::Operator.as_str(),
        Role::Auditor => "",
    }
}

fn tenant_word(tenant: Option<&TenantId>) -> &str {
    tenant.map_or(EVERY, TenantId::as_str)
}

fn person_of(row: &Row, roles: &[Row]) -> Result<PersonRow, StoreError> {
    let id: PersonId = row.parsed(0)?;
    let mut held = Vec::new();
    for role in roles {
        if role.text(0)? != id.as_str() {
            continue;
        }
        let tenant = role.text(1)?;
        let tenant = if tenant == EVERY { None } else { Some(role.parsed(1)?) };
        held.push((tenant, role_of(&role.text(2)?)?));
    }
    let person = Person { id, name: row.text(1)?, roles: held };
    Ok(PersonRow { person, disabled_at: row.maybe_int(2)?, created_at: row.int(3)? })
}

async fn add(tx: &mut Tx, person: &NewPerson, by: &str, at: Millis) -> Result<Result<(), AddRefusal>, StoreError> {
    let id = Bind::Text(person.id.as_str());
    if tx.row(ADD, [id, Bind::Text(&person.name), Bind::Int(at)]).await?.is_none() {
        return Ok(Err(AddRefusal::Exists(person.id.clone())));
    }
    tx.run(PUT_CREDENTIAL, [id, Bind::Text(&person.credential), Bind::Int(at)]).await?;
    for role in &person.roles {
        if !grant(tx, &person.id, role, by, at).await? {
            return Ok(Err(AddRefusal::BothDuties(person.id.clone())));
        }
    }
    Ok(Ok(()))
}

/// Signs a person out wherever they are signed in.
pub(crate) async fn end_everywhere(tx: &mut Tx, person: &PersonId) -> Result<(), StoreError> {
    tx.run(END_TOKENS, [Bind::Text(person.as_str())]).await?;
    tx.run(END_CONSOLE, [Bind::Text(person.as_str())]).await?;
    tx.run(END_PROVIDER, [Bind::Text(person.as_str())]).await?;
    Ok(())
}

async fn grant(tx: &mut Tx, person: &PersonId, role: &RoleGrant, by: &str, at: Millis) -> Result<bool, StoreError> {
    let binds = [
        Bind::Text(person.as_str()),
        Bind::Text(tenant_word(role.tenant.as_ref())),
        Bind::Text(role.role.as_str()),
        Bind::Text(by),
        Bind::Int(at),
        Bind::Text(opposite(role.role)),
    ];
    Ok(tx.row(GRANT, binds).await?.is_some())
}

impl Store {
    /// Creates a person.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; a refusal is a value and leaves nothing behind.
    pub async fn add_person(
        &self,
        person: &NewPerson,
        by: &str,
        at: Millis,
    ) -> Result<Result<(), AddRefusal>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let done = add(&mut tx, person, by, at).await?;
        if done.is_ok() {
            tx.commit().await?;
        }
        Ok(done)
    }

    /// Uses up the init credential with this SHA-256 and creates people, all or nothing.
    ///
    /// # Errors
    /// As [`Store::add_person`]; after a refusal the credential is as it was.
    pub async fn initialise(
        &self,
        credential: &[u8; 32],
        people: &[NewPerson],
        at: Millis,
    ) -> Result<Result<(), AddRefusal>, StoreError> {
        let mut tx = self.pool.begin().await?;
        if tx.row(USE_INIT, [Bind::Blob(credential), Bind::Int(at)]).await?.is_none() {
            return Ok(Err(AddRefusal::Credential));
        }
        for person in people {
            if let Err(why) = add(&mut tx, person, "init", at).await? {
                return Ok(Err(why));
            }
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Whether an init credential could be used at `now`; only [`Store::initialise`] uses it up.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn init_credential_usable(&self, hash: &[u8; 32], now: Millis) -> Result<bool, StoreError> {
        Ok(!self.pool.read(INIT_USABLE, [Bind::Blob(hash), Bind::Int(now)]).await?.is_empty())
    }

    /// Keeps the SHA-256 of a new init credential.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn insert_init_credential(
        &self,
        hash: &[u8; 32],
        at: Millis,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        tx.run(ADD_INIT, [Bind::Blob(hash), Bind::Int(at), Bind::Int(expires_at)]).await?;
        tx.commit().await
    }

    /// Everyone.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn people(&self) -> Result<Vec<PersonRow>, StoreError> {
        let roles = self.pool.read(ROLES, []).await?;
        self.pool.read(PEOPLE, []).await?.iter().map(|row| person_of(row, &roles)).collect()
    }

    /// One person.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_person(&self, id: &PersonId) -> Result<Option<PersonRow>, StoreError> {
        let roles = self.pool.read(ROLES_OF, [Bind::Text(id.as_str())]).await?;
        self.pool.read(PERSON, [Bind::Text(id.as_str())]).await?.first().map(|row| person_of(row, &roles)).transpose()
    }

    /// The passphrase hash of a person whose account is not switched off.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_credential(&self, id: &PersonId) -> Result<Option<String>, StoreError> {
        let rows = self.pool.read(CREDENTIAL, [Bind::Text(id.as_str())]).await?;
        rows.first().map(|row| row.text(0)).transpose()
    }

    /// Replaces a passphrase hash and ends the person's API tokens and sessions on pages.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or there is no such person.
    pub async fn put_credential(&self, id: &PersonId, hash: &str, at: Millis) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        tx.run(PUT_CREDENTIAL, [Bind::Text(id.as_str()), Bind::Text(hash), Bind::Int(at)]).await?;
        end_everywhere(&mut tx, id).await?;
        tx.commit().await
    }

    /// Grants a role; one already held stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; a refusal is a value.
    pub async fn grant_role(
        &self,
        person: &PersonId,
        role: &RoleGrant,
        by: &PersonId,
        at: Millis,
    ) -> Result<Result<(), GrantRefusal>, StoreError> {
        let mut tx = self.pool.begin().await?;
        if tx.row(TOUCH, [Bind::Text(person.as_str())]).await?.is_none() {
            return Ok(Err(GrantRefusal::Unknown));
        }
        if !grant(&mut tx, person, role, by.as_str(), at).await? {
            return Ok(Err(GrantRefusal::BothDuties));
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Takes a role away; `false` when it was not held.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn revoke_role(&self, person: &PersonId, role: &RoleGrant) -> Result<bool, StoreError> {
        let binds = [
            Bind::Text(person.as_str()),
            Bind::Text(tenant_word(role.tenant.as_ref())),
            Bind::Text(role.role.as_str()),
        ];
        let mut tx = self.pool.begin().await?;
        let gone = tx.row(REVOKE, binds).await?.is_some();
        tx.commit().await?;
        Ok(gone)
    }

    /// Switches an account off (its API tokens and sessions on pages end at once) or on (`None`); `false` when there is no such person.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn disable_person(&self, id: &PersonId, disabled_at: Option<Millis>) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let found = tx.row(DISABLE, [Bind::Text(id.as_str()), Bind::MaybeInt(disabled_at)]).await?.is_some();
        if disabled_at.is_some() {
            end_everywhere(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Keeps the SHA-256 of a new API token.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn add_api_token(
        &self,
        hash: &[u8; 32],
        person: &PersonId,
        at: Millis,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let binds = [Bind::Blob(hash), Bind::Text(person.as_str()), Bind::Int(at), Bind::Int(expires_at)];
        let mut tx = self.pool.begin().await?;
        tx.run(ADD_TOKEN, binds).await?;
        tx.commit().await
    }

    /// The person behind a living API token, last used after `idle_since`; notes the use.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn use_api_token(
        &self,
        hash: &[u8; 32],
        now: Millis,
        idle_since: Millis,
    ) -> Result<Option<PersonId>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = tx.row(USE_TOKEN, [Bind::Blob(hash), Bind::Int(now), Bind::Int(idle_since)]).await?;
        let person = row.map(|row| row.parsed(0)).transpose()?;
        tx.commit().await?;
        Ok(person)
    }

    /// Ends one API token (sign-out).
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn end_api_token(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        tx.run(END_TOKEN, [Bind::Blob(hash)]).await?;
        tx.commit().await
    }
}
