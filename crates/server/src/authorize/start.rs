//! The start of a session, whatever its launch was: reserve → write → record → token.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::audit::{Kind, Outcome};
use domain::{Actor, ApprovalStatus, Confirmation, Level, Millis, Reason, Session, SessionId, Subject};
use fhir::Id;
use oauth::ErrorCode;
use oauth::grant::TokenRequest;
use oauth::scope::Granted;
use oauth::token::AccessClaims;
use serde_json::{Value, json};
use store::{Issue, IssueRefusal, NewPersonSession, NewRefresh, NewSession, UsedAssertion};

use super::b2b;
use super::bind::bind;
use super::client::Caller;
use super::code::{CODE_REFUSED, FromPerson, Lasting};
use super::handles;
use super::people::{Person, millis};
use super::shown::Shown;
use super::token::{Denied, Launch, not_approved, refusal_of, store_failed};
use super::trace::{self, Trace};
use super::waiting::{Access, Code, Told};
use super::{SESSION_PATIENT, Service, Tenant};
use crate::audit::Lane;
use crate::clock::random;
use crate::registry::Standing;

/// Stands for the patient in the row of a session that has none; no id is written so.
const COHORT: &str = "*";
/// Life of a refresh token that outlives its sign-in, renewed with each use: over three months (RF-07, US-01).
pub(super) const OFFLINE_MILLIS: Millis = 100 * 24 * 3_600_000;

