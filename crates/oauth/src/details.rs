//! `authorization_details` of type `fhir_task` (RFC 9396): the agent names a task and a patient; a relationship must prove itself.

use domain::TaskName;
use fhir::Id;
use serde_json::{Value, json};

use crate::json::read_value;

/// Longest text read: one object of four short members.
pub const DETAILS_BYTES_MAX: usize = 2 * 1024;

/// One `fhir_task`. Never printed with its patient.
#[derive(Clone, Eq, PartialEq)]
pub struct FhirTask {
    /// `task`.
    pub task: TaskName,
    /// `patient`, a bare id inside.
    pub patient: Id,
}

impl std::fmt::Debug for FhirTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FhirTask").field("task", &self.task).field("patient", &"[sealed]").finish()
    }
}

/// Text that is not exactly one `fhir_task`; the message shows the form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "authorization_details must be [{{'type':'fhir_task','task':NAME,'patient':'Patient/ID'}}] with exactly one entry and no other member"
)]
pub struct InvalidDetails;

impl FhirTask {
    /// Reads the parameter: an array with exactly one object of exactly `type`, `task` and `patient`.
    ///
    /// # Errors
    /// [`InvalidDetails`] for anything else: an unknown member could be a restriction we would drop (RFC 9396 §5).
    pub fn read(text: &str) -> Result<Self, InvalidDetails> {
        if text.len() > DETAILS_BYTES_MAX {
            return Err(InvalidDetails);
        }
        let Ok(Value::Array(entries)) = read_value(text.as_bytes()) else { return Err(InvalidDetails) };
        let [Value::Object(entry)] = entries.as_slice() else { return Err(InvalidDetails) };
        let member = |name: &str| entry.get(name).and_then(Value::as_str).ok_or(InvalidDetails);
        if entry.len() != 3 || member("type")? != "fhir_task" {
            return Err(InvalidDetails);
        }
        let task = member("task")?.parse().map_err(|_| InvalidDetails)?;
        let patient = member("patient")?.strip_prefix("Patient/").ok_or(InvalidDetails)?;
        Ok(Self { task, patient: patient.parse().map_err(|_| InvalidDetails)? })
    }

    /// What the token answer echoes (RFC 9396 §7).
    #[must_use]
    pub fn echo(&self) -> Value {
        json!([{ "type": "fhir_task", "task": self.task.as_str(), "patient": format!("Patient/{}", self.patient) }])
    }
}

#[test]
fn details_are_one_exact_object() {
    let text = r#"[{"type":"fhir_task","task":"scheduling","patient":"Patient/123"}]"#;
    let task = FhirTask::read(text).unwrap();
    assert_eq!((task.task.as_str(), task.patient.as_str()), ("scheduling", "123"));
    assert_eq!(FhirTask::read(&task.echo().to_string()).unwrap(), task);
    assert!(!format!("{task:?}").contains("123"));
    for bad in [
        r#"{"type":"fhir_task","task":"scheduling","patient":"Patient/123"}"#,
        r#"[]"#,
        r#"[{"type":"other","task":"scheduling","patient":"Patient/123"}]"#,
        r#"[{"type":"fhir_task","task":"scheduling","patient":"123"}]"#,
        r#"[{"type":"fhir_task","task":"scheduling","patient":"Patient/1,2"}]"#,
        r#"[{"type":"fhir_task","task":"scheduling","patient":"Patient/1","patient":"Patient/2"}]"#,
        r#"[{"type":"fhir_task","task":"scheduling","patient":"Patient/1","scope":"x"}]"#,
        r#"[{"type":"fhir_task","task":"s","patient":"Patient/1"},{"type":"fhir_task","task":"s","patient":"Patient/2"}]"#,
        r#"[{"type":"fhir_task","task":"scheduling","patient":["Patient/1"]}]"#,
    ] {
        assert!(FhirTask::read(bad).is_err(), "`{bad}`");
    }
}
