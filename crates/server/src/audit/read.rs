//! Reading the ledger back: search, one record, everything about one patient. Scans the log's segments, newest first, without a
//! lock; answers are bounded and paged.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use domain::SessionId;
use domain::audit::cbor::{self, Leaf};
use domain::audit::{Kind, Outcome};
use store::wal::{Position, ReadWalError, Segments, StoredEntry};

use super::view::{Explained, Found, RecordView};
use crate::keys::KeyRing;

/// Most records of one answer.
pub const SEARCH_MAX: usize = 1_000;

/// The ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadAuditError {
    /// The files.
    #[error(transparent)]
    Wal(#[from] ReadWalError),
    /// A patient can be looked for only in one tenant, and with its keys.
    #[error("a patient is looked for in one tenant, and with its keys")]
    Patient,
    /// The task was stopped.
    #[error("reading was stopped")]
    Stopped,
}

/// Whether the sealed part is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PhiAccess {
    /// It stays sealed.
    Sealed,
    /// It is opened, where the key is there.
    Open,
}

/// Text that is no record id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a record id is `tenant/node/year-index`, e.g. `mercy/gate-1/2026-17`")]
pub struct InvalidRecordId;

/// A record's id: `tenant/node/year-index`. The year is there because a log is begun each year; `tenant/node/index` means the newest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordId {
    /// Tenant, or `_system`.
    pub tenant: String,
    /// Node.
    pub node: String,
    /// Year of the log; `None` for the newest that has this index.
    pub year: Option<u16>,
    /// Index in the log.
    pub index: u64,
}

impl RecordId {
    /// The id of an entry: the origin is `<host>/<tenant>/<node>/<year>`.
    #[must_use]
    pub fn of(origin: &str, index: u64) -> Option<Self> {
        let mut parts = origin.rsplit('/');
        let (year, node, tenant) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { tenant: tenant.to_owned(), node: node.to_owned(), year: Some(year.parse().ok()?), index })
    }

    fn names(&self, origin: &str, index: u64) -> bool {
        Self::of(origin, index).is_some_and(|found| {
            found.index == self.index
                && found.tenant == self.tenant
                && found.node == self.node
                && (self.year.is_none() || self.year == found.year)
        })
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/", self.tenant, self.node)?;
        self.year.map_or(Ok(()), |year| write!(f, "{year}-"))?;
        write!(f, "{}", self.index)
    }
}

impl FromStr for RecordId {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, InvalidRecordId> {
        let mut parts = text.split('/');
        let (Some(tenant), Some(node), Some(entry), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidRecordId);
        };
        let (year, index) = match entry.split_once('-') {
            Some((year, index)) => (Some(year.parse().map_err(|_| InvalidRecordId)?), index),
            None => (None, entry),
        };
        let index = index.parse().map_err(|_| InvalidRecordId)?;
        if tenant.is_empty() || node.is_empty() {
            return Err(InvalidRecordId);
        }
        Ok(Self { tenant: tenant.to_owned(), node: node.to_owned(), year, index })
    }
}

/// Where the next page goes on; opaque text to callers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor(Position);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0.commit, self.0.place)
    }
}

impl FromStr for Cursor {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, InvalidRecordId> {
        let (commit, place) = text.split_once('.').ok_or(InvalidRecordId)?;
        let commit = commit.parse().map_err(|_| InvalidRecordId)?;
        let place = place.parse().map_err(|_| InvalidRecordId)?;
        Ok(Self(Position { commit, place }))
    }
}

