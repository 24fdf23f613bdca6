//! The log on a real disk, on a disk that fails at every step, and after every kind of damage.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use faulty::Faults;
use ledger::SigningKey;

use super::*;

/// A disk whose n-th effect fails, before or after it took place.
mod faulty {
    use super::*;

    #[derive(Clone)]
    pub struct Faults {
        pub left: Arc<AtomicUsize>,
        pub after: bool,
        pub kind: io::ErrorKind,
    }

    impl Faults {
        pub fn none() -> Self {
            Self { left: Arc::new(AtomicUsize::new(usize::MAX)), after: false, kind: io::ErrorKind::Other }
        }

        /// Runs one effect, unless it is the one that fails.
        fn run<T>(&self, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            match left {
                Err(_) if self.after => effect().and(Err(self.kind.into())),
                Err(_) => Err(self.kind.into()),
                Ok(_) => effect(),
            }
        }
    }

    struct FaultyDevice(Box<dyn Device>, Faults);

    impl Device for FaultyDevice {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let Self(device, faults) = self;
            faults.run(|| device.write_at(offset, bytes))
        }

        fn sync(&mut self) -> io::Result<()> {
            let Self(device, faults) = self;
            faults.run(|| device.sync())
        }
    }

    impl Disk for Faults {
        fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Device>> {
            let device = self.run(|| FileDisk.create_zeroed(path, bytes))?;
            Ok(Box::new(FaultyDevice(device, self.clone())))
        }

        fn open(&self, path: &Path) -> io::Result<(Box<dyn Device>, u64)> {
            let (device, length) = FileDisk.open(path)?;
            Ok((Box::new(FaultyDevice(device, self.clone())), length))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.run(|| FileDisk.rename(from, to))
        }

        fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.run(|| FileDisk.replace(path, bytes))
        }
    }
}

/// A folder in memory where there is one: these tests sync thousands of times, and what a sync means to a device is not theirs.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn signer() -> Arc<dyn Signer> {
    Arc::new(SigningKey::from_seed(&[4; 32]).unwrap())
}

fn options(dir: &Path) -> WalOptions {
    WalOptions { dir: dir.to_owned(), first_segment_bytes: 4096, segment_bytes: 4096 }
}

fn open(dir: &Path, disk: impl Disk + 'static) -> Result<(Wal, Checkpoints, Recovered), OpenWalError> {
    Wal::open(options(dir), signer(), Arc::new(disk))
}

/// Commits `texts` in one batch, alternating between two logs.
fn commit(wal: &mut Wal, texts: &[String]) -> Result<Vec<Receipt>, CommitError> {
    let batch: Vec<NewEntry<'_>> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| NewEntry { origin: ["h/a/n/2026", "h/b/n/2026"][at % 2].into(), bytes: text.as_bytes() })
        .collect();
    wal.commit(&batch)
}

fn texts(commit: usize) -> Vec<String> {
    (0..=commit % 4).map(|at| format!("entry {commit}.{at} {}", "x".repeat(commit * 7 % 200))).collect()
}

/// All entries by (origin, index).
fn entries(dir: &Path) -> BTreeMap<(String, u64), String> {
    let segments = Segments::find(dir).unwrap();
    let mut found = BTreeMap::new();
    for number in segments.numbers() {
        segments
            .read(number, &mut |entry| {
                let text = String::from_utf8(entry.bytes.to_vec()).unwrap();
                assert!(found.insert((entry.origin.to_owned(), entry.index), text).is_none());
                true
            })
            .unwrap();
    }
    found
}

#[test]
fn what_was_committed_is_there_after_reopening_over_many_segments() {
    let dir = folder();
    let mut expected = BTreeMap::new();
    for round in 0..4 {
        let (mut wal, checkpoints, recovered) = open(dir.path(), FileDisk).unwrap();
        assert_eq!(recovered.torn_bytes, 0);
        for at in 0..20 {
            let texts = texts(round * 20 + at);
            let receipts = commit(&mut wal, &texts).unwrap();
            assert_eq!(receipts.len(), texts.len());
            for (receipt, text) in receipts.iter().zip(&texts) {
                expected.insert((receipt.origin().to_owned(), receipt.index()), text.clone());
                let head = wal.heads().into_iter().find(|head| head.origin == receipt.origin()).unwrap();
                assert_eq!((head.size, head.root), (receipt.size(), *receipt.root()));
            }
        }
        checkpoints.write(&wal.heads()).unwrap();
    }
    assert_eq!(entries(dir.path()), expected);
    let verified = verify(dir.path(), &signer().verifying_key(), &[]).unwrap();
    assert!(verified.segments > 3, "{verified:?}");
    assert_eq!((verified.entries, verified.commits, verified.torn_bytes), (expected.len() as u64, 80, 0));
}

