//! `POST /{tenant}/oauth/revoke` (RFC 7009) and `POST /{tenant}/oauth/introspect` (RFC 7662), each for own tokens, and introspection for those whose registration says so.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{Kind, Outcome};
use domain::{Integration, Introspects, Millis, Reason, SessionId, Subject};
use http::{Request, StatusCode};
use oauth::form::FORM_BYTES_MAX;
use oauth::request::TokenQuestion;
use oauth::{ErrorCode, VerifiedToken};
use serde_json::{Value, json};

use super::client::refused;
use super::code::Lasting;
use super::handles;
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::token::{Denied, FORM, store_failed};
use super::trace::{self, Trace};
use super::{Service, Tenant};
use crate::registry::Snapshot;

/// Handles revocation: 200 for whatever is no token of the caller's, and nothing is revoked then.
pub(super) async fn revoke(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.revoke_token(tenant, request).await {
        Ok(()) => answer(StatusCode::OK, "{}".into()),
        Err(refused) => refused.response(),
    }
}

/// Handles introspection.
pub(super) async fn introspect(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.introspect_token(tenant, request).await {
        Ok(body) => answer(StatusCode::OK, body.to_string()),
        Err(refused) => refused.response(),
    }
}

/// An authenticated question, with the token if it is one that the caller may ask about.
struct Asked {
    trace: Trace,
    integration: Arc<Integration>,
    jti: String,
    token: Option<VerifiedToken>,
    /// The token as sent: it may be a refresh token.
    text: String,
    now: Millis,
}

