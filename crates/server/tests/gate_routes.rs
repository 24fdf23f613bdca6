//! No route is forgotten: every interaction, and every method on every shape of path, has its refusals (S1-35, S1-36).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use fhir::request::{Interaction, SubmissionKind, Write};
use support::Gate;

/// One interaction: how it is asked, and how it is asked about somebody else.
struct Route {
    name: &'static str,
    method: &'static str,
    /// About the session's own patient.
    own: &'static str,
    /// About another patient, or about an instance that is not the session's.
    foreign: &'static str,
    /// Media type and body for each of them.
    body: Option<(&'static str, &'static str, &'static str)>,
    /// Scopes under which it is permitted.
    scopes: &'static str,
    /// Scopes that lack just the letter it needs.
    lacks: &'static str,
    /// Whether the task's profile must list it.
    operation: bool,
}

const FHIR: &str = "application/fhir+json";
const READ: &str = "patient/Observation.r patient/Patient.r";
const SEARCH: &str = "patient/Observation.s patient/Patient.s";
const OWN: &str =
    r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
const OTHERS: &str =
    r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P2"}}"#;
const OWN_O1: &str = r#"{"resourceType":"Observation","id":"O1","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
const OTHERS_O2: &str = r#"{"resourceType":"Observation","id":"O2","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
const PATCH: &str = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;

const fn get(
    name: &'static str,
    own: &'static str,
    foreign: &'static str,
    scopes: &'static str,
    lacks: &'static str,
) -> Route {
    Route { name, method: "GET", own, foreign, body: None, scopes, lacks, operation: false }
}

const ROUTES: &[Route] = &[
    get("read", "Observation/O1", "Observation/O2", READ, SEARCH),
    get("read", "Patient/P1", "Patient/P2", READ, SEARCH),
    get("vread", "Observation/O1/_history/1", "Observation/O2/_history/1", READ, SEARCH),
    get("history", "Observation/O1/_history", "Patient/P2/_history", READ, SEARCH),
    get("search", "Observation?patient=P1", "Observation?patient=P2", SEARCH, READ),
    get("search", "Patient/P1/Observation", "Patient/P2/Observation", SEARCH, READ),
    get("page", "Observation?_hilum=AAAA", "Observation?_hilum=BBBB", SEARCH, READ),
    get(
        "binary",
        "Binary/B1",
        "Binary/B2",
        "patient/Binary.r patient/DocumentReference.rs",
        "patient/DocumentReference.rs",
    ),
    Route {
        method: "POST",
        body: Some(("application/x-www-form-urlencoded", "patient=P1", "patient=P2")),
        ..get("search", "Observation/_search", "Observation/_search", SEARCH, READ)
    },
    Route { operation: true, ..get("lastn", "Observation/$lastn", "Observation/$lastn?patient=P2", SEARCH, READ) },
    Route { operation: true, ..get("everything", "Patient/P1/$everything", "Patient/P2/$everything", READ, SEARCH) },
    Route {
        method: "POST",
        body: Some((FHIR, OWN, OTHERS)),
        ..get("create", "Observation", "Observation", "patient/Observation.c", "patient/Observation.ruds")
    },
    Route {
        method: "PUT",
        body: Some((FHIR, OWN_O1, OTHERS_O2)),
        ..get("update", "Observation/O1", "Observation/O2", "patient/Observation.u", "patient/Observation.crds")
    },
    Route {
        method: "PATCH",
        body: Some(("application/json-patch+json", PATCH, PATCH)),
        ..get("patch", "Observation/O1", "Observation/O2", "patient/Observation.ru", "patient/Observation.crds")
    },
    Route {
        method: "DELETE",
        ..get("delete", "Observation/O1S", "Observation/O2", "patient/Observation.d", "patient/Observation.crus")
    },
    Route {
        method: "POST",
        body: Some((
            FHIR,
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/O1"}}]}"#,
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/P2"}}]}"#,
        )),
        ..get("batch", "", "", READ, SEARCH)
    },
    Route {
        method: "POST",
        body: Some((
            FHIR,
            r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}},"request":{"method":"POST","url":"Observation"}}]}"#,
            r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P2"}},"request":{"method":"POST","url":"Observation"}}]}"#,
        )),
        ..get("transaction", "", "", "patient/Observation.c", "patient/Observation.ruds")
    },
];

