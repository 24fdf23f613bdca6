//! DPoP proofs: what is read is bounded, and what holds is for the URL and time it was checked against.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oauth::dpop::{self, Expected, PROOF_BYTES_MAX, WINDOW_SECONDS};

const NOW: i64 = 1_562_262_616_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(thumbprint) = dpop::read_thumbprint(text) {
        assert_eq!((text.len(), thumbprint.len()), (43, 32), "one form, without padding");
    }
    let Ok(read) = dpop::read(text) else { return };
    assert!(text.len() <= PROOF_BYTES_MAX);
    let expected = Expected { method: "POST", url: "https://server.example.com/token", access_token: None };
    if let Ok(proof) = read.verify(&expected, NOW) {
        assert_eq!(proof.url, expected.url);
        assert!((1..=256).contains(&proof.jti.len()));
        assert!((0..=2 * WINDOW_SECONDS + 1).contains(&((proof.forget_at - NOW) / 1_000)));
    }
});
