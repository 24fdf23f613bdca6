//! What the tests share: de-identifying a text, a stand-in for SHA-256, and where the corpus is.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::PathBuf;

use deid::{Deidentified, Profile, Refusal, SeededSurrogates, Surrogates, deidentify};
use fhir::json::Document;
use serde_json::Value;

/// The year in which the tests are.
pub const YEAR: u16 = 2026;

/// No hash, but different for different short files; the crate takes whatever it is given.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0_u8; 32];
    for (at, byte) in bytes.iter().enumerate() {
        out[at % 32] = out[at % 32].wrapping_mul(31).wrapping_add(*byte);
    }
    out
}

pub fn safe_harbor() -> Profile {
    Profile::safe_harbor(digest).unwrap()
}

pub fn with(profile: &Profile, resource: &str, surrogates: &mut dyn Surrogates) -> Result<Deidentified, Refusal> {
    let document = Document::parse(resource.as_bytes()).unwrap();
    let kind = document.root().get_str("resourceType").and_then(|name| name.parse().ok());
    deidentify(kind.ok_or(Refusal::NotUnderstood)?, document.root(), profile, YEAR, surrogates)
}

/// What leaves, without the label that everything gets.
pub fn out(profile: &Profile, resource: &str) -> Value {
    let done = with(profile, resource, &mut SeededSurrogates::new(7)).unwrap();
    let mut value: Value = serde_json::from_slice(&done.bytes).unwrap();
    let label: Value = serde_json::from_str(deid::LABEL).unwrap();
    let security = value["meta"]["security"].as_array_mut().unwrap();
    assert_eq!(security.pop(), Some(label));
    let empty = security.is_empty();
    let meta = value["meta"].as_object_mut().unwrap();
    if empty {
        meta.remove("security");
    }
    if meta.is_empty() {
        value.as_object_mut().unwrap().remove("meta");
    }
    value.as_object_mut().unwrap().remove("resourceType");
    value
}

/// A folder of the shared data, if it is there.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/data").join(folder);
    root.is_dir().then_some(root)
}