/// A new interaction does not compile until it has a name here, and does not pass until that name has a row above.
fn name_of(interaction: &Interaction) -> &'static str {
    match interaction {
        Interaction::Capabilities => "capabilities",
        Interaction::Read { .. } => "read",
        Interaction::Vread { .. } => "vread",
        Interaction::History(_) => "history",
        Interaction::Search(search) => match search.asked {
            fhir::request::Asked::Get | fhir::request::Asked::Form => "search",
            fhir::request::Asked::LastN(_) => "lastn",
        },
        Interaction::Page { .. } => "page",
        Interaction::Everything(_) => "everything",
        Interaction::Binary { .. } => "binary",
        Interaction::Write(Write::Create { .. }) => "create",
        Interaction::Write(Write::Update { .. }) => "update",
        Interaction::Write(Write::Patch { .. }) => "patch",
        Interaction::Write(Write::Delete { .. }) => "delete",
        Interaction::Bundle(submission) => match submission.kind {
            SubmissionKind::Batch => "batch",
            SubmissionKind::Transaction => "transaction",
        },
        Interaction::Bulk(bulk) => bulk.name(),
    }
}

#[test]
fn every_interaction_has_a_row() {
    for name in Interaction::NAMES {
        // The statement is for everybody; what a token changes of it is in `gate_records`.
        // Exports are no session's for one patient: their denial cases are in `gate_export`.
        let elsewhere = name == "capabilities" || name.starts_with("export");
        assert!(elsewhere || ROUTES.iter().any(|route| route.name == name), "`{name}` has no denial case");
    }
    let read = fhir::request::read(&fhir::request::Raw::plain(fhir::request::Method::Get, "/metadata", None)).unwrap();
    assert_eq!(name_of(&read), read.name());
}

