//! The EHR's tokens of the sessions it launched: kept sealed in the store, where every node finds them, and ready in memory.
//!
//! A token is used for its session and for no other. It is refreshed ahead of its end: by one task on a node, and by one node at a time,
//! since a refresh token that rotates is good once. A session without a living token gets none: nobody looks for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use domain::{Millis, SessionId, TenantId};
use http::HeaderValue;
use oauth::ehr::EhrAnswer;
use parking_lot::Mutex;
use store::{GrantClaim, GrantRow, Store, StoreError};
use zeroize::Zeroizing;

use super::Broker;
use super::ehr::Ehr;
use super::granted::{GrantState, NotRefreshed, UpstreamGrant};
use crate::clock::Clock;
use crate::keys::{KeyError, KeyRing};

/// Sessions whose tokens are ready in memory; about 3 KiB each. The others are found in the store.
const READY_MAX: usize = 16_384;
/// A refresh may take this long on a node before another may try: its own time limit (10 s) and what surrounds it.
const CLAIM_MILLIS: Millis = 20_000;
/// A failed refresh is not tried again for this long, so that a dead token endpoint is not hammered by every request.
const RETRY_MILLIS: Millis = 1_000;
/// How often, and how long apart, another node's refresh is looked for: 3 s in all.
const LOOKS: usize = 30;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A token that can be refreshed is, this long before its end: longer than a request takes, a quarter of the shortest life (60 s).
const AHEAD_MILLIS: Millis = 15_000;

/// Why a grant cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum HoldGrantError {
    /// The session has one already, or this broker keeps none.
    #[error("the session has a grant already")]
    Held,
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session has no token of its own to use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoOwnToken {
    /// And will have none: it is at its end.
    Over,
    /// For the moment.
    Unavailable,
}

/// A session's token as a ready header.
pub(super) struct OwnToken {
    header: HeaderValue,
    revision: u64,
    refresh_at: Millis,
    expires_at: Millis,
}

impl std::fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnToken([sealed])")
    }
}

