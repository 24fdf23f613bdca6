//! S4-08: people sign in with passkeys, and nothing that is not one of theirs, on this site, just now, by themselves, gets in.
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
use console_support::{Authenticator, Browser, PASS, Place};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_passkey_ends_the_passphrase() {
    let place = Place::start().await;
    let (status, token) = place.login("olga@x", PASS).await;
    assert_eq!(status, StatusCode::OK);
    let token = token["token"].as_str().unwrap().to_owned();
    let mut browser = place.by_passphrase("olga@x").await;
    let (_, page) = browser.get("/console/passkeys").await;
    assert!(page.contains("You have none yet"), "{page}");
    let mut key = Authenticator::new();
    let made = browser.enrol(&mut key).await;
    assert_eq!(made, (StatusCode::CREATED, json!({ "next": "/console/passkeys" })));

    // Whatever the passphrase opened is shut: the page session, the token, and the way in.
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER);
    assert_eq!(place.api(&token, "GET", "/me", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    let (status, refused) = place.login("olga@x", PASS).await;
    assert_eq!((status, refused["reason"].as_str()), (StatusCode::FORBIDDEN, Some("passkey-required")), "{refused}");
    let wrong = place.login("olga@x", "not the passphrase").await;
    assert_eq!(wrong, place.login("nobody@x", "not the passphrase").await, "only who knows it learns of the passkey");
    browser.get("/console/sign-in").await;
    let form = [("person", "olga@x"), ("passphrase", PASS), ("request", "")];
    let (status, page) = browser.form("/console/sign-in/passphrase", &form).await;
    assert!(status == StatusCode::FORBIDDEN && page.contains("role=\"alert\""), "{page}");

    assert_eq!(browser.sign_in(&mut key).await, (StatusCode::OK, json!({ "next": "/console/passkeys" })));
    let (status, page) = browser.get("/console/passkeys").await;
    assert!(status == StatusCode::OK && page.contains("blue key") && page.contains("the last one stays"), "{page}");
    let kept = place.store.passkeys(&"olga@x".parse().unwrap()).await.unwrap();
    assert!(kept[0].used_at.is_some() && kept[0].counter == 2, "{kept:?}");
    let records = place.records().await.join("\n");
    for (noun, verb) in [("passkey", "enrol"), ("console-session", "sign-in")] {
        assert!(records.lines().any(|line| line.contains(noun) && line.contains(verb)), "{noun} {verb}: {records}");
    }
    assert!(records.contains("passkey-required"), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_ones_own_passkey_signs_in() {
    let place = Place::start().await;
    let (_, mut olga) = place.enrolled("olga@x").await;
    let (_, pia) = place.enrolled("pia@x").await;
    let mut browser = Browser::new(&place);
    type Lie = fn(&mut Authenticator, &Authenticator);
    let lies: [(&str, Lie); 9] = [
        ("another origin", |key, _| key.origin = "https://gate.examp1e".into()),
        ("another port", |key, _| key.origin = "https://gate.example:8443".into()),
        ("another relying party", |key, _| key.rp = "examp1e".into()),
        ("nobody verified", |key, _| key.flags = 0x01),
        ("nobody present", |key, _| key.flags = 0x04),
        ("synced and not to be synced", |key, _| key.flags = 0x15),
        ("somebody else's credential", |key, other| key.id.clone_from(&other.id)),
        ("somebody else's name", |key, other| key.handle.clone_from(&other.handle)),
        ("an unknown credential", |key, _| key.id[0] ^= 1),
    ];
    for (what, lie) in lies {
        let (id, handle) = (olga.id.clone(), olga.handle.clone());
        lie(&mut olga, &pia);
        let (status, said) = browser.sign_in(&mut olga).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {said}");
        assert_eq!(said["says"], "This passkey does not sign you in here.", "{what}");
        assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "{what}");
        (olga.id, olga.handle) = (id, handle);
        (olga.origin, olga.rp, olga.flags) = ("https://gate.example".into(), "gate.example".into(), 0x05);
    }
    let options = browser.sign_in_options().await;
    let mut answer = olga.get(&options);
    answer["signature"] = pia_signature(&answer);
    assert_eq!(browser.answer(answer).await.0, StatusCode::UNAUTHORIZED, "a signature that is none");
    assert_eq!(browser.sign_in(&mut olga).await.0, StatusCode::OK, "the same passkey without a lie");
}

/// A signature with one byte changed.
fn pia_signature(answer: &Value) -> Value {
    let text = answer["signature"].as_str().unwrap();
    let (head, tail) = text.split_at(20);
    let changed = if tail.starts_with('A') { "B" } else { "A" };
    json!(format!("{head}{changed}{}", &tail[1..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_for_one_browser_once_for_five_minutes_and_for_one_thing() {
    let place = Place::start().await;
    let (mut signed_in, mut key) = place.enrolled("olga@x").await;
    let over = "That took too long, or was done before. Try again.";
    let mut browser = Browser::new(&place);
    let options = browser.sign_in_options().await;
    let answer = key.get(&options);
    let mut other = Browser::new(&place);
    other.get("/console/sign-in").await;
    let (status, said) = other.answer(answer.clone()).await;
    assert_eq!((status, said["says"].as_str()), (StatusCode::UNAUTHORIZED, Some(over)), "another browser");
    assert_eq!(browser.answer(answer).await.0, StatusCode::UNAUTHORIZED, "used up by who stole it");

    let options = browser.sign_in_options().await;
    let answer = key.get(&options);
    assert_eq!(browser.answer(answer.clone()).await.0, StatusCode::OK);
    browser.get("/console/passkeys").await;
    assert_eq!(browser.answer(answer).await.0, StatusCode::UNAUTHORIZED, "replayed");

    let mut late = Browser::new(&place);
    let options = late.sign_in_options().await;
    place.clock.advance(5 * 60_000);
    let answer = key.get(&options);
    assert_eq!(late.answer(answer).await.0, StatusCode::UNAUTHORIZED, "five minutes");

    // Ours to make a passkey, answered to sign in; and the other way round.
    signed_in.get("/console/passkeys").await;
    let (_, options) = signed_in.script("/console/passkeys/options", &json!({})).await;
    let answer = key.get(&options);
    assert_eq!(signed_in.answer(answer).await.0, StatusCode::UNAUTHORIZED, "the other ceremony");
    let (_, mut options) = signed_in.script("/console/sign-in/options", &json!({})).await;
    options["user"]["id"] = json!("AAAA");
    let sent = Authenticator::new().create(&options);
    assert_eq!(signed_in.script("/console/passkeys/enrol", &sent).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_went_back_is_refused_and_an_alert() {
    let place = Place::start().await;
    let (mut browser, mut key) = place.enrolled("olga@x").await;
    let alerts = async || {
        let token = place.token("aude@x").await;
        let (status, all) = place.api(&token, "GET", "/system/alerts", Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        all["records"].as_array().unwrap().iter().filter(|one| one["reason"] == "passkey-copied").count()
    };
    assert_eq!(browser.sign_in(&mut key).await.0, StatusCode::OK);
    assert_eq!(alerts().await, 0);
    for back in [1, 3] {
        key.counter -= back;
        assert_eq!(browser.sign_in(&mut key).await.0, StatusCode::UNAUTHORIZED, "counter {}", key.counter);
    }
    // The alert waits for nobody; reading the ledger is behind it in its queue.
    assert_eq!(alerts().await, 2);
    key.counter = 40;
    assert_eq!(browser.sign_in(&mut key).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_enrolled_by_its_holder_here_and_verified() {
    let place = Place::start().await;
    let mut nobody = Browser::new(&place);
    nobody.get("/console/sign-in").await;
    assert_eq!(nobody.script("/console/passkeys/options", &json!({})).await.0, StatusCode::UNAUTHORIZED);
    let (mut browser, mut first) = place.enrolled("olga@x").await;
    type Lie = fn(&mut Authenticator);
    let lies: [(&str, Lie); 3] = [
        ("another origin", |key| key.origin = "https://evil.example".into()),
        ("another relying party", |key| key.rp = "evil.example".into()),
        ("nobody verified", |key| key.flags = 0x01),
    ];
    for (what, lie) in lies {
        let mut key = Authenticator::new();
        lie(&mut key);
        assert_eq!(browser.enrol(&mut key).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
    }
    let (status, said) = browser.enrol(&mut first).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && said["says"].as_str().unwrap().contains("already"), "{said}");
    let mut pia = place.by_passphrase("pia@x").await;
    assert_eq!(pia.enrol(&mut first).await.0, StatusCode::UNPROCESSABLE_ENTITY, "one passkey is one person's");
    let mut second = Authenticator::new();
    assert_eq!(browser.enrol(&mut second).await.0, StatusCode::CREATED);
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::OK, "a second passkey signs nobody out");

    // One's own may go while another is left.
    let kept = place.store.passkeys(&"olga@x".parse().unwrap()).await.unwrap();
    assert_eq!(kept.len(), 2);
    let remove = |id: &str| [("passkey", id.to_owned())];
    let form = remove(&kept[0].id);
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::SEE_OTHER);
    assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::NOT_FOUND);
    let form = remove(&kept[1].id);
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.form("/console/passkeys/remove", &form).await.0, StatusCode::CONFLICT, "never the last");
    assert_eq!(browser.sign_in(&mut first).await.0, StatusCode::UNAUTHORIZED, "the removed one");
    assert_eq!(browser.sign_in(&mut second).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_removes_a_lost_passkey_and_the_passphrase_works_again() {
    let place = Place::start().await;
    let (mut browser, _) = place.enrolled("olga@x").await;
    let (pia, olga) = (place.token("pia@x").await, place.token("olga@x").await);
    let (status, list) = place.api(&pia, "GET", "/people/olga@x/passkeys", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["items"][0]["name"], "blue key");
    assert!(!list.to_string().contains("public_key") && !list.to_string().contains("credential"), "{list}");
    let path = format!("/people/olga@x/passkeys/{}/remove", list["items"][0]["id"].as_str().unwrap());
    let aude = place.token("aude@x").await;
    for (who, status) in [(&olga, StatusCode::FORBIDDEN), (&aude, StatusCode::FORBIDDEN), (&pia, StatusCode::OK)] {
        assert_eq!(place.api(who, "POST", &path, json!({})).await.0, status);
    }
    assert_eq!(place.api(&pia, "POST", &path, json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/console/passkeys").await.0, StatusCode::SEE_OTHER, "signed out");
    assert_eq!(place.api(&olga, "GET", "/me", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(place.login("olga@x", PASS).await.0, StatusCode::OK);
    // An operator cannot open a privacy officer's account by way of a lost passkey.
    place.enrolled("pia@x").await;
    let olga = place.token("olga@x").await;
    let (_, list) = place.api(&olga, "GET", "/people/pia@x/passkeys", Value::Null).await;
    let path = format!("/people/pia@x/passkeys/{}/remove", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(place.api(&olga, "POST", &path, json!({})).await.0, StatusCode::FORBIDDEN);
    let removed = place.records().await.into_iter().filter(|line| line.contains("passkey") && line.contains("remove"));
    assert!(removed.count() >= 3, "asked, done, refused");
}