/// Status, and whether the answer of a batch is one refusal.
async fn ask(gate: &Gate, token: Option<&str>, route: &Route, path: &str, body: &str) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    headers.extend(route.body.map(|(media, ..)| ("content-type", media)));
    gate.upstream.requests.clear();
    let reply = gate.send(route.method, path, &headers, body).await;
    for word in ["Zwei", "mrn-p2", "127.0.0.1"] {
        assert!(!reply.text().contains(word), "{} {path}: {}", route.name, reply.text());
    }
    if route.name != "batch" || reply.status != 200 {
        return reply.status;
    }
    let status = reply.json()["entry"][0]["response"]["status"].as_str().unwrap_or("0").to_owned();
    status.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_refused_to_those_it_is_not_for() {
    for route in ROUTES {
        let gate = Gate::start().await;
        let (own, others) = route.body.map_or(("", ""), |(_, own, others)| (own, others));
        let shown = format!("{} {} {}", route.name, route.method, route.own);
        assert_eq!(ask(&gate, None, route, route.own, own).await, 401, "{shown}: without a token");
        assert_eq!(ask(&gate, Some("x.y.z"), route, route.own, own).await, 401, "{shown}: with a bad token");
        let asked = async |scopes: &str, path: &str, body: &str| {
            let token = gate.token_with_operations(scopes).await;
            (ask(&gate, Some(&token), route, path, body).await, gate.upstream.requests.count())
        };
        assert_eq!(asked(route.lacks, route.own, own).await, (403, 0), "{shown}: without the letter");
        assert_eq!(asked("patient/Device.rs", route.own, own).await, (403, 0), "{shown}: without the type");
        let (status, _) = asked(route.scopes, route.foreign, others).await;
        assert!([403, 404].contains(&status), "{shown}: somebody else's is {status}");
        let writes = gate.upstream.requests.all().iter().filter(|request| request.method != "GET").count();
        assert_eq!(writes, 0, "{shown}: somebody else's is not written");
        if route.operation {
            let token = gate.token(route.scopes).await;
            let status = ask(&gate, Some(&token), route, route.own, own).await;
            assert_eq!((status, gate.upstream.requests.count()), (403, 0), "{shown}: not in the profile");
        }
        if route.name != "page" {
            let (status, _) = asked(route.scopes, route.own, own).await;
            assert!((200..300).contains(&status), "{shown}: and permitted otherwise, {status}");
        }
        // The session that ended may do nothing.
        let session = gate.session("P1", route.scopes).await;
        let token = gate.sign(&session, |_| {});
        gate.end(&session).await;
        let status = ask(&gate, Some(&token), route, route.own, own).await;
        assert_eq!((status, gate.upstream.requests.count()), (401, 0), "{shown}: after the end");
    }
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"];

/// Every shape a path can have below the base.
const SHAPES: [&str; 25] = [
    "",
    "metadata",
    "_history",
    "_search",
    "$everything",
    "Observation",
    "Observation/_search",
    "Observation/_history",
    "Observation/$lastn",
    "Observation/O2",
    "Observation/O2/_history",
    "Observation/O2/_history/1",
    "Observation/O2/$validate",
    "Patient/P2",
    "Patient/P2/_history",
    "Patient/P2/_history/1",
    "Patient/P2/$everything",
    "Patient/P2/Observation",
    "Patient/P2/Observation/_search",
    "Patient/P2/*",
    "Encounter/E2/Observation",
    "Binary",
    "Binary/B2",
    "Binary/B2/_history/1",
    "nonsense/x/y/z",
];

/// Whoever has no token learns nothing from any of them, and nobody's token opens another patient's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_on_every_shape_needs_a_token_and_the_right_patient() {
    let gate = Gate::start().await;
    let mut token = gate.token_with_operations("patient/*.cruds").await;
    for (count, shape) in SHAPES.iter().enumerate() {
        for method in METHODS {
            gate.upstream.requests.clear();
            let reply = gate.send(method, shape, &[], "").await;
            if *shape == "metadata" && ["GET", "HEAD"].contains(&method) {
                assert_eq!(reply.status, 200);
            } else {
                assert!([401, 405].contains(&reply.status), "{method} {shape}: {}", reply.status);
            }
            assert_eq!(gate.upstream.requests.count(), 0, "{method} {shape}");
            let reply = gate.send(method, shape, &[("authorization", &format!("Bearer {token}"))], "").await;
            let own = ["metadata", "Observation", "Observation/_search", "Observation/$lastn"].contains(shape);
            assert!(reply.status >= 400 || own, "{method} {shape}: {} {}", reply.status, reply.text());
            for word in ["Zwei", "mrn-p2", "Patient/P2"] {
                assert!(!reply.text().contains(word), "{method} {shape}: {}", reply.text());
            }
        }
        if count % 3 == 2 {
            token = gate.token_with_operations("patient/*.cruds").await;
        }
    }
}

/// The endpoints in `/metadata` are those of the SMART configuration: some clients read the one, some the other (DISC-19).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_and_the_smart_configuration_name_the_same_endpoints() {
    const NAMES: [(&str, &str); 6] = [
        ("authorize", "authorization_endpoint"),
        ("token", "token_endpoint"),
        ("register", "registration_endpoint"),
        ("manage", "management_endpoint"),
        ("introspect", "introspection_endpoint"),
        ("revoke", "revocation_endpoint"),
    ];
    for (people, count) in [(false, 3), (true, 6)] {
        let gate = Gate::start_with(
            |ehr| ehr,
            |tenant| {
                if people {
                    tenant.people.sign_in = server::settings::SignIn::Demo(Vec::new());
                }
            },
        )
        .await;
        let statement = gate.send("GET", "metadata", &[], "").await.json();
        let smart = gate.send("GET", ".well-known/smart-configuration", &[], "").await.json();
        let uris = &statement["rest"][0]["security"]["extension"][0]["extension"];
        assert_eq!(uris.as_array().unwrap().len(), count);
        for (short, long) in NAMES {
            let found = uris.as_array().unwrap().iter().find(|one| one["url"] == short);
            assert_eq!(found.map(|one| &one["valueUri"]), smart.get(long), "{short}");
        }
    }
}
