//! The two passkey ceremonies on our side: a challenge for one browser, once, for five minutes; then what the browser answered.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::audit::Phi;
use domain::{Millis, PersonId, Reason};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AddPasskeyRefusal, Ceremony, CeremonyKind, Passkey};
use webauthn::{Algorithm, PublicKey, Refused};

use super::door::{Turned, Visitor};
use crate::clock::random;
use crate::hex::hex;
use crate::keys::SYSTEM;
use crate::registry::Registry;
use crate::registry::people::credential_hash;
use crate::registry::trail::Deed;

/// A challenge may be answered this long.
const CEREMONY_LIFE: Millis = 5 * 60_000;
/// The alert that an authenticator may have been copied (WebAuthn §6.1.1).
const COPIED: &str = "passkey-copied";

/// What the script sends after `navigator.credentials.get`; each in base64url.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assertion {
    id: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
    user_handle: String,
}

/// What the script sends after `navigator.credentials.create`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attestation {
    name: String,
    client_data: String,
    attestation_object: String,
}

fn decoded(text: &str) -> Result<Vec<u8>, Turned> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Turned::unreadable())
}

/// A new challenge for this browser.
async fn challenge(
    registry: &Registry,
    visitor: &Visitor,
    kind: CeremonyKind,
    person: Option<PersonId>,
) -> Result<String, Turned> {
    let challenge: [u8; 32] = random()?;
    let ceremony = Ceremony { kind, browser: visitor.browser(), person };
    registry.store().begin_ceremony(&challenge, &ceremony, registry.now() + CEREMONY_LIFE).await?;
    Ok(URL_SAFE_NO_PAD.encode(challenge))
}

/// The challenge that was answered, if it was given to this browser for this; used up either way.
async fn redeem(
    registry: &Registry,
    visitor: &Visitor,
    kind: CeremonyKind,
    client_data: &[u8],
) -> Result<([u8; 32], Ceremony), Turned> {
    let over = || {
        let says = "That took too long, or was done before. Try again.";
        Turned::new(StatusCode::UNAUTHORIZED, Reason::GrantInvalid, says)
            .noted("the challenge is not one of ours, or over")
    };
    let challenge = webauthn::challenge(client_data).ok_or_else(Turned::unreadable)?;
    let ceremony = registry.store().redeem_ceremony(&challenge, registry.now()).await?;
    let ceremony = ceremony.filter(|found| found.kind == kind && found.browser == visitor.browser());
    Ok((challenge, ceremony.ok_or_else(over)?))
}

/// What `navigator.credentials.get` is asked with. No credential is named: passkeys are found by their authenticator, so nobody learns
/// here who has one.
pub(super) async fn sign_in_options(registry: &Registry, visitor: &Visitor) -> Result<Value, Turned> {
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    Ok(json!({
        "challenge": challenge(registry, visitor, CeremonyKind::SignIn, None).await?,
        "rpId": origin.party().id,
        "userVerification": "required",
        "timeout": CEREMONY_LIFE,
    }))
}

/// Whose passkey answered.
pub(super) async fn sign_in(registry: &Registry, visitor: &Visitor, sent: &Assertion) -> Result<PersonId, Turned> {
    let tried = |turned: Turned, person| turned.tried("console-session", "sign-in", person);
    let client_data = decoded(&sent.client_data)?;
    let redeemed = redeem(registry, visitor, CeremonyKind::SignIn, &client_data).await;
    let (challenge, _) = redeemed.map_err(|turned| tried(turned, None))?;
    let refused = |note: &str, person: Option<PersonId>| {
        let says = "This passkey does not sign you in here.";
        tried(Turned::new(StatusCode::UNAUTHORIZED, Reason::ClientInvalid, says).noted(note), person)
    };
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    let store = registry.store();
    let found = store.find_passkey(&decoded(&sent.id)?).await?;
    let passkey = found.ok_or_else(|| refused("no such passkey", None))?;
    let person = Some(passkey.person.clone());
    // §7.2 step 6: no credential was named, so the authenticator says whose it is.
    let handle = store.find_passkey_handle(&passkey.person).await?;
    if handle.as_ref().map(|handle| handle.as_slice()) != Some(decoded(&sent.user_handle)?.as_slice()) {
        return Err(refused("the passkey names another person", person));
    }
    let key = PublicKey::parse(&passkey.public_key).map_err(|why| refused(&why.to_string(), person.clone()))?;
    let (data, signature) = (decoded(&sent.authenticator_data)?, decoded(&sent.signature)?);
    let used = webauthn::authenticate(origin.party(), &challenge, &key, &client_data, &data, &signature)
        .map_err(|why| refused(&why.to_string(), person.clone()))?;
    if !store.use_passkey(&passkey.id, used.counter, registry.now()).await? {
        let note = format!("its counter came as {} after {}", used.counter, passkey.counter);
        if let Some(audit) = registry.audit() {
            let text = format!("passkey {} of {}: {note}; it may have been copied", passkey.id, passkey.person);
            let phi = Phi { peer: visitor.peer.to_string(), ..Phi::default() };
            audit.alert_soon(SYSTEM, COPIED, &text, phi);
        }
        return Err(refused(&note, person));
    }
    Ok(passkey.person)
}

