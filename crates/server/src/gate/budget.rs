//! What each session has had of its budgets (S1-24, S1-25).
//!
//! Everything is charged before it is asked or released, under one lock of the session's own, so that requests at once never get
//! more than requests one after another. It is kept in memory, for as long as the session may live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{Budget, ExportId, Limits, Millis, Reason, Session, SessionId};
use fhir::ResourceType;
use parking_lot::Mutex;
use policy::Released;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::error::Refusal;

/// Sessions counted at once, of whatever tenant: as many as may live (DESIGN, "Numbers"). Past it new ones are refused.
const SESSIONS_MAX: usize = 1_000_000;
/// Locks they are spread over: more than the cores of any machine.
const SHARDS: usize = 64;
/// The window of `requests_per_minute`.
const MINUTE: Millis = 60_000;
/// How long a purse is kept after its session: a request that began in time finds it, and no second one.
const KEPT: Millis = 60_000;
/// Longest wait for a place among the absent: the other requests of the same session are as slow as that.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The purses of all sessions at work.
pub struct Purses([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    purses: HashMap<SessionId, (Millis, Arc<Purse>)>,
    /// When what has ended is next looked for.
    sweep_at: Millis,
}

impl Default for Purses {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Purses {
    /// The purse of `session`, which holds what `limits` says when it is first asked for; `None` when there are too many.
    pub fn of(&self, session: &Session, limits: impl FnOnce() -> Limits, now: Millis) -> Option<Arc<Purse>> {
        self.at(session.id, session.expires_at, limits, now)
    }

    /// The purse of an export, which outlives the sessions that take its files: its bytes count together.
    pub fn of_export(
        &self,
        id: ExportId,
        until: Millis,
        limits: impl FnOnce() -> Limits,
        now: Millis,
    ) -> Option<Arc<Purse>> {
        // Ids are random: no session has an export's.
        self.at(SessionId(id.0), until, limits, now)
    }

    fn at(
        &self,
        id: SessionId,
        expires_at: Millis,
        limits: impl FnOnce() -> Limits,
        now: Millis,
    ) -> Option<Arc<Purse>> {
        let [first, ..] = id.0;
        let mut shard = self.0.get(usize::from(first) % SHARDS)?.lock();
        if let Some((_, purse)) = shard.purses.get(&id) {
            return Some(Arc::clone(purse));
        }
        let full = shard.purses.len() >= SESSIONS_MAX / SHARDS;
        if full || now >= shard.sweep_at {
            shard.purses.retain(|_, (until, _)| *until > now);
            shard.sweep_at = now.saturating_add(KEPT);
        }
        if shard.purses.len() >= SESSIONS_MAX / SHARDS {
            return None;
        }
        let purse = Arc::new(Purse::new(limits(), now));
        let until = expires_at.saturating_add(KEPT);
        shard.purses.insert(id, (until, Arc::clone(&purse)));
        Some(purse)
    }
}

/// What one session has had.
pub struct Purse {
    limits: Limits,
    spent: Mutex<Spent>,
    /// A permit for each answer that may still say "not there"; closed when there are none.
    absent: Arc<Semaphore>,
}

struct Spent {
    /// When the minute began in which `requests` are counted.
    since: Millis,
    requests: u32,
    bytes: u64,
    types: Vec<ResourceType>,
    absent: u32,
    /// The budgets that were found spent, for one alert each.
    told: Vec<Budget>,
}

/// A budget that is spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Over {
    pub budget: Budget,
    limit: u64,
    /// Seconds until its window is over; none where only a new session helps.
    retry_after: Option<u32>,
    /// The first time in this session or window.
    pub first: bool,
}

impl Purse {
    fn new(limits: Limits, now: Millis) -> Self {
        let spent = Spent { since: now, requests: 0, bytes: 0, types: Vec::new(), absent: 0, told: Vec::new() };
        let places = usize::try_from(limits.absent_per_session).unwrap_or(usize::MAX);
        let absent = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self { limits, spent: Mutex::new(spent), absent }
    }

    /// Charges one request.
    pub fn request(&self, now: Millis) -> Result<(), Over> {
        self.requests(1, false, now)
    }

    /// Charges the entries of a transaction, of which one was charged as the request: all or none.
    pub fn entries(&self, entries: usize, now: Millis) -> Result<(), Over> {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        self.requests(entries.saturating_sub(1), entries > self.limits.requests_per_minute, now)
    }

    fn requests(&self, count: u32, never: bool, now: Millis) -> Result<(), Over> {
        let most = self.limits.requests_per_minute;
        let mut spent = self.spent.lock();
        if now.saturating_sub(spent.since) >= MINUTE {
            (spent.since, spent.requests) = (now, 0);
            spent.told.retain(|budget| *budget != Budget::RequestsPerMinute);
        }
        // A clock that went back makes the window longer, by a minute at most.
        spent.since = spent.since.min(now);
        match spent.requests.checked_add(count).filter(|sum| *sum <= most) {
            Some(sum) => {
                spent.requests = sum;
                Ok(())
            }
            None => {
                let left = spent.since.saturating_add(MINUTE).saturating_sub(now);
                let seconds = u32::try_from(left.max(1).unsigned_abs().div_ceil(1_000)).unwrap_or(u32::MAX);
                let over = spent.over(Budget::RequestsPerMinute, most.into());
                Err(Over { retry_after: (!never).then_some(seconds), ..over })
            }
        }
    }

    /// Whether page `number` of an answer may be asked for.
    pub fn page(&self, number: u32) -> Result<(), Over> {
        let most = self.limits.pages_per_search;
        if number <= most { Ok(()) } else { Err(self.spent.lock().over(Budget::PagesPerSearch, most.into())) }
    }

    /// Whether anything may be released at all.
    pub fn left(&self) -> Result<(), Over> {
        let most = self.limits.bytes_per_session;
        let mut spent = self.spent.lock();
        if spent.bytes < most { Ok(()) } else { Err(spent.over(Budget::BytesPerSession, most)) }
    }

    /// Charges what is about to be released, or nothing of it. What then cannot be recorded, or is answered 304, stays charged.
    pub fn release(&self, released: &Released) -> Result<(), Over> {
        if !(200..300).contains(&released.status()) {
            return Ok(());
        }
        let bytes = released.spooled().unwrap_or(released.body().len() as u64);
        let mut types: Vec<ResourceType> = Vec::new();
        let mut last = "";
        for label in released.resources() {
            let name = label.split_once('/').map_or(label.as_str(), |(name, _)| name);
            if name != last {
                let kind = name.parse().unwrap_or_else(|_| released.kind());
                if !types.contains(&kind) {
                    types.push(kind);
                }
                last = name;
            }
        }
        self.take(bytes, &types)
    }

    /// Charges bytes of a file that are about to leave.
    pub fn bytes(&self, bytes: u64) -> Result<(), Over> {
        self.take(bytes, &[])
    }

    /// `types` are distinct.
    fn take(&self, bytes: u64, types: &[ResourceType]) -> Result<(), Over> {
        let Limits { bytes_per_session, types_per_session, .. } = self.limits;
        let mut spent = self.spent.lock();
        let Some(sum) = spent.bytes.checked_add(bytes).filter(|sum| *sum <= bytes_per_session) else {
            return Err(spent.over(Budget::BytesPerSession, bytes_per_session));
        };
        let new: Vec<_> = types.iter().copied().filter(|kind| !spent.types.contains(kind)).collect();
        if !new.is_empty() && (spent.types.len() + new.len()) as u64 > u64::from(types_per_session) {
            return Err(spent.over(Budget::TypesPerSession, types_per_session.into()));
        }
        spent.bytes = sum;
        spent.types.extend(new);
        Ok(())
    }

    /// Keeps a place for an answer that may say "not there". Where those at work hold the last ones, their answers are waited for:
    /// most of them give their place back.
    pub async fn place(self: &Arc<Self>) -> Result<Place, Refusal> {
        let permit = match Arc::clone(&self.absent).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(self.absent_spent()),
            Err(TryAcquireError::NoPermits) => {
                match tokio::time::timeout(WAIT_MAX, Arc::clone(&self.absent).acquire_owned()).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => return Err(self.absent_spent()),
                    Err(_) => {
                        let says = "too many requests of this session are being worked on; try again";
                        return Err(Refusal::new(Reason::Overloaded, says));
                    }
                }
            }
        };
        Ok(Place { permit, purse: Arc::clone(self) })
    }

    fn absent_spent(&self) -> Refusal {
        let most = self.limits.absent_per_session.into();
        // The alert was raised when it was spent.
        Over { first: false, ..self.spent.lock().over(Budget::AbsentPerSession, most) }.into()
    }
}

