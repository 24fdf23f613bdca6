//! What the launch side remembers: handles, pending questions, codes, grants, tokens, and assertions that were used.

use std::collections::HashMap;

use super::context::LaunchContext;
use super::jose::{secret, sha256};

/// Most entries of one kind. Ended ones make room; when none has ended, nothing more is given out.
const KEPT_MAX: usize = 100_000;
/// A launch handle lives this long (LN-03).
const HANDLE_MILLIS: i64 = 5 * 60 * 1000;
/// A person has this long to choose.
const PENDING_MILLIS: i64 = 10 * 60 * 1000;
/// A code lives this long (AZ-06), and is remembered longer, so that its second use is seen.
const CODE_MILLIS: i64 = 60 * 1000;
/// A refresh token, unused, lives this long (RF-07: at least three months).
const REFRESH_MILLIS: i64 = 92 * 24 * 3600 * 1000;

/// Entries that end.
struct Kept<T>(HashMap<String, (i64, T)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Kept<T> {
    /// Keeps an entry; none when there is no room, or it is there already.
    fn put(&mut self, key: String, end: i64, value: T, now: i64) -> Option<()> {
        if self.0.len() >= KEPT_MAX {
            self.0.retain(|_, (end, _)| *end > now);
        }
        if self.0.len() >= KEPT_MAX || self.0.get(&key).is_some_and(|(end, _)| *end > now) {
            return None;
        }
        self.0.insert(key, (end, value));
        Some(())
    }

    fn find(&self, key: &str, now: i64) -> Option<&T> {
        self.0.get(key).filter(|(end, _)| *end > now).map(|(_, value)| value)
    }

    fn find_mut(&mut self, key: &str, now: i64) -> Option<&mut T> {
        self.0.get_mut(key).filter(|(end, _)| *end > now).map(|(_, value)| value)
    }

    fn take(&mut self, key: &str, now: i64) -> Option<T> {
        self.0.remove(key).filter(|(end, _)| *end > now).map(|(_, value)| value)
    }
}

/// An authorization request that may be granted.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) state: String,
    pub(super) scope: Vec<String>,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
}

struct Code {
    asked: Asked,
    context: LaunchContext,
    end: i64,
    /// The grant it became.
    used: Option<u64>,
}

/// What one person let one app do.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) context: LaunchContext,
    pub(super) scope: Vec<String>,
    pub(super) revoked: bool,
}

impl Grant {
    pub(super) fn holds(&self, scope: &str) -> bool {
        self.scope.iter().any(|own| own == scope)
    }
}

struct Access {
    grant: u64,
    scope: Vec<String>,
    patient: Option<String>,
    end: i64,
    revoked: bool,
}

struct Refresh {
    grant: u64,
    used: bool,
}

/// Tokens given out together.
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) scope: Vec<String>,
    pub(super) patient: Option<String>,
    pub(super) grant: Grant,
    /// Sent with the authorization request, for the ID token.
    pub(super) nonce: Option<String>,
}

/// Why no tokens are given out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RedeemError {
    /// Unknown, ended, used, another app's, or not with this verifier or redirect URI.
    Grant,
    /// More scopes than were granted.
    Scope,
    /// No room, or no randomness.
    Unable,
}

/// What is said about an access token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenState {
    /// It opens what its scopes say.
    Live,
    /// Its time is over.
    Expired,
    /// It, or the grant it came from, was revoked.
    Revoked,
}

/// An access token of an app, without the token itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppToken {
    /// The app.
    pub client_id: String,
    /// Id of the Practitioner it acts for.
    pub practitioner: String,
    /// Id of the Patient in context.
    pub patient: Option<String>,
    /// Id of the Encounter in context.
    pub encounter: Option<String>,
    /// Scopes, with a space between each two.
    pub scope: String,
    /// Whether it is good.
    pub state: TokenState,
}

/// How an app asks for tokens with a code.
pub(super) struct Redeem<'a> {
    pub(super) code: &'a str,
    pub(super) client_id: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
}

/// Everything remembered.
#[derive(Default)]
pub(super) struct Book {
    handles: Kept<(String, LaunchContext)>,
    pending: Kept<Asked>,
    codes: Kept<Code>,
    grants: HashMap<u64, Grant>,
    granted: u64,
    access: Kept<Access>,
    refresh: Kept<Refresh>,
    assertions: Kept<()>,
}

