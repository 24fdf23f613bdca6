//! The task profiles every tenant is given at its start (S1-21).

use domain::{TaskProfile, TenantId};
use store::Change;

/// `(name, purpose, purpose of use, scopes)`; each is version 1 and immutable.
const BUILT_IN: [(&str, &str, &str, &str); 2] = [
    (
        "scheduling",
        "find, explain and prepare a patient's appointments; sees who the patient is and when they come, nothing clinical",
        "HOPERAT",
        "patient/Patient.rs patient/Appointment.rs",
    ),
    (
        "intake",
        "prepare a visit: who the patient is, known problems, allergies, medication and observations",
        "TREAT",
        "patient/Patient.rs patient/Condition.rs patient/AllergyIntolerance.rs patient/MedicationRequest.rs \
         patient/Observation.rs",
    ),
];

/// The built-in profiles.
pub(crate) fn built_in() -> Vec<TaskProfile> {
    BUILT_IN
        .iter()
        .filter_map(|(name, purpose, purpose_of_use, scopes)| {
            Some(TaskProfile {
                name: name.parse().ok()?,
                version: 1,
                purpose: (*purpose).to_owned(),
                purpose_of_use: (*purpose_of_use).to_owned(),
                scopes: scopes.parse().ok()?,
                operations: Default::default(),
                labels: Default::default(),
                sender_constraint: Default::default(),
            })
        })
        .collect()
}

/// One change per tenant and profile, so that one already there in another form does not keep the others out.
pub(crate) fn changes(tenants: impl Iterator<Item = TenantId>) -> Vec<Change> {
    tenants
        .flat_map(|tenant| built_in().into_iter().map(move |profile| (tenant.clone(), profile)))
        .map(|profile| Change { profiles: vec![profile], ..Change::default() })
        .collect()
}

#[test]
fn s1_21_scheduling_holds_nothing_clinical() {
    let profiles = built_in();
    assert_eq!(profiles.len(), BUILT_IN.len(), "each parses");
    let scheduling = profiles.first().unwrap();
    let types: Vec<_> = scheduling.types().into_iter().map(fhir::ResourceType::name).collect();
    assert_eq!(types, ["Appointment", "Patient"]);
    for profile in &profiles {
        for scope in &profile.scopes.0 {
            assert_eq!(domain::Class::ClinicalAi.check_scope(scope), Ok(()), "{scope}");
        }
    }
}
