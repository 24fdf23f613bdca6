//! Configuration mistakes are all reported at once, with their lines (S0-01).

use std::path::Path;

use super::*;

fn no_environment() -> std::iter::Empty<(String, String)> {
    std::iter::empty()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["root.key", "ehr.token", "idp.pem", "launch.pem", "clients.pem"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "00".repeat(32)).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    folder
}

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:8443"
[store]
url = "sqlite:data/hilum.db"
[ledger]
dir = "data/ledger"
[vault]
root = "file:root.key"
[outbound]
allow_private = ["127.0.0.1"]
[[tenant]]
id = "mercy"
name = "Mercy Health"
[tenant.upstream]
fhir = "http://127.0.0.1:8080/fhir/"
auth = { kind = "bearer", token = "file:ehr.token" }
"#;

#[test]
fn a_small_configuration_is_enough() {
    let folder = folder();
    let config = parse(GOOD, folder.path(), no_environment()).unwrap();
    assert_eq!(config.settings.tenants[0].upstream.fhir, "http://127.0.0.1:8080/fhir");
    assert_eq!(config.settings.admin.listen.to_string(), "127.0.0.1:8444");
    assert_eq!(config.settings.host, "127.0.0.1:8443");
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let folder = folder();
    let text = GOOD
        .replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:8443\"\nlisten_on = 3")
        .replace("id = \"mercy\"", "id = \"Mercy\"")
        .replace("kind = \"bearer\"", "kind = \"password\"");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    let has = |line: usize, words: &str| mistakes.iter().any(|m| m.line == line && m.what.contains(words));
    assert!(has(4, "unknown key `server.listen_on`"), "{mistakes:#?}");
    assert!(has(2, "`server.tls` is missing"), "{mistakes:#?}");
    assert!(has(15, "tenant id"), "{mistakes:#?}");
    assert!(has(19, "`password` is no way to authenticate"), "S0-10: {mistakes:#?}");
}

#[test]
fn s0_01_a_literal_secret_is_refused_and_not_repeated() {
    let folder = folder();
    let text = GOOD.replace("file:ehr.token", "hunter2-hunter2");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("literal secret")), "{mistakes:#?}");
    assert!(!format!("{mistakes:?}").contains("hunter2"));
    let environment = [("HILUM_EHR_TOKEN".to_owned(), "hunter2".to_owned())].into_iter();
    let mistakes = parse(GOOD, folder.path(), environment).unwrap_err();
    assert!(
        mistakes.iter().any(|m| m.what.contains("HILUM_EHR_TOKEN")) && !format!("{mistakes:?}").contains("hunter2")
    );
}

#[cfg(unix)]
#[test]
fn a_root_key_that_others_can_read_or_that_lies_with_the_data_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    std::fs::set_permissions(folder.path().join("root.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mistakes = parse(GOOD, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("read by others")), "{mistakes:#?}");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::rename(folder.path().join("root.key"), folder.path().join("data/root.key")).unwrap();
    let text = GOOD.replace("file:root.key", "file:data/root.key");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("inside the data folder")), "{mistakes:#?}");
}

#[test]
fn broken_toml_names_its_line() {
    let mistakes = parse("[server]\nlisten = \n", Path::new("."), no_environment()).unwrap_err();
    assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
}

#[test]
fn a_private_upstream_must_be_allowed_by_name() {
    let folder = folder();
    let text = GOOD.replace("allow_private = [\"127.0.0.1\"]", "allow_private = []");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("allow_private")), "{mistakes:#?}");
}

const PEOPLE: &str = r#"
client_ca = "file:clients.pem"
[tenant.identity]
kind = "oidc"
issuer = "https://login.mercy.example/realms/mercy/"
client_id = "hilum"
key = "file:idp.pem"
scopes = ["profile"]
acr = ["mfa"]
amr = ["otp", "hwk"]
[tenant.identity.claims]
fhir_user = "fhirUser"
patient = "https://mercy.example/patient"
roles = [{ claim = "groups", value = "hilum-ops", role = "operator" }, { claim = "realm.roles", value = "dpo", role = "privacy-officer" }]
[tenant.people]
patients = "Patient?general-practitioner={fhirUser}"
idle_minutes = 10
sign_in_max_hours = 4
session_max_minutes = 480
[tenant.ehr]
fhir = "http://127.0.0.1:8080/fhir"
client_id = "hilum"
key = "file:launch.pem"
scope = "launch openid fhirUser online_access patient/*.rs"
"#;

