//! No file on disk holds a plaintext secret, token or patient id (S4-04): planted canaries are looked for byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::Gate;

const PATIENT: &str = "canary-patient-7731";
const RESOURCE: &str = "canary-observation-4242";

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_04_no_file_holds_a_planted_canary() {
    let gate = Gate::start().await;
    gate.upstream.put(json!({ "resourceType": "Patient", "id": PATIENT, "name": [{ "family": "CanaryFamily" }] }));
    gate.upstream.put(
        json!({ "resourceType": "Observation", "id": RESOURCE, "status": "final", "code": { "text": "CanaryText" },
        "subject": { "reference": format!("Patient/{PATIENT}") } }),
    );
    let session = gate.session(PATIENT, "patient/Patient.rs patient/Observation.rs").await;
    let token = gate.sign(&session, |_| {});
    for path in [
        format!("Patient/{PATIENT}"),
        format!("Observation/{RESOURCE}"),
        format!("Observation?patient={PATIENT}"),
        "Patient?name=CanaryFamily".to_owned(),
        "Patient/other-canary-7732".to_owned(),
        "Observation/other-canary-7732".to_owned(),
        "Observation?code=CanaryCode".to_owned(),
    ] {
        let _ = gate.get(&token, &path).await;
    }
    assert!(gate.end(&session).await);
    let _ = gate.get(&token, &format!("Patient/{PATIENT}")).await;
    let (folder, root) = (gate.folder, [7_u8; 32]);
    gate.server.stop().await;
    let mut all = Vec::new();
    files(folder.path(), &mut all);
    assert!(all.iter().any(|file| file.ends_with("hilum.db")) && all.len() > 2, "{all:?}");
    let signature = token.rsplit('.').next().unwrap();
    let canaries: Vec<Vec<u8>> =
        [PATIENT, RESOURCE, "CanaryFamily", "CanaryText", "CanaryCode", "other-canary-7732", &token, signature]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .chain([root.to_vec()])
            .collect();
    for file in &all {
        let bytes = std::fs::read(file).unwrap();
        for canary in &canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_slice());
            assert!(!found, "`{}` in {}", String::from_utf8_lossy(canary), file.display());
        }
    }
    // The search can find: what is meant to be clear is there.
    let clear = session.integration.as_str().as_bytes();
    let holds = |file: &PathBuf| std::fs::read(file).unwrap().windows(clear.len()).any(|window| window == clear);
    assert!(all.iter().filter(|file| holds(file)).count() >= 2, "the database and the ledger name the integration");
}