/// What `navigator.credentials.create` is asked with, for whoever is signed in.
pub(super) async fn enrol_options(registry: &Registry, visitor: &Visitor) -> Result<Value, Turned> {
    let caller = visitor.caller()?;
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    let store = registry.store();
    let handle = store.passkey_handle(&caller.person, &random()?).await?;
    let have = store.passkeys(&caller.person).await?;
    let exclude: Vec<Value> =
        have.iter().map(|one| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(&one.credential) })).collect();
    let kinds: Vec<Value> =
        Algorithm::ALL.iter().map(|kind| json!({ "type": "public-key", "alg": kind.number() })).collect();
    let person = Some(caller.person.clone());
    Ok(json!({
        "challenge": challenge(registry, visitor, CeremonyKind::Enrol, person).await?,
        "rp": { "id": origin.party().id, "name": "Hilum" },
        "user": {
            "id": URL_SAFE_NO_PAD.encode(handle),
            "name": caller.person,
            "displayName": caller.person,
        },
        "pubKeyCredParams": kinds,
        "excludeCredentials": exclude,
        // Found by its authenticator, so that signing in needs no list of names; and who touches it is verified, always.
        "authenticatorSelection": { "residentKey": "required", "requireResidentKey": true, "userVerification": "required" },
        "attestation": "none",
        "timeout": CEREMONY_LIFE,
    }))
}

/// Keeps the passkey that was made.
pub(super) async fn enrol(registry: &Registry, visitor: &Visitor, sent: &Attestation) -> Result<(), Turned> {
    let caller = visitor.caller()?;
    let tried = |turned: Turned| turned.tried("passkey", "enrol", Some(caller.person.clone()));
    let name = sent.name.trim();
    if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let says = "Give the passkey a name of 1 to 64 characters.";
        return Err(tried(Turned::new(StatusCode::UNPROCESSABLE_ENTITY, Reason::RequestInvalid, says)));
    }
    let (client_data, object) = (decoded(&sent.client_data)?, decoded(&sent.attestation_object)?);
    let redeemed = redeem(registry, visitor, CeremonyKind::Enrol, &client_data).await;
    let (challenge, ceremony) = redeemed.map_err(tried)?;
    let refused = |why: String| {
        let says = format!("This passkey cannot be used here: {why}.");
        tried(Turned::new(StatusCode::UNPROCESSABLE_ENTITY, Reason::ClientInvalid, says).noted(why))
    };
    if ceremony.person.as_ref() != Some(&caller.person) {
        return Err(refused("it was asked for by somebody else".into()));
    }
    let origin = registry.console_origin().ok_or_else(Turned::unreadable)?;
    let made = webauthn::register(origin.party(), &challenge, &client_data, &object);
    let made = made.map_err(|why: Refused| refused(why.to_string()))?;
    let new = Passkey {
        id: hex(&credential_hash_of(&made.id)).chars().take(32).collect(),
        person: caller.person.clone(),
        name: name.to_owned(),
        credential: made.id,
        public_key: made.key,
        counter: made.counter,
        created_at: registry.now(),
        used_at: None,
    };
    let deed = Deed {
        noun: "passkey",
        verb: "enrol",
        id: format!("{} {}", new.person, new.id),
        note: new.name.clone(),
        ..Deed::default()
    };
    let intent = registry.trail().intend(Some(caller), &deed).await?;
    let added = registry.store().add_passkey(&new).await;
    let (status, done) = match added {
        Ok(Ok(())) => (201, Ok(())),
        Ok(Err(AddPasskeyRefusal::Exists)) => (409, Err(refused("it is enrolled already".into()))),
        Ok(Err(AddPasskeyRefusal::Many)) => {
            (409, Err(refused("you have as many as there may be; remove one first".into())))
        }
        Ok(Err(AddPasskeyRefusal::Unknown)) => (409, Err(refused("your account is switched off".into()))),
        Err(why) => (503, Err(why.into())),
    };
    registry.trail().conclude(intent, crate::registry::outcome_of(status), status, registry.feed()).await?;
    done.map_err(Turned::recorded)
}

fn credential_hash_of(id: &[u8]) -> [u8; 32] {
    credential_hash(&URL_SAFE_NO_PAD.encode(id))
}
