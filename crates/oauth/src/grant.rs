//! Token requests: what a client brings in exchange for an access token.

use std::fmt;

use crate::details::FhirTask;
use crate::error::{ErrorCode, OAuthError};
use crate::form::Form;
use crate::proof::form_proof;
use crate::request::{ClientProof, invalid};

/// What is exchanged for a token.
#[derive(Clone)]
pub enum Grant {
    /// `client_credentials` with `launch=<ticket>`.
    Ticket(String),
    /// `client_credentials` with `authorization_details` of type `fhir_task`.
    Relationship(FhirTask),
    /// `client_credentials` with neither: refused after the client and its scope were judged (S1-08).
    Absent,
    /// `authorization_code` (RFC 6749 §4.1.3).
    Code(CodeGrant),
    /// `refresh_token` (RFC 6749 §6).
    Refresh(String),
}

/// An authorization code with what must fit it.
#[derive(Clone)]
pub struct CodeGrant {
    /// `code`.
    pub code: String,
    /// `redirect_uri`, equal to the one of the authorization request.
    pub redirect_uri: Option<String>,
    /// `code_verifier` (RFC 7636 §4.5).
    pub verifier: Option<String>,
}

impl fmt::Debug for CodeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeGrant([sealed])")
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ticket(_) => "Ticket([sealed])",
            Self::Relationship(_) => "Relationship([sealed])",
            Self::Absent => "Absent",
            Self::Code(_) => "Code([sealed])",
            Self::Refresh(_) => "Refresh([sealed])",
        })
    }
}

/// A token request.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub proof: ClientProof,
    /// `scope`, as sent.
    pub scope: Option<String>,
    /// What is exchanged.
    pub grant: Grant,
    /// RFC 8707 `resource`.
    pub resource: Option<String>,
    /// `udap=1`: the client speaks UDAP, so its assertion says for whom and why (HL7 SSRAA).
    pub udap: bool,
}

impl TokenRequest {
    /// Reads a token request and its `Authorization` header.
    ///
    /// # Errors
    /// The RFC 6749 error to answer.
    pub fn read(body: &[u8], authorization: Option<&str>) -> Result<Self, OAuthError> {
        let form = Form::read(body)?;
        let text = |name: &str| form.get(name).map(str::to_owned);
        let grant = match form.get("grant_type") {
            Some("client_credentials") => credentials(&form)?,
            Some("authorization_code") => Grant::Code(CodeGrant {
                code: text("code").ok_or_else(|| invalid("code is missing"))?,
                redirect_uri: text("redirect_uri"),
                verifier: text("code_verifier"),
            }),
            Some("refresh_token") => {
                Grant::Refresh(text("refresh_token").ok_or_else(|| invalid("refresh_token is missing"))?)
            }
            Some(_) => {
                let says = "grant_type must be authorization_code, refresh_token or client_credentials";
                return Err(OAuthError::new(ErrorCode::UnsupportedGrantType, says));
            }
            None => return Err(invalid("grant_type is missing")),
        };
        let udap = match form.get("udap") {
            None => false,
            Some("1") => true,
            Some(_) => return Err(invalid("udap must be 1")),
        };
        // SMART's refresh request of a public app names no client (RFC 6749 §6): its token does.
        let unnamed = matches!(grant, Grant::Refresh(_))
            && authorization.is_none()
            && ["client_id", "client_assertion", "client_assertion_type", "client_secret"]
                .iter()
                .all(|name| form.get(name).is_none());
        let proof =
            if unnamed { ClientProof::Named { client_id: String::new() } } else { form_proof(&form, authorization)? };
        Ok(Self { proof, scope: text("scope"), grant, resource: text("resource"), udap })
    }
}

fn credentials(form: &Form) -> Result<Grant, OAuthError> {
    match (form.get("launch"), form.get("authorization_details")) {
        (Some(_), Some(_)) => Err(invalid("send launch or authorization_details, not both")),
        (Some(ticket), None) => Ok(Grant::Ticket(ticket.to_owned())),
        (None, Some(details)) => FhirTask::read(details)
            .map(Grant::Relationship)
            .map_err(|why| OAuthError::new(ErrorCode::InvalidAuthorizationDetails, why.to_string())),
        (None, None) => Ok(Grant::Absent),
    }
}
