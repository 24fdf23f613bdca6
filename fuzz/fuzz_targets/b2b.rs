//! What an assertion says of for whom and why: whatever is kept is bounded and of the forms that records and tokens hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oauth::b2b::{self, CONSENTS_MAX, PURPOSES_MAX, TEXT_BYTES_MAX};
use oauth::json::read_object;

fuzz_target!(|bytes: &[u8]| {
    let Ok(claims) = read_object(bytes) else { return };
    let Ok(Some(said)) = b2b::read(&claims) else { return };
    assert!((1..=PURPOSES_MAX).contains(&said.purposes.len()));
    assert!(said.purposes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_uppercase()) && said.is_for(code)));
    assert!(said.consent_policy.len() <= CONSENTS_MAX && said.consent_reference.len() <= CONSENTS_MAX);
    assert!(said.consent_reference.is_empty() || !said.consent_policy.is_empty());
    assert!(said.organization_id.contains(':') && said.organization_id.is_ascii());
    let texts = [&said.subject_name, &said.subject_id, &said.subject_role, &said.organization_name];
    let texts = texts.into_iter().flatten().chain(&said.consent_policy).chain(&said.consent_reference);
    for text in texts.chain([&said.organization_id]) {
        assert!((1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control));
    }
});