fn with_people() -> String {
    GOOD.replace("[tenant.upstream]", &format!("{PEOPLE}[tenant.upstream]"))
}

#[test]
fn people_and_launches_are_read() {
    use server::settings::{OidcAuth, ProviderAudience, SignIn};
    let folder = folder();
    let config = parse(&with_people(), folder.path(), no_environment()).unwrap();
    let tenant = &config.settings.tenants[0];
    let SignIn::Oidc(oidc) = &tenant.people.sign_in else { panic!("{:?}", tenant.people.sign_in) };
    assert_eq!(oidc.issuer, "https://login.mercy.example/realms/mercy/", "as the provider says it, byte by byte");
    assert!(matches!(&oidc.auth, OidcAuth::Key { audience: ProviderAudience::Issuer, .. }));
    assert_eq!((oidc.acr.len(), oidc.amr.len(), oidc.claims.roles.len()), (1, 2, 2));
    assert_eq!(oidc.claims.roles[1], ("realm.roles".into(), "dpo".into(), domain::Role::PrivacyOfficer));
    assert_eq!(tenant.people.idle.as_secs(), 600);
    assert_eq!(tenant.people.sign_in_max.as_secs(), 4 * 3_600);
    assert_eq!(tenant.people.session_max.as_secs(), 8 * 3_600);
    assert!(tenant.ehr.is_some() && tenant.client_ca.is_some());

    let config = parse(GOOD, folder.path(), no_environment()).unwrap();
    let people = &config.settings.tenants[0].people;
    assert!(matches!(people.sign_in, SignIn::Nowhere), "nobody signs in where nothing is said of it");
    assert_eq!((people.idle.as_secs(), people.sign_in_max.as_secs()), (900, 8 * 3_600), "S4-03");
    assert_eq!(people.patients, None, "no rule, no patients (CX-09)");
}

#[test]
fn the_example_of_the_documentation_is_a_configuration() {
    let text = include_str!("../../../../docs/examples/sign-in.toml");
    parse(text, folder().path(), no_environment()).unwrap();
}

#[test]
fn the_administration_may_have_an_identity_provider_of_its_own() {
    let folder = folder();
    let identity = "[admin.identity]\nkind = \"oidc\"\nissuer = \"https://login.example\"\nclient_id = \"hilum-admin\"\nkey = \"file:idp.pem\"\n";
    let text = GOOD.replace("[store]", &format!("{identity}[store]"));
    let config = parse(&text, folder.path(), no_environment()).unwrap();
    assert_eq!(config.settings.admin_identity.unwrap().client_id, "hilum-admin");
    assert!(parse(GOOD, folder.path(), no_environment()).unwrap().settings.admin_identity.is_none());
    let wrong =
        text.replace("https://login.example", "http://login.example").replace("file:idp.pem", "hunter2-hunter2");
    let mistakes = parse(&wrong, folder.path(), no_environment()).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
    assert!(!format!("{mistakes:?}").contains("hunter2"), "S0-01");
}