impl Service {
    /// Writes the session, records it and makes the token.
    #[expect(clippy::too_many_arguments, reason = "the last step takes what every step before it found")]
    pub(super) async fn start(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        dpop: Option<[u8; 32]>,
        launch: Launch,
        granted: Granted,
        used: UsedAssertion,
        now: Millis,
    ) -> Result<Value, (Denied, UsedAssertion)> {
        let failed =
            |denied: Denied, used: UsedAssertion| (denied.about(&launch.standing, launch.patient.as_ref()), used);
        let Some(seconds) = life(&launch.standing, &granted, now).map(|seconds| self.paced(tenant, &launch, seconds))
        else {
            return Err(failed(not_approved(launch.standing.approval.task.name.as_str(), "a session this late"), used));
        };
        let mut session = match new_session(&launch, &granted, seconds, now) {
            Ok(session) => session,
            Err(denied) => return Err(failed(denied, used)),
        };
        session.confirmation = match bind(caller, &launch.standing.profile, dpop) {
            Ok(confirmation) => confirmation,
            Err(denied) => return Err(failed(denied, used)),
        };
        session.act = actor(tenant, &launch);
        if let Err(denied) = b2b::suits(launch.b2b.as_deref(), &launch.standing) {
            return Err(failed(denied, used));
        }
        let (ends_at, beside) = match self.beside(tenant, &launch, &session, now) {
            Ok(beside) => beside,
            Err(denied) => return Err(failed(denied, used)),
        };
        let (refresh, person) = beside.map_or((None, None), |(token, person)| (token, Some(Box::new(person))));
        let row = match self.row(tenant, &launch, &granted, &session, ends_at, now) {
            Ok(row) => row,
            Err(denied) => return Err(failed(denied, used)),
        };
        let (standing, encounter) = (&launch.standing, launch.encounter.as_ref());
        let shown = match Box::pin(self.shown(tenant, standing, launch.patient.as_ref(), encounter, now)).await {
            Ok(shown) => shown,
            Err(denied) => return Err(failed(denied, used)),
        };
        session.subject = shown.subject.clone();
        let Ok(slot) = self.audit.reserve(Lane::Release) else {
            return Err(failed(Denied::unavailable("too many requests are being worked on"), used));
        };
        let Some(signer) = self.keys.token_signer(&tenant.id) else {
            return Err(failed(Denied::unavailable("the keys failed"), used));
        };
        let limits = launch.standing.limits();
        let issue = Issue {
            assertion: used.clone(),
            ticket: launch.ticket,
            person,
            session: row,
            patients_per_hour: limits.patients_per_hour,
            patients_per_day: limits.patients_per_day,
        };
        session.feed = match self.store.issue(issue).await {
            Ok(Ok(issued)) => issued.feed,
            // The store has used the assertion up in every one of these cases; a second use would call it replayed.
            Ok(Err(refusal)) => {
                let twice = launch.person.as_deref().filter(|_| refusal == IssueRefusal::CodeUnusable);
                if let Some(FromPerson { code, .. }) = twice
                    && let Err(denied) = self.end_family(tenant, &code.session, "code-replayed").await
                {
                    return Err(failed(denied, unused(&used)));
                }
                return Err(failed(refusal_of(refusal), unused(&used)));
            }
            Err(why) => return Err(failed(store_failed(&why), used)),
        };
        // Whoever signed out between the code and here found no session to end.
        if let Some(from) = launch.person.as_deref()
            && !matches!(self.present_at(tenant, &from.code.sign_in, now).await, Ok(Some(_)))
        {
            if let Err(denied) = self.end_family(tenant, &session.id, "sign-out").await {
                return Err(failed(denied, unused(&used)));
            }
            let denied = Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, CODE_REFUSED);
            return Err(failed(denied, unused(&used)));
        }
        let mut record = trace.record(Kind::TokenIssue, Outcome::Success, &caller.integration, caller.jti());
        trace::stands_on(&mut record, &launch.standing);
        trace::about(&mut record, &session);
        trace::asked(&mut record, request.scope.as_deref());
        record.object.status = 200;
        record.phi.patients = launch.patient.iter().map(ToString::to_string).collect();
        record.phi.resources = launch.evidence.iter().cloned().collect();
        record.phi.scope = granted.text.clone();
        record.phi.attributes.push(("token.jti".into(), session.jti.clone()));
        record.phi.attributes.push(("token.expires_at".into(), session.expires_at.to_string()));
        trace::acting(&mut record, launch.person.as_deref().map(|from| &from.code.person), &session.act);
        b2b::record(&mut record, launch.b2b.as_deref());
        let input = oauth::token::signing_input(
            signer.kid(),
            &AccessClaims {
                issuer: &tenant.endpoints.issuer,
                audience: &tenant.endpoints.fhir_base,
                issued_at: now,
                session: &session,
                scope: &granted.text,
                encounter: shown.encounter.as_ref(),
            },
        );
        let signed = signer.sign(input.as_bytes());
        let recorded = self.audit.append(slot, record).await;
        let kept = self.keep_upstream(tenant, &session, &launch, now).await;
        let identity = self.identity(tenant, launch.person.as_deref(), now).await;
        let (Ok(signature), Ok(_), Ok(()), Ok(identity)) = (signed, recorded, kept, identity) else {
            // No token left; the session must not stay behind as if one had.
            if let Err(why) = self.registry.end_session(&tenant.id, &session.id, "unrecorded").await {
                tracing::error!(session = %session.id, %why, "a session without a record could not be ended");
            }
            let refused = trace::unrecorded();
            let denied = Denied { refused, reason: Reason::RecordFailed, ..Denied::unavailable("") };
            return Err(failed(denied, unused(&used)));
        };
        let token = oauth::jose::finish(input, &signature);
        let mut body = response(&launch, &shown, &granted, session.confirmation.as_ref(), &token, seconds);
        if let Some(from) = launch.person.as_deref() {
            let Code { context, .. } = &from.code;
            let told = context.as_ref().map(|context| &context.told);
            self::context(&mut body, tenant, told, &launch.standing);
            member(&mut body, "id_token", identity);
            member(&mut body, "refresh_token", refresh);
        }
        Ok(body)
    }

    fn row(
        &self,
        tenant: &Tenant,
        launch: &Launch,
        granted: &Granted,
        session: &Session,
        expires_at: Millis,
        now: Millis,
    ) -> Result<NewSession, Denied> {
        let keys = |_| Denied::unavailable("the keys failed");
        let (id, patient) = (tenant.id.as_str(), launch.patient.as_ref().map_or(COHORT, Id::as_str));
        Ok(NewSession {
            id: session.id,
            tenant: tenant.id.clone(),
            integration: session.integration.clone(),
            approval: session.approval,
            task: session.task.clone(),
            epoch: session.epoch,
            launch: launch.kind,
            patient_sealed: self.keys.seal_row(id, SESSION_PATIENT, patient.as_bytes()).map_err(keys)?,
            patient_tag: self.keys.row_tag(id, patient).map_err(keys)?,
            scope: granted.text.clone(),
            jti: session.jti.clone(),
            created_at: now,
            expires_at,
        })
    }

    /// A session that is refreshed while its person is signed in has tokens of a third of the idle time at most: whoever works with it
    /// refreshes it well within that time, and whoever does not is idle (S4-03).
    fn paced(&self, tenant: &Tenant, launch: &Launch, seconds: i64) -> i64 {
        match launch.person.as_deref().map(|from| from.code.access) {
            Some(Access::Online) => seconds.min((millis(tenant.people.idle) / 3_000).max(1)),
            _ => seconds,
        }
    }

    /// When the session ends, and what it has beside what every session has, with its first refresh token.
    #[expect(clippy::type_complexity, reason = "taken apart by its one caller")]
    fn beside(
        &self,
        tenant: &Tenant,
        launch: &Launch,
        session: &Session,
        now: Millis,
    ) -> Result<(Millis, Option<(Option<String>, NewPersonSession)>), Denied> {
        let Some(FromPerson { code, hash }) = launch.person.as_deref() else { return Ok((session.expires_at, None)) };
        let failed = |fault: handles::Fault| Denied::unavailable(fault.0);
        let ends_at = match code.access {
            Access::Once => session.expires_at,
            Access::Online => now + millis(tenant.people.session_max),
            Access::Offline => now + OFFLINE_MILLIS,
        };
        let idle_at = (code.access == Access::Online).then(|| now + millis(tenant.people.idle));
        let (token, refresh) = if code.access == Access::Once {
            (None, None)
        } else {
            let (token, hash) = handles::fresh().map_err(failed)?;
            (Some(token), Some(NewRefresh { hash, expires_at: ends_at }))
        };
        let lasting = Lasting::of(tenant, code, session, launch.encounter.as_ref());
        let person = NewPersonSession {
            code: *hash,
            person_tag: self.tag(tenant, &code.person).map_err(failed)?,
            sign_in: (code.access != Access::Offline).then_some(code.sign_in),
            sealed: self.sealed(tenant, Lasting::LABEL, &lasting).map_err(failed)?,
            idle_at,
            refresh,
        };
        Ok((ends_at, Some((token, person))))
    }
}

