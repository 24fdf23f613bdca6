//! Which patients a clinician may start an app for: those that the tenant's rule finds at the upstream, and no others (CX-09).
//!
//! The rule is a search with the person bound in it. What it finds is judged here again: an upstream that ignores a parameter must not
//! open everybody's record to everybody.

use std::collections::BTreeSet;

use domain::{Filter, SessionId};
use fhir::params::ParamKind;
use fhir::{Id, ResourceType};
use serde_json::Value;

use super::handles::Fault;
use super::pages::{PickerRow, Shown};
use super::people::Person;
use super::probe::{collect, local, points_to};
use super::{Service, Tenant};

/// Most patients shown; whoever has more searches among them at the EHR and launches from there.
const PATIENTS_MAX: usize = 200;
/// Where the person stands in the rule.
pub(crate) const USER: &str = "{fhirUser}";

/// One patient as people tell them apart.
#[derive(Clone, Debug)]
pub(super) struct PatientRow {
    /// Their id.
    pub(super) id: Id,
    name: String,
    born: String,
    number: String,
}

/// The patients a person may pick from.
#[derive(Debug)]
pub(super) struct Patients {
    pub(super) rows: Vec<PatientRow>,
    /// Whether the rule found more.
    pub(super) more: bool,
}

impl PatientRow {
    /// As a row of the page.
    pub(super) fn shown(&self) -> PickerRow {
        PickerRow {
            value: self.id.to_string(),
            name: Shown::or(&self.name, "Name not known"),
            born: Shown::or(&self.born, "not known"),
            number: Shown::new(&self.number),
        }
    }

    /// Whether what was searched is part of the name, number or date of birth.
    pub(super) fn fits(&self, search: Option<&str>) -> bool {
        let Some(search) = search.map(str::trim).filter(|search| !search.is_empty()) else { return true };
        let search = search.to_lowercase();
        [&self.name, &self.born, &self.number].iter().any(|text| text.to_lowercase().contains(&search))
    }

    fn of(patient: &Value) -> Option<Self> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        if patient.get("resourceType")? != "Patient" || patient.get("active") == Some(&Value::Bool(false)) {
            return None;
        }
        let links = patient.get("link").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if links.iter().any(|link| link.get("type").and_then(Value::as_str) == Some("replaced-by")) {
            return None;
        }
        let identifiers = patient.get("identifier").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_mrn = |one: &&Value| one.pointer("/type/coding/0/code").and_then(Value::as_str) == Some("MR");
        let identifier = identifiers.iter().find(is_mrn).or_else(|| identifiers.first());
        Some(Self {
            id: patient.get("id")?.as_str()?.parse().ok()?,
            name: name_of(patient),
            born: text(patient.get("birthDate")),
            number: text(identifier.and_then(|one| one.get("value"))),
        })
    }
}

/// The name people use, as one text.
fn name_of(patient: &Value) -> String {
    let names = patient.get("name").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let official = |one: &&Value| one.get("use").and_then(Value::as_str) == Some("official");
    let Some(name) = names.iter().find(official).or_else(|| names.first()) else { return String::new() };
    if let Some(text) = name.get("text").and_then(Value::as_str) {
        return text.to_owned();
    }
    let given = name.get("given").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let family = name.get("family").and_then(Value::as_str);
    given.iter().filter_map(Value::as_str).chain(family).collect::<Vec<_>>().join(" ")
}

/// A rule as it is written in the configuration: `Type?parameter={fhirUser}&…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PatientRule {
    kind: ResourceType,
    /// The reference parameter that names the person.
    user: String,
    /// The whole query, with the person's place in it.
    query: String,
    /// Token criteria, judged here again.
    tokens: Vec<(String, String)>,
    /// Reference criteria, judged here again.
    references: Vec<(String, String)>,
}

