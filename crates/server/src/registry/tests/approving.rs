//! Registering, asking and approving: the rules that hold whatever a person asks for.

use axum::http::StatusCode;
use domain::{ApprovalStatus, Reason, Role};
use serde_json::{Value, json};
use store::RoleGrant;

use super::{Bench, NOW, asking, jwks, mercy, registration, terms};

const DAY: i64 = 24 * 3_600_000;

#[tokio::test]
async fn s0_05_an_approval_stands_until_its_date_and_nobody_approves_their_own() {
    let bench = Bench::new().await;
    bench.staff().await;
    let id = bench.approved().await;
    let snapshot = bench.registry.snapshot();
    let standing = snapshot.standing(&id, NOW).unwrap();
    assert_eq!(standing.profile.reference().to_string(), "scheduling@1");
    let task = snapshot.approved_task(&mercy(), &"sched".parse().unwrap(), &"scheduling".parse().unwrap(), NOW);
    assert_eq!(task.unwrap().approval.id, id);
    assert!(
        snapshot.approved_task(&mercy(), &"sched".parse().unwrap(), &"intake".parse().unwrap(), NOW).is_none(),
        "S2-05"
    );
    assert!(
        snapshot
            .approved_task(&"other".parse().unwrap(), &"sched".parse().unwrap(), &"scheduling".parse().unwrap(), NOW)
            .is_none()
    );
    let ApprovalStatus::Approved { until, .. } = standing.approval.status else { panic!() };
    assert_eq!(snapshot.standing(&id, until).unwrap_err(), Reason::ApprovalMissing, "S2-25");
    // Olga asks again, then changes sides: the request stays hers.
    let mut again = asking();
    again["terms"]["token_seconds"] = json!(60);
    let (_, asked) = bench.olga("POST", "/tenants/mercy/approvals", again).await;
    let olga = "olga@mercy.example".parse().unwrap();
    let role = |role| RoleGrant { tenant: Some(mercy()), role };
    bench.store.revoke_role(&olga, &role(Role::Operator)).await.unwrap();
    bench.store.grant_role(&olga, &role(Role::PrivacyOfficer), &olga, NOW).await.unwrap().unwrap();
    let path = format!("/tenants/mercy/approvals/{}/approve", asked["id"].as_str().unwrap());
    let (status, problem) = bench.olga("POST", &path, json!({ "until": "2027-01-31" })).await;
    assert_eq!((status, problem["reason"].as_str()), (StatusCode::FORBIDDEN, Some("self-approval")));
    assert_eq!(bench.pia("POST", &path, json!({ "until": "2027-01-31" })).await.0, StatusCode::OK);
}

#[tokio::test]
async fn s0_05_any_change_of_what_was_approved_suspends_it() {
    let changes: [(&str, Value); 9] = [
        ("/class", json!("analytics")),
        ("/environment", json!("test")),
        ("/vendor", json!("Other")),
        ("/purpose", json!("something else")),
        ("/data_classes", json!(["scheduling", "notes"])),
        ("/expected", json!(["Patient", "Appointment", "Observation"])),
        ("/redirect_uris", json!(["https://app.example/cb"])),
        ("/auth", json!({ "keys": { "jwks": jwks(2) } })),
        ("/auth", json!({ "keys": { "jwks_url": "https://acme.example/jwks" } })),
    ];
    for (index, (pointer, value)) in changes.into_iter().enumerate() {
        let bench = Bench::new().await;
        bench.staff().await;
        let id = bench.approved().await;
        let epoch = bench.epoch();
        let mut body = registration();
        body[pointer.trim_start_matches('/')] = value;
        if pointer == "/environment" {
            let (status, problem) = bench.register(body.clone()).await;
            assert_eq!(status, StatusCode::CONFLICT, "S2-09: the key stays in its environment: {problem}");
            assert!(bench.registry.snapshot().standing(&id, NOW).is_ok(), "a refused change changes nothing");
            body["auth"] = json!({ "keys": { "jwks": jwks(2) } });
        }
        let (status, answer) = bench.register(body).await;
        assert_eq!(status, StatusCode::OK, "{pointer}: {answer}");
        assert!(matches!(bench.approval(&id).status, ApprovalStatus::Suspended { .. }), "case {index} {pointer}");
        assert_eq!(bench.registry.snapshot().standing(&id, NOW).unwrap_err(), Reason::ApprovalMissing);
        assert_eq!(bench.epoch(), epoch + 1, "{pointer}");
    }
}

