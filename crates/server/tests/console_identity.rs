//! People of the administration sign in at an identity provider: on the pages, and command lines by way of one (S0-05, S4-03).
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod console_support;
mod identity_common;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use console_support::{Authenticator, Browser, NOW, PASS, Place};
use identity_common::{Provider, ProviderKey, form};
use serde_json::{Value, json};
use server::audit::{Filter, PhiAccess};
use server::registry::AdminProvider;
use tower::ServiceExt as _;

const MINUTE: i64 = 60_000;

struct Stage {
    place: Place,
    provider: Provider,
    key: ProviderKey,
}

impl Stage {
    async fn new() -> Self {
        let (place, provider, key) = (Place::start().await, Provider::start().await, ProviderKey::new());
        provider.keys(&[key.jwk("k1")]);
        let ours = provider.open(&provider.settings(), &place.clock);
        let ours = AdminProvider { tenant: None, name: "Mercy sign-in".into(), provider: ours };
        place.registry.serve_providers(vec![ours]);
        Self { place, provider, key }
    }

    /// To the provider: what it was asked.
    async fn begin(&self, browser: &mut Browser<'_>, request: &str) -> BTreeMap<String, String> {
        let (_, page) = browser
            .get(&if request.is_empty() {
                "/console/sign-in".to_owned()
            } else {
                format!("/console/sign-in?request={request}")
            })
            .await;
        assert!(page.contains("Sign in at Mercy sign-in"), "{page}");
        let (status, page) = browser.form("/console/sign-in/provider", &[("place", ""), ("request", request)]).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let url = page.split_once("<a href=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&");
        assert!(url.starts_with(&format!("{}/authorize?", self.provider.issuer)), "{url}");
        form(url.split_once('?').unwrap().1.as_bytes())
    }

    fn answer(&self, asked: &BTreeMap<String, String>, subject: &str, groups: &[&str]) -> String {
        let seconds = self.place.clock.now() / 1_000;
        let claims = json!({ "iss": self.provider.issuer, "sub": subject, "aud": "hilum at idp", "exp": seconds + 300,
            "iat": seconds, "nonce": asked["nonce"], "acr": "urn:mfa", "name": "Ada", "groups": groups, "sid": "s-1" });
        self.provider.token(&self.key.sign(&json!({ "alg": "RS256", "kid": "k1" }), &claims));
        let issuer = percent_encoding::utf8_percent_encode(&self.provider.issuer, percent_encoding::NON_ALPHANUMERIC);
        format!("code=c&state={}&iss={issuer}", asked["state"])
    }

    /// The way back: the callback without a cookie leads on to where it is.
    async fn back(&self, browser: &mut Browser<'_>, query: &str) -> (StatusCode, String) {
        let request = Request::get(format!("/console/sign-in/callback?{query}")).header("host", "gate.example");
        let response = self.place.registry.admin_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert!(response.headers().get("set-cookie").is_none(), "the session's cookie is not replaced");
        assert!(response.headers().contains_key("content-security-policy"));
        browser.get(&format!("/console/sign-in/finish?{query}")).await
    }

    async fn sign_in(&self, browser: &mut Browser<'_>, subject: &str, groups: &[&str]) -> (StatusCode, String) {
        self.sign_in_for(browser, "", subject, groups).await
    }

    async fn sign_in_for(
        &self,
        browser: &mut Browser<'_>,
        request: &str,
        subject: &str,
        groups: &[&str],
    ) -> (StatusCode, String) {
        let asked = self.begin(browser, request).await;
        let query = self.answer(&asked, subject, groups);
        self.back(browser, &query).await
    }

    /// A command line of whoever signs in: its token.
    async fn command_line(&self, browser: &mut Browser<'_>, subject: &str, groups: &[&str]) -> String {
        let (status, asked) = self.place.api("", "POST", "/login/requests", json!({})).await;
        assert_eq!(status, StatusCode::CREATED, "{asked}");
        let id = asked["url"].as_str().unwrap().split_once("?request=").unwrap().1.to_owned();
        let code = asked["code"].as_str().unwrap();
        let (status, page) = self.sign_in_for(browser, &id, subject, groups).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
        let (_, page) = browser.get(&format!("/console/sign-in?request={id}")).await;
        assert!(page.contains(code), "{page}");
        let sent = [("request", id.as_str()), ("code", code), ("answer", "yes")];
        assert_eq!(browser.form("/console/sign-in/answer", &sent).await.0, StatusCode::SEE_OTHER);
        let (status, got) = self.place.api("", "POST", "/login/token", json!({ "secret": asked["secret"] })).await;
        assert_eq!(status, StatusCode::OK, "{got}");
        got["token"].as_str().unwrap().to_owned()
    }

