//! Keyed tags: HMAC-SHA-256, cut to 16 bytes, so that a sealed id can be looked up by equality alone.

use aws_lc_rs::hmac;

/// A key for tags. Whoever holds it can enumerate ids, so it is PHI-grade; prints `[sealed]`.
pub struct TagKey(hmac::Key);

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey([sealed])")
    }
}

impl TagKey {
    /// A key from its 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of a text: the first 16 bytes of its HMAC.
    #[must_use]
    pub fn tag(&self, text: &[u8]) -> [u8; 16] {
        let mut out = [0; 16];
        for (slot, byte) in out.iter_mut().zip(hmac::sign(&self.0, text).as_ref()) {
            *slot = *byte;
        }
        out
    }
}

#[test]
fn a_tag_is_the_front_of_the_hmac() {
    let key = TagKey::new(&[0x0b; 32]);
    let whole = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[0x0b; 32]), b"Hi There");
    assert_eq!(key.tag(b"Hi There"), whole.as_ref()[..16]);
    assert_ne!(key.tag(b"Hi There"), key.tag(b"Hi there"));
    assert_ne!(key.tag(b"x"), TagKey::new(&[0x0c; 32]).tag(b"x"));
}
