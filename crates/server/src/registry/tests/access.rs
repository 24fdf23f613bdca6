//! Who may use what: every route for every kind of caller, and every refusal in the ledger.

use axum::http::StatusCode;
use domain::Role;
use domain::audit::{Kind, Outcome};

use super::super::api;
use super::Bench;

type Held = &'static [(Option<&'static str>, Role)];

const CALLERS: [(&str, Held); 6] = [
    ("operator@x", &[(Some("mercy"), Role::Operator)]),
    ("officer@x", &[(Some("mercy"), Role::PrivacyOfficer)]),
    ("auditor@x", &[(Some("mercy"), Role::Auditor)]),
    ("elsewhere@x", &[(Some("other"), Role::Operator), (Some("other"), Role::Auditor)]),
    ("everywhere@x", &[(None, Role::Auditor)]),
    ("nothing@x", &[]),
];

fn concrete(path: &str) -> String {
    let path = path
        .replace("{tenant}", "mercy")
        .replace("{id}", "nobody@x")
        .replace("{name}", "scheduling")
        .replace("{passkey}", "0");
    path.replace("{version}", "9").replace("{node}", "n").replace("{index}", "0")
}

#[tokio::test]
async fn the_access_matrix_is_as_checked_in() {
    let bench = Bench::new().await;
    for (id, roles) in CALLERS {
        bench.person(id, roles).await;
    }
    let mut matrix = String::new();
    for route in api::routes() {
        let path = concrete(route.path);
        let path = path.strip_prefix("/api/v1").unwrap();
        let mut line = Vec::new();
        for (id, _) in CALLERS {
            if route.path.ends_with("/logout") {
                bench.token(id).await;
            }
            let (status, _) = bench.call(id, route.method, path, "{}").await;
            bench.token(id).await;
            let who = id.split('@').next().unwrap();
            if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                line.push(who);
            }
        }
        matrix.push_str(&format!("{:<4} {:<60} {}\n", route.method, route.path, line.join(" ")));
    }
    insta::assert_snapshot!(matrix);
}

#[tokio::test]
async fn every_route_but_the_public_ones_is_401_without_a_token() {
    let bench = Bench::new().await;
    let mut public = Vec::new();
    for route in api::routes() {
        let path = concrete(route.path);
        let (status, problem) = bench.call("", route.method, path.strip_prefix("/api/v1").unwrap(), "{}").await;
        if route.need == api::Need::Public {
            public.push(route.path);
            assert_ne!(status, StatusCode::FORBIDDEN);
            continue;
        }
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{} {}", route.method, route.path);
        assert_eq!(problem["reason"], "token-missing");
        let (status, problem) =
            bench.call("nobody-at-all@x", route.method, path.strip_prefix("/api/v1").unwrap(), "{}").await;
        assert_eq!((status, problem["reason"].as_str()), (StatusCode::UNAUTHORIZED, Some("token-invalid")));
    }
    assert_eq!(
        public,
        ["/api/v1/openapi.json", "/api/v1/init", "/api/v1/login", "/api/v1/login/requests", "/api/v1/login/token",]
    );
}

#[tokio::test]
async fn the_openapi_document_describes_every_route() {
    let bench = Bench::new().await;
    let (status, document) = bench.call("", "GET", "/openapi.json", "").await;
    assert_eq!(status, StatusCode::OK);
    let mut described = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described += 1;
            let route =
                api::routes().into_iter().find(|route| route.path == path && route.method.eq_ignore_ascii_case(method));
            let route = route.unwrap_or_else(|| panic!("{method} {path}"));
            let takes_nothing =
                ["logout", "disable", "enable", "rotate", "remove"].iter().any(|last| path.ends_with(last))
                    || path.ends_with("/sessions/{id}/end");
            assert_eq!(operation["requestBody"].is_null(), method == "get" || takes_nothing, "{method} {path}");
            assert_eq!(operation["security"].is_null(), route.need == api::Need::Public, "{path}");
        }
    }
    assert_eq!(described, api::routes().len());
    let ids: std::collections::BTreeSet<_> = api::routes().iter().map(|route| (route.noun, route.verb)).collect();
    assert_eq!(ids.len(), api::routes().len(), "each route has a name of its own in records");
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "`{name}` is referred to and missing");
    }
}

