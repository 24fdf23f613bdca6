//! `policy` never releases what the naive second opinion refuses, and never leaves a foreign reference in what it does.
#![no_main]

use std::sync::LazyLock;

use hilum_fuzz::Held;
use libfuzzer_sys::fuzz_target;

static HELD: LazyLock<Held> = LazyLock::new(|| Held::new("rs"));

fuzz_target!(|bytes: &[u8]| {
    // Bytes that are a resource are read by its own id; all are tried as a search result too.
    let _released = HELD.read(bytes);
    let _shown = HELD.bundle("Observation?_include=Observation:subject&_include=Observation:performer", bytes);
});
