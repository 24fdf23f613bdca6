//! b.5: chains and `_has`, answered by searches of the caller's own.

use domain::Reason;
use testkit::world::{Ran, World};

use crate::fixture::*;

const KSTD: &str = "patient/Patient.rs patient/Observation.rs patient/Condition.rs patient/Encounter.rs";
const RESTRICTED: &str = r#","meta":{"security":[{"code":"R"}]}"#;

fn encounter(id: &str, rest: &str) -> String {
    format!(r#"{{"resourceType":"Encounter","id":"{id}","subject":{{"reference":"Patient/P1"}}{rest}}}"#)
}

fn set(resources: &[String]) -> String {
    bundle_of("searchset", resources, "")
}

fn asked(ran: &Ran) -> Vec<String> {
    ran.calls.iter().map(address).collect()
}

const HOP: &str = "Encounter?patient=Patient/P1&status=finished&_count=100";
const CHAIN: &str = "Observation?encounter.status=finished";

#[test]
fn ch_05_a_chain_is_a_search_of_what_may_be_seen() {
    let last = "Observation?encounter=Encounter/E1,Encounter/E3&patient=Patient/P1";
    let known = [(HOP, set(&[encounter("E3", ""), encounter("E1", "")])), (last, bundle(&["O1", "O2"], ""))];
    let played = ran(&World::new(KSTD), CHAIN, &known);
    assert_eq!(asked(&played), [HOP, last]);
    let released = played.released();
    assert_eq!(ids(&released), ["O1"]);
    assert!(link(&released, "self").unwrap().contains("encounter.status=finished"));
}

/// Whatever is hidden on the way, the answer is the one there would be without it.
#[test]
fn ch_05_what_is_hidden_on_the_way_leads_nowhere() {
    let foreign = r#"{"resourceType":"Encounter","id":"E2","subject":{"reference":"Patient/P1"},"participant":[{"individual":{"reference":"Practitioner/PRA"}}],"contained":[{"resourceType":"Patient","id":"p"}]}"#;
    let nothing = ran(&World::new(KSTD), CHAIN, &[(HOP, set(&[]))]);
    assert_eq!(asked(&nothing), [HOP]);
    let nothing = nothing.released();
    for hidden in [encounter("E1", RESTRICTED), foreign.to_owned()] {
        let played = ran(&World::new(KSTD), CHAIN, &[(HOP, set(&[hidden]))]);
        assert_eq!(asked(&played), [HOP]);
        assert_eq!(played.released().body(), nothing.body());
    }
    // Pages full of them are passed over, and are not counted.
    let hidden: Vec<String> = (0..100).map(|n| encounter(&format!("H{n}"), RESTRICTED)).collect();
    let known = [
        (HOP, bundle_of("searchset", &hidden, &next_link("https://ehr/r4?page=2"))),
        ("?page=2", set(&[encounter("E1", "")])),
        ("Observation?encounter=Encounter/E1&patient=Patient/P1", bundle(&["O1"], "")),
    ];
    assert_eq!(ids(&ran(&World::new(KSTD), CHAIN, &known).released()), ["O1"]);
}

#[test]
fn a_hop_that_finds_too_much_or_is_led_away_ends() {
    let many: Vec<String> = (0..101).map(|n| encounter(&format!("E{n}"), "")).collect();
    assert_eq!(ran(&World::new(KSTD), CHAIN, &[(HOP, set(&many))]).refused(), Some(Reason::TooCostly));
    let away = bundle_of("searchset", &many[..1], &next_link("https://evil/r4?page=2"));
    let played = ran(&World::new(KSTD), CHAIN, &[(HOP, away)]).released();
    assert_eq!((played.status(), played.findings().len()), (502, 1));
    let page = |url: &str| bundle_of("searchset", &many[..1], &next_link(url));
    let endless = [(HOP, page("https://ehr/r4?page=2")), ("?page=2", page("https://ehr/r4?page=2"))];
    assert_eq!(ran(&World::new(KSTD), CHAIN, &endless).refused(), Some(Reason::TooCostly));
    // The upstream ignored the filter of the hop: nothing of it is used, and it is found out.
    let other = encounter("E2", "").replace("P1", "P2");
    let played = ran(&World::new(KSTD), CHAIN, &[(HOP, set(&[other, encounter("E1", "")]))]).released();
    assert_eq!((played.status(), played.findings().len()), (502, 1));
    assert_eq!(ran(&World::new(KSTD), CHAIN, &[]).refused(), Some(Reason::NotFound));
}

#[test]
fn ch_08_reverse_chains() {
    let target = "Patient?_has:Observation:patient:code=1234";
    let hop = "Observation?code=1234&patient=Patient/P1&_count=100";
    let known = [(hop, bundle(&["O1", "O1L"], "")), ("Patient?_id=P1", bundle(&["P1"], ""))];
    let played = ran(&World::new(KPO), target, &known);
    assert_eq!(asked(&played), [hop, "Patient?_id=P1"]);
    assert_eq!(ids(&played.released()), ["P1"]);
    // `_id` and `_has` are one list.
    let played = ran(&World::new(KPO), &format!("{target}&_id=P1"), &known);
    assert_eq!(asked(&played), [hop, "Patient?_id=P1"]);
    // A reference to another patient is masked, so it is not followed either.
    let performed = observation("O1", &(subject("Patient/P1") + r#","performer":[{"reference":"Patient/P2"}]"#));
    let target = "Patient?_has:Observation:performer:code=1234";
    let played = ran(&World::new(KPO), target, &[(hop, set(&[performed]))]);
    assert_eq!(asked(&played), [hop]);
    assert_eq!(ids(&played.released()), [""; 0]);
    // Ids that were asked for and that are referred to must be the same.
    let derived = observation(
        "O1",
        &(subject("Patient/P1") + r#","derivedFrom":[{"reference":"Observation/O1L"},{"reference":"Observation/O2"}]"#),
    );
    let target = "Observation?_id=O1,O1L&_has:Observation:derived-from:code=1234";
    let known = [(hop, set(&[derived])), ("Observation?_id=O1L&patient=Patient/P1", bundle(&["O1L"], ""))];
    assert_eq!(ids(&ran(&World::new(KOBS), target, &known).released()), ["O1L"]);
}

#[test]
fn ch_01_to_ch_16_what_is_refused() {
    for (id, scopes, target, expected) in [
        ("CH-01", KOBS, "Observation?patient.name=Smith", Reason::InferenceRefused),
        ("CH-09", KPAT, "Patient?_has:Condition:patient:code=HIV", Reason::InferenceRefused),
        ("CH-12", KPO, "Patient?_has:Group:member:_id=G12", Reason::InferenceRefused),
        ("CH-14", KOBS, "Observation?patient:Patient.identifier=mrn2", Reason::InferenceRefused),
        ("granular", KVIT, "Observation?has-member.code=x", Reason::NotSupported),
        ("read only", "patient/Observation.rs patient/Encounter.r", CHAIN, Reason::NotSupported),
        ("another patient", KSTD, "Observation?encounter.patient=P2", Reason::OtherPatient),
        ("another patient", KPO, "Patient?_has:Observation:patient:subject=P2", Reason::OtherPatient),
        ("other server", KSTD, "Observation?encounter.patient=https://elsewhere/Patient/P1", Reason::NotSupported),
        (
            "shared",
            "patient/Observation.rs patient/Practitioner.rs",
            "Observation?performer:Practitioner.name=x",
            Reason::NotSupported,
        ),
        ("sort", KPO, "Observation?_sort=subject:Patient.name", Reason::NotSupported),
    ] {
        assert_eq!(reason(&World::new(scopes), target), expected, "{id} {target}");
    }
    for target in [
        "Observation?subject:Patient.organization.name=x",
        "Patient?_has:Observation:patient:_has:AuditEvent:entity:agent=x",
        "Observation?_HAS:Observation:patient:code=1",
        "Observation?_has=Observation:patient:code",
        "Observation?encounter.nothing=x",
    ] {
        assert!(unreadable(&World::new(KALL), target), "CH-06, CH-11, CH-16 {target}");
    }
    let five = (0..5).map(|n| format!("encounter.status={n}")).collect::<Vec<_>>().join("&");
    assert_eq!(reason(&World::new(KSTD), &format!("Observation?{five}")), Reason::TooCostly);
    let mut poisoned = World::new(KSTD);
    poisoned.rules.filters.poisoned.insert((fhir::ResourceType::ENCOUNTER, "patient".into()));
    assert_eq!(reason(&poisoned, CHAIN), Reason::FilterUnproved);
}
