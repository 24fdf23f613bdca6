//! Answers too large for memory are judged as those in memory are: the same bytes come out, and nothing of a broken one.

use std::ops::Range;

use policy::{Interrupted, Released, Sink, Source, Verdict};
use testkit::world::{World, answer, released};

use crate::fixture::*;

pub struct Held(pub Vec<u8>);

impl Source for Held {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn chunk(&mut self, index: u64) -> Result<Option<&[u8]>, Interrupted> {
        Ok(self.0.chunks(97).nth(usize::try_from(index).unwrap()))
    }

    fn read(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Interrupted> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        out.extend_from_slice(self.0.get(range).ok_or(Interrupted)?);
        Ok(())
    }
}

pub struct Taken(pub Vec<u8>);

impl Sink for Taken {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Interrupted> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

struct Full;

impl Sink for Full {
    fn write(&mut self, _: &[u8]) -> Result<(), Interrupted> {
        Err(Interrupted)
    }
}

fn apart(scopes: &str, target: &str, body: &[u8]) -> (Released, Vec<u8>) {
    let answered = World::new(scopes).permit(target).answered(answer(200, b""));
    let (mut source, mut sink) = (Held(body.to_vec()), Taken(Vec::new()));
    let verdict = policy::verify_spooled(answered, &mut source, &mut sink, &mut |_| Some("sealed".into()));
    (released(verdict), sink.0)
}

#[test]
fn large_and_small_answers_are_judged_alike() {
    let names: [&[&str]; 7] = [
        &[],
        &["O1"],
        &["O1", "O2", "O1L", "OPF", "OAB"],
        &["O1", "P1:include", "P2:include", "PRA:include"],
        &["P1", "O1:include", "O2:include", "OPF:include"],
        &["M1", "MED1:include"],
        &["O2", "O2"],
    ];
    let targets = [
        "Observation?patient=P1",
        "Observation?_include=Observation:patient",
        "Observation?_include=Observation:performer&_include:iterate=Observation:has-member",
        "Patient?_revinclude=Observation:subject",
        "Patient?_revinclude:iterate=Observation:subject",
        "MedicationRequest?_include=MedicationRequest:medication",
        "Observation?_summary=true",
    ];
    let next = r#","link":[{"relation":"next","url":"https://ehr/r4?_getpages=u"}]"#;
    let (mut compared, mut with_results) = (0, 0);
    for scopes in [KALL, KPO, KVIT, KOBS] {
        for target in targets {
            for names in names {
                for more in ["", next] {
                    let world = World::new(scopes);
                    let Ok(policy::Decision::Permit(permit)) = world.get(target) else { continue };
                    let body = bundle(names, more);
                    let whole =
                        policy::verify(permit.answered(answer(200, body.as_bytes())), &mut |_| Some("sealed".into()));
                    let Verdict::Released(whole) = whole else { continue };
                    let (parts, written) = apart(scopes, target, body.as_bytes());
                    let shown = String::from_utf8_lossy(&written);
                    assert_eq!(shown, String::from_utf8_lossy(whole.body()), "{scopes} {target} {names:?}");
                    assert_eq!(parts.spooled(), Some(written.len() as u64));
                    assert_eq!(parts.counts(), whole.counts(), "{scopes} {target} {names:?}");
                    assert_eq!(parts.resources(), whole.resources());
                    assert_eq!(parts.findings(), whole.findings());
                    compared += 1;
                    with_results += u32::from(whole.counts().released > 1);
                }
            }
        }
    }
    assert!(compared > 150 && with_results > 10, "{compared} {with_results}");
}

#[test]
fn nothing_of_a_broken_answer_is_written() {
    let whole = bundle(&["O1", "O2"], "");
    for (body, status) in [
        (whole[..whole.len() - 1].to_owned(), 502),
        (format!("{whole} x"), 502),
        (whole.replacen("searchset", "document", 1), 502),
        (whole.replacen("\"id\":\"O1\"", "\"id\":\"O1\",\"id\":\"O1\"", 1), 502),
        ("{}".to_owned(), 502),
        ("[]".to_owned(), 502),
    ] {
        let (released, written) = apart(KOBS, "Observation", body.as_bytes());
        assert_eq!((released.status(), written.len()), (status, 0), "{body}");
    }
    // Where it is kept fails: nobody's answer.
    let answered = World::new(KOBS).permit("Observation").answered(answer(200, b""));
    let verdict = policy::verify_spooled(answered, &mut Held(whole.into_bytes()), &mut Full, &mut |_| None);
    assert!(matches!(verdict, Verdict::Denied(denial) if denial.reason == domain::Reason::Overloaded));
    // A refusal is one whatever its body.
    for (status, expected) in [(404, 404), (503, 503), (500, 502)] {
        let answered = World::new(KOBS).permit("Observation").answered(answer(status, b""));
        let verdict = policy::verify_spooled(answered, &mut Held(vec![b' '; 500]), &mut Full, &mut |_| None);
        assert_eq!(released(verdict).status(), expected);
    }
}

#[test]
fn one_entry_too_large_to_judge_apart_is_judged_whole() {
    let large = observation_with(3 * 1024 * 1024);
    let body = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"resource":{large}}}]}}"#);
    let (released, written) = apart(KOBS, "Observation", body.as_bytes());
    assert_eq!((released.status(), released.counts().released, written.len()), (200, 1, 0));
    assert!(released.body().len() > 3 * 1024 * 1024 && released.spooled().is_none());
}

#[test]
fn what_comes_along_ten_thousands_of_times_takes_no_longer_than_it_may() {
    let along = format!(r#"{{"resource":{},"search":{{"mode":"include"}}}}"#, resource("O1"));
    let many = vec![along; 40_000].join(",");
    let patient = resource("P1");
    let body = format!(
        r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"resource":{patient},"search":{{"mode":"match"}}}},{many}]}}"#
    );
    let (released, _) = apart(KPO, "Patient?_revinclude=Observation:subject", body.as_bytes());
    assert_eq!(released.resources(), ["Patient/P1", "Observation/O1"], "forty thousand squared would take minutes");
}

fn observation_with(length: usize) -> String {
    resource("O1").replacen(r#""status""#, &format!(r#""note":[{{"text":"{}"}}],"status""#, "x".repeat(length)), 1)
}
