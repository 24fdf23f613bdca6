//! The ledger end to end: append, find, explain, verify, and what it does when the disk or the clock fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::{AuditRecord, Kind, Outcome, Phi};
use domain::{Reason, SessionId, TenantId};
use server::audit::{Audit, Filter, Lane, OpenLedgerError, PhiAccess, Reader, RecordError, RecordId, verify};
use server::clock::{Clock, random};
use server::keys::KeyRing;
use store::Store;
use store::wal::{Device, Disk, FileDisk, OpenWalError, WalOptions};
use vault::RootKey;

const NOW: i64 = 1_795_000_000_000; // 2026-11-18

fn mercy() -> TenantId {
    "mercy".parse().unwrap()
}

async fn keys(store: &Store) -> KeyRing {
    KeyRing::open(&RootKey::parse(&[1; 32]).unwrap(), store, &[mercy(), "other".parse().unwrap()], NOW).await.unwrap()
}

async fn fresh_keys() -> KeyRing {
    keys(&Store::open("sqlite::memory:").await.unwrap()).await
}

async fn open(dir: &Path, keys: &KeyRing, clock: &Clock) -> Audit {
    Audit::open(dir, "gate-1", "gate.example", keys.clone(), clock.clone()).await.unwrap()
}

fn read_of(patient: &str, resource: &str) -> AuditRecord {
    let mut record = AuditRecord::new("mercy", Kind::FhirRead, Outcome::Success, random().unwrap());
    record.actor.integration = "scheduler".to_owned();
    record.actor.session = Some(SessionId([7; 16]));
    record.decision.task = "scheduling@1".to_owned();
    record.decision.clauses = vec![0];
    record.object.kind = "Observation".to_owned();
    record.object.interaction = "read".to_owned();
    record.object.released = 1;
    record.object.status = 200;
    record.phi.patients = vec![patient.to_owned()];
    record.phi.resources = vec![resource.to_owned()];
    record.phi.request = format!("GET /{resource}");
    record.phi.peer = "192.0.2.77".to_owned();
    record.phi.scope = "patient/Observation.rs".to_owned();
    record.phi.attributes = vec![("patient".to_owned(), patient.to_owned())];
    record
}

async fn append(audit: &Audit, record: AuditRecord) -> RecordId {
    let receipt = audit.append(audit.reserve(Lane::Release).unwrap(), record).await.unwrap();
    RecordId::of(receipt.origin(), receipt.index()).unwrap()
}

