//! `GET|POST /{tenant}/oauth/authorize` and `POST /{tenant}/oauth/par`: an app asks for a session with a person.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{Kind, Outcome};
use domain::{AuthMethod, Integration, IntegrationId, LaunchMode, Millis, Presence, Reason, RequestedScope, ScopeWord};
use http::{Method, Request, StatusCode};
use oauth::authorization::{
    AUTHORIZATION_BYTES_MAX, AuthorizationRequest, PageError, Parameters, REQUEST_URI, SentBack, must_push,
    starts_with_person,
};
use oauth::{ErrorCode, OAuthError};
use serde_json::json;
use store::OnceKind;

use super::browser::{self, Browser, Embedding};
use super::handles::Used;
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::pages::Refusal;
use super::token::{Denied, FORM, store_failed};
use super::trace::{self, Trace};
use super::waiting::{Context, PUSHED_MILLIS, Stop, WAITING_MILLIS, Waiting};
use super::{Service, Tenant};
use crate::registry::Standing;

/// A pushed request (RFC 9126) between its two halves.
#[derive(serde::Deserialize, serde::Serialize)]
struct Pushed {
    client: IntegrationId,
    request: AuthorizationRequest,
}

/// Handles the authorization endpoint.
pub(super) async fn authorize(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let Ok(trace) = Trace::new(tenant.id.as_str(), "GET oauth/authorize", origin(&request)) else {
        return Stop::page(Refusal::Fault).response(tenant);
    };
    let mut browser = Browser::read(tenant, request.headers());
    let now = service.clock.now();
    let text = match *request.method() {
        Method::POST => match body(request, FORM, AUTHORIZATION_BYTES_MAX).await {
            Ok(sent) => sent.bytes.to_vec(),
            Err(refused) => return Stop::Page(Refusal::Request, refused.error.description).response(tenant),
        },
        _ => request.uri().query().unwrap_or_default().as_bytes().to_vec(),
    };
    match Box::pin(service.begin(tenant, &trace, &text, &mut browser, now)).await {
        Ok(response) => response,
        Err(stop) => service.stopped(tenant, &trace, None, stop).await,
    }
}

impl Service {
    /// From the text of a request to the first page.
    async fn begin(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        text: &[u8],
        browser: &mut Browser,
        now: Millis,
    ) -> Result<Response, Stop> {
        if !self.registry.fresh() {
            return Err(Stop::page(Refusal::Fault));
        }
        let unread = |why: PageError| {
            self.audit.count_unauthenticated(&tenant.id, Reason::RequestInvalid, trace.from().peer);
            let page = match why {
                PageError::Client => Refusal::Client,
                PageError::RedirectUri => Refusal::Redirect,
                PageError::Form(_) | PageError::RequestUri => Refusal::Request,
            };
            Stop::Page(page, why.to_string())
        };
        let parameters = Parameters::read(text).map_err(|why| unread(why.into()))?;
        let client = parameters.client().and_then(|id| self.client_with_person(tenant, &id, now));
        let client = client.ok_or_else(|| unread(PageError::Client))?;
        let pushed = parameters.has_request_uri();
        let request = if pushed {
            let kept = self.pushed(tenant, &parameters, &client, now).await?;
            kept.ok_or_else(|| unread(PageError::RequestUri))?
        } else {
            let redirect_uri = parameters.redirect_uri(&client).map_err(unread)?;
            let read = parameters.request(&client, redirect_uri.clone(), &tenant.endpoints);
            let request = match read {
                Ok(request) => request,
                Err(SentBack { error, state }) => {
                    let stop = Stop::Back { redirect_uri, state, error };
                    return Ok(self.refused(tenant, trace, browser, &client, stop, now).await);
                }
            };
            if must_push(&client) {
                let says = "this client pushes its requests first (RFC 9126)";
                let stop = Stop::back(&request, ErrorCode::InvalidRequest, says);
                return Ok(self.refused(tenant, trace, browser, &client, stop, now).await);
            }
            request
        };
        match Box::pin(self.wait(tenant, trace, &client, request, browser, now)).await {
            Ok(response) => Ok(response),
            // Who pushed has authenticated, but for a public client.
            Err(stop) if pushed && client.auth.method != AuthMethod::None => {
                Ok(self.stopped(tenant, trace, Some(&client), stop).await)
            }
            Err(stop) => Ok(self.refused(tenant, trace, browser, &client, stop, now).await),
        }
    }