/// A place among the answers that say "not there"; given back when it is dropped.
#[must_use]
pub struct Place {
    permit: OwnedSemaphorePermit,
    purse: Arc<Purse>,
}

impl Place {
    /// Uses it up; whether it was the last.
    pub fn spend(self) -> bool {
        let Self { permit, purse } = self;
        permit.forget();
        let mut spent = purse.spent.lock();
        spent.absent = spent.absent.saturating_add(1);
        let last = spent.absent == purse.limits.absent_per_session;
        if last {
            purse.absent.close();
        }
        last
    }
}

impl Spent {
    fn over(&mut self, budget: Budget, limit: u64) -> Over {
        let first = !self.told.contains(&budget);
        if first {
            self.told.push(budget);
        }
        Over { budget, limit, retry_after: None, first }
    }
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        let Over { budget, limit, retry_after, .. } = over;
        let (reason, helps) = match (budget, retry_after) {
            (Budget::RequestsPerMinute, Some(_)) => (Reason::RequestBudgetSpent, "try again when the minute is over"),
            (Budget::RequestsPerMinute, None) => (Reason::RequestBudgetSpent, "send fewer entries at once"),
            (Budget::PagesPerSearch, _) => (Reason::PageBudgetSpent, "the search has more pages; narrow it"),
            (Budget::BytesPerSession, _) => (Reason::ByteBudgetSpent, "ask for less, or start a new session"),
            (Budget::TypesPerSession, _) => (Reason::TypeBudgetSpent, "a new session is needed for further types"),
            (Budget::AbsentPerSession, _) => {
                let helps = "too many look-ups of instances that are not this session's; a new session is needed";
                (Reason::AbsentBudgetSpent, helps)
            }
            (Budget::PatientsPerHour | Budget::PatientsPerDay, _) => (Reason::BudgetSpent, "try again later"),
        };
        let says = format!("the budget `{}` of this session ({limit}) is spent: {helps}", budget.name());
        Self { retry_after, ..Self::new(reason, says) }
    }
}

#[cfg(test)]
mod tests;