fn all() -> Filter {
    Filter { limit: 1_000, ..Filter::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_found_shown_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    let record = read_of("P1", "Observation/O1");
    let request_id = record.request_id;
    let id = append(&audit, record).await;
    assert_eq!(id.to_string(), "mercy/gate-1/2026-0");
    append(&audit, read_of("P2", "Observation/O2")).await;
    let mut denial = AuditRecord::new("mercy", Kind::FhirDenied, Outcome::Denied, request_id);
    denial.decision.reason = "other-patient".to_owned();
    append(&audit, denial).await;

    let shown = audit.show(id.clone(), PhiAccess::Open).await.unwrap().unwrap();
    assert_eq!((shown.kind, shown.integration.as_str(), shown.clock_ok), ("fhir.read", "scheduler", true));
    assert_eq!(shown.phi.as_ref().unwrap().resources, ["Observation/O1"]);
    assert!(shown.time.starts_with("2026-11-18T"), "{}", shown.time);
    let sealed = audit.show(id.clone(), PhiAccess::Sealed).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&sealed).unwrap().contains("O1"));
    assert!(!format!("{shown:?}").contains("O1"), "debug output does not show it");

    let reader = audit.reader();
    let who = reader.who("mercy", "P1", None, PhiAccess::Sealed).unwrap();
    assert_eq!(who.records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["mercy/gate-1/2026-0"]);
    assert!(
        reader.who("other", "P1", None, PhiAccess::Sealed).unwrap().records.is_empty(),
        "tags do not cross tenants"
    );
    assert!(Reader::new(dir.path(), None).who("mercy", "P1", None, PhiAccess::Sealed).is_err(), "nor without keys");

    let explained = audit.explain(id, PhiAccess::Open).await.unwrap().unwrap();
    assert_eq!(explained.related.len(), 1, "the denial of the same request");
    assert!(
        explained.says.iter().any(|line| line.contains("read of Observation by integration `scheduler` was allowed"))
    );
    assert!(explained.says.contains(&"patient: P1".to_owned()));

    let found = audit.search(Filter { kinds: vec![Kind::FhirDenied], ..all() }, PhiAccess::Sealed).await.unwrap();
    assert_eq!(found.records.len(), 1);
    assert_eq!(found.records[0].reason, "other-patient");
    let none = Filter { integration: Some("nobody".to_owned()), ..all() };
    assert!(audit.search(none, PhiAccess::Sealed).await.unwrap().records.is_empty());
    assert!(audit.show("mercy/gate-1/99".parse().unwrap(), PhiAccess::Sealed).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let options = WalOptions { dir: dir.path().into(), first_segment_bytes: 4096, segment_bytes: 8192 };
    let audit = Audit::open_with(options, Arc::new(FileDisk), "gate-1", "gate.example", keys, clock).await.unwrap();
    for at in 0..50 {
        append(&audit, read_of("P1", &format!("Observation/O{at}"))).await;
    }
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let filter = Filter { tenant: Some("mercy".to_owned()), before, limit: 7, ..Filter::default() };
        let found = audit.search(filter, PhiAccess::Sealed).await.unwrap();
        ids.extend(found.records.into_iter().map(|record| record.id));
        match found.next {
            Some(next) => before = Some(next.parse().unwrap()),
            None => break,
        }
    }
    let expected: Vec<String> = (0..50).rev().map(|at| format!("mercy/gate-1/2026-{at}")).collect();
    assert_eq!(ids, expected);
}

/// Every record acknowledged under concurrency has its own index, and reopening keeps counting.
#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_at_once_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let audit = open(dir.path(), &keys, &clock).await;
        let tasks: Vec<_> = (0..200)
            .map(|at| {
                let audit = audit.clone();
                tokio::spawn(async move { append(&audit, read_of("P1", &format!("Observation/O{at}"))).await.index })
            })
            .collect();
        for task in tasks {
            assert!(ids.insert(task.await.unwrap()));
        }
        assert!(audit.healthy());
        audit.close().await;
        assert!(matches!(
            audit.append(audit.reserve(Lane::Release).unwrap(), read_of("P1", "Observation/O")).await,
            Err(RecordError::Closed)
        ));
    }
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), (0..400).collect::<Vec<_>>());
    let key = keys.ledger_public().unwrap();
    let report = verify(dir.path(), &key, &[]).unwrap();
    assert!(report.clean);
    // Two starts and two stops besides.
    assert_eq!(report.entries, 404);
    assert_eq!(report.logs.iter().map(|log| log.size).sum::<u64>(), 404);
}

