//! From the waiting request to its code: sign in, pick a patient, read what is asked, allow or deny.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use domain::audit::{Kind, Outcome};
use domain::{Class, Integration, Millis, Presence, RequestedScope, ScopeSet, ScopeWord, SessionId};
use fhir::Id;
use http::Request;
use oauth::ErrorCode;
use oauth::authorization::{AuthorizationRequest, Prompt, answer_uri};
use oauth::scope::{Granted, ScopeRefusal};
use store::OnceKind;

use super::begin::personal_record;
use super::browser::Browser;
use super::handles::{Fault, Used};
use super::http::{body, no_tenant, origin};
use super::pages::forms::{self, Decision, InvalidPageForm, Sent};
use super::pages::{Consent, Kept, Picker, PickerProblem, PickerRow, Refusal, Shown};
use super::patients::Patients;
use super::people::Person;
use super::sign_in::Then;
use super::token::{FORM, enforceable};
use super::trace::Trace;
use super::waiting::{Access, CODE_MILLIS, Code, Picked, Stop, Waiting, place, see_other};
use super::{Service, Tenant};
use crate::clock::random;
use crate::registry::Standing;

/// What is left of a request's scope under the approval, before a person has seen it.
pub(super) fn granted(standing: &Standing, request: &AuthorizationRequest) -> Result<Granted, Stop> {
    let refused = |why: ScopeRefusal| Stop::back(request, ErrorCode::InvalidScope, why.to_string());
    let class = standing.integration.class;
    let asked = oauth::scope::check_class(class, Some(&request.scope), Presence::Person).map_err(refused)?;
    oauth::scope::grant(class, &standing.profile.scopes, &asked, &enforceable).map_err(refused)
}

/// The words that are granted beside the clauses: only what really is so.
fn words(request: &AuthorizationRequest, class: Class, waiting: &Waiting, person: &Person) -> Vec<ScopeWord> {
    let asked = RequestedScope::read_all(&request.scope).unwrap_or_default();
    let mut words = oauth::scope::words(&asked);
    let has_id = words.contains(&ScopeWord::OpenId);
    let offline = class == Class::PatientApp && words.contains(&ScopeWord::OfflineAccess);
    words.retain(|word| match word {
        ScopeWord::Launch => waiting.context.is_some(),
        ScopeWord::LaunchPatient | ScopeWord::OpenId => true,
        ScopeWord::LaunchEncounter => waiting.context.as_ref().is_some_and(|context| context.encounter.is_some()),
        // OI-03.
        ScopeWord::FhirUser | ScopeWord::Profile => has_id && person.fhir_user.is_some(),
        ScopeWord::OnlineAccess => !offline,
        ScopeWord::OfflineAccess => offline,
    });
    words
}

fn access(words: &[ScopeWord]) -> Access {
    if words.contains(&ScopeWord::OfflineAccess) {
        Access::Offline
    } else if words.contains(&ScopeWord::OnlineAccess) {
        Access::Online
    } else {
        Access::Once
    }
}

/// A waiting request with everything it is judged by.
struct Step {
    handle: String,
    waiting: Waiting,
    standing: Standing,
}

impl Step {
    fn client(&self) -> &Integration {
        &self.standing.integration
    }

    fn back(&self, code: ErrorCode, says: &str) -> Stop {
        Stop::back(&self.waiting.request, code, says)
    }
}

/// `GET /{tenant}/oauth/continue?request=…`: the next page of a waiting request.
pub(super) async fn proceed(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "GET oauth/continue", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let browser = Browser::read(tenant, request.headers());
    let handle = request.uri().query().and_then(|query| query.strip_prefix("request=")).unwrap_or_default().to_owned();
    let now = service.clock.now();
    let step = match service.step(tenant, &browser, &handle, now).await {
        Ok(step) => step,
        Err(stop) => return stop.response(tenant),
    };
    match Box::pin(service.next(tenant, &trace, &browser, &step, now)).await {
        Ok(response) => response,
        Err(stop) => service.stopped(tenant, &trace, Some(step.client()), stop).await,
    }
}

