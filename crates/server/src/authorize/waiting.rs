//! An authorization request on its way from the app to its code: what waits for the person, and how it ends.

use axum::response::{IntoResponse as _, Response};
use domain::{ApprovalId, IntegrationId, Millis, SessionId, TaskName};
use fhir::Id;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use oauth::authorization::{AuthorizationRequest, answer_uri};
use oauth::{ErrorCode, OAuthError};
use serde_json::Value;

use super::Tenant;
use super::handles::Fault;
use super::pages::{Failed, Frames, Opener, Place, Refusal, Shown};
use super::people::Person;

/// How long a person may take: to sign in, to pick, to read.
pub(super) const WAITING_MILLIS: Millis = 10 * 60_000;
/// Life of an authorization code (AZ-06, FAPI 2.0: at most a minute).
pub(super) const CODE_MILLIS: Millis = 60_000;
/// Life of a pushed request (RFC 9126 §2.2; FAPI 2.0: under 600 s).
pub(super) const PUSHED_MILLIS: Millis = 90_000;
/// Life of a launch context (LN-03).
pub(super) const LAUNCH_MILLIS: Millis = 5 * 60_000;
/// From the launch to the session at most: the handle, the person, the code.
pub(super) const UNSTARTED_MILLIS: Millis = LAUNCH_MILLIS + WAITING_MILLIS + CODE_MILLIS;

/// What the EHR says that apps are told and no decision rests on (CX-04, CX-05).
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) struct Told {
    /// `need_patient_banner`.
    pub(super) banner: Option<bool>,
    /// `smart_style_url`.
    pub(super) style_url: Option<String>,
    /// `intent`.
    pub(super) intent: Option<String>,
    /// `fhirContext`.
    pub(super) fhir_context: Vec<Value>,
}

/// The context of a launch by the EHR, behind the handle that the app is given.
#[derive(serde::Deserialize, serde::Serialize)]
pub(super) struct Context {
    /// For which app.
    pub(super) client: IntegrationId,
    /// For which of its tasks, if the launch said.
    pub(super) task: Option<TaskName>,
    /// Which patient.
    pub(super) patient: Id,
    /// In which encounter.
    pub(super) encounter: Option<Id>,
    /// What else the app is told.
    pub(super) told: Told,
    /// The sign-in that the launch made: the handle is no good in another browser.
    pub(super) sign_in: [u8; 32],
    /// The session that it may become; the broker keeps the EHR's token for it, and revokes it where none comes to be.
    pub(super) session: SessionId,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({}, [sealed])", self.client)
    }
}

/// A request that waits for its person.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Waiting {
    /// What was asked.
    pub(super) request: AuthorizationRequest,
    /// Under which approval it is decided.
    pub(super) approval: ApprovalId,
    /// What the EHR's launch said, where there was one.
    pub(super) context: Option<Context>,
    /// Who was picked, where there was none.
    pub(super) picked: Option<Picked>,
    /// The browser it began in.
    pub(super) browser: [u8; 32],
    /// When.
    pub(super) began_at: Millis,
}

/// A patient as somebody picked them. It holds for that sign-in: whoever signs in next at a shared workstation picks among their own.
#[derive(serde::Deserialize, serde::Serialize)]
pub(super) struct Picked {
    /// Who was picked.
    pub(super) patient: Id,
    /// The sign-in of whoever did.
    pub(super) sign_in: [u8; 32],
}

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Picked([sealed])")
    }
}

/// How long an app keeps access.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) enum Access {
    /// For one access token.
    Once,
    /// While the person is signed in (`online_access`).
    Online,
    /// Beyond that (`offline_access`).
    Offline,
}

/// What a code stands for.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Code {
    /// What was asked.
    pub(super) request: AuthorizationRequest,
    /// Under which approval.
    pub(super) approval: ApprovalId,
    /// The session it starts; known before, so that a second use can end it (TK-08).
    pub(super) session: SessionId,
    /// The granted scope.
    pub(super) scope: String,
    /// How long the app keeps access.
    pub(super) access: Access,
    /// Who granted it.
    pub(super) person: Person,
    /// Their sign-in.
    pub(super) sign_in: [u8; 32],
    /// For which patient.
    pub(super) patient: Id,
    /// What the EHR's launch said, where there was one.
    pub(super) context: Option<Context>,
}

/// Why an authorization goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// Said on a page; the browser is sent nowhere (AZ-08).
    Page(Refusal, String),
    /// Said to the client.
    Back {
        /// Where.
        redirect_uri: String,
        /// Its state.
        state: Option<String>,
        /// What.
        error: OAuthError,
    },
    /// Something of ours failed.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Stop {
    /// Sends an error back to whoever asked.
    pub(super) fn back(request: &AuthorizationRequest, code: ErrorCode, says: impl AsRef<str>) -> Self {
        let error = OAuthError::new(code, says);
        Self::Back { redirect_uri: request.redirect_uri.clone(), state: Some(request.state.clone()), error }
    }

    /// A page without more to say.
    pub(super) fn page(why: Refusal) -> Self {
        Self::Page(why, String::new())
    }

    /// The answer.
    pub(super) fn response(&self, tenant: &Tenant) -> Response {
        match self {
            Self::Page(why, developer) => {
                let place = Place::new(Shown::new(&tenant.name));
                Failed { place, why: *why, developer: Shown::new(developer), reference: Shown::new("") }
                    .render()
                    .into_response()
            }
            Self::Back { redirect_uri, state, error } => {
                let parameters = [("error", error.code.as_str()), ("error_description", error.description.as_str())];
                see_other(&answer_uri(redirect_uri, &tenant.endpoints.issuer, state.as_deref(), &parameters))
            }
            Self::Fault(Fault(why)) => {
                tracing::error!(why, "an authorization failed");
                let place = Place::new(Shown::new(&tenant.name));
                let (developer, reference) = (Shown::new(why), Shown::new(""));
                Failed { place, why: Refusal::Fault, developer, reference }.render().into_response()
            }
        }
    }
}

/// 303, so that a form that was posted is not posted on (AZ-14).
pub(super) fn see_other(to: &str) -> Response {
    let Ok(to) = HeaderValue::from_str(to) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let headers = [
        (LOCATION, to),
        (http::header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// The place of a page in an app's authorization: whose it is, who may frame it, where its forms lead.
pub(super) fn place(tenant: &Tenant, client: &domain::Integration, request: &AuthorizationRequest) -> Place {
    let frames = if client.frame_ancestors.is_empty() {
        Frames::Nobody
    } else {
        Frames::Origins(client.frame_ancestors.clone())
    };
    Place {
        organisation: Shown::new(&tenant.name),
        frames,
        opener: Opener::Kept,
        redirects: vec![request.redirect_uri.clone()],
    }
}
