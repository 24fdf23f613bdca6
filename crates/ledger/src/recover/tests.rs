//! Frames and recovery together: what reads back, what is torn, what is damage.

use super::*;
use crate::frame::Written;
use crate::sign::{Signer, SigningKey};

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32]).unwrap()
}

/// A segment of one start frame and `commits` commits over two logs, then `zeros` zero bytes; and the state at its end.
fn segment(commits: u32, zeros: usize) -> (Vec<u8>, State, Vec<usize>) {
    let key = key();
    let mut state = State::default();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let mut put = |state: &mut State, body: &Body<'_>| {
        let Written { bytes: frame, .. } = frame::write(state.next, &state.last, body, &key).unwrap();
        state.apply(&frame::read(&frame).unwrap(), &key.verifying_key()).unwrap();
        bytes.extend_from_slice(&frame);
        ends.push(bytes.len());
    };
    put(&mut state, &Body::Start { segment: 1, logs: Vec::new() });
    for at in 0..commits {
        let leaves = [format!("a{at}"), format!("b{at}"), format!("c{at}")];
        let root = |origin: &str, leaves: &[&String]| {
            let mut log = state.logs.get(origin).cloned().unwrap_or_default();
            leaves.iter().for_each(|leaf| log.push(hash::leaf(leaf.as_bytes())));
            log.root()
        };
        let parts = vec![
            Part {
                origin: "h/a/n/2026",
                first: 2 * u64::from(at),
                count: 2,
                root: root("h/a/n/2026", &[&leaves[0], &leaves[2]]),
            },
            Part { origin: "h/b/n/2026", first: u64::from(at), count: 1, root: root("h/b/n/2026", &[&leaves[1]]) },
        ];
        let entries = leaves
            .iter()
            .enumerate()
            .map(|(at, leaf)| Entry { part: (at % 2) as u16, bytes: leaf.as_bytes() })
            .collect();
        put(&mut state, &Body::Commit { parts, entries });
    }
    bytes.resize(bytes.len() + zeros, 0);
    (bytes, state, ends)
}

fn recover(bytes: &[u8]) -> Result<(State, End, usize), Corruption> {
    let mut state = State::default();
    let mut frames = 0;
    let end = replay(bytes, &mut state, &key().verifying_key(), &mut |_, _, _| frames += 1)?;
    Ok((state, end, frames))
}

#[test]
fn a_whole_segment_reads_back() {
    let (bytes, state, ends) = segment(5, 4096);
    let end = End { at: *ends.last().unwrap(), torn: 0 };
    assert_eq!(recover(&bytes), Ok((state.clone(), end, 6)));
    let (next, _, _) = segment(0, 0);
    assert_eq!(recover(&next).unwrap().2, 1);
    let start = frame::read(&bytes).unwrap();
    assert_eq!(State::at_start(&start, &key().verifying_key()).unwrap().next, 1);
    assert_eq!(
        State::at_start(&start, &SigningKey::from_seed(&[1; 32]).unwrap().verifying_key()),
        Err(Damage::Signature)
    );
}

#[test]
fn every_cut_is_a_torn_tail_at_the_last_whole_frame() {
    let (bytes, _, ends) = segment(3, 0);
    for cut in 0..bytes.len() {
        let mut torn = bytes[..cut].to_vec();
        torn.resize(bytes.len() + 512, 0);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let (_, end, frames) = recover(&torn).unwrap();
        assert_eq!(frames, whole, "cut at {cut}");
        assert_eq!(end.at, whole.checked_sub(1).map_or(0, |last| ends[last]));
        assert!(end.at + end.torn <= cut);
    }
}

#[test]
fn a_changed_byte_is_damage_unless_in_the_last_frame() {
    let (bytes, _, ends) = segment(3, 64);
    let last = ends[ends.len() - 2];
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        match recover(&changed) {
            Err(Corruption { damage: Damage::Version, .. }) => assert!(ends.iter().any(|end| at == end + 4) || at == 4),
            Err(corruption) => assert!(at < last, "byte {at}: {corruption}"),
            Ok((_, end, _)) => assert!(at >= last && end.torn > 0, "byte {at} of {last}"),
        }
    }
}

