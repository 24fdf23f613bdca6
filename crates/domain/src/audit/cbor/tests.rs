//! The encoding against a golden file and against itself.
#![allow(clippy::string_slice)]

use proptest::prelude::*;

use super::*;

fn stamp() -> Stamp {
    Stamp { node: "gate-1".to_owned(), boot: [1; 8], seq: 7, ts_us: 1_795_000_000_000_001, clock_ok: true }
}

fn record() -> AuditRecord {
    let mut record = AuditRecord::new("mercy", Kind::FhirRead, Outcome::Success, [2; 16]);
    record.actor = Actor {
        integration: "scheduler".to_owned(),
        person: String::new(),
        session: Some(SessionId([3; 16])),
        jti: "jti-1".to_owned(),
        roles: String::new(),
    };
    record.decision = DecisionPart {
        reason: String::new(),
        task: "scheduling@1".to_owned(),
        approval: Some(ApprovalId([4; 16])),
        digest: "ab".repeat(32),
        purpose_of_use: "TREAT".to_owned(),
        clauses: vec![0, 300],
    };
    record.object = ObjectPart {
        kind: "Observation".to_owned(),
        interaction: "read".to_owned(),
        released: 1,
        filtered: 0,
        bytes: 2048,
        digest: "cd".repeat(32),
        status: 200,
    };
    record.phi = Phi {
        patients: vec!["P1".to_owned()],
        resources: vec!["Observation/O1/_history/2".to_owned()],
        request: "GET Observation/O1".to_owned(),
        peer: "192.0.2.7".to_owned(),
        agent: "test/1".to_owned(),
        scope: "patient/Observation.rs".to_owned(),
        attributes: vec![("class".to_owned(), "clinical-ai".to_owned())],
        note: String::new(),
    };
    record
}

fn leaf(record: &AuditRecord) -> Vec<u8> {
    let clear = encode_clear(record, &stamp(), &[[5; 16]], "202611").unwrap();
    finish(clear, &[6; 24], &encode_phi(&record.phi)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every version ever written stays readable: this file is never edited, only joined by the next version's.
#[test]
fn version_1_is_what_it_was() {
    let golden = include_str!("../../../tests/golden/audit-record-v1.hex").trim();
    assert_eq!(hex(&leaf(&record())), golden);
    let bytes = unhex_long(golden);
    let leaf = decode(&bytes).unwrap();
    assert_eq!(leaf.stamp, stamp());
    assert_eq!((leaf.tags.as_slice(), leaf.kid.as_str()), (&[[5; 16]][..], "202611"));
    let phi = decode_phi(&leaf.sealed[24..]).unwrap();
    assert_eq!(AuditRecord { phi, ..leaf.record }, record());
    assert_eq!(leaf.aad, encode_clear(&record(), &stamp(), &[[5; 16]], "202611").unwrap());
}

fn unhex_long(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn no_phi_stands_in_the_clear_part() {
    let clear = encode_clear(&record(), &stamp(), &[], "202611").unwrap();
    for canary in ["P1", "O1", "192.0.2.7", "test/1", "patient/Observation.rs"] {
        assert!(!clear.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary}");
    }
}

#[test]
fn a_long_list_of_resources_is_continued_and_none_is_lost() {
    let mut long = record();
    long.phi.resources = (0..3_000).map(|at| format!("Observation/{at:032}")).collect();
    long.object.released = 3_000;
    let all = long.phi.resources.clone();
    let parts = split(long).unwrap();
    assert!(parts.len() > 1);
    assert!(parts.iter().all(|part| leaf(part).len() <= LEAF_BYTES_SOFT));
    assert_eq!(parts.iter().flat_map(|part| part.phi.resources.clone()).collect::<Vec<_>>(), all);
    assert_eq!(parts.iter().map(|part| part.object.released).sum::<u32>(), 3_000);
    assert!(parts[1..].iter().all(|part| part.object.interaction == CONTINUED && part.phi.patients == ["P1"]));
    let mut crowd = record();
    crowd.phi.patients = vec!["P".to_owned(); PATIENTS_MAX + 1];
    assert_eq!(split(crowd), Err(EncodeError::Patients));
    let mut endless = record();
    endless.phi.resources = vec!["x".repeat(250); 40_000];
    assert_eq!(split(endless), Err(EncodeError::Resources));
}

#[test]
fn whatever_is_in_a_record_the_leaf_fits() {
    let huge = "é".repeat(100_000);
    let mut record = AuditRecord::new(&huge, Kind::Alert, Outcome::Failed, [0; 16]);
    record.actor = Actor {
        integration: huge.clone(),
        person: huge.clone(),
        session: None,
        jti: huge.clone(),
        roles: huge.clone(),
    };
    record.decision.reason.clone_from(&huge);
    record.decision.clauses = (0..100_000).collect();
    record.object.digest.clone_from(&huge);
    record.phi = Phi {
        patients: vec![huge.clone(); 20],
        resources: vec![huge.clone(); 20],
        request: huge.clone(),
        peer: huge.clone(),
        agent: huge.clone(),
        scope: huge.clone(),
        attributes: vec![(huge.clone(), huge.clone()); 1_000],
        note: huge,
    };
    for part in split(record).unwrap() {
        let bytes = leaf(&part);
        assert!(bytes.len() <= LEAF_BYTES_MAX, "{}", bytes.len());
        assert!(decode(&bytes).is_ok());
    }
    let mut crowd = self::record();
    crowd.phi.patients = vec!["p".repeat(64); PATIENTS_MAX];
    let clear = encode_clear(&crowd, &stamp(), &[[5; 16]; PATIENTS_MAX], "202611").unwrap();
    assert_eq!(finish(clear, &[6; 24], &encode_phi(&crowd.phi)), Err(EncodeError::TooLarge));
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes: Vec<u8>, at: prop::sample::Index, with: u8) {
        let _ = (decode(&bytes), decode_phi(&bytes));
        let mut changed = leaf(&record());
        let at = at.index(changed.len());
        changed[at] = with;
        if let Ok(leaf) = decode(&changed) {
            let _ = decode_phi(leaf.sealed);
        }
    }

    /// One record, one encoding: what decodes encodes to the same bytes.
    #[test]
    fn encoding_is_deterministic(seq: u64, ts_us: i64, released: u32, clauses in prop::collection::vec(0_u32.., 0..20), reason in "\\PC{0,40}", digest in "[0-9a-f]{0,64}") {
        let mut record = record();
        record.object.released = released;
        record.decision.clauses = clauses;
        record.decision.reason = reason;
        record.decision.digest = digest;
        let stamp = Stamp { seq, ts_us, ..stamp() };
        let bytes = finish(encode_clear(&record, &stamp, &[[9; 16]], "k").unwrap(), &[0; 24], b"sealed").unwrap();
        let leaf = decode(&bytes).unwrap();
        prop_assert_eq!(&leaf.record, &AuditRecord { phi: Phi::default(), ..record });
        let again = finish(encode_clear(&leaf.record, &leaf.stamp, &leaf.tags, &leaf.kid).unwrap(), &leaf.sealed[..24], &leaf.sealed[24..]).unwrap();
        prop_assert_eq!(again, bytes);
    }
}
