//! Client metadata of a registration request (RFC 7591 §2), from body bytes to types. It asks for a place in the registry and grants
//! nothing (REG-06, DC-01); addresses and keys are judged by the registry's own rules.

use domain::{AuthMethod, CertificateSubject, RequestedScope};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, OAuthError};
use crate::json::read_object;

/// Largest request body.
pub const REGISTRATION_BYTES_MAX: usize = 16 * 1024;
/// Longest name or other text for people.
const TEXT_BYTES_MAX: usize = 200;
/// Longest address.
const URL_BYTES_MAX: usize = 500;
/// Most entries of one list.
const ENTRIES_MAX: usize = 10;
/// Grants a client may be registered for.
const GRANTS: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];

/// What a client says of itself. Members that are not known are ignored (RFC 7591 §2), and not kept.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names of RFC 7591 §2 and RFC 8705 §2.1.2")]
pub struct ClientMetadata {
    pub client_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    pub token_endpoint_auth_method: String,
    pub grant_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_types: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
}

fn invalid(says: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, says)
}

impl ClientMetadata {
    /// Reads a registration request.
    ///
    /// # Errors
    /// The RFC 7591 error to answer.
    pub fn read(body: &[u8]) -> Result<Self, OAuthError> {
        if body.len() > REGISTRATION_BYTES_MAX {
            return Err(invalid("the request body is too long"));
        }
        let members = Members(read_object(body).map_err(|why| invalid(why.to_string()))?);
        if members.0.contains_key("software_statement") {
            let says = "software statements are of no authority here; people decide by the metadata itself";
            return Err(OAuthError::new(ErrorCode::UnapprovedSoftwareStatement, says));
        }
        if members.0.contains_key("client_secret") {
            return Err(invalid("`client_secret`: secrets are neither taken nor given; register a key"));
        }
        let read = Self {
            client_name: members.text("client_name")?.ok_or_else(|| invalid("`client_name` is missing"))?,
            redirect_uris: redirects(&members)?,
            token_endpoint_auth_method: members.text("token_endpoint_auth_method")?.unwrap_or_default(),
            grant_types: members.list("grant_types", TEXT_BYTES_MAX)?.unwrap_or_default(),
            response_types: members.list("response_types", TEXT_BYTES_MAX)?.unwrap_or_default(),
            scope: members.any("scope", domain::scope::SCOPE_TEXT_MAX)?,
            contacts: members.list("contacts", TEXT_BYTES_MAX)?.unwrap_or_default(),
            client_uri: members.page("client_uri")?,
            logo_uri: members.page("logo_uri")?,
            tos_uri: members.page("tos_uri")?,
            policy_uri: members.page("policy_uri")?,
            jwks_uri: members.any("jwks_uri", URL_BYTES_MAX)?,
            jwks: members.0.get("jwks").cloned(),
            software_id: members.text("software_id")?,
            software_version: members.text("software_version")?,
            tls_client_auth_subject_dn: members.any("tls_client_auth_subject_dn", URL_BYTES_MAX)?,
            tls_client_auth_san_dns: members.any("tls_client_auth_san_dns", URL_BYTES_MAX)?,
            tls_client_auth_san_uri: members.any("tls_client_auth_san_uri", URL_BYTES_MAX)?,
        };
        read.settled()
    }

    /// Fills in what RFC 7591 §2 leaves to the server, and refuses what does not go together.
    fn settled(mut self) -> Result<Self, OAuthError> {
        if self.jwks.is_some() && self.jwks_uri.is_some() {
            return Err(invalid("`jwks` and `jwks_uri`: send one of them"));
        }
        let keys = self.jwks.is_some() || self.jwks_uri.is_some();
        // The default of RFC 7591 would be a secret. Whoever sends keys means them.
        if self.token_endpoint_auth_method.is_empty() && keys {
            "private_key_jwt".clone_into(&mut self.token_endpoint_auth_method);
        }
        let method = self.method()?;
        if keys != method.takes_keys() {
            let says = if keys { "takes no keys" } else { "needs `jwks` or `jwks_uri`" };
            return Err(invalid(format!("`token_endpoint_auth_method`: {} {says}", method.as_str())));
        }
        if self.grant_types.is_empty() {
            self.grant_types.push("authorization_code".to_owned());
        }
        if let Some(other) = self.grant_types.iter().find(|grant| !GRANTS.contains(&grant.as_str())) {
            return Err(invalid(format!("`grant_types`: `{other}` is none of {}", GRANTS.join(", "))));
        }
        let grants = |name: &str| self.grant_types.iter().any(|grant| grant == name);
        let by_code = grants("authorization_code");
        if method == AuthMethod::None && grants("client_credentials") {
            return Err(invalid("`grant_types`: client_credentials is not for a client that proves nothing (REG-08)"));
        }
        if grants("refresh_token") && !by_code {
            return Err(invalid("`grant_types`: refresh_token comes with authorization_code alone"));
        }
        if by_code == self.redirect_uris.is_empty() {
            let says = "`redirect_uris` belong to authorization_code: send both or neither";
            return Err(OAuthError::new(ErrorCode::InvalidRedirectUri, says));
        }
        if self.response_types.is_empty() && by_code {
            self.response_types.push("code".to_owned());
        }
        if self.response_types.iter().any(|kind| kind != "code") || !by_code && !self.response_types.is_empty() {
            return Err(invalid("`response_types`: only `code`, with authorization_code"));
        }
        if let Some(scope) = &self.scope {
            let items = RequestedScope::read_all(scope).map_err(|why| invalid(format!("`scope`: {why}")))?;
            if items.iter().any(|item| matches!(item, RequestedScope::Unknown(_))) {
                return Err(invalid("`scope` holds what is no scope here"));
            }
        }
        Ok(self)
    }