#[test]
fn a_frame_of_another_key_or_history_does_not_fit() {
    let (bytes, _, ends) = segment(2, 0);
    let other = SigningKey::from_seed(&[1; 32]).unwrap();
    let mut state = State::default();
    assert_eq!(
        replay(&bytes, &mut state, &other.verifying_key(), &mut |_, _, _| ()),
        Err(Corruption { at: 0, damage: Damage::Signature })
    );
    // The second commit without the first.
    let skipped = [&bytes[..ends[0]], &bytes[ends[1]..]].concat();
    assert_eq!(recover(&skipped), Err(Corruption { at: ends[0], damage: Damage::Number }));
    // The first commit twice.
    let twice = [&bytes[..ends[1]], &bytes[ends[0]..]].concat();
    assert_eq!(recover(&twice), Err(Corruption { at: ends[1], damage: Damage::Number }));
    // No start frame.
    assert_eq!(recover(&bytes[ends[0]..]), Err(Corruption { at: 0, damage: Damage::Start }));
    // A forged last commit: right in everything but the signature.
    let mut state = recover(&bytes).unwrap().0;
    let log = state.logs.get_mut("h/b/n/2026").unwrap();
    let first = log.size();
    log.push(hash::leaf(b"forged"));
    let parts = vec![Part { origin: "h/b/n/2026", first, count: 1, root: log.root() }];
    let body = Body::Commit { parts, entries: vec![Entry { part: 0, bytes: b"forged" }] };
    let forged = frame::write(3, &state.last, &body, &other).unwrap();
    assert_eq!(recover(&[bytes, forged.bytes].concat()).unwrap_err().damage, Damage::Signature);
}

#[test]
fn an_entry_that_looks_like_a_frame_does_not_turn_a_torn_tail_into_damage() {
    let (bytes, state, _) = segment(1, 0);
    let other = SigningKey::from_seed(&[1; 32]).unwrap();
    let fake = frame::write(99, &[0; 32], &Body::Start { segment: 9, logs: Vec::new() }, &other).unwrap();
    let mut log = Frontier::default();
    log.push(hash::leaf(&fake.bytes));
    let body = Body::Commit {
        parts: vec![Part { origin: "h/c/n/2026", first: 0, count: 1, root: log.root() }],
        entries: vec![Entry { part: 0, bytes: &fake.bytes }],
    };
    let torn = frame::write(state.next, &state.last, &body, &key()).unwrap().bytes;
    let torn = [&bytes, &torn[..torn.len() - 1]].concat();
    assert_eq!(recover(&torn).unwrap().1.at, bytes.len());
}

#[test]
fn a_frame_that_lies_about_its_counts_is_refused() {
    let body = Body::Commit {
        parts: vec![Part { origin: "o", first: 0, count: 2, root: [0; 32] }],
        entries: vec![Entry { part: 0, bytes: b"one" }],
    };
    let written = frame::write(0, &[0; 32], &body, &key()).unwrap();
    assert_eq!(frame::read(&written.bytes), Err(InvalidFrame::Body));
    let mut twice = Frontier::default();
    twice.push(hash::leaf(b"one"));
    twice.push(hash::leaf(b"two"));
    let part = Part { origin: "o", first: 0, count: 1, root: twice.root() };
    let entries = vec![Entry { part: 0, bytes: b"one" }, Entry { part: 1, bytes: b"two" }];
    let written = frame::write(0, &[0; 32], &Body::Commit { parts: vec![part, part], entries }, &key()).unwrap();
    let frame = frame::read(&written.bytes).unwrap();
    assert_eq!(State::default().apply(&frame, &key().verifying_key()), Err(Damage::Index));
    let long = vec![0; frame::ENTRY_BYTES_MAX + 1];
    let body = Body::Commit { parts: Vec::new(), entries: vec![Entry { part: 0, bytes: &long }] };
    assert!(frame::write(0, &[0; 32], &body, &key()).is_err());
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(bytes: Vec<u8>, kind in 0_u8..3, flip: usize) {
        let _ = frame::read(&bytes);
        // Bytes that get past the checksum, so that the body parser sees them.
        let mut framed = [&MAGIC[..], &[1, kind, 0, 0], &u32::try_from(16 + bytes.len() + 120).unwrap().to_be_bytes()].concat();
        let content = [&bytes[..], &[0; 120]].concat();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&framed), &content);
        framed.extend_from_slice(&crc.to_be_bytes());
        framed.extend_from_slice(&content);
        proptest::prop_assert_ne!(frame::read(&framed), Err(InvalidFrame::Checksum));
        let (mut segment, _, _) = segment(2, 16);
        let at = flip % segment.len();
        segment[at] = segment[at].wrapping_add(kind + 1);
        let _ = recover(&segment);
    }
}
