//! De-identified sessions and roles at the gate (S4-05 … S4-10): no byte of who it is about leaves, and nothing else is lost by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use demo_ehr::Fault;
use domain::{Session, Subject};
use serde_json::{Value, json};
use server::audit::{Filter, PhiAccess};
use support::{Gate, Reply};

const PATIENT: &str = "canary-patient-7731";
const KALL: &str = "patient/*.cruds";
const DE_IDENTIFIED: &str = r#"{"permissions":["data:read"]}"#;
const IDENTIFIED: &str = r#"{"permissions":["data:read"],"phi_access":"identified"}"#;

/// Every text that must not leave, in whatever it stood.
const CANARIES: [&str; 14] = [
    "canary",
    "Canary",
    "CANARY",
    "\"1931",
    "-05-17",
    "2025-11",
    "10:11:12",
    "\"02134",
    "Elm Street",
    "555-0100",
    "versionId",
    "\"lastUpdated\"",
    "127.0.0.1",
    "_history",
];

fn plant(gate: &Gate) {
    let who = json!({ "reference": format!("Patient/{PATIENT}"), "display": "CanaryFamily" });
    gate.upstream.put(json!({
        "resourceType": "Patient", "id": PATIENT, "active": true, "gender": "female", "birthDate": "1931-05-17",
        "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">CanaryFamily</div>" },
        "name": [{ "family": "CanaryFamily", "given": ["CanaryGiven"] }],
        "identifier": [{ "system": "urn:mrn", "value": "CANARY-MRN" }],
        "telecom": [{ "system": "phone", "value": "555-0100" }],
        "address": [{ "line": ["1 Elm Street"], "city": "CanaryTown", "state": "MA", "postalCode": "02134", "country": "US" }],
        "contact": [{ "name": { "family": "CanaryMother" } }]
    }));
    gate.upstream
        .put(json!({ "resourceType": "Practitioner", "id": "canary-doctor", "name": [{ "family": "CanaryDoctor" }] }));
    gate.upstream.put(json!({
        "resourceType": "Encounter", "id": "canary-encounter", "status": "finished", "class": { "code": "AMB" }, "subject": who
    }));
    for number in 1..=3 {
        gate.upstream.put(json!({
            "resourceType": "Observation", "id": format!("canary-observation-{number}"), "status": "final", "subject": who,
            "meta": { "tag": [{ "system": "urn:canary", "code": "canary" }], "source": "urn:canary" },
            "code": { "coding": [{ "system": "http://loinc.org", "code": "8302-2", "display": "CanaryCode" }], "text": "CanaryText" },
            "identifier": [{ "value": "CANARY-ACCESSION" }],
            "encounter": { "reference": "Encounter/canary-encounter" },
            "performer": [{ "reference": "Practitioner/canary-doctor", "display": "CanaryDoctor" }],
            "effectiveDateTime": "2025-11-03T10:11:12Z", "issued": "2025-11-03T10:11:12Z",
            "note": [{ "text": "CanaryNote" }],
            "extension": [{ "url": "urn:canary", "valueString": "CanaryExtension" }],
            "contained": [{ "resourceType": "Organization", "id": "canary-contained", "name": "CanaryContained" }],
            "valueQuantity": { "value": 170 + number, "unit": "cm", "system": "http://unitsofmeasure.org", "code": "cm" }
        }));
    }
}

