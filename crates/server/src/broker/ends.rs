//! The end of what the EHR granted (S1-32): once a session is over, its tokens are revoked there, what became of that is recorded, and
//! the grant is forgotten.
//!
//! Ending a session only makes its grant due (`Store::end_session`); so does the time at which it is over. Every node looks for what is
//! due, and whoever claims a grant works on it: an end waits for no EHR, and what a node leaves behind another finds.

use std::sync::Arc;
use std::time::Duration;

use domain::audit::{AuditRecord, Kind, Outcome, Phi};
use domain::{Millis, TenantId};
use futures_util::future::join_all;
use store::{GrantClaim, GrantRow, SessionRow, StoreError};
use tokio::sync::watch;

use super::Broker;
use super::granted::{GrantState, Revocation, Revocations, UpstreamGrant};
use super::grants::Grants;
use crate::audit::{Audit, Lane, RecordError};
use crate::authorize::SESSION_PATIENT;
use crate::clock::random;
use crate::registry::Registry;

/// How often what is due is looked for, beside every end on this node.
const EVERY: Duration = Duration::from_secs(2);
/// Most grants worked on at once.
const AT_ONCE: u32 = 16;
/// One attempt may take this long before another node may try: two revocations of 5 s each, and the record.
const CLAIM_MILLIS: Millis = 30_000;
/// When to try again after each failed attempt; after the last one it has failed.
const AGAIN_MILLIS: [Millis; 4] = [2_000, 10_000, 30_000, 120_000];

/// The EHR did not revoke what a session had.
const FAILED: &str = "upstream-revocation-failed";
/// The EHR answered for another patient.
const SWITCHED: &str = "upstream-patient-switched";
/// Who ended such a session, in its row.
const BY_BROKER: &str = "upstream-patient-switched";

impl Broker {
    /// Revokes what is due, until `stop` says so. One task a node.
    pub async fn end_grants(self, registry: Registry, audit: Audit, mut stop: watch::Receiver<bool>) {
        let Some(grants) = self.0.grants.clone() else { return };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = registry.session_ends() => {}
                () = grants.due.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(why) = self.revoke_due(&registry, &audit).await {
                tracing::warn!("upstream grants that are due could not be read: {why}");
            }
        }
    }

    /// Works on what is due now; gives how many grants were brought to their end.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed.
    pub async fn revoke_due(&self, registry: &Registry, audit: &Audit) -> Result<usize, StoreError> {
        let Some(grants) = &self.0.grants else { return Ok(0) };
        grants.forget(|session| registry.session_ended(session));
        let mut done = 0;
        loop {
            let now = grants.clock.now();
            let due = grants.store.due_grants(now, AT_ONCE).await?;
            if due.is_empty() {
                return Ok(done);
            }
            let work = due.iter().map(|row| Due { grants, registry, audit, row }.work(now));
            let worked = join_all(work).await;
            done += worked.iter().filter(|end| **end == End::Reached).count();
            // Nothing here is claimed for longer than it is due again: what is left now is another node's or a later attempt's.
            if worked.iter().all(|end| *end == End::Elsewhere) {
                return Ok(done);
            }
        }
    }
}

/// How far one grant came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It is forgotten.
    Reached,
    /// It is tried again later.
    Later,
    /// Somebody else works on it.
    Elsewhere,
}

/// A grant that is due.
struct Due<'a> {
    grants: &'a Arc<Grants>,
    registry: &'a Registry,
    audit: &'a Audit,
    row: &'a GrantRow,
}

