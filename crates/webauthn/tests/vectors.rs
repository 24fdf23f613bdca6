//! The test vectors of the specification (WebAuthn Level 3, "Test Vectors"; w3c/webauthn at 146d0db0), and what we make of each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use serde_json::Value;
use webauthn::{InvalidKey, Party, PublicKey, Refused, authenticate, counter_fits, register};

const PARTY: Party<'static> = Party { id: "example.org", origin: "https://example.org" };

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors/w3c.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Every vector is a valid ceremony; ours asks for more (user verification, no attestation, one origin, three algorithms). `Ok` or why not.
const REGISTER: [(&str, Result<(), Refused>); 15] = [
    ("none-es256", Err(Refused::Verification)),
    ("packed-self-es256", Ok(())),
    ("none-es256-crossOrigin", Err(Refused::Origin)),
    ("none-es256-topOrigin", Err(Refused::Origin)),
    ("none-es256-long-credential-id", Err(Refused::Verification)),
    ("packed-es256", Err(Refused::Attestation)),
    ("packed-es384", Err(Refused::Verification)),
    ("packed-es512", Err(Refused::Key(InvalidKey::Algorithm))),
    ("packed-rs256", Err(Refused::Attestation)),
    ("packed-eddsa", Err(Refused::Verification)),
    ("packed-ed448", Err(Refused::Verification)),
    ("tpm-es256", Err(Refused::Attestation)),
    ("android-key-es256", Err(Refused::Attestation)),
    ("apple-es256", Err(Refused::Verification)),
    ("fido-u2f-es256", Err(Refused::Verification)),
];

/// `None`: the key is of an algorithm that is not asked for.
const AUTHENTICATE: [(&str, Option<Result<(), Refused>>); 15] = [
    ("none-es256", Some(Err(Refused::Verification))),
    ("packed-self-es256", Some(Err(Refused::Verification))),
    ("none-es256-crossOrigin", Some(Err(Refused::Origin))),
    ("none-es256-topOrigin", Some(Err(Refused::Origin))),
    ("none-es256-long-credential-id", Some(Ok(()))),
    ("packed-es256", Some(Ok(()))),
    ("packed-es384", None),
    ("packed-es512", None),
    ("packed-rs256", Some(Err(Refused::Verification))),
    ("packed-eddsa", Some(Err(Refused::Verification))),
    ("packed-ed448", None),
    ("tpm-es256", Some(Ok(()))),
    ("android-key-es256", Some(Err(Refused::Verification))),
    ("apple-es256", Some(Err(Refused::Verification))),
    ("fido-u2f-es256", Some(Err(Refused::Verification))),
];

#[test]
fn every_registration_of_the_specification_ends_as_ours_says() {
    let all = vectors();
    assert_eq!(all.len(), REGISTER.len());
    for (vector, (name, wanted)) in all.iter().zip(REGISTER) {
        assert_eq!(vector["name"], name);
        let one = &vector["register"];
        let done =
            register(PARTY, &bytes(&one["challenge"]), &bytes(&one["client_data"]), &bytes(&one["attestation_object"]));
        if let Ok(credential) = &done {
            assert_eq!(credential.id, bytes(&vector["credential_id"]), "{name}");
            assert_eq!(credential.key, bytes(&vector["key"]), "{name}");
        }
        assert_eq!(done.map(drop), wanted, "{name}");
    }
}

#[test]
fn every_authentication_of_the_specification_ends_as_ours_says() {
    for (vector, (name, wanted)) in vectors().iter().zip(AUTHENTICATE) {
        assert_eq!(vector["name"], name);
        let key = PublicKey::parse(&bytes(&vector["key"]));
        let Some(wanted) = wanted else {
            assert_eq!(key.map(drop), Err(InvalidKey::Algorithm), "{name}");
            continue;
        };
        let key = key.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(assertion(vector, &key, |_| ()).map(drop), wanted, "{name}");
    }
}

/// The vectors lack user verification where they please; their signatures verify all the same, with every kind of key.
#[test]
fn every_signature_of_the_specification_verifies_and_none_with_a_bit_changed() {
    let mut seen = 0;
    for vector in vectors() {
        let Ok(key) = PublicKey::parse(&bytes(&vector["key"])) else { continue };
        let one = &vector["authenticate"];
        let mut signed = bytes(&one["authenticator_data"]);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes(&one["client_data"]));
        signed.extend_from_slice(hash.as_ref());
        let signature = bytes(&one["signature"]);
        assert!(key.verify(&signed, &signature), "{}", vector["name"]);
        let last = signed.len() - 1;
        signed[last] ^= 1;
        assert!(!key.verify(&signed, &signature), "{}", vector["name"]);
        seen += 1;
    }
    assert_eq!(seen, 12);
}

