//! Spools give back what was written or an error, whatever happens to the file; and the file tells nothing.
#![cfg(target_os = "linux")]

use super::*;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ROOM: u64 = 64 * 1024 * 1024;
const CHUNK: u64 = CHUNK_BYTES as u64;

fn spools() -> (tempfile::TempDir, Spools) {
    let dir = tempfile::tempdir().unwrap();
    let spools = Spools::new(dir.path(), ROOM);
    (dir, spools)
}

/// Bytes that differ from chunk to chunk.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + at / CHUNK_BYTES * 31) as u8).collect()
}

fn spool(spools: &Spools, plain: &[u8]) -> Spool {
    let mut writer = spools.create(ROOM).unwrap();
    plain.chunks(10_007).for_each(|part| writer.write(part).unwrap());
    writer.seal().unwrap()
}

/// The unlinked file, by the one way that is left to it.
fn raw(spool: &Spool) -> PathBuf {
    format!("/proc/self/fd/{}", spool.file.as_raw_fd()).into()
}

/// What somebody does to a file.
type Alter<'a> = dyn Fn(&mut Vec<u8>) + 'a;

fn change(spool: &mut Spool, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(raw(spool)).unwrap();
    change(&mut bytes);
    std::fs::write(raw(spool), bytes).unwrap();
    spool.loaded = None;
}

fn whole(spool: &mut Spool) -> Result<Vec<u8>, SpoolError> {
    let mut out = Vec::new();
    let mut index = 0;
    while let Some(chunk) = spool.chunk(index)? {
        out.extend_from_slice(chunk);
        index += 1;
    }
    Ok(out)
}

#[test]
fn what_was_written_comes_back() {
    let (_dir, spools) = spools();
    for length in [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        2 * CHUNK_BYTES - 1,
        2 * CHUNK_BYTES,
        2 * CHUNK_BYTES + 1,
        5 * CHUNK_BYTES + 77,
    ] {
        let plain = text(length);
        let mut spool = spool(&spools, &plain);
        assert_eq!(spool.length(), length as u64);
        assert_eq!(whole(&mut spool).unwrap(), plain);
        let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5, length as u64];
        for start in edges {
            for end in edges {
                let mut out = b"before".to_vec();
                let read = spool.read(start..end, &mut out);
                if start <= end && end <= length as u64 {
                    assert_eq!(read, Ok(()));
                    assert_eq!(out.strip_prefix(b"before"), plain.get(start as usize..end as usize));
                } else {
                    assert_eq!(read, Err(SpoolError::Io(ErrorKind::UnexpectedEof)));
                }
            }
        }
    }
}

#[test]
fn the_file_has_no_name_and_holds_no_plain_text() {
    let (dir, spools) = spools();
    let canary = b"CanaryPatientName";
    let plain = canary.repeat(20_000);
    let mut writer = spools.create(ROOM).unwrap();
    for part in plain.chunks(40_000) {
        writer.write(part).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    let first = writer.seal().unwrap();
    let second = spool(&spools, &plain);
    let bytes = [&first, &second].map(|spool| std::fs::read(raw(spool)).unwrap());
    for bytes in &bytes {
        assert_eq!(bytes.len(), plain.len() + TAG_BYTES * plain.len().div_ceil(CHUNK_BYTES));
        assert!(!bytes.windows(6).any(|window| canary.windows(6).any(|part| part == window)));
    }
    assert_ne!(bytes[0][..64], bytes[1][..64], "each spool has its own key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&first.file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{first:?}{:?}{:?}", spools.create(1), SpoolBody::from(second)).contains("Canary"));
}

#[test]
fn any_changed_byte_is_found() {
    let (_dir, spools) = spools();
    let plain = text(2 * CHUNK_BYTES + 40);
    let mut spool = spool(&spools, &plain);
    let sealed = CHUNK_BYTES + TAG_BYTES;
    let length = 2 * sealed + 40 + TAG_BYTES;
    let near = [0, sealed, 2 * sealed, length].into_iter().flat_map(|edge| edge.saturating_sub(20)..edge + 20);
    for at in near.chain((0..length).step_by(4_099)).filter(|at| *at < length) {
        change(&mut spool, |bytes| bytes[at] ^= 1);
        assert_eq!(whole(&mut spool), Err(SpoolError::Tampered), "byte {at}");
        let start = ((at / sealed) * CHUNK_BYTES) as u64;
        assert_eq!(spool.read(start..start + 1, &mut Vec::new()), Err(SpoolError::Tampered), "byte {at}");
        change(&mut spool, |bytes| bytes[at] ^= 1);
    }
    assert_eq!(whole(&mut spool).unwrap(), plain);
}

