//! Patches: whatever is applied gives a strict JSON object, and a patch that does nothing changes nothing.
#![no_main]

use fhir::ResourceType;
use fhir::json::Document;
use fhir::patch::Patch;
use libfuzzer_sys::fuzz_target;

/// What is patched where the bytes hold no resource of their own.
const RESOURCE: &str = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[{"code":"a"},{"code":"b"}]},
 "subject": {"reference":"Patient/P1"}, "valueQuantity":{"value":1.10,"unit":"mg"} , "note":[{"text":"a\"\u00e9"}],
 "contained":[{"resourceType":"Patient","name":[{"given":["a","b"]}]}],"component":[],"extension":[{"url":"u","valueDecimal":1e2}]}"#;

// A patch, then perhaps a line of `---` and the resource it is for.
fuzz_target!(|text: &str| {
    let (patch, resource) = text.split_once("\n---\n").unwrap_or((text, RESOURCE));
    for patch in [Patch::parse_json(patch.as_bytes()), Patch::parse_fhirpath(patch.as_bytes())] {
        match patch.map(|patch| patch.apply(ResourceType::OBSERVATION, resource)) {
            Ok(Ok(patched)) => {
                let document = Document::parse(patched.as_bytes()).expect("what was patched is strict JSON");
                assert!(document.root().is_object());
                let nothing = Patch::parse_json(b"[]").expect("no operations are a patch");
                assert_eq!(nothing.apply(ResourceType::OBSERVATION, &patched).as_deref(), Ok(patched.as_str()));
            }
            Ok(Err(_)) => {}
            Err(why) => assert!(why.what().chars().count() < 256),
        }
    }
});
