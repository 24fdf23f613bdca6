//! No record, no data, whatever happens: a gate killed again and again while it answers has a record for every answer that arrived.
//! The log itself has its own loop of 200 kills and more in `store/tests/wal_kill.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::{ANN, DANA, OMAR, Place};

/// Kills by default; each takes a fifth of a second.
const RUNS: u32 = 40;
const READERS: usize = 4;
/// Answers each reader takes at most, so that one search finds them all.
const ANSWERS_MAX: usize = 1_000 / (RUNS as usize * READERS);

#[test]
fn every_answer_that_arrived_before_a_kill_has_its_record() {
    let mut place = Place::new();
    place.serve();
    let token = onboard(&place);
    let arrived = Arc::new(AtomicUsize::new(0));
    for run in 0..RUNS {
        let readers: Vec<_> = (0..READERS).map(|_| reader(&place.public, &token, Arc::clone(&arrived))).collect();
        // Spread over the phases of a batch; any moment is right, so no particular one is waited for.
        thread::sleep(Duration::from_millis(5 + u64::from(run * 7 % 40)));
        place.kill();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        place.serve();
    }
    place.login("ann@mercy.example", ANN);
    let recorded = recorded(&place);
    let arrived = arrived.load(Ordering::SeqCst);
    assert!(arrived > 0, "nothing was read at all");
    assert!(recorded >= arrived, "{arrived} answers arrived, {recorded} are recorded");
    assert!(recorded <= arrived + RUNS as usize * READERS, "{recorded} records for {arrived} answers");
    place.hilum(&["audit", "verify", "--config", "gate/hilum.toml"]).ends(0, "verifies");
}

/// From an empty folder to a token, without the detours of `cli.rs`.
fn onboard(place: &Place) -> String {
    let people = [
        "person",
        "first",
        "dana@mercy.example=operator",
        "omar@mercy.example=privacy-officer",
        "ann@mercy.example=auditor",
    ];
    place.hilum_with(&people, &format!("{}\n{DANA}\n{OMAR}\n{ANN}\n", place.credential)).ends(0, "");
    for name in ["scheduler", "desk"] {
        let made = place.hilum(&["token", "key", "--out", &format!("gate/{name}.pem")]).ends(0, "ES384");
        fs::write(place.folder.path().join(format!("gate/{name}.jwks.json")), made.out).unwrap();
    }
    fs::write(place.folder.path().join("gate/local.toml"), include_str!("../../../docs/examples/local.toml")).unwrap();
    place.login("dana@mercy.example", DANA);
    place.hilum(&["apply", "-f", "gate/local.toml"]).ends(0, "");
    place.login("omar@mercy.example", OMAR);
    let id = place.hilum(&["approval", "list", "-o", "json"]).rows()[0]["id"].as_str().unwrap().to_owned();
    place.hilum(&["approval", "approve", &id, "--until", &support::day(30)]).ends(0, "");
    place.token("pat-001").ends(0, "eyJ").out.trim().to_owned()
}

/// Reads over one connection until it breaks; counts answers whose whole body arrived.
fn reader(public: &str, token: &str, arrived: Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let host = public.trim_start_matches("http://").to_owned();
    let request =
        format!("GET /mercy/fhir/Patient/pat-001 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    thread::spawn(move || {
        let Ok(mut stream) = TcpStream::connect(host) else { return };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for _ in 0..ANSWERS_MAX {
            if stream.write_all(request.as_bytes()).is_err() || !whole_answer(&mut stream) {
                return;
            }
            arrived.fetch_add(1, Ordering::SeqCst);
        }
    })
}

/// Whether a 200 arrived with all of its body.
fn whole_answer(stream: &mut TcpStream) -> bool {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map(|text| text.parse::<usize>().unwrap());
            if got.len() >= end + 4 + length.expect("a length") {
                return head.starts_with("http/1.1 200");
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(read) => got.extend_from_slice(&buffer[..read]),
        }
    }
}

/// FHIR reads in the ledger.
fn recorded(place: &Place) -> usize {
    let search = ["audit", "search", "--kind", "fhir-read", "--limit", "1000", "-o", "json"];
    place.hilum(&search).ends(0, "").rows().len()
}
