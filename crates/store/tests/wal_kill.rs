//! Kill −9 at any moment loses no acknowledged entry. This executable runs itself as the writer that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ledger::{Signer, SigningKey};
use store::wal::{FileDisk, NewEntry, Segments, Wal, WalOptions, verify};

const DIR: &str = "HILUM_TEST_WAL_DIR";
/// Runs; 1,000 for `interop/full` (`spec/audit.md` §9.7).
const RUNS: &str = "HILUM_KILL_RUNS";

fn signer() -> Arc<dyn Signer> {
    Arc::new(SigningKey::from_seed(&[4; 32]).unwrap())
}

fn options(dir: &Path) -> WalOptions {
    WalOptions { dir: dir.to_owned(), first_segment_bytes: 16 * 1024, segment_bytes: 32 * 1024 }
}

/// Not a test of its own: the writer, when the environment says so. Ends by being killed, or when the parent is gone.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (mut wal, checkpoints, _) = Wal::open(options(Path::new(&dir)), signer(), Arc::new(FileDisk)).unwrap();
    let mut out = std::io::stdout().lock();
    for round in 0_u64.. {
        let texts: Vec<String> = (0..round % 5 + 1).map(|at| format!("{}.{round}.{at}", std::process::id())).collect();
        let origin = |at: usize| Arc::from(["h/a/n/2026", "h/b/n/2026", "h/a/n/2027"][at % 3]);
        let entries =
            texts.iter().enumerate().map(|(at, text)| NewEntry { origin: origin(at), bytes: text.as_bytes() });
        let receipts = wal.commit(&entries.collect::<Vec<_>>()).unwrap();
        for (receipt, text) in receipts.iter().zip(&texts) {
            writeln!(out, "ack {} {} {text}", receipt.origin(), receipt.index()).unwrap();
        }
        out.flush().unwrap();
        if round % 4 == 0 {
            checkpoints.write(&wal.heads()).unwrap();
        }
    }
}

fn entries(dir: &Path) -> HashMap<(String, u64), String> {
    let segments = Segments::find(dir).unwrap();
    let mut found = HashMap::new();
    for number in segments.numbers() {
        let each = &mut |entry: store::wal::StoredEntry<'_>| {
            let text = String::from_utf8(entry.bytes.to_vec()).unwrap();
            found.insert((entry.origin.to_owned(), entry.index), text);
            true
        };
        segments.read(number, each).unwrap();
    }
    found
}

#[test]
fn no_acknowledged_entry_is_lost_over_many_kills() {
    let runs: usize = std::env::var(RUNS).ok().map_or(200, |runs| runs.parse().unwrap());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let (mut dir, mut acknowledged) = (tempfile::tempdir().unwrap(), HashMap::new());
    let mut total = 0;
    for run in 0..runs {
        if run % 20 == 0 {
            (dir, acknowledged) = (tempfile::tempdir().unwrap(), HashMap::new());
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let wait = Duration::from_micros(4_000 + random % 30_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        // The last line may be cut off by the kill; only whole ones were acknowledged to anyone.
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", origin, index, text] = words[..]
                && text.split('.').count() == 3
                && !text.ends_with('.')
            {
                acknowledged.insert((origin.to_owned(), index.parse::<u64>().unwrap()), text.to_owned());
                total += 1;
            }
        }
        killer.join().unwrap();
        drop(
            Wal::open(options(dir.path()), signer(), Arc::new(FileDisk))
                .unwrap_or_else(|why| panic!("run {run}: {why}")),
        );
        let found = entries(dir.path());
        for (place, text) in &acknowledged {
            assert_eq!(found.get(place), Some(text), "run {run}: {place:?}");
        }
        let verified = verify(dir.path(), &signer().verifying_key(), &[]).unwrap();
        assert_eq!((verified.torn_bytes, verified.entries), (0, found.len() as u64), "run {run}");
    }
    assert!(total > runs, "the writers hardly wrote: {total} acknowledgements in {runs} runs");
}