/// `POST /{tenant}/oauth/patient`: the person picked a patient, or searches among theirs.
pub(super) async fn pick(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "POST oauth/patient", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let browser = Browser::read(tenant, request.headers());
    let form = match page_form(request, forms::read_picker).await {
        Ok(form) => form,
        Err(stop) => return stop.response(tenant),
    };
    let now = service.clock.now();
    let step = match service.answered(tenant, &browser, &form.sent, now).await {
        Ok(step) => step,
        Err(stop) => return stop.response(tenant),
    };
    match Box::pin(service.picked(tenant, &trace, &browser, step, form, now)).await {
        Ok(response) => response,
        Err((client, stop)) => service.stopped(tenant, &trace, Some(&client), stop).await,
    }
}

/// `POST /{tenant}/oauth/consent`: the person allows or denies.
pub(super) async fn decide(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "POST oauth/consent", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let browser = Browser::read(tenant, request.headers());
    let form = match page_form(request, forms::read_consent).await {
        Ok(form) => form,
        Err(stop) => return stop.response(tenant),
    };
    let now = service.clock.now();
    let step = match service.step(tenant, &browser, &form.sent.request, now).await {
        Ok(step) => step,
        Err(stop) => return stop.response(tenant),
    };
    match Box::pin(service.decided(tenant, &trace, &browser, &step, &form, now)).await {
        Ok(response) => response,
        Err(stop) => service.stopped(tenant, &trace, Some(step.client()), stop).await,
    }
}

/// Reads a page's form within its limit.
pub(super) async fn page_form<T>(
    request: Request<Body>,
    read: impl Fn(&[u8]) -> Result<T, InvalidPageForm>,
) -> Result<T, Stop> {
    let sent = body(request, FORM, forms::PAGE_FORM_BYTES_MAX)
        .await
        .map_err(|refused| Stop::Page(Refusal::Request, refused.error.description))?;
    read(&sent.bytes).map_err(|why| Stop::Page(Refusal::Request, why.to_string()))
}

impl Service {
    /// The waiting request of a handle, if it is this browser's and its approval stands.
    async fn step(&self, tenant: &Tenant, browser: &Browser, handle: &str, now: Millis) -> Result<Step, Stop> {
        let waiting: Option<Waiting> = self.look_at(tenant, OnceKind::Waiting, handle, now).await?;
        let over = || Stop::page(Refusal::Interaction);
        let waiting = waiting.filter(|waiting| browser.hash() == Some(waiting.browser)).ok_or_else(over)?;
        let standing = self.registry.snapshot().standing(&waiting.approval, now).map_err(|_| over())?;
        if standing.integration.id != waiting.request.client || !self.registry.fresh() {
            return Err(over());
        }
        Ok(Step { handle: handle.to_owned(), waiting, standing })
    }

    /// The same for the answer to a page: it must be of the page that was made for this browser (NEG-035).
    async fn answered(&self, tenant: &Tenant, browser: &Browser, sent: &Sent, now: Millis) -> Result<Step, Stop> {
        let csrf = browser.csrf(&sent.request).ok_or(Stop::page(Refusal::Forged))?;
        if !csrf.matches(&sent.csrf) {
            return Err(Stop::page(Refusal::Forged));
        }
        self.step(tenant, browser, &sent.request, now).await
    }

    /// The first page of a request that has just begun.
    pub(super) async fn advance(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        handle: &str,
        waiting: Waiting,
        now: Millis,
    ) -> Result<Response, Stop> {
        let standing =
            self.registry.snapshot().standing(&waiting.approval, now).map_err(|_| Stop::page(Refusal::Interaction))?;
        let step = Step { handle: handle.to_owned(), waiting, standing };
        self.next(tenant, trace, browser, &step, now).await
    }

    /// Whatever is to be asked next.
    async fn next(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        step: &Step,
        now: Millis,
    ) -> Result<Response, Stop> {
        let quiet = step.waiting.request.prompt == Prompt::None;
        let person = match self.person_for(tenant, browser, step, now).await? {
            Some(person) => person,
            None if quiet => return Err(step.back(ErrorCode::LoginRequired, "nobody is signed in")),
            None => return self.ask_who(tenant, browser, step, now).await,
        };
        let patient = match self.patient_for(step, browser, &person)? {
            Some(patient) => patient,
            None if quiet => return Err(step.back(ErrorCode::InteractionRequired, "a patient must be picked")),
            None => return self.ask_patient(tenant, trace, browser, step, &person, None, None).await,
        };
        if quiet {
            return Err(step.back(ErrorCode::InteractionRequired, "each grant is shown to its person"));
        }
        self.ask_consent(tenant, trace, browser, step, &person, &patient).await
    }