/// What to look for; an empty filter is everything. Every field narrows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Tenant, or `_system`.
    pub tenant: Option<String>,
    /// One of these kinds; empty is any.
    pub kinds: Vec<Kind>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// `client_id`.
    pub integration: Option<String>,
    /// Person.
    pub person: Option<String>,
    /// Session.
    pub session: Option<SessionId>,
    /// Reason or alert code.
    pub reason: Option<String>,
    /// Resource type or registry noun.
    pub object: Option<String>,
    /// All records of one request.
    pub request_id: Option<[u8; 16]>,
    /// Not before, milliseconds.
    pub since: Option<i64>,
    /// Before, milliseconds.
    pub until: Option<i64>,
    /// Patient id; needs `tenant`. Found by tag, in every year the tenant has a key for.
    pub patient: Option<String>,
    /// Go on from an earlier answer's `next`.
    pub before: Option<Cursor>,
    /// Most records, at most [`SEARCH_MAX`]; 0 is 100.
    pub limit: usize,
}

impl Filter {
    fn fits(&self, leaf: &Leaf<'_>, tags: Option<&[[u8; 16]]>) -> bool {
        let record = &leaf.record;
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.tenant, &record.tenant)
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && same(&self.integration, &record.actor.integration)
            && same(&self.person, &record.actor.person)
            && (self.session.is_none() || self.session == record.actor.session)
            && same(&self.reason, &record.decision.reason)
            && same(&self.object, &record.object.kind)
            && self.request_id.is_none_or(|id| id == record.request_id)
            && self.since.is_none_or(|since| leaf.stamp.ts_us >= since.saturating_mul(1000))
            && self.until.is_none_or(|until| leaf.stamp.ts_us < until.saturating_mul(1000))
            && tags.is_none_or(|tags| leaf.tags.iter().any(|tag| tags.contains(tag)))
    }
}

/// Reads the ledger of one directory; also while another process writes it.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
    keys: Option<KeyRing>,
}

/// A record that was found: its place, log, index and bytes.
struct Hit {
    position: Position,
    origin: String,
    index: u64,
    bytes: Vec<u8>,
}

impl Hit {
    fn of(entry: &StoredEntry<'_>) -> Self {
        Self {
            position: entry.position,
            origin: entry.origin.to_owned(),
            index: entry.index,
            bytes: entry.bytes.to_vec(),
        }
    }
}

impl Reader {
    /// A reader of a directory; without keys, patients cannot be looked for and sealed parts stay sealed.
    #[must_use]
    pub fn new(dir: &Path, keys: Option<KeyRing>) -> Self {
        Self { dir: dir.to_owned(), keys }
    }

