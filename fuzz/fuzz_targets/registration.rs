//! Client metadata of a registration request: what is read is bounded, goes together, and reads the same when it is kept and read again.
#![no_main]

use domain::AuthMethod;
use libfuzzer_sys::fuzz_target;
use oauth::registration::{ClientMetadata, REGISTRATION_BYTES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = ClientMetadata::read(bytes) else { return };
    assert!(bytes.len() <= REGISTRATION_BYTES_MAX);
    let method = read.method().expect("what is read has a method");
    assert!(!matches!(method, AuthMethod::ClientSecretBasic(_)), "never a secret");
    assert_eq!(method.takes_keys(), read.jwks.is_some() || read.jwks_uri.is_some());
    let grants = |name: &str| read.grant_types.iter().any(|grant| grant == name);
    assert_eq!(grants("authorization_code"), !read.redirect_uris.is_empty());
    assert!(method != AuthMethod::None || !grants("client_credentials"));
    assert!(!read.client_name.is_empty() && !read.client_name.chars().any(char::is_control));
    let kept = serde_json::to_string(&read).expect("metadata are JSON");
    let again: ClientMetadata = serde_json::from_str(&kept).expect("what is kept can be read");
    assert!(again == read);
});
