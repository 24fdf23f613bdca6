//! Lines of NDJSON, as exports bring them: each is judged by itself, and alike whether it comes alone or among others.
#![no_main]

use std::sync::LazyLock;

use fhir::json::Document;
use hilum_fuzz::Held;
use libfuzzer_sys::fuzz_target;

static HELD: LazyLock<Held> = LazyLock::new(|| Held::new("rs"));

fuzz_target!(|bytes: &[u8]| {
    let mut alone = 0;
    let mut entries = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(document) = Document::parse(line) else {
            assert!(!HELD.read(line), "what is not strict JSON was released");
            continue;
        };
        // A Binary alone is had by proof of link, among others never.
        if document.root().get("resourceType").is_some_and(|kind| kind.is_str("Binary")) {
            continue;
        }
        alone += usize::from(HELD.read(line));
        entries.push(format!(r#"{{"resource":{}}}"#, document.text()));
    }
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}]}}"#, entries.join(","));
    // Two levels deeper it may be too deep, and is then refused whole.
    if let Some(shown) = HELD.bundle("Patient/P1/$everything", bundle.as_bytes()) {
        assert_eq!(shown, alone);
    }
});
