//! Signing in, the first people, roles.

use axum::http::StatusCode;
use domain::Role;
use serde_json::{Value, json};

use super::super::credential_hash;
use super::{Bench, NOW};

const PASS: &str = "correct horse battery staple";

fn person(id: &str, roles: Value) -> Value {
    json!({ "id": id, "name": "N", "passphrase": PASS, "roles": roles })
}

async fn init(bench: &Bench, credential: &str, people: Value) -> (StatusCode, Value) {
    let body = json!({ "credential": credential, "people": people });
    bench.call("", "POST", "/init", body.to_string()).await
}

async fn login(bench: &Bench, id: &str, passphrase: &str) -> (StatusCode, Value) {
    bench.call("", "POST", "/login", json!({ "person": id, "passphrase": passphrase }).to_string()).await
}

#[tokio::test]
async fn the_init_credential_makes_people_once_and_nothing_else() {
    let bench = Bench::new().await;
    bench
        .store
        .insert_init_credential(&credential_hash("the-credential"), NOW, NOW + super::super::INIT_LIFE)
        .await
        .unwrap();
    let people = json!([
        person("dana@x", json!([{ "role": "operator" }])),
        person("pia@x", json!([{ "tenant": "mercy", "role": "privacy-officer" }])),
    ]);
    assert_eq!(init(&bench, "another", people.clone()).await.0, StatusCode::UNAUTHORIZED);
    let short = json!([{ "id": "a@x", "name": "A", "passphrase": "short", "roles": [{ "tenant": "nope", "role": "auditor" }] }]);
    let (status, problem) = init(&bench, "the-credential", short).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["mistakes"].as_array().unwrap().len(), 2, "{problem}");
    let both =
        json!([person("b@x", json!([{ "role": "operator" }, { "tenant": "mercy", "role": "privacy-officer" }]))]);
    assert_eq!(init(&bench, "the-credential", both).await.0, StatusCode::CONFLICT);
    assert_eq!(init(&bench, "the-credential", people.clone()).await.0, StatusCode::CREATED);
    assert_eq!(init(&bench, "the-credential", people).await.0, StatusCode::UNAUTHORIZED, "single use");
    // It is no token: nothing else is open to it.
    let (status, answer) = login(&bench, "dana@x", PASS).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let token = answer["token"].as_str().unwrap();
    assert_eq!(token.len(), 43, "256 bits");
    let row = bench.store.use_api_token(&credential_hash(token), NOW, NOW - 1).await.unwrap();
    assert_eq!(row.unwrap().as_str(), "dana@x");
}

#[tokio::test]
async fn an_old_init_credential_is_refused() {
    let bench = Bench::new().await;
    bench
        .store
        .insert_init_credential(&credential_hash("the-credential"), NOW, NOW + super::super::INIT_LIFE)
        .await
        .unwrap();
    bench.clock.advance(super::super::INIT_LIFE);
    let people = json!([person("dana@x", json!([]))]);
    assert_eq!(init(&bench, "the-credential", people).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_unknown_person_and_a_wrong_passphrase_look_the_same_and_slow_down() {
    let bench = Bench::new().await;
    bench.store.insert_init_credential(&credential_hash("c"), NOW, NOW + 1_000).await.unwrap();
    init(&bench, "c", json!([person("dana@x", json!([]))])).await;
    let known = login(&bench, "dana@x", "not the passphrase").await;
    let unknown = login(&bench, "nobody@x", "not the passphrase").await;
    let no_id = login(&bench, "scheduler-1", PASS).await;
    assert_eq!(known.0, StatusCode::UNAUTHORIZED);
    assert_eq!(known, unknown);
    assert_eq!(known, no_id, "S4-01: a service has no passphrase");
    for _ in 0..4 {
        assert_eq!(login(&bench, "dana@x", "not the passphrase").await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login(&bench, "dana@x", PASS).await.0, StatusCode::TOO_MANY_REQUESTS);
    bench.clock.advance(1_000);
    assert_eq!(login(&bench, "dana@x", PASS).await.0, StatusCode::OK);
}

#[tokio::test]
async fn api_tokens_end_idle_old_and_signed_out() {
    let bench = Bench::new().await;
    bench.staff().await;
    let me = async || bench.olga("GET", "/me", Value::Null).await.0;
    bench.clock.advance(15 * 60_000 - 1);
    assert_eq!(me().await, StatusCode::OK);
    bench.clock.advance(15 * 60_000);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED, "15 minutes idle");
    bench.token("olga@mercy.example").await;
    for _ in 0..34 {
        bench.clock.advance(14 * 60_000);
        assert_eq!(me().await, StatusCode::OK);
    }
    bench.clock.advance(4 * 60_000);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED, "8 hours at most");
    bench.token("olga@mercy.example").await;
    assert_eq!(bench.olga("POST", "/logout", json!({})).await.0, StatusCode::OK);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED);
    bench.token("olga@mercy.example").await;
    bench.token("pia@mercy.example").await;
    assert_eq!(bench.pia("POST", "/people/olga@mercy.example/disable", json!({})).await.0, StatusCode::OK);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED, "switched off");
}