    /// Records that fit, newest first.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub fn search(&self, filter: &Filter, phi: PhiAccess) -> Result<Found, ReadAuditError> {
        let tags = self.tags(filter)?;
        let limit = if filter.limit == 0 { 100 } else { filter.limit.min(SEARCH_MAX) };
        let segments = Segments::find(&self.dir)?;
        let mut hits: Vec<Hit> = Vec::new();
        for number in segments.numbers().into_iter().rev() {
            // One more than asked for tells whether there is a next page.
            let wanted = limit + 1 - hits.len().min(limit + 1);
            if wanted == 0 {
                break;
            }
            let mut newest: VecDeque<Hit> = VecDeque::new();
            segments.read(number, &mut |entry| {
                if filter.before.is_some_and(|before| entry.position >= before.0) {
                    return false;
                }
                if cbor::decode(entry.bytes).is_ok_and(|leaf| filter.fits(&leaf, tags.as_deref())) {
                    if newest.len() == wanted {
                        newest.pop_front();
                    }
                    newest.push_back(Hit::of(&entry));
                }
                true
            })?;
            hits.extend(newest.into_iter().rev());
        }
        let more = hits.len() > limit;
        hits.truncate(limit);
        let next = if more { hits.last().map(|hit| Cursor(hit.position).to_string()) } else { None };
        let records = hits.iter().filter_map(|hit| self.view(hit, phi)).collect();
        Ok(Found { records, next })
    }

    /// Everything recorded about one patient of one tenant, newest first: "who touched this patient".
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub fn who(
        &self,
        tenant: &str,
        patient: &str,
        before: Option<Cursor>,
        phi: PhiAccess,
    ) -> Result<Found, ReadAuditError> {
        let filter = Filter {
            tenant: Some(tenant.to_owned()),
            patient: Some(patient.to_owned()),
            before,
            limit: SEARCH_MAX,
            ..Filter::default()
        };
        self.search(&filter, phi)
    }

    /// Alerts, newest first.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub fn alerts(
        &self,
        tenant: Option<&str>,
        before: Option<Cursor>,
        phi: PhiAccess,
    ) -> Result<Found, ReadAuditError> {
        let tenant = tenant.map(str::to_owned);
        self.search(&Filter { tenant, kinds: vec![Kind::Alert], before, ..Filter::default() }, phi)
    }

    /// One record.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub fn show(&self, id: &RecordId, phi: PhiAccess) -> Result<Option<RecordView>, ReadAuditError> {
        Ok(self.find(id)?.and_then(|hit| self.view(&hit, phi)))
    }

    /// One record in words, with the other records of its request.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub fn explain(&self, id: &RecordId, phi: PhiAccess) -> Result<Option<Explained>, ReadAuditError> {
        let Some(hit) = self.find(id)? else { return Ok(None) };
        let (Some(record), Ok(leaf)) = (self.view(&hit, phi), cbor::decode(&hit.bytes)) else { return Ok(None) };
        let filter = Filter {
            tenant: Some(leaf.record.tenant.clone()),
            request_id: Some(leaf.record.request_id),
            ..Filter::default()
        };
        let mut related = self.search(&filter, phi)?.records;
        related.retain(|other| other.id != record.id);
        Ok(Some(Explained { says: super::view::words(&record), record, related }))
    }

    fn find(&self, id: &RecordId) -> Result<Option<Hit>, ReadAuditError> {
        let segments = Segments::find(&self.dir)?;
        for number in segments.numbers().into_iter().rev() {
            let mut hit = None;
            segments.read(number, &mut |entry| {
                if id.names(entry.origin, entry.index) {
                    hit = Some(Hit::of(&entry));
                }
                true
            })?;
            if hit.is_some() {
                return Ok(hit);
            }
        }
        Ok(None)
    }

    fn tags(&self, filter: &Filter) -> Result<Option<Vec<[u8; 16]>>, ReadAuditError> {
        let Some(patient) = &filter.patient else { return Ok(None) };
        let (Some(tenant), Some(keys)) = (&filter.tenant, &self.keys) else { return Err(ReadAuditError::Patient) };
        Ok(Some(keys.patient_tags(tenant, tenant, patient)))
    }

    fn view(&self, hit: &Hit, phi: PhiAccess) -> Option<RecordView> {
        let leaf = cbor::decode(&hit.bytes).ok()?;
        let opened = match (&self.keys, phi) {
            (Some(keys), PhiAccess::Open) => Some(super::leaf::open_phi(keys, &leaf)),
            _ => None,
        };
        let id = RecordId::of(&hit.origin, hit.index)?;
        Some(RecordView::new(&id, &leaf, opened.map(|opened| opened.map_err(|why| why.to_string()))))
    }
}

#[test]
fn a_record_id_reads_back() {
    let id = RecordId::of("gate.example/mercy/gate-1/2026", 17).unwrap();
    assert_eq!(id.to_string(), "mercy/gate-1/2026-17");
    assert_eq!(id.to_string().parse(), Ok(id.clone()));
    let any_year: RecordId = "mercy/gate-1/17".parse().unwrap();
    assert!(any_year.names("gate.example/mercy/gate-1/2027", 17) && id.names("gate.example/mercy/gate-1/2026", 17));
    assert!(!id.names("gate.example/mercy/gate-1/2027", 17));
    for bad in ["", "mercy", "mercy/gate-1", "mercy/gate-1/x", "mercy/gate-1/2026-", "//1", "a/b/1/2"] {
        assert!(bad.parse::<RecordId>().is_err(), "{bad}");
    }
    assert_eq!("5.2".parse::<Cursor>().unwrap().to_string(), "5.2");
}
