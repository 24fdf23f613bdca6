//! People who sign in at an identity provider: who they are there, and what one sign-in gave them for its own life.

use domain::{Millis, PersonId, Role, TenantId};

use crate::engine::{Bind, Row, Statement};
use crate::people::ADD;
use crate::{Store, StoreError};

/// Roles of one sign-in; `None` is every tenant.
pub type Roles = Vec<(Option<TenantId>, Role)>;

/// A sign-in under way.
#[derive(Clone, Eq, PartialEq)]
pub struct ProviderCeremony {
    /// Hash of the cookie of the browser that began it.
    pub browser: [u8; 32],
    /// Whose provider: a tenant's id, or empty for the installation's.
    pub place: String,
    /// The command line that waits for it, if one does.
    pub request: String,
    /// What the provider's answer is judged by, sealed.
    pub pending: Vec<u8>,
}

impl std::fmt::Debug for ProviderCeremony {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProviderCeremony({}, [sealed])", self.place)
    }
}

/// What a sign-in gave.
#[derive(Clone, Eq, PartialEq)]
pub struct ProviderSignIn {
    /// Who.
    pub person: PersonId,
    /// Whose provider: a tenant's id, or empty for the installation's.
    pub place: String,
    /// The session at the provider.
    pub sid: Option<String>,
    /// Roles, for as long as this lasts.
    pub roles: Roles,
    /// The ID token, sealed: for signing out at the provider.
    pub hint: Vec<u8>,
}

impl std::fmt::Debug for ProviderSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProviderSignIn({}, [sealed])", self.person)
    }
}

