//! The registry: who may do what, held in memory for the FHIR path and changed by people through `/api/v1`.
//!
//! One way in: every change is written to the store, numbered by its feed, and read back by the same poll that sees the
//! changes of other processes, before the API answers. So one code path builds what decisions look at.

mod addresses;
pub(crate) mod api;
mod canonical;
mod digest;
mod ended;
pub(crate) mod entry;
mod jwks;
pub(crate) mod people;
mod plan;
mod policies;
mod profiles;
pub(crate) mod providers;
mod roles;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod trail;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::audit::Kind;
use domain::{SessionId, TenantId};
use fhir::ResourceType;
use store::{Change, ChangeRefusal, FeedKind, FilterRow, FilterState, Store, StoreError};

use crate::audit::Audit;
use crate::clock::Clock;
use crate::console::Origin;
use crate::keys::{KeyError, KeyRing};
use crate::settings::TenantSettings;
pub use digest::{role_digest, subject as approval_digest};
use ended::{EndedSessions, REMEMBERED};
use people::Passphrases;
pub use people::{INIT_LIFE, credential_hash};
pub(crate) use plan::outcome as outcome_of;
pub use providers::AdminProvider;
use snapshot::Mark;
pub use snapshot::{Snapshot, Standing};
use trail::{Deed, Trail};
pub use trail::{RecordFailed, Recorder, Recording};

/// How often other processes' changes are looked for; an end reaches every node within a second.
const POLL: Duration = Duration::from_millis(250);
/// How long a request waits for a feed number its node has not reached.
const REACH_WAIT: Duration = Duration::from_millis(250);
/// Silence of the store after which this node stops serving (`feed_stale_max`).
const STALE_MAX: Duration = Duration::from_secs(30);
/// How often expired rows are removed.
const PURGE: Duration = Duration::from_secs(60);
/// Most rounds of one purge.
const PURGE_ROUNDS: usize = 20;

/// The registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenRegistryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was written at the start could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordFailed),
}

/// Ending a session failed; it may be ended or not, so try again.
#[derive(Debug, thiserror::Error)]
pub enum EndSessionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The end is in force, but its record could not be made durable.
    #[error(transparent)]
    Record(#[from] RecordFailed),
}

/// Integrations, profiles, approvals and ended sessions of every tenant. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Store,
    tenants: Vec<TenantSettings>,
    keys: Option<KeyRing>,
    audit: Option<Audit>,
    trail: Trail,
    clock: Clock,
    snapshot: ArcSwap<Snapshot>,
    ended: EndedSessions,
    /// A session was ended by this process.
    ends: tokio::sync::Notify,
    /// Filters that upstreams ignored and the store was not yet told of. Held while the snapshot is replaced, so that none is lost.
    marks: parking_lot::Mutex<BTreeSet<Mark>>,
    /// Keys changed that could not be read yet.
    keys_behind: AtomicBool,
    passphrases: Passphrases,
    /// Command lines that asked to be signed in by way of a page.
    asked: entry::Asked,
    /// Where the pages are; unset, there are none.
    console: std::sync::OnceLock<Origin>,
    /// Where people of the administration sign in; unset, by passkey and passphrase alone.
    providers: std::sync::OnceLock<Vec<AdminProvider>>,
    /// One poll at a time; whoever waits for it finds its work done.
    polling: tokio::sync::Mutex<()>,
    /// One change at a time in this process: planned and written against the same snapshot.
    changing: tokio::sync::Mutex<()>,
    started: Instant,
    /// Milliseconds after `started` when the store last answered.
    answered: AtomicU64,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry(feed {})", self.feed())
    }
}

impl Registry {
    /// Reads the registry, gives each tenant its built-in profiles, and starts polling the feed and purging.
    ///
    /// # Errors
    /// [`OpenRegistryError`]: the store or the ledger failed.
    pub async fn open(
        store: Store,
        tenants: &[TenantSettings],
        audit: Audit,
        keys: KeyRing,
        clock: Clock,
    ) -> Result<Self, OpenRegistryError> {
        let trail = Trail(Arc::new(audit.clone()));
        Self::start(store, tenants, Some(audit), trail, Some(keys), clock).await
    }

