//! Sign-in and sign-out of people: at the hospital's identity provider, or at accounts of the demonstration (S4-03, S4-08).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use domain::Millis;
use domain::audit::{Kind, Outcome};
use http::{Method, Request, StatusCode};
use oauth::authorization::{AuthorizationRequest, Prompt};
use parking_lot::Mutex;
use store::OnceKind;
use subtle::ConstantTimeEq as _;

use super::browser::{self, Browser, Embedding};
use super::consent::page_form;
use super::handles::{Fault, Used};
use super::http::{body, no_tenant, origin};
use super::pages::{self, Place, Refusal, Shown, SignInProblem, SignedOut, forms};
use super::people::Person;
use super::token::FORM;
use super::trace::Trace;
use super::waiting::{Stop, WAITING_MILLIS, see_other};
use super::{Service, Tenant};
use crate::identity::{self, BackChannelError, EndOf, FhirUser, IdentityProvider, Pending, Wish};
use crate::settings::{LocalAccount, SignIn};

/// Wrong passwords of one name in a minute before it has to wait.
const TRIES_MAX: u32 = 5;
/// That minute.
const TRIES_MILLIS: Millis = 60_000;
/// Names counted.
const NAMES_MAX: usize = 1_000;
/// What the forms of a sign-in for the page of one's own grants carry as their request.
const GRANTS: &str = "grants";

/// Where a sign-in leads.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) enum Then {
    /// On with a waiting request.
    Authorize(String),
    /// To the page of one's own grants.
    Grants,
}

impl Then {
    fn request(&self) -> &str {
        match self {
            Self::Authorize(handle) => handle,
            Self::Grants => GRANTS,
        }
    }

    fn of(request: &str) -> Self {
        if request == GRANTS { Self::Grants } else { Self::Authorize(request.to_owned()) }
    }

    fn uri(&self, tenant: &Tenant) -> String {
        match self {
            Self::Authorize(handle) => format!("{}?request={handle}", tenant.endpoints.oauth("continue")),
            Self::Grants => tenant.endpoints.oauth("grants"),
        }
    }
}

/// A sign-in at the provider, on its way.
#[derive(serde::Deserialize, serde::Serialize)]
struct Away {
    pending: Pending,
    then: Then,
    browser: [u8; 32],
    framed: bool,
}

/// Wrong passwords lately, by tenant and name.
#[derive(Default)]
pub(super) struct Tries(Mutex<HashMap<(String, String), (Millis, u32)>>);

impl Tries {
    fn spent(&self, tenant: &Tenant, name: &str, now: Millis) -> bool {
        let mut all = self.0.lock();
        all.retain(|_, (at, _)| now.saturating_sub(*at) < TRIES_MILLIS);
        // Full of names within a minute: somebody is guessing, and everybody waits.
        all.len() >= NAMES_MAX
            || all.get(&(tenant.id.to_string(), name.to_owned())).is_some_and(|(_, count)| *count >= TRIES_MAX)
    }

    fn wrong(&self, tenant: &Tenant, name: &str, now: Millis) {
        self.0.lock().entry((tenant.id.to_string(), name.to_owned())).or_insert((now, 0)).1 += 1;
    }
}

impl Service {
    /// The page, or the address, at which a person signs in; `None` where nobody can.
    #[expect(clippy::too_many_arguments, reason = "one page, for whom and for what")]
    pub(super) async fn sign_in_page(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        place: Place,
        app: Shown,
        then: Then,
        request: &AuthorizationRequest,
        now: Millis,
    ) -> Result<Option<Response>, Stop> {
        let prompt = (request.prompt == Prompt::Login).then_some(identity::Prompt::Login);
        let wish = Wish { prompt, max_age: request.max_age.map(u64::from), login_hint: None };
        self.sign_in_at(tenant, browser, place, app, then, wish, now).await
    }

