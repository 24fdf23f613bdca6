//! Client assertions and the JWTs beneath them: what is read is bounded, and its parts are those of the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oauth::assertion::{self, ASSERTION_BYTES_MAX};
use oauth::jose::UnverifiedJws;
use oauth::jwk::KeySet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(jws) = UnverifiedJws::parse(text)
    {
        assert!(text.as_bytes().starts_with(jws.signed()), "what is signed is the text's own start");
        assert_eq!(text.split('.').count(), 3);
    }
    if let Ok(read) = assertion::read(bytes) {
        assert!(bytes.len() <= ASSERTION_BYTES_MAX);
        assert!(!read.client().is_empty() && !read.kid().is_empty());
    }
    if let Ok(keys) = KeySet::parse(bytes) {
        for key in keys.keys() {
            assert!(!key.kid().is_empty());
        }
    }
});