/// Whom a session acts for: the person who signed in; else whom the client's assertion names; else the tenant's organisation.
fn actor(tenant: &Tenant, launch: &Launch) -> Actor {
    match (&launch.person, &launch.b2b) {
        (Some(from), _) => actor_of(tenant, &from.code.person),
        (None, Some(b2b)) => b2b::actor(&launch.standing.integration.id, b2b),
        (None, None) => Actor { organization_id: tenant.endpoints.issuer.clone(), ..Actor::default() },
    }
}

/// A person as whom a session acts for.
pub(super) fn actor_of(tenant: &Tenant, person: &Person) -> Actor {
    Actor {
        sub: person.subject.clone(),
        iss: person.issuer.clone(),
        fhir_user: person.fhir_user.as_ref().map(|user| tenant.absolute(user)).unwrap_or_default(),
        subject_role: String::new(),
        organization_id: tenant.endpoints.issuer.clone(),
        organization_name: String::new(),
    }
}

/// Adds a member, if there is one.
pub(super) fn member(body: &mut Value, name: &str, value: Option<String>) {
    if let (Value::Object(body), Some(value)) = (body, value) {
        body.insert(name.to_owned(), value.into());
    }
}

/// Adds what the EHR said, or what holds where no EHR said anything (CX-04, CX-05). In a de-identified session references of the
/// launch would name what surrogates stand for.
pub(super) fn context(body: &mut Value, tenant: &Tenant, told: Option<&Told>, standing: &Standing) {
    let Value::Object(body) = body else { return };
    let banner = told.and_then(|told| told.banner).unwrap_or(true);
    body.insert("need_patient_banner".into(), banner.into());
    let style = told.and_then(|told| told.style_url.clone()).unwrap_or_else(|| super::documents::style_url(tenant));
    body.insert("smart_style_url".into(), style.into());
    let Some(told) = told else { return };
    if let Some(intent) = &told.intent {
        body.insert("intent".into(), intent.clone().into());
    }
    if !told.fhir_context.is_empty() && !standing.is_de_identified() {
        body.insert("fhirContext".into(), told.fhir_context.clone().into());
    }
}

