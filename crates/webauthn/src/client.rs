//! The client data: what the browser says it did, on which origin, to which challenge (WebAuthn §5.8.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::{BYTES_MAX, CHALLENGE_BYTES, Party, Refused};

/// Members that came twice are an error of the parser; ones we do not know are allowed (§5.8.1.1: it may be extended).
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<String>,
}

fn read(text: &[u8]) -> Option<ClientData> {
    if text.len() > BYTES_MAX {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// The challenge that client data answers, to look up the ceremony by; nothing is checked yet.
#[must_use]
pub fn challenge(client_data: &[u8]) -> Option<[u8; CHALLENGE_BYTES]> {
    URL_SAFE_NO_PAD.decode(read(client_data)?.challenge).ok()?.try_into().ok()
}

/// §7.1 steps 7 to 11, §7.2 steps 11 to 15.
pub(crate) fn check(text: &[u8], kind: &str, party: Party<'_>, challenge: &[u8]) -> Result<(), Refused> {
    let data = read(text).ok_or(Refused::ClientData)?;
    if data.kind != kind {
        return Err(Refused::Ceremony);
    }
    let answered = URL_SAFE_NO_PAD.decode(&data.challenge).map_err(|_| Refused::Challenge)?;
    if challenge.is_empty() || !bool::from(answered.ct_eq(challenge)) {
        return Err(Refused::Challenge);
    }
    if data.origin != party.origin || data.cross_origin || data.top_origin.is_some() {
        return Err(Refused::Origin);
    }
    Ok(())
}