#[tokio::test]
async fn every_refusal_is_recorded_and_none_leaves_without_its_record() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.fake.records.lock().clear();
    bench.call("aude@mercy.example", "POST", "/tenants/mercy/integrations/sched/suspend", "{}").await;
    bench.call("", "GET", "/tenants/mercy/integrations", "").await;
    bench.olga("GET", "/tenants/other/integrations", serde_json::Value::Null).await;
    bench.olga("GET", "/tenants/mercy/integrations/nope", serde_json::Value::Null).await;
    let seen: Vec<_> = bench
        .fake
        .records
        .lock()
        .iter()
        .map(|record| {
            assert_eq!((record.kind, record.outcome), (Kind::RegistryDenied, Outcome::Denied));
            format!("{} {} {} {}", record.tenant, record.actor.person, record.decision.reason, record.object.status)
        })
        .collect();
    assert_eq!(
        seen,
        [
            "mercy aude@mercy.example role-insufficient 403",
            "other olga@mercy.example role-insufficient 403",
            "mercy olga@mercy.example not-found 404",
        ]
    );
    bench.fake.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let (status, _) = bench.call("aude@mercy.example", "POST", "/tenants/mercy/integrations/x/end", "{}").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn s4_28_refusals_of_nobody_are_counted_one_by_one_and_fill_no_ledger() {
    let bench = Bench::new().await;
    bench.fake.records.lock().clear();
    for _ in 0..300 {
        bench.call("", "GET", "/tenants/mercy/integrations", "").await;
        bench.call("nobody@x", "GET", "/tenants/nowhere/integrations", "").await;
        bench.call("", "POST", "/login", "{}").await;
    }
    assert!(bench.fake.records.lock().is_empty());
    let counted = |key: &str| bench.fake.counted.lock().get(key).copied().unwrap_or_default();
    assert_eq!(counted("mercy token-missing"), 300);
    assert_eq!(counted("_system token-invalid"), 300);
    assert_eq!(counted("_system request-invalid"), 300);
}

#[tokio::test]
async fn attempts_to_sign_in_have_their_own_records_up_to_a_limit() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.fake.records.lock().clear();
    let attempt = |person: String| {
        let body = serde_json::json!({ "person": person, "passphrase": "not the passphrase" }).to_string();
        bench.call("", "POST", "/login", body)
    };
    assert_eq!(attempt("olga@mercy.example".into()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(attempt("nobody@mercy.example".into()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(attempt("my secret passphrase".into()).await.0, StatusCode::UNAUTHORIZED);
    let seen: Vec<_> = bench
        .fake
        .records
        .lock()
        .iter()
        .map(|record| {
            assert_eq!((record.kind, record.tenant.as_str()), (Kind::RegistryDenied, "_system"));
            (record.decision.reason.clone(), record.phi.attributes[0].1.clone())
        })
        .collect();
    let refused = |who: &str| ("client-invalid".to_owned(), who.to_owned());
    let wanted = [refused("olga@mercy.example"), refused("nobody@mercy.example"), refused("")];
    assert_eq!(seen, wanted, "what is no person's id may be a secret typed into the wrong box");
    // The throttle refuses quickly what a storm of attempts on one name brings.
    for _ in 0..100 {
        attempt("olga@mercy.example".into()).await;
    }
    let records = bench.fake.records.lock().len();
    assert_eq!(records, super::super::people::RECORDS_MAX as usize);
    let counted: u32 = bench.fake.counted.lock().values().sum();
    assert_eq!(records as u32 + counted, 103, "exact");
    bench.clock.advance(60_000);
    attempt("olga@mercy.example".into()).await;
    assert_eq!(bench.fake.records.lock().len(), records + 1);
}

#[tokio::test]
async fn without_a_durable_intent_nothing_changes() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.fake.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bench.register(super::registration()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(bench.store.find_integration("sched").await.unwrap().is_none());
    bench.fake.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    bench.fake.records.lock().clear();
    assert_eq!(bench.register(super::registration()).await.0, StatusCode::OK);
    let phases: Vec<_> =
        bench.fake.records.lock().iter().map(|record| (record.kind, record.phase, record.outcome)).collect();
    use domain::audit::Phase;
    assert_eq!(
        phases,
        [
            (Kind::RegistryChange, Phase::Intent, Outcome::Success),
            (Kind::RegistryChange, Phase::Outcome, Outcome::Success),
        ]
    );
    // By it an older database is known at the next start.
    let told = bench.fake.records.lock()[1].phi.attributes.last().cloned().unwrap();
    assert_eq!(told, ("feed".to_owned(), bench.store.feed().await.unwrap().to_string()));
}
