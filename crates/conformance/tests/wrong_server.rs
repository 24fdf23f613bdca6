//! The self-test: each row passes against a server that is right, and fails when that server forgets the one rule the row
//! is about. A check that cannot fail is a defect.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::panic,
    missing_docs
)]

mod model;

use std::path::Path;

use conformance::config::Config;
use conformance::jose::Key;
use conformance::{Finding, Status, Suite};
use serde_json::json;

use model::{Model, PASSWORD, REDIRECT};

/// A rule, and a row that must notice when it is forgotten.
const RULES: &[(&str, &str)] = &[
    ("always JSON", "DISC-02"),
    ("no plain", "DISC-08"),
    ("its issuer", "DISC-21"),
    ("documents agree", "NEG-003"),
    ("open documents", "DISC-22"),
    ("own name", "NEG-007"),
    ("exact redirect", "NEG-020"),
    ("known client", "NEG-021"),
    ("S256", "NEG-024"),
    ("challenge's shape", "NEG-025"),
    ("only code", "NEG-026"),
    ("state", "NEG-029"),
    ("once", "NEG-031"),
    ("aud", "AZ-03"),
    ("scope asked", "AZ-02"),
    ("whole state", "AZ-05"),
    ("whole state", "AZ-11"),
    ("iss", "NEG-037"),
    ("consent", "NEG-039"),
    ("consent", "NEG-040"),
    ("frames", "NEG-034"),
    ("csrf", "NEG-035"),
    ("303", "NEG-036"),
    ("password", "NEG-047"),
    ("offered patients", "NEG-042"),
    ("verifier", "TK-02"),
    ("no-store", "TK-04"),
    ("code once", "NEG-060"),
    ("replay kills", "NEG-060"),
    ("code once", "NEG-061"),
    ("code's redirect", "NEG-063"),
    ("code's client", "NEG-064"),
    ("rotation", "NEG-160"),
    ("rotation", "NEG-061r"),
    ("refresh's client", "NEG-162"),
    ("narrower", "NEG-163"),
    ("post only", "NEG-071"),
    ("once in a form", "NEG-072"),
    ("no passwords", "NEG-073"),
    ("no-store", "NEG-075"),
    ("names", "NEG-100"),
    ("audience", "NEG-101"),
    ("expiry", "NEG-103"),
    ("not before", "NEG-105"),
    ("jti", "NEG-106"),
    ("jti once", "NEG-107"),
    ("jti once", "NEG-107a"),
    ("signature", "NEG-111"),
    ("signature", "NEG-112"),
    ("signature", "NEG-117"),
    ("signature", "NEG-121"),
    ("assertion type", "NEG-123"),
    ("five minutes", "NEG-170"),
    ("closed introspection", "NEG-173"),
    ("only inactive", "NEG-174"),
    ("revocation", "NEG-171"),
    ("revocation", "RV-02"),
    ("challenge", "RS-02"),
    ("scope", "RS-02a"),
    ("not in the query", "RS-03"),
    ("one patient", "NEG-207"),
];

/// The configuration for the model, with the key of `be` in a file.
async fn suite(forgets: Option<&'static str>) -> Suite {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    std::fs::write(folder.path().join("be.pem"), pair.serialize_pem()).unwrap();
    let key = Key::read(pair.serialize_pem().as_bytes(), None, None).unwrap();
    let model = Model::start(forgets, json!({ "keys": [key.jwk()] })).await;
    let text = format!(
        "[clients.pub]\nid = \"pub\"\nredirect_uri = \"{REDIRECT}\"\nscope = \"offline_access\"\n\
         [clients.be]\nid = \"be\"\nkey = \"be.pem\"\nscope = \"system/Patient.rs\"\n\
         [clients.other]\nid = \"be\"\nkey = \"be.pem\"\n\
         [clients.introspector]\nid = \"be\"\nkey = \"be.pem\"\n\
         [people.alice]\nfields = {{ username = \"alice\", password = \"{PASSWORD}\" }}\n\
         [patients]\np1 = \"p1\"\np2 = \"p2\"\n"
    );
    let config: Config = conformance::config::parse(&text, folder.path()).unwrap();
    Suite::new(&format!("{}/fhir", model.base), config).await.unwrap()
}

async fn find(suite: &Suite, id: &str) -> Finding {
    let (area, row) = conformance::rows().find(|(_, row)| row.id == id).unwrap_or_else(|| panic!("no row {id}"));
    suite.find(area, row).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_pass_where_the_rule_is_kept() {
    let suite = suite(None).await;
    let mut wrong = Vec::new();
    for (_, id) in RULES {
        let finding = find(&suite, id).await;
        if finding.status != Status::Passed {
            wrong.push(format!("{id}: {:?}: {}", finding.status, finding.detail));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_fail_where_the_rule_is_forgotten() {
    let mut wrong = Vec::new();
    for (rule, id) in RULES {
        let finding = find(&suite(Some(rule)).await, id).await;
        if finding.status != Status::Failed {
            wrong.push(format!("{id} does not notice that `{rule}` is forgotten: {:?}", finding.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_only_anonymous_rows_run_and_the_others_say_what_they_miss() {
    let model = Model::start(None, json!({ "keys": [] })).await;
    let suite = Suite::new(&format!("{}/fhir", model.base), Config::default()).await.unwrap();
    let findings = suite.run(None, |_| {}).await;
    let skipped: Vec<&Finding> = findings.iter().filter(|finding| finding.status == Status::Skipped).collect();
    assert!(skipped.len() > 50 && skipped.iter().all(|finding| !finding.detail.is_empty()));
    assert!(findings.iter().any(|finding| finding.id == "DISC-01" && finding.status == Status::Passed));
    let only = suite.run(Some("DISC-0"), |_| {}).await;
    assert!(only.len() == 9 && only.iter().all(|finding| finding.id.starts_with("DISC-0")));
}

#[tokio::test]
async fn a_url_that_is_no_server_is_told() {
    for url in ["nonsense", "ftp://127.0.0.1/x", "http://127.0.0.1:1/fhir"] {
        assert!(Suite::new(url, Config::default()).await.is_err(), "{url}");
    }
    assert!(conformance::config::parse("x = 1", Path::new(".")).is_err());
}