impl PatientRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (kind, query) = text.split_once('?').ok_or("write it as Type?parameter={fhirUser}")?;
        let kind: ResourceType = kind.parse().map_err(|_| format!("`{kind}` is no R4 resource type"))?;
        if kind != ResourceType::PATIENT && fhir::compartment::patient_paths(kind).is_empty() {
            return Err(format!("{kind} says of no patient whose it is"));
        }
        let mut rule =
            Self { kind, user: String::new(), query: query.to_owned(), tokens: Vec::new(), references: Vec::new() };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is no parameter=value"))?;
            let param = fhir::params::find(kind, name).ok_or_else(|| format!("{kind} has no parameter `{name}`"))?;
            if value == USER {
                if param.kind != ParamKind::Reference || !param.evaluable() || !rule.user.is_empty() {
                    return Err(format!("`{USER}` must be the value of one reference parameter"));
                }
                rule.user = name.to_owned();
                continue;
            }
            let filter: Filter = pair.parse().map_err(|_| format!("`{pair}` is no plain parameter=value"))?;
            match param.kind {
                ParamKind::Token if param.evaluable() => rule.tokens.extend(filter.pairs),
                ParamKind::Reference if param.evaluable() => rule.references.extend(filter.pairs),
                _ => return Err(format!("`{name}` cannot be judged on what is found; use tokens and references")),
            }
        }
        if rule.user.is_empty() {
            return Err(format!("the rule must bind the person: parameter={USER}"));
        }
        Ok(rule)
    }

    /// Whether a found record is what was asked for.
    fn holds(&self, resource: &Value, base: &str, user: &str) -> bool {
        resource.get("resourceType").and_then(Value::as_str) == Some(self.kind.name())
            && points_to(resource, base, self.kind, &self.user, user)
            && self.references.iter().all(|(name, wanted)| points_to(resource, base, self.kind, name, wanted))
            && self.tokens.iter().all(|(name, wanted)| has_token(resource, self.kind, name, wanted))
    }

    /// Whose it is, where that is one patient.
    fn patient(&self, resource: &Value, base: &str) -> Option<Id> {
        if self.kind == ResourceType::PATIENT {
            return resource.get("id")?.as_str()?.parse().ok();
        }
        let mut found = Vec::new();
        for path in fhir::compartment::patient_paths(self.kind) {
            collect(resource, path.elements, &mut found);
        }
        let ids: BTreeSet<&str> = found
            .iter()
            .filter_map(|value| value.get("reference")?.as_str())
            .filter_map(|reference| local(reference, base))
            .filter_map(|(kind, id)| (kind == ResourceType::PATIENT).then_some(id))
            .collect();
        match ids.iter().collect::<Vec<_>>().as_slice() {
            [one] => one.parse().ok(),
            _ => None,
        }
    }
}

/// A token criterion on the tree of a record: `code`, `system|code`, alternatives by comma.
fn has_token(resource: &Value, kind: ResourceType, name: &str, wanted: &str) -> bool {
    let Some(param) = fhir::params::find(kind, name) else { return false };
    let mut found = Vec::new();
    for path in param.paths {
        collect(resource, path.elements, &mut found);
    }
    let fits = |system: Option<&str>, code: Option<&str>| {
        wanted.split(',').any(|wanted| match wanted.split_once('|') {
            Some((asked, wanted)) => system.unwrap_or_default() == asked && code == Some(wanted),
            None => code == Some(wanted),
        })
    };
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    found.into_iter().any(|value| match value {
        Value::String(code) => fits(None, Some(code)),
        Value::Bool(flag) => fits(None, Some(if *flag { "true" } else { "false" })),
        Value::Object(members) => match members.get("coding").and_then(Value::as_array) {
            Some(codings) => {
                codings.iter().any(|one| fits(text(one, "system").as_deref(), text(one, "code").as_deref()))
            }
            None => {
                let code = text(value, "code").or_else(|| text(value, "value"));
                fits(text(value, "system").as_deref(), code.as_deref())
            }
        },
        _ => false,
    })
}

impl Service {
    /// The patients of a person by the tenant's rule: no rule, no person the EHR knows, no patients.
    pub(super) async fn patients_of(&self, tenant: &Tenant, person: &Person) -> Result<Patients, Fault> {
        let none = Patients { rows: Vec::new(), more: false };
        let (Some(rule), Some(user)) = (&tenant.patient_rule, &person.fhir_user) else { return Ok(none) };
        let user = user.to_string();
        let query = rule.query.replace(USER, &user);
        let found = self.found(tenant, None, rule.kind, &query).await?;
        let more = found.more;
        let held: Vec<&Value> =
            found.resources.iter().filter(|resource| rule.holds(resource, &tenant.upstream, &user)).collect();
        if rule.kind == ResourceType::PATIENT {
            let rows = held.iter().filter_map(|patient| PatientRow::of(patient)).take(PATIENTS_MAX).collect();
            return Ok(Patients { rows, more });
        }
        let ids: BTreeSet<Id> =
            held.iter().filter_map(|resource| rule.patient(resource, &tenant.upstream)).take(PATIENTS_MAX).collect();
        if ids.is_empty() {
            return Ok(none);
        }
        let named: Vec<&str> = ids.iter().map(Id::as_str).collect();
        let patients = self.found(tenant, None, ResourceType::PATIENT, &format!("_id={}", named.join(","))).await?;
        let rows = patients.resources.iter().filter_map(PatientRow::of).filter(|row| ids.contains(&row.id));
        Ok(Patients { rows: rows.collect(), more })
    }

