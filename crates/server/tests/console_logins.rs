//! A command line signed in by way of a page, and what keeps such a page its visitor's own (S4-03, S4-08).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod console_support;

use axum::http::StatusCode;
use console_support::{Authenticator, Browser, ORIGIN, PASS, Place};
use serde_json::{Value, json};

/// A command line that asked for `person`: secret, code, request id.
async fn ask(place: &Place, person: &str) -> (String, String, String) {
    let (status, asked) = place.api("", "POST", "/login/requests", json!({ "person": person })).await;
    assert_eq!(status, StatusCode::CREATED, "{asked}");
    let text = |name: &str| asked[name].as_str().unwrap().to_owned();
    let (url, id) = text("url").split_once("?request=").map(|(url, id)| (url.to_owned(), id.to_owned())).unwrap();
    assert_eq!(url, format!("{ORIGIN}/console/sign-in"));
    (text("secret"), text("code"), id)
}

async fn fetch(place: &Place, secret: &str) -> (StatusCode, Value) {
    place.api("", "POST", "/login/token", json!({ "secret": secret })).await
}

async fn answer(browser: &mut Browser<'_>, id: &str, code: &str, says: &str) -> StatusCode {
    browser.get(&format!("/console/sign-in?request={id}")).await;
    browser.form("/console/sign-in/answer", &[("request", id), ("code", code), ("answer", says)]).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_gets_its_token_once_after_yes() {
    let place = Place::start().await;
    let (mut browser, _) = place.enrolled("olga@x").await;
    let (secret, code, id) = ask(&place, "olga@x").await;
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::ACCEPTED);
    let (_, page) = browser.get(&format!("/console/sign-in?request={id}")).await;
    assert!(page.contains(&code) && !page.contains(&secret), "{page}");
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::ACCEPTED, "to look is not to say yes");
    assert_eq!(answer(&mut browser, &id, &code, "yes").await, StatusCode::SEE_OTHER);
    assert_eq!(answer(&mut browser, &id, &code, "no").await, StatusCode::CONFLICT, "answered once");
    // Fifty at once: one is honoured.
    let place = std::sync::Arc::new(place);
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (place, secret) = (std::sync::Arc::clone(&place), secret.clone());
        tries.spawn(async move { fetch(&place, &secret).await });
    }
    let answers = tries.join_all().await;
    let tokens: Vec<_> = answers.iter().filter(|(status, _)| *status == StatusCode::OK).collect();
    assert_eq!(tokens.len(), 1);
    assert!(answers.iter().all(|(status, _)| matches!(*status, StatusCode::OK | StatusCode::UNAUTHORIZED)));
    let (status, me) = place.api(tokens[0].1["token"].as_str().unwrap(), "GET", "/me", Value::Null).await;
    assert_eq!((status, me["id"].as_str()), (StatusCode::OK, Some("olga@x")));
    let records = place.records().await.join("\n");
    for (noun, verb) in [("login-request", "grant"), ("api-token", "sign-in")] {
        assert!(records.lines().any(|line| line.contains(noun) && line.contains(verb)), "{noun} {verb}: {records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_one_it_was_asked_for_says_yes_to_the_code_that_was_shown() {
    let place = Place::start().await;
    let (mut olga, _) = place.enrolled("olga@x").await;
    let mut pia = place.by_passphrase("pia@x").await;
    let (secret, code, id) = ask(&place, "olga@x").await;
    let (_, page) = pia.get(&format!("/console/sign-in?request={id}")).await;
    assert!(page.contains("not for you") && !page.contains(&code), "{page}");
    assert_eq!(answer(&mut pia, &id, &code, "yes").await, StatusCode::CONFLICT, "somebody else");
    // Two requests at once: the code of one is no yes to the other.
    let (_, other_code, other) = ask(&place, "olga@x").await;
    assert_eq!(answer(&mut olga, &id, &other_code, "yes").await, StatusCode::CONFLICT);
    assert_eq!(answer(&mut olga, &id, "", "yes").await, StatusCode::CONFLICT);
    assert_eq!(answer(&mut olga, &id, &code, "maybe").await, StatusCode::BAD_REQUEST);
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::ACCEPTED, "nothing was granted");
    assert_eq!(answer(&mut olga, &id, &code, "no").await, StatusCode::SEE_OTHER);
    let (status, refused) = fetch(&place, &secret).await;
    assert!(status == StatusCode::UNAUTHORIZED && refused["detail"].as_str().unwrap().contains("refused"), "{refused}");
    // For somebody who does not exist it looks the same, and nobody can say yes.
    let (secret, code, id) = ask(&place, "nobody@x").await;
    assert_eq!(answer(&mut olga, &id, &code, "yes").await, StatusCode::CONFLICT);
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::ACCEPTED);
    // Five minutes, for the page and for the command line.
    place.clock.advance(5 * 60_000);
    assert_eq!(answer(&mut olga, &other, &other_code, "yes").await, StatusCode::CONFLICT, "over");
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(fetch(&place, "a-guess").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_is_worth_nothing_once_the_account_is_off_and_asking_is_limited() {
    let place = Place::start().await;
    let (mut olga, _) = place.enrolled("olga@x").await;
    let (secret, code, id) = ask(&place, "olga@x").await;
    assert_eq!(answer(&mut olga, &id, &code, "yes").await, StatusCode::SEE_OTHER);
    place.store.disable_person(&"olga@x".parse().unwrap(), Some(place.clock.now())).await.unwrap();
    assert_eq!(fetch(&place, &secret).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(olga.get("/console/passkeys").await.0, StatusCode::SEE_OTHER);
    for _ in 0..19 {
        ask(&place, "pia@x").await;
    }
    let (status, _) = place.api("", "POST", "/login/requests", json!({ "person": "pia@x" })).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    place.clock.advance(60_000);
    ask(&place, "pia@x").await;
    for wrong in [json!({}), json!({ "person": "" }), json!({ "person": "x".repeat(130) }), json!({ "who": "pia@x" })] {
        let (status, _) = place.api("", "POST", "/login/requests", wrong.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_takes_only_what_it_sent_itself() {
    let place = Place::start().await;
    let (mut browser, _) = place.enrolled("olga@x").await;
    let form = [("passkey", "x")];
    browser.get("/console/passkeys").await;
    let good = browser.csrf.clone();
    for wrong in ["", "x", &Browser::new(&place).csrf, &good[1..]] {
        browser.csrf = wrong.to_owned();
        assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::FORBIDDEN, "`{wrong}`");
        assert_eq!(browser.script("/console/passkeys/options", &json!({})).await.0, StatusCode::FORBIDDEN);
    }
    // Another visitor's token is another's.
    let mut other = Browser::new(&place);
    other.get("/console/sign-in").await;
    browser.csrf.clone_from(&other.csrf);
    assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::FORBIDDEN);
    browser.csrf = good;
    for foreign in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "same-site")] {
        browser.extra = vec![foreign];
        assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::FORBIDDEN, "{foreign:?}");
    }
    browser.extra = vec![("origin", ORIGIN), ("sec-fetch-site", "same-origin")];
    assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::NOT_FOUND);
    browser.extra.clear();

    let (_, page) = browser.get("/console/passkeys").await;
    let policy = browser.headers["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && browser.headers["cache-control"] == "no-store");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick"), "{page}");
    assert!(page.matches("<script").count() == 1 && page.contains("<script src=\"/console/passkey.js\""), "{page}");
    let (status, _) = browser.get("/console/passkey.js").await;
    assert_eq!(
        (status, browser.headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/javascript; charset=utf-8")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_the_hosts_own_and_change_with_who_is_signed_in() {
    let place = Place::start().await;
    let mut browser = Browser::new(&place);
    browser.get("/console/sign-in").await;
    let set = browser.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.starts_with("__Host-hilum-console="), "{set}");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Secure"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    let before = browser.cookie.clone();
    let form = [("person", "olga@x"), ("passphrase", PASS), ("request", "")];
    browser.form("/console/sign-in/passphrase", &form).await;
    let signed_in = browser.cookie.clone();
    assert_ne!(before, signed_in, "a cookie from before is no session");
    browser.cookie = before;
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER);
    browser.cookie = signed_in.clone();
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::OK);
    assert_eq!(browser.form("/console/sign-out", &[]).await.0, StatusCode::OK);
    browser.cookie = signed_in;
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "signed out on our side too");
}

/// S4-03: fifteen minutes idle, eight hours at most.
#[tokio::test(flavor = "multi_thread")]
async fn page_sessions_end_idle_and_old() {
    let place = Place::start().await;
    let mut browser = place.by_passphrase("aude@x").await;
    let cookie = browser.cookie.clone();
    place.clock.advance(15 * 60_000 - 1);
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::OK);
    place.clock.advance(15 * 60_000);
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "idle");
    browser.cookie = cookie;
    let mut browser = place.by_passphrase("aude@x").await;
    for _ in 0..34 {
        place.clock.advance(14 * 60_000);
        assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::OK);
    }
    place.clock.advance(4 * 60_000);
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "eight hours");
    let mut key = Authenticator::new();
    assert_eq!(browser.enrol(&mut key).await.0, StatusCode::UNAUTHORIZED);
}
