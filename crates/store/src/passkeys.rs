//! Passkeys of people, and the challenges that browsers answer once.

use domain::{Millis, PersonId};

use crate::engine::{Bind, Row, Statement};
use crate::people::end_everywhere;
use crate::{Store, StoreError};

/// A passkey of a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passkey {
    /// Its name on the API: 32 hexadecimal digits of its credential id's hash.
    pub id: String,
    /// Whose.
    pub person: PersonId,
    /// What they call it.
    pub name: String,
    /// The credential id its authenticator chose.
    pub credential: Vec<u8>,
    /// Public key (COSE).
    pub public_key: Vec<u8>,
    /// Signature counter it last came with.
    pub counter: u32,
    /// When it was enrolled.
    pub created_at: Millis,
    /// When it last signed somebody in.
    pub used_at: Option<Millis>,
}

/// Why a passkey was not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddPasskeyRefusal {
    /// That credential is kept already, for this person or another.
    Exists,
    /// The person has as many as one may have.
    Many,
    /// The person is gone or switched off.
    Unknown,
}

/// What became of a passkey that was to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasskeyGone {
    /// It is gone; the person has others.
    Gone,
    /// It is gone and was the last: the passphrase works again.
    Last,
    /// It stays: it is the last one, and only somebody else may take that.
    Kept,
    /// The person has no such passkey.
    Unknown,
}

/// What a challenge is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CeremonyKind {
    /// A new passkey.
    Enrol,
    /// Signing in with one.
    SignIn,
}

impl CeremonyKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::SignIn => "sign-in",
        }
    }
}

/// A challenge that was given out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ceremony {
    /// What for.
    pub kind: CeremonyKind,
    /// Hash of the cookie of the browser that may answer.
    pub browser: [u8; 32],
    /// Who enrols.
    pub person: Option<PersonId>,
}

/// Most passkeys of one person.
const PASSKEYS_MAX: i64 = 20;

const OF: Statement<1> = Statement::new(
    "SELECT id, person, name, credential, public_key, counter, created_at, used_at FROM passkey
     WHERE person = $1 ORDER BY created_at, id",
);
const BY_CREDENTIAL: Statement<1> = Statement::new(
    "SELECT id, person, name, credential, public_key, counter, created_at, used_at FROM passkey
     WHERE credential = $1
       AND EXISTS (SELECT 1 FROM person WHERE person.id = passkey.person AND person.disabled_at IS NULL)",
);
/// Taking the person's row serialises changes of one person's passkeys between nodes.
const LOCK: Statement<1> =
    Statement::new("UPDATE person SET revision = revision + 1 WHERE id = $1 AND disabled_at IS NULL RETURNING id");
const LOCK_ANY: Statement<1> = Statement::new("UPDATE person SET revision = revision + 1 WHERE id = $1 RETURNING id");
const COUNT: Statement<1> = Statement::new("SELECT COUNT(*) FROM passkey WHERE person = $1");
const ADD: Statement<7> = Statement::new(
    "INSERT INTO passkey (id, person, name, credential, public_key, counter, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id",
);
const REMOVE: Statement<2> = Statement::new("DELETE FROM passkey WHERE person = $1 AND id = $2 RETURNING id");
/// Two zeros are an authenticator that does not count; any other must have gone on (WebAuthn §6.1.1).
const USE: Statement<3> = Statement::new(
    "UPDATE passkey SET counter = $2, used_at = $3
     WHERE id = $1 AND (counter < $2 OR (counter = 0 AND $2 = 0)) RETURNING id",
);
const HANDLE: Statement<2> = Statement::new(
    "INSERT INTO passkey_holder (person, handle) VALUES ($1, $2)
     ON CONFLICT (person) DO UPDATE SET handle = passkey_holder.handle RETURNING handle",
);
const HANDLE_OF: Statement<1> = Statement::new("SELECT handle FROM passkey_holder WHERE person = $1");
const BEGIN: Statement<5> =
    Statement::new("INSERT INTO ceremony (challenge, kind, browser, person, expires_at) VALUES ($1, $2, $3, $4, $5)");
const REDEEM: Statement<1> =
    Statement::new("DELETE FROM ceremony WHERE challenge = $1 RETURNING kind, browser, person, expires_at");

fn passkey(row: &Row) -> Result<Passkey, StoreError> {
    Ok(Passkey {
        id: row.text(0)?,
        person: row.parsed(1)?,
        name: row.text(2)?,
        credential: row.blob(3)?,
        public_key: row.blob(4)?,
        counter: u32::try_from(row.int(5)?).map_err(|_| StoreError::Corrupt("a counter that is none"))?,
        created_at: row.int(6)?,
        used_at: row.maybe_int(7)?,
    })
}

