//! Getting in: by passphrase, which ends with the first passkey; by a command line that waits for a page.

use std::collections::HashMap;
use std::net::IpAddr;

use domain::{Millis, PersonId};
use parking_lot::Mutex;
use store::StoreError;

use super::Registry;

/// Letters and digits of the code that is shown at both ends: none that looks like another, none that spells.
const CODE_ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Command lines that one address may have wait, in each minute.
pub(crate) const ASKED_MAX: u32 = 20;
const MINUTE: Millis = 60_000;
/// Addresses remembered; above it all are forgotten.
const PEERS_MAX: usize = 10_000;

/// How an attempt with a passphrase ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    /// It is them.
    In(PersonId),
    /// Too many attempts on this name: wait so long.
    Wait(Millis, Option<PersonId>),
    /// No such person, or not their passphrase.
    Wrong(Option<PersonId>),
    /// It is their passphrase, but they have a passkey (S4-08).
    Passkey(PersonId),
}

impl Registry {
    /// Checks a passphrase. An unknown name takes the same path and the same work as a wrong passphrase, and only who knows the
    /// passphrase learns that there is a passkey.
    pub(crate) async fn by_passphrase(&self, name: &str, passphrase: &str) -> Result<Entry, StoreError> {
        let inner = &self.0;
        let now = inner.clock.now();
        let person: Option<PersonId> = name.parse().ok();
        if let Some(wait) = inner.passphrases.wait(name, now) {
            return Ok(Entry::Wait(wait, person));
        }
        let hash = match &person {
            Some(person) => inner.store.find_credential(person).await?,
            None => None,
        };
        // Counted before it is known how it ends, so that attempts made at once count too.
        inner.passphrases.note(name, now, false);
        let fits = passphrase.len() <= 1_024 && inner.passphrases.verify(passphrase, hash).await;
        let person = match (person, fits) {
            (Some(person), true) => person,
            (person, _) => return Ok(Entry::Wrong(person)),
        };
        inner.passphrases.note(name, now, true);
        if !inner.store.passkeys(&person).await?.is_empty() {
            return Ok(Entry::Passkey(person));
        }
        Ok(Entry::In(person))
    }
}

/// The code for one command line: eight letters in two groups, from random bytes.
pub(crate) fn code(random: [u8; 8]) -> String {
    let mut out = String::with_capacity(9);
    for (place, byte) in random.into_iter().enumerate() {
        if place == 4 {
            out.push('-');
        }
        let letter = CODE_ALPHABET.get(usize::from(byte) % CODE_ALPHABET.len()).copied().unwrap_or(b'X');
        out.push(char::from(letter));
    }
    out
}

/// How often addresses asked within the current minute.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<(Millis, HashMap<IpAddr, u32>)>);

impl Asked {
    /// Whether this address may ask once more.
    pub(crate) fn may(&self, peer: IpAddr, now: Millis) -> bool {
        let mut held = self.0.lock();
        let (began, counts) = &mut *held;
        if !(0..MINUTE).contains(&now.saturating_sub(*began)) || counts.len() >= PEERS_MAX {
            *began = now;
            counts.clear();
        }
        let count = counts.entry(peer).or_default();
        *count = count.saturating_add(1);
        *count <= ASKED_MAX
    }
}

#[test]
fn codes_are_two_groups_of_letters_that_cannot_be_confused() {
    assert_eq!(code([0; 8]), "BBBB-BBBB");
    assert_eq!(code([0, 1, 2, 3, 4, 5, 19, 20]), "BCDF-GHZB");
    assert!(code([255; 8]).bytes().all(|byte| byte == b'-' || CODE_ALPHABET.contains(&byte)));
}

#[test]
fn an_address_asks_so_often_in_a_minute() {
    let (asked, one, two) = (Asked::default(), IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
    for _ in 0..ASKED_MAX {
        assert!(asked.may(one, 1));
    }
    assert!(!asked.may(one, 2) && asked.may(two, 2));
    assert!(asked.may(one, MINUTE + 1));
}