    /// A request that goes no further and came through a browser. Its `client_id` is a claim: where nobody is signed in either, the
    /// refusal is counted, so that a flood of them costs the ledger nothing.
    async fn refused(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        browser: &Browser,
        client: &Integration,
        stop: Stop,
        now: Millis,
    ) -> Response {
        match (&stop, self.present(tenant, browser, now).await) {
            (Stop::Back { error, .. }, Ok(None)) => {
                self.audit.count_unauthenticated(&tenant.id, reason_of(error.code), trace.from().peer);
                stop.response(tenant)
            }
            _ => self.stopped(tenant, trace, Some(client), stop).await,
        }
    }

    /// The client, if it starts with a person and is in use.
    pub(super) fn client_with_person(
        &self,
        tenant: &Tenant,
        id: &IntegrationId,
        now: Millis,
    ) -> Option<Arc<Integration>> {
        let snapshot = self.registry.snapshot();
        let client = snapshot.integration(id)?;
        let fits = client.tenant == tenant.id
            && client.usable(now)
            && starts_with_person(client.class)
            && !client.redirect_uris.is_empty();
        fits.then(|| Arc::clone(client))
    }

    /// The request behind a `request_uri`; everything else in the query is ignored (PA-03).
    async fn pushed(
        &self,
        tenant: &Tenant,
        parameters: &Parameters,
        client: &Integration,
        now: Millis,
    ) -> Result<Option<AuthorizationRequest>, Stop> {
        let Some(handle) = parameters.request_uri().and_then(|uri| uri.strip_prefix(REQUEST_URI)) else {
            return Ok(None);
        };
        // Looked at first: whoever is not its client does not use it up.
        let found: Option<Pushed> = self.look_at(tenant, OnceKind::Pushed, handle, now).await?;
        if found.is_none_or(|pushed| pushed.client != client.id) {
            return Ok(None);
        }
        match self.take::<Pushed>(tenant, OnceKind::Pushed, handle, now).await? {
            // The registration may have changed since.
            Used::Now(Pushed { request, .. }) => {
                Ok(oauth::authorization::is_registered(&request.redirect_uri, client).then_some(request))
            }
            Used::Before(_) | Used::Gone => Ok(None),
        }
    }

