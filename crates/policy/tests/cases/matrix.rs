//! The access matrix: what each class may do with each scope, interaction by interaction, as a checked-in snapshot.

use std::fmt::Write as _;

use domain::{Class, Operation};
use fhir::request::{Body, Interaction, Method, Raw};
use policy::Decision;
use testkit::world::World;

/// Name, method, path, and media type and text of the body.
type Asked = (&'static str, Method, &'static str, Option<(&'static str, &'static str)>);

/// One request for each interaction there is, about the session's own patient.
const ASKED: [Asked; 18] = [
    ("capabilities", Method::Get, "/metadata", None),
    ("read", Method::Get, "/Observation/O1", None),
    ("vread", Method::Get, "/Observation/O1/_history/1", None),
    ("history", Method::Get, "/Observation/O1/_history", None),
    ("search", Method::Get, "/Observation", None),
    ("lastn", Method::Get, "/Observation/$lastn", None),
    ("page", Method::Get, "/Observation?_hilum=t", None),
    ("everything", Method::Get, "/Patient/P1/$everything", None),
    ("binary", Method::Get, "/Binary/B1", None),
    ("create", Method::Post, "/Observation", Some((FHIR, OBSERVATION))),
    ("update", Method::Put, "/Observation/O1", Some((FHIR, OBSERVATION))),
    (
        "patch",
        Method::Patch,
        "/Observation/O1",
        Some((PATCH, r#"[{"op":"replace","path":"/status","value":"final"}]"#)),
    ),
    ("delete", Method::Delete, "/Observation/O1", None),
    ("transaction", Method::Post, "", Some((FHIR, TRANSACTION))),
    // S1-13: in a session for one patient nobody exports, whatever the class.
    ("export", Method::Get, "/Patient/$export", None),
    ("export-status", Method::Get, "/$bulk/0123456789abcdef0123456789abcdef", None),
    ("export-cancel", Method::Delete, "/$bulk/0123456789abcdef0123456789abcdef", None),
    ("export-file", Method::Get, "/$bulk/0123456789abcdef0123456789abcdef/0", None),
];

const FHIR: &str = "application/fhir+json";
const PATCH: &str = "application/json-patch+json";
const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"O1","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
const TRANSACTION: &str = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}},"request":{"method":"POST","url":"Observation"}}]}"#;

const CLASSES: [Class; 5] =
    [Class::ClinicalAi, Class::ClinicianApp, Class::Analytics, Class::PatientApp, Class::Launcher];

const SCOPES: [&str; 9] = [
    "",
    "patient/Observation.r",
    "patient/Observation.s",
    "patient/Observation.rs",
    "patient/Observation.cud",
    "patient/Patient.rs patient/Binary.r",
    "patient/*.cruds",
    "user/Observation.rs",
    "system/Observation.rs",
];

fn outcome(class: Class, scopes: &str, operations: bool, raw: &Raw<'_>) -> String {
    let mut world = World::new(scopes);
    world.integration.class = class;
    if operations {
        world.profile.operations = [Operation::Everything, Operation::LastN].into();
    }
    match world.ask(raw) {
        Err(invalid) => format!("{:?}", invalid.kind),
        Ok(Decision::Permit(_)) => "ask".to_owned(),
        Ok(Decision::Write(_)) => "write".to_owned(),
        Ok(Decision::Deny(denial)) => denial.reason.code().to_owned(),
    }
}

/// What becomes of every interaction, by outcome.
fn row(class: Class, scopes: &str, operations: bool) -> String {
    let mut by_outcome: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, method, target, body) in ASKED {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let body = body.map(|(media, text)| Body { media: Some(media), bytes: text.as_bytes() });
        let raw = Raw { body, ..Raw::plain(method, path, query) };
        assert_eq!(fhir::request::read(&raw).unwrap().name(), name);
        let found = outcome(class, scopes, operations, &raw);
        match by_outcome.iter_mut().find(|(known, _)| *known == found) {
            Some((_, names)) => names.push(name),
            None => by_outcome.push((found, vec![name])),
        }
    }
    by_outcome.sort();
    by_outcome.iter().fold(String::new(), |mut out, (outcome, names)| {
        let _ = writeln!(out, "    {outcome}: {}", names.join(" "));
        out
    })
}

#[test]
fn the_access_matrix_is_the_one_that_was_reviewed() {
    let mut table = String::new();
    for class in CLASSES {
        let mut rows: Vec<(String, String)> = Vec::new();
        for scopes in SCOPES {
            let shown = if scopes.is_empty() { "(no scope)" } else { scopes };
            let found = row(class, scopes, true);
            match rows.iter_mut().find(|(_, known)| *known == found) {
                Some((names, _)) => names.push_str(&format!(" | {shown}")),
                None => rows.push((shown.to_owned(), found)),
            }
        }
        let _ = writeln!(table, "{class:?}");
        rows.iter().for_each(|(scopes, row)| _ = write!(table, "  {scopes}\n{row}"));
    }
    let _ = write!(
        table,
        "PatientApp, without operations in the profile\n  {}\n{}",
        SCOPES[6],
        row(CLASSES[3], SCOPES[6], false)
    );
    insta::assert_snapshot!("access_matrix", table);
}

/// A batch is its entries; nothing else is left out of the matrix.
#[test]
fn the_matrix_asks_every_interaction() {
    for name in Interaction::NAMES {
        assert!(name == "batch" || ASKED.iter().any(|(asked, ..)| *asked == name), "`{name}` is not in the matrix");
    }
}