    /// Who is signed in, lately enough for this request.
    async fn person_for(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        step: &Step,
        now: Millis,
    ) -> Result<Option<Person>, Stop> {
        let Waiting { request, context, began_at, .. } = &step.waiting;
        if let Some(context) = context {
            // The EHR's person and no other; theirs is no sign-in that could be repeated here.
            if browser.sign_in() != Some(context.sign_in) {
                return Err(step.back(ErrorCode::AccessDenied, "the person of the launch is no longer signed in"));
            }
            let person = self.present_at(tenant, &context.sign_in, now).await?;
            return person
                .map(Some)
                .ok_or_else(|| step.back(ErrorCode::AccessDenied, "the person of the launch is no longer signed in"));
        }
        // Whoever came by a launch of the EHR has proved nothing to the provider, and picks nobody else.
        let present = self.present(tenant, browser, now).await?.filter(|person| !person.by_ehr);
        let Some(person) = present else { return Ok(None) };
        // A second's grace: providers write whole seconds.
        let anew = request.prompt == Prompt::Login && person.signed_in_at < began_at - 1_000;
        let age = now.saturating_sub(person.signed_in_at);
        let old =
            request.max_age.is_some_and(|most| age > Millis::from(most) * 1_000 && person.signed_in_at < *began_at);
        Ok(if anew || old { None } else { Some(person) })
    }

    async fn ask_who(&self, tenant: &Tenant, browser: &Browser, step: &Step, now: Millis) -> Result<Response, Stop> {
        let Waiting { request, .. } = &step.waiting;
        let place = place(tenant, step.client(), request);
        let app = Shown::new(&step.client().name);
        let then = Then::Authorize(step.handle.clone());
        match self.sign_in_page(tenant, browser, place, app, then, request, now).await? {
            Some(response) => Ok(response),
            None => Err(step.back(ErrorCode::AccessDenied, "nobody can sign in here: launch the app from the EHR")),
        }
    }

    /// The patient, once it is settled. `None`: the person has to pick one.
    fn patient_for(&self, step: &Step, browser: &Browser, person: &Person) -> Result<Option<Id>, Stop> {
        if let Some(context) = &step.waiting.context {
            return Ok(Some(context.patient.clone()));
        }
        // DESIGN, "Class rules": a patient's app is about the one Patient its user is, by a verified claim.
        if step.client().class == Class::PatientApp {
            let says = "this account is not connected to a patient record";
            return person.patient.clone().map(Some).ok_or_else(|| step.back(ErrorCode::AccessDenied, says));
        }
        let picked = step.waiting.picked.as_ref().filter(|picked| browser.sign_in() == Some(picked.sign_in));
        Ok(picked.map(|picked| picked.patient.clone()))
    }

    #[expect(clippy::too_many_arguments, reason = "one page, with what was wrong and searched on it")]
    async fn ask_patient(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        step: &Step,
        person: &Person,
        search: Option<&str>,
        problem: Option<PickerProblem>,
    ) -> Result<Response, Stop> {
        let Patients { rows, more } = self.patients_of(tenant, person).await?;
        let found: Vec<PickerRow> = rows.iter().filter(|row| row.fits(search)).map(|row| row.shown()).collect();
        let shown = rows.iter().filter(|row| row.fits(search)).map(|row| row.id.to_string()).collect();
        self.patients_shown(trace, step, person, shown).await?;
        let csrf = browser.csrf(&step.handle).ok_or(Stop::page(Refusal::Interaction))?;
        let page = Picker {
            place: place(tenant, step.client(), &step.waiting.request),
            action: tenant.endpoints.oauth("patient"),
            request: step.handle.clone(),
            csrf,
            app: Shown::new(&step.client().name),
            person: Shown::new(person.shown()),
            patients: found,
            more,
            search: Some(Shown::new(search.unwrap_or_default())),
            problem,
        };
        Ok(page.render().into_response())
    }

