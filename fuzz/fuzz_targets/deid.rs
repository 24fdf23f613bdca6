//! De-identification: whatever is put in, what leaves is strict JSON of R4 elements, without a text in it.
#![no_main]

use deid::{Profile, SeededSurrogates, deidentify};
use fhir::json::{Document, Value};
use libfuzzer_sys::fuzz_target;

/// Elements whose closed set has words with blanks.
const SPACED: [&str; 3] = ["state", "country", "unit"];

fn digest(_: &[u8]) -> [u8; 32] {
    [0; 32]
}

fn has_text(value: Value<'_>) -> bool {
    let inside = value.members().any(|(key, value)| !SPACED.iter().any(|name| key.is(name)) && has_text(value));
    let blank = |text: &str| text.contains([' ', '@', '\n']) || text.len() > 100;
    inside || value.elements().any(has_text) || value.as_str().is_some_and(|text| blank(&text))
}

// A resource, then perhaps a line of `---` and a file of rules.
fuzz_target!(|text: &str| {
    let (resource, rules) = text.split_once("\n---\n").unwrap_or((text, ""));
    if let Ok(document) = Document::parse(resource.as_bytes())
        && let Some(Ok(kind)) = document.root().get_str("resourceType").map(|name| name.parse())
    {
        let built_in = Profile::safe_harbor(digest).expect("the built-in profile is one");
        if let Ok(done) = deidentify(kind, document.root(), &built_in, 2026, &mut SeededSurrogates::new(1)) {
            let shown = Document::parse(&done.bytes).expect("what leaves is strict JSON");
            assert!(!has_text(shown.root()));
            let again = deidentify(kind, shown.root(), &built_in, 2026, &mut SeededSurrogates::new(2));
            let again = again.expect("what left can be read again");
            assert_eq!(again.report.counts.not_understood, 0, "what leaves is R4");
        }
        if let Ok(profile) = Profile::parse(rules.as_bytes(), digest) {
            let _ = deidentify(kind, document.root(), &profile, 2026, &mut SeededSurrogates::new(1));
        }
    }
    let _ = Profile::parse(text.as_bytes(), digest);
});