    /// How it wants to prove itself.
    ///
    /// # Errors
    /// The RFC 7591 error to answer: it is no method for a new client, or says too little.
    pub fn method(&self) -> Result<AuthMethod, OAuthError> {
        match self.token_endpoint_auth_method.as_str() {
            "private_key_jwt" => Ok(AuthMethod::PrivateKeyJwt),
            "self_signed_tls_client_auth" => Ok(AuthMethod::SelfSignedTlsClientAuth),
            "none" => Ok(AuthMethod::None),
            "tls_client_auth" => {
                let names = [
                    self.tls_client_auth_subject_dn.clone().map(CertificateSubject::SubjectDn),
                    self.tls_client_auth_san_dns.clone().map(CertificateSubject::SanDns),
                    self.tls_client_auth_san_uri.clone().map(CertificateSubject::SanUri),
                ];
                let mut names = names.into_iter().flatten();
                match (names.next(), names.next()) {
                    (Some(name), None) => Ok(AuthMethod::TlsClientAuth(name)),
                    _ => Err(invalid(
                        "tls_client_auth needs one of tls_client_auth_subject_dn, tls_client_auth_san_dns, tls_client_auth_san_uri",
                    )),
                }
            }
            _ => Err(invalid(
                "`token_endpoint_auth_method` must be private_key_jwt, tls_client_auth, self_signed_tls_client_auth or none",
            )),
        }
    }
}

fn redirects(members: &Members) -> Result<Vec<String>, OAuthError> {
    let as_redirect = |error: OAuthError| OAuthError { code: ErrorCode::InvalidRedirectUri, ..error };
    Ok(members.list("redirect_uris", URL_BYTES_MAX).map_err(as_redirect)?.unwrap_or_default())
}

/// The members of the request, by type. `null` is none of the types.
struct Members(Map<String, Value>);

impl Members {
    fn any(&self, name: &str, most: usize) -> Result<Option<String>, OAuthError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if shows(text, most) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(format!("`{name}` must be a text of 1 to {most} bytes"))),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, OAuthError> {
        self.any(name, TEXT_BYTES_MAX)
    }

    /// A page for people: https alone.
    fn page(&self, name: &str) -> Result<Option<String>, OAuthError> {
        let url = self.any(name, URL_BYTES_MAX)?;
        let fits = |url: &String| {
            let rest = url.strip_prefix("https://").unwrap_or_default();
            rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'[')
                && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"'<>`".contains(&byte))
        };
        if url.as_ref().is_some_and(|url| !fits(url)) {
            return Err(invalid(format!("`{name}` must be an https URL")));
        }
        Ok(url)
    }

    fn list(&self, name: &str, most: usize) -> Result<Option<Vec<String>>, OAuthError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let says = || invalid(format!("`{name}` must be a list of at most {ENTRIES_MAX} texts of 1 to {most} bytes"));
        let list = value.as_array().filter(|list| list.len() <= ENTRIES_MAX).ok_or_else(says)?;
        let text = |one: &Value| one.as_str().filter(|text| shows(text, most)).map(str::to_owned).ok_or_else(says);
        list.iter().map(text).collect::<Result<_, _>>().map(Some)
    }
}