    /// The picked patient is one of the person's, asked again now: what a form says is nobody's word (CX-09, NEG-042).
    async fn picked(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        mut step: Step,
        form: forms::PickerForm,
        now: Millis,
    ) -> Result<Response, (Arc<Integration>, Stop)> {
        let client = Arc::clone(&step.standing.integration);
        let failed = |stop: Stop| (Arc::clone(&client), stop);
        let person = self.person_for(tenant, browser, &step, now).await.map_err(failed)?;
        let Some(person) = person else {
            return self.ask_who(tenant, browser, &step, now).await.map_err(failed);
        };
        if step.waiting.context.is_some() || client.class == Class::PatientApp {
            return Err(failed(Stop::page(Refusal::Forged)));
        }
        let search = form.search.as_deref();
        let problem = match (&form.patient, search) {
            (_, Some(_)) => None,
            (None, None) => Some(PickerProblem::None),
            (Some(_), None) => Some(PickerProblem::Unknown),
        };
        let wanted: Option<Id> =
            form.patient.as_deref().filter(|_| search.is_none()).and_then(|text| text.parse().ok());
        let theirs = match &wanted {
            Some(wanted) => {
                let patients = self.patients_of(tenant, &person).await;
                let patients = patients.map_err(|fault| failed(fault.into()))?;
                patients.rows.iter().any(|row| row.id == *wanted)
            }
            None => false,
        };
        if !theirs {
            if wanted.is_some() {
                let mut record = personal_record(trace, Kind::Authorize, Outcome::Denied, &step.standing);
                record.actor.person = person.recorded();
                record.decision.reason = domain::Reason::OtherPatient.code().to_owned();
                record.phi.patients = wanted.iter().map(ToString::to_string).collect();
                let unrecorded = |_| failed(Fault("the audit record could not be made durable").into());
                self.write(record).await.map_err(unrecorded)?;
            }
            let page = self.ask_patient(tenant, trace, browser, &step, &person, search, problem).await;
            return page.map_err(failed);
        }
        step.waiting.picked = wanted.zip(browser.sign_in()).map(|(patient, sign_in)| Picked { patient, sign_in });
        let changed = self.change(tenant, OnceKind::Waiting, &step.handle, &step.waiting, now).await;
        if !changed.map_err(|fault| failed(fault.into()))? {
            return Err(failed(Stop::page(Refusal::Interaction)));
        }
        Ok(see_other(&format!("{}?request={}", tenant.endpoints.oauth("continue"), step.handle)))
    }

