//! Proof Key for Code Exchange (RFC 7636), S256 alone.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Whether `verifier` is one that may be sent (43 to 128 unreserved characters, §4.1) and is what `challenge` was made of.
#[must_use]
pub fn verifies(challenge: &str, verifier: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return false;
    }
    subtle::ConstantTimeEq::ct_eq(self::challenge(verifier).as_bytes(), challenge.as_bytes()).into()
}

/// The challenge of a verifier.
#[must_use]
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[test]
fn only_the_verifier_verifies() {
    // RFC 7636, appendix B.
    let (verifier, challenge) =
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    assert!(verifies(challenge, verifier));
    assert_eq!(self::challenge(verifier), challenge);
    for wrong in
        [challenge, "", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjX", &"a".repeat(129), &format!("{verifier} ")]
    {
        assert!(!verifies(challenge, wrong), "TK-02 `{wrong}`");
    }
    assert!(!verifies(verifier, verifier), "a challenge that is its verifier is `plain`");
}
