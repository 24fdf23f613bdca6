//! `/{tenant}/oauth/grants`: the page where a person sees which apps they gave access to, and takes it back (DISC-13, RV-03, US-05).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use domain::audit::{Kind, Outcome};
use domain::{Millis, SessionId};
use http::Request;
use store::PersonSession;

use super::browser::{self, Browser, Embedding};
use super::code::{Lasting, clauses};
use super::consent::page_form;
use super::handles::Fault;
use super::http::{no_tenant, origin};
use super::pages::{GrantRow, Granted, Place, Refusal, Shown, forms};
use super::people::Person;
use super::sign_in::grants_request;
use super::trace::Trace;
use super::waiting::{Access, Stop};
use super::{SESSION_PATIENT, Service, Tenant};

/// Shows the page.
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let mut browser = Browser::read(tenant, request.headers());
    let now = service.clock.now();
    let cookie = match browser.named(tenant, Embedding::Own) {
        Ok(cookie) => cookie,
        Err(fault) => return Stop::Fault(fault).response(tenant),
    };
    let answered = service.show_grants(tenant, &browser, None, now).await;
    let mut response = answered.unwrap_or_else(|stop| stop.response(tenant));
    browser::set(response.headers_mut(), cookie);
    response
}

/// Ends one grant.
pub(super) async fn revoke(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.revoke_grant(tenant, request).await {
        Ok(response) => response,
        Err(stop) => stop.response(tenant),
    }
}

impl Service {
    async fn show_grants(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        revoked: Option<Shown>,
        now: Millis,
    ) -> Result<Response, Stop> {
        let Some(person) = self.present(tenant, browser, now).await? else {
            return self.sign_in_for_grants(tenant, browser, now).await;
        };
        let rows = self.grants_of(tenant, &person, now).await?;
        let csrf = browser.csrf(grants_request()).ok_or(Stop::page(Refusal::Interaction))?;
        let page = Granted {
            place: Place::new(Shown::new(&tenant.name)),
            action: tenant.endpoints.oauth("grants"),
            sign_out: tenant.endpoints.oauth("sign-out"),
            csrf,
            person: Shown::new(person.shown()),
            grants: rows.iter().map(|found| self.row_of(tenant, &person, found)).collect::<Result<_, _>>()?,
            revoked,
        };
        Ok(page.render().into_response())
    }

    async fn grants_of(&self, tenant: &Tenant, person: &Person, now: Millis) -> Result<Vec<PersonSession>, Stop> {
        let tag = self.tag(tenant, person)?;
        self.store.sessions_of_person(&tenant.id, &tag, now).await.map_err(|why| {
            tracing::error!(%why, "the store failed");
            Fault("the store failed").into()
        })
    }

    fn row_of(&self, tenant: &Tenant, person: &Person, found: &PersonSession) -> Result<GrantRow, Stop> {
        let session = &found.row.session;
        let lasting: Lasting = self.unsealed(tenant, Lasting::LABEL, &found.sealed)?;
        let snapshot = self.registry.snapshot();
        let app = snapshot.integration(&session.integration);
        let plain = self.keys.open_row(tenant.id.as_str(), SESSION_PATIENT, &session.patient_sealed);
        let patient = plain.ok().and_then(|plain| String::from_utf8(plain).ok()).unwrap_or_default();
        let own = person.patient.as_ref().is_some_and(|own| own.as_str() == patient);
        let mut scopes: Vec<String> = clauses(&lasting.scope).0.iter().map(oauth::words::scope).collect();
        if lasting.access == Access::Offline {
            scopes.push(oauth::words::OFFLINE.to_owned());
        }
        Ok(GrantRow {
            value: session.id.to_string(),
            app: Shown::new(app.map_or(session.integration.as_str(), |app| &app.name)),
            vendor: Shown::new(app.map_or("", |app| &app.vendor)),
            patient: Shown::new(if own { "" } else { &patient }),
            scopes,
            since: session.created_at,
            until: session.expires_at,
            used: Some(found.used_at),
        })
    }

    async fn revoke_grant(&self, tenant: &Tenant, request: Request<Body>) -> Result<Response, Stop> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/grants", origin(&request))
            .map_err(|_| Fault("the random source failed"))?;
        let browser = Browser::read(tenant, request.headers());
        let form = page_form(request, forms::read_revoke).await?;
        let csrf = browser.csrf(grants_request()).ok_or(Stop::page(Refusal::Forged))?;
        if !csrf.matches(&form.csrf) {
            return Err(Stop::page(Refusal::Forged));
        }
        let now = self.clock.now();
        let Some(person) = self.present(tenant, &browser, now).await? else {
            return self.sign_in_for_grants(tenant, &browser, now).await;
        };
        let id: Option<SessionId> = form.revoke.parse().ok();
        let theirs = self.grants_of(tenant, &person, now).await?;
        let found = theirs.iter().find(|found| Some(found.row.session.id) == id);
        let Some(found) = found else {
            // Ended already, or nobody's of theirs: the page shows what there is.
            return self.show_grants(tenant, &browser, None, now).await;
        };
        let session = &found.row.session;
        self.end_all(tenant, &[session.id], "person").await?;
        let mut record = trace.personal(Kind::TokenRevoke, Outcome::Success);
        record.actor.person = person.recorded();
        record.actor.integration = session.integration.to_string();
        record.actor.session = Some(session.id);
        record.phi.attributes.push(("person.subject".into(), person.subject.clone()));
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))?;
        let snapshot = self.registry.snapshot();
        let name = snapshot.integration(&session.integration).map_or(session.integration.as_str(), |app| &app.name);
        self.show_grants(tenant, &browser, Some(Shown::new(name)), now).await
    }
}
