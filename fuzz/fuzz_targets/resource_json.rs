//! The strict scanner against serde_json: what it accepts, serde reads alike.
#![no_main]

use fhir::json::{Document, Kind, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Document::parse(bytes) else { return };
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(theirs) => assert!(equal(document.root(), &theirs)),
        // serde reads numbers into f64, and refuses those out of range.
        Err(why) => assert!(why.to_string().contains("out of range"), "{why}"),
    }
});

fn equal(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    match theirs {
        serde_json::Value::Null => ours.kind() == Kind::Null,
        serde_json::Value::Bool(truth) => ours.as_bool() == Some(*truth),
        serde_json::Value::Number(_) => ours.kind() == Kind::Number,
        serde_json::Value::String(text) => ours.is_str(text),
        serde_json::Value::Array(items) => {
            ours.elements().count() == items.len() && ours.elements().zip(items).all(|(a, b)| equal(a, b))
        }
        serde_json::Value::Object(members) => {
            ours.members().count() == members.len()
                && members.iter().all(|(key, b)| ours.get(key).is_some_and(|a| equal(a, b)))
        }
    }
}
