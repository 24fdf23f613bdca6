//! Roles of AI services: applied as people have them, named by at most one word, and part of what is approved (S4-05).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Bench, NOW, jwks};

const READER: &str = "ai_service_roles:\n  reader:\n    permissions: [\"data:read\"]\n    session_timeout: \"5m\"\n";

async fn apply_as(bench: &Bench, who: &str, media: &str, text: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/apply?tenant=mercy")
        .header("authorization", format!("Bearer a-token-of-{who}"))
        .header("content-type", media)
        .body(Body::from(text.to_owned()))
        .unwrap();
    let response = bench.registry.admin_router().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn apply(bench: &Bench, text: &str) -> (StatusCode, Value) {
    apply_as(bench, "olga@mercy.example", "application/yaml", text).await
}

fn actions(answer: &Value) -> Vec<&str> {
    answer["changes"].as_array().unwrap().iter().map(|line| line["action"].as_str().unwrap()).collect()
}

fn manifest(role: &str) -> String {
    format!(
        r#"[[integration]]
id = "sched"
name = "Scheduler"
environment = "production"
vendor = "Acme"
purpose = "books appointments"
owners = {{ business = "bea@mercy.example", technical = "tom@mercy.example" }}
data_classes = ["scheduling"]
expected = ["Patient", "Appointment", "Practitioner", "Slot", "Schedule", "Location"]
expires_at = 2027-06-30T00:00:00Z
revocation_contact = "soc@mercy.example"
auth.keys.jwks = '{}'
{role}

[[integration.request]]
task = "scheduling@1"
justification = "fewer missed visits"
terms = {{ launch = [{{ mode = "ticket" }}], token_seconds = 300, budgets = {{ patients_per_hour = 10 }} }}
"#,
        jwks(1)
    )
}

#[tokio::test]
async fn s4_05_roles_are_applied_listed_and_shown() {
    let bench = Bench::new().await;
    bench.staff().await;
    let (status, done) = apply(&bench, READER).await;
    assert_eq!((status, actions(&done)), (StatusCode::OK, vec!["create"]), "{done}");
    assert_eq!(actions(&apply(&bench, READER).await.1), ["unchanged"]);
    let (status, shown) = bench.pia("GET", "/tenants/mercy/roles/reader", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(shown["phi_access"], "de-identified-only", "what is not said is the narrower: {shown}");
    assert_eq!((&shown["session_timeout"], &shown["permissions"]), (&json!("5m"), &json!(["data:read"])));
    let (_, list) = bench.pia("GET", "/tenants/mercy/roles", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(bench.pia("GET", "/tenants/mercy/roles/none", Value::Null).await.0, StatusCode::NOT_FOUND);
    let officer = apply_as(&bench, "pia@mercy.example", "application/yaml", READER).await;
    assert_eq!(officer.0, StatusCode::FORBIDDEN, "operators declare roles; what they change is approved again");
    let as_toml = apply_as(&bench, "olga@mercy.example", "application/toml", READER).await;
    assert_eq!(as_toml.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", as_toml.1);
}

#[tokio::test]
async fn a_file_with_a_mistake_changes_nothing() {
    let bench = Bench::new().await;
    bench.staff().await;
    let text = format!("{READER}  other:\n    permissions: []\n    phi_acces: identified\n");
    let (status, answer) = apply(&bench, &text).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert!(answer["mistakes"][0]["line"].as_u64().is_some_and(|line| (5..=7).contains(&line)), "{answer}");
    assert!(bench.store.roles().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_integration_names_a_role_that_is_there_and_its_text_is_approved() {
    let bench = Bench::new().await;
    bench.staff().await;
    let apply_toml = async |text: &str| apply_as(&bench, "olga@mercy.example", "application/toml", text).await;
    let (status, answer) = apply_toml(&manifest("role = \"reader\"")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer["mistakes"][0]["what"].as_str().unwrap().contains("no role `reader`"), "{answer}");

    apply(&bench, READER).await;
    let (status, answer) = apply_toml(&manifest("role = \"reader\"")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, list) = bench.pia("GET", "/tenants/mercy/approvals", Value::Null).await;
    let approval = &list["items"][0];
    assert!(approval["allows"].to_string().contains("de-identified, under surrogates"), "{approval}");
    let id = approval["id"].as_str().unwrap().to_owned();
    let path = format!("/tenants/mercy/approvals/{id}/approve");
    assert_eq!(bench.pia("POST", &path, json!({ "until": "2027-01-31" })).await.0, StatusCode::OK);
    let standing = || bench.registry.snapshot().standing(&id.parse().unwrap(), NOW);
    let role = standing().unwrap().role.unwrap();
    assert_eq!(role.session_timeout.map(domain::Timeout::seconds), Some(300));
    let epoch = |bench: &Bench| bench.registry.snapshot().integration(&"sched".parse().unwrap()).unwrap().epoch;
    let before = epoch(&bench);

    // Another text of the role: nobody approved that, whether it is wider or narrower.
    let wider = format!("{READER}    phi_access: identified\n");
    let (_, changed) = apply(&bench, &wider).await;
    assert_eq!(actions(&changed), ["update", "update", "suspend"], "{changed}");
    assert!(standing().is_err());
    assert_eq!(epoch(&bench), before + 1, "what was issued under the old text ends");
}
