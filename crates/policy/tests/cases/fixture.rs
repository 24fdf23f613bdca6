//! Resources of the fixture (b.0), and what the cases ask of an answer.

use domain::Reason;
use policy::{Decision, Denial, Permit, Released, UpstreamAnswer, UpstreamCall};
use serde_json::Value;
use testkit::world::{Ran, World, answer, run};

pub const KOBS: &str = "patient/Observation.rs";
pub const KPAT: &str = "patient/Patient.rs";
pub const KPO: &str = "patient/Patient.rs patient/Observation.rs";
pub const KALL: &str = "patient/*.rs";
pub const KVIT: &str =
    "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

pub fn observation(id: &str, rest: &str) -> String {
    format!(r#"{{"resourceType":"Observation","id":"{id}","status":"final"{rest}}}"#)
}

pub fn category(code: &str) -> String {
    format!(r#","category":[{{"coding":[{{"system":"{CATEGORY}","code":"{code}"}}]}}]"#)
}

pub fn subject(reference: &str) -> String {
    format!(r#","subject":{{"reference":"{reference}"}}"#)
}

/// A resource of b.0 by its name there.
pub fn resource(name: &str) -> String {
    let vital = category("vital-signs");
    match name {
        "P1" => r#"{"resourceType":"Patient","id":"P1","name":[{"family":"One"}]}"#.into(),
        "P2" => r#"{"resourceType":"Patient","id":"P2","name":[{"family":"Two"}]}"#.into(),
        "P12" => r#"{"resourceType":"Patient","id":"P12","name":[{"family":"Twelve"}]}"#.into(),
        "O1" => observation("O1", &(subject("Patient/P1") + &vital)),
        "O1L" => observation("O1L", &(subject("Patient/P1") + &category("laboratory"))),
        "O2" => observation("O2", &(subject("Patient/P2") + &vital)),
        "O12" => observation("O12", &(subject("Patient/P12") + &vital)),
        "OPF" => observation("OPF", &(subject("Patient/P2") + r#","performer":[{"reference":"Patient/P1"}]"#)),
        "OFO" => observation("OFO", &(subject("Patient/P2") + r#","focus":[{"reference":"Patient/P1"}]"#)),
        "OAB" => observation("OAB", &subject("https://ehr/r4/Patient/P1")),
        "OEX" => observation("OEX", &subject("https://elsewhere/fhir/Patient/P1")),
        "OVR" => observation("OVR", &subject("Patient/P1/_history/3")),
        "OID" => observation("OID", r#","subject":{"identifier":{"system":"mrn","value":"mrn1"}}"#),
        "ONO" => observation("ONO", ""),
        "OCT" => observation(
            "OCT",
            r##","subject":{"reference":"#p"},"contained":[{"resourceType":"Patient","id":"p","identifier":[{"value":"mrn1"}]}]"##,
        ),
        "C1" => r#"{"resourceType":"Condition","id":"C1","subject":{"reference":"Patient/P1"}}"#.into(),
        "A12" => r#"{"resourceType":"Appointment","id":"A12","status":"booked","participant":[
            {"actor":{"reference":"Patient/P1"},"status":"accepted"},
            {"actor":{"reference":"Patient/P2"},"status":"accepted"},
            {"actor":{"reference":"Practitioner/PRA"},"status":"accepted"}]}"#
            .into(),
        "A1" => r#"{"resourceType":"Appointment","id":"A1","status":"booked","participant":[
            {"actor":{"reference":"Patient/P1"},"status":"accepted"},
            {"actor":{"reference":"Practitioner/PRA"},"status":"accepted"}]}"#
            .into(),
        "CV" => r#"{"resourceType":"Coverage","id":"CV","status":"active","subscriber":{"reference":"Patient/P1"},
            "beneficiary":{"reference":"Patient/P2"},"payor":[{"reference":"Patient/P1"}]}"#
            .into(),
        "AE12" => r#"{"resourceType":"AuditEvent","id":"AE12","entity":[{"what":{"reference":"Patient/P1"}},
            {"what":{"reference":"Patient/P2"}}]}"#
            .into(),
        "PV12" => r#"{"resourceType":"Provenance","id":"PV12","target":[{"reference":"Observation/O1"},
            {"reference":"Observation/O2"}]}"#
            .into(),
        "G12" => r#"{"resourceType":"Group","id":"G12","type":"person","actual":true,"member":[
            {"entity":{"reference":"Patient/P1"}},{"entity":{"reference":"Patient/P2"}}]}"#
            .into(),
        "T1" => r#"{"resourceType":"Task","id":"T1","for":{"reference":"Patient/P1"}}"#.into(),
        "T2" => r#"{"resourceType":"Task","id":"T2","for":{"reference":"Patient/P2"}}"#.into(),
        "MED1" => r#"{"resourceType":"Medication","id":"MED1","code":{"text":"x"}}"#.into(),
        "M1" => r#"{"resourceType":"MedicationRequest","id":"M1","status":"active","intent":"order",
            "subject":{"reference":"Patient/P1"},"medicationReference":{"reference":"Medication/MED1","display":"x"}}"#
            .into(),
        "PRA" => r#"{"resourceType":"Practitioner","id":"PRA","name":[{"family":"Who"}]}"#.into(),
        other => panic!("no such fixture: {other}"),
    }
}

