//! Requests to the token, revocation, introspection and launch endpoints, from body bytes to types.

use std::fmt;

use domain::{IntegrationId, TaskName};
use fhir::Id;
use serde_json::{Map, Value};

use crate::details::FhirTask;
use crate::error::{ErrorCode, OAuthError};
use crate::form::{Form, InvalidForm};
use crate::jose::COMPACT_BYTES_MAX;
use crate::json::read_object;
pub use crate::proof::ClientProof;
use crate::proof::{Offered, form_proof, read_proof};

/// Largest launch request body.
pub const LAUNCH_BYTES_MAX: usize = 16 * 1024;
/// Letters of a launch ticket: 32 random bytes in base64url.
pub const TICKET_CHARS: usize = 43;

/// What names the patient of the session to start.
#[derive(Clone)]
pub enum Grant {
    /// `launch=<ticket>`.
    Ticket(String),
    /// `authorization_details` of type `fhir_task`.
    Relationship(FhirTask),
    /// Neither: refused after the client and its scope were judged (S1-08).
    Absent,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ticket(_) => "Ticket([sealed])",
            Self::Relationship(_) => "Relationship([sealed])",
            Self::Absent => "Absent",
        })
    }
}

/// A token request with `grant_type=client_credentials`.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub proof: ClientProof,
    /// `scope`, as sent.
    pub scope: Option<String>,
    /// What establishes the patient.
    pub grant: Grant,
    /// RFC 8707 `resource`.
    pub resource: Option<String>,
}

/// A revocation or introspection request.
#[derive(Clone)]
pub struct TokenQuestion {
    /// Who asks.
    pub proof: ClientProof,
    /// `token`. One that is too long to be ours is kept empty: it is merely unknown.
    pub token: String,
}

impl fmt::Debug for TokenQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenQuestion([sealed])")
    }
}

/// A request to mint a launch ticket.
#[derive(Clone)]
pub struct LaunchRequest {
    /// Who asks: the launcher.
    pub proof: ClientProof,
    /// For which agent (`client_id` in the body names the agent, not the launcher).
    pub agent: IntegrationId,
    /// For which task.
    pub task: TaskName,
    /// For which patient.
    pub patient: Id,
    /// In which encounter, if any.
    pub encounter: Option<Id>,
}

impl fmt::Debug for LaunchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchRequest").field("agent", &self.agent).field("task", &self.task).finish_non_exhaustive()
    }
}

fn invalid(description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}

impl From<InvalidForm> for OAuthError {
    fn from(why: InvalidForm) -> Self {
        invalid(why.to_string())
    }
}

impl TokenRequest {
    /// Reads a token request and its `Authorization` header.
    ///
    /// # Errors
    /// The RFC 6749 error to answer.
    pub fn read(body: &[u8], authorization: Option<&str>) -> Result<Self, OAuthError> {
        let form = Form::read(body)?;
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => {
                let says = "grant_type must be client_credentials";
                return Err(OAuthError::new(ErrorCode::UnsupportedGrantType, says));
            }
            None => return Err(invalid("grant_type is missing")),
        }
        let proof = form_proof(&form, authorization)?;
        let grant = match (form.get("launch"), form.get("authorization_details")) {
            (Some(_), Some(_)) => return Err(invalid("send launch or authorization_details, not both")),
            (Some(ticket), None) => Grant::Ticket(ticket.to_owned()),
            (None, Some(details)) => Grant::Relationship(
                FhirTask::read(details)
                    .map_err(|why| OAuthError::new(ErrorCode::InvalidAuthorizationDetails, why.to_string()))?,
            ),
            (None, None) => Grant::Absent,
        };
        let text = |name: &str| form.get(name).map(str::to_owned);
        Ok(Self { proof, scope: text("scope"), grant, resource: text("resource") })
    }
}

impl TokenQuestion {
    /// Reads a revocation (RFC 7009 §2.1) or introspection (RFC 7662 §2.1) request; `token_type_hint` is advisory and unused.
    ///
    /// # Errors
    /// The RFC 6749 error to answer.
    pub fn read(body: &[u8], authorization: Option<&str>) -> Result<Self, OAuthError> {
        let form = Form::read(body)?;
        let proof = form_proof(&form, authorization)?;
        let token = form.get("token").ok_or_else(|| invalid("token is missing"))?;
        let token = if token.len() > COMPACT_BYTES_MAX { String::new() } else { token.to_owned() };
        Ok(Self { proof, token })
    }
}

impl LaunchRequest {
    /// Reads the JSON body `{client_assertion_type, client_assertion, client_id, task, patient, encounter?}`; a launcher that proves
    /// itself by its certificate says its own name in `launcher` instead of the first two.
    /// `patient` and `encounter` are `Patient/ID` and `Encounter/ID`, or bare ids.
    ///
    /// # Errors
    /// The RFC 6749 error to answer.
    pub fn read(body: &[u8], authorization: Option<&str>) -> Result<Self, OAuthError> {
        const KNOWN: [&str; 7] =
            ["client_assertion_type", "client_assertion", "launcher", "client_id", "task", "patient", "encounter"];
        if body.len() > LAUNCH_BYTES_MAX {
            return Err(invalid("the request body is too long"));
        }
        let object = read_object(body).map_err(|why| invalid(why.to_string()))?;
        if let Some(other) = object.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(invalid(format!("`{other}` is not a member of a launch request")));
        }
        let proof = read_proof(Offered {
            authorization,
            kind: member(&object, "client_assertion_type")?,
            assertion: member(&object, "client_assertion")?,
            secret: None,
            client_id: member(&object, "launcher")?,
        })?;
        let need = |name: &str| member(&object, name)?.ok_or_else(|| invalid(format!("`{name}` is missing")));
        let agent = need("client_id")?.parse().map_err(|_| invalid("`client_id` must be the agent's client id"))?;
        let task = need("task")?.parse().map_err(|_| invalid("`task` must be the name of a task profile"))?;
        let patient = read_id(need("patient")?, "Patient/").ok_or_else(|| invalid("`patient` must be Patient/ID"))?;
        let encounter = match member(&object, "encounter")? {
            None => None,
            Some(text) => Some(read_id(text, "Encounter/").ok_or_else(|| invalid("`encounter` must be Encounter/ID"))?),
        };
        Ok(Self { proof, agent, task, patient, encounter })
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, OAuthError> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("`{name}` must be a string"))),
    }
}

fn read_id(text: &str, prefix: &str) -> Option<Id> {
    text.strip_prefix(prefix).unwrap_or(text).parse().ok()
}
