//! `grant_type=refresh_token`: a session with a person goes on, as long as everything it stands on does.

use domain::audit::{Kind, Outcome};
use domain::{AuthMethod, Confirmation, LaunchKind, Millis, Reason, Session, Subject};
use oauth::ErrorCode;
use oauth::grant::TokenRequest;
use oauth::scope::Granted;
use oauth::token::AccessClaims;
use serde_json::{Value, json};
use store::{FoundRefresh, NewRefresh, PersonSession, Refresh, RefreshRefusal, UsedAssertion};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::b2b;
use super::bind::bind;
use super::client::{Caller, refused};
use super::code::{Lasting, clauses};
use super::ehr_launch::over_at;
use super::handles::{self, Fault};
use super::people::millis;
use super::start::{OFFLINE_MILLIS, context, life, member, unused};
use super::token::{Denied, store_failed};
use super::trace::{self, Trace};
use super::waiting::Access;
use super::{SESSION_PATIENT, Service, Tenant, shown};
use crate::audit::Lane;
use crate::clock::random;
use crate::registry::Standing;

/// One text for every refresh token that is not honoured.
const REFRESH_REFUSED: &str =
    "the refresh token is unknown, used or expired, its session has ended, or it is not for this client and key";

/// A session that goes on, with what it stands on.
pub(super) struct Going {
    found: PersonSession,
    lasting: Lasting,
    /// What it stands on now.
    pub(super) standing: Standing,
    /// For whom it is.
    pub(super) patient: fhir::Id,
}

impl Service {
    /// Decides a refresh and makes the next token.
    #[expect(clippy::too_many_arguments, reason = "one step of the token endpoint, with all it was told")]
    pub(super) async fn refresh(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        token: &str,
        dpop: Option<[u8; 32]>,
        going: Going,
        used: UsedAssertion,
        now: Millis,
    ) -> Result<Value, (Denied, UsedAssertion)> {
        let failed = |denied: Denied, used: UsedAssertion| (denied.at(&going.standing, &going.patient), used);
        if let Err(denied) = b2b::said(caller, request).and_then(|said| b2b::suits(said.as_deref(), &going.standing)) {
            return Err(failed(denied, used));
        }
        let granted = match narrowed(&going.lasting.scope, request.scope.as_deref()) {
            Ok(granted) => granted,
            Err(denied) => return Err(failed(denied, used)),
        };
        let confirmation = match bind(caller, &going.standing.profile, dpop) {
            Ok(confirmation) => confirmation,
            Err(denied) => return Err(failed(denied, used)),
        };
        match Box::pin(self.go_on(tenant, trace, caller, request, token, &going, granted, confirmation, &used, now))
            .await
        {
            Ok(body) => Ok(body),
            Err((denied, Spent::Yes)) => Err(failed(denied, unused(&used))),
            Err((denied, Spent::No)) => Err(failed(denied, used)),
        }
    }