impl Store {
    /// A person's passkeys, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn passkeys(&self, person: &PersonId) -> Result<Vec<Passkey>, StoreError> {
        self.pool.read(OF, [Bind::Text(person.as_str())]).await?.iter().map(passkey).collect()
    }

    /// The passkey with this credential id, of a person whose account is not switched off.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_passkey(&self, credential: &[u8]) -> Result<Option<Passkey>, StoreError> {
        self.pool.read(BY_CREDENTIAL, [Bind::Blob(credential)]).await?.first().map(passkey).transpose()
    }

    /// Keeps a new passkey. With a person's first, everything they were signed in to by passphrase ends.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; a refusal is a value and leaves nothing behind.
    pub async fn add_passkey(&self, new: &Passkey) -> Result<Result<(), AddPasskeyRefusal>, StoreError> {
        let person = Bind::Text(new.person.as_str());
        let mut tx = self.pool.begin().await?;
        if tx.row(LOCK, [person]).await?.is_none() {
            return Ok(Err(AddPasskeyRefusal::Unknown));
        }
        let have = tx.row(COUNT, [person]).await?.map_or(Ok(0), |row| row.int(0))?;
        if have >= PASSKEYS_MAX {
            return Ok(Err(AddPasskeyRefusal::Many));
        }
        let binds = [
            Bind::Text(&new.id),
            person,
            Bind::Text(&new.name),
            Bind::Blob(&new.credential),
            Bind::Blob(&new.public_key),
            Bind::Int(i64::from(new.counter)),
            Bind::Int(new.created_at),
        ];
        if tx.row(ADD, binds).await?.is_none() {
            return Ok(Err(AddPasskeyRefusal::Exists));
        }
        if have == 0 {
            end_everywhere(&mut tx, &new.person).await?;
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Takes a passkey away, and signs the person out everywhere when that may be needed. `last_too`: whether the last one may go.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn remove_passkey(&self, person: &PersonId, id: &str, last_too: bool) -> Result<PasskeyGone, StoreError> {
        let name = Bind::Text(person.as_str());
        let mut tx = self.pool.begin().await?;
        if tx.row(LOCK_ANY, [name]).await?.is_none() || tx.row(REMOVE, [name, Bind::Text(id)]).await?.is_none() {
            return Ok(PasskeyGone::Unknown);
        }
        let left = tx.row(COUNT, [name]).await?.map_or(Ok(0), |row| row.int(0))?;
        if left == 0 && !last_too {
            return Ok(PasskeyGone::Kept);
        }
        if last_too {
            // Somebody else does this because the passkey is lost or in other hands.
            end_everywhere(&mut tx, person).await?;
        }
        tx.commit().await?;
        Ok(if left == 0 { PasskeyGone::Last } else { PasskeyGone::Gone })
    }

    /// Notes a use of a passkey; `false` when its counter did not go on, or it is gone. One statement, so two uses with one counter
    /// cannot both count.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn use_passkey(&self, id: &str, counter: u32, now: Millis) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let fits = tx.row(USE, [Bind::Text(id), Bind::Int(i64::from(counter)), Bind::Int(now)]).await?.is_some();
        tx.commit().await?;
        Ok(fits)
    }

    /// What authenticators know this person by; `fresh` becomes it if there is none yet.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or there is no such person.
    pub async fn passkey_handle(&self, person: &PersonId, fresh: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = tx.row(HANDLE, [Bind::Text(person.as_str()), Bind::Blob(fresh)]).await?;
        let handle = row.ok_or(StoreError::Corrupt("no handle was kept"))?.bytes(0)?;
        tx.commit().await?;
        Ok(handle)
    }

    /// What authenticators know this person by, if they were ever told.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_passkey_handle(&self, person: &PersonId) -> Result<Option<[u8; 32]>, StoreError> {
        let rows = self.pool.read(HANDLE_OF, [Bind::Text(person.as_str())]).await?;
        rows.first().map(|row| row.bytes(0)).transpose()
    }

    /// Keeps a challenge until it is answered or over.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn begin_ceremony(
        &self,
        challenge: &[u8; 32],
        ceremony: &Ceremony,
        expires_at: Millis,
    ) -> Result<(), StoreError> {
        let binds = [
            Bind::Blob(challenge),
            Bind::Text(ceremony.kind.as_str()),
            Bind::Blob(&ceremony.browser),
            Bind::MaybeText(ceremony.person.as_ref().map(PersonId::as_str)),
            Bind::Int(expires_at),
        ];
        let mut tx = self.pool.begin().await?;
        tx.run(BEGIN, binds).await?;
        tx.commit().await
    }

    /// Uses up a challenge, whoever answers it: what is wrong with an answer cannot be tried again.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn redeem_ceremony(&self, challenge: &[u8; 32], now: Millis) -> Result<Option<Ceremony>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = tx.row(REDEEM, [Bind::Blob(challenge)]).await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(None) };
        if row.int(3)? <= now {
            return Ok(None);
        }
        let kind =
            if row.text(0)? == CeremonyKind::Enrol.as_str() { CeremonyKind::Enrol } else { CeremonyKind::SignIn };
        let person = row.maybe_text(2)?.map(|id| id.parse());
        let person = person.transpose().map_err(|_| StoreError::Corrupt("a person id that no longer parses"))?;
        Ok(Some(Ceremony { kind, browser: row.bytes(1)?, person }))
    }
}
