//! What recovery reads back from disk: frames, notes and leaves, whatever a crash or a hand has left there.
#![no_main]

use domain::audit::cbor;
use ledger::{frame, note};
use libfuzzer_sys::fuzz_target;

/// The example key of the signed-note format.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

/// The bytes with a head and a checksum that fit, so that what lies behind the checksum is reached.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    let (kind, content) = bytes.split_first()?;
    let mut frame = frame::MAGIC.to_vec();
    frame.extend([frame::VERSION, kind & 1, 0, 0]);
    frame.extend(u32::try_from(16 + content.len()).ok()?.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), content);
    frame.extend(crc.to_be_bytes());
    frame.extend(content);
    Some(frame)
}

fn check_frame(bytes: &[u8]) {
    let length = frame::length(bytes);
    if let Ok(frame) = frame::read(bytes) {
        assert_eq!(length.ok(), Some(frame.length));
        assert!(frame.length <= bytes.len());
        // What follows a frame is not looked at, and any byte of it is covered by its checksum.
        let alone = bytes.get(..frame.length).expect("a frame lies within its bytes");
        assert_eq!(frame::read(alone).map(|again| again.hash).ok(), Some(frame.hash));
        if let Some((_, cut)) = alone.split_last() {
            assert!(frame::read(cut).is_err(), "a torn frame was read");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    check_frame(bytes);
    if let Some(mended) = mend(bytes) {
        check_frame(&mended);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = note::NoteKey::parse(VKEY)
            && let Ok(opened) = note::open(text, &key)
        {
            assert!(text.starts_with(opened));
        }
        let _ = note::NoteKey::parse(text);
    }
    let _ = cbor::decode(bytes);
    let _ = cbor::decode_phi(bytes);
});
