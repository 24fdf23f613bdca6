//! FHIR URLs: what is accepted has one meaning, and a permitted call never names another patient.
#![no_main]

use fhir::request::{Interaction, Method, Raw, read};
use libfuzzer_sys::fuzz_target;
use policy::Decision;
use testkit::world::World;

fuzz_target!(|text: &str| {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let raw = Raw::plain(Method::Get, path, query);
    let Ok(interaction) = read(&raw) else { return };
    if let Interaction::Search(search) = &interaction
        && search.inference.is_empty()
    {
        let canonical = search.canonical_query();
        let again = read(&Raw { query: Some(&canonical), ..raw });
        assert_eq!(again.as_ref(), Ok(&interaction), "`{canonical}`");
    }
    let world = World::new("patient/Patient.rs patient/Observation.rs patient/Appointment.rs");
    if let Ok(Decision::Permit(permit)) = world.get(text.trim_start_matches('/')) {
        let call = permit.call();
        let foreign = |text: &str| {
            text.split("Patient/").skip(1).any(|rest| !rest.starts_with("P1") || rest[2..].starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '.'))
        };
        // Free text of a string parameter is a value, not a reference, so only reference parameters are looked at.
        for pair in call.query.split('&') {
            let name = pair.split(['=', ':']).next().unwrap_or("");
            let reference = fhir::params::find(permit.kind(), name).is_some_and(|param| param.patient);
            assert!(!reference || !foreign(pair), "{pair}");
        }
        assert!(!foreign(&call.path), "{}", call.path);
    }
});