#[tokio::test]
async fn roles_are_given_by_those_who_may() {
    let bench = Bench::new().await;
    bench.person("olga@x", &[(Some("mercy"), Role::Operator)]).await;
    let post = async |who: &str, path: &str, body: Value| bench.call(who, "POST", path, body.to_string()).await.0;
    // While mercy has no privacy officer, its operator may name the first.
    let first = person("pia@x", json!([{ "tenant": "mercy", "role": "privacy-officer" }]));
    assert_eq!(post("olga@x", "/people", first.clone()).await, StatusCode::CREATED);
    assert_eq!(post("olga@x", "/people", first).await, StatusCode::FORBIDDEN, "not a second");
    let second = person("paul@x", json!([{ "tenant": "mercy", "role": "privacy-officer" }]));
    assert_eq!(post("olga@x", "/people", second.clone()).await, StatusCode::FORBIDDEN);
    bench.token("pia@x").await;
    assert_eq!(post("pia@x", "/people", second.clone()).await, StatusCode::CREATED);
    assert_eq!(post("pia@x", "/people", second).await, StatusCode::CONFLICT, "S4-01: ids are unique");
    let grant = |tenant: Value, role: &str| json!({ "tenant": tenant, "role": role });
    for (who, path, body, status) in [
        ("olga@x", "/people/olga@x/grant", grant(json!("mercy"), "auditor"), StatusCode::FORBIDDEN),
        ("pia@x", "/people/pia@x/grant", grant(json!("mercy"), "operator"), StatusCode::FORBIDDEN),
        ("pia@x", "/people/olga@x/grant", grant(json!("mercy"), "privacy-officer"), StatusCode::CONFLICT),
        ("olga@x", "/people/pia@x/revoke", grant(json!("mercy"), "privacy-officer"), StatusCode::FORBIDDEN),
        ("olga@x", "/people/pia@x/disable", json!({}), StatusCode::FORBIDDEN),
        ("olga@x", "/people/pia@x/grant", grant(json!("other"), "auditor"), StatusCode::FORBIDDEN),
        ("olga@x", "/people/pia@x/grant", grant(Value::Null, "auditor"), StatusCode::FORBIDDEN),
        ("olga@x", "/people/pia@x/grant", grant(json!("nope"), "auditor"), StatusCode::UNPROCESSABLE_ENTITY),
        ("olga@x", "/people/pia@x/grant", grant(json!("mercy"), "king"), StatusCode::UNPROCESSABLE_ENTITY),
        ("olga@x", "/people/nobody@x/grant", grant(json!("mercy"), "auditor"), StatusCode::NOT_FOUND),
        ("olga@x", "/people/pia@x/grant", grant(json!("mercy"), "auditor"), StatusCode::OK),
        ("olga@x", "/people/pia@x/revoke", grant(json!("mercy"), "auditor"), StatusCode::OK),
        ("olga@x", "/people/pia@x/revoke", grant(json!("mercy"), "auditor"), StatusCode::CONFLICT),
        ("pia@x", "/people/paul@x/revoke", grant(json!("mercy"), "privacy-officer"), StatusCode::OK),
    ] {
        assert_eq!(post(who, path, body.clone()).await, status, "{who} {path} {body}");
    }
}

#[tokio::test]
async fn a_new_passphrase_ends_every_token() {
    let bench = Bench::new().await;
    bench.store.insert_init_credential(&credential_hash("c"), NOW, NOW + 1_000).await.unwrap();
    init(&bench, "c", json!([person("dana@x", json!([]))])).await;
    bench.token("dana@x").await;
    let change = async |old: &str, new: &str| {
        bench.call("dana@x", "POST", "/me/passphrase", json!({ "old": old, "new": new }).to_string()).await.0
    };
    assert_eq!(change("wrong", "another long passphrase").await, StatusCode::FORBIDDEN);
    assert_eq!(change(PASS, "short").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(change(PASS, "another long passphrase").await, StatusCode::OK);
    assert_eq!(bench.call("dana@x", "GET", "/me", "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&bench, "dana@x", "another long passphrase").await.0, StatusCode::OK);
}