#[tokio::test]
async fn what_is_no_risk_changes_without_suspending() {
    let bench = Bench::new().await;
    bench.staff().await;
    let id = bench.approved().await;
    let epoch = bench.epoch();
    let mut body = registration();
    body["name"] = json!("Scheduler 2");
    body["revocation_contact"] = json!("desk@mercy.example");
    assert_eq!(bench.register(body).await.0, StatusCode::OK);
    assert!(bench.registry.snapshot().standing(&id, NOW).is_ok());
    assert_eq!(bench.epoch(), epoch);
}

#[tokio::test]
async fn a_digest_that_no_longer_fits_fails_closed() {
    let bench = Bench::new().await;
    bench.staff().await;
    let id = bench.approved().await;
    // Written past the API, as a tampered row would be: the integration changes, the approval does not.
    let row = bench.store.find_integration("sched").await.unwrap().unwrap();
    let mut integration = row.integration;
    integration.expected.insert("Observation".parse().unwrap());
    let put = store::PutIntegration { integration, thumbprints: vec![], expected: Some(row.revision) };
    let change = store::Change { integrations: vec![put], ..store::Change::default() };
    let feed = bench.store.apply(&change, NOW).await.unwrap().unwrap();
    assert!(bench.registry.reached(feed).await);
    assert!(bench.approval(&id).in_force(NOW));
    assert_eq!(bench.registry.snapshot().standing(&id, NOW).unwrap_err(), Reason::ApprovalMissing);
}