    async fn me(&self, token: &str) -> (StatusCode, Value) {
        self.place.api(token, "GET", "/me", Value::Null).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_has_the_roles_of_its_sign_in_and_the_ledger_has_who() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(&stage.place);
    let token = stage.command_line(&mut browser, "ada", &["staff", "hilum-ops"]).await;
    let (status, me) = stage.me(&token).await;
    assert_eq!((status, me["id"].as_str()), (StatusCode::OK, Some("ada@127.0.0.1")), "{me}");
    assert!(me["roles"].to_string().contains("operator"), "{me}");
    let allowed = stage.place.api(&token, "GET", "/tenants", Value::Null).await;
    assert_eq!(allowed.0, StatusCode::OK, "{}", allowed.1);
    // Nothing is granted for good.
    let row = stage.place.store.find_person(&"ada@127.0.0.1".parse().unwrap()).await.unwrap().unwrap();
    assert!(row.person.roles.is_empty(), "{row:?}");
    let records = stage.place.records().await.join("\n");
    assert!(records.contains("console-session") && records.contains("\"roles\":\"operator\""), "{records}");
    // Who it was at the provider is on record, sealed.
    assert!(!records.contains("urn:mfa"), "{records}");
    let open = stage.place.audit.search(Filter { limit: 500, ..Filter::default() }, PhiAccess::Open).await.unwrap();
    let open = serde_json::to_string(&open.records).unwrap();
    for word in [stage.provider.issuer.as_str(), "urn:mfa", "ada"] {
        assert!(open.contains(word), "{word}: {open}");
    }
    // The next sign-in gives what the claims say then, to the same account.
    let officer = stage.command_line(&mut Browser::new(&stage.place), "ada", &["hilum-privacy"]).await;
    let (_, me) = stage.me(&officer).await;
    assert!(me["id"] == "ada@127.0.0.1" && me["roles"].to_string().contains("privacy-officer"), "{me}");
    assert!(!me["roles"].to_string().contains("operator"), "{me}");
    let (_, me) = stage.me(&token).await;
    assert!(me["roles"].to_string().contains("operator"), "each token its own: {me}");
    // A token that was made some other way has no roles: there is no sign-in behind it.
    let bare = stage.place.token("ada@127.0.0.1").await;
    let (status, me) = stage.me(&bare).await;
    assert!(status == StatusCode::OK && !me["roles"].to_string().contains("operator"), "{me}");
    let (_, none) = stage.place.api(&bare, "GET", "/tenants", Value::Null).await;
    assert_eq!(none["items"], json!([]), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_05_nobody_without_a_role_or_with_both_duties_gets_in() {
    let stage = Stage::new().await;
    for (groups, says) in [
        (vec!["hilum-ops", "hilum-privacy"], "ask and approve at once"),
        (vec!["staff"], "no role here"),
        (vec![], "no role here"),
    ] {
        let mut browser = Browser::new(&stage.place);
        let (status, page) = stage.sign_in(&mut browser, "eve", &groups).await;
        assert!(status == StatusCode::FORBIDDEN && page.contains(says), "{groups:?}: {page}");
        assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "not signed in");
    }
    let none = stage.place.store.find_person(&"eve@127.0.0.1".parse().unwrap()).await.unwrap();
    assert_eq!(none, None, "and no account is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_counts_once_and_for_the_browser_that_began() {
    let stage = Stage::new().await;
    let (mut mine, mut other) = (Browser::new(&stage.place), Browser::new(&stage.place));
    let asked = stage.begin(&mut mine, "").await;
    other.get("/console/sign-in").await;
    let query = stage.answer(&asked, "ada", &["hilum-ops"]);
    assert_eq!(stage.back(&mut other, &query).await.0, StatusCode::UNAUTHORIZED, "another browser");
    assert_eq!(stage.back(&mut Browser::new(&stage.place), &query).await.0, StatusCode::UNAUTHORIZED, "or none");
    assert_eq!(stage.back(&mut mine, &query).await.0, StatusCode::SEE_OTHER);
    assert_eq!(stage.back(&mut mine, &query).await.0, StatusCode::UNAUTHORIZED, "once");
    assert_eq!(mine.get("/console/sign-in/finish?state=x&code=c").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(mine.get("/console/sign-in/finish").await.0, StatusCode::UNAUTHORIZED);
    let (status, _) = other.form("/console/sign-in/provider", &[("place", "mercy"), ("request", "")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "no such provider");
    let late = stage.begin(&mut other, "").await;
    let query = stage.answer(&late, "ada", &["hilum-ops"]);
    stage.place.clock.advance(10 * MINUTE + 1);
    assert_eq!(stage.back(&mut other, &query).await.0, StatusCode::UNAUTHORIZED, "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_somebody_else_is_never_taken_over() {
    let stage = Stage::new().await;
    // A local account of the very name that the subject would have.
    let taken = json!({ "id": "pia@127.0.0.1", "name": "Pia", "passphrase": PASS, "roles": [] });
    let made = stage.place.api(&stage.place.token("olga@x").await, "POST", "/people", taken).await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let token = stage.command_line(&mut Browser::new(&stage.place), "pia", &["hilum-ops"]).await;
    let (_, me) = stage.me(&token).await;
    assert_ne!(me["id"], "pia@127.0.0.1", "{me}");
    assert!(me["id"].as_str().unwrap().ends_with("@127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn such_people_have_no_passphrase_no_passkey_and_no_standing_role() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(&stage.place);
    stage.command_line(&mut browser, "ada", &["hilum-ops"]).await;
    assert_eq!(stage.place.login("ada@127.0.0.1", PASS).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.enrol(&mut Authenticator::new()).await.0, StatusCode::FORBIDDEN);
    let grant = json!({ "tenant": "mercy", "role": "auditor" });
    for manager in ["pia@x", "olga@x"] {
        let token = stage.place.token(manager).await;
        let (status, says) = stage.place.api(&token, "POST", "/people/ada@127.0.0.1/grant", grant.clone()).await;
        assert!(matches!(status, StatusCode::CONFLICT | StatusCode::FORBIDDEN), "{manager}: {status} {says}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_03_it_ends_idle_in_all_and_at_sign_out() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(&stage.place);
    let token = stage.command_line(&mut browser, "ada", &["hilum-ops"]).await;
    let again = stage.command_line(&mut Browser::new(&stage.place), "ada", &["hilum-ops"]).await;
    assert_eq!(stage.place.api(&again, "POST", "/logout", json!({})).await.0, StatusCode::OK);
    assert_eq!(stage.me(&again).await.0, StatusCode::UNAUTHORIZED, "signed out");
    for _ in 0..(8 * 60 / 14) {
        stage.place.clock.advance(14 * MINUTE);
        assert_eq!(stage.me(&token).await.0, StatusCode::OK, "used every 14 minutes");
    }
    stage.place.clock.advance(5 * MINUTE);
    assert_eq!(stage.me(&token).await.0, StatusCode::UNAUTHORIZED, "eight hours in all");
    let idle = stage.command_line(&mut Browser::new(&stage.place), "ada", &["hilum-ops"]).await;
    stage.place.clock.advance(15 * MINUTE);
    assert_eq!(stage.me(&idle).await.0, StatusCode::UNAUTHORIZED, "fifteen minutes idle");

    let mut browser = Browser::new(&stage.place);
    assert_eq!(stage.sign_in(&mut browser, "ada", &["hilum-ops"]).await.0, StatusCode::SEE_OTHER);
    browser.get("/console/passkeys").await;
    let (_, page) = browser.form("/console/sign-out", &[]).await;
    assert!(
        page.contains("sign out there too") && page.contains(&format!("{}/logout?", stage.provider.issuer)),
        "{page}"
    );
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_ends_sign_ins_from_behind() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(&stage.place);
    let token = stage.command_line(&mut browser, "ada", &["hilum-ops"]).await;
    let seconds = NOW / 1_000;
    let claims = json!({ "iss": stage.provider.issuer, "aud": "hilum at idp", "iat": seconds, "exp": seconds + 60,
        "jti": "l-1", "sub": "ada", "sid": "s-1",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} } });
    let post = async |token: &str| {
        let request = Request::post("/console/sign-in/back-channel").body(Body::from(format!("logout_token={token}")));
        stage.place.registry.admin_router().oneshot(request.unwrap()).await.unwrap().status()
    };
    let header = json!({ "alg": "RS256", "kid": "k1", "typ": "logout+jwt" });
    assert_eq!(post(&ProviderKey::new().sign(&header, &claims)).await, StatusCode::BAD_REQUEST, "forged");
    assert_eq!(post("").await, StatusCode::BAD_REQUEST);
    assert_eq!(stage.me(&token).await.0, StatusCode::OK);
    let signed = stage.key.sign(&header, &claims);
    assert_eq!(post(&signed).await, StatusCode::OK);
    assert_eq!(stage.me(&token).await.0, StatusCode::UNAUTHORIZED, "the command line");
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "and the page");
    assert_eq!(post(&signed).await, StatusCode::BAD_REQUEST, "honoured once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_lets_nobody_in_and_others_still_have_their_passkeys() {
    let stage = Stage::new().await;
    stage.provider.serve("/.well-known/openid-configuration", 503, "", "");
    let mut browser = Browser::new(&stage.place);
    browser.get("/console/sign-in").await;
    let (status, page) = browser.form("/console/sign-in/provider", &[("place", ""), ("request", "")]).await;
    assert!(status == StatusCode::BAD_GATEWAY && page.contains("not available"), "{page}");
    let (mut olga, _) = stage.place.enrolled("olga@x").await;
    assert_eq!(olga.get("/console/passkeys").await.0, StatusCode::OK);
}