    /// Decides everything that needs no person, and shows the first page.
    async fn wait(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        client: &Integration,
        request: AuthorizationRequest,
        browser: &mut Browser,
        now: Millis,
    ) -> Result<Response, Stop> {
        let invalid = |says: &str| Stop::back(&request, ErrorCode::InvalidRequest, says);
        let asked = oauth::scope::check_class(client.class, Some(&request.scope), Presence::Person)
            .map_err(|why| Stop::back(&request, ErrorCode::InvalidScope, why.to_string()))?;
        let has_word = asked.contains(&RequestedScope::Word(ScopeWord::Launch));
        let context = match &request.launch {
            Some(_) if !has_word => return Err(invalid("`launch` needs the scope `launch` beside it")),
            None if has_word => {
                return Err(invalid("the scope `launch` needs the `launch` parameter of an EHR launch"));
            }
            None => None,
            Some(handle) => {
                let found: Option<Context> = self.look_at(tenant, OnceKind::Launch, handle, now).await?;
                // Unknown, used, expired, another client's, another person's: one answer (LN-03, NEG-043).
                let fits = found.filter(|found| found.client == client.id && browser.sign_in() == Some(found.sign_in));
                let refused =
                    || invalid("the launch is unknown, used or expired, or it is not for this app and person");
                if fits.is_none() {
                    return Err(refused());
                }
                match self.take::<Context>(tenant, OnceKind::Launch, handle, now).await? {
                    Used::Now(context) => Some(context),
                    Used::Before(_) | Used::Gone => return Err(refused()),
                }
            }
        };
        let mode = if context.is_some() { LaunchMode::Ehr {} } else { LaunchMode::Standalone {} };
        let launched = context.as_ref().and_then(|context| context.task.as_ref());
        if request.task.is_some() && launched.is_some() && launched != request.task.as_ref() {
            return Err(invalid("the EHR launched another `task`"));
        }
        let task = request.task.as_ref().or(launched);
        let standing = self
            .standing_for(tenant, client, task, &mode, now)
            .map_err(|error| Stop::back(&request, error.code, error.description))?;
        standing.admits().map_err(|why| Stop::back(&request, ErrorCode::UnauthorizedClient, why.to_string()))?;
        // What is left of the scope is decided again once the person is known; nothing at all is told at once.
        super::consent::granted(&standing, &request)?;
        let cookie = browser.named(tenant, embedding(client))?;
        let waiting = Waiting {
            approval: standing.approval.id,
            context,
            picked: None,
            browser: browser.hash().ok_or(super::handles::Fault("the random source failed"))?,
            began_at: now,
            request,
        };
        let handle = self.give(tenant, OnceKind::Waiting, &waiting, WAITING_MILLIS, now).await?;
        let mut response = Box::pin(self.advance(tenant, trace, browser, &handle, waiting, now)).await?;
        browser::set(response.headers_mut(), cookie);
        Ok(response)
    }

    /// The approved task that an app means: the one it names, or its only one for this kind of launch.
    pub(super) fn standing_for(
        &self,
        tenant: &Tenant,
        client: &Integration,
        task: Option<&domain::TaskName>,
        mode: &LaunchMode,
        now: Millis,
    ) -> Result<Standing, OAuthError> {
        let snapshot = self.registry.snapshot();
        let mut all = snapshot.approved_tasks(&tenant.id, &client.id, now);
        all.retain(|standing| standing.approval.terms.launch.contains(mode));
        if let Some(task) = task {
            all.retain(|standing| standing.approval.task.name == *task);
        }
        let by = if *mode == (LaunchMode::Ehr {}) { "a launch of the EHR" } else { "a standalone launch" };
        match all.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                let says = format!("no approval in force lets this client start by {by}");
                Err(OAuthError::new(ErrorCode::UnauthorizedClient, says))
            }
            several => {
                let names: Vec<_> = several.iter().map(|one| one.approval.task.name.as_str()).collect();
                let says = format!("this client has several tasks: name one with `task`: {}", names.join(", "));
                Err(OAuthError::new(ErrorCode::InvalidRequest, says))
            }
        }
    }

    /// Records why an authorization went no further, and answers.
    pub(super) async fn stopped(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        client: Option<&Integration>,
        stop: Stop,
    ) -> Response {
        if let (Some(client), Stop::Back { error, .. }) = (client, &stop) {
            let mut record = trace.record(Kind::Authorize, Outcome::Denied, client, "");
            record.decision.reason = reason_of(error.code).code().to_owned();
            record.phi.note = error.description.clone();
            if self.write(record).await.is_err() {
                return Stop::page(Refusal::Fault).response(tenant);
            }
        }
        stop.response(tenant)
    }
}

/// Whether this client's pages may stand in a frame of the EHR.
pub(super) fn embedding(client: &Integration) -> Embedding {
    if client.frame_ancestors.is_empty() { Embedding::Own } else { Embedding::Framed }
}

