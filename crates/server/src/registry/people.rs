//! People signing in: passphrases (argon2id), API tokens, throttled attempts, and the first people of an installation.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::digest::{SHA256, digest};
use domain::{Millis, PersonId, Role, TenantId};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::random;

/// Shortest passphrase, in characters (NIST SP 800-63B §3.1.1 asks for 15 when it is the only factor).
pub(crate) const PASSPHRASE_MIN: usize = 15;
/// Longest passphrase, in bytes.
const PASSPHRASE_MAX: usize = 1_024;
/// An API token ends after this long without use.
pub(crate) const TOKEN_IDLE: Millis = 15 * 60 * 1000;
/// An API token ends after this long whatever happens.
pub(crate) const TOKEN_LIFE: Millis = 8 * 3_600_000;
/// The init credential works this long.
pub const INIT_LIFE: Millis = 24 * 3_600_000;
/// Hashes worked on at once: each takes 19 MiB and tens of milliseconds of a core.
const HASHES_MAX: usize = 2;
/// Failed attempts before the next must wait.
const ATTEMPTS_FREE: u32 = 5;
/// Longest wait between attempts.
const WAIT_MAX: Millis = 15 * 60 * 1000;
/// Names whose failed attempts are remembered; above it the oldest go.
const NAMES_MAX: usize = 10_000;

/// Refused attempts to get in that have a record of their own, in each minute; the others are counted.
pub(crate) const RECORDS_MAX: u32 = 60;
/// That minute.
const RECORDS_WINDOW: Millis = 60_000;

/// A signed-in person.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who.
    pub person: PersonId,
    /// `(tenant or None for every tenant, role)`.
    pub roles: Vec<(Option<TenantId>, Role)>,
    /// SHA-256 of the token they came with.
    pub token: [u8; 32],
}

impl Caller {
    /// Whether the person holds `role` in `tenant` (`None`: in every tenant).
    pub(crate) fn holds(&self, tenant: Option<&TenantId>, role: Role) -> bool {
        self.roles.iter().any(|(place, held)| *held == role && (place.is_none() || place.as_ref() == tenant))
    }

    /// Whether the person holds any of `roles` somewhere.
    pub(crate) fn holds_anywhere(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|(_, held)| roles.contains(held))
    }

    /// Roles that count in a tenant, comma separated, for records.
    pub(crate) fn roles_in(&self, tenant: &str) -> String {
        let counts = |place: &Option<TenantId>| place.as_ref().is_none_or(|place| place.as_str() == tenant);
        let mut out: Vec<_> =
            self.roles.iter().filter(|(place, _)| counts(place)).map(|(_, role)| role.as_str()).collect();
        out.sort_unstable();
        out.dedup();
        out.join(",")
    }
}

/// SHA-256 of a bearer secret: what is stored in its place. The secrets are 256 random bits, so a plain hash is enough,
/// and looking one up by its hash tells a guesser nothing.
#[must_use]
pub fn credential_hash(secret: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (slot, byte) in out.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
        *slot = *byte;
    }
    out
}

/// Why a passphrase cannot be used; `None` if it can.
pub(crate) fn passphrase_mistake(passphrase: &str) -> Option<String> {
    if passphrase.chars().count() < PASSPHRASE_MIN {
        return Some(format!("`passphrase` must have at least {PASSPHRASE_MIN} characters"));
    }
    (passphrase.len() > PASSPHRASE_MAX).then(|| format!("`passphrase` is longer than {PASSPHRASE_MAX} bytes"))
}

/// The machinery of passphrases: bounded in work, throttled by name.
#[derive(Debug)]
pub(crate) struct Passphrases {
    work: Arc<Semaphore>,
    attempts: Mutex<HashMap<[u8; 32], Attempts>>,
    /// When the current minute of records began, and how many it has had.
    recorded: Mutex<(Millis, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    failed: u32,
    last: Millis,
}

/// Verified against when there is no such person, so that both answers take the same work.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let salt = [7; 16];
    let hash = Argon2::default().hash_password_with_salt(b"nobody's passphrase", &salt);
    hash.map_or_else(|_| String::new(), |hash| hash.to_string())
});

impl Default for Passphrases {
    fn default() -> Self {
        Self { work: Arc::new(Semaphore::new(HASHES_MAX)), attempts: Mutex::default(), recorded: Mutex::default() }
    }
}

impl Passphrases {
    /// The argon2id hash of a passphrase, as a PHC string; `None` when the work could not be done.
    pub(crate) async fn hash(&self, passphrase: &str) -> Option<String> {
        let passphrase = Zeroizing::new(passphrase.to_owned());
        self.work(move || {
            let salt = random::<16>().ok()?;
            Argon2::default().hash_password_with_salt(passphrase.as_bytes(), &salt).ok().map(|hash| hash.to_string())
        })
        .await
        .flatten()
    }