    /// What a page shows of patients is on record before it does.
    async fn patients_shown(
        &self,
        trace: &Trace,
        step: &Step,
        person: &Person,
        patients: Vec<String>,
    ) -> Result<(), Fault> {
        let mut record = personal_record(trace, Kind::PatientsShown, Outcome::Success, &step.standing);
        record.actor.person = person.recorded();
        record.actor.session = step.waiting.context.as_ref().map(|context| context.session);
        record.phi.patients = patients;
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))
    }

    async fn ask_consent(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        step: &Step,
        person: &Person,
        patient: &Id,
    ) -> Result<Response, Stop> {
        let Standing { integration, profile, .. } = &step.standing;
        let request = &step.waiting.request;
        let granted = granted(&step.standing, request)?;
        let words = words(request, integration.class, &step.waiting, person);
        let kept = match access(&words) {
            Access::Once => Kept::Session,
            Access::Online => Kept::Online,
            Access::Offline => Kept::Offline,
        };
        // `openid` and `fhirUser` are one thing to a person.
        let mut always: Vec<_> =
            words.iter().filter_map(|word| oauth::words::item(&RequestedScope::Word(*word))).collect();
        always.sort_unstable();
        always.dedup();
        let csrf = browser.csrf(&about(&step.handle, patient)).ok_or(Stop::page(Refusal::Interaction))?;
        let session = step.waiting.context.as_ref().map(|context| &context.session);
        let shown = self.patient_shown(tenant, session, patient).await;
        self.patients_shown(trace, step, person, vec![patient.to_string()]).await?;
        let page = Consent {
            place: place(tenant, integration, request),
            action: tenant.endpoints.oauth("consent"),
            request: step.handle.clone(),
            csrf,
            app: Shown::new(&integration.name),
            vendor: Shown::new(&integration.vendor),
            purpose: Shown::new(&integration.purpose),
            task: Shown::new(&profile.purpose),
            purpose_of_use: profile.purpose_of_use.clone(),
            person: Shown::new(person.shown()),
            patient: Some(shown),
            returns_to: Shown::new(host_of(&request.redirect_uri)),
            choices: oauth::choice::choices(&granted.scopes),
            ticked: None,
            always: always.into_iter().map(str::to_owned).collect(),
            kept,
            problem: None,
        };
        Ok(page.render().into_response())
    }

    async fn decided(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        step: &Step,
        form: &forms::ConsentForm,
        now: Millis,
    ) -> Result<Response, Stop> {
        let Some(person) = self.person_for(tenant, browser, step, now).await? else {
            return self.ask_who(tenant, browser, step, now).await;
        };
        let sign_in = browser.sign_in().ok_or(Stop::page(Refusal::Interaction))?;
        let patient = self.patient_for(step, browser, &person)?.ok_or(Stop::page(Refusal::Forged))?;
        let csrf = browser.csrf(&about(&step.handle, &patient)).ok_or(Stop::page(Refusal::Forged))?;
        if !csrf.matches(&form.sent.csrf) {
            return Err(Stop::page(Refusal::Forged));
        }
        let granted = granted(&step.standing, &step.waiting.request)?;
        let kept = oauth::choice::keep(&granted.scopes, &form.ticked)
            .map_err(|why| Stop::Page(Refusal::Forged, why.to_string()))?;
        let Used::Now(waiting) = self.take::<Waiting>(tenant, OnceKind::Waiting, &step.handle, now).await? else {
            return Err(Stop::page(Refusal::Interaction));
        };
        if form.decision == Decision::Deny || kept.is_empty() {
            if let Some(context) = waiting.context {
                self.broker.end_grant(&context.session).await;
            }
            return Err(step.back(ErrorCode::AccessDenied, "the person did not allow it"));
        }
        let code = self.code(step, waiting, kept, person, sign_in, patient)?;
        let mut record = personal_record(trace, Kind::Authorize, Outcome::Success, &step.standing);
        record.actor.person = code.person.recorded();
        record.actor.session = Some(code.session);
        record.phi.patients = vec![code.patient.to_string()];
        record.phi.scope = code.scope.clone();
        super::trace::asked(&mut record, Some(&step.waiting.request.scope));
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))?;
        let text = self.give(tenant, OnceKind::Code, &code, CODE_MILLIS, now).await?;
        let AuthorizationRequest { redirect_uri, state, .. } = &step.waiting.request;
        Ok(see_other(&answer_uri(redirect_uri, &tenant.endpoints.issuer, Some(state), &[("code", &text)])))
    }

    fn code(
        &self,
        step: &Step,
        waiting: Waiting,
        scopes: ScopeSet,
        person: Person,
        sign_in: [u8; 32],
        patient: Id,
    ) -> Result<Code, Stop> {
        let words = words(&waiting.request, step.client().class, &waiting, &person);
        let session = match &waiting.context {
            Some(context) => context.session,
            None => SessionId(random().map_err(|_| Fault("the random source failed"))?),
        };
        Ok(Code {
            request: waiting.request,
            approval: waiting.approval,
            session,
            scope: Granted::with_words(scopes, &words).text,
            access: access(&words),
            person,
            sign_in,
            patient,
            context: waiting.context,
        })
    }
}

/// What a consent page is about: it is answered for the patient whom it showed, whoever was picked in another window since (NEG-035).
fn about(handle: &str, patient: &Id) -> String {
    format!("{handle}\0{patient}")
}

/// The host of an address, or the address itself where it is an app's own scheme.
fn host_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?', ':']).next().filter(|host| !host.is_empty()).unwrap_or(uri)
}
