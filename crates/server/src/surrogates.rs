//! The table of surrogates at work (S4-06): what stands in place of ids in de-identified sessions. Surrogates are random, never
//! derived from what they stand for (45 CFR 164.514(c)); originals are sealed and tagged here, before the store sees them.
//!
//! Whatever fails here means that there is no data: no caller has a way on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use deid::Original;
use domain::{IntegrationId, Millis, TenantId};
use fhir::{Id, ResourceType};
use store::{NewSurrogate, Store, SurrogateOwner};

use crate::clock::random;
use crate::keys::KeyRing;

/// Length of a UUID as text: no other surrogate exists.
const SURROGATE_CHARS: usize = 36;

/// What a surrogate stands for.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stood {
    /// An instance; without a base, one of the upstream's own.
    Instance {
        /// Everything before `/Type` in a reference to another server.
        base: Option<String>,
        /// Its type.
        kind: ResourceType,
        /// Its id.
        id: String,
    },
    /// The name by which the entries of a Bundle call each other.
    Code(String),
    /// The sealed token of a page link: even sealed, it holds what leads to the patient.
    Page(String),
}

/// Leads to a person.
impl fmt::Debug for Stood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stood([sealed])")
    }
}

impl From<Original<'_>> for Stood {
    fn from(original: Original<'_>) -> Self {
        match original {
            Original::Instance { base, kind, id } => {
                Self::Instance { base: base.map(str::to_owned), kind, id: id.to_owned() }
            }
            Original::Code(text) => Self::Code(text.to_owned()),
        }
    }
}

impl Stood {
    /// One of the upstream's own instances.
    #[must_use]
    pub fn instance(kind: ResourceType, id: &str) -> Self {
        Self::Instance { base: None, kind, id: id.to_owned() }
    }

    /// As one text, which no other has: types and ids hold no line break, and what may hold one stands last.
    fn encode(&self) -> String {
        match self {
            Self::Instance { base, kind, id } => format!("instance\n{kind}\n{id}\n{}", base.as_deref().unwrap_or("")),
            Self::Code(text) => format!("code\n{text}"),
            Self::Page(token) => format!("page\n{token}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (what, rest) = text.split_once('\n')?;
        match what {
            "instance" => {
                let mut parts = rest.splitn(3, '\n');
                let (kind, id, base) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
                let base = (!base.is_empty()).then(|| base.to_owned());
                Id::fits(id).then(|| Self::Instance { base, kind, id: id.to_owned() })
            }
            "code" => Some(Self::Code(rest.to_owned())),
            "page" => Some(Self::Page(rest.to_owned())),
            _ => None,
        }
    }
}

/// Surrogates by what they stand for.
pub type Told = BTreeMap<Stood, Id>;

/// The store, the keys or the random source failed. There is no data then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the table of surrogates failed")]
pub struct SurrogatesFailed;

/// The tables of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct SurrogateTable {
    store: Store,
    keys: KeyRing,
}

impl SurrogateTable {
    /// The tables in this store, under these keys.
    #[must_use]
    pub fn new(store: Store, keys: KeyRing) -> Self {
        Self { store, keys }
    }

    /// Whose table it is: one for each tenant, integration and patient.
    ///
    /// # Errors
    /// [`SurrogatesFailed`]: the tenant has no keys.
    pub fn owner(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        patient: &Id,
    ) -> Result<SurrogateOwner, SurrogatesFailed> {
        let patient_tag = self.keys.row_tag(tenant.as_str(), patient.as_str()).map_err(|_| SurrogatesFailed)?;
        Ok(SurrogateOwner { tenant: tenant.clone(), integration: integration.clone(), patient_tag })
    }

    /// The surrogate that one original has already.
    ///
    /// # Errors
    /// [`SurrogatesFailed`].
    pub async fn find(&self, owner: &SurrogateOwner, original: &Stood) -> Result<Option<Id>, SurrogatesFailed> {
        let tag = self.tag(owner, original)?;
        let found = self.store.find_surrogates(owner, &[tag]).await.map_err(|why| failed(&why))?;
        found.get(&tag).map(|text| text.parse().map_err(|_| SurrogatesFailed)).transpose()
    }

