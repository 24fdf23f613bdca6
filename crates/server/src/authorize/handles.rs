//! Handles: random names for what may be used once, kept sealed in the store (`store::OnceKind`).

use aws_lc_rs::digest;
use domain::Millis;
use oauth::request::TICKET_CHARS;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{NewOnce, OnceKind, Taken};

use super::{Service, Tenant};
use crate::clock::random_text;

/// Something of ours failed; nothing was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Fault(pub(super) &'static str);

/// What became of an attempt to use a handle.
#[derive(Debug)]
pub(super) enum Used<T> {
    /// It was good.
    Now(T),
    /// It was used before.
    Before(T),
    /// There is none, or its time is over.
    Gone,
}

/// A new handle and its hash.
pub(super) fn fresh() -> Result<(String, [u8; 32]), Fault> {
    let handle = random_text().map_err(|_| Fault("the random source failed"))?;
    let hash = hash(&handle).ok_or(Fault("the random source failed"))?;
    Ok((handle, hash))
}

/// SHA-256 of a text that has the form of a handle or ticket: 32 random bytes in base64url.
pub(super) fn hash(handle: &str) -> Option<[u8; 32]> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if handle.len() != TICKET_CHARS || !handle.bytes().all(plain) {
        return None;
    }
    digest::digest(&digest::SHA256, handle.as_bytes()).as_ref().try_into().ok()
}

/// Under which label what a handle stands for is sealed: one of one kind never opens as another.
fn label(kind: OnceKind) -> &'static str {
    match kind {
        OnceKind::Code => "once.code",
        OnceKind::Launch => "once.launch",
        OnceKind::Pushed => "once.pushed",
        OnceKind::Waiting => "once.waiting",
        OnceKind::SignIn => "once.sign-in",
        OnceKind::EhrLaunch => "once.ehr-launch",
    }
}

fn store_failed(why: &store::StoreError) -> Fault {
    tracing::error!(%why, "the store failed");
    Fault("the store failed")
}

impl Service {
    /// Keeps `value` and gives the handle to it, good for `life`.
    pub(super) async fn give<T: Serialize>(
        &self,
        tenant: &Tenant,
        kind: OnceKind,
        value: &T,
        life: Millis,
        now: Millis,
    ) -> Result<String, Fault> {
        let (handle, _) = fresh()?;
        self.give_as(tenant, kind, &handle, value, life, now).await?;
        Ok(handle)
    }

    /// The same under a random name that was made elsewhere.
    pub(super) async fn give_as<T: Serialize>(
        &self,
        tenant: &Tenant,
        kind: OnceKind,
        handle: &str,
        value: &T,
        life: Millis,
        now: Millis,
    ) -> Result<(), Fault> {
        let hash = hash(handle).ok_or(Fault("a name has not the form of a handle"))?;
        let sealed = self.sealed(tenant, label(kind), value)?;
        let new = NewOnce { hash, tenant: tenant.id.clone(), kind, sealed, created_at: now, expires_at: now + life };
        self.store.put_once(&new).await.map_err(|why| store_failed(&why))
    }

    /// What a handle stands for, if it may still be used.
    pub(super) async fn look_at<T: DeserializeOwned>(
        &self,
        tenant: &Tenant,
        kind: OnceKind,
        handle: &str,
        now: Millis,
    ) -> Result<Option<T>, Fault> {
        let Some(hash) = hash(handle) else { return Ok(None) };
        let found = self.store.find_once(&tenant.id, kind, &hash, now).await.map_err(|why| store_failed(&why))?;
        found.map(|sealed| self.unsealed(tenant, label(kind), &sealed)).transpose()
    }

    /// Replaces what an unused handle stands for.
    pub(super) async fn change<T: Serialize>(
        &self,
        tenant: &Tenant,
        kind: OnceKind,
        handle: &str,
        value: &T,
        now: Millis,
    ) -> Result<bool, Fault> {
        let Some(hash) = hash(handle) else { return Ok(false) };
        let sealed = self.sealed(tenant, label(kind), value)?;
        self.store.change_once(&tenant.id, kind, &hash, &sealed, now).await.map_err(|why| store_failed(&why))
    }

    /// Uses a handle up.
    pub(super) async fn take<T: DeserializeOwned>(
        &self,
        tenant: &Tenant,
        kind: OnceKind,
        handle: &str,
        now: Millis,
    ) -> Result<Used<T>, Fault> {
        let Some(hash) = hash(handle) else { return Ok(Used::Gone) };
        let taken = self.store.take_once(&tenant.id, kind, &hash, now).await.map_err(|why| store_failed(&why))?;
        Ok(match taken {
            Taken::Now(sealed) => Used::Now(self.unsealed(tenant, label(kind), &sealed)?),
            Taken::Before(sealed) => Used::Before(self.unsealed(tenant, label(kind), &sealed)?),
            Taken::Gone => Used::Gone,
        })
    }

    /// A value for a row, sealed.
    pub(super) fn sealed<T: Serialize>(&self, tenant: &Tenant, label: &str, value: &T) -> Result<Vec<u8>, Fault> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(value).map_err(|_| Fault("a value cannot be written"))?);
        self.keys.seal_row(tenant.id.as_str(), label, &plain).map_err(|_| Fault("the keys failed"))
    }

    /// A value of a row, opened.
    pub(super) fn unsealed<T: DeserializeOwned>(
        &self,
        tenant: &Tenant,
        label: &str,
        sealed: &[u8],
    ) -> Result<T, Fault> {
        let plain =
            self.keys.open_row(tenant.id.as_str(), label, sealed).map_err(|_| Fault("a stored value does not open"))?;
        let plain = zeroize::Zeroizing::new(plain);
        serde_json::from_slice(&plain).map_err(|_| Fault("a stored value cannot be read"))
    }
}