impl OwnToken {
    fn new(grant: &UpstreamGrant, revision: u64) -> Option<Self> {
        let bearer = Zeroizing::new(format!("Bearer {}", grant.access_token));
        let mut header = HeaderValue::from_str(&bearer).ok()?;
        header.set_sensitive(true);
        let ahead = if grant.refresh_token.is_some() { AHEAD_MILLIS } else { 0 };
        let (refresh_at, expires_at) = (grant.expires_at.saturating_sub(ahead), grant.expires_at);
        Some(Self { header, revision, refresh_at, expires_at })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// One session's place.
struct Entry {
    tenant: TenantId,
    session: SessionId,
    current: ArcSwapOption<OwnToken>,
    /// It will have no token any more.
    over: AtomicBool,
    /// Held while a token is looked for (single flight); the time is that of the last failure.
    work: tokio::sync::Mutex<Option<Millis>>,
}

/// The tokens of every tenant.
pub(super) struct Grants {
    pub(super) store: Store,
    pub(super) keys: KeyRing,
    pub(super) ehrs: HashMap<TenantId, Arc<Ehr>>,
    pub(super) clock: Clock,
    ready: Mutex<HashMap<SessionId, Arc<Entry>>>,
    /// Something is due before its time.
    pub(super) due: tokio::sync::Notify,
}

/// Seals a grant for its session alone.
fn label(session: &SessionId) -> String {
    format!("upstream_grant.sealed/{session}")
}

impl Grants {
    pub(super) fn new(keys: KeyRing, ehrs: HashMap<TenantId, Arc<Ehr>>, clock: Clock) -> Self {
        let store = keys.store().clone();
        Self { store, keys, ehrs, clock, ready: Mutex::default(), due: tokio::sync::Notify::new() }
    }

    fn seal(&self, tenant: &TenantId, session: &SessionId, grant: &UpstreamGrant) -> Result<Vec<u8>, KeyError> {
        let text = Zeroizing::new(serde_json::to_vec(grant).map_err(|_| KeyError::Crypto)?);
        self.keys.seal_row(tenant.as_str(), &label(session), &text)
    }

    pub(super) fn open(&self, row: &GrantRow) -> Option<UpstreamGrant> {
        let text = self.keys.open_row(row.tenant.as_str(), &label(&row.session), &row.sealed).ok()?;
        serde_json::from_slice(&Zeroizing::new(text)).ok()
    }

    async fn hold(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        grant: &UpstreamGrant,
        until: Millis,
    ) -> Result<(), HoldGrantError> {
        let sealed = self.seal(tenant, session, grant)?;
        if !self.store.insert_grant(session, tenant, &sealed, until).await? {
            return Err(HoldGrantError::Held);
        }
        let entry = self.entry(tenant, session);
        entry.current.store(OwnToken::new(grant, 1).map(Arc::new));
        Ok(())
    }

    fn entry(&self, tenant: &TenantId, session: &SessionId) -> Arc<Entry> {
        let mut ready = self.ready.lock();
        if let Some(entry) = ready.get(session) {
            return Arc::clone(entry);
        }
        if ready.len() >= READY_MAX {
            let now = self.clock.now();
            let lives = |entry: &Arc<Entry>| entry.current.load().as_ref().is_some_and(|token| now < token.expires_at);
            ready.retain(|_, entry| lives(entry));
        }
        if ready.len() >= READY_MAX {
            // Whoever loses its place finds its token in the store again.
            let any = ready.keys().next().copied();
            any.map(|any| ready.remove(&any));
        }
        let entry = Arc::new(Entry {
            tenant: tenant.clone(),
            session: *session,
            current: ArcSwapOption::empty(),
            over: AtomicBool::new(false),
            work: tokio::sync::Mutex::default(),
        });
        ready.insert(*session, Arc::clone(&entry));
        entry
    }

    /// Forgets what is ready for these sessions.
    pub(super) fn forget(&self, over: impl Fn(&SessionId) -> bool) {
        self.ready.lock().retain(|session, _| !over(session));
    }

    /// The session's token; `refused` is one that the upstream has just answered with 401.
    pub(super) async fn token(
        self: &Arc<Self>,
        tenant: &TenantId,
        session: &SessionId,
        refused: Option<&Arc<OwnToken>>,
    ) -> Result<Arc<OwnToken>, NoOwnToken> {
        let entry = self.entry(tenant, session);
        if entry.tenant != *tenant || entry.over.load(Ordering::SeqCst) {
            return Err(NoOwnToken::Over);
        }
        let (now, refused) = (self.clock.now(), refused.map(|token| token.revision));
        if let Some(token) = entry.current.load_full()
            && refused.is_none_or(|refused| refused < token.revision)
        {
            // Ahead of its end one request renews it, while the others go on with the old one.
            if now < token.refresh_at || (now < token.expires_at && entry.work.try_lock().is_err()) {
                return Ok(token);
            }
        }
        // A task of its own: a refresh whose asker has gone away would lose a token that is good once.
        let grants = Arc::clone(self);
        let looked = tokio::spawn(async move { grants.look(&entry, refused).await });
        looked.await.unwrap_or(Err(NoOwnToken::Unavailable))
    }

    /// Finds a token that lives and is not the refused one: ready, in the store, or by a refresh.
    async fn look(&self, entry: &Entry, refused: Option<u64>) -> Result<Arc<OwnToken>, NoOwnToken> {
        let mut failed_at = entry.work.lock().await;
        let over = || {
            entry.over.store(true, Ordering::SeqCst);
            entry.current.store(None);
            Err(NoOwnToken::Over)
        };
        for _ in 0..LOOKS {
            let now = self.clock.now();
            let usable = |token: &OwnToken| refused.is_none_or(|refused| refused < token.revision);
            if let Some(token) = entry.current.load_full()
                && usable(&token)
                && now < token.refresh_at
            {
                return Ok(token);
            }
            let found = self.store.find_grant(&entry.session).await.map_err(|why| {
                tracing::error!(session = %entry.session, %why, "an upstream grant cannot be read");
                NoOwnToken::Unavailable
            })?;
            let Some(row) = found.filter(|row| row.tenant == entry.tenant && row.expires_at > now) else {
                return over();
            };
            let Some(grant) = self.open(&row).filter(|grant| grant.state == GrantState::Alive) else { return over() };
            let Some(token) = OwnToken::new(&grant, row.revision).map(Arc::new) else { return over() };
            let alive = usable(&token) && now < token.expires_at;
            if alive && now < token.refresh_at {
                entry.current.store(Some(Arc::clone(&token)));
                return Ok(token);
            }
            if grant.refresh_token.is_none() {
                // One 401 may be about one thing alone; the end of its life is final.
                return if now < token.expires_at { Err(NoOwnToken::Over) } else { over() };
            }
            if failed_at.is_some_and(|at| (0..RETRY_MILLIS).contains(&(now - at))) {
                return if alive { Ok(token) } else { Err(NoOwnToken::Unavailable) };
            }
            let claimed = self.store.claim_grant(&entry.session, row.revision, now, now + CLAIM_MILLIS).await;
            let claim = claimed.map_err(|_| NoOwnToken::Unavailable)?;
            let Some(claim) = claim else {
                if alive {
                    return Ok(token);
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            return match self.refresh(entry, grant, &claim).await {
                Ok(renewed) => {
                    *failed_at = None;
                    entry.current.store(Some(Arc::clone(&renewed)));
                    Ok(renewed)
                }
                Err(NoOwnToken::Over) => over(),
                Err(NoOwnToken::Unavailable) => {
                    *failed_at = Some(now);
                    if alive { Ok(token) } else { Err(NoOwnToken::Unavailable) }
                }
            };
        }
        Err(NoOwnToken::Unavailable)
    }

    /// Refreshes a claimed grant, and gives the claim back.
    async fn refresh(
        &self,
        entry: &Entry,
        mut grant: UpstreamGrant,
        claim: &GrantClaim,
    ) -> Result<Arc<OwnToken>, NoOwnToken> {
        let ehr = self.ehrs.get(&entry.tenant).ok_or(NoOwnToken::Over)?;
        let mut over_at = Millis::MAX;
        match ehr.refresh(&grant).await {
            Ok(answer) => {
                let EhrAnswer { access_token, refresh_token, expires_at, scope, patient, fault, .. } = answer;
                grant.access_token = access_token.to_string();
                grant.expires_at = expires_at;
                // One that does not rotate goes on being good (RFC 6749 §6).
                if let Some(refresh) = refresh_token {
                    grant.refresh_token = Some(refresh.to_string());
                }
                if let Some(scope) = scope {
                    grant.scope = scope;
                }
                if fault.is_some() {
                    // Kept to be revoked with the session, and not used.
                    grant.state = GrantState::Refused;
                }
                if patient.is_some_and(|patient| patient.as_str() != grant.patient) {
                    // Its new tokens are for somebody else: they are kept to be revoked, at once, and the session ends.
                    grant.state = GrantState::Switched;
                    over_at = self.clock.now();
                }
            }
            Err(NotRefreshed::Refused) => grant.state = GrantState::Refused,
            Err(NotRefreshed::Unreachable) => {
                if let Err(why) = self.store.release_grant(claim, 0).await {
                    tracing::warn!(session = %entry.session, %why, "a claim on an upstream grant could not be given back");
                }
                return Err(NoOwnToken::Unavailable);
            }
        }
        let kept = match self.seal(&entry.tenant, &entry.session, &grant) {
            Ok(sealed) => self.store.replace_grant(claim, &sealed, over_at).await.unwrap_or(false),
            Err(_) => false,
        };
        if grant.state == GrantState::Switched {
            self.due.notify_one();
        }
        match grant.state {
            GrantState::Alive if kept => {
                let token = OwnToken::new(&grant, claim.revision.saturating_add(1));
                token.map(Arc::new).ok_or(NoOwnToken::Over)
            }
            // What nobody will find again is not left alive.
            GrantState::Alive | GrantState::Switched if !kept => {
                tracing::error!(session = %entry.session, "a refreshed upstream grant could not be kept");
                ehr.revoke(&grant).await;
                Err(NoOwnToken::Over)
            }
            _ => Err(NoOwnToken::Over),
        }
    }
}

impl Broker {
    /// Keeps what the EHR granted to a session it launches, for every node, until the session is over: at `until`, or when it is ended.
    /// Call it as soon as there is a grant, with the time by which the session must have begun: a launch that comes to nothing is revoked
    /// then. A session without a grant reaches nothing.
    ///
    /// # Errors
    /// [`HoldGrantError`]; then the grant is the caller's to discard.
    pub async fn hold_grant(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        grant: &UpstreamGrant,
        until: Millis,
    ) -> Result<(), HoldGrantError> {
        self.0.grants.as_ref().ok_or(HoldGrantError::Held)?.hold(tenant, session, grant, until).await
    }

    /// Moves the time at which a session is over, e.g. when it begins or its own refresh token was used; `false` when it has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_grant(&self, session: &SessionId, until: Millis) -> Result<bool, StoreError> {
        match &self.0.grants {
            Some(grants) => grants.store.keep_grant(session, until, grants.clock.now()).await,
            None => Ok(false),
        }
    }

    /// A launch comes to nothing, e.g. because the person did not agree: what the EHR granted is revoked soon. Where that cannot be said
    /// now, it is when the time to begin is over.
    pub async fn end_grant(&self, session: &SessionId) {
        let Some(grants) = &self.0.grants else { return };
        let now = grants.clock.now();
        if let Err(why) = grants.store.keep_grant(session, now, now).await {
            tracing::warn!(%session, %why, "an upstream grant is revoked later");
        }
        grants.due.notify_one();
    }
}
