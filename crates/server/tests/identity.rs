//! Sign-in at an identity provider over HTTP: what a good one gives, and that every bad one signs nobody in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod identity_common;

use std::collections::BTreeMap;
use std::time::Duration;

use identity_common::*;
use oauth::id_token::InvalidIdToken;
use serde_json::{Value, json};
use server::clock::Clock;
use server::identity::{
    BackChannelError, Begun, DiscoveryProblem, EndOf, IdentityProvider, OpenIdentityError, Prompt, RolesRefused,
    Sealed, SignInError, SignedIn, Wish,
};
use server::settings::{OidcAuth, OidcSettings, ProviderAudience};

struct Stage {
    provider: Provider,
    key: ProviderKey,
    clock: Clock,
    ours: IdentityProvider,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        let (provider, key, clock) = (Provider::start().await, ProviderKey::new(), Clock::fixed(NOW));
        provider.keys(&[key.jwk("k1")]);
        let mut settings = provider.settings();
        change(&mut settings);
        let ours = provider.open(&settings, &clock);
        Self { provider, key, clock, ours }
    }

    async fn begin(&self) -> (Begun, BTreeMap<String, String>) {
        self.begin_as(Wish::default()).await
    }

    async fn begin_as(&self, wish: Wish) -> (Begun, BTreeMap<String, String>) {
        let begun = self.ours.begin(REDIRECT, wish).await.unwrap();
        let asked = form(begun.url.split_once('?').unwrap().1.as_bytes());
        (begun, asked)
    }

    fn claims(&self, asked: &BTreeMap<String, String>) -> Value {
        json!({ "iss": self.provider.issuer, "sub": "u-1", "aud": "hilum at idp", "exp": SECONDS + 300, "iat": SECONDS,
            "nonce": asked["nonce"], "auth_time": SECONDS, "name": "Ada Lovelace", "fhirUser": "Practitioner/dr-1",
            "groups": ["staff", "hilum-ops"], "sid": "s-1" })
    }

    fn query(&self, asked: &BTreeMap<String, String>) -> String {
        format!("code=c-1&state={}&iss={}", asked["state"], percent(&self.provider.issuer))
    }

    /// A whole sign-in whose token has these changes.
    async fn sign_in(&self, changes: &[(&str, Value)]) -> Result<SignedIn, SignInError> {
        self.sign_in_as(Wish::default(), changes).await
    }

    async fn sign_in_as(&self, wish: Wish, changes: &[(&str, Value)]) -> Result<SignedIn, SignInError> {
        let (begun, asked) = self.begin_as(wish).await;
        let mut claims = self.claims(&asked);
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        self.provider.token(&self.key.sign(&json!({ "alg": "RS256", "kid": "k1" }), &claims));
        self.finish(&begun, &self.query(&asked)).await
    }

    async fn finish(&self, begun: &Begun, query: &str) -> Result<SignedIn, SignInError> {
        self.ours.finish(&begun.pending, query, REDIRECT, self.clock.now()).await
    }
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in() {
    let stage = Stage::new().await;
    assert_eq!(stage.provider.hits("/.well-known/openid-configuration"), 0, "nothing is asked at start");
    let (begun, asked) = stage.begin().await;
    assert!(begun.url.starts_with(&format!("{}/authorize?", stage.provider.issuer)));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "hilum at idp"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked[name], value);
    }
    assert!(["state", "nonce", "code_challenge"].iter().all(|name| asked[*name].len() == 43), "256 random bits each");
    assert_eq!(begun.pending.state(), asked["state"]);
    let (_, again) = stage.begin().await;
    assert!(["state", "nonce", "code_challenge"].iter().all(|name| asked[*name] != again[*name]));

    stage.provider.token(&stage.key.sign(&json!({ "alg": "RS256", "kid": "k1" }), &stage.claims(&asked)));
    // What is kept survives being written down.
    let kept = serde_json::to_string(&begun.pending).unwrap();
    let kept = serde_json::from_str(&kept).unwrap();
    let person = stage.ours.finish(&kept, &stage.query(&asked), REDIRECT, NOW + 1_000).await.unwrap();
    assert_eq!((person.issuer.as_str(), person.subject.as_str()), (stage.provider.issuer.as_str(), "u-1"));
    assert_eq!(person.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(person.fhir_user.unwrap().to_string(), "Practitioner/dr-1");
    assert_eq!(person.roles, [domain::Role::Operator]);
    assert_eq!((person.auth_time, person.sid.as_deref()), (NOW, Some("s-1")));

    let token = stage.provider.asked();
    assert_eq!(token.form["grant_type"], "authorization_code");
    assert_eq!((token.form["code"].as_str(), token.form["redirect_uri"].as_str()), ("c-1", REDIRECT));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.form["code_verifier"].as_bytes());
    assert_eq!(b64(digest), asked["code_challenge"], "RFC 7636 §4.6");
    let basic = token.authorization.unwrap();
    let pair = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &basic["Basic ".len()..]).unwrap();
    assert_eq!(pair, b"hilum%20at%20idp:s3cret%2F%2B%3D", "RFC 6749 §2.3.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_02_secrets_and_keys_are_read_anew() {
    let stage = Stage::new().await;
    stage.sign_in(&[]).await.unwrap();
    std::fs::write(stage.provider.secret(), "other").unwrap();
    stage.sign_in(&[]).await.unwrap();
    let basic = stage.provider.asked().authorization.unwrap();
    let pair = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &basic["Basic ".len()..]).unwrap();
    assert!(pair.ends_with(b":other"));
    std::fs::remove_file(stage.provider.secret()).unwrap();
    assert_eq!(stage.sign_in(&[]).await.unwrap_err(), SignInError::Credential);
    let gone = IdentityProvider::open(&stage.provider.settings(), outbound(), stage.clock.clone());
    assert!(matches!(gone.unwrap_err(), OpenIdentityError::Secret(_)));
}