/// A name that was never used, for a step that must not use the assertion up twice.
pub(super) fn unused(used: &UsedAssertion) -> UsedAssertion {
    let derived = digest::digest(&digest::SHA256, format!("done {}", used.jti).as_bytes());
    UsedAssertion { jti: format!("done {}", URL_SAFE_NO_PAD.encode(derived)), ..used.clone() }
}

/// Seconds the token lives: approval, class, `system/` and both ends by the clock.
pub(super) fn life(standing: &Standing, granted: &Granted, now: Millis) -> Option<i64> {
    let Standing { approval, integration, .. } = standing;
    let ApprovalStatus::Approved { until, .. } = approval.status else { return None };
    let mut most = approval.terms.token_seconds.min(integration.class.token_seconds_max());
    if granted.scopes.0.iter().any(|scope| scope.level == Level::System) {
        most = most.min(domain::class::SYSTEM_TOKEN_SECONDS_MAX);
    }
    // S4-07.
    if let Some(timeout) = standing.role.as_ref().and_then(|role| role.session_timeout) {
        most = most.min(timeout.seconds());
    }
    let left = until.min(integration.expires_at).saturating_sub(now).div_euclid(1_000);
    Some(i64::from(most).min(left)).filter(|seconds| *seconds >= 1)
}

fn new_session(launch: &Launch, granted: &Granted, seconds: i64, now: Millis) -> Result<Session, Denied> {
    let failed = |_| Denied::unavailable("the random source failed");
    let Standing { integration, approval, profile, .. } = &launch.standing;
    let jti: [u8; 16] = random().map_err(failed)?;
    Ok(Session {
        id: match &launch.person {
            Some(from) => from.code.session,
            None => SessionId(random().map_err(failed)?),
        },
        tenant: integration.tenant.clone(),
        integration: integration.id.clone(),
        epoch: integration.epoch,
        approval: approval.id,
        task: approval.task.clone(),
        purpose_of_use: profile.purpose_of_use.clone(),
        subject: launch.patient.clone().map_or(Subject::Cohort, Subject::Patient),
        scopes: granted.scopes.clone(),
        // Whole seconds, as `exp` says it: the session ends with its token and not a moment later.
        expires_at: (now.div_euclid(1_000) + seconds) * 1_000,
        feed: 0,
        jti: URL_SAFE_NO_PAD.encode(jti),
        launch: launch.kind,
        act: domain::Actor::default(),
        confirmation: None,
    })
}

fn response(
    launch: &Launch,
    shown: &Shown,
    granted: &Granted,
    confirmation: Option<&Confirmation>,
    token: &str,
    seconds: i64,
) -> Value {
    let mut body = json!({
        "access_token": token,
        "token_type": oauth::token::token_type(confirmation),
        "expires_in": seconds,
        "scope": granted.text,
    });
    if let Value::Object(body) = &mut body {
        if let Some(patient) = &shown.patient {
            body.insert("patient".into(), patient.as_str().into());
        }
        if let Some(encounter) = &shown.encounter {
            body.insert("encounter".into(), encounter.as_str().into());
        }
        if let Some(details) = &launch.details {
            body.insert("authorization_details".into(), details.echo());
        }
    }
    body
}