#[test]
fn one_process_writes_at_a_time() {
    let dir = folder();
    let first = open(dir.path(), FileDisk).unwrap();
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::Locked)));
    drop(first);
    open(dir.path(), FileDisk).unwrap();
}

/// Each effect on the disk in turn fails before and after it took place; whatever was acknowledged is there afterwards, the log
/// verifies, and it goes on.
#[test]
fn fault_table_no_acknowledged_entry_is_lost() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for after in [false, true] {
            for fault in 0..200 {
                let dir = folder();
                let faults = Faults { left: Arc::new(AtomicUsize::new(fault)), after, kind };
                let mut acknowledged = BTreeMap::new();
                let mut failed = false;
                if let Ok((mut wal, checkpoints, _)) = open(dir.path(), faults.clone()) {
                    for at in 0..30 {
                        match commit(&mut wal, &texts(at)) {
                            Ok(receipts) => {
                                let poisoned = wal.poisoned();
                                assert!(!poisoned, "nothing is acknowledged after a failure");
                                for (receipt, text) in receipts.iter().zip(texts(at)) {
                                    acknowledged.insert((receipt.origin().to_owned(), receipt.index()), text);
                                }
                            }
                            Err(CommitError::Poisoned) => {
                                faults.left.store(usize::MAX, Ordering::SeqCst);
                                assert!(matches!(commit(&mut wal, &texts(at)), Err(CommitError::Poisoned)));
                                failed = true;
                                break;
                            }
                            Err(CommitError::Full(_)) => {
                                failed = true;
                                faults.left.store(usize::MAX, Ordering::SeqCst);
                            }
                            Err(CommitError::Frame(why)) => panic!("{why}"),
                        }
                        if at % 3 == 0 {
                            failed |= checkpoints.write(&wal.heads()).is_err();
                        }
                    }
                } else {
                    failed = true;
                }
                let context = format!("fault {fault}, after {after}, {kind}");
                let (mut wal, _, _) = open(dir.path(), FileDisk).unwrap_or_else(|why| panic!("{context}: {why}"));
                let found = entries(dir.path());
                for (place, text) in &acknowledged {
                    assert_eq!(found.get(place), Some(text), "{context}");
                }
                commit(&mut wal, &texts(3)).unwrap();
                drop(wal);
                let verified = verify(dir.path(), &signer().verifying_key(), &[]).unwrap();
                assert_eq!(verified.torn_bytes, 0, "{context}");
                if !failed {
                    return_after_all_faults(fault);
                    break;
                }
            }
        }
    }
}

/// The table ends when a run meets no fault any more; it must have met many.
fn return_after_all_faults(faults: usize) {
    assert!(faults > 60, "only {faults} effects");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let dir = folder();
    let faults = Faults { kind: io::ErrorKind::StorageFull, ..Faults::none() };
    let (mut wal, _, _) = open(dir.path(), faults.clone()).unwrap();
    let large = ["y".repeat(1200)];
    commit(&mut wal, &large).unwrap();
    commit(&mut wal, &large).unwrap();
    // The helper that lays out the next segment has started by now, or not; either way its segment must not be there.
    drop(wal);
    let (mut wal, _, _) = open(dir.path(), faults.clone()).unwrap();
    faults.left.store(0, Ordering::SeqCst);
    assert!(matches!(commit(&mut wal, &["z".repeat(3000)]), Err(CommitError::Full(_))));
    assert!(!wal.poisoned());
    faults.left.store(usize::MAX, Ordering::SeqCst);
    commit(&mut wal, &large).unwrap();
    assert_eq!(entries(dir.path()).len(), 3);
}

/// A small ledger with checkpoints, as files by name.
fn small(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut wal, checkpoints, _) = open(dir, FileDisk).unwrap();
    (0..14).for_each(|at| drop(commit(&mut wal, &texts(at)).unwrap()));
    checkpoints.write(&wal.heads()).unwrap();
    drop(wal);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.ends_with(".next") {
            true => std::fs::remove_file(path).unwrap(),
            false => files.push((name, std::fs::read(path).unwrap())),
        }
    }
    files.retain(|(name, _)| name != "lock");
    files
}

