//! SR-30 to SR-33: what several granular scopes of one type grant together, searched slice by slice.

use policy::PageCursor;
use testkit::world::{World, run, run_sealed};

use crate::fixture::*;

const TWO: &str = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory patient/Observation.rs?status=final";
const LAB: &str = "Observation?category=http://terminology.hl7.org/CodeSystem/observation-category%7Claboratory&patient=Patient/P1&_count=20";
const FINAL: &str = "Observation?patient=Patient/P1&status=final&_count=20";

fn lab(id: &str, status: &str) -> String {
    observation(id, &(subject("Patient/P1") + &category("laboratory"))).replace("final", status)
}

fn set(resources: &[String], more: &str) -> String {
    bundle_of("searchset", resources, more)
}

/// Every page in turn, and the calls made for it.
fn pages(world: &World, target: &str, known: &[(&str, String)]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut out = Vec::new();
    let mut decision = world.get(target).unwrap();
    loop {
        let mut next: Option<PageCursor> = None;
        let played = run_sealed(decision, &mut upstream(known), &mut |bytes| {
            next = PageCursor::decode(bytes).ok();
            Some("t".into())
        });
        let calls = played.calls.iter().map(address).collect();
        let released = played.released();
        out.push((calls, ids(&released)));
        let Some(cursor) = next.filter(|_| link(&released, "next").is_some()) else { return out };
        let again = PageCursor::decode(&cursor.encode()).unwrap();
        assert!(again == cursor);
        decision = world.get_page("Observation?_hilum=t", Some(again)).unwrap();
    }
}

#[test]
fn sr_32_each_slice_is_searched_and_nothing_comes_twice() {
    let known = [
        (
            LAB,
            set(&[lab("L1", "final"), lab("L2", "preliminary"), resource("O1")], &next_link("https://ehr/r4?page=2")),
        ),
        ("?page=2", set(&[lab("L3", "preliminary"), lab("L4", "final")], "")),
        (FINAL, set(&[lab("L1", "final"), resource("O1"), lab("L4", "final")], "")),
    ];
    let got = pages(&World::new(TWO), "Observation", &known);
    let seen: Vec<String> = got.iter().flat_map(|(_, ids)| ids.clone()).collect();
    assert_eq!(seen, ["L1", "L2", "L3", "L4", "O1"]);
    assert_eq!(got.iter().flat_map(|(calls, _)| calls.clone()).collect::<Vec<_>>(), [LAB, "?page=2", FINAL]);
}

#[test]
fn sr_32_a_slice_without_results_makes_no_page() {
    let known = [(LAB, set(&[], "")), (FINAL, set(&[resource("O1")], ""))];
    let got = pages(&World::new(TWO), "Observation", &known);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0], (vec![LAB.to_owned(), FINAL.to_owned()], vec!["O1".to_owned()]));
    let empty = [(LAB, set(&[], "")), (FINAL, set(&[], ""))];
    assert_eq!(pages(&World::new(TWO), "Observation", &empty)[0].1, [""; 0]);
}

/// Whatever the upstream makes of a slice, only what lies in one is released.
#[test]
fn sr_30_sr_32_what_is_in_no_slice_is_not_released() {
    let outside = resource("O1").replace("final", "preliminary");
    let known = [(LAB, set(std::slice::from_ref(&outside), "")), (FINAL, set(&[outside], ""))];
    let got = pages(&World::new(TWO), "Observation", &known);
    assert!(got.iter().all(|(_, ids)| ids.is_empty()), "{got:?}");
    // One parameter in two values is one search (SR-30).
    let one = "patient/Observation.rs?category=a|x patient/Observation.rs?category=b|y";
    let played = run(World::new(one).get("Observation").unwrap(), &mut upstream(&[]));
    assert_eq!(
        played.calls.iter().map(address).collect::<Vec<_>>(),
        ["Observation?category=a%7Cx,b%7Cy&patient=Patient/P1"]
    );
}
