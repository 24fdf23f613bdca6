//! `policy` never releases what the naive second opinion refuses, and never leaves a foreign reference in what it does.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use policy::Decision;
use testkit::naive::{self, Session};
use testkit::world::{UPSTREAM, World};

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(&scopes()));

/// Every type the naive opinion knows, Observation in one slice.
fn scopes() -> String {
    let scope = |kind: &str| match kind {
        "Observation" => "patient/Observation.rs?category=vital-signs".to_owned(),
        kind => format!("patient/{kind}.rs"),
    };
    naive::known_types().into_iter().map(scope).collect::<Vec<_>>().join(" ")
}

fuzz_target!(|bytes: &[u8]| {
    let slice: &[(&str, &str)] = &[("category", "vital-signs")];
    let clauses: Vec<(&str, &[(&str, &str)])> = naive::known_types()
        .into_iter()
        .map(|kind| (kind, if kind == "Observation" { slice } else { &[] }))
        .collect();
    let session = Session {
        patient: "P1",
        upstream: UPSTREAM,
        clauses: &clauses,
        shared: &["Practitioner", "Organization", "Location", "Medication"],
    };
    let world = &*WORLD;
    // Bytes that are a resource are read by its own id; all are tried as a search result too.
    let resource = naive::read(bytes);
    let target = resource.as_ref().and_then(|resource| {
        Some(format!("{}/{}", resource.get("resourceType")?.as_str()?, resource.get("id")?.as_str()?))
    });
    if let (Some(target), Some(resource)) = (target, &resource)
        && let Ok(Decision::Permit(permit)) = world.get(&target)
    {
        let released = testkit::world::release(permit, bytes);
        if released.status() == 200 {
            assert!(naive::may_release(&session, resource), "{resource}");
            let body = naive::read(released.body()).expect("what is released is strict JSON");
            assert_eq!(naive::leak(&session, &body), None, "{resource}");
        }
    }
    let target = "Observation?_include=Observation:subject&_include=Observation:performer";
    if let Ok(Decision::Permit(permit)) = world.get(target) {
        let released = testkit::world::release(permit, bytes);
        let body = naive::read(released.body()).expect("what is released is strict JSON");
        assert_eq!(naive::leak(&session, &body), None);
    }
});