/// Audit §9.7: any one byte of any stored file, flipped, is detected by `verify`.
#[test]
fn every_flipped_byte_is_detected() {
    let dir = folder();
    let files = small(dir.path());
    assert!(files.iter().filter(|(name, _)| name.ends_with(".wal")).count() >= 2);
    let key = signer().verifying_key();
    let clean = verify(dir.path(), &key, &[]).unwrap();
    assert_eq!((clean.torn_bytes, clean.damaged_checkpoints.len()), (0, 0));
    for (name, bytes) in &files {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(dir.path().join(name), &changed).unwrap();
            let found = verify(dir.path(), &key, &[]);
            let detected =
                found.as_ref().map_or(true, |found| found.torn_bytes > 0 || !found.damaged_checkpoints.is_empty());
            assert!(detected, "{name} byte {at}: {found:?}");
        }
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".wal")) {
        std::fs::remove_file(dir.path().join(name)).unwrap();
        assert!(verify(dir.path(), &key, &[]).is_err(), "{name} removed");
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
}

#[test]
fn damage_and_rollback_refuse_to_open() {
    let dir = folder();
    let files = small(dir.path());
    let (name, bytes) = files.iter().filter(|(name, _)| name.ends_with(".wal")).max().unwrap();
    let path = dir.path().join(name);
    // A byte in the middle of the last segment.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::Corrupt { .. })));
    // The last commit cut off, though a checkpoint has it: an acknowledged commit does not vanish as a torn tail.
    let mut cut = bytes.clone();
    cut[used - 10..].fill(0);
    std::fs::write(&path, &cut).unwrap();
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::RolledBack { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), cut, "a refusal changes nothing");
    // The whole last segment gone.
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::RolledBack { .. })));
    // All segments gone: no new ledger is begun over old checkpoints.
    let others: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".wal")).collect();
    others.iter().for_each(|(name, _)| drop(std::fs::remove_file(dir.path().join(name))));
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::RolledBack { .. })));
    assert!(Segments::find(dir.path()).unwrap().numbers().is_empty(), "a refusal changes nothing");
    others.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
    // One damaged checkpoint file is reported, two refuse.
    std::fs::write(dir.path().join("checkpoints.a"), "x").unwrap();
    assert_eq!(open(dir.path(), FileDisk).unwrap().2.damaged_checkpoints, ["checkpoints.a"]);
    std::fs::write(dir.path().join("checkpoints.b"), "x").unwrap();
    assert!(matches!(open(dir.path(), FileDisk), Err(OpenWalError::Checkpoints)));
}

#[test]
fn another_history_than_the_checkpoint_is_refused() {
    let (one, two) = (folder(), folder());
    small(one.path());
    let (mut wal, checkpoints, _) = open(two.path(), FileDisk).unwrap();
    (0..14).for_each(|at| {
        drop(commit(&mut wal, &texts(at).iter().map(|text| text.to_uppercase()).collect::<Vec<_>>()).unwrap())
    });
    checkpoints.write(&wal.heads()).unwrap();
    let heads = wal.heads();
    drop(wal);
    for place in ["checkpoints.a", "checkpoints.b"] {
        std::fs::copy(one.path().join(place), two.path().join(place)).unwrap();
    }
    assert!(matches!(open(two.path(), FileDisk), Err(OpenWalError::Rewritten { .. })));
    assert!(matches!(verify(two.path(), &signer().verifying_key(), &[]), Err(VerifyWalError::Checkpoint { .. })));
    assert!(matches!(verify(one.path(), &signer().verifying_key(), &heads), Err(VerifyWalError::Checkpoint { .. })));
}

#[test]
fn a_torn_tail_is_zeroed_and_the_log_goes_on() {
    let dir = folder();
    let files = small(dir.path());
    for place in ["checkpoints.a", "checkpoints.b"] {
        std::fs::remove_file(dir.path().join(place)).unwrap();
    }
    let before = entries(dir.path());
    let (name, bytes) = files.iter().filter(|(name, _)| name.ends_with(".wal")).max().unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut torn = bytes.clone();
    torn[used - 10..].fill(0);
    std::fs::write(dir.path().join(name), torn).unwrap();
    let (mut wal, _, recovered) = open(dir.path(), FileDisk).unwrap();
    assert!(recovered.torn_bytes > 0);
    let after = entries(dir.path());
    assert!(after.len() < before.len() && after.iter().all(|(place, text)| before.get(place) == Some(text)));
    commit(&mut wal, &texts(2)).unwrap();
    drop(wal);
    assert_eq!(verify(dir.path(), &signer().verifying_key(), &[]).unwrap().torn_bytes, 0);
}