fn surrogate(session: &Session) -> String {
    match &session.subject {
        Subject::Surrogate(surrogate) => surrogate.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The reply, in which nothing is told: neither in its body nor in any header.
fn silent(what: &str, reply: Reply) -> Reply {
    let headers: String =
        reply.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    let text = reply.text();
    for canary in CANARIES {
        assert!(!text.contains(canary), "`{canary}` in the body of {what}: {text}");
        assert!(!headers.contains(canary), "`{canary}` in the headers of {what}: {headers}");
    }
    for name in ["etag", "last-modified", "location", "content-location"] {
        assert!(!reply.headers.contains_key(name), "{what}: {name}");
    }
    reply
}

async fn ask(gate: &Gate, token: &str, path: &str) -> Reply {
    silent(path, gate.get(token, path).await)
}

/// The last record, opened.
async fn record(gate: &Gate) -> String {
    let filter = Filter { tenant: Some("mercy".into()), limit: 1, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, PhiAccess::Open).await.unwrap();
    serde_json::to_string(&found.records[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_no_byte_of_who_it_is_about_leaves() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let token = gate.sign(&session, |_| {});
    let me = surrogate(&session);

    let patient = ask(&gate, &token, &format!("Patient/{me}")).await;
    assert_eq!(patient.status, 200, "{}", patient.text());
    let patient = patient.json();
    assert_eq!((&patient["id"], &patient["gender"], &patient["active"]), (&json!(me), &json!("female"), &json!(true)));
    assert_eq!(patient["birthDate"], "1936", "the oldest year that is told");
    assert_eq!(patient["address"][0]["state"], "MA");
    assert!(patient["meta"]["security"].to_string().contains("PSEUDED"));
    let written = record(&gate).await;
    assert!(written.contains(PATIENT) && written.contains("deid.profile"), "the sealed part knows: {written}");
    let attributes: Value = serde_json::from_str(&written).unwrap();
    let named = |name: &str| {
        let pairs = attributes.pointer("/phi/attributes").and_then(Value::as_array).cloned().unwrap_or_default();
        let found = pairs.into_iter().find(|pair| pair[0] == name);
        found.and_then(|pair| pair[1].as_str().map(str::to_owned)).unwrap_or_else(|| panic!("no {name}: {written}"))
    };
    assert!(named("role.name").starts_with("r-"));
    let role = server::registry::role_digest(&serde_json::from_str(DE_IDENTIFIED).unwrap());
    assert_eq!((named("role.digest"), role.len()), (role.clone(), 64));

    let found =
        ask(&gate, &token, &format!("Observation?patient=Patient/{me}&code=http://loinc.org|8302-2&date=2025")).await;
    assert_eq!((found.status, found.entries().len()), (200, 3), "{}", found.text());
    let bundle = found.json();
    assert!(bundle["link"].is_null() && bundle["total"].is_null(), "{bundle}");
    let one = &bundle["entry"][0]["resource"];
    assert_eq!(one["subject"]["reference"], format!("Patient/{me}"));
    assert_eq!((&one["effectiveDateTime"], &one["status"]), (&json!("2025"), &json!("final")));
    let id = one["id"].as_str().unwrap();
    assert_eq!(bundle["entry"][0]["fullUrl"], format!("http://gate.test/mercy/fhir/Observation/{id}"));
    // A surrogate found is a surrogate asked for, and stays the same.
    let again = ask(&gate, &token, &format!("Observation/{id}")).await;
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id)), "{}", again.text());
    let encounter = one["encounter"]["reference"].as_str().unwrap().to_owned();
    assert_eq!(ask(&gate, &token, &encounter).await.status, 200);
    let by_reference = ask(&gate, &token, &format!("Observation?encounter={encounter}")).await;
    assert_eq!(by_reference.entries().len(), 3);
    let by_url = ask(&gate, &token, &format!("Observation?encounter=http://gate.test/mercy/fhir/{encounter}")).await;
    assert_eq!(by_url.entries().len(), 3);
    assert_eq!(ask(&gate, &token, &format!("Observation?_id={id}")).await.entries().len(), 1);
    let below = ask(&gate, &token, &format!("Patient/{me}/Observation?_include=Observation:encounter")).await;
    assert_eq!(below.entries().len(), 4, "{}", below.text());
    let back = ask(&gate, &token, &format!("Patient?_id={me}&_revinclude=Observation:subject")).await;
    assert_eq!(back.entries().len(), 4, "{}", back.text());
    assert_eq!(ask(&gate, &token, "Observation/$lastn?code=8302-2").await.entries().len(), 1);
    let form =
        [("authorization", format!("Bearer {token}")), ("content-type", "application/x-www-form-urlencoded".into())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let posted = silent("_search", gate.send("POST", "Observation/_search", &form, "code=8302-2").await);
    assert_eq!(posted.entries().len(), 3);
    let statement = ask(&gate, &token, "metadata").await.json();
    let kinds = statement["rest"][0]["resource"].as_array().unwrap();
    let named = |name: &str| kinds.iter().find(|kind| kind["type"] == name).cloned().unwrap_or_default();
    assert_eq!(named("Observation")["interaction"], json!([{ "code": "read" }, { "code": "search-type" }]));
    assert!(!named("Patient")["searchParam"].to_string().contains("\"family\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_pages_and_batches_are_as_silent() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    let mut page = ask(&gate, &token, "Observation?_count=1").await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        seen.extend(page.entries());
        let Some(next) = page.link("next") else { break };
        let token_of_page = next.split_once("_hilum=").unwrap().1.to_owned();
        assert_eq!(token_of_page.len(), 36, "a surrogate, not a seal: {next}");
        page = silent(&next, gate.follow(&token, &next).await);
        assert_eq!(page.status, 200, "{}", page.text());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    // A link is this session's alone.
    let first = ask(&gate, &token, "Observation?_count=1").await.link("next").unwrap();
    let other = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    assert_ne!(surrogate(&other), me, "each integration has a table of its own");
    let stolen = silent("stolen", gate.follow(&gate.sign(&other, |_| {}), &first).await);
    assert_eq!(stolen.status, 403);

    let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": [
        { "request": { "method": "GET", "url": format!("Patient/{me}") } },
        { "request": { "method": "GET", "url": "Observation?code=8302-2" } },
        { "request": { "method": "GET", "url": format!("Patient/{PATIENT}") } },
        { "request": { "method": "DELETE", "url": format!("Observation/{me}") } }
    ]});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let answer = silent("batch", gate.send("POST", "", &headers, &batch.to_string()).await).json();
    let status: Vec<&str> =
        answer["entry"].as_array().unwrap().iter().map(|entry| entry["response"]["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["200", "200", "403", "403"], "{answer}");
    assert_eq!(answer["entry"][0]["resource"]["id"], me.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_a_real_id_is_nobodys_and_nothing_else_is_asked() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    for (path, status) in [
        (format!("Patient/{PATIENT}"), 403),
        ("Patient/P2".to_owned(), 403),
        ("Observation/canary-observation-1".to_owned(), 404),
        ("Observation/no-such".to_owned(), 404),
        (format!("Observation?patient={PATIENT}"), 403),
        (format!("Patient?_id={PATIENT}"), 403),
    ] {
        let reply = ask(&gate, &token, &path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    let absent = ask(&gate, &token, "Observation/no-such").await;
    let real = ask(&gate, &token, "Observation/canary-observation-1").await;
    assert_eq!((absent.status, absent.body), (real.status, real.body), "one answer for both");
    let none = ask(&gate, &token, "Observation?_id=canary-observation-1").await;
    assert_eq!((none.status, none.entries().len()), (200, 0), "{}", none.text());
    for path in [
        format!("Patient/{me}/_history"),
        format!("Patient/{me}/_history/1"),
        format!("Patient/{me}/$everything"),
        "Binary/B1".to_owned(),
        "Patient?identifier=urn:mrn|x".to_owned(),
        "Patient?family=x".to_owned(),
        "Patient?birthdate=1980-05".to_owned(),
        "Patient?birthdate=1930".to_owned(),
        "Observation?date=ge2025-01-01".to_owned(),
        "Observation?_lastUpdated=gt2020".to_owned(),
        "Observation?value-quantity=90".to_owned(),
        "Observation?code=Smith".to_owned(),
        "Patient?_sort=family".to_owned(),
        "Observation?_sort=-date".to_owned(),
        "Observation/$lastn?max=3".to_owned(),
        "Observation?date=ap2025".to_owned(),
        "Practitioner".to_owned(),
        "Practitioner?active=true".to_owned(),
    ] {
        let reply = ask(&gate, &token, &path).await;
        let ordered = reply.status == 400 && reply.text().contains("leave out `_sort`");
        assert_eq!(ordered, path.contains("_sort") || path.contains("max="), "{path}: {}", reply.text());
        assert!(matches!(reply.status, 400 | 403), "{path}: {} {}", reply.status, reply.text());
        assert!(gate.codes().await.last().is_some_and(|code| code == "de-identified"), "{path}");
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let observation = json!({ "resourceType": "Observation", "status": "final", "subject": { "reference": format!("Patient/{me}") },
        "code": { "text": "x" } });
    let transaction = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "request": { "method": "POST", "url": "Observation" }, "resource": observation } ]});
    for (method, path, body) in [
        ("POST", "Observation".to_owned(), observation.to_string()),
        ("DELETE", format!("Observation/{me}"), String::new()),
        ("POST", String::new(), transaction.to_string()),
    ] {
        let reply = silent(&path, gate.send(method, &path, &headers, &body).await);
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_what_cannot_be_made_safe_is_no_data() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    let mut turned = gate.upstream.resource("Observation", "canary-observation-2").unwrap();
    turned["modifierExtension"] = json!([{ "url": "urn:not", "valueBoolean": true }]);
    gate.upstream.put(turned);
    let reply = ask(&gate, &token, "Observation?code=8302-2").await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(gate.codes().await.last().map(String::as_str), Some("de-identified"));
    assert_eq!(ask(&gate, &token, &format!("Patient/{me}")).await.status, 200, "the rest is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_a_table_that_fails_is_no_data() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    let late = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (late_token, late_me) = (gate.sign(&late, |_| {}), surrogate(&late));
    assert_eq!(ask(&gate, &token, &format!("Patient/{me}")).await.status, 200);
    gate.store().close().await;
    assert_eq!(ask(&gate, &token, &format!("Patient/{me}")).await.status, 503, "what it means cannot be looked up");
    assert_eq!(ask(&gate, &token, "Observation?code=8302-2").await.status, 503, "nor what to call it");
    assert_eq!(ask(&gate, &late_token, &format!("Patient/{late_me}")).await.status, 503, "nor who it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_a_session_is_told_of_its_patient_as_its_role_asks() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let known = Session { subject: Subject::Patient(PATIENT.parse().unwrap()), ..session.clone() };
    let reply = gate.get(&gate.sign(&known, |_| {}), &format!("Patient/{PATIENT}")).await;
    assert_eq!(reply.status, 401, "a session that was told its patient is over");
    let unknown = "11111111-1111-4111-8111-111111111111";
    let other = Session { subject: Subject::Surrogate(unknown.parse().unwrap()), ..session.clone() };
    assert_eq!(
        gate.get(&gate.sign(&other, |_| {}), &format!("Patient/{unknown}")).await.status,
        401,
        "not its surrogate"
    );
    let open = gate.session_in(IDENTIFIED, PATIENT, KALL).await;
    let reply = gate.get(&gate.sign(&open, |_| {}), &format!("Patient/{PATIENT}")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("CanaryFamily"), "another role says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_05_to_s4_10_what_a_role_asks_for_and_is_not_so_admits_nobody() {
    let gate = Gate::start().await;
    let identified = |more: &str| format!(r#"{{"permissions":["data:read"],"phi_access":"identified"{more}}}"#);
    for (role, status) in [
        (identified(""), 200),
        (identified(r#","environment":"test""#), 200),
        (identified(r#","environment":"production""#), 403),
        (identified(r#","environment":"isolated-vpc""#), 403),
        (identified(r#","mfa_required":true"#), 403),
        (r#"{"permissions":["inference:invoke","model:read"],"phi_access":"identified"}"#.to_owned(), 403),
        (r#"{"permissions":[],"phi_access":"identified"}"#.to_owned(), 403),
    ] {
        let session = gate.session_in(&role, "P1", KALL).await;
        let reply = gate.get(&gate.sign(&session, |_| {}), "Patient/P1").await;
        assert_eq!(reply.status, status, "{role}: {}", reply.text());
        if status == 403 {
            assert_eq!(gate.codes().await.last().map(String::as_str), Some("role-refused"), "{role}");
        }
    }
    let session = gate.session_in(&identified(r#","data_export":false"#), "P1", KALL).await;
    let token = gate.sign(&session, |_| {});
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 200);
    let statement = gate.get(&token, "metadata").await;
    assert!(!statement.text().contains("Patient-everything"), "S1-35");
    let kinds = statement.json()["rest"][0]["resource"].clone();
    let binary = kinds.as_array().unwrap().iter().find(|kind| kind["type"] == "Binary").cloned().unwrap_or_default();
    assert!(!binary["interaction"].to_string().contains("\"read\""), "S1-35: {binary}");
    for path in ["Patient/P1/$everything", "Binary/B1"] {
        let reply: Value = gate.get(&token, path).await.json();
        assert!(reply.to_string().contains("refuses exports"), "{path}: {reply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_no_refusal_tells_whether_it_is_about_the_patient() {
    // A parameter, a type and an operation may be spelled like the patient; what is said of them must not show it.
    let gate = Gate::start().await;
    plant(&gate);
    gate.upstream.put(json!({ "resourceType": "Patient", "id": "birthdate", "active": true }));
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let alike = gate.session_in(DE_IDENTIFIED, "birthdate", KALL).await;
    let (token, alike) = (gate.sign(&session, |_| {}), gate.sign(&alike, |_| {}));
    for path in [
        "Patient?birthdate=1980-05",
        "Patient?nope:birthdate=1",
        "Patient?birthdate:nope=1",
        "Patient/birthdate",
        "Observation?patient=birthdate",
        "Observation?_sort=birthdate",
        "Observation/birthdate",
        "Nope/birthdate",
    ] {
        let (one, other) = (gate.get(&token, path).await, gate.get(&alike, path).await);
        assert!(one.status >= 400, "{path}: {}", one.text());
        assert_eq!((one.status, one.text()), (other.status, other.text()), "{path}");
        let challenge = |reply: &Reply| reply.headers.get("www-authenticate").cloned();
        assert_eq!(challenge(&one), challenge(&other), "{path}");
    }
}

/// The same is said whether a guess is right or not, in whatever place of a request it stands (the texts of refusals were an oracle).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_no_refusal_tells_a_real_id_from_any_other() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let token = gate.sign(&session, |_| {});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let places = [
        "Observation?GUESS=x",
        "Observation?patient=GUESS",
        "Observation?patient=Patient/GUESS",
        "Observation?patient=http://gate.test/mercy/fhir/Patient/GUESS",
        "Observation?subject:Patient=GUESS",
        "Observation?code=GUESS",
        "Observation?code=http://loinc.org|GUESS",
        "Observation?date=GUESS",
        "Observation?_sort=GUESS",
        "Observation?_include=Observation:GUESS",
        "Observation?_elements=GUESS",
        "Observation?_count=GUESS",
        "Observation?_id=GUESS",
        "Observation?_hilum=GUESS",
        "Observation?patient.name=GUESS",
        "Observation?encounter=GUESS",
        "Observation/GUESS",
        "Patient/GUESS",
        "Patient/GUESS/Observation",
        "Patient/GUESS/_history",
        "Patient/GUESS/_history/1",
        "Patient/GUESS/$everything",
        "Patient/GUESS/GUESS",
        "Patient?_id=GUESS",
        "Patient?identifier=GUESS",
        "Patient?_id=GUESS&_revinclude=Observation:subject",
        "GUESS",
        "Binary/GUESS",
    ];
    // Of the patient, of nobody, and of somebody else.
    for place in places {
        let mut said = Vec::new();
        for guess in [PATIENT, "canary-patient-7732", "P2"] {
            // Each of them is one of few that may be absent, so each guess has a session of its own.
            let other = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
            let token = gate.sign(&other, |_| {});
            let path = place.replace("GUESS", guess);
            gate.upstream.requests.clear();
            let reply = gate.get(&token, &path).await;
            // What was never understood may come back to its sender, and nothing else.
            let text = reply.text().replace(guess, "GUESS");
            let headers: Vec<_> = reply
                .headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length"))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            said.push((reply.status, headers, gate.upstream.requests.take().len(), text));
        }
        assert!(said.iter().all(|one| *one == said[0]), "{place}: {said:?}");
    }
    for method in ["PUT", "DELETE", "PATCH", "HEAD", "POST"] {
        let mut said = Vec::new();
        for guess in [PATIENT, "canary-patient-7732", "P2"] {
            let body = json!({ "resourceType": "Patient", "id": guess }).to_string();
            let reply = gate.send(method, &format!("Patient/{guess}"), &headers, &body).await;
            said.push((reply.status, gate.upstream.requests.take().len(), reply.text().replace(guess, "GUESS")));
        }
        assert!(said.iter().all(|one| *one == said[0]), "{method}: {said:?}");
    }
    let batch = |guess: &str| {
        let urls = [
            format!("Patient/{guess}"),
            format!("Observation?{guess}=1"),
            format!("Observation?patient={guess}"),
            "metadata".into(),
        ];
        let entries: Vec<Value> =
            urls.iter().map(|url| json!({ "request": { "method": "GET", "url": url } })).collect();
        json!({ "resourceType": "Bundle", "type": "batch", "entry": entries }).to_string()
    };
    let other = "canary-patient-7732";
    let one = gate.send("POST", "", &headers, &batch(PATIENT)).await;
    let two = gate.send("POST", "", &headers, &batch(other)).await;
    assert_eq!((one.status, one.text().replace(PATIENT, other)), (two.status, two.text()));
}

/// Nothing that an upstream says of its own leaves, in whatever state it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_what_an_upstream_says_in_place_of_data_stays_here() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    let mut seen = std::collections::BTreeSet::new();
    let says = "CANARY of canary-patient-7731";
    let faults = [400, 401, 403, 404, 410, 422, 429, 500, 503].map(Fault::Status).into_iter().chain([
        Fault::StackTrace(says.into()),
        Fault::OutcomeWith200,
        Fault::Html,
        Fault::Xml,
        Fault::Gone,
        Fault::MalformedJson,
        Fault::TruncatedJson(300),
        Fault::Redirect("https://canary.example/Patient/canary-patient-7731".into()),
        Fault::BundleType("CANARY".into()),
        Fault::ContentType("text/CANARY".into()),
        Fault::NotModified,
    ]);
    for fault in faults {
        gate.upstream.faults.only(fault.clone());
        for path in
            [format!("Patient/{me}"), "Observation?code=8302-2".to_owned(), "Observation/$lastn?code=8302-2".to_owned()]
        {
            let reply = ask(&gate, &token, &path).await;
            // Two that do not concern every answer.
            let is_data = match fault {
                Fault::BundleType(_) => path.starts_with("Patient"),
                Fault::Gone => !path.starts_with("Patient"),
                _ => false,
            };
            assert_eq!(reply.status == 200, is_data, "{fault:?} {path}: {}", reply.text());
            seen.insert(reply.status);
        }
    }
    for fault in [
        Fault::OddHeaders,
        Fault::NextLink("https://canary.example/Observation?canary-patient-7731".into()),
        Fault::SelfLink("https://canary.example/Observation?canary-patient-7731".into()),
        Fault::FullUrl("Observation/canary".into()),
        Fault::Total(7731),
        Fault::EtagOnly,
    ] {
        gate.upstream.faults.only(fault);
        for path in [format!("Patient/{me}"), "Observation?code=8302-2".to_owned()] {
            assert!(!ask(&gate, &token, &path).await.text().contains("7731"), "{path}");
        }
    }
    assert!(seen.len() > 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_one_thing_has_one_surrogate_and_a_shared_one_is_found_by_it_alone() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let token = gate.sign(&session, |_| {});
    let bases =
        [gate.tenant().upstream.fhir.trim_end_matches('/').to_owned(), "http://gate.test/mercy/fhir".to_owned()];
    for (number, base) in bases.iter().enumerate() {
        let mut turned = gate.upstream.resource("Observation", &format!("canary-observation-{}", number + 1)).unwrap();
        turned["performer"][0]["reference"] = json!(format!("{base}/Practitioner/canary-doctor"));
        gate.upstream.put(turned);
    }
    let found = ask(&gate, &token, "Observation?code=8302-2&_include=Observation:performer").await;
    let bundle = found.json();
    let entries = bundle["entry"].as_array().unwrap();
    let performers: std::collections::BTreeSet<&str> =
        entries.iter().filter_map(|entry| entry["resource"]["performer"][0]["reference"].as_str()).collect();
    assert_eq!(performers.len(), 1, "{}", found.text());
    let doctor = *performers.first().unwrap();
    assert_eq!(ask(&gate, &token, doctor).await.status, 200);
    let (_, id) = doctor.split_once('/').unwrap();
    let by_id = ask(&gate, &token, &format!("Practitioner?_id={id}")).await;
    assert_eq!((by_id.status, by_id.entries()), (200, vec![doctor.to_owned()]), "{}", by_id.text());
    let ids: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["search"]["mode"] == "match")
        .map(|entry| entry["resource"]["id"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted(), "in the order of surrogates, which is nobody's: {ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_06_no_version_and_no_time_is_told_by_a_condition() {
    let gate = Gate::start().await;
    plant(&gate);
    let session = gate.session_in(DE_IDENTIFIED, PATIENT, KALL).await;
    let (token, me) = (gate.sign(&session, |_| {}), surrogate(&session));
    let bearer = format!("Bearer {token}");
    for (name, value) in [
        ("if-none-match", "*"),
        ("if-none-match", "W/\"1\""),
        ("if-modified-since", "Wed, 01 Jan 2020 00:00:00 GMT"),
        ("if-modified-since", "Wed, 01 Jan 2098 00:00:00 GMT"),
        ("accept", "application/json"),
        ("accept", "application/fhir+json; fhirVersion=4.0"),
        ("prefer", "return=representation"),
    ] {
        let headers = [("authorization", bearer.as_str()), (name, value)];
        let reply = silent(name, gate.send("GET", &format!("Patient/{me}"), &headers, "").await);
        assert_eq!(reply.status, 200, "{name}: {value}: {}", reply.text());
    }
    for (accept, status) in [("application/fhir+xml", 406), ("text/html", 406)] {
        let headers = [("authorization", bearer.as_str()), ("accept", accept)];
        let reply = silent(accept, gate.send("GET", &format!("Patient/{me}"), &headers, "").await);
        assert_eq!(reply.status, status, "{accept}");
    }
    for view in [
        "_summary=true",
        "_summary=text",
        "_summary=data",
        "_summary=count",
        "_elements=id",
        "_elements=name,birthDate",
        "_pretty=true",
    ] {
        let reply = ask(&gate, &token, &format!("Observation?code=8302-2&{view}")).await;
        assert!(matches!(reply.status, 200 | 400), "{view}: {}", reply.text());
        let reply = ask(&gate, &token, &format!("Patient/{me}?{view}")).await;
        assert!(matches!(reply.status, 200 | 400), "{view}: {}", reply.text());
        assert!(!reply.text().contains("total"), "{view}");
    }
}