impl Due<'_> {
    async fn work(self, now: Millis) -> End {
        let session = &self.row.session;
        let claimed = self.grants.store.claim_due_grant(session, self.row.revision, now, now + CLAIM_MILLIS).await;
        let claim = match claimed {
            Ok(Some(claim)) => claim,
            Ok(None) => return End::Elsewhere,
            Err(why) => {
                tracing::warn!(%session, %why, "an upstream grant that is due could not be claimed");
                return End::Elsewhere;
            }
        };
        self.grants.forget(|over| over == session);
        let grant = self.grants.open(self.row);
        if grant.as_ref().is_some_and(|grant| grant.state == GrantState::Switched) && self.row.attempts == 0 {
            self.switched().await;
        }
        let attempt = usize::try_from(self.row.attempts).unwrap_or(usize::MAX);
        let again = AGAIN_MILLIS.get(attempt).map(|wait| now.saturating_add(*wait));
        let revocations = match &grant {
            Some(grant) => self.revoke(grant).await,
            None => Revocations { access: Revocation::Failed, refresh: None },
        };
        if revocations.outcome() == Revocation::Failed
            && let Some(again) = again
        {
            return self.later(&claim, again).await;
        }
        if let Err(why) = self.record(revocations).await {
            tracing::error!(%session, %why, "what became of an upstream grant could not be recorded");
            // It is revoked once more then, which does no harm.
            return self.later(&claim, again.unwrap_or(now.saturating_add(CLAIM_MILLIS))).await;
        }
        match self.grants.store.delete_grant(&claim).await {
            Ok(_) => End::Reached,
            Err(why) => {
                tracing::warn!(%session, %why, "an upstream grant could not be forgotten");
                End::Later
            }
        }
    }

    async fn revoke(&self, grant: &UpstreamGrant) -> Revocations {
        match self.grants.ehrs.get(&self.row.tenant) {
            Some(ehr) => ehr.revoke(grant).await,
            None => Revocations { access: Revocation::Failed, refresh: None },
        }
    }

    async fn later(&self, claim: &GrantClaim, again: Millis) -> End {
        if let Err(why) = self.grants.store.release_grant(claim, again).await {
            tracing::warn!(session = %claim.session, %why, "a claim on an upstream grant could not be given back");
        }
        End::Later
    }

    /// The EHR refreshed for another patient: nothing of this session goes on.
    async fn switched(&self) {
        let (tenant, session) = (&self.row.tenant, &self.row.session);
        if let Err(why) = self.registry.end_session(tenant, session, BY_BROKER).await {
            tracing::error!(%session, %why, "a session whose EHR changed its patient could not be ended");
        }
        let says = "the EHR refreshed the token of a session for another patient; the session has ended";
        self.audit.alert(tenant, SWITCHED, &format!("session {session}: {says}"), Phi::default()).await;
    }

    async fn record(&self, revocations: Revocations) -> Result<(), RecordError> {
        let (tenant, outcome) = (&self.row.tenant, revocations.outcome());
        let session = self.grants.store.find_session(&self.row.session).await.ok().flatten();
        let said = if outcome == Revocation::Revoked { Outcome::Success } else { Outcome::Failed };
        let mut record = AuditRecord::new(tenant.as_str(), Kind::UpstreamRevoke, said, random()?);
        record.actor.session = Some(self.row.session);
        record.object.kind = "session".to_owned();
        record.object.interaction = "revoke".to_owned();
        record.decision.reason = outcome.as_str().to_owned();
        record.phi.attributes = vec![
            ("attempts".to_owned(), self.row.attempts.saturating_add(1).to_string()),
            ("upstream.access_token".to_owned(), revocations.access.as_str().to_owned()),
            ("upstream.refresh_token".to_owned(), revocations.refresh.map_or("none", Revocation::as_str).to_owned()),
        ];
        if let Some(row) = &session {
            self.describe(&mut record, tenant, row);
        }
        let slot = self.audit.reserve(Lane::Release)?;
        self.audit.append(slot, record).await?;
        if outcome == Revocation::Failed {
            let says = "what the EHR granted to it could not be revoked there; it lives until the EHR lets it expire";
            let text = format!("session {}: {says}", self.row.session);
            self.audit.alert(tenant, FAILED, &text, Phi::default()).await;
        }
        Ok(())
    }

    fn describe(&self, record: &mut AuditRecord, tenant: &TenantId, row: &SessionRow) {
        let session = &row.session;
        record.actor.integration = session.integration.to_string();
        record.actor.jti = session.jti.clone();
        record.decision.task = session.task.to_string();
        record.decision.approval = Some(session.approval);
        record.phi.scope = session.scope.clone();
        let opened = self.grants.keys.open_row(tenant.as_str(), SESSION_PATIENT, &session.patient_sealed);
        record.phi.patients = opened.ok().and_then(|text| String::from_utf8(text).ok()).into_iter().collect();
    }
}
