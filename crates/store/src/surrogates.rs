//! The table of surrogates: what stands in place of an id in the de-identified sessions of one integration for one patient.
//! The store sees tags and sealed originals alone; surrogates come from the caller's random source.

use std::collections::BTreeMap;

use domain::{IntegrationId, Millis, TenantId};

use crate::engine::{Bind, Row, Statement};
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

/// Sealed, by the surrogates that stand for them.
pub type Originals = BTreeMap<String, Vec<u8>>;

/// Most originals or surrogates looked for at once.
const FIND_MAX: usize = 32;
/// Most rows written in one transaction: other writers get their turn between two.
const KEEP_MAX: usize = 200;

const FIND: Statement<{ 3 + FIND_MAX }> = Statement::new(
    "SELECT original_tag, surrogate FROM surrogate
     WHERE tenant = $1 AND integration = $2 AND patient_tag = $3
     AND original_tag IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                             $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)",
);
const INSERT: Statement<8> = Statement::new(
    "INSERT INTO surrogate (surrogate, tenant, integration, patient_tag, original_tag, original_sealed, created_at,
                            expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (tenant, integration, patient_tag, original_tag) DO NOTHING",
);
const ORIGINALS: Statement<{ 3 + FIND_MAX }> = Statement::new(
    "SELECT surrogate, original_sealed FROM surrogate
     WHERE tenant = $1 AND integration = $2 AND patient_tag = $3
     AND surrogate IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                         $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)",
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
        for tags in originals.chunks(FIND_MAX) {
            for row in self.pool.read(FIND, named(owner, tags, |tag| Bind::Blob(tag))).await? {
                out.insert(tag_of(&row)?, row.text(1)?);
            }
        }
        Ok(out)
    }

    /// Keeps each surrogate whose original has none yet, some hundred in a transaction, and gives the one that counts of every
    /// original.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails, or a surrogate stands for something already: what earlier transactions kept stays,
    /// and stands for what it stood for.
    pub async fn keep_surrogates(
        &self,
        owner: &SurrogateOwner,
        wanted: &[NewSurrogate],
        at: Millis,
    ) -> Result<Surrogates, StoreError> {
        // In one order everywhere, so that no two transactions wait for each other.
        let mut wanted: Vec<&NewSurrogate> = wanted.iter().collect();
        wanted.sort_by_key(|new| new.original_tag);
        for part in wanted.chunks(KEEP_MAX) {
            let mut tx = self.pool.begin().await?;
            for new in part {
                let [tenant, integration, patient] = owned(owner);
                let (surrogate, sealed) = (Bind::Text(&new.surrogate), Bind::Blob(&new.original_sealed));
                let (original, expires) = (Bind::Blob(&new.original_tag), Bind::MaybeInt(new.expires_at));
                let binds = [surrogate, tenant, integration, patient, original, sealed, Bind::Int(at), expires];
                tx.run(INSERT, binds).await?;
            }
            tx.commit().await?;
        }
        // Read back in any case: another transaction may have been first.
        let tags: Vec<[u8; 16]> = wanted.iter().map(|new| new.original_tag).collect();
        let out = self.find_surrogates(owner, &tags).await?;
        if tags.iter().all(|tag| out.contains_key(tag)) {
            Ok(out)
        } else {
            Err(StoreError::Corrupt("a surrogate that is gone"))
        }
    }

    /// What each of these texts stands for in this table, sealed, if it is a surrogate of it.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_originals(&self, owner: &SurrogateOwner, surrogates: &[&str]) -> Result<Originals, StoreError> {
        let mut out = Originals::new();
        for names in surrogates.chunks(FIND_MAX) {
            for row in self.pool.read(ORIGINALS, named(owner, names, |name| Bind::Text(name))).await? {
                out.insert(row.text(0)?, row.blob(1)?);
            }
        }
        Ok(out)
    }
}

/// Whose rows.
fn owned(owner: &SurrogateOwner) -> [Bind<'_>; 3] {
    [Bind::Text(owner.tenant.as_str()), Bind::Text(owner.integration.as_str()), Bind::Blob(&owner.patient_tag)]
}

/// The binds by which up to [`FIND_MAX`] rows are found; the places left over hold the last one once more. There is one at least.
fn named<'a, T>(
    owner: &'a SurrogateOwner,
    some: &'a [T],
    bind: impl Fn(&'a T) -> Bind<'a>,
) -> [Bind<'a>; 3 + FIND_MAX] {
    let [tenant, integration, patient] = owned(owner);
    std::array::from_fn(|at| match at {
        0 => tenant,
        1 => integration,
        2 => patient,
        _ => some.get(at - 3).or(some.last()).map_or(Bind::MaybeText(None), &bind),
    })
}

fn tag_of(row: &Row) -> Result<[u8; 16], StoreError> {
    row.blob(0)?.try_into().map_err(|_| StoreError::Corrupt("a tag of another length"))
}