const BEGIN: Statement<6> = Statement::new(
    "INSERT INTO provider_ceremony (state, browser, place, request, pending, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
);
const REDEEM: Statement<3> = Statement::new(
    "DELETE FROM provider_ceremony WHERE state = $1 AND browser = $2 AND expires_at > $3
     RETURNING browser, place, request, pending",
);
const KNOWN: Statement<2> = Statement::new("SELECT person FROM person_identity WHERE issuer = $1 AND subject = $2");
const KNOW: Statement<3> = Statement::new(
    "INSERT INTO person_identity (person, issuer, subject) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING person",
);
const RENAME: Statement<2> = Statement::new("UPDATE person SET name = $2 WHERE id = $1 AND name <> $2");
const ADD_SIGN_IN: Statement<7> = Statement::new(
    "INSERT INTO provider_sign_in (hash, person, place, sid, roles, hint, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
const FIND_SIGN_IN: Statement<2> =
    Statement::new("SELECT person, place, sid, roles, hint FROM provider_sign_in WHERE hash = $1 AND expires_at > $2");
const IDENTITY: Statement<1> = Statement::new("SELECT issuer, subject FROM person_identity WHERE person = $1");
const END_OF: Statement<3> = Statement::new(
    "SELECT s.hash, s.person FROM provider_sign_in s JOIN person_identity i ON i.person = s.person
     WHERE i.issuer = $1 AND ($2 = '' OR i.subject = $2) AND ($3 = '' OR s.sid = $3)",
);
const END_SIGN_IN: Statement<1> = Statement::new("DELETE FROM provider_sign_in WHERE hash = $1");
const END_TOKEN: Statement<1> = Statement::new("DELETE FROM api_token WHERE hash = $1");
const END_SESSION: Statement<1> = Statement::new("DELETE FROM console_session WHERE hash = $1");
/// Passes what one secret has on to another: from a page to a command line that waits, and from there to its token.
pub(crate) const PASS_ON: Statement<3> = Statement::new(
    "INSERT INTO provider_sign_in (hash, person, place, sid, roles, hint, expires_at)
     SELECT $2, person, place, sid, roles, hint, expires_at FROM provider_sign_in WHERE hash = $1 AND expires_at > $3
     RETURNING expires_at",
);

fn sign_in(row: &Row) -> Result<ProviderSignIn, StoreError> {
    Ok(ProviderSignIn {
        person: row.parsed(0)?,
        place: row.text(1)?,
        sid: row.maybe_text(2)?,
        roles: row.json(3)?,
        hint: row.blob(4)?,
    })
}

impl Store {
    /// Keeps a sign-in that has begun, under the SHA-256 of its `state`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn begin_provider(
        &self,
        state: &[u8; 32],
        ceremony: &ProviderCeremony,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let binds = [
            Bind::Blob(state),
            Bind::Blob(&ceremony.browser),
            Bind::Text(&ceremony.place),
            Bind::Text(&ceremony.request),
            Bind::Blob(&ceremony.pending),
            Bind::Int(expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(BEGIN, binds).await?;
        tx.commit().await
    }

    /// Takes out the sign-in that this browser began under this `state`, once.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn redeem_provider(
        &self,
        state: &[u8; 32],
        browser: &[u8; 32],
        now: Millis,
    ) -> Result<Option<ProviderCeremony>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = tx.row(REDEEM, [Bind::Blob(state), Bind::Blob(browser), Bind::Int(now)]).await?;
        let found = row.map(|row| {
            Ok::<_, StoreError>(ProviderCeremony {
                browser: row.bytes(0)?,
                place: row.text(1)?,
                request: row.text(2)?,
                pending: row.blob(3)?,
            })
        });
        let found = found.transpose()?;
        tx.commit().await?;
        Ok(found)
    }

    /// The person who is this subject of this issuer; made under the first free of `names` when they come for the first time. A name that is
    /// somebody else's is never taken over. `None`: no name was free.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn person_at(
        &self,
        issuer: &str,
        subject: &str,
        names: &[PersonId],
        shown: &str,
        at: Millis,
    ) -> Result<Option<PersonId>, StoreError> {
        let mut tx = self.pool.begin().await?;
        if let Some(row) = tx.row(KNOWN, [Bind::Text(issuer), Bind::Text(subject)]).await? {
            let person: PersonId = row.parsed(0)?;
            tx.run(RENAME, [Bind::Text(person.as_str()), Bind::Text(shown)]).await?;
            tx.commit().await?;
            return Ok(Some(person));
        }
        for name in names {
            let id = Bind::Text(name.as_str());
            if tx.row(ADD, [id, Bind::Text(shown), Bind::Int(at)]).await?.is_some() {
                // Another node may have been first; then this one's account must not stay behind.
                if tx.row(KNOW, [id, Bind::Text(issuer), Bind::Text(subject)]).await?.is_none() {
                    return Ok(None);
                }
                tx.commit().await?;
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Who a person is at an identity provider, if they sign in there: issuer and subject.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn identity_of(&self, person: &PersonId) -> Result<Option<(String, String)>, StoreError> {
        let rows = self.pool.read(IDENTITY, [Bind::Text(person.as_str())]).await?;
        rows.first().map(|row| Ok((row.text(0)?, row.text(1)?))).transpose()
    }

    /// Keeps what a sign-in gave, under the SHA-256 of the page session's secret.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn add_provider_sign_in(
        &self,
        hash: &[u8; 32],
        given: &ProviderSignIn,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let roles = serde_json::to_string(&given.roles).map_err(|_| StoreError::Corrupt("roles that are no JSON"))?;
        let binds = [
            Bind::Blob(hash),
            Bind::Text(given.person.as_str()),
            Bind::Text(&given.place),
            Bind::MaybeText(given.sid.as_deref()),
            Bind::Text(&roles),
            Bind::Blob(&given.hint),
            Bind::Int(expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(ADD_SIGN_IN, binds).await?;
        tx.commit().await
    }

    /// What an identity provider gave to the secret with this SHA-256.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn provider_sign_in(&self, hash: &[u8; 32], now: Millis) -> Result<Option<ProviderSignIn>, StoreError> {
        self.pool.read(FIND_SIGN_IN, [Bind::Blob(hash), Bind::Int(now)]).await?.first().map(sign_in).transpose()
    }

    /// Ends what a secret was given (sign-out): its page session, its API token, its roles.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn end_provider_sign_in(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        for statement in [END_SIGN_IN, END_TOKEN, END_SESSION] {
            tx.run(statement, [Bind::Blob(hash)]).await?;
        }
        tx.commit().await
    }

    /// Ends the sign-ins of this issuer that a back-channel logout names, by subject, by session there, or by both; whose they were.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn end_provider_sign_ins(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
    ) -> Result<Vec<PersonId>, StoreError> {
        let (subject, sid) = (subject.unwrap_or_default(), sid.unwrap_or_default());
        // Without either, every sign-in would match.
        if subject.is_empty() && sid.is_empty() {
            return Ok(Vec::new());
        }
        let mut people = Vec::new();
        for row in self.pool.read(END_OF, [Bind::Text(issuer), Bind::Text(subject), Bind::Text(sid)]).await? {
            let hash: [u8; 32] = row.bytes(0)?;
            self.end_provider_sign_in(&hash).await?;
            let person: PersonId = row.parsed(1)?;
            if !people.contains(&person) {
                people.push(person);
            }
        }
        Ok(people)
    }
}