    /// The surrogates of all these originals; those that have none get a new one. What stands for a page
    /// link is forgotten after `pages_until`.
    ///
    /// # Errors
    /// [`SurrogatesFailed`]: then none is given, whichever were found.
    pub async fn find_or_make(
        &self,
        owner: &SurrogateOwner,
        originals: &BTreeSet<Stood>,
        pages_until: Millis,
        now: Millis,
    ) -> Result<Told, SurrogatesFailed> {
        let mut tags = Vec::with_capacity(originals.len());
        for original in originals {
            tags.push(self.tag(owner, original)?);
        }
        let mut known = self.store.find_surrogates(owner, &tags).await.map_err(|why| failed(&why))?;
        let mut wanted = Vec::new();
        for (original, tag) in originals.iter().zip(&tags).filter(|(_, tag)| !known.contains_key(*tag)) {
            let surrogate = fresh()?;
            let original_sealed = self.seal(owner, &surrogate, original)?;
            let expires_at = matches!(original, Stood::Page(_)).then_some(pages_until);
            wanted.push(NewSurrogate { original_tag: *tag, surrogate, original_sealed, expires_at });
        }
        if !wanted.is_empty() {
            known.extend(self.store.keep_surrogates(owner, &wanted, now).await.map_err(|why| failed(&why))?);
        }
        let mut told = Told::new();
        for (original, tag) in originals.iter().zip(&tags) {
            let surrogate = known.get(tag).and_then(|text| text.parse().ok()).ok_or(SurrogatesFailed)?;
            told.insert(original.clone(), surrogate);
        }
        Ok(told)
    }

    /// What these texts stand for in this table; one that is no surrogate of it, whatever else it is, is left out.
    ///
    /// # Errors
    /// [`SurrogatesFailed`], also where what is stored does not open.
    pub async fn originals(
        &self,
        owner: &SurrogateOwner,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Stood>, SurrogatesFailed> {
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.len() == SURROGATE_CHARS).collect();
        let found = self.store.find_originals(owner, &names).await.map_err(|why| failed(&why))?;
        let mut out = BTreeMap::new();
        for (surrogate, sealed) in found {
            let plain = self.keys.open_row(owner.tenant.as_str(), &label(owner, &surrogate), &sealed);
            let text = plain.ok().and_then(|plain| String::from_utf8(plain).ok()).ok_or(SurrogatesFailed)?;
            out.insert(surrogate, Stood::decode(&text).ok_or(SurrogatesFailed)?);
        }
        Ok(out)
    }

    fn tag(&self, owner: &SurrogateOwner, original: &Stood) -> Result<[u8; 16], SurrogatesFailed> {
        self.keys.original_tag(owner.tenant.as_str(), &original.encode()).map_err(|_| SurrogatesFailed)
    }

    fn seal(&self, owner: &SurrogateOwner, surrogate: &str, original: &Stood) -> Result<Vec<u8>, SurrogatesFailed> {
        let text = original.encode();
        let sealed = self.keys.seal_row(owner.tenant.as_str(), &label(owner, surrogate), text.as_bytes());
        sealed.map_err(|_| SurrogatesFailed)
    }
}

/// The label of a row's seal: what stands in one row opens in no other.
fn label(owner: &SurrogateOwner, surrogate: &str) -> String {
    format!("surrogate.original|{}|{surrogate}", owner.integration)
}

/// A new random UUID (RFC 9562, version 4), in lower case.
fn fresh() -> Result<String, SurrogatesFailed> {
    let bytes: [u8; 16] = random().map_err(|_| SurrogatesFailed)?;
    let bits = u128::from_be_bytes(bytes);
    // Version 4 and the variant of RFC 9562 in their places; 122 random bits are left.
    let bits = bits & !(0xF << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let parts = [digits.get(..8), digits.get(8..12), digits.get(12..16), digits.get(16..20), digits.get(20..)];
    let parts: Option<Vec<&str>> = parts.into_iter().collect();
    Ok(parts.ok_or(SurrogatesFailed)?.join("-"))
}

fn failed(why: &store::StoreError) -> SurrogatesFailed {
    tracing::error!(%why, "the table of surrogates failed");
    SurrogatesFailed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_original_is_one_text_and_comes_back_from_it() {
        let other =
            |base: &str| Stood::Instance { base: Some(base.into()), kind: ResourceType::PATIENT, id: "1".into() };
        let all = [
            Stood::instance(ResourceType::PATIENT, "1"),
            Stood::instance(ResourceType::OBSERVATION, "1"),
            other("https://a"),
            other("https://b"),
            Stood::Code("Patient\n1\n".into()),
            Stood::Code("1".into()),
            Stood::Page("1".into()),
        ];
        let texts: BTreeSet<String> = all.iter().map(Stood::encode).collect();
        assert_eq!(texts.len(), all.len());
        for one in all {
            assert_eq!(Stood::decode(&one.encode()), Some(one));
        }
        for bad in ["", "instance", "instance\nPatient\n1", "instance\nNope\n1\n", "instance\nPatient\na b\n", "x\ny"] {
            assert_eq!(Stood::decode(bad), None, "`{bad}`");
        }
    }

    #[test]
    fn surrogates_are_random_uuids() {
        let made: BTreeSet<String> = (0..100).map(|_| fresh().unwrap()).collect();
        assert_eq!(made.len(), 100);
        for one in made {
            assert_eq!(one.len(), SURROGATE_CHARS);
            assert_eq!(one.get(14..15), Some("4"), "{one}");
            assert!(matches!(one.get(19..20), Some("8" | "9" | "a" | "b")), "{one}");
            assert!(one.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            }));
        }
    }
}
