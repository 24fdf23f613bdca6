//! Client authentication by whatever is registered, at every endpoint that asks for it: secrets, certificates, none (RFC 8705, S2-08).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/certificates.rs"]
mod certificates;
#[path = "authorize_common/world.rs"]
mod world;

use authorize_common::*;
use aws_lc_rs::digest;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certificates::{Authority, DN, DNS, Held, URI, self_signed};
use domain::audit::Kind;
use domain::*;
use http::Request;
use serde_json::json;
use server::listen::ClientCertificate;
use world::{Answer, World, claims_of, unused};

/// With `% + / :` and letters that form encoding changes (NEG-077).
const SECRET: &str = "s3cr+t/%:~ x";
const ENDPOINTS: [&str; 4] = ["token", "revoke", "introspect", "launch"];

fn client(id: &str, class: Class, method: AuthMethod, keys: Keys) -> Integration {
    let mut client = integration(id, "mercy", class, "");
    client.auth = ClientAuth { method, keys, ..ClientAuth::default() };
    client
}

fn secret(id: &str, until: Millis) -> Integration {
    let sha256 = digest::digest(&digest::SHA256, SECRET.as_bytes());
    let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let method = AuthMethod::ClientSecretBasic(SecretException { sha256, until, reason: "a fax machine".into() });
    client(id, Class::ClinicalAi, method, Keys::Absent)
}

/// What a client offers with a request.
#[derive(Clone, Copy, Default)]
struct Offer<'a> {
    name: &'a str,
    basic: Option<&'a str>,
    more: &'a str,
    certificate: Option<&'a ClientCertificate>,
    header: Option<(&'a str, &'a str)>,
}

fn by_basic(basic: &str) -> Offer<'_> {
    Offer { basic: Some(basic), ..Offer::default() }
}

