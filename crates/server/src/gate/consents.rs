//! What a session's patient has consented to, asked of the upstream once a minute and kept by session.

use std::collections::HashMap;

use domain::{Millis, Reason, Session, SessionId};
use parking_lot::Mutex;
use policy::{Consents, TenantRules, Verdict};

use super::{Gate, Tenant};
use crate::error::Refusal;
use crate::settings::ConsentSource;

/// How long an answer counts: a Consent that is withdrawn is known this much later.
const FRESH_MILLIS: Millis = 60 * 1000;
/// Sessions remembered at once; past it the stale ones go, and then all.
const SESSIONS_MAX: usize = 100_000;

/// Answers by session.
#[derive(Default)]
pub struct Known(Mutex<HashMap<SessionId, (Millis, Consents)>>);

impl Known {
    fn get(&self, session: &SessionId, now: Millis) -> Option<Consents> {
        let known = self.0.lock();
        known.get(session).filter(|(at, _)| (0..FRESH_MILLIS).contains(&(now - at))).map(|(_, found)| found.clone())
    }

    fn put(&self, session: SessionId, now: Millis, found: Consents) {
        let mut known = self.0.lock();
        if known.len() >= SESSIONS_MAX {
            known.retain(|_, (at, _)| now - *at < FRESH_MILLIS);
        }
        if known.len() >= SESSIONS_MAX {
            known.clear();
        }
        known.insert(session, (now, found));
    }
}

impl Gate {
    /// The Consents to judge by, where they need not be asked for.
    pub(super) fn known_consents(&self, tenant: &Tenant, session: &Session) -> Option<Consents> {
        if tenant.settings.upstream.consent == ConsentSource::None {
            return Some(Consents::none());
        }
        self.consented.get(&session.id, self.clock.now())
    }

    /// Asks for the Consents to judge by. What cannot be known is no permission: 503.
    pub(super) async fn ask_consents(
        &self,
        tenant: &Tenant,
        rules: &TenantRules,
        session: &Session,
    ) -> Result<Consents, Refusal> {
        let now = self.clock.now();
        let mut next = policy::ask_consents(rules, session, now);
        if next.is_none() {
            // Nobody's consent can be asked where there is no patient; whatever is asked then is denied anyway.
            return Ok(Consents::unknown());
        }
        while let Some(permit) = next.take() {
            let answered = self.broker.send(&tenant.settings.id, permit).await;
            match policy::verify(answered, &mut |_| None) {
                Verdict::Next(permit) => next = Some(permit),
                Verdict::Consents(Some(found)) => {
                    self.consented.put(session.id, now, found.clone());
                    return Ok(found);
                }
                Verdict::Released(released) if released.reason() == Some(Reason::UpstreamTokenGone) => {
                    let says = "the EHR has ended what it granted to this session; launch the app again";
                    return Err(Refusal::new(Reason::UpstreamTokenGone, says));
                }
                _ => break,
            }
        }
        Err(Refusal::new(
            Reason::UpstreamUnavailable,
            "the patient's consents cannot be read at the server behind the gate; \
             where it holds none, an operator sets `consent = \"none\"` for the upstream",
        ))
    }
}
