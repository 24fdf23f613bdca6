//! `POST /{tenant}/oauth/revoke` (RFC 7009) and `POST /{tenant}/oauth/introspect` (RFC 7662), each for own tokens only.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{Kind, Outcome};
use domain::{Millis, Reason, Subject};
use http::{Request, StatusCode};
use oauth::form::FORM_BYTES_MAX;
use oauth::request::TokenQuestion;
use oauth::{ErrorCode, VerifiedToken};
use serde_json::{Value, json};

use super::client::{Caller, refused};
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::token::{Denied, FORM, store_failed};
use super::trace::{self, Trace};
use super::{Service, Tenant};

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

/// An authenticated question, with the token if it is one of the caller's own.
struct Asked {
    trace: Trace,
    caller: Caller,
    token: Option<VerifiedToken>,
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
        let read = match body(request, FORM, FORM_BYTES_MAX).await {
            Ok(sent) => TokenQuestion::read(&sent.bytes, sent.authorization.as_deref()).map_err(Refused::from),
            Err(refused) => Err(refused),
        };
        let question = match read {
            Ok(question) => question,
            Err(refused) => {
                let unknown = refused.error.code == ErrorCode::InvalidClient;
                let reason = if unknown { Reason::ClientInvalid } else { Reason::RequestInvalid };
                self.audit.count_unauthenticated(&tenant.id, reason, trace.from().peer);
                return Err(refused);
            }
        };
        let now = self.clock.now();
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
        let token = self
            .tokens
            .open(&tenant.id, &question.token, now)
            .ok()
            .filter(|token| token.session.integration == caller.integration.id);
        Ok(Asked { trace, caller, token, now })
    }

    async fn revoke_token(&self, tenant: &Tenant, request: Request<Body>) -> Result<(), Refused> {
        let Asked { trace, caller, token, .. } =
            self.asked(tenant, "POST oauth/revoke", Kind::TokenRevoke, request).await?;
        let mut record = trace.record(Kind::TokenRevoke, Outcome::Success, &caller.integration, caller.jti());
        record.object.status = 200;
        match token {
            Some(token) => {
                let by = caller.integration.id.as_str();
                // Ended first: a session that is ended without its record is safe, one that lives on is not.
                self.registry.end_session(&tenant.id, &token.session.id, by).await.map_err(|why| {
                    tracing::error!(session = %token.session.id, %why, "a session could not be ended");
                    Refused::unavailable("the session could not be ended everywhere; try again")
                })?;
                trace::about(&mut record, &token.session);
            }
            None => record.phi.note = "not a living token of the caller's".into(),
        }
        self.write(record).await
    }

    async fn introspect_token(&self, tenant: &Tenant, request: Request<Body>) -> Result<Value, Refused> {
        let Asked { trace, caller, token, now } =
            self.asked(tenant, "POST oauth/introspect", Kind::TokenIntrospect, request).await?;
        let snapshot = self.registry.snapshot();
        let token = token.filter(|token| self.standing(&snapshot, &token.session, now).is_ok());
        let mut record = trace.record(Kind::TokenIntrospect, Outcome::Success, &caller.integration, caller.jti());
        record.object.status = 200;
        if let Some(token) = &token {
            trace::about(&mut record, &token.session);
        }
        self.write(record).await?;
        Ok(token.map_or_else(|| json!({ "active": false }), |token| active(tenant, &token)))
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
        "token_type": "Bearer",
        "sid": session.id,
        "task": session.task.to_string(),
    });
    if let (Value::Object(body), Some(confirmation)) = (&mut body, &session.confirmation) {
        body.insert("cnf".into(), oauth::token::confirmed(confirmation));
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