#[tokio::test]
async fn switching_off_and_on() {
    let bench = Bench::new().await;
    bench.staff().await;
    let id = bench.approved().await;
    let epoch = bench.epoch();
    let path = |verb: &str| format!("/tenants/mercy/integrations/sched/{verb}");
    let why = json!({ "reason": "incident" });
    assert_eq!(bench.olga("POST", &path("suspend"), json!({})).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bench.olga("POST", &path("suspend"), why.clone()).await.0, StatusCode::OK);
    assert_eq!(bench.registry.snapshot().standing(&id, NOW).unwrap_err(), Reason::IntegrationInactive);
    assert_eq!(bench.olga("POST", &path("resume"), why.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(bench.pia("POST", &path("resume"), why.clone()).await.0, StatusCode::OK);
    assert!(bench.registry.snapshot().standing(&id, NOW).is_ok());
    assert_eq!(bench.epoch(), epoch + 2, "tokens from before stay dead");
    assert_eq!(bench.pia("POST", &path("end"), why.clone()).await.0, StatusCode::OK);
    assert!(matches!(bench.approval(&id).status, ApprovalStatus::Ended { .. }));
    assert_eq!(bench.pia("POST", &path("resume"), why).await.0, StatusCode::CONFLICT);
    assert_eq!(bench.register(registration()).await.0, StatusCode::UNPROCESSABLE_ENTITY, "for good");
}

#[tokio::test]
async fn an_approval_is_decided_once_and_for_what_was_read() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.register(registration()).await;
    let (_, asked) = bench.olga("POST", "/tenants/mercy/approvals", asking()).await;
    let (again, same) = bench.olga("POST", "/tenants/mercy/approvals", asking()).await;
    assert_eq!((again, &same["id"]), (StatusCode::OK, &asked["id"]), "an equal request is enough");
    let path = |verb: &str| format!("/tenants/mercy/approvals/{}/{verb}", asked["id"].as_str().unwrap());
    for (until, status) in [
        ("2026-01-01", StatusCode::UNPROCESSABLE_ENTITY),
        ("2027-07-02", StatusCode::UNPROCESSABLE_ENTITY),
        ("2029-01-01", StatusCode::UNPROCESSABLE_ENTITY),
        ("soon", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(bench.pia("POST", &path("approve"), json!({ "until": until })).await.0, status, "{until}");
    }
    let stale = json!({ "until": "2027-06-30", "digest": "0".repeat(64) });
    assert_eq!(bench.pia("POST", &path("approve"), stale).await.0, StatusCode::CONFLICT);
    let exact = json!({ "until": "2027-06-30", "digest": asked["digest"] });
    assert_eq!(bench.pia("POST", &path("approve"), exact.clone()).await.0, StatusCode::OK);
    assert_eq!(bench.pia("POST", &path("approve"), exact).await.0, StatusCode::CONFLICT);
    assert_eq!(bench.pia("POST", &path("reject"), json!({ "reason": "no" })).await.0, StatusCode::CONFLICT);
    assert_eq!(bench.pia("POST", &path("suspend"), json!({ "reason": "pause" })).await.0, StatusCode::OK);
    assert_eq!(bench.pia("POST", &path("end"), json!({ "reason": "over" })).await.0, StatusCode::OK);
    let (_, list) = bench.olga("GET", "/tenants/mercy/approvals?status=ended", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(bench.olga("GET", "/tenants/mercy/approvals?status=nope", Value::Null).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_may_not_break_its_class_or_its_registration() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.register(registration()).await;
    let write = |name: &str, scopes: &str| {
        let body = json!({ "purpose": "p", "purpose_of_use": "TREAT", "scopes": scopes });
        (format!("/tenants/mercy/tasks/{name}/1"), body)
    };
    for (name, scopes, status) in [
        ("wide", "patient/*.rs", StatusCode::UNPROCESSABLE_ENTITY),
        ("bad", "patient/Nope.rs", StatusCode::UNPROCESSABLE_ENTITY),
        ("none", "", StatusCode::UNPROCESSABLE_ENTITY),
        ("sys", "system/Patient.rs", StatusCode::OK),
        ("usr", "user/Patient.rs", StatusCode::OK),
        ("labs", "patient/Patient.r patient/Observation.rs", StatusCode::OK),
        ("book", "patient/Patient.r patient/Appointment.cruds", StatusCode::OK),
    ] {
        let (path, body) = write(name, scopes);
        assert_eq!(bench.olga("PUT", &path, body).await.0, status, "{name}");
    }
    let rule = |search: &str| json!({ "mode": "relationship", "evidence": "Appointment", "search": search, "dated_by": "start", "days_max": 30 });
    let booked = rule("patient=Patient/{patient}&status=booked");
    let cases: [(&str, Value, &str); 12] = [
        ("sys@1", terms(), "patient/ scopes only"),
        ("usr@1", terms(), "patient/ scopes only"),
        ("labs@1", terms(), "Observation"),
        ("nope@1", terms(), "no task"),
        ("scheduling@2", terms(), "no task"),
        (
            "scheduling@1",
            json!({ "launch": [], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } }),
            "at least one way",
        ),
        (
            "scheduling@1",
            json!({ "launch": [{ "mode": "ticket" }], "token_seconds": 901, "budgets": { "patients_per_hour": 1 } }),
            "S1-16",
        ),
        (
            "scheduling@1",
            json!({ "launch": [{ "mode": "ticket" }], "token_seconds": 300, "budgets": { "patients_per_hour": 0 } }),
            "patients_per_hour",
        ),
        (
            "scheduling@1",
            json!({ "launch": [rule("status=booked")], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } }),
            "exactly once",
        ),
        (
            "scheduling@1",
            json!({ "launch": [rule("patient=Patient/{patient}")], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } }),
            "also be bound",
        ),
        (
            "scheduling@1",
            json!({ "launch": [rule("frobnicate={patient}&status=booked")], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } }),
            "search",
        ),
        (
            "book@1",
            json!({ "launch": [booked.clone()], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } }),
            "proves no relationship",
        ),
    ];
    for (task, terms, says) in cases {
        let body = json!({ "integration": "sched", "task": task, "justification": "j", "terms": terms });
        let (status, problem) = bench.olga("POST", "/tenants/mercy/approvals", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{task} {says}: {problem}");
        assert!(problem["mistakes"].to_string().contains(says), "{says}: {problem}");
    }
    let trusting = json!({ "launch": [booked], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } });
    let body = json!({ "integration": "sched", "task": "scheduling@1", "justification": "j", "terms": trusting });
    assert_eq!(bench.olga("POST", "/tenants/mercy/approvals", body).await.0, StatusCode::CREATED);
    let body = json!({ "integration": "sched", "task": "book@1", "justification": "j", "terms": terms() });
    let (_, problem) = bench.olga("POST", "/tenants/mercy/approvals", body).await;
    assert!(problem["mistakes"].to_string().contains("proves care"), "{problem}");
}

