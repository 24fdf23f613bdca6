//! What the launch side says about itself (SMART 2.2, "Conformance"; OpenID Connect Discovery 1.0). Both documents agree.

use serde_json::{Value, json};

use super::{STYLE, Smart, answer, only_get};
use crate::fault::Fault;
use crate::requests::Seen;
use crate::serve::route::State;
use crate::serve::wire::Response;

const CAPABILITIES: [&str; 16] = [
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
];

impl Smart {
    /// `.well-known/smart-configuration` below the FHIR base.
    pub(super) fn smart_configuration(&self, seen: &Seen, state: &State, faults: &[Fault]) -> Response {
        let mut document = self.document(faults);
        if let Some(members) = document.as_object_mut() {
            members.insert("capabilities".to_owned(), json!(CAPABILITIES));
            members
                .insert("associated_endpoints".to_owned(), json!([{"url": state.base, "capabilities": CAPABILITIES}]));
        }
        only_get(seen, answer::data(200, &document))
    }

    /// `.well-known/openid-configuration` below the issuer.
    pub(super) fn openid_configuration(&self, seen: &Seen, _: &State, faults: &[Fault]) -> Response {
        let mut document = self.document(faults);
        if let Some(members) = document.as_object_mut() {
            members.insert("subject_types_supported".to_owned(), json!(["public"]));
            members.insert("id_token_signing_alg_values_supported".to_owned(), json!(["RS256"]));
        }
        only_get(seen, answer::data(200, &document))
    }

    /// What both say.
    fn document(&self, faults: &[Fault]) -> Value {
        let issuer = &self.issuer;
        let mut grants = vec!["authorization_code"];
        grants.extend(self.backend.then_some("client_credentials"));
        let scopes = ["openid", "fhirUser", "profile", "launch", "launch/patient", "online_access", "offline_access"];
        let scopes = scopes.into_iter().chain(["patient/*.cruds", "user/*.cruds"]);
        let scopes: Vec<&str> = scopes.chain(self.backend.then_some("system/*.rs")).collect();
        let mut document = json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/jwks"),
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": self.token_endpoint(),
            "grant_types_supported": grants,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "scopes_supported": scopes,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
            "authorization_response_iss_parameter_supported": true
        });
        if let (Some(members), false) = (document.as_object_mut(), faults.contains(&Fault::RevocationUnsupported)) {
            members.insert("revocation_endpoint".to_owned(), json!(format!("{issuer}/revoke")));
            members.insert("revocation_endpoint_auth_methods_supported".to_owned(), json!(["private_key_jwt"]));
        }
        document
    }

    /// What assertions must name as their audience.
    pub(super) fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// Where the style is.
    pub(super) fn style_url(&self) -> String {
        format!("{}{STYLE}", self.issuer)
    }
}

/// How this EHR looks (SMART 2.2, "Styling").
pub(super) fn style() -> Value {
    json!({
        "color_background": "#ffffff",
        "color_error": "#b00020",
        "color_highlight": "#e3eefb",
        "color_modal_backdrop": "",
        "color_success": "#1b6e3c",
        "color_text": "#1c2733",
        "dim_border_radius": "4px",
        "dim_font_size": "16px",
        "dim_spacing_size": "16px",
        "font_family_body": "sans-serif",
        "font_family_heading": "sans-serif"
    })
}
