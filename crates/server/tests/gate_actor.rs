//! For whom an agent acts, at the gate: in every record, and in what the organisation's policies see (UD-12).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use domain::{Actor, LaunchKind, Session};
use server::audit::{Filter, PhiAccess};
use store::{Change, PutPolicy};
use support::Gate;

/// Puts policies in force, as another process would.
async fn put(gate: &Gate, forbid: &str, expected: Option<u64>) {
    let text = format!(
        "@id(\"granted\") permit (principal, action, resource);\n@id(\"no\") forbid (principal, action, resource) {forbid};"
    );
    let put = PutPolicy { tenant: "mercy".parse().unwrap(), text, expected };
    let change = Change { policies: vec![put], ..Change::default() };
    gate.reach(gate.store().apply(&change, support::NOW).await.unwrap().unwrap()).await;
}

/// Attributes of the newest record of this kind.
async fn attributes(gate: &Gate, kind: &str) -> Vec<(String, String)> {
    let filter = Filter { tenant: Some("mercy".into()), limit: 100, ..Filter::default() };
    let found = gate.server.parts.audit.search(filter, PhiAccess::Open).await.unwrap();
    let record = found.records.iter().find(|record| record.kind == kind).unwrap();
    serde_json::from_value(serde_json::to_value(record).unwrap()["phi"]["attributes"].clone()).unwrap()
}

async fn session(gate: &Gate) -> Session {
    let act = Actor {
        sub: "lee".into(),
        iss: "agent".into(),
        subject_role: "nurse".into(),
        organization_id: "https://mercy.example/org".into(),
        organization_name: "Mercy".into(),
        ..Actor::default()
    };
    Session { act, ..gate.session("P1", "patient/*.rs").await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ud_12_every_record_says_for_whom() {
    let gate = Gate::start().await;
    let token = gate.sign(&session(&gate).await, |_| {});
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 200);
    assert_ne!(gate.get(&token, "Patient?_id=P2").await.status, 200);
    for kind in ["fhir.read", "fhir.denied"] {
        let all = attributes(&gate, kind).await;
        for (name, value) in [
            ("act.sub", "lee"),
            ("act.iss", "agent"),
            ("act.subject_role", "nurse"),
            ("act.organization_id", "https://mercy.example/org"),
            ("act.organization_name", "Mercy"),
            ("session.launch", "ticket"),
            ("session.bound", "false"),
        ] {
            assert!(all.contains(&(name.to_owned(), value.to_owned())), "{kind}: {name} in {all:?}");
        }
    }
}

/// Each fact alone makes the difference; where it is not known, a `forbid` that reads it forbids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_see_for_whom_how_it_started_and_whether_it_is_bound() {
    let gate = Gate::start().await;
    let base = session(&gate).await;
    type Flip = fn(&mut Session);
    let cases: [(&str, &[Flip]); 4] = [
        (
            "unless { context.session.actor has sub && context.session.actor.sub == \"lee\" }",
            &[|session| session.act.sub = "mallory".into(), |session| session.act.sub.clear()],
        ),
        (
            "unless { context.session.actor has role && context.session.actor.role == \"nurse\" }",
            &[|session| session.act.subject_role = "clerk".into(), |session| session.act.subject_role.clear()],
        ),
        (
            "unless { context.session.actor has organization && \
             context.session.actor.organization == \"https://mercy.example/org\" }",
            &[
                |session| session.act.organization_id = "https://other.example".into(),
                |session| session.act.organization_id.clear(),
            ],
        ),
        (
            "unless { context.session has relationship && context.session.relationship == Relationship::\"ticket\" }",
            &[|session| session.launch = LaunchKind::Relationship],
        ),
    ];
    let mut expected = None;
    for (forbid, flips) in cases {
        put(&gate, forbid, expected).await;
        expected = Some(expected.map_or(1, |revision| revision + 1));
        let fits = gate.get(&gate.sign(&base, |_| {}), "Patient/P1").await;
        assert_eq!(fits.status, 200, "{forbid}: {}", fits.text());
        for flip in flips {
            // A session of its own: what is decided for a session lasts.
            let mut other = session(&gate).await;
            flip(&mut other);
            let reply = gate.get(&gate.sign(&other, |_| {}), "Patient/P1").await;
            assert_eq!(reply.status, 403, "{forbid}: {}", reply.text());
        }
    }
    put(&gate, "unless { context.session.bound }", expected).await;
    assert_eq!(gate.get(&gate.sign(&base, |_| {}), "Patient/P1").await.status, 403);
}
