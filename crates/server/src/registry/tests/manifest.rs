//! `hilum apply`: all mistakes with their lines, nothing approved, and the same twice is once.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Bench, jwks, mercy};

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

async fn officer_applies(bench: &Bench, query: &str, text: &str) -> (StatusCode, Value) {
    bench.call("pia@mercy.example", "POST", &format!("/apply?tenant=mercy{query}"), text).await
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

#[tokio::test]
async fn policies_are_validated_applied_and_recorded() {
    let bench = Bench::new().await;
    bench.staff().await;
    let text = |policies: &str| format!("[[policy]]\ntext = '''\n{policies}'''\n");
    let shipped = bench.registry.snapshot().policies(&mercy()).unwrap().infos().len();
    assert_eq!(shipped, 4);
    let granted = "@id(\"granted\")\npermit (principal, action, resource);\n";
    let refused = apply(&bench, "", &text(granted)).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN, "policies bind operators too: {}", refused.1);
    let (_, dry) = apply(&bench, "&dry_run=true", &text(granted)).await;
    assert_eq!(actions(&dry), ["create"], "who may not apply may look");
    let apply = officer_applies;
    let (status, done) = apply(&bench, "", &text(granted)).await;
    assert_eq!((status, actions(&done)), (StatusCode::OK, vec!["create"]), "{done}");
    assert_eq!(officer_applies(&bench, "", &manifest()).await.0, StatusCode::FORBIDDEN, "officers register nothing");
    let (_, shown) = bench.pia("GET", "/tenants/mercy/policy", Value::Null).await;
    assert_eq!((&shown["shipped"], &shown["text"]), (&json!(false), &json!(granted)));
    let epoch = |bench: &Bench| bench.registry.snapshot().policies(&mercy()).unwrap().epoch();
    assert_eq!(epoch(&bench), 1);
    assert_eq!(actions(&apply(&bench, "", &text(granted)).await.1), ["unchanged"]);
    let wrong = format!("{granted}@id(\"b\")\nforbid (principal, action, resource == Type::\"Observaton\");\n");
    let (status, refused) = apply(&bench, "", &text(&wrong)).await;
    assert!(status.is_client_error() && refused.to_string().contains("Observaton"), "{refused}");
    let two = text(granted) + &text("");
    assert!(apply(&bench, "", &two).await.0.is_client_error(), "one text for a tenant");
    assert_eq!(epoch(&bench), 1, "with a mistake nothing is in force");
    let (_, changed) = apply(&bench, "", &text("")).await;
    assert_eq!((actions(&changed), epoch(&bench)), (vec!["update"], 2));
    assert_eq!(bench.registry.snapshot().policies(&mercy()).unwrap().infos().len(), 0);
    let other = bench.registry.snapshot().policies(&"other".parse().unwrap()).unwrap().epoch();
    assert_eq!(other, 0, "another tenant keeps what is shipped");
    let records = bench.fake.records.lock();
    assert!(records.iter().any(|record| record.phi.note.contains("@id(\"granted\")")), "who applied what is on record");
}