    /// The session of a refresh token, if it may go on. A token that was used before ends its whole family (RF-08).
    pub(super) async fn going(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        token: &str,
        dpop: Option<[u8; 32]>,
        now: Millis,
    ) -> Result<Going, Denied> {
        let refused = || Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, REFRESH_REFUSED);
        let failed = |fault: Fault| Denied::unavailable(fault.0);
        let hash = handles::hash(token).ok_or_else(refused)?;
        let found = match self.store.find_refresh(&hash, now).await.map_err(|why| store_failed(&why))? {
            FoundRefresh::Fresh(found) => *found,
            FoundRefresh::Unknown => return Err(refused()),
            FoundRefresh::Used(session) => {
                let theirs = self.store.person_session(&session).await.map_err(|why| store_failed(&why))?;
                let theirs = theirs.is_some_and(|found| found.row.session.integration == caller.integration.id);
                if !theirs {
                    return Err(refused());
                }
                self.end_family(tenant, &session, "refresh-replayed").await?;
                return Err(Denied { alarm: Some(super::alarm::REFRESH_REPLAYED), ..refused() });
            }
        };
        let session = &found.row.session;
        let living = found.row.ended.is_none() && now < session.expires_at && found.idle_at.is_none_or(|at| now < at);
        if session.tenant != tenant.id || session.integration != caller.integration.id || !living {
            return Err(refused());
        }
        let lasting: Lasting = self.unsealed(tenant, Lasting::LABEL, &found.sealed).map_err(failed)?;
        // DP-04: nothing else binds the refresh tokens of a client that proves nothing.
        let holds = lasting.jkt == dpop && lasting.x5t.is_none_or(|bound| caller.certificate() == Some(bound));
        if caller.integration.auth.method == AuthMethod::None && !holds {
            return Err(refused());
        }
        let standing = self.registry.snapshot().standing(&session.approval, now).map_err(|_| refused())?;
        if standing.integration.id != session.integration || standing.integration.epoch != session.epoch {
            return Err(refused());
        }
        shown::admitted(&standing)?;
        if let Some(sign_in) = &found.sign_in
            && self.present_at(tenant, sign_in, now).await.map_err(failed)?.is_none()
        {
            return Err(refused());
        }
        let plain = self.keys.open_row(tenant.id.as_str(), SESSION_PATIENT, &session.patient_sealed).ok();
        let patient = plain.and_then(|plain| String::from_utf8(plain).ok()?.parse().ok());
        let patient = patient.ok_or_else(|| Denied::unavailable("a stored value does not open"))?;
        Ok(Going { found, lasting, standing, patient })
    }

    #[expect(clippy::too_many_arguments, reason = "the last step takes what every step before it found")]
    async fn go_on(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        token: &str,
        going: &Going,
        granted: Granted,
        confirmation: Option<Confirmation>,
        used: &UsedAssertion,
        now: Millis,
    ) -> Result<Value, (Denied, Spent)> {
        let before = |says: &str| (Denied::unavailable(says), Spent::No);
        let Going { found, lasting, standing, patient } = going;
        let (row, seconds) = (&found.row.session, life(standing, &granted, now));
        let ends_at = match lasting.access {
            Access::Offline => now + OFFLINE_MILLIS,
            _ => row.expires_at,
        };
        let mut seconds = seconds.ok_or_else(|| before("no token could live"))?;
        if lasting.access == Access::Online {
            seconds = seconds.min((millis(tenant.people.idle) / 3_000).max(1));
        }
        seconds = seconds.min(ends_at.saturating_sub(now).div_euclid(1_000)).max(1);
        let encounter = lasting.encounter.as_ref();
        let shown = Box::pin(self.shown(tenant, standing, Some(patient), encounter, now)).await;
        let shown = shown.map_err(|denied| (denied, Spent::No))?;
        let jti: [u8; 16] = random().map_err(|_| before("the random source failed"))?;
        let mut session = Session {
            id: row.id,
            tenant: tenant.id.clone(),
            integration: row.integration.clone(),
            epoch: row.epoch,
            approval: row.approval,
            task: row.task.clone(),
            purpose_of_use: standing.profile.purpose_of_use.clone(),
            subject: shown.subject.clone(),
            scopes: granted.scopes.clone(),
            expires_at: (now.div_euclid(1_000) + seconds) * 1_000,
            feed: 0,
            jti: URL_SAFE_NO_PAD.encode(jti),
            launch: row.launch,
            act: super::start::actor_of(tenant, &lasting.person),
            confirmation,
        };
        debug_assert!(!matches!(session.subject, Subject::Cohort));
        // Where a person is signed in, and where a client proves nothing, each refresh brings the next token (D-04).
        let rotates = lasting.access == Access::Online || caller.integration.auth.method == AuthMethod::None;
        let (next, hash) = handles::fresh().map_err(|fault| before(fault.0))?;
        let refresh = Refresh {
            assertion: used.clone(),
            hash: handles::hash(token).ok_or_else(|| before("the token cannot be read"))?,
            session: row.id,
            rotated: rotates.then_some(NewRefresh { hash, expires_at: ends_at }),
            expires_at: ends_at,
            jti: session.jti.clone(),
            idle_at: (lasting.access == Access::Online).then(|| now + millis(tenant.people.idle)),
            now,
        };
        let slot = self.audit.reserve(Lane::Release).map_err(|_| before("too many requests are being worked on"))?;
        let signer = self.keys.token_signer(&tenant.id).ok_or_else(|| before("the keys failed"))?;
        session.feed = match self.store.refresh(&refresh).await {
            Ok(Ok(feed)) => feed,
            Ok(Err(RefreshRefusal::AssertionReplayed)) => {
                let denied = Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "");
                return Err((Denied { refused: refused(), ..denied }, Spent::Yes));
            }
            Ok(Err(RefreshRefusal::Spent)) => {
                return Err((Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, REFRESH_REFUSED), Spent::Yes));
            }
            Err(why) => return Err((store_failed(&why), Spent::No)),
        };
        if row.launch == LaunchKind::Ehr && lasting.access == Access::Offline {
            // The EHR's token lives as long as the session that uses it.
            let until = ends_at.min(over_at(standing));
            self.broker.keep_grant(&row.id, until).await.map_err(|why| (store_failed(&why), Spent::Yes))?;
        }
        let mut record = trace.record(Kind::TokenIssue, Outcome::Success, &caller.integration, caller.jti());
        trace::stands_on(&mut record, standing);
        trace::about(&mut record, &session);
        trace::asked(&mut record, request.scope.as_deref());
        trace::acting(&mut record, Some(&lasting.person), &session.act);
        record.object.status = 200;
        record.phi.patients = vec![patient.to_string()];
        record.phi.scope = granted.text.clone();
        record.phi.attributes.push(("token.grant".into(), "refresh_token".into()));
        record.phi.attributes.push(("token.jti".into(), session.jti.clone()));
        record.phi.attributes.push(("token.expires_at".into(), session.expires_at.to_string()));
        let claims = AccessClaims {
            issuer: &tenant.endpoints.issuer,
            audience: &tenant.endpoints.fhir_base,
            issued_at: now,
            session: &session,
            scope: &granted.text,
            encounter: shown.encounter.as_ref(),
        };
        let input = oauth::token::signing_input(signer.kid(), &claims);
        let signed = signer.sign(input.as_bytes());
        let recorded = self.audit.append(slot, record).await;
        let (Ok(signature), Ok(_)) = (signed, recorded) else {
            // The old token is used up and the new one will not be told: the session has no way on.
            self.end_family(tenant, &session.id, "unrecorded").await.map_err(|denied| (denied, Spent::Yes))?;
            let denied = Denied { refused: trace::unrecorded(), ..Denied::unavailable("") };
            return Err((Denied { reason: Reason::RecordFailed, ..denied }, Spent::Yes));
        };
        let mut body = json!({
            "access_token": oauth::jose::finish(input, &signature),
            "token_type": oauth::token::token_type(session.confirmation.as_ref()),
            "expires_in": seconds,
            "scope": granted.text,
        });
        member(&mut body, "patient", shown.patient.as_ref().map(ToString::to_string));
        member(&mut body, "encounter", shown.encounter.as_ref().map(ToString::to_string));
        context(&mut body, tenant, lasting.told.as_ref(), standing);
        member(&mut body, "refresh_token", rotates.then_some(next));
        Ok(body)
    }
}

/// Whether the assertion was used up already.
#[derive(Clone, Copy)]
enum Spent {
    Yes,
    No,
}

/// RF-03: the same scope or less. More, in any respect, is refused by what the clauses mean and not by how they are written (PF-09).
fn narrowed(granted: &str, asked: Option<&str>) -> Result<Granted, Denied> {
    let whole = || Granted { scopes: clauses(granted), text: granted.to_owned() };
    let Some(asked) = asked else { return Ok(whole()) };
    oauth::scope::within(granted, asked).map_err(Denied::from)
}