#[test]
fn cut_off_reordered_and_foreign_chunks_are_found() {
    let (_dir, spools) = spools();
    let plain = text(3 * CHUNK_BYTES);
    let sealed = CHUNK_BYTES + TAG_BYTES;
    let other = std::fs::read(raw(&spool(&spools, &plain))).unwrap();
    let changes: [(&str, &Alter); 7] = [
        ("a byte short", &|bytes| bytes.truncate(bytes.len() - 1)),
        ("a chunk short", &|bytes| bytes.truncate(2 * sealed)),
        ("empty", &|bytes| bytes.clear()),
        ("swapped", &|bytes| bytes.rotate_left(sealed)),
        ("repeated", &|bytes| bytes.copy_within(..sealed, sealed)),
        ("the last one early", &|bytes| bytes.copy_within(2 * sealed.., sealed)),
        ("from another spool", &|bytes| bytes[..sealed].copy_from_slice(&other[..sealed])),
    ];
    for (name, alter) in changes {
        let mut spool = spool(&spools, &plain);
        change(&mut spool, alter);
        assert_eq!(whole(&mut spool), Err(SpoolError::Tampered), "{name}");
    }
    // An end where there was none: the length of the spool says where the last chunk is, and that one must say so too.
    let mut spool = spool(&spools, &plain);
    (spool.chunks, spool.length) = (2, 2 * CHUNK);
    assert_eq!(whole(&mut spool), Err(SpoolError::Tampered));
}

#[test]
fn limits_hold_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let spools = Spools::new(dir.path(), 3 * CHUNK);
    let mut writer = spools.create(CHUNK + 1).unwrap();
    writer.write(&text(CHUNK_BYTES + 1)).unwrap();
    assert_eq!(writer.write(b"x"), Err(SpoolError::TooLarge));
    assert_eq!(writer.write(b""), Err(SpoolError::TooLarge), "an error is for ever");
    assert_eq!(writer.seal().err(), Some(SpoolError::TooLarge));

    let full = spool(&spools, &text(2 * CHUNK_BYTES));
    let mut writer = spools.create(ROOM).unwrap();
    assert_eq!(spools.create(ROOM).err(), Some(SpoolError::Full));
    writer.write(&text(CHUNK_BYTES)).unwrap();
    assert_eq!(writer.write(b"x"), Err(SpoolError::Full));
    drop(full);
    assert_eq!(writer.write(b"x"), Err(SpoolError::Full), "its middle is missing");
    assert_eq!(writer.seal().err(), Some(SpoolError::Full));
    drop(spool(&spools, &text(3 * CHUNK_BYTES)));
    assert_eq!(spools.room.available_permits(), 3);
}

#[test]
fn a_folder_that_is_gone_is_an_error() {
    let spools = Spools::new(&tempfile::tempdir().unwrap().path().join("gone"), ROOM);
    let writer = spools.create(ROOM).unwrap();
    assert_eq!(writer.seal().err(), Some(SpoolError::Io(ErrorKind::NotFound)));
}

#[tokio::test]
async fn a_body_streams_the_whole_in_chunks() {
    let (_dir, spools) = spools();
    for length in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5] {
        let plain = text(length);
        let mut writer = spools.create(ROOM).unwrap();
        for part in plain.chunks(30_000) {
            writer = writer.append(Bytes::copy_from_slice(part)).await.unwrap();
        }
        assert_eq!(writer.length(), length as u64);
        let mut body = SpoolBody::from(writer.finish().await.unwrap());
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        let mut out = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= CHUNK_BYTES);
            out.extend_from_slice(&data);
        }
        assert!(body.is_end_stream() && out == plain);
    }
    assert_eq!(spools.room.available_permits() as u64, ROOM / CHUNK);
}

/// What a caller receives of `spool` over HTTP/1.1, to the end of the connection.
async fn served(spool: Spool) -> (Vec<u8>, Result<(), hyper::Error>) {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let body = parking_lot::Mutex::new(Some(SpoolBody::from(spool)));
    let service = hyper::service::service_fn(move |_| {
        let body = body.lock().take().unwrap();
        async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(far), service);
    let served = tokio::spawn(connection);
    near.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut out = Vec::new();
    near.read_to_end(&mut out).await.unwrap();
    (out, served.await.unwrap())
}

#[tokio::test]
async fn a_changed_spool_breaks_the_answer_off() {
    let (_dir, spools) = spools();
    let plain = text(3 * CHUNK_BYTES + 5);
    let (out, done) = served(spool(&spools, &plain)).await;
    assert!(done.is_ok() && out.ends_with(&plain));
    let mut changed = spool(&spools, &plain);
    change(&mut changed, |bytes| bytes[2 * (CHUNK_BYTES + TAG_BYTES)] ^= 1);
    let (out, done) = served(changed).await;
    let head = format!("content-length: {}\r\n", plain.len());
    assert!(done.is_err() && out.len() < plain.len());
    assert!(out.windows(head.len()).any(|part| part == head.as_bytes()), "the caller knows that it is cut off");
}