    #[expect(clippy::too_many_arguments, reason = "one page, for whom and for what")]
    async fn sign_in_at(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        place: Place,
        app: Shown,
        then: Then,
        wish: Wish,
        now: Millis,
    ) -> Result<Option<Response>, Stop> {
        match (&tenant.people.sign_in, &tenant.provider) {
            (SignIn::Demo(accounts), _) => {
                Ok(Some(demo_page(tenant, browser, place, app, &then, accounts, "", None)?.into_response()))
            }
            (SignIn::Oidc(_), Some(provider)) => {
                let begun = provider.begin(&tenant.endpoints.oauth("callback/idp"), wish).await.map_err(|why| {
                    tracing::error!(tenant = %tenant.id, %why, "the identity provider does not answer");
                    Stop::Fault(Fault("the identity provider does not answer"))
                })?;
                let browser = browser.hash().ok_or(Stop::page(Refusal::Interaction))?;
                let framed = place.frames != pages::Frames::Nobody;
                let state = begun.pending.state().to_owned();
                let away = Away { pending: begun.pending, then, browser, framed };
                self.give_as(tenant, OnceKind::SignIn, &state, &away, WAITING_MILLIS, now).await?;
                Ok(Some(see_other(&begun.url)))
            }
            _ => Ok(None),
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one page, with what was typed and wrong")]
fn demo_page(
    tenant: &Tenant,
    browser: &Browser,
    place: Place,
    app: Shown,
    then: &Then,
    accounts: &[LocalAccount],
    username: &str,
    problem: Option<SignInProblem>,
) -> Result<pages::Page, Stop> {
    let csrf = browser.sign_in_csrf(then.request()).ok_or(Stop::page(Refusal::Interaction))?;
    // A demonstration hides nothing: whoever sees the page may be anybody.
    let account = |one: &LocalAccount| Shown::new(&format!("{} / {}: {}", one.username, one.password, one.name));
    let page = pages::SignIn {
        place,
        action: tenant.endpoints.oauth("sign-in"),
        request: then.request().to_owned(),
        csrf,
        app,
        username: Shown::new(username),
        accounts: accounts.iter().map(account).collect(),
        problem,
    };
    Ok(page.render())
}

/// `POST /{tenant}/oauth/sign-in`: an account of the demonstration.
pub(super) async fn sign_in(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.demo_sign_in(tenant, request).await {
        Ok(response) => response,
        Err(stop) => stop.response(tenant),
    }
}

/// `GET /{tenant}/oauth/callback/idp`: back from the identity provider.
pub(super) async fn came_back(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "GET oauth/callback/idp", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let request = Request::from_parts(request.into_parts().0, ());
    match service.signed_in_there(tenant, &trace, &request).await {
        Ok(response) => response,
        Err(stop) => stop.response(tenant),
    }
}

/// `POST /{tenant}/oauth/sign-out`.
pub(super) async fn sign_out(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.leave(tenant, request).await {
        Ok(response) => response,
        Err(stop) => stop.response(tenant),
    }
}

/// `GET /{tenant}/oauth/signed-out`: where the provider sends the browser after a sign-out there.
pub(super) async fn signed_out(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let page = SignedOut {
        place: Place::new(Shown::new(&tenant.name)),
        again: tenant.endpoints.oauth("grants"),
        sessions_ended: 0,
    };
    page.render().into_response()
}

/// `POST /{tenant}/oauth/back-channel-logout`: the provider says that somebody has signed out there.
pub(super) async fn back_channel(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.logged_out_there(tenant, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(status) => status.into_response(),
    }
}

impl Service {
    async fn demo_sign_in(&self, tenant: &Tenant, request: Request<Body>) -> Result<Response, Stop> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/sign-in", origin(&request))
            .map_err(|_| Fault("the random source failed"))?;
        let SignIn::Demo(accounts) = &tenant.people.sign_in else { return Err(Stop::page(Refusal::Request)) };
        let mut browser = Browser::read(tenant, request.headers());
        let form = page_form(request, forms::read_sign_in).await?;
        let csrf = browser.sign_in_csrf(&form.sent.request).ok_or(Stop::page(Refusal::Forged))?;
        if !csrf.matches(&form.sent.csrf) {
            return Err(Stop::page(Refusal::Forged));
        }
        let now = self.clock.now();
        let then = Then::of(&form.sent.request);
        let spent = self.tries.spent(tenant, &form.username, now);
        let account = accounts.iter().find(|one| one.username == form.username);
        let right = account.filter(|one| bool::from(one.password.as_bytes().ct_eq(form.password.as_bytes())));
        let Some(account) = right.filter(|_| !spent) else {
            self.tries.wrong(tenant, &form.username, now);
            self.unwelcome(&trace, "a wrong name or password of a demonstration account").await?;
            let problem = Some(if spent { SignInProblem::TooMany } else { SignInProblem::Wrong });
            let place = Place { opener: pages::Opener::Kept, ..Place::new(Shown::new(&tenant.name)) };
            let page = demo_page(tenant, &browser, place, Shown::new(""), &then, accounts, &form.username, problem)?;
            return Ok(page.into_response());
        };
        let person = demo_person(tenant, account, now).ok_or(Fault("a demonstration account is malformed"))?;
        let (secret, _) = self.welcome(tenant, &trace, &person, now).await?;
        let cookie = browser.signed_in(tenant, &secret, Embedding::Own)?;
        let mut response = see_other(&then.uri(tenant));
        browser::set(response.headers_mut(), Some(cookie));
        Ok(response)
    }

    async fn signed_in_there(&self, tenant: &Tenant, trace: &Trace, request: &Request<()>) -> Result<Response, Stop> {
        let provider = tenant.provider.as_ref().ok_or(Stop::page(Refusal::Request))?;
        let mut browser = Browser::read(tenant, request.headers());
        let query = request.uri().query().unwrap_or_default();
        let parameters = oauth::form::Form::read(query.as_bytes()).map_err(|_| Stop::page(Refusal::Request))?;
        let state = parameters.get("state").ok_or(Stop::page(Refusal::Request))?;
        let now = self.clock.now();
        let Used::Now(away) = self.take::<Away>(tenant, OnceKind::SignIn, state, now).await? else {
            return Err(Stop::page(Refusal::Interaction));
        };
        if browser.hash() != Some(away.browser) {
            return Err(Stop::page(Refusal::Interaction));
        }
        let callback = tenant.endpoints.oauth("callback/idp");
        let who = match provider.finish(&away.pending, query, &callback, now).await {
            Ok(who) => who,
            Err(why) => {
                tracing::info!(tenant = %tenant.id, %why, "a sign-in was refused");
                self.unwelcome(trace, &why.to_string()).await?;
                return Err(Stop::Page(Refusal::Person, why.says().to_owned()));
            }
        };
        let person = Person::from(who);
        let (secret, _) = self.welcome(tenant, trace, &person, now).await?;
        let embedding = if away.framed { Embedding::Framed } else { Embedding::Own };
        let cookie = browser.signed_in(tenant, &secret, embedding)?;
        let mut response = see_other(&away.then.uri(tenant));
        browser::set(response.headers_mut(), Some(cookie));
        Ok(response)
    }

    /// Signs out, here and at the provider, and ends what hangs on the sign-in.
    async fn leave(&self, tenant: &Tenant, request: Request<Body>) -> Result<Response, Stop> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/sign-out", origin(&request))
            .map_err(|_| Fault("the random source failed"))?;
        let browser = Browser::read(tenant, request.headers());
        let sent = page_form(request, forms::read_sign_out).await?;
        let csrf = browser.csrf(GRANTS).ok_or(Stop::page(Refusal::Forged))?;
        if !csrf.matches(&sent) {
            return Err(Stop::page(Refusal::Forged));
        }
        let now = self.clock.now();
        let person = self.present(tenant, &browser, now).await?;
        // Earlier sign-ins of theirs too: each launch and each new sign-in replaced the cookie of the one before (NEG-168).
        let mut theirs: BTreeSet<[u8; 32]> = browser.sign_in().into_iter().collect();
        if let Some(person) = &person {
            let tag = self.tag(tenant, person)?;
            let all = self.store.sign_ins_of(&tenant.id, &tag).await.map_err(|_| Fault("the store failed"))?;
            theirs.extend(all.into_iter().map(|(sign_in, _)| sign_in));
        }
        let mut ended = 0;
        for sign_in in &theirs {
            ended += self.farewell(tenant, sign_in, "sign-out", now).await?;
        }
        let mut record = trace.personal(Kind::SignOut, Outcome::Success);
        record.actor.person = person.as_ref().map(Person::recorded).unwrap_or_default();
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))?;
        let hint = person.and_then(|person| person.logout_hint);
        let there = match (&tenant.provider, hint) {
            (Some(provider), Some(hint)) => provider.logout_url(&hint, &tenant.endpoints.oauth("signed-out"), "").await,
            _ => None,
        };
        let mut response = match there {
            Some(url) => see_other(&url),
            None => {
                let place = Place::new(Shown::new(&tenant.name));
                let page = SignedOut { place, again: tenant.endpoints.oauth("grants"), sessions_ended: ended };
                page.render().into_response()
            }
        };
        browser::set(response.headers_mut(), Some(Browser::signed_out(tenant)?));
        Ok(response)
    }

    async fn logged_out_there(&self, tenant: &Tenant, request: Request<Body>) -> Result<(), StatusCode> {
        debug_assert_eq!(request.method(), Method::POST);
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/back-channel-logout", origin(&request));
        let trace = trace.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let provider = tenant.provider.as_ref().ok_or(StatusCode::NOT_FOUND)?;
        let sent = body(request, FORM, oauth::form::FORM_BYTES_MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        let form = oauth::form::Form::read(&sent.bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
        let token = form.get("logout_token").ok_or(StatusCode::BAD_REQUEST)?;
        let end = provider.back_channel(token).await.map_err(|why| {
            tracing::info!(tenant = %tenant.id, %why, "a logout token was refused");
            match why {
                BackChannelError::Unreachable | BackChannelError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                BackChannelError::Replayed | BackChannelError::Token(_) => StatusCode::BAD_REQUEST,
            }
        })?;
        self.end_there(tenant, &trace, provider, &end).await.map_err(|_| {
            provider.not_honoured(&end);
            StatusCode::SERVICE_UNAVAILABLE
        })
    }

    /// Ends every sign-in that a logout token is about: those of the person, of the one session at the provider, or of both.
    async fn end_there(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        provider: &IdentityProvider,
        end: &EndOf,
    ) -> Result<(), Fault> {
        let store = |_| Fault("the store failed");
        let now = self.clock.now();
        let sign_ins = match &end.subject {
            Some(subject) => {
                let tag = self.keys.person_tag(tenant.id.as_str(), provider.issuer(), subject);
                self.store.sign_ins_of(&tenant.id, &tag.map_err(|_| Fault("the keys failed"))?).await.map_err(store)?
            }
            None => self.store.sign_ins_in(&tenant.id, now).await.map_err(store)?,
        };
        let mut failed = None;
        for (sign_in, sealed) in &sign_ins {
            let person = self.person_of(tenant, sealed);
            let same = match (&end.subject, &end.sid, person) {
                (Some(_), None, _) => true,
                // One whose session at the provider is not known, or cannot be read, ends too: fail closed.
                (Some(_), Some(sid), person) => {
                    person.map_or(true, |person| person.sid.is_none_or(|known| known == *sid))
                }
                (None, sid, Ok(person)) => person.issuer == provider.issuer() && person.sid == *sid,
                // Whose it is cannot be told; it keeps nobody else signed in.
                (None, _, Err(fault)) => {
                    failed = Some(fault);
                    false
                }
            };
            if same && let Err(fault) = self.farewell(tenant, sign_in, "back-channel-logout", now).await {
                failed = Some(fault);
            }
        }
        failed.map_or(Ok(()), Err)?;
        let mut record = trace.personal(Kind::SignOut, Outcome::Success);
        record.phi.attributes.extend(end.subject.iter().map(|subject| ("person.subject".into(), subject.clone())));
        record.phi.note = "the identity provider said so".into();
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))
    }
}

/// Who an account of the demonstration is.
fn demo_person(tenant: &Tenant, account: &LocalAccount, now: Millis) -> Option<Person> {
    let user = FhirUser::parse(&account.fhir_user, &[])?;
    let patient = (user.kind == fhir::ResourceType::PATIENT).then(|| user.id.clone());
    Some(Person {
        issuer: tenant.endpoints.issuer.clone(),
        subject: account.username.clone(),
        name: Some(account.name.clone()),
        fhir_user: Some(user),
        patient,
        signed_in_at: now,
        acr: None,
        logout_hint: None,
        sid: None,
        by_ehr: false,
    })
}

/// What the forms of the page of one's own grants carry.
pub(super) fn grants_request() -> &'static str {
    GRANTS
}

impl Service {
    /// The sign-in for the page of one's own grants.
    pub(super) async fn sign_in_for_grants(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        now: Millis,
    ) -> Result<Response, Stop> {
        let place = Place::new(Shown::new(&tenant.name));
        let page = self.sign_in_at(tenant, browser, place, Shown::new(""), Then::Grants, Wish::default(), now).await?;
        page.ok_or(Stop::Page(Refusal::Person, "nobody can sign in here".into()))
    }
}
