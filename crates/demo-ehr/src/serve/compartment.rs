//! Whose record a resource is.

use fhir::compartment::patient_paths;
use serde_json::Value;

use crate::search::compare::{elements, local};

/// Whether a resource is in the compartment of the patient with this id.
pub(super) fn belongs(resource: &Value, patient: &str, base: &str) -> bool {
    let text = |key: &str| resource.get(key).and_then(Value::as_str).unwrap_or("");
    if text("resourceType") == "Patient" {
        return text("id") == patient;
    }
    let Ok(kind) = text("resourceType").parse() else { return false };
    patient_paths(kind).iter().flat_map(|path| elements(resource, path.elements)).any(|element| {
        let reference = element.get("reference").and_then(Value::as_str);
        reference.is_some_and(|text| local(text, base).strip_prefix("Patient/") == Some(patient))
    })
}