#[test]
fn mistakes_about_people_are_reported_together() {
    let folder = folder();
    let text = with_people()
        .replace("kind = \"oidc\"", "kind = \"saml\"")
        .replace("https://login.mercy.example/realms/mercy/", "http://login.mercy.example")
        .replace("key = \"file:idp.pem\"", "key = \"hunter2-hunter2\"\npkce = false")
        .replace("role = \"operator\"", "role = \"admin\"")
        .replace("idle_minutes = 10", "idle_minutes = 60")
        .replace("sign_in_max_hours = 4", "sign_in_max_hours = 24")
        .replace("session_max_minutes = 480", "session_max_minutes = 481")
        .replace("={fhirUser}", "={patient}")
        .replace("scope = \"launch openid", "scope = \"openid")
        .replace("client_ca = \"file:clients.pem\"", "client_ca = \"file:absent.pem\"");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    for words in [
        "`saml` is no kind of identity provider",
        "must be an https URL",
        "literal secret",
        "unknown key `tenant.identity.pkce`",
        "`admin` must be operator",
        "`tenant.people.idle_minutes` must be a whole number from 1 to 15",
        "`tenant.people.sign_in_max_hours` must be a whole number from 1 to 8",
        "`tenant.people.session_max_minutes` must be a whole number from 1 to 480",
        "must be one search with {fhirUser}",
        "`launch` among them",
        "cannot read",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.what.contains(words)), "{words}: {mistakes:#?}");
    }
    assert!(!format!("{mistakes:?}").contains("hunter2"), "S0-01");
}

#[test]
fn how_hilum_authenticates_at_the_identity_provider_is_said_once() {
    let folder = folder();
    for (key, words) in [
        ("", "how Hilum authenticates there is missing"),
        ("key = \"file:idp.pem\"\nsecret = \"file:idp.pem\"", "not both"),
        ("key = \"file:idp.pem\"\nassertion_audience = \"both\"", "\"issuer\" or \"token-endpoint\""),
    ] {
        let text = with_people().replace("key = \"file:idp.pem\"", key);
        let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.what.contains(words)), "{key}: {mistakes:#?}");
    }
    let text = with_people().replace("key = \"file:idp.pem\"", "secret = \"file:idp.pem\"");
    assert!(parse(&text, folder.path(), no_environment()).is_ok());
    let both = with_people().replace("value = \"dpo\"", "value = \"hilum-ops\"").replace("realm.roles", "groups");
    let mistakes = parse(&both, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|mistake| mistake.what.contains("nobody is both")), "S0-05: {mistakes:#?}");
}

#[test]
fn a_patient_rule_binds_the_person_once_as_a_value() {
    let folder = folder();
    for (rule, fits) in [
        ("Patient?general-practitioner={fhirUser}", true),
        ("Appointment?practitioner={fhirUser}&status=booked", true),
        ("CareTeam?participant={fhirUser}", true),
        ("Patient", false),
        ("Patient?general-practitioner=Practitioner/1", false),
        ("Patient?{fhirUser}=1", false),
        ("Patient?a={fhirUser}&b={fhirUser}", false),
        ("Patient?a={fhirUser}&b={tenant}", false),
        ("Patients?a={fhirUser}", false),
        ("https://evil.example/Patient?a={fhirUser}", false),
        ("Patient?a={fhirUser}#x", false),
        ("Patient?a={fhirUser} ", false),
    ] {
        let text = with_people().replace("Patient?general-practitioner={fhirUser}", rule);
        assert_eq!(parse(&text, folder.path(), no_environment()).is_ok(), fits, "{rule}");
    }
}

/// S4-08: a relying party is a name; an address would fail in every browser, and only when somebody enrols.
#[test]
fn the_pages_are_at_a_name() {
    let folder = folder();
    let with = |url: &str| {
        let text = format!("{GOOD}\n").replace("[store]", &format!("[admin]\npublic_url = \"{url}\"\n[store]"));
        parse(&text, folder.path(), no_environment()).map(|config| config.settings.admin_url)
    };
    assert_eq!(parse(GOOD, folder.path(), no_environment()).unwrap().settings.admin_url, None);
    for url in ["https://gate-admin.mercy.example", "http://localhost:8444"] {
        assert_eq!(with(url).unwrap().as_deref(), Some(url));
    }
    for url in
        ["http://127.0.0.1:8444", "https://10.0.0.5", "http://gate.example", "https://gate.example/console", "gate"]
    {
        let mistakes = with(url).unwrap_err();
        assert!(mistakes[0].line == 6 && mistakes[0].what.contains("bound to a name"), "{url}: {mistakes:?}");
    }
}
