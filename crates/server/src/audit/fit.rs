//! Whether the ledger's folder and the database belong to one time: neither may have been put back without the other.
//!
//! The database remembers how many records the ledger had, each second; records of changes remember the number of the change. So a
//! folder that lost records shows by its count, and a database from a backup by a change that it does not have. A crash shows
//! neither: a record is durable before it is counted, and a change before its number is recorded.

use std::path::Path;

use domain::audit::cbor::{self, Leaf};
use domain::audit::{Kind, Phase};
use store::wal::{ReadWalError, Segments};

use super::OpenLedgerError;
use super::leaf::open_phi;
use crate::keys::KeyRing;

/// Attribute of a record that holds the feed number its change had reached.
pub(crate) const FEED: &str = "feed";

/// Refuses a ledger of `entries` records that does not fit the database of `keys`.
pub(super) async fn check(dir: &Path, node: &str, entries: u64, keys: &KeyRing) -> Result<(), OpenLedgerError> {
    let marks = keys.store().ledger_marks().await?;
    let known = marks.into_iter().find(|(name, _)| name == node).map_or(0, |(_, known)| known);
    if entries < known {
        return Err(OpenLedgerError::RolledBack { found: entries, known });
    }
    let database = keys.store().feed().await?;
    let (dir, keys) = (dir.to_owned(), keys.clone());
    let looked = tokio::task::spawn_blocking(move || newest_change(&dir, entries - known, &keys)).await;
    match looked.map_err(|_| OpenLedgerError::Start)?? {
        Newest::Unreadable => Err(OpenLedgerError::LostKeys),
        Newest::At(ledger) if ledger > database => Err(OpenLedgerError::OlderDatabase { database, ledger }),
        Newest::At(_) => Ok(()),
    }
}

/// The newest change that the last records tell of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Newest {
    /// Its number; 0 when there is none.
    At(u64),
    /// One of the records is sealed with a key that is not there: the database had it once.
    Unreadable,
}

/// Looks through the last `unmarked` records, newest segment first. After an orderly stop there are none.
fn newest_change(dir: &Path, unmarked: u64, keys: &KeyRing) -> Result<Newest, ReadWalError> {
    let segments = Segments::find(dir)?;
    let (mut left, mut newest) = (unmarked, 0);
    for number in segments.numbers().into_iter().rev() {
        if left == 0 {
            break;
        }
        let (mut count, mut changes) = (0_u64, Vec::new());
        segments.read(number, &mut |entry| {
            if let Some(change) = cbor::decode(entry.bytes).ok().and_then(|leaf| change_of(&leaf, keys)) {
                changes.push((count, change));
            }
            count += 1;
            true
        })?;
        let first = count.saturating_sub(left);
        for (_, change) in changes.into_iter().filter(|(at, _)| *at >= first) {
            match change {
                Newest::Unreadable => return Ok(Newest::Unreadable),
                Newest::At(feed) => newest = feed.max(newest),
            }
        }
        left = left.saturating_sub(count);
    }
    Ok(Newest::At(newest))
}

fn change_of(leaf: &Leaf<'_>, keys: &KeyRing) -> Option<Newest> {
    let record = &leaf.record;
    let Ok(phi) = open_phi(keys, leaf) else { return Some(Newest::Unreadable) };
    if !matches!(record.kind, Kind::RegistryChange | Kind::SessionEnd) || record.phase == Phase::Intent {
        return None;
    }
    let feed = phi.attributes.iter().find(|(name, _)| name == FEED)?;
    feed.1.parse().ok().map(Newest::At)
}