/// S1-30, S2-01, S3-08.
#[tokio::test]
async fn s2_01_a_registration_names_every_mistake_at_once() {
    let bench = Bench::new().await;
    bench.staff().await;
    let (status, problem) = bench.register(json!({ "name": " ", "color": "red" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let all = problem["mistakes"].to_string();
    for field in [
        "auth",
        "environment",
        "owners",
        "vendor",
        "purpose",
        "data_classes",
        "expires_at",
        "revocation_contact",
        "color",
    ] {
        assert!(all.contains(&format!("`{field}`")), "{field}: {all}");
    }
    for (pointer, value, says) in [
        ("/owners/technical", json!("bea@mercy.example"), "two different people"),
        ("/owners/technical", json!("service-1"), "person id"),
        ("/expires_at", json!("2020-01-01"), "past"),
        ("/auth/keys/jwks/keys/0/d", json!("secret"), "private key"),
        ("/auth/method", json!("none"), "patient-app alone"),
        ("/auth/keys", json!({ "jwks_url": "http://x.example/jwks" }), "https"),
        ("/auth/keys", json!({ "jwks_url": "https://x@y.example/jwks" }), "user info"),
        ("/auth/keys", json!({ "jwks_url": "https://x.example/jwks#k" }), "user info"),
        ("/auth/keys", json!({ "jwks_url": "https://" }), "user info"),
        ("/auth/algorithms", json!(["ES384"]), "auth.algorithms"),
        ("/auth/algorithms", json!(["RS256"]), "auth.algorithms"),
        ("/auth/keys/jwks_url", json!("https://x.example"), "exactly one"),
        ("/redirect_uris", json!(["http://x.example/cb"]), "https"),
        ("/expected", json!(["Nope"]), "Nope"),
        ("/status", json!("ended"), "status"),
        ("/epoch", json!(7), "epoch"),
        ("/tenant", json!("other"), "other"),
        ("/id", json!("another"), "path"),
    ] {
        let mut body = registration();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        let (status, problem) = bench.register(body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{pointer}: {problem}");
        assert!(problem["mistakes"].to_string().contains(says), "{pointer}: {problem}");
    }
    assert!(bench.store.find_integration("sched").await.unwrap().is_none());
    let (_, shown) = bench.register(registration()).await;
    assert_eq!(shown["class"], "clinical-ai", "S1-07");
    assert_eq!(shown["expires_at"], "2027-07-01T00:00:00Z");
}

#[tokio::test]
async fn s1_33_ids_and_keys_are_unique_over_tenants() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.person("otto@other.example", &[(Some("other"), Role::Operator)]).await;
    bench.register(registration()).await;
    let otto = async |id: &str, body: Value| {
        bench.call("otto@other.example", "PUT", &format!("/tenants/other/integrations/{id}"), body.to_string()).await
    };
    assert_eq!(otto("sched", registration()).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, problem) = otto("mine", registration()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(!problem.to_string().contains("mercy"), "the other tenant is not named: {problem}");
    let mut own = registration();
    own["auth"] = json!({ "keys": { "jwks": jwks(9) } });
    assert_eq!(otto("mine", own).await.0, StatusCode::OK);
    let (status, _) = bench.olga("GET", "/tenants/mercy/integrations/mine", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, list) = bench.olga("GET", "/tenants/mercy/integrations", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn expiry_of_the_integration_ends_its_standing() {
    let bench = Bench::new().await;
    bench.staff().await;
    let id = bench.approved().await;
    assert!(bench.registry.snapshot().standing(&id, NOW + 30 * DAY).is_ok());
    let snapshot = bench.registry.snapshot();
    let end = snapshot.integration(&"sched".parse().unwrap()).unwrap().expires_at;
    assert_eq!(snapshot.standing(&id, end).unwrap_err(), Reason::IntegrationInactive);
}

#[tokio::test]
async fn budgets_are_asked_for_within_bounds_and_shown_as_they_hold() {
    let bench = Bench::new().await;
    bench.staff().await;
    assert_eq!(bench.register(registration()).await.0, StatusCode::OK);
    let ask = async |name: &str, value: u64| {
        let mut terms = terms();
        terms["budgets"][name] = json!(value);
        let body = json!({ "integration": "sched", "task": "scheduling@1", "justification": "j", "terms": terms });
        bench.olga("POST", "/tenants/mercy/approvals", body).await
    };
    for budget in domain::Budget::ALL {
        let (name, most) = (budget.name(), budget.most());
        for value in [0, most + 1] {
            let (status, problem) = ask(name, value).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {value}: {problem}");
            assert!(problem.to_string().contains(&format!("`terms.budgets.{name}` must be 1 to {most}")), "{problem}");
        }
    }
    let (status, asked) = ask("bytes_per_session", 12_345).await;
    assert_eq!(status, StatusCode::CREATED, "{asked}");
    assert_eq!(asked["terms"]["budgets"]["bytes_per_session"], 12_345);
    assert!(asked["terms"]["budgets"].get("pages_per_search").is_none(), "what was not asked is not written: {asked}");
    let words = asked["allows"].to_string();
    for says in ["1000 patients in a day", "600 requests a minute", "50 pages", "12345 bytes", "20 resource types"] {
        assert!(words.contains(says), "{says}: {words}");
    }
}

#[tokio::test]
async fn s1_12_an_export_takes_two_approvers_and_a_justification() {
    let bench = Bench::new().await;
    bench.staff().await;
    bench.person("pat@mercy.example", &[(Some("mercy"), Role::PrivacyOfficer)]).await;
    let mut body = registration();
    body["class"] = json!("analytics");
    body["auth"] = json!({ "keys": { "jwks": jwks(3) } });
    assert_eq!(bench.olga("PUT", "/tenants/mercy/integrations/cohorts", body).await.0, StatusCode::OK);
    bench.register(registration()).await;
    for (task, scopes) in
        [("quality", "system/Patient.rs"), ("writing", "system/Patient.cruds"), ("one", "patient/Patient.rs")]
    {
        let body = json!({ "purpose": "p", "purpose_of_use": "HQUALIMP", "scopes": scopes });
        assert_eq!(bench.olga("PUT", &format!("/tenants/mercy/tasks/{task}/1"), body).await.0, StatusCode::OK);
    }
    let terms = |launch: Value, seconds: u32| json!({ "launch": launch, "token_seconds": seconds, "budgets": { "patients_per_hour": 1 } });
    let group = json!([{ "mode": "export", "of": "Group/G1" }]);
    let ask = async |integration: &str, task: &str, why: &str, terms: Value| {
        let body = json!({ "integration": integration, "task": task, "justification": why, "terms": terms });
        bench.olga("POST", "/tenants/mercy/approvals", body).await
    };
    for (integration, task, why, terms, says) in [
        ("cohorts", "quality@1", "w", terms(json!([{ "mode": "ticket" }]), 300), "one `export`"),
        (
            "cohorts",
            "quality@1",
            "w",
            terms(json!([{ "mode": "export", "of": "Group/G1" }, { "mode": "export", "of": "Group/G2" }]), 300),
            "one `export`",
        ),
        (
            "cohorts",
            "quality@1",
            "w",
            terms(json!([{ "mode": "export", "of": "Group/G1" }, { "mode": "ticket" }]), 300),
            "one `export`",
        ),
        ("cohorts", "quality@1", "w", terms(json!([{ "mode": "export", "of": "*" }]), 300), "Group/[id]"),
        ("cohorts", "quality@1", " ", terms(group.clone(), 300), "justification"),
        ("cohorts", "quality@1", "w", terms(group.clone(), 301), "300"),
        ("cohorts", "writing@1", "w", terms(group.clone(), 300), "only exports"),
        ("cohorts", "one@1", "w", terms(group.clone(), 300), "system/ scopes only"),
        ("sched", "scheduling@1", "w", terms(group.clone(), 300), "class analytics"),
    ] {
        let (status, problem) = ask(integration, task, why, terms).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{says}: {problem}");
        assert!(problem.to_string().contains(says), "{says}: {problem}");
    }
    let (status, asked) = ask("cohorts", "quality@1", "yearly measures", terms(group, 300)).await;
    assert_eq!(status, StatusCode::CREATED, "{asked}");
    assert!(asked["allows"].to_string().contains("Group/G1"), "{asked}");
    let id: domain::ApprovalId = asked["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/tenants/mercy/approvals/{id}/approve");
    let until = |day: &str| json!({ "until": day });
    let (status, first) = bench.pia("POST", &path, until("2027-01-31")).await;
    assert_eq!(
        (status, &first["status"], &first["first_approved_by"]),
        (StatusCode::OK, &json!("requested"), &json!("pia@mercy.example"))
    );
    assert_eq!(bench.registry.snapshot().standing(&id, NOW).unwrap_err(), Reason::ApprovalMissing, "not by one");
    let (status, problem) = bench.pia("POST", &path, until("2027-01-31")).await;
    assert_eq!((status, problem["reason"].as_str()), (StatusCode::FORBIDDEN, Some("self-approval")));
    let pat = async |day: &str| bench.call("pat@mercy.example", "POST", &path, until(day).to_string()).await;
    let (status, done) = pat("2027-06-30").await;
    assert_eq!((status, &done["status"]), (StatusCode::OK, &json!("approved")), "{done}");
    let approval = bench.approval(&id);
    assert!(approval.is_by_two());
    let ApprovalStatus::Approved { until: end, .. } = approval.status else { panic!() };
    assert!(end < NOW + 90 * DAY, "the earlier of two ends");
    assert!(bench.registry.snapshot().standing(&id, NOW).is_ok());
    // Written past the API, an approval of one is none.
    let row = bench.store.find_approval(&id.to_string()).await.unwrap().unwrap();
    let alone = domain::Approval { first: None, ..row.approval };
    let put = store::PutApproval { approval: alone, expected: Some(row.revision) };
    let change = store::Change { approvals: vec![put], ..store::Change::default() };
    let feed = bench.store.apply(&change, NOW).await.unwrap().unwrap();
    assert!(bench.registry.reached(feed).await);
    assert_eq!(bench.registry.snapshot().standing(&id, NOW).unwrap_err(), Reason::ApprovalMissing);
}

#[tokio::test]
async fn s1_12_the_first_approval_is_of_what_was_asked_then() {
    let bench = Bench::new().await;
    bench.staff().await;
    let mut body = registration();
    body["class"] = json!("analytics");
    assert_eq!(bench.register(body.clone()).await.0, StatusCode::OK);
    let task = json!({ "purpose": "p", "purpose_of_use": "HQUALIMP", "scopes": "system/Patient.rs" });
    assert_eq!(bench.olga("PUT", "/tenants/mercy/tasks/quality/1", task).await.0, StatusCode::OK);
    let terms = json!({ "launch": [{ "mode": "export", "of": "all-patients" }], "token_seconds": 300, "budgets": { "patients_per_hour": 1 } });
    let asking = json!({ "integration": "sched", "task": "quality@1", "justification": "w", "terms": terms });
    let (_, asked) = bench.olga("POST", "/tenants/mercy/approvals", asking).await;
    assert!(asked["allows"].to_string().contains("ALL PATIENTS"), "{asked}");
    let id: domain::ApprovalId = asked["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/tenants/mercy/approvals/{id}/approve");
    assert_eq!(bench.pia("POST", &path, json!({ "until": "2027-01-31" })).await.0, StatusCode::OK);
    assert!(bench.approval(&id).first.is_some());
    body["vendor"] = json!("Other");
    assert_eq!(bench.register(body).await.0, StatusCode::OK);
    assert_eq!(bench.approval(&id).first, None, "it must be read again by two people");
}
