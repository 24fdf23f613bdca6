//! `hilum apply`: all mistakes with their lines, nothing approved, and the same twice is once.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Bench, jwks};

fn manifest() -> String {
    format!(
        r#"[[task]]
name = "reminders"
version = 1
purpose = "remind patients"
purpose_of_use = "HOPERAT"
scopes = "patient/Patient.r patient/Appointment.rs"

[[integration]]
id = "sched"
name = "Scheduler"
environment = "production"
vendor = "Acme"
purpose = "books appointments"
owners = {{ business = "bea@mercy.example", technical = "tom@mercy.example" }}
data_classes = ["scheduling"]
expected = ["Patient", "Appointment"]
expires_at = 2027-06-30T00:00:00Z
revocation_contact = "soc@mercy.example"
auth.keys.jwks = '{}'

[[integration.request]]
task = "reminders@1"
justification = "fewer missed visits"
terms = {{ launch = [{{ mode = "ticket" }}], token_seconds = 300, budgets = {{ patients_per_hour = 10 }} }}
"#,
        jwks(1)
    )
}

async fn apply(bench: &Bench, query: &str, text: &str) -> (StatusCode, Value) {
    bench.call("olga@mercy.example", "POST", &format!("/apply?tenant=mercy{query}"), text).await
}

fn actions(answer: &Value) -> Vec<&str> {
    answer["changes"].as_array().unwrap().iter().map(|line| line["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_manifest_is_applied_whole_asks_and_never_approves() {
    let bench = Bench::new().await;
    bench.staff().await;
    let (status, dry) = apply(&bench, "&dry_run=true", &manifest()).await;
    assert_eq!((status, actions(&dry)), (StatusCode::OK, vec!["create", "create", "request"]), "{dry}");
    assert!(bench.store.find_integration("sched").await.unwrap().is_none(), "a dry run changes nothing");
    let (status, done) = apply(&bench, "", &manifest()).await;
    assert_eq!((status, actions(&done)), (StatusCode::OK, vec!["create", "create", "request"]));
    let feed = bench.registry.feed();
    let (_, again) = apply(&bench, "", &manifest()).await;
    assert_eq!(actions(&again), ["unchanged"; 3]);
    assert_eq!(bench.registry.feed(), feed, "idempotent");
    let (_, list) = bench.pia("GET", "/tenants/mercy/approvals", Value::Null).await;
    let item = &list["items"][0];
    assert_eq!(item["status"], "requested");
    let path = |verb: &str| format!("/tenants/mercy/approvals/{}/{verb}", item["id"].as_str().unwrap());
    assert_eq!(bench.pia("POST", &path("approve"), json!({ "until": "2027-01-31" })).await.0, StatusCode::OK);
    let (_, again) = apply(&bench, "", &manifest()).await;
    assert_eq!(actions(&again), ["unchanged"; 3]);
    let wider = manifest().replace(r#"["Patient", "Appointment"]"#, r#"["Patient", "Appointment", "Slot"]"#);
    let (_, changed) = apply(&bench, "", &wider).await;
    assert_eq!(actions(&changed), ["unchanged", "update", "suspend", "request"], "{changed}");
}

#[tokio::test]
async fn what_a_person_rejected_is_not_asked_again_by_itself() {
    let bench = Bench::new().await;
    bench.staff().await;
    apply(&bench, "", &manifest()).await;
    let (_, list) = bench.pia("GET", "/tenants/mercy/approvals", Value::Null).await;
    let path = format!("/tenants/mercy/approvals/{}/reject", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(bench.pia("POST", &path, json!({ "reason": "no" })).await.0, StatusCode::OK);
    assert_eq!(actions(&apply(&bench, "", &manifest()).await.1), ["unchanged"; 3]);
}

#[tokio::test]
async fn every_mistake_is_shown_with_its_line() {
    let bench = Bench::new().await;
    bench.staff().await;
    let text = manifest()
        .replace("version = 1\n", "version = 0\n")
        .replace("environment = \"production\"", "environment = \"moon\"")
        .replace("vendor = \"Acme\"", "vendour = \"Acme\"")
        .replace("task = \"reminders@1\"", "task = \"reminders\"");
    let (status, problem) = apply(&bench, "", &text).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let lines: Vec<_> =
        problem["mistakes"].as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 8, 11, 12, 22], "{problem:#}");
    assert!(bench.store.find_integration("sched").await.unwrap().is_none());
    for (text, line) in
        [("[[task]]\nname = ", 2), ("a = 1\n", 1), ("[[task]]\nname = \"a\"\n\n[approval]\n", 4), ("\ntask = 3", 2)]
    {
        let (status, problem) = apply(&bench, "", text).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
        let mistakes = problem["mistakes"].as_array().unwrap();
        assert!(mistakes.iter().any(|one| one["line"] == line), "{text}: {problem}");
    }
}

#[tokio::test]
async fn a_manifest_goes_where_the_person_is_operator() {
    let bench = Bench::new().await;
    bench.staff().await;
    let post = async |path: &str| bench.call("olga@mercy.example", "POST", path, manifest()).await.0;
    assert_eq!(post("/apply").await, StatusCode::BAD_REQUEST);
    assert_eq!(post("/apply?tenant=other").await, StatusCode::FORBIDDEN);
    assert_eq!(post("/apply?tenant=mercy&force=true").await, StatusCode::BAD_REQUEST);
    assert_eq!(post("/apply?tenant=mercy").await, StatusCode::OK);
}
