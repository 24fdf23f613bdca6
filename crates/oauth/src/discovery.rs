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

/// What a tenant offers beside unattended sessions; a listed capability really works (DISC-19).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offers {
    /// People sign in here: standalone launches.
    pub standalone: bool,
    /// The EHR launches apps here.
    pub ehr: bool,
    /// Authorities vouch for clients' certificates (`tls_client_auth`).
    pub client_ca: bool,
}

impl Offers {
    /// Whether any session starts with a person.
    #[must_use]
    pub fn people(self) -> bool {
        self.standalone || self.ehr
    }
}

/// Methods of client authentication, the best first (S2-08).
const METHODS: [&str; 5] =
    ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "client_secret_basic", "none"];

fn common(endpoints: &Endpoints, offers: Offers, scopes: &[String]) -> Value {
    let methods: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| offers.people() || *method != "none")
        .filter(|method| offers.client_ca || *method != "tls_client_auth")
        .collect();
    let grants: &[&str] = if offers.people() {
        &["authorization_code", "refresh_token", "client_credentials"]
    } else {
        &["client_credentials"]
    };
    let mut scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    if offers.people() {
        scopes.extend(["openid", "fhirUser", "launch/patient", "online_access", "offline_access"]);
    }
    if offers.ehr {
        scopes.extend(["launch", "launch/encounter"]);
    }
    let mut document = json!({
        "token_endpoint": endpoints.oauth("token"),
        "revocation_endpoint": endpoints.oauth("revoke"),
        "introspection_endpoint": endpoints.oauth("introspect"),
        "jwks_uri": endpoints.oauth("jwks"),
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms(),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms(),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms(),
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": algorithms(),
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_details_types_supported": ["fhir_task"],
        "scopes_supported": scopes,
    });
    if let (true, Value::Object(document)) = (offers.people(), &mut document) {
        for (name, value) in [
            ("authorization_endpoint", json!(endpoints.oauth("authorize"))),
            ("pushed_authorization_request_endpoint", json!(endpoints.oauth("par"))),
            ("registration_endpoint", json!(endpoints.oauth("register"))),
            ("management_endpoint", json!(endpoints.oauth("grants"))),
            ("response_types_supported", json!(["code"])),
            ("response_modes_supported", json!(["query"])),
            ("authorization_response_iss_parameter_supported", json!(true)),
            ("request_parameter_supported", json!(false)),
            ("subject_types_supported", json!(["public"])),
            ("id_token_signing_alg_values_supported", json!(["RS256"])),
            ("prompt_values_supported", json!(["none", "login"])),
        ] {
            document.insert(name.to_owned(), value);
        }
    }
    document
}

fn with(mut document: Value, members: Value) -> String {
    if let (Value::Object(document), Value::Object(members)) = (&mut document, members) {
        document.extend(members);
    }
    document.to_string()
}

fn capabilities(offers: Offers) -> Vec<&'static str> {
    let mut out = vec!["client-confidential-asymmetric", "permission-patient", "permission-v1", "permission-v2"];
    if offers.people() {
        out.extend([
            "authorize-post",
            "client-public",
            "client-confidential-symmetric",
            "sso-openid-connect",
            "context-banner",
            "context-style",
            "permission-user",
            "permission-offline",
            "permission-online",
        ]);
    }
    if offers.standalone {
        out.extend(["launch-standalone", "context-standalone-patient"]);
    }
    if offers.ehr {
        out.extend(["launch-ehr", "context-ehr-patient", "context-ehr-encounter"]);
    }
    out
}

/// `{fhir-base}/.well-known/smart-configuration`. `issuer` stands there with single sign-on alone (DISC-09).
#[must_use]
pub fn smart_configuration(endpoints: &Endpoints, offers: Offers, scopes: &[String]) -> String {
    let mut members = json!({ "capabilities": capabilities(offers) });
    if let (true, Value::Object(members)) = (offers.people(), &mut members) {
        members.insert("issuer".to_owned(), endpoints.issuer.clone().into());
    }
    with(common(endpoints, offers, scopes), members)
}

/// RFC 8414 §2. Where no grant uses an authorization endpoint, `response_types_supported` is empty.
#[must_use]
pub fn authorization_server(endpoints: &Endpoints, offers: Offers, scopes: &[String]) -> String {
    let mut members = json!({ "issuer": endpoints.issuer, "protected_resources": [endpoints.fhir_base] });
    if let (false, Value::Object(members)) = (offers.people(), &mut members) {
        members.insert("response_types_supported".to_owned(), json!([]));
    }
    with(common(endpoints, offers, scopes), members)
}

/// OpenID Connect Discovery §3; `None` where nobody signs in.
#[must_use]
pub fn openid_configuration(endpoints: &Endpoints, offers: Offers, scopes: &[String]) -> Option<String> {
    let claims = ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser", "profile"];
    let members =
        json!({ "issuer": endpoints.issuer, "claims_supported": claims, "claims_parameter_supported": false });
    offers.people().then(|| with(common(endpoints, offers, scopes), members))
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
    let all = Offers { standalone: true, ehr: true, client_ca: true };
    for offers in [Offers::default(), all, Offers { ehr: false, ..all }, Offers { standalone: false, ..all }] {
        let smart = read(smart_configuration(&endpoints, offers, &scopes));
        let server = read(authorization_server(&endpoints, offers, &scopes));
        let resource = read(protected_resource(&endpoints, "Mercy", &scopes));
        for (name, value) in smart.as_object().unwrap().iter().filter(|(name, _)| *name != "capabilities") {
            assert_eq!(server.get(name), Some(value), "{name}");
        }
        assert_eq!(smart.get("issuer").is_some(), offers.people(), "DISC-09");
        let openid = openid_configuration(&endpoints, offers, &scopes).map(read);
        assert_eq!(openid.is_some(), offers.people(), "DISC-21");
        for (name, value) in openid.iter().flat_map(|openid| openid.as_object().unwrap()) {
            assert!(name.starts_with("claims_") || server.get(name) == Some(value), "{name}");
        }
        for document in [&smart, &server, &resource] {
            assert_eq!(document["dpop_signing_alg_values_supported"], json!(algorithms()), "DP-08");
        }
        assert_eq!(resource["authorization_servers"][0], server["issuer"]);
        assert_eq!(resource["resource"], server["protected_resources"][0]);
        assert_eq!(smart["code_challenge_methods_supported"], json!(["S256"]), "DISC-08");
        for name in ["token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri"] {
            assert!(smart[name].as_str().unwrap().starts_with("https://"), "DISC-03 {name}");
        }
        let capable = |name: &str| smart["capabilities"].as_array().unwrap().iter().any(|one| one == name);
        assert_eq!(capable("launch-ehr"), offers.ehr, "DISC-19");
        assert_eq!(capable("launch-standalone"), offers.standalone, "DISC-19");
        assert_eq!(smart.get("authorization_endpoint").is_some(), offers.people(), "DISC-05");
        assert_eq!(smart.get("registration_endpoint").is_some(), offers.people(), "DC-01");
    }
}
