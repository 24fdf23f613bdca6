//! b.14: pages.

use domain::Reason;
use policy::{Decision, Finding, PageCursor, Released};
use testkit::world::{NOW, World, answer, release, run_sealed};

use crate::fixture::*;

fn next(url: &str) -> String {
    format!(
        r#","link":[{{"relation":"self","url":"https://ehr/r4/Observation?patient=P2"}},{{"relation":"next","url":"{url}"}},{{"relation":"prev","url":"https://ehr/r4?p=0"}}]"#
    )
}

/// What follows `target`, where the upstream's next page is at `url` and has one more result.
fn played(world: &World, target: &str, url: &str) -> (Released, Option<PageCursor>) {
    let mut cursor = None;
    let mut pages = vec![bundle(&["O1L"], ""), bundle(&["O1"], &next(url))];
    let ran = run_sealed(
        world.get(target).unwrap(),
        &mut |_| answer(200, pages.pop().unwrap_or_else(|| bundle(&[], "")).as_bytes()),
        &mut |bytes| {
            cursor = PageCursor::decode(bytes).ok();
            Some("sealed".into())
        },
    );
    (ran.released(), cursor)
}

fn cursor(world: &World, target: &str, url: &str) -> PageCursor {
    played(world, target, url).1.unwrap()
}

fn page(world: &World, target: &str, cursor: Option<PageCursor>) -> Result<policy::Permit, Reason> {
    match world.get_page(target, cursor).unwrap() {
        Decision::Permit(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial.reason),
        Decision::Write(permit) => panic!("{permit:?}"),
    }
}

#[test]
fn pg_01_next_links_are_sealed_and_others_dropped() {
    let world = World::new(KOBS);
    let (released, _) = played(&world, "Observation?patient=P1", "https://ehr/r4?_getpages=u&_x=1");
    assert_eq!(ids(&released), ["O1"]);
    assert_eq!(link(&released, "next").unwrap(), "https://pep/fhir/Observation?_hilum=sealed");
    // PG-07
    assert_eq!(link(&released, "self").unwrap(), "https://pep/fhir/Observation?patient=Patient/P1");
    assert!(link(&released, "prev").is_none());
    assert!(!String::from_utf8_lossy(released.body()).contains("https://ehr"));
    // Without a seal no link.
    let mut pages = vec![bundle(&["O1L"], ""), bundle(&["O1"], &next("https://ehr/r4?x=1"))];
    let mut upstream = |_: &policy::UpstreamCall| answer(200, pages.pop().unwrap().as_bytes());
    let ran = run_sealed(world.get("Observation").unwrap(), &mut upstream, &mut |_| None);
    assert!(link(&ran.released(), "next").is_none());
}

// IN-19
#[test]
fn pg_03_pages_are_judged_like_first_ones() {
    let world = World::new(KPO);
    let found = cursor(&world, "Observation?_include=Observation:patient", "https://ehr/r4?_getpages=u&_x=1");
    let again = PageCursor::decode(&found.encode()).unwrap();
    assert!(again == found);
    let permit = page(&world, "Observation?_hilum=t", Some(again)).unwrap();
    assert_eq!((permit.call().path.as_str(), permit.call().query.as_str()), ("", "_getpages=u&_x=1"));
    assert_eq!(permit.interaction_name(), "page");
    let released = release(
        permit,
        bundle(&["O1L", "O2", "P1:include", "P2:include"], &next("https://ehr/r4?_getpages=v")).as_bytes(),
    );
    assert_eq!(ids(&released), ["O1L", "P1"]);
    assert_eq!(released.findings().len(), 1, "a foreign match on page two poisons too");
    assert!(link(&released, "next").is_none());
    assert_eq!(link(&released, "self").unwrap(), "https://pep/fhir/Observation?_hilum=sealed");
}

#[test]
fn views_stay_over_pages() {
    let world = World::new(KOBS);
    let found = cursor(&world, "Observation?_elements=status&_summary=false", "https://ehr/r4/Observation?page=2");
    let permit = page(&world, "Observation?_hilum=t", PageCursor::decode(&found.encode()).ok()).unwrap();
    assert_eq!(permit.call().path, "Observation");
    let released = release(permit, bundle(&["O1L"], "").as_bytes());
    assert!(json(&released)["entry"][0]["resource"].get("subject").is_none());
}

#[test]
fn pg_04_cursors_belong_to_one_session() {
    let world = World::new(KOBS);
    let found = cursor(&world, "Observation?patient=P1", "https://ehr/r4?_getpages=u");
    assert!(page(&world, "Observation?_hilum=t", Some(found.clone())).is_ok());
    assert_eq!(page(&world, "Observation?_hilum=t", None).err(), Some(Reason::PageInvalid));
    let mut other = World::new(KOBS);
    other.session.id = domain::SessionId([1; 16]);
    assert_eq!(page(&other, "Observation?_hilum=t", Some(found.clone())).err(), Some(Reason::PageInvalid));
    assert_eq!(
        page(&World::new("patient/Observation.rs patient/Patient.r"), "Observation?_hilum=t", Some(found.clone()))
            .err(),
        Some(Reason::PageInvalid),
        "other scopes"
    );
    assert_eq!(
        page(&World::new("patient/Observation.rs patient/Condition.rs"), "Condition?_hilum=t", Some(found.clone()))
            .err(),
        Some(Reason::PageInvalid),
        "other type"
    );
    assert_eq!(
        page(&World::new("patient/Patient.rs"), "Observation?_hilum=t", Some(found.clone())).err(),
        Some(Reason::ScopeInsufficient)
    );
    assert!(found.expires_at() > NOW && found.expires_at() <= world.session.expires_at);
    let mut poisoned = World::new(KOBS);
    poisoned.rules.filters.poisoned.insert((fhir::ResourceType::OBSERVATION, "patient".into()));
    assert_eq!(page(&poisoned, "Observation?_hilum=t", Some(found)).err(), Some(Reason::FilterUnproved));
}

#[test]
fn pg_06_foreign_next_links_are_dropped() {
    let world = World::new(KOBS);
    for url in [
        "https://evil/r4?_getpages=1",
        "https://ehr.evil/r4?x",
        "https://ehr/r4@evil/x",
        "http://ehr/r4?x",
        "//ehr/r4?x",
        "https://ehr/r4/Patient/$everything",
    ] {
        let released = world.released("Observation?patient=P1", &bundle(&["O1"], &next(url)));
        assert_eq!((released.status(), ids(&released).len()), (200, 1));
        assert!(link(&released, "next").is_none(), "{url}");
        assert_eq!(released.findings(), [Finding::ForeignLink], "{url}");
    }
}

#[test]
fn pg_10_vendor_cursors_are_refused() {
    for target in [
        "Observation?_page=2",
        "Observation?_offset=20",
        "Observation?ct=x",
        "Observation?_getpages=u",
        "Observation?page=2",
    ] {
        assert!(unreadable(&World::new(KOBS), target), "{target}");
    }
}

#[test]
fn odd_bytes_are_no_cursor() {
    let bytes = cursor(&World::new(KOBS), "Observation", "https://ehr/r4?x=1").encode();
    for length in 0..bytes.len() {
        assert!(PageCursor::decode(&bytes[..length]).is_err());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(PageCursor::decode(&longer).is_err());
    let mut version = bytes;
    version[0] = 5;
    assert!(PageCursor::decode(&version).is_err());
}
