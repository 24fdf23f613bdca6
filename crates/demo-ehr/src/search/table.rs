//! Which element a search parameter looks at: the R4 tables of crate `fhir`, and the few they leave to a FHIRPath engine.

use fhir::ElementPath;
use fhir::params::{self, ParamKind, SearchParam};

const TELECOM: &[ElementPath] = &[ElementPath { elements: &["telecom"], patient_only: false }];

/// `telecom.where(system='…')` is looked up without its condition: good enough for a demonstration.
static CONTACTS: [SearchParam; 2] = [contact("email"), contact("phone")];

const fn contact(name: &'static str) -> SearchParam {
    SearchParam { name, kind: ParamKind::Token, paths: TELECOM, targets: &[], patient: false }
}

/// The parameter of that name on that type, when this server can evaluate it.
pub(crate) fn find(kind: &str, name: &str) -> Option<&'static SearchParam> {
    let parameter = params::find(kind.parse().ok()?, name)?;
    if parameter.evaluable() { Some(parameter) } else { CONTACTS.iter().find(|contact| contact.name == name) }
}

/// Every parameter of a type that this server can evaluate.
pub(crate) fn all(kind: &str) -> impl Iterator<Item = &'static SearchParam> {
    let parameters = kind.parse().map(params::all).unwrap_or_default();
    parameters.iter().filter(|parameter| parameter.evaluable())
}

#[test]
fn only_what_can_be_evaluated_is_found() {
    assert!(find("Observation", "patient").is_some_and(|p| p.paths.iter().all(|path| path.patient_only)));
    assert!(find("Patient", "email").is_some_and(|p| p.name == "email"));
    assert!(find("Observation", "code-value-quantity").is_none());
    assert!(find("Observation", "nonsense").is_none());
    assert!(all("Nonsense").next().is_none());
}