/// A searchset of fixture resources; `name:include` gives a mode, `name:` none.
pub fn bundle(names: &[&str], more: &str) -> String {
    let entries: Vec<_> = names
        .iter()
        .map(|name| {
            let (name, mode) = name.split_once(':').unwrap_or((name, "match"));
            let mode = if mode.is_empty() { String::new() } else { format!(r#","search":{{"mode":"{mode}"}}"#) };
            format!(r#"{{"fullUrl":"https://ehr/r4/x/{name}","resource":{}{mode}}}"#, resource(name))
        })
        .collect();
    format!(
        r#"{{"resourceType":"Bundle","id":"b","type":"searchset","total":99{more},"entry":[{}]}}"#,
        entries.join(",")
    )
}

/// The denial of `GET {target}`.
pub fn denied(world: &World, target: &str) -> Denial {
    match world.get(target).unwrap_or_else(|why| panic!("{target}: {why}")) {
        Decision::Deny(denial) => denial,
        Decision::Permit(permit) => panic!("{target}: {permit:?} {}", permit.call().query),
        Decision::Write(permit) => panic!("{target}: {permit:?}"),
    }
}

/// The reason `GET {target}` is denied.
pub fn reason(world: &World, target: &str) -> Reason {
    denied(world, target).reason
}

/// Whether reading the request already refuses it.
pub fn unreadable(world: &World, target: &str) -> bool {
    world.get(target).is_err()
}

/// The upstream query of a permit, decoded and split.
pub fn sent(permit: &Permit) -> Vec<String> {
    permit.call().query.split('&').map(|pair| pair.replace("%7C", "|").replace("%2C", ",")).collect()
}

pub fn json(released: &Released) -> Value {
    testkit::naive::read(released.body()).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(released.body())))
}

/// Ids of the released entries, outcomes apart.
pub fn ids(released: &Released) -> Vec<String> {
    let body = json(released);
    let entries = body["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .filter(|entry| entry["resource"]["resourceType"] != "OperationOutcome")
        .map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The URL of a link of a Bundle.
pub fn link(released: &Released, relation: &str) -> Option<String> {
    let body = json(released);
    let links = body["link"].as_array()?.clone();
    let found = links.iter().find(|link| link["relation"] == relation)?;
    found["url"].as_str().map(str::to_owned)
}

/// An upstream that answers the paths it knows by 200 and every other by 404.
pub fn upstream<'a>(known: &'a [(&'a str, String)]) -> impl FnMut(&UpstreamCall) -> UpstreamAnswer + 'a {
    |call| match known.iter().find(|(path, _)| *path == address(call)) {
        Some((_, body)) => answer(200, body.as_bytes()),
        None => answer(404, br#"{"resourceType":"OperationOutcome"}"#),
    }
}

/// Path and query of a call.
pub fn address(call: &UpstreamCall) -> String {
    if call.query.is_empty() { call.path.clone() } else { format!("{}?{}", call.path, call.query) }
}

/// What became of `GET {target}` before that upstream.
pub fn ran(world: &World, target: &str, known: &[(&str, String)]) -> Ran {
    run(world.get(target).unwrap_or_else(|why| panic!("{target}: {why}")), &mut upstream(known))
}

/// A Bundle of any type and resources.
pub fn bundle_of(of_type: &str, resources: &[String], more: &str) -> String {
    let entries: Vec<String> =
        resources.iter().map(|resource| format!(r#"{{"resource":{resource},"request":{{"method":"PUT"}}}}"#)).collect();
    format!(r#"{{"resourceType":"Bundle","type":"{of_type}"{more},"entry":[{}]}}"#, entries.join(","))
}

/// The member that says where the next page is.
pub fn next_link(url: &str) -> String {
    format!(r#","link":[{{"relation":"next","url":"{url}"}}]"#)
}

pub fn text(released: &Released) -> String {
    String::from_utf8_lossy(released.body()).into_owned()
}