    /// One patient for a page: by name, or by id where the name cannot be had. A session that the EHR launches asks by its own token.
    pub(super) async fn patient_shown(&self, tenant: &Tenant, session: Option<&SessionId>, patient: &Id) -> PickerRow {
        let found = self.found(tenant, session, ResourceType::PATIENT, &format!("_id={patient}")).await;
        let row = found
            .ok()
            .and_then(|found| found.resources.iter().filter_map(PatientRow::of).find(|row| row.id == *patient));
        let unknown = || PatientRow {
            id: patient.clone(),
            name: format!("Patient {patient}"),
            born: String::new(),
            number: String::new(),
        };
        row.unwrap_or_else(unknown).shown()
    }

    async fn found(
        &self,
        tenant: &Tenant,
        session: Option<&SessionId>,
        kind: ResourceType,
        query: &str,
    ) -> Result<crate::broker::Listed, Fault> {
        self.broker
            .list(&tenant.id, session, kind, query)
            .await
            .ok_or(Fault("the patients could not be looked up; try again"))
    }
}

#[test]
fn a_rule_binds_its_person_and_can_be_judged() {
    let base = "https://ehr.example/fhir";
    let rule = PatientRule::read("Patient?general-practitioner={fhirUser}").unwrap();
    let patient = |gp: &str| {
        serde_json::json!({
            "resourceType": "Patient", "id": "P1", "generalPractitioner": [{ "reference": gp }],
            "name": [{ "given": ["Ada", "B"], "family": "C" }], "birthDate": "1970-01-02"
        })
    };
    assert!(rule.holds(&patient("Practitioner/D1"), base, "Practitioner/D1"));
    assert!(
        !rule.holds(&patient("Practitioner/D2"), base, "Practitioner/D1"),
        "an upstream that ignores the parameter"
    );
    let elsewhere = "https://other.example/fhir/Practitioner/D1";
    assert!(!rule.holds(&patient(elsewhere), base, "Practitioner/D1"), "another server's D1 is another person");
    let row = PatientRow::of(&patient("Practitioner/D1")).unwrap();
    assert_eq!((row.name.as_str(), row.born.as_str()), ("Ada B C", "1970-01-02"));
    assert!(row.fits(Some("ada")) && !row.fits(Some("zoe")) && row.fits(None));
    let rule = PatientRule::read("Encounter?participant={fhirUser}&status=in-progress").unwrap();
    let encounter = |status: &str, who: &str| {
        serde_json::json!({
            "resourceType": "Encounter", "status": status, "subject": { "reference": "Patient/P1" },
            "participant": [{ "individual": { "reference": who } }]
        })
    };
    let one = encounter("in-progress", "Practitioner/D1");
    assert!(rule.holds(&one, base, "Practitioner/D1"));
    assert_eq!(rule.patient(&one, base).unwrap().as_str(), "P1");
    let of = |who: &str| serde_json::json!({ "resourceType": "Encounter", "subject": { "reference": who } });
    assert_eq!(rule.patient(&of("https://other.example/fhir/Patient/P1"), base), None, "nor is its P1");
    assert_eq!(rule.patient(&of("https://ehr.example/fhir/Patient/P1"), base).unwrap().as_str(), "P1");
    assert!(!rule.holds(&encounter("finished", "Practitioner/D1"), base, "Practitioner/D1"));
    for bad in [
        "Patient",
        "Patient?name=x",
        "Patient?name={fhirUser}",
        "Patient?general-practitioner=Practitioner/1",
        "Medication?code={fhirUser}",
        "Nope?x={fhirUser}",
        "Patient?general-practitioner={fhirUser}&birthdate=gt2000",
    ] {
        assert!(PatientRule::read(bad).is_err(), "{bad}");
    }
}