impl Service {
    async fn asked(
        &self,
        tenant: &Tenant,
        line: &'static str,
        kind: Kind,
        request: Request<Body>,
    ) -> Result<Asked, Refused> {
        let trace = Trace::new(tenant.id.as_str(), line, origin(&request))?;
        let sent = body(request, FORM, FORM_BYTES_MAX).await;
        let now = self.clock.now();
        if let (Ok(sent), Kind::TokenIntrospect) = (&sent, kind)
            && let Some(bearer) = sent.authorization.as_deref().and_then(|header| header.strip_prefix("Bearer "))
        {
            return self.asked_by_bearer(tenant, trace, bearer, &sent.bytes, now).await;
        }
        let read = sent
            .and_then(|sent| TokenQuestion::read(&sent.bytes, sent.authorization.as_deref()).map_err(Refused::from));
        let question = match read {
            Ok(question) => question,
            Err(refused) => {
                let unknown = refused.error.code == ErrorCode::InvalidClient;
                let reason = if unknown { Reason::ClientInvalid } else { Reason::RequestInvalid };
                self.audit.count_unauthenticated(&tenant.id, reason, trace.from().peer);
                return Err(refused);
            }
        };
        let caller = self.caller(tenant, &trace, &question.proof, now).await?;
        // One assertion, one use, at whichever endpoint (NEG-107).
        match self.store.use_assertion(caller.used()).await {
            Ok(true) => {}
            Ok(false) => {
                let mut denied = Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "");
                denied.refused = refused();
                return Err(self.deny(&trace, kind, &caller, None, None, denied).await);
            }
            Err(why) => return Err(store_failed(&why).refused),
        }
        let (integration, jti) = (Arc::clone(&caller.integration), caller.jti().to_owned());
        let token = self.visible(tenant, &integration, &question.token, now);
        Ok(Asked { trace, integration, jti, token, text: question.token, now })
    }

    /// Introspection by a resource server that shows an access token of its own (IN-05): only one that may ask about every client's
    /// tokens, and never by a token that is bound to a key nobody has shown here.
    async fn asked_by_bearer(
        &self,
        tenant: &Tenant,
        trace: Trace,
        bearer: &str,
        form: &[u8],
        now: Millis,
    ) -> Result<Asked, Refused> {
        if !self.registry.fresh() {
            return Err(Refused::unavailable("this node has lost touch with its store"));
        }
        let own = self.tokens.open(&tenant.id, bearer, now).ok().filter(|own| own.session.confirmation.is_none());
        // As at the gate: what began elsewhere may have ended elsewhere, too.
        if let Some(own) = &own
            && own.session.feed > self.registry.feed()
            && !self.registry.reached(own.session.feed).await
        {
            return Err(Refused::unavailable("this node is catching up; try again"));
        }
        let snapshot = self.registry.snapshot();
        let standing = own.as_ref().and_then(|own| self.standing(&snapshot, &own.session, now).ok());
        let (Some(own), Some(standing)) = (own, standing) else {
            self.audit.count_unauthenticated(&tenant.id, Reason::TokenInvalid, trace.from().peer);
            return Err(Refused::new(
                ErrorCode::InvalidClient,
                "the access token in the Authorization header is not valid",
            ));
        };
        let integration = Arc::clone(&standing.integration);
        if integration.introspects != Introspects::Any {
            let mut record = trace.record(Kind::TokenIntrospect, Outcome::Denied, &integration, &own.session.jti);
            trace::about(&mut record, &own.session);
            record.decision.reason = Reason::ScopeInsufficient.code().to_owned();
            self.write(record).await?;
            let refused = Refused::new(ErrorCode::AccessDenied, "this client may not introspect by its access token");
            return Err(Refused { status: StatusCode::FORBIDDEN, ..refused });
        }
        let form =
            oauth::form::Form::read(form).map_err(|why| Refused::new(ErrorCode::InvalidRequest, why.to_string()))?;
        let text = form.get("token").ok_or_else(|| Refused::new(ErrorCode::InvalidRequest, "token is missing"))?;
        let token = self.visible(tenant, &integration, text, now);
        Ok(Asked { trace, integration, jti: own.session.jti, token, text: text.to_owned(), now })
    }

    /// The access token, if it is the caller's own or the caller may ask about everybody's (D-03).
    fn visible(&self, tenant: &Tenant, caller: &Integration, text: &str, now: Millis) -> Option<VerifiedToken> {
        let any = caller.introspects == Introspects::Any;
        let token = self.tokens.open(&tenant.id, text, now).ok()?;
        (any || token.session.integration == caller.id).then_some(token)
    }

    async fn revoke_token(&self, tenant: &Tenant, request: Request<Body>) -> Result<(), Refused> {
        let Asked { trace, integration, jti, token, text, now } =
            self.asked(tenant, "POST oauth/revoke", Kind::TokenRevoke, request).await?;
        let mut record = trace.record(Kind::TokenRevoke, Outcome::Success, &integration, &jti);
        record.object.status = 200;
        // To ask about everybody's tokens is one thing; only one's own are one's own to end (RV-01).
        let own = token.filter(|token| token.session.integration == integration.id);
        let session = match &own {
            Some(token) => Some(token.session.id),
            None => self.session_of_refresh(tenant, &integration, &text, now).await?,
        };
        match session {
            Some(session) => {
                let by = integration.id.as_str();
                // Ended first: a session that is ended without its record is safe, one that lives on is not.
                self.registry.end_session(&tenant.id, &session, by).await.map_err(|why| {
                    tracing::error!(%session, %why, "a session could not be ended");
                    Refused::unavailable("the session could not be ended everywhere; try again")
                })?;
                record.actor.session = Some(session);
                if let Some(token) = &own {
                    trace::about(&mut record, &token.session);
                }
            }
            None => record.phi.note = "not a living token of the caller's".into(),
        }
        self.write(record).await
    }

    /// The session of a refresh token, if it is the caller's own.
    async fn session_of_refresh(
        &self,
        tenant: &Tenant,
        caller: &Integration,
        text: &str,
        now: Millis,
    ) -> Result<Option<SessionId>, Refused> {
        let failed = |why: store::StoreError| store_failed(&why).refused;
        let Some(hash) = handles::hash(text) else { return Ok(None) };
        let Some(session) = self.store.session_of_refresh(&hash, now).await.map_err(failed)? else { return Ok(None) };
        let found = self.store.find_session(&session).await.map_err(failed)?;
        let own = found.is_some_and(|row| row.session.tenant == tenant.id && row.session.integration == caller.id);
        Ok(own.then_some(session))
    }

    async fn introspect_token(&self, tenant: &Tenant, request: Request<Body>) -> Result<Value, Refused> {
        let Asked { trace, integration, jti, token, now, .. } =
            self.asked(tenant, "POST oauth/introspect", Kind::TokenIntrospect, request).await?;
        let snapshot = self.registry.snapshot();
        let token = token.filter(|token| self.standing(&snapshot, &token.session, now).is_ok());
        let mut record = trace.record(Kind::TokenIntrospect, Outcome::Success, &integration, &jti);
        record.object.status = 200;
        if let Some(token) = &token {
            trace::about(&mut record, &token.session);
            record.actor.integration = integration.id.to_string();
        }
        self.write(record).await?;
        let Some(token) = token else { return Ok(json!({ "active": false })) };
        let mut body = active(tenant, &token);
        if token.session.launch.has_person() {
            self.add_person(tenant, &mut body, &token, &snapshot, now).await?;
        }
        Ok(body)
    }

    /// Who is behind a session with a person, and the context its token answer brought (IN-03, IN-04).
    async fn add_person(
        &self,
        tenant: &Tenant,
        body: &mut Value,
        token: &VerifiedToken,
        snapshot: &Snapshot,
        now: Millis,
    ) -> Result<(), Refused> {
        let found = self.store.person_session(&token.session.id).await.map_err(|why| store_failed(&why).refused)?;
        let (Some(found), Ok(standing)) = (found, self.standing(snapshot, &token.session, now)) else { return Ok(()) };
        let failed = |fault: handles::Fault| Refused::unavailable(fault.0);
        let lasting: Lasting = self.unsealed(tenant, Lasting::LABEL, &found.sealed).map_err(failed)?;
        super::start::context(body, tenant, lasting.told.as_ref(), &standing);
        if lasting.identity {
            let subject = self.subject(tenant, &lasting.person).map_err(failed)?;
            super::start::member(body, "sub", Some(subject));
            super::start::member(body, "fhirUser", lasting.fhir_user);
        }
        Ok(())
    }
}

/// What the owner of a living token is told: the token answer's words again (IN-02, IN-03, IN-08).
fn active(tenant: &Tenant, token: &VerifiedToken) -> Value {
    let session = &token.session;
    let client = session.integration.as_str();
    let mut body = json!({
        "active": true,
        "scope": token.scope,
        "client_id": client,
        "sub": client,
        "iss": tenant.endpoints.issuer,
        "aud": tenant.endpoints.fhir_base,
        "exp": session.expires_at / 1_000,
        "iat": token.issued_at / 1_000,
        "jti": session.jti,
        "token_type": oauth::token::token_type(session.confirmation.as_ref()),
        "sid": session.id,
        "task": session.task.to_string(),
        "act": session.act,
    });
    if let (Value::Object(body), Some(confirmation)) = (&mut body, &session.confirmation) {
        body.insert("cnf".into(), oauth::token::cnf(confirmation));
    }
    if let (Value::Object(body), Subject::Patient(patient) | Subject::Surrogate(patient)) =
        (&mut body, &session.subject)
    {
        body.insert("patient".into(), patient.as_str().into());
        if let Some(encounter) = &token.encounter {
            body.insert("encounter".into(), encounter.as_str().into());
        }
    }
    body
}
