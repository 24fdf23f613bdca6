//! Discovery documents: SMART `smart-configuration`, RFC 8414 and RFC 9728. They state what is implemented and agree (DISC-21).

use serde_json::{Value, json};

use crate::jose::algorithms;

/// Absolute URLs of one tenant; never built from request headers (PF-14).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoints {
    /// `{public_url}/{tenant}`.
    pub issuer: String,
    /// `{issuer}/fhir`.
    pub fhir_base: String,
}

impl Endpoints {
    /// An endpoint below the issuer, e.g. `token`.
    #[must_use]
    pub fn oauth(&self, name: &str) -> String {
        format!("{}/oauth/{name}", self.issuer)
    }
}

fn common(endpoints: &Endpoints, scopes: &[String]) -> Value {
    json!({
        "token_endpoint": endpoints.oauth("token"),
        "revocation_endpoint": endpoints.oauth("revoke"),
        "introspection_endpoint": endpoints.oauth("introspect"),
        "jwks_uri": endpoints.oauth("jwks"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms(),
        "revocation_endpoint_auth_methods_supported": ["private_key_jwt"],
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms(),
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms(),
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": algorithms(),
        "authorization_details_types_supported": ["fhir_task"],
        "scopes_supported": scopes,
    })
}

fn with(mut document: Value, members: Value) -> String {
    if let (Value::Object(document), Value::Object(members)) = (&mut document, members) {
        document.extend(members);
    }
    document.to_string()
}

/// `{fhir-base}/.well-known/smart-configuration`. `issuer` is absent: there is no single sign-on yet (DISC-09).
#[must_use]
pub fn smart_configuration(endpoints: &Endpoints, scopes: &[String]) -> String {
    with(
        common(endpoints, scopes),
        json!({
            "capabilities": ["client-confidential-asymmetric", "permission-patient", "permission-v1", "permission-v2"],
        }),
    )
}

/// RFC 8414 §2. No grant here uses an authorization endpoint, so `response_types_supported` is empty.
#[must_use]
pub fn authorization_server(endpoints: &Endpoints, scopes: &[String]) -> String {
    with(
        common(endpoints, scopes),
        json!({
            "issuer": endpoints.issuer,
            "response_types_supported": [],
            "protected_resources": [endpoints.fhir_base],
        }),
    )
}

/// RFC 9728 §2.
#[must_use]
pub fn protected_resource(endpoints: &Endpoints, name: &str, scopes: &[String]) -> String {
    json!({
        "resource": endpoints.fhir_base,
        "resource_name": name,
        "authorization_servers": [endpoints.issuer],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": algorithms(),
        "authorization_details_types_supported": ["fhir_task"],
    })
    .to_string()
}

#[test]
fn neg_003_the_documents_agree() {
    let endpoints =
        Endpoints { issuer: "https://gate.example/mercy".into(), fhir_base: "https://gate.example/mercy/fhir".into() };
    let scopes = vec!["patient/Patient.rs".to_owned()];
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let smart = read(smart_configuration(&endpoints, &scopes));
    let server = read(authorization_server(&endpoints, &scopes));
    let resource = read(protected_resource(&endpoints, "Mercy", &scopes));
    for (name, value) in smart.as_object().unwrap().iter().filter(|(name, _)| *name != "capabilities") {
        assert_eq!(server.get(name), Some(value), "{name}");
    }
    assert_eq!(smart.get("issuer"), None, "DISC-09");
    for document in [&smart, &server, &resource] {
        assert_eq!(document["dpop_signing_alg_values_supported"], json!(algorithms()), "DP-08");
    }
    assert_eq!(resource["authorization_servers"][0], server["issuer"]);
    assert_eq!(resource["resource"], server["protected_resources"][0]);
    assert_eq!(smart["code_challenge_methods_supported"], json!(["S256"]), "DISC-08");
    for name in ["token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri"] {
        assert!(smart[name].as_str().unwrap().starts_with("https://"), "DISC-03 {name}");
    }
}
