//! Bundles both ways: batches and transactions that clients send, and what upstreams answer to searches and the like.
#![no_main]

use std::sync::LazyLock;

use fhir::request::{BUNDLE_ENTRIES_MAX, Body, Interaction, Method, Raw, SubmissionKind, read};
use hilum_fuzz::Held;
use libfuzzer_sys::fuzz_target;

static READS: LazyLock<Held> = LazyLock::new(|| Held::new("rs"));
static WRITES: LazyLock<Held> = LazyLock::new(|| Held::new("cruds"));

/// What a Bundle can be the answer to.
const ASKED: [&str; 6] = [
    "Observation?_include=Observation:subject&_include:iterate=Observation:has-member&_revinclude=Provenance:target",
    "Patient/P1/Appointment?_include=Appointment:actor",
    "Patient/P1/$everything",
    "Observation/$lastn?max=2",
    "Observation/O1/_history",
    "Practitioner?name=x",
];

fuzz_target!(|bytes: &[u8]| {
    for target in ASKED {
        let _shown = READS.bundle(target, bytes);
    }
    let body = Some(Body { media: Some("application/fhir+json"), bytes });
    let Ok(Interaction::Bundle(submission)) = read(&Raw { body, ..Raw::plain(Method::Post, "", None) }) else { return };
    assert!(submission.entries.len() <= BUNDLE_ENTRIES_MAX);
    match submission.kind {
        SubmissionKind::Batch => {
            for entry in submission.entries {
                if let Ok(asks) = entry.asks {
                    assert!(!matches!(asks, Interaction::Bundle(_) | Interaction::Capabilities));
                    WRITES.play(WRITES.world.decide(asks, None));
                }
            }
        }
        SubmissionKind::Transaction if submission.whole().is_ok() => {
            WRITES.play(WRITES.world.decide(Interaction::Bundle(submission), None));
        }
        SubmissionKind::Transaction => {}
    }
});
