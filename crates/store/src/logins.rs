//! People signed in on pages, and command lines that wait for it.

use domain::{Millis, PersonId};

use crate::engine::{Bind, Statement};
use crate::identities::PASS_ON;
use crate::people::ADD_TOKEN;
use crate::{Store, StoreError};

/// By what a person signed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Means {
    /// A passkey: phishing-resistant.
    Passkey,
    /// A passphrase, while there is no passkey yet.
    Passphrase,
    /// An identity provider.
    Provider,
}

impl Means {
    const ALL: [Self; 3] = [Self::Passkey, Self::Passphrase, Self::Provider];

    /// As stored and recorded.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Passphrase => "passphrase",
            Self::Provider => "provider",
        }
    }
}

/// A person signed in on pages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsoleSession {
    /// Who.
    pub person: PersonId,
    /// By what.
    pub means: Means,
}

/// How far a waiting command line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginState {
    /// Nobody has answered.
    Asked,
    /// The person said yes; the token waits to be fetched.
    Granted,
    /// The person said no.
    Refused,
    /// The token was fetched.
    Taken,
}

impl LoginState {
    const ALL: [Self; 4] = [Self::Asked, Self::Granted, Self::Refused, Self::Taken];

    fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Taken => "taken",
        }
    }
}

/// A command line that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoginRequest {
    /// Its name in the page's address: 32 hexadecimal digits.
    pub id: String,
    /// Whom it was asked for, as text: they need not exist. `*` ([`ANYBODY`]) is whoever signs in at an identity provider.
    pub person: String,
    /// Shown at both ends.
    pub code: String,
    /// Address it came from.
    pub peer: String,
    /// How far it is.
    pub state: LoginState,
}

/// What a command line got for its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Took {
    /// The new API token is this person's, until then.
    Token(PersonId, Millis),
    /// Unknown, refused, over, fetched before, or not granted yet.
    Nothing,
}

/// In place of a person: whoever signs in at an identity provider, where nobody is known by a name before. No person id is this.
pub const ANYBODY: &str = "*";

/// Requests that may wait at once in the whole installation; more than that is not people.
const REQUESTS_MAX: i64 = 1_000;

const ADD_SESSION: Statement<5> = Statement::new(
    "INSERT INTO console_session (hash, person, means, created_at, used_at, expires_at) VALUES ($1, $2, $3, $4, $4, $5)",
);
const USE_SESSION: Statement<3> = Statement::new(
    "UPDATE console_session SET used_at = $2
     WHERE hash = $1 AND expires_at > $2 AND used_at > $3
       AND EXISTS (SELECT 1 FROM person WHERE person.id = console_session.person AND person.disabled_at IS NULL)
       AND (means <> 'passphrase' OR NOT EXISTS (SELECT 1 FROM passkey WHERE passkey.person = console_session.person))
     RETURNING person, means",
);
const END_SESSION: Statement<1> = Statement::new("DELETE FROM console_session WHERE hash = $1");
const ASK: Statement<8> = Statement::new(
    "INSERT INTO login_request (id, secret, person, code, peer, state, expires_at)
     SELECT $1, $2, $3, $4, $5, 'asked', $6
     WHERE (SELECT COUNT(*) FROM login_request WHERE expires_at > $7) < $8
     RETURNING id",
);
const FIND: Statement<2> =
    Statement::new("SELECT id, person, code, peer, state FROM login_request WHERE id = $1 AND expires_at > $2");
const FIND_BY_SECRET: Statement<2> =
    Statement::new("SELECT id, person, code, peer, state FROM login_request WHERE secret = $1 AND expires_at > $2");
const ANSWER: Statement<4> = Statement::new(
    "UPDATE login_request SET state = $3, person = $2
     WHERE id = $1 AND (person = $2 OR person = '*') AND state = 'asked' AND expires_at > $4 RETURNING secret",
);
const TAKE: Statement<2> = Statement::new(
    "UPDATE login_request SET state = 'taken'
     WHERE secret = $1 AND state = 'granted' AND expires_at > $2
       AND EXISTS (SELECT 1 FROM person WHERE person.id = login_request.person AND person.disabled_at IS NULL)
     RETURNING person",
);

fn request(rows: &[crate::engine::Row]) -> Result<Option<LoginRequest>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let word = row.text(4)?;
    let state = LoginState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(Some(LoginRequest {
        id: row.text(0)?,
        person: row.text(1)?,
        code: row.text(2)?,
        peer: row.text(3)?,
        state: state.ok_or(StoreError::Corrupt("an unknown state of a login request"))?,
    }))
}

