//! `GET /{tenant}/oauth/launch/{client_id}`: the EHR launches an app through Hilum, which is a confidential SMART client of that EHR and
//! gives the app a launch of its own (DESIGN, "How a session starts", 1).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use domain::audit::{Kind, Outcome};
use domain::{ApprovalStatus, Integration, IntegrationId, LaunchMode, Millis, Reason, Session, SessionId, TaskName};
use http::{Request, StatusCode};
use oauth::form::Form;
use store::OnceKind;

use super::begin::embedding;
use super::browser::{self, Browser};
use super::code::FromPerson;
use super::handles::{Fault, Used};
use super::http::{no_tenant, origin};
use super::pages::{LaunchFailed, Place, Refusal, Shown};
use super::people::{Person, millis};
use super::start::OFFLINE_MILLIS;
use super::token::Launch;
use super::trace::Trace;
use super::waiting::{Access, Context, LAUNCH_MILLIS, Stop, Told, UNSTARTED_MILLIS, WAITING_MILLIS, see_other};
use super::{Service, Tenant};
use crate::broker::{EhrLaunched, EhrPending};
use crate::clock::random;
use crate::identity::FhirUser;
use crate::registry::Standing;

/// A launch that is on its way through the EHR.
#[derive(serde::Deserialize, serde::Serialize)]
struct Away {
    pending: EhrPending,
    client: IntegrationId,
    task: Option<TaskName>,
    browser: [u8; 32],
}

