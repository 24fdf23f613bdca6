//! The rows of `spec/enforcement.md` that this release owns, against the demonstration upstream (S1-04, S1-31).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use support::Gate;

const KALL: &str = "patient/*.rs";
const KOBS: &str = "patient/Observation.rs";
const KVIT: &str =
    "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";
const KPAT: &str = "patient/Patient.rs";
const KPO: &str = "patient/Patient.rs patient/Observation.rs";
const KSTD: &str =
    "patient/Patient.rs patient/Observation.rs patient/Condition.rs patient/Encounter.rs patient/MedicationRequest.rs";

/// What must come back: refused before the upstream is asked, refused after, or these entries.
enum Want {
    /// Status, without contact.
    D(u16),
    /// Status, whether or not the upstream was asked.
    V(u16),
    /// A resource.
    Read,
    /// Exactly these versions.
    Versions(&'static [&'static str]),
    /// Exactly these entries.
    Entries(&'static [&'static str]),
    /// Either of these, both safe by the catalogue.
    Refused(&'static [u16]),
}

use Want::{D, Entries, Read, Refused, V, Versions};

const ROWS: &[(&str, &str, &str, Want)] = &[
    // b.1 read
    ("RD-01", KOBS, "Observation/O1", Read),
    ("RD-02", KOBS, "Observation/O2", V(404)),
    ("RD-03", KOBS, "Observation/none", V(404)),
    ("RD-04", KPAT, "Patient/P1", Read),
    ("RD-05", KPAT, "Patient/P2", D(403)),
    ("RD-06", KPAT, "Patient/none", D(403)),
    ("RD-07", KOBS, "Patient/P1", D(403)),
    ("RD-08", KOBS, "Condition/C1", D(403)),
    ("RD-09", "patient/Observation.s", "Observation/O1", D(403)),
    ("RD-11", KVIT, "Observation/O1", Read),
    ("RD-12", KVIT, "Observation/O1L", V(404)),
    ("RD-13", KOBS, "Observation/OPF", V(404)),
    ("RD-14", KOBS, "Observation/OFO", V(404)),
    ("RD-15", KOBS, "Observation/O12", V(404)),
    ("RD-16", KOBS, "Observation/OAB", Read),
    ("RD-18", KOBS, "Observation/OVR", Read),
    ("RD-17", KOBS, "Observation/OEX", V(404)),
    ("RD-19", KOBS, "Observation/OID", V(404)),
    ("RD-20", KOBS, "Observation/ONO", V(404)),
    ("RD-21", KOBS, "Observation/OCT", V(404)),
    ("RD-22", KALL, "CodeSystem/x", Read),
    ("RD-22b", KALL, "Medication/MED1", Read),
    ("RD-22c", KALL, "Medication/MEDP", V(404)),
    ("RD-23", KALL, "Task/T2", V(404)),
    ("RD-23b", KALL, "Task/T1", Read),
    ("RD-24", KALL, "Binary/BX", V(404)),
    ("RD-35", KOBS, "Observation/O1?subject=Patient/P2", D(400)),
    ("RD-36", KOBS, "Observation/ODEL", V(404)),
    ("RD-37", KOBS, "Observation/OMV", Read),
    ("CT-04", KOBS, "Observation/OCC", V(404)),
    ("CT-05", KALL, "Bundle/doc", D(403)),
    ("CT-06", KALL, "CarePlan/CP1", V(404)),
    ("CT-10a", KOBS, "Observation/OSL", V(404)),
    ("CT-10b", KOBS, "Observation/OSP", V(404)),
    ("CT-10c", KOBS, "Observation/OLC", V(404)),
    ("CT-10d", KOBS, "Observation/OQU", V(404)),
    ("GL-02", KALL, "List/L1", Refused(&[404, 200])),
    // b.2 vread and history
    ("VR-01", KOBS, "Observation/O1/_history/1", Read),
    ("VR-02", KOBS, "Observation/O2/_history/1", V(404)),
    ("VR-03", KOBS, "Observation/OMV/_history/2", Read),
    ("VR-03b", KOBS, "Observation/OMV/_history/1", V(404)),
    ("VR-04", KVIT, "Observation/O1L/_history/1", V(404)),
    ("VR-05", KOBS, "Observation/none/_history/1", V(404)),
    ("VR-05b", KOBS, "Observation/O1/_history/99", V(404)),
    ("VR-06", KOBS, "Observation/O1/_history", Versions(&["1"])),
    ("VR-07", KOBS, "Observation/OMV/_history", Versions(&["2"])),
    ("VR-08", KOBS, "Observation/O2/_history", V(404)),
    ("VR-08b", KOBS, "Observation/none/_history", V(404)),
    ("VR-08c", KOBS, "Observation/ODEL/_history", V(404)),
    ("VR-09", KPAT, "Patient/P1/_history", Versions(&["1"])),
    ("VR-10", KPAT, "Patient/P2/_history", D(403)),
    ("VR-10b", KPAT, "Patient/P2/_history/1", D(403)),
    ("VR-11", KALL, "Observation/_history", D(403)),
    ("VR-12", KALL, "Observation/_history?patient=P1", D(403)),
    ("VR-13", KPAT, "Patient/_history?_id=P1", D(403)),
    ("VR-14", KALL, "_history", D(403)),
    ("VR-17", KOBS, "Observation/O1/_history?_elements=id", Versions(&["1"])),
    ("VR-17b", KOBS, "Observation/O2/_history?_elements=id", V(404)),
    ("VR-18", KOBS, "Observation/O1/_history/1/x", D(400)),
    ("VR-18b", KOBS, "Observation/O1/_history?_count=0", D(400)),
    ("VR-18c", KOBS, "Observation/O1/_history?patient=P2", D(400)),
    ("VR-19", "patient/Observation.s", "Observation/O1/_history", D(403)),
    ("VR-19b", "patient/Observation.s", "Observation/O1/_history/1", D(403)),
    ("CP-12", KOBS, "Patient/P1/_history", D(403)),
    // b.9 compartment paths
    ("CP-01", KVIT, "Patient/P1/Observation?_id=O1,O1L,O2", Entries(&["Observation/O1"])),
    ("CP-02", KPAT, "Patient/P1/Observation", D(403)),
    ("CP-03", KOBS, "Patient/P2/Observation", D(403)),
    ("CP-03b", KOBS, "Patient/none/Observation", D(403)),
    ("CP-04", KOBS, "Patient/P1/Observation?patient=P2", D(403)),
    ("CP-05", KSTD, "Encounter/E1/Observation", D(403)),
    ("CP-06", KSTD, "Encounter/E2/Observation?patient=P1", D(403)),
    ("CP-07", KOBS, "Practitioner/PRA/Observation?patient=P1", D(403)),
    ("CP-08", KOBS, "Device/DV/Observation", D(403)),
    ("CP-09", KALL, "RelatedPerson/RP1/Patient", D(403)),
    ("CP-10", KALL, "Patient/P1/*", D(403)),
    ("CP-11", KALL, "Patient/P1/Practitioner", D(400)),
    ("CP-13", KALL, "Patient/P1/Binary", D(403)),
    // b.10, b.11 operations: only those that the profile lists, and only the session's patient
    ("OP-01", KALL, "Patient/P1/$everything", D(403)),
    ("OP-04", KPO, "Patient/P2/$everything", D(403)),
    ("OP-11", KSTD, "Encounter/E1/$everything", D(403)),
    ("OP-12", KOBS, "Observation/$lastn?patient=P1", D(403)),
    ("OP-14", KALL, "Patient/$match", D(403)),
    ("OP-15", KALL, "$member-match", D(403)),
    ("OP-16", KALL, "Composition/x/$document?persist=true", D(403)),
    ("OP-19", KALL, "Observation/O2/$validate", D(403)),
    ("OP-21", KALL, "$reindex", D(403)),
    ("OP-22", KALL, "$process-message", D(403)),
    ("OP-23", KALL, "ValueSet/$expand", D(403)),
    ("OP-24", KPAT, "Patient/P1/$summary", D(403)),
    ("OP-26", KPAT, "Patient/P1/$Everything", D(403)),
    ("OP-28", KALL, "Measure/x/$evaluate-measure?subject=Patient/P2", D(403)),
    ("OP-30", KALL, "Group/G12/$everything", D(403)),
    ("EX-04", KALL, "Patient/P1/$export", D(403)),
    ("EX-07", KALL, "$export-poll-status", D(403)),
    ("S1-13", KALL, "$export", D(403)),
    ("S1-13b", KALL, "Patient/$export", D(403)),
    ("S1-13c", KALL, "Group/G12/%24export", D(403)),
    // b.3 search
    (
        "SR-01",
        KVIT,
        "Observation",
        Entries(&[
            "Observation/O1",
            "Observation/OAB",
            "Observation/ODR",
            "Observation/OHM",
            "Observation/OMV",
            "Observation/OVR",
        ]),
    ),
    ("SR-03", KOBS, "Observation?patient=P2", D(403)),
    ("SR-04", KVIT, "Observation?patient=Patient/P1&_id=O1", Entries(&["Observation/O1"])),
    ("SR-05", KVIT, "Observation?patient=P1,P2&_id=O1,O2", Entries(&["Observation/O1"])),
    ("SR-06", KVIT, "Observation?subject=Patient/P1,Group/g&_id=O1", Entries(&["Observation/O1"])),
    ("SR-08", KOBS, "Observation?subject=P1&patient=P2", D(403)),
    ("SR-09", KOBS, "Observation?patient=P1&subject=Patient/P2", D(403)),
    ("SR-11", KOBS, "Observation?subject:missing=true", D(400)),
    ("SR-12", KOBS, "Observation?subject:identifier=urn:mrn|mrn-p2", D(400)),
    ("SR-13", KOBS, "Observation?subject:Patient=P2", D(403)),
    ("SR-15", KOBS, "Observation?subject=https://elsewhere/Patient/P1", Entries(&[])),
    ("SR-16", KOBS, "Observation?patient=P1%5C,P2", D(400)),
    ("SR-17", KVIT, "Observation?patient=P1%2CP2&_id=O1", Entries(&["Observation/O1"])),
    ("SR-25", KOBS, "Condition?patient=P1", D(403)),
    ("SR-26", "patient/Observation.r", "Observation?patient=P1", D(403)),
    ("SR-27", "patient/Observation.s", "Observation?patient=P1&_id=O1", Entries(&["Observation/O1"])),
    ("SR-29", KVIT, "Observation?patient=P1&category=laboratory", Refused(&[200, 403])),
    (
        "SR-31",
        KVIT,
        "Observation?patient=P1&category:not=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
        Entries(&[]),
    ),
    ("SR-36", KOBS, "Observation?_sort=subject.name", D(400)),
    ("SR-37", KOBS, "Observation?_id=O2", Entries(&[])),
    ("SR-38", KPAT, "Patient", Entries(&["Patient/P1"])),
    ("SR-39", KPAT, "Patient?_id=P2", D(403)),
    ("SR-44", KPAT, "Patient?_id:not=P1", D(400)),
    ("SR-46", KALL, "Appointment?actor=Patient/P1", Entries(&["Appointment/A1"])),
    ("SR-48", KALL, "Provenance?patient=P1", Entries(&[])),
    ("SR-50", KALL, "?_type=Observation,Condition", D(403)),
    ("SR-51", KALL, "Observation,Condition?patient=P1", Refused(&[400, 404])),
    ("SR-55", KOBS, "Observation?patient=P1&_type=Condition", D(400)),
    ("SR-57", KOBS, "Observation?patient=P1&%70atient=P2", D(403)),
    ("SR-60", KVIT, "Observation?patient=P1&_id=O1&_tag=urn:x|y", Entries(&[])),
    ("S1-23", KPAT, "Patient?name=Zwei", Entries(&[])),
    ("GL-01", KALL, "Group?member=Patient/P1", Entries(&[])),
    ("PS-13", KOBS, "Observation/_search?patient=P2", Refused(&[404, 405])),
    // b.5
    ("CH-01", KOBS, "Observation?patient.name=Smith", D(403)),
    ("CH-05", KSTD, "Observation?encounter.status=finished", Entries(&[])),
    ("CH-05b", KSTD, "Condition?encounter.status=finished", Entries(&["Condition/C1"])),
    ("CH-05c", KSTD, "Condition?encounter.status=planned", Entries(&[])),
    ("CH-05d", KSTD, "Condition?encounter.patient=P2", D(403)),
    ("CH-06", KPO, "Observation?subject:Patient.organization.name=x", D(400)),
    ("CH-07", KVIT, "Observation?has-member.code=x", D(400)),
    ("CH-11", KPO, "Patient?_has:Observation:patient:_has:AuditEvent:entity:agent=x", D(400)),
    ("CH-12", KPO, "Patient?_has:Group:member:_id=G12", D(403)),
    ("CH-14", KOBS, "Observation?patient:Patient.identifier=mrn2", D(403)),
    ("CH-09", KPAT, "Patient?_has:Condition:patient:code=HIV", D(403)),
    ("CH-08", KPO, "Patient?_has:Observation:patient:code=1234", Entries(&[])),
    ("CH-08b", KPO, "Patient?_has:Observation:patient:code=8867-4", Entries(&["Patient/P1"])),
    ("CH-08c", KPO, "Patient?_has:Observation:patient:code=8867-4&_id=P2", D(403)),
    ("CH-08d", KPO, "Patient?_has:Observation:performer:code=8867-4", Entries(&[])),
    ("CH-16", KOBS, "Observation?_HAS:Observation:patient:code=1", D(400)),
    // b.6
    ("IN-01", KPO, "Observation?_id=O1&_include=Observation:patient", Entries(&["Observation/O1", "Patient/P1"])),
    ("IN-02", KOBS, "Observation?_id=O1&_include=Observation:patient", Entries(&["Observation/O1"])),
    ("IN-03", KPO, "Observation?_id=O1&_include=Observation:performer", Entries(&["Observation/O1"])),
    (
        "IN-06",
        "patient/Patient.rs patient/Observation.c",
        "Patient?_revinclude=Observation:subject",
        Entries(&["Patient/P1"]),
    ),
    ("IN-09", KOBS, "Observation?_include=*", D(400)),
    ("IN-05", KPO, "Patient?_revinclude=Observation:performer", Entries(&["Patient/P1"])),
    (
        "IN-07",
        "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|social-history patient/Patient.rs",
        "Patient?_revinclude=Observation:subject",
        Entries(&["Observation/O1S", "Patient/P1"]),
    ),
    (
        "IN-11",
        KPO,
        "Observation?_id=OHM&_include:iterate=Observation:has-member",
        Entries(&["Observation/O1", "Observation/OHM"]),
    ),
    ("IN-13", KPO, "Patient?_revinclude:iterate=Observation:performer", Entries(&["Patient/P1"])),
    ("IN-12", KPO, "Observation?_include:recurse=Observation:has-member", D(400)),
    ("IN-14", KOBS, "Observation?_id=O1&_include=Observation:subject:Patient", Entries(&["Observation/O1"])),
    (
        "IN-15",
        "patient/MedicationRequest.rs patient/Medication.rs",
        "MedicationRequest?_include=MedicationRequest:medication",
        Entries(&["Medication/MED1", "MedicationRequest/M1"]),
    ),
    ("IN-16", KPO, "Observation?_include=Condition:subject", D(400)),
    ("IN-17", KPO, "Patient?_revinclude=Group:member", Entries(&["Patient/P1"])),
    ("IN-20", KPAT, "Patient?_include=Patient:link", Entries(&["Patient/P1"])),
    (
        "IN-21",
        KPO,
        "Observation?_id=OHM&_include=Observation:has-member",
        Entries(&["Observation/O1", "Observation/OHM"]),
    ),
    // b.7
    ("FL-01", KOBS, "Observation?_filter=subject%20eq%20Patient/P2", D(400)),
    ("FL-03", KOBS, "Observation?_query=all-of-them&patient=P1", D(400)),
    ("FL-05", KOBS, "Observation?_contained=both&_containedType=contained", D(400)),
    ("FL-06", KPAT, "Patient?_list=L1", D(400)),
    ("FL-08", KVIT, "Observation?_content=x", D(400)),
    ("FL-10", KOBS, "Observation?patient=P1&_expunge=true", D(400)),
    // b.8
    ("EL-01", KVIT, "Observation?patient=P1&_id=O1&_elements=code", Entries(&["Observation/O1"])),
    ("EL-03", KOBS, "Observation/O1?_summary=true", Read),
    ("EL-04", KOBS, "Observation?_summary=count", D(400)),
    ("EL-06", KOBS, "Observation?_elements=Observation.subject.display", D(400)),
    ("EL-07", KOBS, "Observation?_elements:exclude=subject", D(400)),
    // b.14, b.16
    ("PG-10", KOBS, "Observation?_page=2", D(400)),
    ("PG-11", KOBS, "Observation?_hilum=abc", D(403)),
    ("PA-03", KOBS, "Observation/./O1", Refused(&[400, 404])),
    ("PA-03b", KOBS, "Observation//O1", D(400)),
    ("PA-05", KOBS, "observation/O1", V(404)),
    ("PA-08", KOBS, "DEFAULT/Observation/O2", V(404)),
    ("FM-02", KOBS, "Observation/O1?_format=html", D(406)),
    ("ME-04", KOBS, "StructureDefinition/Patient", D(403)),
    // b.17
    ("SC-01", "patient/Observation.read", "Observation/O1", Read),
    ("SC-02", "patient/Observation.write", "Observation/O1", D(403)),
    ("SC-12", "patient/Observation.c?category=x patient/Observation.r", "Observation/O1", Read),
    ("SC-15", "patient/Observation.rs?method=http://x|y", "Observation/O1", V(404)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_ends_as_the_catalogue_says() {
    let gate = Gate::start().await;
    let mut wrong = Vec::new();
    for (id, scopes, path, want) in ROWS {
        let token = gate.token(scopes).await;
        gate.upstream.requests.clear();
        let reply = gate.get(&token, path).await;
        let asked = gate.upstream.requests.count();
        let fits = match want {
            D(status) => reply.status == *status && asked == 0,
            V(status) => reply.status == *status,
            Read => reply.status == 200 && reply.json()["id"].as_str() == path.split(['/', '?']).nth(1),
            Versions(wanted) => reply.status == 200 && reply.versions() == *wanted,
            Entries(wanted) => reply.status == 200 && reply.entries() == *wanted,
            Refused(statuses) => statuses.contains(&reply.status),
        };
        let foreign = ["P2", "P12", "Zwei", "mrn-p2", "O2\"", "FOREIGN"]
            .iter()
            .any(|text| reply.status == 200 && leaks(&reply, text));
        if !fits || foreign {
            wrong.push(format!("{id} {path}: {} (upstream asked {asked}×) {}", reply.status, reply.text()));
        }
        if reply.status >= 400 {
            assert_eq!(reply.json()["resourceType"], "OperationOutcome", "{id}");
            assert!(!leaks(&reply, "Zwei") && !leaks(&reply, &gate.upstream.base_url), "{id}: {}", reply.text());
        }
        assert_eq!(reply.header("cache-control"), "no-store", "{id}");
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

/// A self link shows what was asked; a reference that p11 keeps names an id but nothing else.
fn leaks(reply: &support::Reply, text: &str) -> bool {
    let mut body = reply.text();
    for kept in ["\"reference\":\"Observation/O2\"", "name=Zwei"] {
        body = body.replace(kept, "");
    }
    body.contains(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rd_02_foreign_absent_and_deleted_are_the_same_bytes() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    let foreign = gate.get(&token, "Observation/O2").await;
    let absent = gate.get(&token, "Observation/none").await;
    let deleted = gate.get(&token, "Observation/ODEL").await;
    assert_eq!(foreign.body, absent.body);
    assert_eq!(foreign.body, deleted.body);
    let names = |reply: &support::Reply| reply.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&foreign), names(&absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_23_name_search_is_narrowed_to_the_sessions_patient_always_with_the_same_bytes() {
    let gate = Gate::start().await;
    let token = gate.token(KPAT).await;
    let other = gate.get(&token, "Patient?name=Zwei").await;
    let nobody = gate.get(&token, "Patient?name=Nobody").await;
    assert_eq!(other.text().replace("Zwei", "X"), nobody.text().replace("Nobody", "X"));
    assert_eq!(gate.get(&token, "Patient?name=Eins").await.entries(), ["Patient/P1"]);
    assert!(gate.codes().await.contains(&"unbound-search".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_references_are_masked_and_urls_made_public() {
    let gate = Gate::start().await;
    let token = gate.token(&format!("{KPO} patient/DocumentReference.rs")).await;
    let own = gate.get(&token, "Observation/ODR").await.json();
    assert_eq!(own["derivedFrom"][0], serde_json::json!({ "reference": "Observation/O2" }), "CT-07");
    let mother = &own["extension"][0]["valueReference"];
    assert!(mother.get("reference").is_none() && mother.get("display").is_none(), "CT-08: {mother}");
    assert_eq!(mother["extension"][0]["valueCode"], "masked", "CT-08");
    let absolute = gate.get(&token, "Observation/OAB").await.json();
    let subject = absolute["subject"]["reference"].as_str().unwrap();
    assert!(!subject.contains("127.0.0.1"), "PG-07: {subject}");
    let patient = gate.get(&token, "Patient/P1").await.json();
    assert!(patient["link"][0]["other"].get("reference").is_none(), "RD-38: {patient}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_sealed_bound_and_verified_again() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    let mut page = gate.get(&token, "Observation?patient=P1&_count=2").await;
    let mut seen = Vec::new();
    let first_next = page.link("next").expect("PG-01: a next link");
    loop {
        seen.extend(page.entries());
        let bundle = page.json();
        assert!(bundle.get("total").is_none(), "SR-34");
        for link in bundle["link"].as_array().unwrap() {
            assert!(["self", "next"].contains(&link["relation"].as_str().unwrap()), "PG-07");
            assert!(link["url"].as_str().unwrap().starts_with("http://gate.test/mercy/fhir/"), "PG-01");
        }
        let Some(next) = page.link("next") else { break };
        page = gate.follow(&token, &next).await;
        assert_eq!(page.status, 200, "PG-03 {}", page.text());
    }
    seen.sort();
    let whole = gate.get(&token, "Observation?patient=P1&_count=100").await.entries();
    assert_eq!(seen, whole, "all pages together are the whole");
    let other = gate.token_for("P2", KOBS).await;
    assert_eq!(gate.follow(&other, &first_next).await.status, 403, "PG-04");
    let narrower = gate.token(KVIT).await;
    assert_eq!(gate.follow(&narrower, &first_next).await.status, 403, "NEG-203");
    let mut forged = first_next.clone();
    forged.replace_range(forged.len() - 1.., if forged.ends_with('A') { "B" } else { "A" });
    assert_eq!(gate.follow(&token, &forged).await.status, 403);
    gate.clock.advance(901_000);
    assert_eq!(gate.follow(&token, &first_next).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_headers_and_formats() {
    let gate = Gate::start().await;
    let bearer = format!("Bearer {}", gate.token(KOBS).await);
    let auth = ("authorization", bearer.as_str());
    for (method, path, allow) in [
        ("PUT", "Observation", "GET, HEAD, POST"),
        ("PATCH", "Observation", "GET, HEAD, POST"),
        ("POST", "Observation/O1", "GET, HEAD, PUT, PATCH, DELETE"),
        ("PUT", "Observation/_search", "POST"),
        ("DELETE", "Observation/_search", "POST"),
        ("POST", "Observation/O1/_history/1", "GET, HEAD"),
        ("PUT", "Observation/O1/_history", "GET, HEAD"),
        ("POST", "Observation/_history", "GET, HEAD"),
        ("POST", "Patient/P1/Observation", "GET, HEAD"),
        ("POST", "metadata", "GET, HEAD"),
        ("DELETE", "", "POST"),
        ("TRACE", "Observation/O1", "GET, HEAD, PUT, PATCH, DELETE"),
    ] {
        let reply = gate.send(method, path, &[auth], "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
    }
    // Without a letter for it a write is refused, whatever its body (p1); an empty one is refused as it is.
    for (method, path) in
        [("POST", "Observation"), ("PUT", "Observation/O1"), ("PATCH", "Observation/O1"), ("DELETE", "Observation/O1")]
    {
        let reply = gate.send(method, path, &[auth], "").await;
        assert!([400, 403, 415].contains(&reply.status), "{method} {path}: {}", reply.status);
    }
    for (name, value, status) in [
        ("accept", "application/fhir+xml", 406),
        ("accept", "text/html", 406),
        ("accept", "*/*", 200),
        ("accept", "application/fhir+json;q=0.9, application/json", 200),
        ("x-forwarded-host", "evil", 200),
        ("x-patient-id", "P2", 200),
        ("range", "bytes=0-9", 200),
        ("prefer", "handling=lenient, return=minimal, respond-async", 200),
        ("x-http-method-override", "DELETE", 400),
    ] {
        gate.upstream.requests.clear();
        let reply = gate.send("GET", "Observation/O1", &[auth, (name, value)], "").await;
        assert_eq!(reply.status, status, "{name}: {value}");
        for seen in gate.upstream.requests.all() {
            assert!(seen.header("authorization").is_none(), "HD-05");
            assert!(seen.header(name).is_none_or(|sent| sent != value), "HD-03 {name}");
        }
    }
    let reply = gate.send("GET", "Observation/O1", &[auth], "{}").await;
    assert_eq!(reply.status, 400, "SR-54");
    let first = gate.send("GET", "Observation/O1", &[auth], "").await;
    let etag = first.header("etag").to_owned();
    assert!(!etag.is_empty());
    let again = gate.send("GET", "Observation/O1", &[auth, ("if-none-match", &etag)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0), "RD-34");
    let foreign = gate.send("GET", "Observation/O2", &[auth, ("if-none-match", "*")], "").await;
    assert_eq!(foreign.status, 404, "RD-34 never for a foreign instance");
    let head = gate.send("HEAD", "Observation/O1", &[auth], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_open_and_shows_only_what_is_enforced() {
    let gate = Gate::start().await;
    let reply = gate.send("GET", "metadata", &[], "").await;
    assert_eq!(reply.status, 200);
    let statement = reply.json();
    assert_eq!(statement["implementation"]["url"], "http://gate.test/mercy/fhir");
    assert_eq!(gate.upstream.requests.count(), 0);
    let text = reply.text();
    for absent in ["$export", "_filter", "xml", "history-type", "history-system", "127.0.0.1"] {
        assert!(!text.contains(absent), "ME-02: {absent}");
    }
    let types: Vec<&str> =
        statement["rest"][0]["resource"].as_array().unwrap().iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"Observation") && types.contains(&"Practitioner") && !types.contains(&"Subscription"));
}
