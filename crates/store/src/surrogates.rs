//! The table of surrogates: what stands in place of an id in the de-identified sessions of one integration for one patient.
//! The store sees tags and sealed originals alone; surrogates come from the caller's random source.

use std::collections::BTreeMap;

use domain::{IntegrationId, Millis, TenantId};

use crate::engine::{Bind, Statement};
use crate::{Store, StoreError};

/// Whose table: surrogates of one are unknown to every other.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct SurrogateOwner {
    /// In which tenant.
    pub tenant: TenantId,
    /// Of which integration.
    pub integration: IntegrationId,
    /// About which patient, by their keyed tag.
    pub patient_tag: [u8; 16],
}

/// A keyed tag leads to a patient.
impl std::fmt::Debug for SurrogateOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SurrogateOwner({} in {}, [sealed])", self.integration, self.tenant)
    }
}

/// A surrogate to be kept, unless its original has one already.
#[derive(Clone, Eq, PartialEq)]
pub struct NewSurrogate {
    /// The original's keyed tag.
    pub original_tag: [u8; 16],
    /// A fresh random UUID, 36 characters.
    pub surrogate: String,
    /// The original, sealed with this very surrogate in its label.
    pub original_sealed: Vec<u8>,
    /// When it may be forgotten; `None` is never.
    pub expires_at: Option<Millis>,
}

/// Leads back to a person.
impl std::fmt::Debug for NewSurrogate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSurrogate([sealed])")
    }
}

/// By the tags of their originals.
pub type Surrogates = BTreeMap<[u8; 16], String>;

const FIND: Statement<4> = Statement::new(
    "SELECT surrogate FROM surrogate
     WHERE tenant = $1 AND integration = $2 AND patient_tag = $3 AND original_tag = $4",
);
const INSERT: Statement<8> = Statement::new(
    "INSERT INTO surrogate (surrogate, tenant, integration, patient_tag, original_tag, original_sealed, created_at,
                            expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (tenant, integration, patient_tag, original_tag) DO NOTHING",
);
const ORIGINAL: Statement<4> = Statement::new(
    "SELECT original_sealed FROM surrogate
     WHERE surrogate = $1 AND tenant = $2 AND integration = $3 AND patient_tag = $4",
);

impl Store {
    /// The surrogates there are for these originals.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_surrogates(
        &self,
        owner: &SurrogateOwner,
        originals: &[[u8; 16]],
    ) -> Result<Surrogates, StoreError> {
        let mut out = Surrogates::new();
        for tag in originals {
            let rows = self.pool.read(FIND, named(owner, tag)).await?;
            if let Some(row) = rows.first() {
                out.insert(*tag, row.text(0)?);
            }
        }
        Ok(out)
    }

    /// Keeps each surrogate whose original has none yet, in one transaction, and gives the one that counts of every original.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails, or a surrogate stands for something already: nothing is kept then.
    pub async fn keep_surrogates(
        &self,
        owner: &SurrogateOwner,
        wanted: &[NewSurrogate],
        at: Millis,
    ) -> Result<Surrogates, StoreError> {
        // In one order everywhere, so that no two transactions wait for each other.
        let mut wanted: Vec<&NewSurrogate> = wanted.iter().collect();
        wanted.sort_by_key(|new| new.original_tag);
        let mut out = Surrogates::new();
        let mut tx = self.pool.begin().await?;
        for new in wanted {
            let [tenant, integration, patient, original] = named(owner, &new.original_tag);
            let (surrogate, sealed) = (Bind::Text(&new.surrogate), Bind::Blob(&new.original_sealed));
            let expires = Bind::MaybeInt(new.expires_at);
            let binds = [surrogate, tenant, integration, patient, original, sealed, Bind::Int(at), expires];
            tx.run(INSERT, binds).await?;
            // Read back in any case: another transaction may have been first.
            let row = tx.row(FIND, [tenant, integration, patient, original]).await?;
            out.insert(new.original_tag, row.ok_or(StoreError::Corrupt("a surrogate that is gone"))?.text(0)?);
        }
        tx.commit().await?;
        Ok(out)
    }

    /// What a surrogate stands for in this table, sealed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_original(&self, owner: &SurrogateOwner, surrogate: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let binds = [
            Bind::Text(surrogate),
            Bind::Text(owner.tenant.as_str()),
            Bind::Text(owner.integration.as_str()),
            Bind::Blob(&owner.patient_tag),
        ];
        self.pool.read(ORIGINAL, binds).await?.first().map(|row| row.blob(0)).transpose()
    }
}

/// The four binds by which a row is found.
fn named<'a>(owner: &'a SurrogateOwner, original: &'a [u8; 16]) -> [Bind<'a>; 4] {
    [
        Bind::Text(owner.tenant.as_str()),
        Bind::Text(owner.integration.as_str()),
        Bind::Blob(&owner.patient_tag),
        Bind::Blob(original),
    ]
}