/// The EHR opens an app.
pub(super) async fn launch(
    State(service): State<Arc<Service>>,
    Path((tenant, client)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "GET oauth/launch", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let request = Request::from_parts(request.into_parts().0, ());
    match Box::pin(service.go_to_ehr(tenant, &client, &request)).await {
        Ok(response) => response,
        // Anybody can send this: it is counted. Who comes back from the EHR is on record.
        Err(failed) => {
            service.audit.count_unauthenticated(&tenant.id, Reason::GrantInvalid, trace.from().peer);
            failed_page(tenant, failed)
        }
    }
}

/// The EHR sends the browser back with a code.
pub(super) async fn came_back(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "GET oauth/callback/ehr", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let request = Request::from_parts(request.into_parts().0, ());
    match Box::pin(service.came_from_ehr(tenant, &trace, &request)).await {
        Ok(response) => response,
        Err(failed) => service.launch_failed(tenant, &trace, failed).await,
    }
}

/// Why a launch did not come to be.
struct Failed {
    client: Option<Arc<Integration>>,
    status: StatusCode,
    says: String,
}

impl Failed {
    fn new(status: StatusCode, says: impl Into<String>) -> Self {
        Self { client: None, status, says: says.into() }
    }

    fn of(self, client: &Arc<Integration>) -> Self {
        Self { client: Some(Arc::clone(client)), ..self }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        tracing::error!(why = fault.0, "a launch failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Something of this server failed. Try again in a moment")
    }
}

impl Service {
    async fn go_to_ehr(&self, tenant: &Tenant, client: &str, request: &Request<()>) -> Result<Response, Failed> {
        let bad = |says: &str| Failed::new(StatusCode::BAD_REQUEST, says);
        if !self.registry.fresh() {
            return Err(Fault("this node has lost touch with its store").into());
        }
        let now = self.clock.now();
        let client = client.parse().ok().and_then(|id| self.client_with_person(tenant, &id, now));
        let client = client.ok_or_else(|| bad("The app is not known here, or it is switched off"))?;
        let query = Form::read(request.uri().query().unwrap_or_default().as_bytes())
            .map_err(|_| bad("The launch cannot be read").of(&client))?;
        let task: Option<TaskName> = match query.get("task").map(str::parse).transpose() {
            Ok(task) => task,
            Err(_) => return Err(bad("The launch names a task that is none").of(&client)),
        };
        let (Some(iss), Some(launch)) = (query.get("iss"), query.get("launch")) else {
            return Err(bad("The launch brings no `iss` or no `launch`").of(&client));
        };
        let standing = self.standing_for(tenant, &client, task.as_ref(), &LaunchMode::Ehr {}, now);
        standing.map_err(|error| Failed::new(StatusCode::FORBIDDEN, error.description).of(&client))?;
        let callback = tenant.endpoints.oauth("callback/ehr");
        let begun = self.broker.ehr_begin(&tenant.id, iss, launch, &callback).await.map_err(|why| {
            tracing::info!(tenant = %tenant.id, %why, "a launch was refused");
            bad("This launch is not of the EHR that is configured here, or that EHR does not answer").of(&client)
        })?;
        let mut browser = Browser::read(tenant, request.headers());
        let cookie = browser.named(tenant, embedding(&client))?;
        let away = Away {
            client: client.id.clone(),
            task,
            browser: browser.hash().ok_or(Fault("the random source failed"))?,
            pending: begun.pending,
        };
        let state = away.pending.state().to_owned();
        self.give_as(tenant, OnceKind::EhrLaunch, &state, &away, WAITING_MILLIS, now).await?;
        let mut response = see_other(&begun.url);
        browser::set(response.headers_mut(), cookie);
        Ok(response)
    }

    async fn came_from_ehr(&self, tenant: &Tenant, trace: &Trace, request: &Request<()>) -> Result<Response, Failed> {
        let over = || Failed::new(StatusCode::BAD_REQUEST, "This launch is over. Start the app from the EHR again");
        let now = self.clock.now();
        let query = request.uri().query().unwrap_or_default();
        let state = Form::read(query.as_bytes()).ok().and_then(|form| form.get("state").map(str::to_owned));
        let state = state.ok_or_else(over)?;
        let Used::Now(away) = self.take::<Away>(tenant, OnceKind::EhrLaunch, &state, now).await? else {
            return Err(over());
        };
        let mut browser = Browser::read(tenant, request.headers());
        if browser.hash() != Some(away.browser) {
            return Err(over());
        }
        let client = self.client_with_person(tenant, &away.client, now).ok_or_else(over)?;
        let callback = tenant.endpoints.oauth("callback/ehr");
        let launched = self.broker.ehr_finish(&tenant.id, away.pending, query, &callback).await.map_err(|why| {
            tracing::info!(tenant = %tenant.id, %why, "a launch was refused");
            Failed::new(StatusCode::BAD_GATEWAY, "The EHR did not finish the launch. Start the app again").of(&client)
        })?;
        // Kept from now on, so that it is revoked whatever becomes of this launch.
        let session = SessionId(random().map_err(|_| Fault("the random source failed"))?);
        let until = now + UNSTARTED_MILLIS;
        if let Err(why) = self.broker.hold_grant(&tenant.id, &session, &launched.grant, until).await {
            tracing::error!(%session, %why, "the EHR's token could not be kept");
            self.broker.discard_grant(&tenant.id, launched.grant).await;
            return Err(Failed::from(Fault("the EHR's token could not be kept")).of(&client));
        }
        match self.hand_over(tenant, trace, &mut browser, &client, away.task, launched, session, now).await {
            Ok(response) => Ok(response),
            Err(failed) => {
                self.broker.end_grant(&session).await;
                Err(failed.of(&client))
            }
        }
    }

    /// Signs the EHR's person in, records the launch, and opens the app with a launch of our own.
    #[expect(clippy::too_many_arguments, reason = "the last step takes what every step before it found")]
    async fn hand_over(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &mut Browser,
        client: &Arc<Integration>,
        task: Option<TaskName>,
        launched: EhrLaunched,
        session: SessionId,
        now: Millis,
    ) -> Result<Response, Failed> {
        let EhrLaunched { patient, encounter, .. } = &launched;
        let person = ehr_person(tenant, &launched, now)
            .ok_or_else(|| Failed::new(StatusCode::BAD_GATEWAY, "The EHR does not say who launches the app"))?;
        let url = client
            .launch_urls
            .first()
            .ok_or_else(|| Failed::new(StatusCode::FORBIDDEN, "The app has no launch URL"))?;
        let mut record = trace.record(Kind::EhrLaunch, Outcome::Success, client, "");
        record.actor.person = person.recorded();
        record.phi.patients = vec![patient.to_string()];
        record.phi.resources = encounter.iter().map(|encounter| format!("Encounter/{encounter}")).collect();
        record.actor.session = Some(session);
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))?;
        let (secret, sign_in) = self.welcome(tenant, trace, &person, now).await?;
        let context = Context {
            client: client.id.clone(),
            task,
            patient: launched.patient,
            encounter: launched.encounter,
            told: Told {
                banner: launched.banner,
                style_url: launched.style_url,
                intent: launched.intent,
                fhir_context: launched.fhir_context.iter().filter_map(|item| serde_json::to_value(item).ok()).collect(),
            },
            sign_in,
            session,
        };
        let handle = self.give(tenant, OnceKind::Launch, &context, LAUNCH_MILLIS, now).await?;
        let cookie = browser.signed_in(tenant, &secret, embedding(client))?;
        let mut response = see_other(&launch_uri(url, &tenant.endpoints.fhir_base, &handle));
        browser::set(response.headers_mut(), Some(cookie));
        Ok(response)
    }

    async fn launch_failed(&self, tenant: &Tenant, trace: &Trace, failed: Failed) -> Response {
        match &failed.client {
            Some(client) => {
                let mut record = trace.record(Kind::EhrLaunch, Outcome::Denied, client, "");
                record.decision.reason = Reason::GrantInvalid.code().to_owned();
                record.object.status = failed.status.as_u16();
                record.phi.note = failed.says.clone();
                if self.write(record).await.is_err() {
                    return Stop::page(Refusal::Fault).response(tenant);
                }
            }
            None => self.audit.count_unauthenticated(&tenant.id, Reason::GrantInvalid, trace.from().peer),
        }
        failed_page(tenant, failed)
    }

    /// Keeps the EHR's token for as long as its session lasts, before the session's own token is told to anyone.
    pub(super) async fn keep_upstream(
        &self,
        tenant: &Tenant,
        session: &Session,
        launch: &Launch,
        now: Millis,
    ) -> Result<(), Fault> {
        let from = launch.person.as_deref().filter(|from| from.code.context.is_some());
        let Some(FromPerson { code, .. }) = from else { return Ok(()) };
        let until = match code.access {
            Access::Once => session.expires_at,
            Access::Online => now + millis(tenant.people.session_max),
            Access::Offline => now + OFFLINE_MILLIS,
        };
        match self.broker.keep_grant(&session.id, until.min(over_at(&launch.standing))).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault("the EHR's token has ended before its session began")),
            Err(why) => {
                tracing::error!(session = %session.id, %why, "the EHR's token could not be kept");
                Err(Fault("the EHR's token could not be kept"))
            }
        }
    }
}