    async fn start(
        store: Store,
        tenants: &[TenantSettings],
        audit: Option<Audit>,
        trail: Trail,
        keys: Option<KeyRing>,
        clock: Clock,
    ) -> Result<Self, OpenRegistryError> {
        built_in(&store, tenants, &trail, &clock).await?;
        let now = clock.now();
        let rows = store.registry().await?;
        let ended = EndedSessions::default();
        for id in store.ended_since(now - REMEMBERED).await? {
            ended.insert(id, now);
        }
        let inner = Inner {
            store,
            tenants: tenants.to_vec(),
            keys,
            audit,
            trail,
            clock,
            snapshot: ArcSwap::from_pointee(Snapshot::build(tenants, rows)),
            ended,
            ends: tokio::sync::Notify::new(),
            marks: parking_lot::Mutex::default(),
            keys_behind: AtomicBool::new(false),
            passphrases: Passphrases::default(),
            asked: entry::Asked::default(),
            console: std::sync::OnceLock::new(),
            providers: std::sync::OnceLock::new(),
            polling: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            started: Instant::now(),
            answered: AtomicU64::new(0),
        };
        let registry = Self(Arc::new(inner));
        registry.spawn();
        Ok(registry)
    }

    /// What decisions look at, now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Whether a session was ended within the longest life of its token.
    #[must_use]
    pub fn session_ended(&self, id: &SessionId) -> bool {
        self.0.ended.contains(id)
    }

    /// Waits until this process ends a session; for the one task that follows up what the upstream granted to it.
    pub(crate) async fn session_ends(&self) {
        self.0.ends.notified().await;
    }

    /// The feed number this node has reached.
    #[must_use]
    pub fn feed(&self) -> u64 {
        self.0.snapshot.load().feed()
    }

    /// `false` once the store has been silent for longer than 30 s: this node may have missed an end.
    #[must_use]
    pub fn fresh(&self) -> bool {
        let answered = Duration::from_millis(self.0.answered.load(Ordering::SeqCst));
        fresh_at(self.0.started.elapsed(), answered)
    }

    /// Waits briefly for a feed number another process gave out.
    pub async fn reached(&self, feed: u64) -> bool {
        if self.feed() < feed {
            // A failed or slow poll answers by what was reached.
            let _ = tokio::time::timeout(REACH_WAIT, Box::pin(self.poll())).await;
        }
        self.feed() >= feed
    }

    /// Ends a session: in this process at once, in every other one with its next poll. `false` when there is no such
    /// session in the tenant or it was ended before.
    ///
    /// # Errors
    /// [`EndSessionError`]: the store or the ledger failed.
    pub async fn end_session(&self, tenant: &TenantId, id: &SessionId, by: &str) -> Result<bool, EndSessionError> {
        self.end_session_as(tenant, id, by, None).await
    }

    async fn end_session_as(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        by: &str,
        caller: Option<&people::Caller>,
    ) -> Result<bool, EndSessionError> {
        let inner = &self.0;
        match inner.store.find_session(id).await? {
            Some(row) if row.session.tenant == *tenant => {}
            _ => return Ok(false),
        }
        let now = inner.clock.now();
        // Refused here first: should the store fail below, a session ended too much is better than one too little.
        inner.ended.insert(*id, now);
        let ended = inner.store.end_session(id, now, by).await?;
        if let Some(feed) = ended {
            inner.ends.notify_one();
            let deed = Deed {
                tenant: tenant.to_string(),
                noun: "session",
                verb: "end",
                id: id.to_string(),
                note: format!("by {by}"),
                ..Deed::default()
            };
            inner.trail.done(Kind::SessionEnd, caller, &deed, feed).await?;
        }
        let _ = self.poll().await;
        Ok(ended.is_some())
    }

    /// Marks a search parameter whose filter an upstream ignored: it is refused until `hilum check` has proved it. In this process
    /// that holds at once, whether or not the store takes the mark; one it does not take is offered again until it does.
    pub async fn poison(&self, tenant: &TenantId, kind: ResourceType, param: &str) {
        let known = |filter: &FilterRow| {
            filter.kind == kind.name() && filter.param == param && filter.state == FilterState::Poisoned
        };
        if self.snapshot().filters(tenant).any(known) {
            return;
        }
        self.mark(|marks| {
            marks.insert((tenant.clone(), kind, param.to_owned()));
        });
        self.keep_marks().await;
    }