impl Book {
    /// A handle for this app and context.
    pub(super) fn mint(&mut self, client_id: &str, context: LaunchContext, now: i64) -> Option<String> {
        let handle = secret()?;
        self.handles.put(handle.clone(), now + HANDLE_MILLIS, (client_id.to_owned(), context), now)?;
        Some(handle)
    }

    /// Uses a handle up; whoever shows it, it is gone.
    pub(super) fn launched(&mut self, handle: &str, client_id: &str, now: i64) -> Option<LaunchContext> {
        let (own, context) = self.handles.take(handle, now)?;
        (own == client_id).then_some(context)
    }

    /// Remembers a request while a person chooses.
    pub(super) fn ask(&mut self, asked: Asked, now: i64) -> Option<String> {
        let name = secret()?;
        self.pending.put(name.clone(), now + PENDING_MILLIS, asked, now)?;
        Some(name)
    }

    /// The request a person chooses for.
    pub(super) fn asked(&self, name: &str, now: i64) -> Option<&Asked> {
        self.pending.find(name, now)
    }

    /// The same, once and for all.
    pub(super) fn chosen(&mut self, name: &str, now: i64) -> Option<Asked> {
        self.pending.take(name, now)
    }

    /// A code for what was asked.
    pub(super) fn grant(&mut self, asked: Asked, context: LaunchContext, now: i64) -> Option<String> {
        let code = secret()?;
        let kept = Code { asked, context, end: now + CODE_MILLIS, used: None };
        self.codes.put(code.clone(), now + REFRESH_MILLIS, kept, now)?;
        Some(code)
    }

    /// Exchanges a code. One that comes again takes back what it gave (RFC 6749 §4.1.2); a failed try uses it up too.
    pub(super) fn redeem(&mut self, redeem: &Redeem<'_>, seconds: i64, now: i64) -> Result<Issued, RedeemError> {
        let number = self.granted;
        let code = self.codes.find_mut(redeem.code, now).ok_or(RedeemError::Grant)?;
        if let Some(grant) = code.used {
            self.revoke_grant(grant);
            return Err(RedeemError::Grant);
        }
        code.used = Some(number);
        self.granted += 1;
        let asked = code.asked.clone();
        let fits = code.end > now
            && asked.client_id == redeem.client_id
            && asked.redirect_uri == redeem.redirect_uri
            && verifier(redeem.verifier)
            && sha256(redeem.verifier) == asked.challenge;
        if !fits {
            return Err(RedeemError::Grant);
        }
        let context = code.context.clone();
        let grant = Grant { client_id: asked.client_id, context, scope: asked.scope, revoked: false };
        if self.grants.len() >= KEPT_MAX {
            self.grants.retain(|_, grant| !grant.revoked);
        }
        if self.grants.len() >= KEPT_MAX {
            return Err(RedeemError::Unable);
        }
        let (scope, patient) = (grant.scope.clone(), grant.context.patient.clone());
        self.grants.insert(number, grant);
        let issued = self.issue(number, scope, patient, seconds, now).ok_or(RedeemError::Unable)?;
        Ok(Issued { nonce: asked.nonce, ..issued })
    }

    /// Exchanges a refresh token for the next. One that comes again takes back the whole grant (RFC 9700 §4.14.2).
    pub(super) fn renew(&mut self, renew: &Renew<'_>, seconds: i64, now: i64) -> Result<Issued, RedeemError> {
        let (number, used) = {
            let refresh = self.refresh.find(renew.token, now).ok_or(RedeemError::Grant)?;
            (refresh.grant, refresh.used)
        };
        let grant = self.grants.get(&number).filter(|grant| !grant.revoked).ok_or(RedeemError::Grant)?;
        if grant.client_id != renew.client_id {
            return Err(RedeemError::Grant);
        }
        if used {
            self.revoke_grant(number);
            return Err(RedeemError::Grant);
        }
        let scope = match &renew.scope {
            None => grant.scope.clone(),
            Some(asked) if asked.is_empty() || !asked.iter().all(|scope| grant.holds(scope)) => {
                return Err(RedeemError::Scope);
            }
            Some(asked) => asked.clone(),
        };
        let patient = renew.patient.map(str::to_owned).or_else(|| grant.context.patient.clone());
        if let Some(refresh) = self.refresh.find_mut(renew.token, now) {
            refresh.used = true;
        }
        self.issue(number, scope, patient, seconds, now).ok_or(RedeemError::Unable)
    }