fn outbound() -> server::outbound::Outbound {
    server::outbound::Outbound::new(&Default::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn d_01_an_assertion_names_the_issuer_unless_told_otherwise() {
    for (audience, path) in [(ProviderAudience::Issuer, ""), (ProviderAudience::TokenEndpoint, "/token")] {
        let stage = Stage::with(|settings| {
            let OidcAuth::Secret(secret) = &settings.auth else { panic!() };
            let file = secret.with_file_name("key.pem");
            key_file(&file);
            settings.auth = OidcAuth::Key { file, audience };
        })
        .await;
        stage.sign_in(&[]).await.unwrap();
        let asked = stage.provider.asked();
        assert_eq!(asked.authorization, None);
        assert_eq!(asked.form["client_id"], "hilum at idp");
        let keys = json!({ "keys": stage.ours.public_keys() }).to_string();
        let keys = oauth::KeySet::parse(keys.as_bytes()).unwrap();
        let jws = oauth::jose::UnverifiedJws::parse(&asked.form["client_assertion"]).unwrap();
        let key = keys.choose(jws.header.kid.as_deref().unwrap(), jws.header.algorithm).unwrap();
        assert!(key.verify(jws.header.algorithm, jws.signed(), jws.signature()));
        assert_eq!(jws.claims["aud"], format!("{}{path}", stage.provider.issuer));
        assert_eq!((&jws.claims["iss"], &jws.claims["sub"]), (&json!("hilum at idp"), &json!("hilum at idp")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_this_sign_ins_signs_nobody_in() {
    let stage = Stage::new().await;
    for (changes, why) in [
        (vec![("nonce", json!("of-another"))], InvalidIdToken::Nonce),
        (vec![("aud", json!("other"))], InvalidIdToken::Audience),
        (vec![("iss", json!("https://evil.example"))], InvalidIdToken::Issuer),
        (vec![("exp", json!(SECONDS - 31))], InvalidIdToken::Expired),
        (vec![("iat", json!(SECONDS + 120))], InvalidIdToken::NotYet),
    ] {
        assert_eq!(stage.sign_in(&changes).await.unwrap_err(), SignInError::Token(why), "{changes:?}");
    }
    let (begun, asked) = stage.begin().await;
    let claims = stage.claims(&asked);
    let unsigned = |header: Value| format!("{}.{}.", b64(header.to_string()), b64(claims.to_string()));
    for token in [
        unsigned(json!({ "alg": "none" })),
        format!("{}AA", unsigned(json!({ "alg": "none", "kid": "k1" }))),
        stage.key.sign(&json!({ "alg": "HS256", "kid": "k1" }), &claims),
        stage.key.sign(&json!({ "alg": "RS256" }), &claims),
        stage.key.sign(&json!({ "alg": "RS256", "kid": "unknown" }), &claims),
        ProviderKey::new().sign(&json!({ "alg": "RS256", "kid": "k1" }), &claims),
        "x".repeat(30_000),
    ] {
        stage.provider.token(&token);
        let refused = stage.finish(&begun, &stage.query(&asked)).await.unwrap_err();
        assert!(matches!(refused, SignInError::Token(_)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_belong_here_is_refused_before_the_code_is_used() {
    let stage = Stage::new().await;
    let (begun, asked) = stage.begin().await;
    let (other, other_asked) = stage.begin().await;
    let (state, iss) = (&asked["state"], percent(&stage.provider.issuer));
    let long = "x".repeat(20_000);
    for (query, why) in [
        (stage.query(&other_asked), SignInError::State),
        (format!("code=c&iss={iss}"), SignInError::State),
        (format!("code=c&state=&iss={iss}"), SignInError::State),
        (format!("code=c&state={state}"), SignInError::Mixed),
        (format!("code=c&state={state}&iss=https%3A%2F%2Fevil.example"), SignInError::Mixed),
        (format!("code=c&code=d&state={state}&iss={iss}"), SignInError::Query),
        (format!("state={state}&iss={iss}"), SignInError::Query),
        (format!("code=%ff&state={state}&iss={iss}"), SignInError::Query),
        (format!("code={long}&state={state}&iss={iss}"), SignInError::Query),
        (format!("error=access_denied&state={state}&iss={iss}"), SignInError::Denied),
        (format!("error=login_required&state={state}&iss={iss}"), SignInError::NeedsInteraction),
        (format!("error=server_error&code=c&state={state}&iss={iss}"), SignInError::Provider),
        (format!("error=access_denied&iss={iss}"), SignInError::State),
    ] {
        assert_eq!(stage.finish(&begun, &query).await.unwrap_err(), why, "{query:.200}");
    }
    let query = stage.query(&asked);
    let elsewhere = stage.ours.finish(&begun.pending, &query, "https://gate.example/other", NOW).await;
    assert_eq!(elsewhere.unwrap_err(), SignInError::State, "another redirect uri");
    let late = stage.ours.finish(&begun.pending, &query, REDIRECT, NOW + 600_001).await;
    assert_eq!(late.unwrap_err(), SignInError::Expired);
    assert_eq!(stage.ours.finish(&other.pending, &query, REDIRECT, NOW - 1).await.unwrap_err(), SignInError::Expired);
    assert_eq!(stage.provider.hits("/token"), 0);
    let shown = format!("{begun:?} {:?}", Sealed::new("hint".into()));
    assert!(!shown.contains("hint\"") && shown.contains("Pending([sealed])"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn iss_is_optional_only_where_it_is_not_announced() {
    let stage = Stage::new().await;
    let mut document = stage.provider.document();
    document.as_object_mut().unwrap().remove("authorization_response_iss_parameter_supported");
    stage.provider.serve("/.well-known/openid-configuration", 200, "", &document.to_string());
    let (begun, asked) = stage.begin().await;
    stage.provider.token(&stage.key.sign(&json!({ "alg": "RS256", "kid": "k1" }), &stage.claims(&asked)));
    let query = format!("code=c&state={}", asked["state"]);
    assert!(stage.finish(&begun, &query).await.is_ok());
    let query = format!("{query}&iss=https%3A%2F%2Fevil.example");
    assert_eq!(stage.finish(&begun, &query).await.unwrap_err(), SignInError::Mixed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_fails_signs_nobody_in() {
    let stage = Stage::new().await;
    let (begun, asked) = stage.begin().await;
    let query = stage.query(&asked);
    for (status, body, why) in [
        (400, r#"{"error":"invalid_grant"}"#.to_owned(), SignInError::Code),
        (302, "{}".into(), SignInError::Code),
        (500, String::new(), SignInError::Code),
        (200, "<html>".into(), SignInError::Answer),
        (200, r#"{"access_token":"x"}"#.into(), SignInError::Answer),
        (200, r#"{"id_token":"x","id_token":"y"}"#.into(), SignInError::Answer),
        (200, format!(r#"{{"id_token":"{}"}}"#, "x".repeat(200_000)), SignInError::Unreachable),
    ] {
        stage.provider.serve("/token", status, "", &body);
        assert_eq!(stage.finish(&begun, &query).await.unwrap_err(), why, "{status} {body:.50}");
    }
    stage.provider.serve("/jwks", 500, "", "");
    stage.provider.token(&stage.key.sign(&json!({ "alg": "RS256", "kid": "k1" }), &stage.claims(&asked)));
    assert_eq!(stage.finish(&begun, &query).await.unwrap_err(), SignInError::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_judged_and_shared() {
    let path = "/.well-known/openid-configuration";
    for (name, value, why) in [
        ("issuer", json!("https://evil.example"), DiscoveryProblem::Issuer),
        ("token_endpoint", json!("http://evil.example/token"), DiscoveryProblem::Endpoint("token_endpoint")),
        ("authorization_endpoint", json!("javascript:alert(1)"), DiscoveryProblem::Endpoint("authorization_endpoint")),
        ("jwks_uri", Value::Null, DiscoveryProblem::Endpoint("jwks_uri")),
        ("end_session_endpoint", json!("http://evil.example/"), DiscoveryProblem::Endpoint("end_session_endpoint")),
        ("authorization_response_iss_parameter_supported", json!("yes"), DiscoveryProblem::Malformed),
    ] {
        let stage = Stage::new().await;
        let mut document = stage.provider.document();
        document[name] = value;
        stage.provider.serve(path, 200, "", &document.to_string());
        let refused = stage.ours.begin(REDIRECT, Wish::default()).await.unwrap_err();
        assert_eq!(refused, SignInError::Discovery(why), "{name}");
    }
    let stage = Stage::new().await;
    let many = futures_util::future::join_all((0..20).map(|_| stage.ours.begin(REDIRECT, Wish::default()))).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!(stage.provider.hits(path), 1, "one fetch for all");
    stage.clock.advance(600_000);
    stage.provider.serve(path, 503, "", "");
    assert_eq!(stage.ours.begin(REDIRECT, Wish::default()).await.unwrap_err(), SignInError::Unreachable);
    assert!(stage.ours.begin(REDIRECT, Wish::default()).await.is_err());
    assert_eq!(stage.provider.hits(path), 2, "not beyond its Cache-Control, and a dead provider is not hammered");
    stage.clock.advance(1_000);
    stage.provider.serve(path, 200, "max-age=31536000", &stage.provider.document().to_string());
    assert!(stage.ours.begin(REDIRECT, Wish::default()).await.is_ok());
    stage.clock.advance(3_600_000);
    assert!(stage.ours.begin(REDIRECT, Wish::default()).await.is_ok());
    assert_eq!(stage.provider.hits(path), 4, "an hour at most");
    stage.clock.advance(3_600_000);
    stage.provider.serve(path, 200, "", &" ".repeat(70_000));
    assert_eq!(stage.ours.begin(REDIRECT, Wish::default()).await.unwrap_err(), SignInError::Unreachable, "too large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_does_not_hang_us() {
    let stage = Stage::new().await;
    let document = stage.provider.document().to_string();
    let path = "/.well-known/openid-configuration";
    stage.provider.serve_after(path, 200, "", &document, Duration::from_secs(3_600));
    assert_eq!(stage.ours.begin(REDIRECT, Wish::default()).await.unwrap_err(), SignInError::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_146_new_keys_are_fetched_once_for_an_unknown_kid() {
    let stage = Stage::new().await;
    stage.sign_in(&[]).await.unwrap();
    assert_eq!(stage.provider.hits("/jwks"), 1);
    let next = ProviderKey::new();
    stage.provider.keys(&[stage.key.jwk("k1"), next.jwk("k2")]);
    let (begun, asked) = stage.begin().await;
    let claims = stage.claims(&asked);
    stage.provider.token(&next.sign(&json!({ "alg": "RS256", "kid": "k2" }), &claims));
    stage.finish(&begun, &stage.query(&asked)).await.unwrap();
    for kid in ["k3", "k4", "k5"] {
        stage.provider.token(&next.sign(&json!({ "alg": "RS256", "kid": kid }), &claims));
        assert!(stage.finish(&begun, &stage.query(&asked)).await.is_err());
    }
    assert_eq!(stage.provider.hits("/jwks"), 2, "and not again for each made-up one");
}

#[tokio::test(flavor = "multi_thread")]
async fn az_18_what_is_asked_of_the_sign_in_is_asked_and_checked() {
    let stage = Stage::new().await;
    let login = || Wish { prompt: Some(Prompt::Login), login_hint: Some("ada@mercy.example".into()), max_age: None };
    let (_, asked) = stage.begin_as(login()).await;
    assert_eq!((asked["prompt"].as_str(), asked["max_age"].as_str()), ("login", "0"));
    assert_eq!(asked["login_hint"], "ada@mercy.example");
    assert!(stage.sign_in_as(login(), &[]).await.is_ok());
    for (wish, auth_time) in [
        (login(), json!(SECONDS - 31)),
        (login(), Value::Null),
        (Wish { max_age: Some(300), ..Wish::default() }, json!(SECONDS - 331)),
    ] {
        let refused = stage.sign_in_as(wish, &[("auth_time", auth_time)]).await.unwrap_err();
        assert!(matches!(refused, SignInError::Token(InvalidIdToken::Stale | InvalidIdToken::Claim)), "{refused:?}");
    }
    let recent = Wish { max_age: Some(300), ..Wish::default() };
    assert!(stage.sign_in_as(recent, &[("auth_time", json!(SECONDS - 299))]).await.is_ok());
    let (_, asked) = stage.begin_as(Wish { prompt: Some(Prompt::None), ..Wish::default() }).await;
    assert_eq!(asked["prompt"], "none");
    let hint = Wish { login_hint: Some("x".repeat(300)), ..Wish::default() };
    assert!(!stage.begin_as(hint).await.1.contains_key("login_hint"), "too long to be passed on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_that_is_asked_for_must_have_been_given() {
    let stage = Stage::with(|settings| {
        settings.acr = vec!["urn:mfa".into(), "phr".into()];
        settings.amr = vec!["otp".into()];
    })
    .await;
    assert_eq!(stage.begin().await.1["acr_values"], "urn:mfa phr");
    let given = |acr: &str, amr: Value| vec![("acr", json!(acr)), ("amr", amr)];
    stage.sign_in(&given("phr", json!(["pwd", "otp"]))).await.unwrap();
    for changes in [given("1", json!(["otp"])), given("phr", json!(["pwd"])), given("phr", json!([])), vec![]] {
        let refused = stage.sign_in(&changes).await.unwrap_err();
        assert!(matches!(refused, SignInError::Factor(_)), "{refused:?}");
        assert!(refused.says().contains("second factor"), "the person learns what is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_cannot_be_read_refuse_and_roles_that_exclude_each_other_are_none() {
    let stage = Stage::new().await;
    for (name, value) in [
        ("fhirUser", json!("https://evil.example/fhir/Practitioner/1")),
        ("fhirUser", json!(["Practitioner/1"])),
        ("fhirUser", json!("Device/1")),
        ("patient", json!("Patient/1")),
        ("patient", json!(4711)),
        ("groups", json!({ "hilum-ops": 1 })),
    ] {
        let refused = stage.sign_in(&[(name, value.clone())]).await.unwrap_err();
        assert!(matches!(refused, SignInError::Claim(_)), "{name}: {value}");
    }
    let changes = [("fhirUser", json!("https://ehr.example/fhir/Patient/p-1")), ("patient", json!("p-1"))];
    let person = stage.sign_in(&changes).await.unwrap();
    assert_eq!(
        (person.fhir_user.unwrap().to_string().as_str(), person.patient.unwrap().as_str()),
        ("Patient/p-1", "p-1")
    );
    let person = stage.sign_in(&[("groups", json!(["hilum-ops", "hilum-privacy"]))]).await.unwrap();
    assert_eq!((person.roles.len(), person.roles_refused), (0, Some(RolesRefused::Conflict)), "S0-05");
    let person = stage.sign_in(&[("fhirUser", Value::Null), ("groups", json!("staff"))]).await.unwrap();
    assert_eq!((person.fhir_user, person.roles.len(), person.roles_refused), (None, 0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_signed_out_at_both_sides() {
    let stage = Stage::new().await;
    let person = stage.sign_in(&[]).await.unwrap();
    let url = stage.ours.logout_url(&person.id_token_hint, "https://gate.example/out", "st 1").await.unwrap();
    let (endpoint, query) = url.split_once('?').unwrap();
    let asked = form(query.as_bytes());
    assert_eq!(endpoint, format!("{}/logout", stage.provider.issuer));
    assert_eq!(
        (asked["state"].as_str(), asked["post_logout_redirect_uri"].as_str()),
        ("st 1", "https://gate.example/out")
    );
    assert_eq!(asked["id_token_hint"], person.id_token_hint.expose());
    assert!(!format!("{person:?}").contains(person.id_token_hint.expose()));

    let event = "http://schemas.openid.net/event/backchannel-logout";
    let claims = json!({ "iss": stage.provider.issuer, "aud": "hilum at idp", "iat": SECONDS, "exp": SECONDS + 60,
        "jti": "l-1", "sid": "s-1", "events": { event: {} } });
    let token = stage.key.sign(&json!({ "alg": "RS256", "kid": "k1", "typ": "logout+jwt" }), &claims);
    let ended = stage.ours.back_channel(&token).await.unwrap();
    assert_eq!(ended, EndOf { subject: None, sid: Some("s-1".into()), jti: "l-1".into() });
    assert_eq!(stage.ours.back_channel(&token).await.unwrap_err(), BackChannelError::Replayed);
    stage.ours.not_honoured(&ended);
    assert!(stage.ours.back_channel(&token).await.is_ok(), "what failed may be sent again");
    let forged = ProviderKey::new().sign(&json!({ "alg": "RS256", "kid": "k1", "typ": "logout+jwt" }), &claims);
    assert!(matches!(stage.ours.back_channel(&forged).await, Err(BackChannelError::Token(_))));
    assert!(stage.ours.back_channel(person.id_token_hint.expose()).await.is_err(), "an id token is no logout token");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_will_not_work() {
    let stage = Stage::new().await;
    assert_eq!(stage.ours.check().await, Ok(vec![]));
    let stage = Stage::new().await;
    let mut document = stage.provider.document();
    document["code_challenge_methods_supported"] = json!(["plain"]);
    document["response_types_supported"] = json!(["id_token"]);
    document["id_token_signing_alg_values_supported"] = json!(["HS256", "none"]);
    document["token_endpoint_auth_methods_supported"] = json!(["none"]);
    document["require_pushed_authorization_requests"] = json!(true);
    stage.provider.serve("/.well-known/openid-configuration", 200, "", &document.to_string());
    use DiscoveryProblem::*;
    assert_eq!(stage.ours.check().await, Ok(vec![ResponseType, Pkce, Algorithm, ClientAuth, Pushed]));
    for issuer in ["http://idp.example", "https://idp.example?x=1", "https://idp.example#x", "idp.example"] {
        let mut settings = stage.provider.settings();
        settings.issuer = issuer.into();
        let refused = IdentityProvider::open(&settings, outbound(), stage.clock.clone()).unwrap_err();
        assert!(matches!(refused, OpenIdentityError::Issuer(_)), "{issuer}");
    }
}