fn failed_page(tenant: &Tenant, failed: Failed) -> Response {
    let Failed { client, status, says } = failed;
    let page = LaunchFailed {
        place: Place::new(Shown::new(&tenant.name)),
        app: Shown::new(client.as_ref().map_or("", |client| &client.name)),
        says: Shown::new(&says),
        again: String::new(),
        reference: Shown::new(""),
        status,
    };
    page.render().into_response()
}

/// When nothing can go on by the clock, whoever refreshes: the ends of the approval and of the registration.
pub(super) fn over_at(standing: &Standing) -> Millis {
    match standing.approval.status {
        ApprovalStatus::Approved { until, .. } => until.min(standing.integration.expires_at),
        _ => 0,
    }
}

/// Who the EHR says launches the app. Without an ID token nobody is known, and nothing starts.
fn ehr_person(tenant: &Tenant, launched: &EhrLaunched, now: Millis) -> Option<Person> {
    let bases: Vec<String> = tenant.ehr.iter().map(|ehr| ehr.fhir.trim_end_matches('/').to_owned()).collect();
    let user = launched.fhir_user.as_deref().and_then(|user| FhirUser::parse(user, &bases));
    let subject = launched.subject.clone().or_else(|| user.as_ref().map(ToString::to_string))?;
    let own = user.as_ref().filter(|user| user.kind == fhir::ResourceType::PATIENT).map(|user| user.id.clone());
    Some(Person {
        issuer: launched.issuer.clone(),
        subject,
        name: None,
        fhir_user: user,
        patient: own,
        signed_in_at: launched.signed_in_at.map_or(now, |at| at.min(now)),
        acr: None,
        logout_hint: None,
        sid: None,
        by_ehr: true,
    })
}

/// The app's launch URL with `iss` and `launch` (LN-01).
fn launch_uri(url: &str, iss: &str, launch: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    let iss = percent_encoding::utf8_percent_encode(iss, percent_encoding::NON_ALPHANUMERIC);
    format!("{url}{mark}iss={iss}&launch={launch}")
}
