//! b.2 and b.10: versions, histories, `$everything` and `$lastn`.

use domain::{Operation, Reason};
use policy::{Decision, PageCursor};
use testkit::world::{Ran, World, run_sealed};

use crate::fixture::*;

fn world(scopes: &str) -> World {
    let mut world = World::new(scopes);
    world.profile.operations = [Operation::Everything, Operation::LastN].into();
    world
}

fn version(id: &str, version: &str, rest: &str) -> String {
    observation(id, &format!(r#","meta":{{"versionId":"{version}"}}{rest}"#))
}

fn status(ran: &Ran) -> u16 {
    ran.end.as_ref().map_or(0, policy::Released::status)
}

#[test]
fn vr_03_vr_04_a_version_is_judged_by_itself() {
    let v1 = version("OMV", "1", &subject("Patient/P2"));
    let v2 = version("OMV", "2", &subject("Patient/P1"));
    let now = ("Observation/OMV", v2.clone());
    let known = [now.clone(), ("Observation/OMV/_history/1", v1.clone()), ("Observation/OMV/_history/2", v2.clone())];
    assert_eq!(status(&ran(&world(KOBS), "Observation/OMV/_history/2", &known)), 200);
    let foreign = ran(&world(KOBS), "Observation/OMV/_history/1", &known).released();
    let absent = ran(&world(KOBS), "Observation/OMV/_history/9", &known).released();
    assert_eq!((foreign.status(), foreign.body()), (404, absent.body()));
    // VR-04: in the slice now, not then.
    let lab = version("O1", "1", &(subject("Patient/P1") + &category("laboratory")));
    let known = [("Observation/O1", resource("O1")), ("Observation/O1/_history/1", lab)];
    assert_eq!(status(&ran(&world(KVIT), "Observation/O1/_history/1", &known)), 404);
    // Another version, or another instance, than the one asked for.
    for other in [v2.clone(), v2.replace("OMV", "O1").replace("\"2\"", "\"3\""), resource("P1")] {
        let known = [now.clone(), ("Observation/OMV/_history/3", other)];
        assert_eq!(status(&ran(&world(KOBS), "Observation/OMV/_history/3", &known)), 502);
    }
    assert_eq!(reason(&world("patient/Observation.s"), "Observation/O1/_history/1"), Reason::ScopeInsufficient);
    assert_eq!(reason(&world(KPAT), "Patient/P2/_history/1"), Reason::OtherPatient);
}

/// A record that was filed under the wrong patient, labelled later or deleted is not had by what it was before.
#[test]
fn vr_05_the_past_is_for_those_who_may_read_the_present() {
    let (old, page) = ("Observation/X/_history/1", "Observation/X/_history");
    let v1 = version("X", "1", &subject("Patient/P1"));
    let absent = ran(&world(KOBS), "Observation/none/_history/1", &[]).released();
    for now in [
        Some(version("X", "2", &subject("Patient/P2"))),
        Some(observation("X", &(subject("Patient/P1") + r#","meta":{"security":[{"code":"R"}]}"#))),
        None,
    ] {
        for target in [old, page] {
            let mut known = vec![(old, v1.clone()), (page, bundle_of("history", std::slice::from_ref(&v1), ""))];
            known.extend(now.clone().map(|now| ("Observation/X", now)));
            let played = ran(&world(KOBS), target, &known);
            assert_eq!(played.calls.len(), 1, "{target} {now:?}");
            assert_eq!(played.released().body(), absent.body(), "{target} {now:?}");
        }
    }
}

#[test]
fn vr_16_histories_hold_the_sessions_versions_alone() {
    let target = "Observation/OMV/_history";
    let versions = [
        version("OMV", "3", &subject("Patient/P1")),
        version("OMV", "2", &subject("Patient/P2")),
        version("OTHER", "9", &subject("Patient/P1")),
        version("OMV", "1", &subject("Patient/P1")),
    ];
    let mut body = bundle_of("history", &versions, r#","total":4"#);
    body.truncate(body.len() - 2);
    body.push_str(r#",{"fullUrl":"https://ehr/r4/Observation/OMV","request":{"method":"DELETE"}}]}"#);
    let known = [("Observation/OMV", versions[0].clone()), (target, body)];
    let released = ran(&world(KOBS), target, &known).released();
    let seen = json(&released);
    let versions: Vec<&str> = seen["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["resource"]["meta"]["versionId"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["3", "1"]);
    assert_eq!((released.counts().released, released.counts().filtered), (2, 3));
    assert!(seen.get("total").is_none() && !text(&released).contains("P2") && !text(&released).contains("DELETE"));
    assert_eq!(released.resources(), ["Observation/OMV/_history/3", "Observation/OMV/_history/1"]);
    // What stands beside a resource is no place for words of the upstream's.
    let odd = observation(
        "OMV",
        &(subject("Patient/P1") + r#","meta":{"versionId":"3 P2","lastUpdated":"https://ehr/r4/Patient/P2"}"#),
    );
    let known = [("Observation/OMV", odd.clone()), (target, bundle_of("history", &[odd], ""))];
    let released = ran(&world(KOBS), target, &known).released();
    assert!(!json(&released)["entry"][0]["response"].to_string().contains("P2"), "{}", text(&released));
}

#[test]
fn a_history_of_somebody_else_is_a_history_of_nothing() {
    let target = "Observation/O1/_history";
    let now = ("Observation/O1", resource("O1"));
    let absent = ran(&world(KOBS), target, &[]).released();
    for body in [
        bundle_of("history", &[version("O2", "1", &subject("Patient/P2"))], ""),
        bundle_of("history", &[], ""),
        bundle_of("history", &[version("O3", "1", &subject("Patient/P1"))], ""),
        bundle_of("history", &[version("O1", "1", &subject("Patient/P2"))], ""),
        bundle_of("history", &[version("O2", "1", &subject("Patient/P2"))], &next_link("https://evil/r4?x")),
    ] {
        let released = ran(&world(KOBS), target, &[now.clone(), (target, body)]).released();
        assert_eq!((released.status(), released.body()), (404, absent.body()));
    }
    // A page of nothing leads on silently; the calls end.
    let page = bundle_of("history", &[version("O2", "1", &subject("Patient/P2"))], &next_link("https://ehr/r4?page=2"));
    let ran_ = ran(&world(KOBS), target, &[now.clone(), (target, page.clone()), ("?page=2", page)]);
    assert!(ran_.calls.len() <= 101, "{}", ran_.calls.len());
    assert_eq!(ran_.released().body(), absent.body());
    assert_eq!(status(&ran(&world(KOBS), target, &[now, (target, bundle_of("searchset", &[], ""))])), 502);
}

#[test]
fn vr_10_to_vr_19_what_a_history_is_asked_with() {
    assert_eq!(reason(&world("patient/Observation.s"), "Observation/O1/_history"), Reason::ScopeInsufficient);
    assert_eq!(reason(&world(KPAT), "Patient/P2/_history"), Reason::OtherPatient);
    assert_eq!(reason(&world(KOBS), "Patient/P1/_history"), Reason::ScopeInsufficient, "CP-12");
    assert_eq!(reason(&world(KOBS), "Observation/O1/_history?_count=0"), Reason::NotSupported);
    for target in [
        "Observation/_history",
        "Observation/_history?patient=P1",
        "Patient/_history?_id=P1",
        "_history",
        "Observation/O1/_history?patient=P1",
        "Observation/O1/_history?_total=accurate",
        "Observation/O1/_history/1/x",
    ] {
        assert!(unreadable(&world(KALL), target), "{target}");
    }
    // VR-17: `_elements` is ours.
    let played =
        ran(&world(KOBS), "Observation/O1/_history?_elements=status&_count=900", &[("Observation/O1", resource("O1"))]);
    assert_eq!(
        played.calls.iter().map(address).collect::<Vec<_>>(),
        ["Observation/O1", "Observation/O1/_history?_count=100"]
    );
}

/// The cursors an answer seals.
fn cursors(world: &World, target: &str, known: &[(&str, String)]) -> Vec<PageCursor> {
    let mut found = Vec::new();
    let _ran = run_sealed(world.get(target).unwrap(), &mut upstream(known), &mut |bytes| {
        found.extend(PageCursor::decode(bytes).ok());
        Some("t".into())
    });
    found
}

#[test]
fn pg_04_a_link_of_one_kind_is_no_link_of_another() {
    let own = version("O1", "2", &subject("Patient/P1"));
    let next = next_link("https://ehr/r4?page=2");
    let history = "Observation/O1/_history";
    let behind = bundle_of("history", &[version("O1", "1", &subject("Patient/P1"))], "");
    let known = [
        ("Observation/O1", own.clone()),
        (history, bundle_of("history", std::slice::from_ref(&own), &next)),
        ("?page=2", behind),
    ];
    let found = cursors(&world(KPO), history, &known).remove(0);
    assert!(PageCursor::decode(&found.encode()).unwrap() == found);
    let page = |world: &World, target: &str, cursor: &PageCursor| world.get_page(target, Some(cursor.clone())).unwrap();
    // It shows versions of that instance and nothing else, whatever the upstream answers.
    let decision = page(&world(KPO), "Observation?_hilum=t", &found);
    let searchset = bundle(&["O1", "O1L"], "");
    let ran_ = testkit::world::run(decision, &mut upstream(&[("Observation/O1", own.clone()), ("?page=2", searchset)]));
    assert_eq!((ran_.calls.len(), status(&ran_)), (2, 502));
    // Read covers it; search does not.
    let mut searches = world("patient/Observation.s");
    searches.session.scopes = KPO.parse().unwrap();
    assert!(
        matches!(page(&searches, "Observation?_hilum=t", &found), Decision::Deny(d) if d.reason == Reason::ScopeInsufficient)
    );
    assert!(
        matches!(page(&world(KPO), "Patient?_hilum=t", &found), Decision::Deny(d) if d.reason == Reason::PageInvalid)
    );
    // `$everything` needs its operation on every page.
    let target = "Patient/P1/$everything";
    let found =
        cursors(&world(KPO), target, &[(target, bundle(&["P1"], &next)), ("?page=2", bundle(&["O1"], ""))]).remove(0);
    assert!(matches!(page(&world(KPO), "Patient?_hilum=t", &found), Decision::Permit(_)));
    assert!(
        matches!(page(&World::new(KPO), "Patient?_hilum=t", &found), Decision::Deny(d) if d.reason == Reason::OperationRefused)
    );
    assert!(
        matches!(page(&world(KPO), "Observation?_hilum=t", &found), Decision::Deny(d) if d.reason == Reason::PageInvalid)
    );
}

#[test]
fn op_02_to_op_09_everything_is_what_each_scope_says() {
    let target = "Patient/P1/$everything";
    let all = ["P1", "P2", "O1", "O1L", "O2", "OPF", "A12", "G12", "M1", "PRA", "CV", "T1", "T2"];
    let got = |scopes: &str| ids(&ran(&world(scopes), target, &[(target, bundle(&all, ""))]).released());
    assert_eq!(got(KPAT), ["P1"], "OP-02");
    assert_eq!(got(&format!("{KVIT} {KPAT}")), ["P1", "O1"], "OP-03");
    assert_eq!(got(KALL), ["P1", "O1", "O1L", "M1", "PRA", "T1"], "OP-06");
    let released = ran(&world(KPAT), target, &[(target, bundle(&all, ""))]).released();
    assert!(!text(&released).contains("OperationOutcome"), "what is left out leaves no trace");
    assert_eq!(reason(&world(KPO), "Patient/P2/$everything"), Reason::OtherPatient, "OP-04");
    assert_eq!(reason(&World::new(KPO), target), Reason::OperationRefused, "S1-36");
    assert_eq!(reason(&World::new(KPO), "Patient/P2/$everything"), Reason::OperationRefused, "S1-36");
    assert_eq!(reason(&world(KOBS), target), Reason::ScopeInsufficient);
    assert_eq!(reason(&world(KPO), "Patient/P1/$everything?_type=Observation,Condition"), Reason::ScopeInsufficient);
    assert_eq!(reason(&world(KPO), "Patient/P1/$everything?_count=0"), Reason::NotSupported);
    let permit =
        world(KPO).permit("Patient/P1/$everything?start=2020&_since=2020-01-01T00:00:00Z&_count=5&_elements=id");
    assert_eq!(
        address(permit.call()),
        "Patient/P1/$everything?start=2020&_since=2020-01-01T00:00:00Z&_count=5",
        "OP-09"
    );
    for refused in [
        "Patient/P1/$everything?patient=P2",
        "Patient/P1/$everything?_id=P2",
        "Patient/P1/$Everything",
        "Patient/$everything",
        "Encounter/E1/$everything",
        "Group/G12/$everything",
    ] {
        assert!(unreadable(&world(KALL), refused), "{refused}");
    }
}

/// An upstream that names everything twice, on pages far apart.
#[test]
fn what_is_named_twice_is_gathered_once() {
    let all: Vec<String> = (0..800).map(|at| dated(&format!("A{}", at % 400), &format!("c{}", at % 400), "")).collect();
    let pages: Vec<(String, String)> = all
        .chunks(100)
        .enumerate()
        .map(|(at, page)| {
            let call = if at == 0 {
                "Observation?patient=Patient/P1&_sort=-date&_count=100".to_owned()
            } else {
                format!("?page={at}")
            };
            let next = if at == 7 { String::new() } else { next_link(&format!("https://ehr/r4?page={}", at + 1)) };
            (call, bundle_of("searchset", page, &next))
        })
        .collect();
    let known: Vec<(&str, String)> = pages.iter().map(|(call, page)| (call.as_str(), page.clone())).collect();
    let released = ran(&world(KOBS), "Observation/$lastn", &known).released();
    assert_eq!(released.counts().released, 400, "each once");
}

/// Some servers keep the pages at the operation's own address; at nobody else's.
#[test]
fn pages_of_everything_may_lie_at_its_own_address() {
    let target = "Patient/P1/$everything";
    let set = |id: &str, more: &str| bundle_of("searchset", &[resource(id)], more);
    for (next, ids_found, findings) in [
        ("https://ehr/r4/Patient/P1/$everything?page=2", vec!["P1", "O1"], 0),
        ("https://ehr/r4/Patient/P2/$everything?page=2", vec!["P1"], 1),
        ("https://ehr/r4/Patient/P1/$everything/x?page=2", vec!["P1"], 1),
        ("https://ehr/r4/Patient/P1/$everything", vec!["P1"], 1),
        ("https://ehr/r4/Patient/P1/$export?page=2", vec!["P1"], 1),
        ("https://evil/r4/Patient/P1/$everything?page=2", vec!["P1"], 1),
    ] {
        let whole = format!("{target}?_count=5");
        let known = [(whole.as_str(), set("P1", &next_link(next))), ("Patient/P1/$everything?page=2", set("O1", ""))];
        let released = ran(&world(KPO), &whole, &known).released();
        assert_eq!(
            (ids(&released), released.findings().len()),
            (ids_found.iter().map(|id| (*id).to_owned()).collect(), findings),
            "{next}"
        );
    }
}

/// An empty page that leads on would say that something hidden lies on it.
#[test]
fn pages_of_hidden_things_are_passed_over() {
    let next = |page: &str| next_link(&format!("https://ehr/r4?page={page}"));
    let hidden = r#","meta":{"security":[{"code":"R"}]}"#;
    let labelled = |id: &str| observation(id, &(subject("Patient/P1") + hidden));
    for (target, call) in
        [("Observation", "Observation?patient=Patient/P1"), ("Patient/P1/$everything", "Patient/P1/$everything")]
    {
        let set = |ids: &[String], more: &str| bundle_of("searchset", ids, more);
        let known = [
            (call, set(&[labelled("H1")], &next("2"))),
            ("?page=2", set(&[labelled("H2")], &next("3"))),
            ("?page=3", set(&[resource("O1")], "")),
        ];
        let released = ran(&world(KPO), target, &known).released();
        assert_eq!((ids(&released), released.counts().filtered), (vec!["O1".to_owned()], 2), "{target}");
        assert!(link(&released, "next").is_none());
        let plain = [(call, set(&[resource("O1")], ""))];
        assert_eq!(released.body(), ran(&world(KPO), target, &plain).released().body(), "{target}");
    }
}

fn dated(id: &str, code: &str, rest: &str) -> String {
    observation(
        id,
        &format!(r#"{},"code":{{"coding":[{{"system":"s","code":"{code}"}}]}}{rest}"#, subject("Patient/P1")),
    )
}

#[test]
fn op_12_the_last_is_the_last_that_may_be_seen() {
    let first = "Observation?patient=Patient/P1&_sort=-date&_count=100";
    let hidden = r#","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]}"#;
    let foreign = observation("X", &(subject("Patient/P2") + r#","focus":[{"reference":"Patient/P1"}]"#));
    let at = |time: &str| format!(r#","effectiveDateTime":"{time}""#);
    let (a2, a1) = (dated("A2", "a", &at("2024-02-01")), dated("A1", "a", &at("2024-01-01")));
    let with = [dated("H", "a", hidden), a2.clone(), dated("B", "b", ""), a1.clone()];
    let without = [a2, dated("B", "b", ""), a1];
    let set = |all: &[String]| [(first, bundle_of("searchset", all, ""))];
    let newest = ran(&world(KOBS), "Observation/$lastn", &set(&with)).released();
    assert_eq!(ids(&newest), ["A2", "B"]);
    assert_eq!(newest.body(), ran(&world(KOBS), "Observation/$lastn", &set(&without)).released().body());
    assert_eq!(ids(&ran(&world(KOBS), "Observation/$lastn?max=2", &set(&with)).released()), ["A2", "B", "A1"]);
    // Pages are read to their end; one that leads away ends it.
    let second = [
        (first, bundle_of("searchset", &with, &next_link("https://ehr/r4?page=2"))),
        ("?page=2", set(&[dated("C", "c", "")])[0].1.clone()),
    ];
    assert_eq!(ids(&ran(&world(KOBS), "Observation/$lastn", &second).released()), ["A2", "B", "C"]);
    let away = [(first, bundle_of("searchset", &with, &next_link("https://evil/r4?page=2")))];
    assert_eq!(status(&ran(&world(KOBS), "Observation/$lastn", &away)), 502);
    let endless = [
        (first, bundle_of("searchset", &with, &next_link("https://ehr/r4?page=2"))),
        ("?page=2", bundle_of("searchset", &with, &next_link("https://ehr/r4?page=2"))),
    ];
    assert_eq!(ran(&world(KOBS), "Observation/$lastn", &endless).refused(), Some(Reason::TooCostly));
    // What is equal in time is chosen by id, however the upstream orders it.
    let day = at("2024-03-01");
    let from = r#","effectivePeriod":{"end":"2024-03-02","start":"2024-03-01"}"#;
    let equal = [("E3", from), ("E1", &day), ("E2", from)].map(|(id, time)| dated(id, "a", time));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let mixed: Vec<String> = order.iter().map(|at| equal[*at].clone()).chain(without.clone()).collect();
        assert_eq!(ids(&ran(&world(KOBS), "Observation/$lastn", &set(&mixed)).released()), ["E1", "B"]);
        let mut two = ids(&ran(&world(KOBS), "Observation/$lastn?max=2", &set(&mixed)).released());
        two.sort();
        assert_eq!(two, ["B", "E1", "E2"]);
    }
    // A foreign match poisons as in any search.
    let released = ran(&world(KOBS), "Observation/$lastn", &set(&[foreign, dated("A1", "a", "")])).released();
    assert_eq!((ids(&released), released.findings().len()), (vec!["A1".to_owned()], 1));
    assert_eq!(reason(&World::new(KOBS), "Observation/$lastn"), Reason::OperationRefused, "S1-36");
    assert_eq!(reason(&world(KOBS), "Observation/$lastn?patient=P2"), Reason::OtherPatient);
    assert_eq!(reason(&world("patient/Observation.r"), "Observation/$lastn"), Reason::ScopeInsufficient);
    for refused in [
        "Observation/$lastn?max=0",
        "Observation/$lastn?max=101",
        "Observation/$lastn?_count=1",
        "Observation/$lastn?_sort=date",
        "Observation/$lastn?_include=Observation:subject",
        "Observation/$lastn?_include:iterate=Observation:subject",
        "Condition/$lastn",
        "Observation/O1/$lastn",
    ] {
        assert!(unreadable(&world(KALL), refused), "{refused}");
    }
}

#[test]
fn b_9_compartments() {
    let permit = world(KOBS).permit("Patient/P1/Observation?code=1");
    assert_eq!(address(permit.call()), "Observation?code=1&patient=Patient/P1");
    assert_eq!(reason(&world(KPAT), "Patient/P1/Observation"), Reason::ScopeInsufficient, "CP-02");
    assert_eq!(reason(&world(KOBS), "Patient/P2/Observation"), Reason::OtherPatient);
    assert_eq!(reason(&world(KOBS), "Patient/P2/Observation?patient=P1"), Reason::OtherPatient);
    assert_eq!(reason(&world(KOBS), "Patient/P1/Observation?patient=P2"), Reason::OtherPatient);
    assert_eq!(reason(&world(KALL), "Patient/P1/Practitioner"), Reason::NotSupported, "nobody's compartment");
    for refused in [
        "Encounter/E1/Observation",
        "Encounter/E2/Observation?patient=P1",
        "Practitioner/PRA/Observation?patient=P1",
        "Device/DV/Observation",
        "RelatedPerson/RP1/Patient",
        "Patient/P1/*",
        "Patient/P1/Binary",
    ] {
        assert!(unreadable(&world(KALL), refused), "CP-05 to CP-09 {refused}");
    }
}