    fn issue(
        &mut self,
        number: u64,
        scope: Vec<String>,
        patient: Option<String>,
        seconds: i64,
        now: i64,
    ) -> Option<Issued> {
        let grant = self.grants.get(&number)?.clone();
        let access = secret()?;
        let end = now.saturating_add(seconds.saturating_mul(1000));
        let kept = Access { grant: number, scope: scope.clone(), patient: patient.clone(), end, revoked: false };
        // Kept a day longer than it lives, so that one can tell an ended token from one that never was.
        self.access.put(access.clone(), end.saturating_add(24 * 3600 * 1000), kept, now)?;
        let refresh = if grant.holds("offline_access") || grant.holds("online_access") {
            let token = secret()?;
            self.refresh.put(token.clone(), now + REFRESH_MILLIS, Refresh { grant: number, used: false }, now)?;
            Some(token)
        } else {
            None
        };
        Some(Issued { access, refresh, scope, patient, grant, nonce: None })
    }

    /// Revokes a token of this app: with a refresh token the grant, else the access token alone (RFC 7009 §2.1).
    /// False when it is another app's. One that nobody knows is no mistake (RFC 7009 §2.2).
    pub(super) fn revoke(&mut self, token: &str, client_id: &str, now: i64) -> bool {
        let own = |grants: &HashMap<u64, Grant>, number: u64| {
            grants.get(&number).is_some_and(|grant| grant.client_id == client_id)
        };
        if let Some(number) = self.refresh.find(token, now).map(|refresh| refresh.grant) {
            let own = own(&self.grants, number);
            if own {
                self.revoke_grant(number);
            }
            return own;
        }
        if let Some(access) = self.access.find_mut(token, now) {
            let own = own(&self.grants, access.grant);
            access.revoked |= own;
            return own;
        }
        true
    }

    fn revoke_grant(&mut self, number: u64) {
        if let Some(grant) = self.grants.get_mut(&number) {
            grant.revoked = true;
        }
    }

    /// Ends what was granted while this person was signed in and not beyond (RF-01).
    pub(super) fn sign_out(&mut self, practitioner: &str) {
        for grant in self.grants.values_mut() {
            if grant.context.practitioner == practitioner && !grant.holds("offline_access") {
                grant.revoked = true;
            }
        }
    }

    /// Forgets every grant, as a server does that was restarted.
    pub(super) fn forget(&mut self) {
        self.grants.clear();
    }

    /// What an access token is good for.
    pub(super) fn token(&self, token: &str, now: i64) -> Option<AppToken> {
        let access = self.access.find(token, now)?;
        let grant = self.grants.get(&access.grant)?;
        let state = match (access.revoked || grant.revoked, access.end > now) {
            (true, _) => TokenState::Revoked,
            (false, true) => TokenState::Live,
            (false, false) => TokenState::Expired,
        };
        Some(AppToken {
            client_id: grant.client_id.clone(),
            practitioner: grant.context.practitioner.clone(),
            patient: access.patient.clone(),
            encounter: grant.context.encounter.clone(),
            scope: access.scope.join(" "),
            state,
        })
    }

    /// Whether an assertion of this app comes for the first time (CA-04); false as well when there is no room to tell.
    pub(super) fn first_time(&mut self, client_id: &str, jti: &str, end: i64, now: i64) -> bool {
        self.assertions.put(format!("{client_id} {jti}"), end, (), now).is_some()
    }
}

/// How an app asks for tokens with a refresh token.
pub(super) struct Renew<'a> {
    pub(super) token: &'a str,
    pub(super) client_id: &'a str,
    /// Scopes asked for; none: what was granted.
    pub(super) scope: Option<Vec<String>>,
    /// Another patient than was granted: only when told to misbehave.
    pub(super) patient: Option<&'a str>,
}

/// Whether it is a PKCE verifier (RFC 7636 §4.1).
fn verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}