impl Store {
    /// Keeps the SHA-256 of a new page session's secret.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn add_console_session(
        &self,
        hash: &[u8; 32],
        session: &ConsoleSession,
        at: Millis,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let binds = [
            Bind::Blob(hash),
            Bind::Text(session.person.as_str()),
            Bind::Text(session.means.as_str()),
            Bind::Int(at),
            Bind::Int(expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(ADD_SESSION, binds).await?;
        tx.commit().await
    }

    /// The person of a living page session, last used after `idle_since`; notes the use. One by passphrase ends with the first passkey.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn use_console_session(
        &self,
        hash: &[u8; 32],
        now: Millis,
        idle_since: Millis,
    ) -> Result<Option<ConsoleSession>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = tx.row(USE_SESSION, [Bind::Blob(hash), Bind::Int(now), Bind::Int(idle_since)]).await?;
        let session = row.map(|row| {
            let word = row.text(1)?;
            let means = Means::ALL.into_iter().find(|means| means.as_str() == word);
            let means = means.ok_or(StoreError::Corrupt("an unknown way to sign in"))?;
            Ok::<_, StoreError>(ConsoleSession { person: row.parsed(0)?, means })
        });
        let session = session.transpose()?;
        tx.commit().await?;
        Ok(session)
    }

    /// Ends one page session (sign-out).
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn end_console_session(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        tx.run(END_SESSION, [Bind::Blob(hash)]).await?;
        tx.commit().await
    }

    /// Keeps a command line's request; `false` when as many wait already as may.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn ask_login(
        &self,
        request: &LoginRequest,
        secret: &[u8; 32],
        now: Millis,
        expires_at: Millis,
    ) -> Result<bool, StoreError> {
        let binds = [
            Bind::Text(&request.id),
            Bind::Blob(secret),
            Bind::Text(&request.person),
            Bind::Text(&request.code),
            Bind::Text(&request.peer),
            Bind::Int(expires_at),
            Bind::Int(now),
            Bind::Int(REQUESTS_MAX),
        ];
        let mut tx = self.pool.begin().await?;
        let kept = tx.row(ASK, binds).await?.is_some();
        tx.commit().await?;
        Ok(kept)
    }

    /// A request that is not over, by its name in the page's address.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_login(&self, id: &str, now: Millis) -> Result<Option<LoginRequest>, StoreError> {
        request(&self.pool.read(FIND, [Bind::Text(id), Bind::Int(now)]).await?)
    }

    /// A request that is not over, by its secret's SHA-256.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_login_by_secret(
        &self,
        secret: &[u8; 32],
        now: Millis,
    ) -> Result<Option<LoginRequest>, StoreError> {
        request(&self.pool.read(FIND_BY_SECRET, [Bind::Blob(secret), Bind::Int(now)]).await?)
    }

    /// Answers a request, once, as the person it was asked for; `false` when it is another's, answered or over. `page` is the session on
    /// pages that answers: what an identity provider gave it is passed on to the command line.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn answer_login(
        &self,
        id: &str,
        person: &PersonId,
        state: LoginState,
        page: &[u8; 32],
        now: Millis,
    ) -> Result<bool, StoreError> {
        let binds = [Bind::Text(id), Bind::Text(person.as_str()), Bind::Text(state.as_str()), Bind::Int(now)];
        let mut tx = self.pool.begin().await?;
        let Some(row) = tx.row(ANSWER, binds).await? else { return Ok(false) };
        if state == LoginState::Granted {
            tx.run(PASS_ON, [Bind::Blob(page), Bind::Blob(&row.blob(0)?), Bind::Int(now)]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a granted request's token out, once: the request is used up and the token kept in one transaction.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn take_login(
        &self,
        secret: &[u8; 32],
        token: &[u8; 32],
        now: Millis,
        expires_at: Millis,
    ) -> Result<Took, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(row) = tx.row(TAKE, [Bind::Blob(secret), Bind::Int(now)]).await? else { return Ok(Took::Nothing) };
        let person: PersonId = row.parsed(0)?;
        // What an identity provider gave ends when its sign-in does, not eight hours after the command line fetched it (S4-03).
        let given = tx.row(PASS_ON, [Bind::Blob(secret), Bind::Blob(token), Bind::Int(now)]).await?;
        let expires_at = given.map(|row| row.int(0)).transpose()?.map_or(expires_at, |until| until.min(expires_at));
        let binds = [Bind::Blob(token), Bind::Text(person.as_str()), Bind::Int(now), Bind::Int(expires_at)];
        tx.run(ADD_TOKEN, binds).await?;
        tx.commit().await?;
        Ok(Took::Token(person, expires_at))
    }
}
