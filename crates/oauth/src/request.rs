//! Requests to the revocation, introspection and launch endpoints, and the proof of who sends one, from body bytes to types.

use std::fmt;

use domain::{IntegrationId, TaskName};
use fhir::Id;
use serde_json::{Map, Value};

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

pub(crate) fn invalid(description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}

impl From<InvalidForm> for OAuthError {
    fn from(why: InvalidForm) -> Self {
        invalid(why.to_string())
    }
}

/// Who sends a form whose other parameters are read elsewhere (RFC 9126 §2.1).
///
/// # Errors
/// The RFC 6749 error to answer.
pub fn read_client(body: &[u8], authorization: Option<&str>) -> Result<ClientProof, OAuthError> {
    form_proof(&Form::read(body)?, authorization)
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