/// Whether people can be shown it: no control characters, and none that turn the direction of what stands around them.
fn shows(text: &str, most: usize) -> bool {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (1..=most).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(|c| c.is_control() || turns(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole() -> Value {
        json!({
            "client_name": "Growth chart", "redirect_uris": ["https://app.example/back"],
            "jwks_uri": "https://app.example/jwks", "grant_types": ["authorization_code", "refresh_token"],
            "scope": "launch/patient patient/Observation.rs offline_access", "contacts": ["dev@app.example"],
            "client_uri": "https://app.example", "tos_uri": "https://app.example/tos", "software_id": "growth",
            "software_version": "1.2", "x_unknown": {"a": 1},
        })
    }

    fn read(value: &Value) -> Result<ClientMetadata, &'static str> {
        ClientMetadata::read(value.to_string().as_bytes()).map_err(|why| why.code.as_str())
    }

    #[test]
    fn dc_01_metadata_is_read_and_settled() {
        let metadata = read(&whole()).unwrap();
        assert_eq!(metadata.method().unwrap(), AuthMethod::PrivateKeyJwt, "whoever sends keys means them");
        assert_eq!(metadata.response_types, ["code"]);
        let echo = serde_json::to_value(&metadata).unwrap();
        assert_eq!((&echo["token_endpoint_auth_method"], echo.get("x_unknown")), (&json!("private_key_jwt"), None));
        assert_eq!(serde_json::from_value::<ClientMetadata>(echo).unwrap(), metadata);
        let public =
            json!({"client_name": "P", "redirect_uris": ["https://p.example"], "token_endpoint_auth_method": "none"});
        let public = read(&public).unwrap();
        assert_eq!(
            (public.method().unwrap(), public.grant_types),
            (AuthMethod::None, vec!["authorization_code".to_owned()])
        );
        let back_end = json!({
            "client_name": "B", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_san_dns": "b.example",
        });
        let back_end = read(&back_end).unwrap();
        assert_eq!(
            back_end.method().unwrap(),
            AuthMethod::TlsClientAuth(CertificateSubject::SanDns("b.example".into()))
        );
        assert!(back_end.response_types.is_empty());
    }

    #[test]
    fn dc_01_what_does_not_fit_is_refused_by_its_code() {
        const METADATA: &str = "invalid_client_metadata";
        const REDIRECT: &str = "invalid_redirect_uri";
        for (name, value, code) in [
            ("software_statement", json!("eyJ"), "unapproved_software_statement"),
            ("client_secret", json!("x"), METADATA),
            ("client_name", json!(""), METADATA),
            ("client_name", json!(null), METADATA),
            ("client_name", json!("a\u{1b}[31m"), METADATA),
            ("client_name", json!("safe\u{202e}evil"), METADATA),
            ("client_name", json!("x".repeat(201)), METADATA),
            ("redirect_uris", json!([]), REDIRECT),
            ("redirect_uris", json!("https://app.example"), REDIRECT),
            ("redirect_uris", json!([1]), REDIRECT),
            ("redirect_uris", json!(vec!["https://a.example"; 11]), REDIRECT),
            ("jwks", json!({"keys": []}), METADATA),
            ("jwks_uri", json!(7), METADATA),
            ("token_endpoint_auth_method", json!("client_secret_basic"), METADATA),
            ("token_endpoint_auth_method", json!("client_secret_post"), METADATA),
            ("token_endpoint_auth_method", json!("none"), METADATA),
            ("token_endpoint_auth_method", json!("tls_client_auth"), METADATA),
            ("grant_types", json!(["implicit"]), METADATA),
            ("grant_types", json!(["password"]), METADATA),
            ("grant_types", json!(["refresh_token"]), METADATA),
            ("grant_types", json!(["client_credentials"]), REDIRECT),
            ("response_types", json!(["token"]), METADATA),
            ("scope", json!("patient/Nothing.rs"), METADATA),
            ("scope", json!(["a"]), METADATA),
            ("contacts", json!("dev@app.example"), METADATA),
            ("tos_uri", json!("http://app.example/tos"), METADATA),
            ("policy_uri", json!("javascript:alert(1)"), METADATA),
            ("logo_uri", json!("https://"), METADATA),
            ("software_id", json!(1), METADATA),
        ] {
            let mut spoiled = whole();
            spoiled[name] = value.clone();
            assert_eq!(read(&spoiled), Err(code), "{name} {value}");
        }
        let none = json!({"client_name": "P", "redirect_uris": ["https://p.example"]});
        assert_eq!(read(&none), Err(METADATA), "the default of RFC 7591 is a secret, which nobody gets");
        let mut alone = none.clone();
        alone["token_endpoint_auth_method"] = json!("none");
        alone["grant_types"] = json!(["authorization_code", "client_credentials"]);
        assert_eq!(read(&alone), Err(METADATA), "REG-08");
        for text in ["", "[]", "{", "{\"client_name\":\"a\",\"client_name\":\"b\"}", "\u{0}"] {
            assert!(ClientMetadata::read(text.as_bytes()).is_err(), "`{text}`");
        }
        let long = format!("{{\"client_name\":\"a\",\"pad\":\"{}\"}}", "x".repeat(REGISTRATION_BYTES_MAX));
        assert!(ClientMetadata::read(long.as_bytes()).is_err());
    }
}