/// A planted patient, secret and address stand in no file of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn no_canary_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    let mut record = read_of("CANARY-PATIENT", "Observation/CANARY-RESOURCE");
    record.phi.note = "CANARY-NOTE".to_owned();
    record.phi.agent = "CANARY-AGENT".to_owned();
    record.phi.peer = "CANARY-PEER".to_owned();
    append(&audit, record).await;
    let phi = Phi { patients: vec!["CANARY-ALERT".to_owned()], ..Phi::default() };
    audit.alert(&mercy(), "type-unexpected", "CANARY-TEXT", phi).await;
    audit.count_unauthenticated(&mercy(), Reason::TokenInvalid, "198.51.100.99:1".parse().unwrap());
    audit.close().await;
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for canary in ["CANARY", "patient/Observation.rs", "198.51.100"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary}");
        }
    }
    assert!(files >= 4, "segment, two checkpoints, lock");
    let alerts = Reader::new(dir.path(), Some(keys)).alerts(Some("mercy"), None, PhiAccess::Open).unwrap();
    assert_eq!(alerts.records[0].reason, "type-unexpected");
    assert_eq!(alerts.records[0].phi.as_ref().unwrap().note, "CANARY-TEXT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_counted_exactly_in_few_records() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    for at in 0..5_000_u32 {
        let peer = format!("192.0.2.{}:{}", at % 250, 1024 + at % 1000).parse().unwrap();
        audit.count_unauthenticated(&mercy(), Reason::TokenInvalid, peer);
        if at % 10 == 0 {
            audit.count_unauthenticated(&"unknown".parse().unwrap(), Reason::NotFound, peer);
        }
    }
    audit.close().await;
    let found = Reader::new(dir.path(), Some(keys))
        .search(&Filter { kinds: vec![Kind::Flood], ..all() }, PhiAccess::Open)
        .unwrap();
    let sum = |tenant: &str| {
        found.records.iter().filter(|record| record.tenant == tenant).map(|record| record.filtered).sum::<u32>()
    };
    assert_eq!((sum("mercy"), sum("_system")), (5_000, 500));
    assert!(found.records.len() <= 8, "{}", found.records.len());
    assert!(found.records.iter().all(|record| record.phi.as_ref().unwrap().peer == "192.0.2.0/24"));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_never_falls_even_when_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    append(&audit, read_of("P1", "Observation/O1")).await;
    audit.close().await;
    let behind = Clock::fixed(NOW - 3_600_000);
    let audit = open(dir.path(), &keys, &behind).await;
    append(&audit, read_of("P1", "Observation/O2")).await;
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    audit.close().await;
    let found = Reader::new(dir.path(), Some(keys)).search(&all(), PhiAccess::Sealed).unwrap();
    let times: Vec<&str> = found.records.iter().rev().map(|record| record.time.as_str()).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert!(found.records.iter().any(|record| !record.clock_ok));
    assert!(found.records.iter().any(|record| record.reason == "time-regressed"), "people are told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_or_year_that_begins_while_running_has_its_keys_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    append(&audit, read_of("P1", "Observation/O1")).await;
    clock.advance(90 * 86_400_000);
    assert_eq!(append(&audit, read_of("P1", "Observation/O2")).await.to_string(), "mercy/gate-1/2027-0");
    let who = audit.reader().who("mercy", "P1", None, PhiAccess::Open).unwrap();
    assert_eq!(who.records.len(), 2, "found under the tags of both years");
    assert!(who.records.iter().all(|record| record.phi.is_some()));
}

/// A disk that fails, fills up or hangs at a switch.
#[derive(Clone, Default)]
struct Switches {
    fail: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    slow_ms: Arc<AtomicU64>,
}

struct Switched(Box<dyn Device>, Switches);

impl Device for Switched {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.1.slow_ms.load(Ordering::SeqCst)));
        if self.1.fail.load(Ordering::SeqCst) { Err(io::ErrorKind::Other.into()) } else { self.0.sync() }
    }
}