fn reason_of(code: ErrorCode) -> Reason {
    match code {
        ErrorCode::InvalidScope => Reason::ScopeInvalid,
        ErrorCode::UnauthorizedClient => Reason::ApprovalMissing,
        ErrorCode::AccessDenied | ErrorCode::LoginRequired | ErrorCode::InteractionRequired => Reason::GrantInvalid,
        _ => Reason::RequestInvalid,
    }
}

/// Handles the pushed authorization request endpoint.
pub(super) async fn push(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match Box::pin(service.push_request(tenant, request)).await {
        Ok(body) => answer(StatusCode::CREATED, body.to_string()),
        Err(refused) => refused.response(),
    }
}

impl Service {
    async fn push_request(&self, tenant: &Tenant, request: Request<Body>) -> Result<serde_json::Value, Refused> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/par", origin(&request))?;
        let read = body(request, FORM, oauth::form::FORM_BYTES_MAX).await.and_then(|sent| {
            let proof = oauth::request::read_client(&sent.bytes, sent.authorization.as_deref());
            proof.map(|proof| (sent.bytes, proof)).map_err(Refused::from_request)
        });
        let (bytes, proof) = read.inspect_err(|_| {
            self.audit.count_unauthenticated(&tenant.id, Reason::RequestInvalid, trace.from().peer);
        })?;
        let now = self.clock.now();
        let caller = self.caller(tenant, &trace, &proof, now).await?;
        match self.store.use_assertion(caller.used()).await {
            Ok(true) => {}
            Ok(false) => {
                let mut denied = Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "");
                denied.refused = super::client::refused();
                return Err(self.deny(&trace, Kind::Authorize, &caller, None, None, denied).await);
            }
            Err(why) => return Err(store_failed(&why).refused),
        }
        match self.keep_pushed(tenant, &caller.integration, &bytes, now).await {
            Ok(handle) => {
                Ok(json!({ "request_uri": format!("{REQUEST_URI}{handle}"), "expires_in": PUSHED_MILLIS / 1_000 }))
            }
            Err(error) => {
                let denied = Denied::new(reason_of(error.code), error.code, error.description);
                Err(self.deny(&trace, Kind::Authorize, &caller, None, None, denied).await)
            }
        }
    }

    async fn keep_pushed(
        &self,
        tenant: &Tenant,
        client: &Integration,
        bytes: &[u8],
        now: Millis,
    ) -> Result<String, OAuthError> {
        let invalid = |says: &str| OAuthError::new(ErrorCode::InvalidRequest, says);
        let parameters = Parameters::read(bytes).map_err(|why| invalid(&why.to_string()))?;
        if parameters.has_request_uri() {
            return Err(invalid("`request_uri` cannot be pushed"));
        }
        if self.client_with_person(tenant, &client.id, now).is_none() {
            return Err(OAuthError::new(ErrorCode::UnauthorizedClient, "this client does not start in a browser"));
        }
        let redirect_uri = parameters.redirect_uri(client).map_err(|why| invalid(&why.to_string()))?;
        let request = parameters.request(client, redirect_uri, &tenant.endpoints).map_err(|back| back.error)?;
        oauth::scope::check_class(client.class, Some(&request.scope), Presence::Person)
            .map_err(|why| OAuthError::new(ErrorCode::InvalidScope, why.to_string()))?;
        let pushed = Pushed { client: client.id.clone(), request };
        let kept = self.give(tenant, OnceKind::Pushed, &pushed, PUSHED_MILLIS, now).await;
        kept.map_err(|fault| OAuthError::new(ErrorCode::TemporarilyUnavailable, fault.to_string()))
    }
}

/// What a record says of the standing it rests on, for the steps of an authorization.
pub(super) fn personal_record(
    trace: &Trace,
    kind: Kind,
    outcome: Outcome,
    standing: &Standing,
) -> domain::audit::AuditRecord {
    let mut record = trace.record(kind, outcome, &standing.integration, "");
    trace::stands_on(&mut record, standing);
    record
}
