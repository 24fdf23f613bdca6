//! `policy` never releases what the naive second opinion refuses, and never leaves a foreign reference in what it does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::Decision;
use testkit::naive::{self, Session};
use testkit::world::{UPSTREAM, World};

const SCOPES: &str = "patient/Observation.rs?category=vital-signs patient/Condition.rs patient/Patient.rs \
    patient/Encounter.rs patient/MedicationRequest.rs patient/Appointment.rs patient/Coverage.rs patient/Task.rs \
    patient/Practitioner.rs";

fuzz_target!(|bytes: &[u8]| {
    let session = Session {
        patient: "P1",
        upstream: UPSTREAM,
        clauses: &[
            ("Observation", &[("category", "vital-signs")]),
            ("Condition", &[]),
            ("Patient", &[]),
            ("Encounter", &[]),
            ("MedicationRequest", &[]),
            ("Appointment", &[]),
            ("Coverage", &[]),
            ("Task", &[]),
            ("Practitioner", &[]),
        ],
        shared: &["Practitioner", "Organization", "Location", "Medication"],
    };
    let world = World::new(SCOPES);
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
