//! The root key: wraps every other key. A wrapped key opens under the tenant, purpose and id it was made for, and no other.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, NONCE_BYTES, OpenError, SealError, SealKey};

/// Version byte of a wrapped key; another version does not open.
const WRAP_VERSION: u8 = 1;

/// What was read is no root key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a root key is 32 bytes, 64 hexadecimal digits, or their base64")]
pub struct InvalidRootKey;

/// What a wrapped key is for; bound into the wrapping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyName<'a> {
    /// Tenant id, or `_system`.
    pub tenant: &'a str,
    /// What it does, e.g. `token-es256`.
    pub purpose: &'a str,
    /// Its id within the purpose.
    pub kid: &'a str,
}

impl KeyName<'_> {
    /// Length-prefixed, so that no two names have one encoding.
    fn aad(&self) -> Vec<u8> {
        let mut out = b"hilum-key-wrap/v1".to_vec();
        for part in [self.tenant, self.purpose, self.kid] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }
}

/// The key that wraps the others. Prints `[sealed]`; its bytes cannot be read back; clones share one key.
// INVARIANT: made from exactly 32 bytes.
#[derive(Clone)]
pub struct RootKey(Arc<SealKey>);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey([sealed])")
    }
}

impl RootKey {
    /// Reads the contents of a key file: 32 raw bytes, 64 hexadecimal digits or base64 of 32 bytes; white space at the end is ignored in text forms.
    ///
    /// # Errors
    /// [`InvalidRootKey`]; the text is never quoted.
    pub fn parse(file: &[u8]) -> Result<Self, InvalidRootKey> {
        let raw = if file.len() == KEY_BYTES {
            Zeroizing::new(file.to_vec())
        } else {
            let text = file.trim_ascii();
            if text.len() == 2 * KEY_BYTES { hex(text) } else { base64(text) }.ok_or(InvalidRootKey)?
        };
        let key: &[u8; KEY_BYTES] = raw.as_slice().try_into().map_err(|_| InvalidRootKey)?;
        SealKey::new(key).map(|key| Self(Arc::new(key))).map_err(|_| InvalidRootKey)
    }

    /// Wraps a key for its name.
    ///
    /// # Errors
    /// [`SealError`] when the crypto library refuses.
    pub fn wrap(&self, nonce: &[u8; NONCE_BYTES], name: &KeyName<'_>, key: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = vec![WRAP_VERSION];
        out.extend_from_slice(&self.0.seal_whole(nonce, &name.aad(), key)?);
        Ok(out)
    }

    /// Unwraps what [`RootKey::wrap`] made, if it was made for this name.
    ///
    /// # Errors
    /// [`OpenError`] otherwise.
    pub fn unwrap(&self, name: &KeyName<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        match wrapped.split_first() {
            Some((&WRAP_VERSION, sealed)) => self.0.open_whole(&name.aad(), sealed),
            _ => Err(OpenError),
        }
    }
}

fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(KEY_BYTES));
    for pair in text.chunks_exact(2) {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        out.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
    }
    Some(out)
}

/// Base64 of exactly 32 bytes: 43 digits and one optional `=`; either alphabet. Small enough not to need a crate here.
fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    if digits.len() != 43 {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in digits {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0 && out.len() == KEY_BYTES).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: KeyName<'static> = KeyName { tenant: "mercy", purpose: "token-es256", kid: "k1" };

    #[test]
    fn the_three_forms_are_one_key() {
        let raw: Vec<u8> = (0..32).collect();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let wrapped = RootKey::parse(&raw).unwrap().wrap(&[1; 24], &NAME, b"secret").unwrap();
        for text in [hex.clone(), format!("{hex}\n"), base64.to_owned(), format!("{base64}\n"), base64.replace('=', "")]
        {
            let key = RootKey::parse(text.as_bytes()).unwrap();
            assert_eq!(key.unwrap(&NAME, &wrapped).unwrap().as_slice(), b"secret");
        }
        for bad in [&b""[..], &raw[..31], b"zz", &[b'g'; 64], &[b'!'; 43], &[b'A'; 42], &[b'/'; 43]] {
            assert!(RootKey::parse(bad).is_err());
        }
        assert_eq!(format!("{:?}", RootKey::parse(&raw).unwrap()), "RootKey([sealed])");
    }

    #[test]
    fn a_wrapped_key_opens_for_its_name_alone() {
        let root = RootKey::parse(&[5; 32]).unwrap();
        let wrapped = root.wrap(&[2; 24], &NAME, b"secret").unwrap();
        for other in [
            KeyName { tenant: "merc", purpose: "ytoken-es256", kid: "k1" },
            KeyName { tenant: "other", ..NAME },
            KeyName { purpose: "seal-row", ..NAME },
            KeyName { kid: "k2", ..NAME },
        ] {
            assert_eq!(root.unwrap(&other, &wrapped), Err(OpenError));
        }
        assert_eq!(RootKey::parse(&[6; 32]).unwrap().unwrap(&NAME, &wrapped), Err(OpenError));
        let mut version = wrapped.clone();
        version[0] = 2;
        assert_eq!(root.unwrap(&NAME, &version), Err(OpenError));
        assert_eq!(root.unwrap(&NAME, b""), Err(OpenError));
    }

    proptest::proptest! {
        #[test]
        fn unwrap_never_panics(bytes: Vec<u8>) {
            let root = RootKey::parse(&[5; 32]).unwrap();
            let _ = RootKey::parse(&bytes);
            proptest::prop_assert!(root.unwrap(&NAME, &bytes).is_err());
        }
    }
}