async fn knock(world: &World, endpoint: &str, offer: Offer<'_>) -> Answer {
    let mut request = Request::post(format!("/mercy/oauth/{endpoint}"));
    if let Some(pair) = offer.basic {
        request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
    }
    if let Some((name, value)) = offer.header {
        request = request.header(name, value);
    }
    if let Some(certificate) = offer.certificate {
        request = request.extension(certificate.clone());
    }
    let named = if offer.name.is_empty() { String::new() } else { format!("&client_id={}", offer.name) };
    let (kind, body) = match endpoint {
        "launch" => {
            let mut body = json!({"client_id": "agent", "task": "booking", "patient": "Patient/P1"});
            if !offer.name.is_empty() {
                body["launcher"] = json!(offer.name);
            }
            ("application/json", body.to_string())
        }
        "token" => {
            let ticket = unused("x");
            (FORM, format!("grant_type=client_credentials{named}{}&launch={ticket}", offer.more))
        }
        _ => (FORM, format!("token=x{named}{}", offer.more)),
    };
    world.send(request.header("content-type", kind).body(Body::from(body)).unwrap()).await
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a client was let in, at every endpoint alike; what it may do then is another matter.
async fn known(world: &World, offer: Offer<'_>) -> bool {
    let mut answers = Vec::new();
    for endpoint in ENDPOINTS {
        let answer = knock(world, endpoint, offer).await;
        let let_in = match (endpoint, answer.error()) {
            ("token", (400, "invalid_grant" | "unauthorized_client")) | ("launch", (400, "unauthorized_client")) => {
                true
            }
            ("revoke" | "introspect", (200, "")) => true,
            (_, (401, "invalid_client")) => false,
            (_, other) => panic!("{endpoint}: {other:?} {}", answer.body),
        };
        assert_eq!(answer.headers["cache-control"], "no-store", "PF-12 {endpoint}");
        answers.push(let_in);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    answers[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_an_exception_by_basic_alone_and_until_its_end() {
    let world = World::new().await;
    world.register(&secret("fax", NOW + 1_000)).await;
    world.register(&client("phone", Class::PatientApp, AuthMethod::None, Keys::Absent)).await;
    for pair in
        [format!("fax:{SECRET}"), "fax:s3cr%2Bt%2F%25%3A~+x".to_owned(), "fax:s3cr%2bt%2f%25%3a%7E%20x".to_owned()]
    {
        assert!(known(&world, by_basic(&pair)).await, "NEG-077 `{pair}`");
    }
    assert!(
        known(&world, Offer { name: "fax", ..by_basic(&format!("fax:{SECRET}")) }).await,
        "its name may stand beside"
    );
    for wrong in ["fax:wrong", "fax:", "fax", "nobody:x", "phone:made-up", "agent:x", ":", "stranger:x"] {
        assert!(!known(&world, by_basic(wrong)).await, "NEG-070, NEG-068 `{wrong}`");
        let refused = knock(&world, "token", by_basic(wrong)).await;
        assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "), "NEG-070");
    }
    let unknown = knock(&world, "token", by_basic("nobody:x")).await.body;
    assert_eq!(knock(&world, "token", by_basic("fax:wrong")).await.body, unknown, "PF-26: one text");
    assert!(!known(&world, Offer { name: "fax", ..Offer::default() }).await, "a name is no secret");
    let in_body = Offer { name: "fax", more: "&client_secret=s3cr", ..Offer::default() };
    for endpoint in ["token", "revoke", "introspect"] {
        let answer = knock(&world, endpoint, in_body).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "CA-12");
        assert_eq!(answer.error().1, "invalid_client", "CA-12 {endpoint}");
    }
    let assertion = format!("&{}", world.proof(&world.agent, "agent"));
    for endpoint in ["token", "revoke", "introspect"] {
        let two = Offer { more: &assertion, ..by_basic("fax:wrong") };
        assert_eq!(knock(&world, endpoint, two).await.error(), (400, "invalid_request"), "TK-11 {endpoint}");
    }
    world.clock.advance(1_000);
    let right = format!("fax:{SECRET}");
    assert!(!known(&world, by_basic("fax:wrong")).await);
    assert!(!world.alerts().await.contains(&"client-secret-expired".to_owned()), "whoever guesses raises none");
    assert!(!known(&world, by_basic(&right)).await, "S2-14");
    let mut raised = 0;
    for _ in 0..100 {
        raised = world.alerts().await.iter().filter(|code| *code == "client-secret-expired").count();
        if raised > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(raised, 1, "told once, though it was sent four times");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_registered_method_is_accepted() {
    let held = self_signed(|_| {});
    let world = World::new().await;
    let registered = AuthMethod::SelfSignedTlsClientAuth;
    world.register(&client("self", Class::ClinicalAi, registered, Keys::Jwks(held.jwks()))).await;
    world.register(&client("phone", Class::PatientApp, AuthMethod::None, Keys::Absent)).await;
    let named = |name| Offer { name, ..Offer::default() };
    let with = |name| Offer { name, certificate: Some(&held.shown), ..Offer::default() };
    assert!(known(&world, with("self")).await);
    assert!(known(&world, named("phone")).await, "a public client");
    assert!(known(&world, with("phone")).await, "a certificate beside a name changes nothing for it");
    for (offer, why) in [
        (named("self"), "no certificate"),
        (named("agent"), "private_key_jwt by name alone"),
        (with("agent"), "private_key_jwt by certificate"),
        (named("nobody"), "unknown"),
        (named("stranger"), "another tenant's (S1-33)"),
        (Offer { header: Some(("client-cert", ":AAAA:")), ..named("self") }, "NEG-008"),
        (Offer { header: Some(("x-ssl-client-cert", "AAAA")), ..named("self") }, "NEG-008"),
        (Offer { header: Some(("x-forwarded-client-cert", "Hash=00")), ..named("self") }, "NEG-008"),
    ] {
        assert!(!known(&world, offer).await, "{why}");
    }
    // The key of a certificate signs no assertion for a client that is registered with the certificate.
    let assertion = format!("&{}", world.proof(&world.agent, "self"));
    let refused = knock(&world, "token", Offer { more: &assertion, ..Offer::default() }).await;
    assert_eq!(refused.error(), (401, "invalid_client"));
    for half in
        ["&client_assertion=a.b.c", "&client_assertion_type=x", "&client_assertion=a.b.c&client_assertion_type=x"]
    {
        for endpoint in ["token", "revoke", "introspect"] {
            let answer = knock(&world, endpoint, Offer { more: half, ..named("phone") }).await;
            assert_eq!(answer.error().1, "invalid_client", "NEG-123 {endpoint} {half}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mt_02_a_self_signed_certificate_is_of_one_registered_key_within_its_dates() {
    let world = World::new().await;
    let (good, other) = (self_signed(|_| {}), self_signed(|_| {}));
    let late = self_signed(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 9));
    let early = self_signed(|params| params.not_before = rcgen::date_time_ymd(2026, 1, 11));
    let registered =
        |id, held: &Held| client(id, Class::ClinicalAi, AuthMethod::SelfSignedTlsClientAuth, Keys::Jwks(held.jwks()));
    for client in [registered("good", &good), registered("late", &late), registered("early", &early)] {
        world.register(&client).await;
    }
    for (name, held, fits) in [
        ("good", &good, true),
        ("good", &other, false),
        ("late", &late, false),
        ("early", &early, false),
        ("late", &good, false),
    ] {
        let offer = Offer { name, certificate: Some(&held.shown), ..Offer::default() };
        assert_eq!(known(&world, offer).await, fits, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mt_02_a_certificate_of_the_tenants_authority_names_exactly_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.pem");
    let (authority, foreign) = (Authority::new(), Authority::new());
    std::fs::write(&file, &authority.pem).unwrap();
    let world = World::trusting(&file).await;
    for (id, subject) in [
        ("by-dn", CertificateSubject::SubjectDn(DN.into())),
        ("by-dns", CertificateSubject::SanDns(DNS.to_uppercase())),
        ("by-uri", CertificateSubject::SanUri(URI.into())),
        ("by-dn-2", CertificateSubject::SubjectDn("CN=agent-2,O=Acme".into())),
        ("by-dns-2", CertificateSubject::SanDns("acme.example".into())),
        ("by-uri-2", CertificateSubject::SanUri("spiffe://acme.example/agent/".into())),
    ] {
        world.register(&client(id, Class::ClinicalAi, AuthMethod::TlsClientAuth(subject), Keys::Absent)).await;
    }
    let good = authority.issue(|_| {});
    for (name, fits) in [
        ("by-dn", true),
        ("by-dns", true),
        ("by-uri", true),
        ("by-dn-2", false),
        ("by-dns-2", false),
        ("by-uri-2", false),
    ] {
        let offer = Offer { name, certificate: Some(&good.shown), ..Offer::default() };
        assert_eq!(known(&world, offer).await, fits, "{name}");
    }
    let wildcard = authority.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("*.acme.example".try_into().unwrap())];
    });
    let escaped = authority.issue(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, DN.trim_start_matches("CN="));
    });
    for (name, held, why) in [
        ("by-dns", &wildcard, "a wildcard is not a name"),
        ("by-dn", &escaped, "a comma in a value makes no attribute"),
        ("by-dn", &foreign.issue(|_| {}), "another authority"),
        ("by-dn", &self_signed(|_| {}), "its own authority"),
        ("by-dn", &authority.issue(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 9)), "expired"),
        ("by-dn", &authority.issue(|params| params.not_before = rcgen::date_time_ymd(2026, 1, 11)), "not yet valid"),
        (
            "by-dn",
            &authority.issue(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]),
            "of a server",
        ),
    ] {
        let offer = Offer { name, certificate: Some(&held.shown), ..Offer::default() };
        assert!(!known(&world, offer).await, "{why}");
    }
    // The file changes: those it names now, and nobody while it cannot be read.
    let offer = Offer { name: "by-dn", certificate: Some(&good.shown), ..Offer::default() };
    std::fs::write(&file, format!("{}\n", foreign.pem)).unwrap();
    assert!(!known(&world, offer).await, "its authority is gone");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(!known(&world, offer).await, "unreadable");
    std::fs::write(&file, format!("{}{}", authority.pem, foreign.pem)).unwrap();
    assert!(known(&world, offer).await, "and back");
    std::fs::remove_file(&file).unwrap();
    assert!(!known(&world, offer).await, "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authorities_no_chain_is_accepted() {
    let world = World::new().await;
    let subject = CertificateSubject::SubjectDn(DN.into());
    world.register(&client("by-dn", Class::ClinicalAi, AuthMethod::TlsClientAuth(subject), Keys::Absent)).await;
    let held = Authority::new().issue(|_| {});
    assert!(!known(&world, Offer { name: "by-dn", certificate: Some(&held.shown), ..Offer::default() }).await);
}

async fn issued(world: &World, ticket: &str, certificate: Option<&ClientCertificate>) -> Answer {
    let proof = world.proof(&world.agent, "agent");
    let mut request = Request::post("/mercy/oauth/token").header("content-type", FORM);
    if let Some(certificate) = certificate {
        request = request.extension(certificate.clone());
    }
    let body = format!("grant_type=client_credentials&{proof}&launch={ticket}");
    world.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mt_01_tokens_are_bound_where_that_is_demanded() {
    let held = self_signed(|_| {});
    let world = World::new().await;
    let free = issued(&world, &world.ticket().await, Some(&held.shown)).await;
    let token = free.body["access_token"].as_str().unwrap();
    assert_eq!(claims_of(token).get("cnf"), None, "a certificate that nobody asked for binds nothing");
    let demanding = World::demanding(&[Demand::Mtls]).await;
    let refused = issued(&demanding, &demanding.ticket().await, None).await;
    assert_eq!(refused.error(), (400, "invalid_request"), "{}", refused.body);
    let denied = demanding.records(Kind::TokenDenied).await;
    assert_eq!(denied[0].reason, "proof-invalid", "and it is recorded");
    let bound = issued(&demanding, &demanding.ticket().await, Some(&held.shown)).await;
    assert_eq!(bound.status, 200, "{}", bound.body);
    let token = bound.body["access_token"].as_str().unwrap();
    assert_eq!(claims_of(token)["cnf"], json!({"x5t#S256": held.x5t()}));
    let asked = format!("{}&token={token}", demanding.proof(&demanding.agent, "agent"));
    let told = demanding.post("/mercy/oauth/introspect", asked).await;
    assert_eq!(told.body["cnf"], json!({"x5t#S256": held.x5t()}), "IN-08");
    let by_dpop = World::demanding(&[Demand::Dpop]).await;
    let refused = issued(&by_dpop, &by_dpop.ticket().await, Some(&held.shown)).await;
    assert_eq!(refused.error(), (400, "invalid_dpop_proof"), "a certificate is no DPoP proof");
}