impl Disk for Switches {
    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Device>> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(Switched(FileDisk.create_zeroed(path, bytes)?, self.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Device>, u64)> {
        let (device, length) = FileDisk.open(path)?;
        Ok((Box::new(Switched(device, self.clone())), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileDisk.rename(from, to)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        FileDisk.replace(path, bytes)
    }
}

async fn open_switched(dir: &Path, switches: &Switches, keys: &KeyRing) -> Audit {
    let options = WalOptions { dir: dir.into(), first_segment_bytes: 8192, segment_bytes: 8192 };
    Audit::open_with(options, Arc::new(switches.clone()), "gate-1", "gate.example", keys.clone(), Clock::fixed(NOW))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_ledger_and_everything_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, switches) = (fresh_keys().await, Switches::default());
    let audit = open_switched(dir.path(), &switches, &keys).await;
    append(&audit, read_of("P1", "Observation/O1")).await;
    let slot = audit.reserve(Lane::Release).unwrap();
    let kept = audit.reserve(Lane::Release).unwrap();
    switches.fail.store(true, Ordering::SeqCst);
    assert!(matches!(audit.append(slot, read_of("P1", "Observation/O2")).await, Err(RecordError::Failed)));
    switches.fail.store(false, Ordering::SeqCst);
    assert!(!audit.healthy());
    assert!(audit.reserve(Lane::Release).is_err());
    assert!(audit.append(kept, read_of("P1", "Observation/O3")).await.is_err(), "never retried");
    tokio::time::timeout(Duration::from_secs(1), audit.failed()).await.expect("the process is told");
    drop(audit);
    let again = open(dir.path(), &keys, &Clock::fixed(NOW)).await;
    assert_eq!(
        again.reader().who("mercy", "P1", None, PhiAccess::Sealed).unwrap().records.last().unwrap().id,
        "mercy/gate-1/2026-0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, switches) = (fresh_keys().await, Switches::default());
    let audit = open_switched(dir.path(), &switches, &keys).await;
    switches.full.store(true, Ordering::SeqCst);
    let mut refused = false;
    for at in 0..60 {
        let record = read_of("P1", &format!("Observation/O{at}"));
        match audit.append(audit.reserve(Lane::Release).unwrap(), record).await {
            Ok(_) => assert!(!refused),
            Err(why) => {
                assert!(matches!(why, RecordError::Full), "{why}");
                refused = true;
                assert!(!audit.healthy());
            }
        }
    }
    assert!(refused);
    switches.full.store(false, Ordering::SeqCst);
    append(&audit, read_of("P1", "Observation/last")).await;
    assert!(audit.healthy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_meets_the_deadline_with_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, switches) = (fresh_keys().await, Switches::default());
    let audit = open_switched(dir.path(), &switches, &keys).await;
    switches.slow_ms.store(1_500, Ordering::SeqCst);
    let started = std::time::Instant::now();
    let late = audit.append(audit.reserve(Lane::Release).unwrap(), read_of("P1", "Observation/O1")).await;
    assert!(matches!(late, Err(RecordError::Deadline)));
    assert!(started.elapsed() < Duration::from_millis(1_400), "it does not wait for the disk");
}

/// Denials have their own places: a storm of them leaves every place of the other lane free, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_lanes_do_not_starve_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), &fresh_keys().await, &Clock::fixed(NOW)).await;
    let mut denials = Vec::new();
    while let Ok(slot) = audit.reserve(Lane::Denial) {
        denials.push(slot);
    }
    assert_eq!(denials.len(), 2_048);
    append(&audit, read_of("P1", "Observation/O1")).await;
    let mut releases = Vec::new();
    while let Ok(slot) = audit.reserve(Lane::Release) {
        releases.push(slot);
    }
    assert_eq!(releases.len(), 8_192);
    denials.truncate(2_047);
    let mut record = read_of("P1", "Observation/O1");
    record.kind = Kind::FhirDenied;
    audit.append(audit.reserve(Lane::Denial).unwrap(), record).await.unwrap();
    drop(releases.pop());
    assert!(audit.reserve(Lane::Release).is_ok(), "a dropped slot is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_one_receipt_and_several_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    let mut record = read_of("P1", "Observation/O1");
    record.kind = Kind::FhirSearch;
    record.phi.resources = (0..2_000).map(|at| format!("Observation/{at:020}")).collect();
    record.object.released = 2_000;
    let (id, request) = (append(&audit, record.clone()).await, record.request_id);
    assert_eq!(id.index, 0);
    let filter = Filter { request_id: Some(request), ..all() };
    let found = audit.search(filter, PhiAccess::Open).await.unwrap();
    assert!(found.records.len() > 1);
    assert_eq!(found.records.iter().map(|part| part.released).sum::<u32>(), 2_000);
    let resources = found.records.iter().rev().flat_map(|part| part.phi.as_ref().unwrap().resources.clone());
    assert_eq!(resources.collect::<Vec<_>>(), record.phi.resources);
    assert_eq!(append(&audit, read_of("P1", "Observation/O2")).await.index, found.records.len() as u64);
    let mut unknown = read_of("P1", "Observation/O1");
    unknown.tenant = "nobody".to_owned();
    assert!(audit.append(audit.reserve(Lane::Release).unwrap(), unknown).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_rolled_back_ledger_does_not_open_and_does_not_verify() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, clock) = (fresh_keys().await, Clock::fixed(NOW));
    let audit = open(dir.path(), &keys, &clock).await;
    for at in 0..5 {
        append(&audit, read_of("P1", &format!("Observation/O{at}"))).await;
    }
    let second = Audit::open(dir.path(), "gate-1", "gate.example", keys.clone(), clock.clone()).await;
    assert!(matches!(second, Err(OpenLedgerError::Wal(OpenWalError::Locked))));
    audit.close().await;
    drop(audit);
    let path = dir.path().join("00000001.wal");
    let whole = std::fs::read(&path).unwrap();
    let key = keys.ledger_public().unwrap();
    let mut changed = whole.clone();
    changed[700] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert!(verify(dir.path(), &key, &[]).is_err());
    let damaged = Audit::open(dir.path(), "gate-1", "gate.example", keys.clone(), clock.clone()).await;
    assert!(matches!(damaged, Err(OpenLedgerError::Wal(OpenWalError::Corrupt { .. }))));
    let mut shorter = whole.clone();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    shorter[used - 20..].fill(0);
    std::fs::write(&path, &shorter).unwrap();
    let rolled = Audit::open(dir.path(), "gate-1", "gate.example", keys.clone(), clock.clone()).await;
    assert!(matches!(rolled, Err(OpenLedgerError::Wal(OpenWalError::RolledBack { .. }))));
    std::fs::write(&path, &whole).unwrap();
    open(dir.path(), &keys, &clock).await;
    assert!(matches!(Audit::open(dir.path(), "a b", "gate.example", keys, clock).await, Err(OpenLedgerError::Name(_))));
}

/// A checkpoint kept elsewhere convicts a ledger that was rewritten with the key in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_kept_elsewhere_convicts_a_rewrite() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock::fixed(NOW);
    let file = |dir: &tempfile::TempDir| dir.path().join("hilum.db");
    let url = |dir| format!("sqlite:{}", file(dir).display());
    // The same keys twice, as someone has who copied the database.
    let store = store::Store::open(&url(&one)).await.unwrap();
    let keys = keys(&store).await;
    store.close().await;
    std::fs::copy(file(&one), file(&two)).unwrap();
    for (dir, resource) in [(&one, "Observation/O1"), (&two, "Observation/O2")] {
        let keys = self::keys(&store::Store::open(&url(dir)).await.unwrap()).await;
        let audit = open(dir.path(), &keys, &clock).await;
        append(&audit, read_of("P1", resource)).await;
        audit.close().await;
    }
    let kept = std::fs::read_to_string(one.path().join("checkpoints.a")).unwrap();
    let notes: Vec<String> = kept.split("\n=\n").map(|note| format!("{}\n", note.trim_end())).collect();
    let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
    let key = keys.ledger_public().unwrap();
    assert!(verify(one.path(), &key, &notes).unwrap().clean);
    assert!(verify(two.path(), &key, &[]).unwrap().clean, "alone it looks whole");
    assert!(verify(two.path(), &key, &notes).is_err());
    assert!(verify(one.path(), &key, &["forged\n1\nAAAA\n"]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_28_a_folder_that_lost_records_is_refused_by_the_database() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW));
    let keys = fresh_keys().await;
    let (ledger, aside) = (dir.path().join("ledger"), dir.path().join("aside"));
    let audit = open(&ledger, &keys, &clock).await;
    audit.close().await;
    drop(audit);
    // A whole earlier state of the folder, checkpoints and all: nothing in it shows that more was written.
    copy(&ledger, &aside);
    let audit = open(&ledger, &keys, &clock).await;
    append(&audit, read_of("P1", "Observation/O1")).await;
    audit.close().await;
    drop(audit);
    for earlier in [&aside, &dir.path().join("empty")] {
        for _ in 0..3 {
            let refused = Audit::open(earlier, "gate-1", "gate.example", keys.clone(), clock.clone()).await;
            let why = refused.map(drop).unwrap_err();
            assert!(matches!(why, OpenLedgerError::RolledBack { known: 5, .. }), "{why}");
        }
    }
    open(&ledger, &keys, &clock).await.close().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A record that is durable and not yet counted, as a crash leaves it, is no reason to refuse.
#[tokio::test(flavor = "multi_thread")]
async fn records_the_database_was_not_told_of_do_not_stop_a_start() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW));
    let store = store::Store::open(&format!("sqlite:{}", dir.path().join("hilum.db").display())).await.unwrap();
    let ring = keys(&store).await;
    let ledger = dir.path().join("ledger");
    let audit = open(&ledger, &ring, &clock).await;
    append(&audit, change(store.feed().await.unwrap())).await;
    // The database is gone before it is told.
    store.close().await;
    audit.close().await;
    drop(audit);
    let store = store::Store::open(&format!("sqlite:{}", dir.path().join("hilum.db").display())).await.unwrap();
    assert_eq!(store.ledger_marks().await.unwrap(), []);
    let audit = open(&ledger, &keys(&store).await, &clock).await;
    audit.close().await;
    assert_eq!(store.ledger_marks().await.unwrap(), [("gate-1".to_owned(), 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_28_a_database_from_a_backup_is_refused_for_a_change_it_does_not_have() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW));
    let (live, backup, ledger) = (dir.path().join("live.db"), dir.path().join("backup.db"), dir.path().join("ledger"));
    let url = |path: &Path| format!("sqlite:{}", path.display());
    let store = store::Store::open(&url(&live)).await.unwrap();
    let ring = keys(&store).await;
    let audit = open(&ledger, &ring, &clock).await;
    append(&audit, change(store.feed().await.unwrap())).await;
    audit.close().await;
    drop(audit);
    store.close().await;
    std::fs::copy(&live, &backup).unwrap();
    // An orderly restart and a change since.
    let store = store::Store::open(&url(&live)).await.unwrap();
    let ring = keys(&store).await;
    let audit = open(&ledger, &ring, &clock).await;
    let filter = store::FilterRow {
        tenant: mercy(),
        kind: "Observation".into(),
        param: "patient".into(),
        state: store::FilterState::Poisoned,
    };
    let done = store.apply(&store::Change { filters: vec![filter], ..store::Change::default() }, NOW).await;
    append(&audit, change(done.unwrap().unwrap())).await;
    audit.close().await;
    drop(audit);
    store.close().await;
    let old = store::Store::open(&url(&backup)).await.unwrap();
    // Later than the backup has keys for: they are not made, nor does trying again help.
    let later = Clock::fixed(NOW + 100 * 86_400_000);
    for _ in 0..2 {
        let root = RootKey::parse(&[1; 32]).unwrap();
        let tenants = [mercy(), "other".parse().unwrap()];
        let ring = KeyRing::load(&root, &old, &tenants, later.now()).await.unwrap();
        let refused = Audit::open(&ledger, "gate-1", "gate.example", ring, later.clone()).await;
        let why = refused.map(drop).unwrap_err();
        assert!(matches!(why, OpenLedgerError::OlderDatabase { .. }), "{why}");
        assert!(why.to_string().contains("hilum restore --reconcile"), "{why}");
    }
    let store = store::Store::open(&url(&live)).await.unwrap();
    open(&ledger, &keys(&store).await, &clock).await;
}

/// The outcome of a change that had reached `feed`.
fn change(feed: u64) -> AuditRecord {
    let mut record = AuditRecord::new("mercy", Kind::RegistryChange, Outcome::Success, [9; 16]);
    record.phase = domain::audit::Phase::Outcome;
    record.phi.attributes.push(("feed".into(), feed.to_string()));
    record
}