fn assertion(
    vector: &Value,
    key: &PublicKey,
    change: impl FnOnce(&mut [Vec<u8>; 4]),
) -> Result<webauthn::Used, Refused> {
    let one = &vector["authenticate"];
    let mut parts = ["challenge", "client_data", "authenticator_data", "signature"].map(|name| bytes(&one[name]));
    change(&mut parts);
    let [challenge, client, data, signature] = &parts;
    authenticate(PARTY, challenge, key, client, data, signature)
}

#[test]
fn what_is_changed_is_refused_by_its_own_check() {
    let vectors = vectors();
    let vector = &vectors[5];
    let key = PublicKey::parse(&bytes(&vector["key"])).unwrap();
    let text = |parts: &mut [Vec<u8>; 4], from: &str, to: &str| {
        parts[1] = String::from_utf8(parts[1].clone()).unwrap().replace(from, to).into_bytes();
    };
    type Change = Box<dyn Fn(&mut [Vec<u8>; 4])>;
    let cases: Vec<(Change, Refused)> = vec![
        (Box::new(|parts| parts[0][0] ^= 1), Refused::Challenge),
        (Box::new(|parts| parts[0].clear()), Refused::Challenge),
        (Box::new(move |parts| text(parts, "webauthn.get", "webauthn.create")), Refused::Ceremony),
        (Box::new(move |parts| text(parts, "https://example.org", "https://example.com")), Refused::Origin),
        (Box::new(move |parts| text(parts, "https://example.org", "https://example.org:8443")), Refused::Origin),
        (Box::new(move |parts| text(parts, "\"crossOrigin\":false", "\"crossOrigin\":true")), Refused::Origin),
        (Box::new(move |parts| text(parts, "{\"type\"", "{\"type\":\"webauthn.get\",\"type\"")), Refused::ClientData),
        (Box::new(|parts| parts[1].truncate(40)), Refused::ClientData),
        (Box::new(|parts| parts[1] = vec![b' '; 20_000]), Refused::ClientData),
        (Box::new(|parts| parts[2][0] ^= 1), Refused::Party),
        (Box::new(|parts| parts[2][32] &= !0x01), Refused::Presence),
        (Box::new(|parts| parts[2][32] &= !0x04), Refused::Verification),
        (Box::new(|parts| parts[2][32] = 0x15), Refused::Backup),
        (Box::new(|parts| parts[2][36] ^= 1), Refused::Signature),
        (Box::new(|parts| parts[3][10] ^= 1), Refused::Signature),
        (Box::new(|parts| parts[3].clear()), Refused::Signature),
        (Box::new(|parts| parts[2].push(0)), Refused::Data(webauthn::InvalidData::Length)),
        (Box::new(|parts| parts[2].truncate(36)), Refused::Data(webauthn::InvalidData::Length)),
        (Box::new(|parts| parts[2][32] |= 0x80), Refused::Data(webauthn::InvalidData::Cbor)),
    ];
    for (number, (change, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(assertion(vector, &key, change), Err(wanted), "case {number}");
    }
    let other = PublicKey::parse(&bytes(&vectors[0]["key"])).unwrap();
    assert_eq!(assertion(vector, &other, |_| ()), Err(Refused::Signature), "someone else's key");
    assert!(counter_fits(0, 0));
}

/// No prefix and no changed byte of a registration panics, and none of them is taken for another credential.
#[test]
fn damaged_registrations_are_refused() {
    let vectors = vectors();
    let vector = &vectors[1];
    let one = &vector["register"];
    let (challenge, client, object) =
        (bytes(&one["challenge"]), bytes(&one["client_data"]), bytes(&one["attestation_object"]));
    for end in 0..object.len() {
        assert!(register(PARTY, &challenge, &client, &object[..end]).is_err(), "cut at {end}");
    }
    for at in 0..object.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = object.clone();
            changed[at] ^= flip;
            assert!(register(PARTY, &challenge, &client, &changed).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
    let mut longer = object;
    longer.push(0);
    assert!(register(PARTY, &challenge, &client, &longer).is_err());
}
