//! What a browser sends after a passkey ceremony: nothing in it panics, what is read is bounded, and no credential is made of a client
//! data that is not about our challenge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webauthn::{BYTES_MAX, CREDENTIAL_ID_MAX, Party, PublicKey, authenticate, register};

const PARTY: Party<'static> = Party { id: "example.org", origin: "https://example.org" };
const CLIENT: &[u8] =
    br#"{"type":"webauthn.create","challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","origin":"https://example.org"}"#;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(made) = register(PARTY, &[0; 32], CLIENT, bytes) {
        assert!(bytes.len() <= BYTES_MAX);
        assert!((1..=CREDENTIAL_ID_MAX).contains(&made.id.len()));
        assert!(PublicKey::parse(&made.key).is_ok(), "a key that is kept can be used");
    }
    assert!(register(PARTY, &[1; 32], CLIENT, bytes).is_err(), "another challenge");
    if let Some(challenge) = webauthn::challenge(bytes) {
        // Whoever has the right client data still has no credential.
        assert!(register(PARTY, &challenge, bytes, &[]).is_err());
    }
    if let Ok(key) = PublicKey::parse(bytes) {
        assert!(!key.verify(bytes, &[]));
        assert!(authenticate(PARTY, &[0; 32], &key, bytes, bytes, bytes).is_err());
    }
});