    /// Changes the marks and what decisions look at, together.
    fn mark(&self, change: impl FnOnce(&mut BTreeSet<Mark>)) {
        let mut marks = self.0.marks.lock();
        change(&mut marks);
        let mut next = Snapshot::clone(&self.snapshot());
        next.set_marks(&marks);
        self.0.snapshot.store(Arc::new(next));
    }

    /// Makes `next` what decisions look at, with the marks as they are by now.
    fn publish(&self, mut next: Snapshot) {
        let marks = self.0.marks.lock();
        next.set_marks(&marks);
        self.0.snapshot.store(Arc::new(next));
    }

    /// Offers the store the marks it has not taken yet.
    async fn keep_marks(&self) {
        let waiting: Vec<Mark> = self.0.marks.lock().iter().cloned().collect();
        if waiting.is_empty() {
            return;
        }
        let change = Change { filters: waiting.iter().map(snapshot::poisoned).collect(), ..Change::default() };
        let kept = match self.write(&change).await {
            Ok(Ok(_)) => true,
            Ok(Err(_)) => false,
            Err(why) => {
                tracing::error!("filters the upstream ignored are refused by this process alone: {why}");
                false
            }
        };
        if kept {
            self.mark(|marks| marks.retain(|mark| !waiting.contains(mark)));
        }
    }

    /// Reads keys that another process made or retired. What the store could not tell is asked again with the next poll.
    async fn renew_keys(&self) {
        let Some(keys) = &self.0.keys else { return };
        let done = keys.reload().await;
        if let Err(why) = &done {
            tracing::error!("keys of another process could not be read: {why}");
        }
        self.0.keys_behind.store(matches!(done, Err(KeyError::Store(_))), Ordering::SeqCst);
    }

    /// The API's routes and the pages, for the admin listener.
    pub fn admin_router(&self) -> axum::Router {
        api::router(self.clone()).merge(crate::console::router(self.clone()))
    }

    /// Says where the pages are, once the listener is known; only the first call counts.
    pub fn serve_console(&self, origin: Origin) {
        let _ = self.0.console.set(origin);
    }

    /// Where the pages are.
    pub(crate) fn console_origin(&self) -> Option<&Origin> {
        self.0.console.get()
    }

    /// The store, for the pages.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The keys, for what the pages seal.
    pub(crate) fn keys(&self) -> Option<&KeyRing> {
        self.0.keys.as_ref()
    }

    /// Now.
    pub(crate) fn now(&self) -> domain::Millis {
        self.0.clock.now()
    }

    /// The way to the ledger, for the pages.
    pub(crate) fn trail(&self) -> &Trail {
        &self.0.trail
    }

    /// The ledger itself, for alerts.
    pub(crate) fn audit(&self) -> Option<&Audit> {
        self.0.audit.as_ref()
    }

    /// Whether one more attempt to get in gets a record of its own.
    pub(crate) fn worth_a_record(&self) -> bool {
        self.0.passphrases.worth_a_record(self.0.clock.now())
    }

    /// Writes a planned change and reads it back.
    async fn write(&self, change: &Change) -> Result<Result<u64, ChangeRefusal>, StoreError> {
        let done = self.0.store.apply(change, self.0.clock.now()).await?;
        if done.is_ok() {
            self.poll().await?;
        }
        Ok(done)
    }