    /// Whether the passphrase is the one hashed; the same work when there is no hash.
    pub(crate) async fn verify(&self, passphrase: &str, hash: Option<String>) -> bool {
        let passphrase = Zeroizing::new(passphrase.to_owned());
        self.work(move || {
            let known = hash.is_some();
            let text = hash.unwrap_or_else(|| NOBODY.clone());
            let fits = PasswordHash::new(&text)
                .is_ok_and(|hash| Argon2::default().verify_password(passphrase.as_bytes(), &hash).is_ok());
            known && fits
        })
        .await
        .unwrap_or(false)
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.work).acquire_owned().await.ok()?;
        let done = tokio::task::spawn_blocking(move || {
            let out = job();
            drop(permit);
            out
        });
        done.await.ok()
    }

    /// Milliseconds until this name may try again; the same for names that do not exist.
    pub(crate) fn wait(&self, name: &str, now: Millis) -> Option<Millis> {
        let attempts = *self.attempts.lock().get(&credential_hash(name))?;
        let over = attempts.failed.checked_sub(ATTEMPTS_FREE)?;
        let pause = 1_000_i64.checked_shl(over.min(20)).unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let left = attempts.last.saturating_add(pause) - now;
        (left > 0).then_some(left)
    }

    /// Whether one more attempt to get in gets a record of its own; the rest of the minute is counted.
    pub(crate) fn worth_a_record(&self, now: Millis) -> bool {
        let mut recorded = self.recorded.lock();
        let (began, count) = *recorded;
        // A clock set back begins a new minute too.
        if !(0..RECORDS_WINDOW).contains(&now.saturating_sub(began)) {
            *recorded = (now, 1);
            return true;
        }
        recorded.1 = count.saturating_add(1);
        count < RECORDS_MAX
    }

    /// Remembers how an attempt ended.
    pub(crate) fn note(&self, name: &str, now: Millis, fits: bool) {
        let mut all = self.attempts.lock();
        let key = credential_hash(name);
        if fits {
            all.remove(&key);
            return;
        }
        if all.len() >= NAMES_MAX && !all.contains_key(&key) {
            all.retain(|_, attempts| attempts.last > now - WAIT_MAX);
            // Still full: someone tries many names. Forgetting the oldest keeps memory bounded.
            if all.len() >= NAMES_MAX
                && let Some(oldest) = all.iter().min_by_key(|(_, attempts)| attempts.last).map(|(key, _)| *key)
            {
                all.remove(&oldest);
            }
        }
        let entry = all.entry(key).or_insert(Attempts { failed: 0, last: now });
        entry.failed = entry.failed.saturating_add(1);
        entry.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_slow_down_by_name_and_memory_is_bounded() {
        let all = Passphrases::default();
        for n in 0..5 {
            assert_eq!(all.wait("a@x", n), None, "attempt {n}");
            all.note("a@x", n, false);
        }
        assert_eq!(all.wait("a@x", 4), Some(1_000));
        all.note("a@x", 2_000, false);
        assert_eq!(all.wait("a@x", 2_000), Some(2_000));
        assert_eq!(all.wait("b@x", 2_000), None);
        for _ in 0..40 {
            all.note("a@x", 3_000, false);
        }
        assert_eq!(all.wait("a@x", 3_000), Some(WAIT_MAX));
        all.note("a@x", 4_000, true);
        assert_eq!(all.wait("a@x", 4_000), None);
        for n in 0..NAMES_MAX + 50 {
            all.note(&n.to_string(), 5_000, false);
        }
        assert_eq!(all.attempts.lock().len(), NAMES_MAX);
    }

    #[tokio::test]
    async fn passphrases_verify_against_their_own_hash_only() {
        let all = Passphrases::default();
        let hash = all.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        assert!(all.verify("correct horse battery", Some(hash.clone())).await);
        assert!(!all.verify("correct horse batterY", Some(hash)).await);
        assert!(!all.verify("nobody's passphrase", None).await, "an unknown person never fits");
        assert!(!all.verify("x", Some("not a hash".into())).await);
    }

    #[test]
    fn roles_count_in_their_tenant_and_every_tenant() {
        let [mercy, other]: [TenantId; 2] = ["mercy".parse().unwrap(), "other".parse().unwrap()];
        let caller = Caller {
            person: "a@x".parse().unwrap(),
            roles: vec![(Some(mercy.clone()), Role::Operator), (None, Role::Auditor)],
            token: [0; 32],
        };
        assert!(caller.holds(Some(&mercy), Role::Operator));
        assert!(!caller.holds(Some(&other), Role::Operator));
        assert!(!caller.holds(None, Role::Operator));
        assert!(caller.holds(Some(&other), Role::Auditor) && caller.holds(None, Role::Auditor));
        assert_eq!(caller.roles_in("mercy"), "auditor,operator");
        assert_eq!(caller.roles_in("_system"), "auditor");
    }
}
