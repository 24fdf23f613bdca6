//! The pages of an answer are those of an upstream that never had what is held back, wherever that lies.

use fhir::request::{Body, Method, Raw};
use policy::{Decision, PageCursor, UpstreamAnswer, UpstreamCall, Verdict};
use testkit::world::{World, answer, run};

use crate::fixture::*;
use crate::large::{Held, Taken};

/// Matches on the upstream's pages where none are asked for.
const OWN: usize = 3;
/// Most matches on its pages.
const MOST: usize = 4;
const HIDDEN: &str = r#","meta":{"security":[{"code":"R"}]}"#;

/// An upstream of one list: its matches, and what each leads to.
struct Upstream {
    of_type: &'static str,
    list: Vec<(String, Vec<String>)>,
}

/// Whether a search finds a resource: by the one parameter that slices differ in.
fn finds(query: &str, resource: &str) -> bool {
    let lacks = |asked: &str, text: &str| query.contains(asked) && !resource.contains(text);
    !lacks("laboratory", "laboratory") && !lacks("status=final", r#""status":"final""#)
}

impl Upstream {
    fn answer(&self, call: &UpstreamCall) -> UpstreamAnswer {
        let number = |name: &str| {
            call.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok())
        };
        let (from, count) = (number("offset").unwrap_or(0), number("_count").unwrap_or(OWN).min(MOST));
        let list: Vec<_> = self.list.iter().filter(|(resource, _)| finds(&call.query, resource)).collect();
        let page: Vec<_> = list.iter().skip(from).take(count).collect();
        let mut along: Vec<&String> = Vec::new();
        for resource in page.iter().flat_map(|(_, along)| along) {
            let is_match = page.iter().any(|(found, _)| found == resource);
            if !is_match && !along.contains(&resource) {
                along.push(resource);
            }
        }
        let entry = |resource: &str, mode: &str| {
            format!(r#"{{"resource":{resource},"search":{{"mode":"{mode}"}},"request":{{"method":"PUT"}}}}"#)
        };
        let mut entries: Vec<String> = page.iter().map(|(resource, _)| entry(resource, "match")).collect();
        entries.extend(along.iter().map(|resource| entry(resource, "include")));
        let next = match from + count {
            next if next < list.len() => {
                let (query, _) = call.query.split_once("&offset=").unwrap_or((&call.query, ""));
                next_link(&format!("https://ehr/r4/pages?{query}&offset={next}"))
            }
            _ => String::new(),
        };
        let body =
            format!(r#"{{"resourceType":"Bundle","type":"{}"{next},"entry":[{}]}}"#, self.of_type, entries.join(","));
        answer(200, body.as_bytes())
    }
}

/// One page, with all calls it takes; of lists too large for memory where `apart`.
fn page(
    decision: Decision,
    upstream: &dyn Fn(&UpstreamCall) -> UpstreamAnswer,
    apart: bool,
) -> (String, Option<PageCursor>) {
    let Decision::Permit(mut permit) = decision else { panic!("{decision:?}") };
    for _ in 0..30 {
        let mut cursor = None;
        let mut seal = |bytes: &[u8]| {
            cursor = PageCursor::decode(bytes).ok();
            Some("t".to_owned())
        };
        let mut found = upstream(permit.call());
        let mut sink = Taken(Vec::new());
        let verdict = if apart && permit.takes_long() {
            let mut source = Held(std::mem::take(&mut found.body));
            policy::verify_spooled(permit.answered(found), &mut source, &mut sink, &mut seal)
        } else {
            policy::verify(permit.answered(found), &mut seal)
        };
        match verdict {
            Verdict::Next(next) => permit = next,
            Verdict::Released(released) => {
                let body = if released.spooled().is_some() { sink.0 } else { released.into_body() };
                let body = String::from_utf8(body).unwrap();
                let leads_on = body.contains(r#""relation":"next""#);
                assert!(cursor.is_some() || !leads_on, "{body}");
                return (body, cursor.filter(|_| leads_on));
            }
            _ => panic!("refused"),
        }
    }
    panic!("no end");
}

/// All pages, one after another.
fn pages(world: &World, target: &str, upstream: &dyn Fn(&UpstreamCall) -> UpstreamAnswer, apart: bool) -> Vec<String> {
    let kind = target.split(['?', '/']).next().unwrap();
    let (body, mut next) = page(world.get(target).unwrap(), upstream, apart);
    let mut out = vec![body];
    while let Some(cursor) = next {
        let cursor = PageCursor::decode(&cursor.encode()).unwrap();
        let decision = world.get_page(&format!("{kind}?_hilum=t"), Some(cursor)).unwrap();
        let (body, following) = page(decision, upstream, apart);
        out.push(body);
        next = following;
        assert!(out.len() < 20, "no end");
    }
    out
}

fn entries(page: &str) -> usize {
    page.matches(r#""mode":"match""#).count()
}

fn medication(id: &str) -> String {
    format!(r#"{{"resourceType":"Medication","id":"{id}"}}"#)
}

fn request(id: &str, medication: &str, rest: &str) -> String {
    format!(
        r#"{{"resourceType":"MedicationRequest","id":"{id}","status":"active","intent":"order","subject":{{"reference":"Patient/P1"}},"medicationReference":{{"reference":"Medication/{medication}","display":"x"}}{rest}}}"#
    )
}

/// Six results that are shown, and of every set of places among them one list with something held back there.
fn lists(shown: &[(String, Vec<String>)], hidden: &(String, Vec<String>)) -> Vec<Vec<(String, Vec<String>)>> {
    let places = shown.len() + 1;
    (0..1_u32 << places)
        .map(|mask| {
            let mut list = Vec::new();
            for at in 0..places {
                // Two in a row at every second place, so that whole pages are held back too.
                let times = if mask & (1 << at) == 0 { 0 } else { 1 + at % 3 };
                list.extend(std::iter::repeat_n(hidden.clone(), times));
                list.extend(shown.get(at).cloned());
            }
            list
        })
        .collect()
}

fn same_as_without(
    world: &World,
    of_type: &'static str,
    targets: &[&str],
    now: Option<(&str, String)>,
    shown: &[(String, Vec<String>)],
    hidden: &(String, Vec<String>),
) {
    for target in targets {
        for count in ["", "_count=1", "_count=2", "_count=3", "_count=6", "_count=50"] {
            let mark = if target.contains('?') { "&" } else { "?" };
            let target = if count.is_empty() { (*target).to_owned() } else { format!("{target}{mark}{count}") };
            let answers = |upstream: Upstream| {
                let now = now.clone();
                move |call: &UpstreamCall| match &now {
                    Some((path, body)) if call.path == *path => answer(200, body.as_bytes()),
                    _ => upstream.answer(call),
                }
            };
            let plain = answers(Upstream { of_type, list: shown.to_vec() });
            let expected = pages(world, &target, &plain, false);
            let size = count.split('=').nth(1).map_or(OWN, |count| count.parse().unwrap());
            let counts: Vec<usize> = expected.iter().map(|page| entries(page)).collect();
            if of_type == "searchset" {
                let full = counts.iter().rev().skip(1).all(|count| *count == size);
                assert!(full && counts.iter().all(|count| *count > 0), "{target} {counts:?}");
                assert_eq!(counts.iter().sum::<usize>(), shown.len(), "{target}");
            }
            for (at, list) in lists(shown, hidden).into_iter().enumerate() {
                let (apart, behind) = (at % 3 == 1, answers(Upstream { of_type, list }));
                assert_eq!(pages(world, &target, &behind, apart), expected, "{target} {apart}");
            }
        }
    }
}

#[test]
fn searches_page_as_if_nothing_were_held_back() {
    let shown: Vec<_> = (1..7).map(|at| (observation(&format!("S{at}"), &subject("Patient/P1")), vec![])).collect();
    let hidden = (observation("HID", &(subject("Patient/P1") + HIDDEN)), vec![]);
    same_as_without(
        &World::new(KOBS),
        "searchset",
        &["Observation", "Observation?_elements=id"],
        None,
        &shown,
        &hidden,
    );
}

#[test]
fn what_lies_outside_a_slice_is_on_no_page() {
    let inside = subject("Patient/P1") + &category("vital-signs");
    let shown: Vec<_> = (1..7).map(|at| (observation(&format!("S{at}"), &inside), vec![])).collect();
    let hidden = (observation("HID", &(subject("Patient/P1") + &category("laboratory"))), vec![]);
    same_as_without(&World::new(KVIT), "searchset", &["Observation"], None, &shown, &hidden);
}

/// Slices that are searched one by one fill pages together, wherever one of them ends.
#[test]
fn slices_of_a_union_page_as_if_nothing_were_held_back() {
    let one = |id: &str, status: &str, code: &str| {
        (observation(id, &(subject("Patient/P1") + &category(code))).replace("final", status), vec![])
    };
    let shown = [
        one("S1", "final", "laboratory"),
        one("S2", "amended", "laboratory"),
        one("S3", "final", "vital-signs"),
        one("S4", "final", "laboratory"),
        one("S5", "final", "vital-signs"),
        one("S6", "amended", "laboratory"),
    ];
    let scopes = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory patient/Observation.rs?status=final";
    let hidden = observation("HID", &(subject("Patient/P1") + &category("laboratory") + HIDDEN));
    let world = World::new(scopes);
    let sizes = |count: usize| {
        let upstream = Upstream { of_type: "searchset", list: shown.to_vec() };
        let all = pages(&world, &format!("Observation?_count={count}"), &|call| upstream.answer(call), false);
        all.iter().map(|page| entries(page)).collect::<Vec<_>>()
    };
    assert_eq!((sizes(4), sizes(3), sizes(6)), (vec![4, 2], vec![3, 3], vec![6]));
    for count in ["", "?_count=1", "?_count=3", "?_count=4"] {
        let target = format!("Observation{count}");
        let plain = Upstream { of_type: "searchset", list: shown.to_vec() };
        let expected = pages(&world, &target, &|call| plain.answer(call), false);
        for (at, list) in lists(&shown, &(hidden.clone(), vec![])).into_iter().enumerate() {
            let behind = Upstream { of_type: "searchset", list };
            assert_eq!(pages(&world, &target, &|call| behind.answer(call), at % 3 == 1), expected, "{target}");
        }
    }
}

#[test]
fn what_comes_along_belongs_to_its_page() {
    // Some lead to the same, and what is held back leads to something of its own and to something shared.
    let shown: Vec<_> = [("S1", "B"), ("S2", "A"), ("S3", "A"), ("S4", "C"), ("S5", "B"), ("S6", "B")]
        .map(|(id, leads)| (request(id, leads, ""), vec![medication(leads)]))
        .to_vec();
    let hidden = (request("HID", "A", HIDDEN), vec![medication("A"), medication("Z")]);
    let targets = [
        "MedicationRequest?_include=MedicationRequest:medication",
        "MedicationRequest?_include:iterate=MedicationRequest:medication",
        "MedicationRequest",
    ];
    let world = World::new("patient/MedicationRequest.rs patient/Medication.rs");
    same_as_without(&world, "searchset", &targets, None, &shown, &hidden);
}

/// A match may also be what another leads to, and then the upstream names it once on a page.
#[test]
fn a_match_of_another_page_comes_along_where_it_is_led_to() {
    let panel = |id: &str, member: &str| {
        let member = format!(r#","hasMember":[{{"reference":"Observation/{member}"}}]"#);
        observation(id, &(subject("Patient/P1") + &member))
    };
    let plain = |id: &str| observation(id, &subject("Patient/P1"));
    let shown = vec![
        (panel("S1", "S2"), vec![plain("S2")]),
        (plain("S2"), vec![]),
        (panel("S3", "S1"), vec![panel("S1", "S2")]),
        (plain("S4"), vec![]),
        (panel("S5", "S6"), vec![plain("S6")]),
        (plain("S6"), vec![]),
    ];
    let hidden = (observation("HID", &(subject("Patient/P1") + HIDDEN)), vec![]);
    same_as_without(
        &World::new(KOBS),
        "searchset",
        &["Observation?_include=Observation:has-member"],
        None,
        &shown,
        &hidden,
    );
}

#[test]
fn everything_pages_as_if_nothing_were_held_back() {
    let mut world = World::new(KPO);
    world.profile.operations = [domain::Operation::Everything].into();
    let mut shown: Vec<_> = (1..6).map(|at| (observation(&format!("S{at}"), &subject("Patient/P1")), vec![])).collect();
    shown.insert(0, (resource("P1"), vec![]));
    // Not granted.
    same_as_without(&world, "searchset", &["Patient/P1/$everything"], None, &shown, &(resource("C1"), vec![]));
}

#[test]
fn histories_page_as_if_nothing_were_held_back() {
    let version = |number: u32, rest: &str| observation("O1", &format!(r#"{rest},"meta":{{"versionId":"{number}"}}"#));
    let shown: Vec<_> = (1..7).map(|number| (version(9 - number, &subject("Patient/P1")), vec![])).collect();
    let hidden = (version(99, &subject("Patient/P2")), vec![]);
    let now = Some(("Observation/O1", version(9, &subject("Patient/P1"))));
    same_as_without(&World::new(KOBS), "history", &["Observation/O1/_history"], now, &shown, &hidden);
}

/// What takes too many calls is refused, as everything that costs too much; of a short page the length would tell.
#[test]
fn more_held_back_than_may_be_passed_over_is_refused() {
    let hidden = observation("HID", &(subject("Patient/P1") + HIDDEN));
    let mut list = vec![(resource("O1"), vec![])];
    list.extend(std::iter::repeat_n((hidden, vec![]), 500));
    list.push((resource("O1L"), vec![]));
    let upstream = Upstream { of_type: "searchset", list };
    let ran = run(World::new(KOBS).get("Observation?_count=2").unwrap(), &mut |call| upstream.answer(call));
    assert_eq!((ran.refused(), ran.calls.len()), (Some(domain::Reason::TooCostly), 100));
    let ran = run(World::new(KOBS).get("Observation?_count=4&status=final").unwrap(), &mut |call| {
        Upstream { of_type: "searchset", list: upstream.list[200..].to_vec() }.answer(call)
    });
    assert_eq!(ids(&ran.released()), ["O1L"]);
}

/// An upstream that gives more than it was asked for, by a form: what follows is asked for by the same form.
#[test]
fn the_rest_of_a_page_that_was_asked_for_by_a_form() {
    let entries = ["S1", "S2", "S3"].map(|name| observation(name, &subject("Patient/P1")));
    let all = |call: &UpstreamCall| {
        let is_form = matches!(&call.body, Some(policy::UpstreamBody::Form(form)) if form.contains("_count=2"));
        assert!(is_form && call.path == "Observation/_search" && call.query.is_empty());
        answer(200, bundle_of("searchset", &entries, "").as_bytes())
    };
    let world = World::new(KOBS);
    let body = Body { media: Some("application/x-www-form-urlencoded"), bytes: b"status=final&_count=2" };
    let raw = Raw { body: Some(body), ..Raw::plain(Method::Post, "/Observation/_search", None) };
    let (first, next) = page(world.ask(&raw).unwrap(), &all, false);
    let (second, last) = page(world.get_page("Observation?_hilum=t", next).unwrap(), &all, false);
    assert!(first.contains("S2") && !first.contains("S3"));
    assert!(second.contains("S3") && !second.contains("S2") && last.is_none());
}

/// A page begins with the match it was to begin with, also where the upstream's page has moved since.
#[test]
fn a_page_that_moved_begins_where_it_was_to_begin() {
    let list = |names: &[&str]| {
        let entry = |name: &&str| (observation(name, &subject("Patient/P1")), vec![]);
        Upstream { of_type: "searchset", list: names.iter().map(entry).collect() }
    };
    let world = World::new(KOBS);
    let before = list(&["S1", "S2", "S3", "S4"]);
    let hides = Upstream {
        of_type: "searchset",
        list: [vec![(observation("HID", &(subject("Patient/P1") + HIDDEN)), vec![])], before.list].concat(),
    };
    let (_, next) = page(world.get("Observation?_count=2").unwrap(), &|call| hides.answer(call), false);
    let follow = |upstream: &Upstream| {
        let decision = world.get_page("Observation?_hilum=t", next.clone()).unwrap();
        let (body, _) = page(decision, &|call| upstream.answer(call), false);
        let body = testkit::naive::read(body.as_bytes()).unwrap();
        let ids: Vec<String> = body["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned())
            .collect();
        ids
    };
    assert_eq!(follow(&hides), ["S3", "S4"]);
    assert_eq!(follow(&list(&["S1", "S2", "NEW", "S3", "S4"])), ["S3", "S4"]);
    // It is gone: by its place.
    assert_eq!(follow(&list(&["S1", "S2", "S5", "S4"])), ["S4"]);
    assert_eq!(follow(&list(&["S1"])), [""; 0]);
}