    /// Reads what changed since the last poll.
    async fn poll(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        let _one = inner.polling.lock().await;
        loop {
            let old = inner.snapshot.load_full();
            let entries = inner.store.feed_since(old.feed()).await?;
            let answered = u64::try_from(inner.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            inner.answered.store(answered, Ordering::SeqCst);
            let Some(first) = entries.first() else { return Ok(()) };
            if first.n != old.feed() + 1 {
                return self.reload().await;
            }
            let mut next = Snapshot::clone(&old);
            self.follow(&mut next, &entries).await?;
            self.publish(next);
        }
    }

    /// Reads again what the entries name; a row that is newer than its entry does no harm.
    async fn follow(&self, next: &mut Snapshot, entries: &[store::FeedEntry]) -> Result<(), StoreError> {
        let inner = &self.0;
        let mut seen = BTreeSet::new();
        let mut keys = false;
        for entry in entries {
            next.reach(entry.n);
            if !seen.insert((entry.kind as u8, entry.key.as_str())) {
                continue;
            }
            match entry.kind {
                FeedKind::Integration => {
                    if let Some(row) = inner.store.find_integration(&entry.key).await? {
                        next.put_integration(row);
                    }
                }
                FeedKind::Approval => {
                    if let Some(row) = inner.store.find_approval(&entry.key).await? {
                        next.put_approval(row);
                    }
                }
                FeedKind::Profile => next.put_profiles(inner.store.profiles().await?),
                FeedKind::Filter => next.put_filters(inner.store.filters().await?),
                FeedKind::Policy => next.put_policies(inner.store.policies().await?),
                FeedKind::Role => next.put_roles(inner.store.roles().await?),
                FeedKind::SessionEnded => {
                    let id =
                        entry.key.parse().map_err(|_| StoreError::Corrupt("a session id that no longer parses"))?;
                    inner.ended.insert(id, inner.clock.now());
                }
                FeedKind::Key => keys = true,
            }
        }
        if keys {
            self.renew_keys().await;
        }
        Ok(())
    }

    /// Reads everything: after a gap in the feed nothing else is certain.
    async fn reload(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        let now = inner.clock.now();
        let rows = inner.store.registry().await?;
        for id in inner.store.ended_since(now - REMEMBERED).await? {
            inner.ended.insert(id, now);
        }
        self.renew_keys().await;
        self.publish(Snapshot::build(&inner.tenants, rows));
        Ok(())
    }

    fn spawn(&self) {
        // Weak: the tasks end with the last handle.
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(POLL);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                let registry = Self(inner);
                if let Err(why) = registry.poll().await {
                    tracing::warn!("the feed could not be read: {why}");
                    continue;
                }
                registry.keep_marks().await;
                if registry.0.keys_behind.load(Ordering::SeqCst) {
                    registry.renew_keys().await;
                }
            }
        });
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(PURGE);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                let now = inner.clock.now();
                inner.ended.forget(now);
                // Next month's keys are made before next month.
                if let Some(keys) = &inner.keys
                    && let Err(why) = keys.ensure(now).await
                {
                    tracing::warn!("keys for the time to come could not be made: {why}");
                }
                for _ in 0..PURGE_ROUNDS {
                    match inner.store.purge(now).await {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(why) => {
                            tracing::warn!("expired rows could not be removed: {why}");
                            break;
                        }
                    }
                }
            }
        });
    }
}

/// Whether the store's last answer is young enough; both are times since the start.
fn fresh_at(now: Duration, answered: Duration) -> bool {
    now.saturating_sub(answered) <= STALE_MAX
}

/// Gives each tenant the profiles it does not have; one that exists in another form is left alone: versions are immutable.
async fn built_in(
    store: &Store,
    tenants: &[TenantSettings],
    trail: &Trail,
    clock: &Clock,
) -> Result<(), OpenRegistryError> {
    let have = store.profiles().await?;
    for change in profiles::changes(tenants.iter().map(|tenant| tenant.id.clone())) {
        let Some((tenant, profile)) = change.profiles.first() else { continue };
        if have.iter().any(|(place, old)| place == tenant && old.reference() == profile.reference()) {
            continue;
        }
        let deed = Deed {
            tenant: tenant.to_string(),
            noun: "task",
            verb: "ship",
            id: profile.reference().to_string(),
            note: profile.scopes.to_string(),
            ..Deed::default()
        };
        let intent = trail.intend(None, &deed).await?;
        let done = store.apply(&change, clock.now()).await?;
        let outcome = if done.is_ok() { domain::audit::Outcome::Success } else { domain::audit::Outcome::Denied };
        trail.conclude(intent, outcome, 0, done.unwrap_or(0)).await?;
    }
    Ok(())
}
