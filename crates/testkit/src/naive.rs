//! A second, naive `verify`: written apart from `policy`, over a tree, for the types it knows. Slow and plain on purpose.
//!
//! It only answers whether a resource may be released at all; tests and fuzzing hold `policy` to it.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Whose data may be released, and under which scope clauses.
pub struct Session<'a> {
    /// The patient's id.
    pub patient: &'a str,
    /// The upstream's base.
    pub upstream: &'a str,
    /// Per clause the type and its `(parameter, value)` pairs.
    pub clauses: &'a [(&'a str, &'a [(&'a str, &'a str)])],
    /// Shared types.
    pub shared: &'a [&'a str],
}

/// Where a resource of one patient says whose it is: read off the R4 resource pages, apart from the tables of `fhir`.
const SUBJECTS: [(&str, &str); 59] = [
    ("AdverseEvent", "subject"),
    ("AllergyIntolerance", "patient"),
    ("Basic", "subject"),
    ("BodyStructure", "patient"),
    ("CarePlan", "subject"),
    ("CareTeam", "subject"),
    ("ChargeItem", "subject"),
    ("Claim", "patient"),
    ("ClaimResponse", "patient"),
    ("ClinicalImpression", "subject"),
    ("Composition", "subject"),
    ("Condition", "subject"),
    ("Consent", "patient"),
    ("Contract", "subject"),
    ("Coverage", "beneficiary"),
    ("CoverageEligibilityRequest", "patient"),
    ("CoverageEligibilityResponse", "patient"),
    ("DetectedIssue", "patient"),
    ("Device", "patient"),
    ("DeviceRequest", "subject"),
    ("DeviceUseStatement", "subject"),
    ("DiagnosticReport", "subject"),
    ("DocumentManifest", "subject"),
    ("DocumentReference", "subject"),
    ("Encounter", "subject"),
    ("EnrollmentRequest", "candidate"),
    ("EpisodeOfCare", "patient"),
    ("ExplanationOfBenefit", "patient"),
    ("FamilyMemberHistory", "patient"),
    ("Flag", "subject"),
    ("Goal", "subject"),
    ("GuidanceResponse", "subject"),
    ("ImagingStudy", "subject"),
    ("Immunization", "patient"),
    ("ImmunizationEvaluation", "patient"),
    ("ImmunizationRecommendation", "patient"),
    ("Invoice", "subject"),
    ("MeasureReport", "subject"),
    ("Media", "subject"),
    ("MedicationAdministration", "subject"),
    ("MedicationDispense", "subject"),
    ("MedicationRequest", "subject"),
    ("MedicationStatement", "subject"),
    ("MolecularSequence", "patient"),
    ("NutritionOrder", "patient"),
    ("Observation", "subject"),
    ("Procedure", "subject"),
    ("QuestionnaireResponse", "subject"),
    ("RelatedPerson", "patient"),
    ("RequestGroup", "subject"),
    ("ResearchSubject", "individual"),
    ("RiskAssessment", "subject"),
    ("ServiceRequest", "subject"),
    ("Specimen", "subject"),
    ("SupplyDelivery", "patient"),
    ("SupplyRequest", "deliverTo"),
    ("Task", "for"),
    ("Binary", "securityContext"),
    ("VisionPrescription", "patient"),
];

/// Types with several parties (p3): where the patient must be found, then where else a party may stand.
const PARTIES: [(&str, &str, &[&str]); 11] = [
    ("Account", "subject", &["guarantor.party"]),
    ("Appointment", "participant.actor", &[]),
    ("AppointmentResponse", "actor", &[]),
    ("AuditEvent", "entity.what", &["agent.who"]),
    ("Communication", "subject", &["sender", "recipient"]),
    ("CommunicationRequest", "subject", &["sender", "recipient", "requester"]),
    ("Group", "member.entity", &[]),
    ("List", "subject", &["source"]),
    ("Person", "link.target", &[]),
    ("Provenance", "target", &["agent.who", "agent.onBehalfOf", "entity.what"]),
    ("Schedule", "actor", &[]),
];

/// `(type, element)` by which each owned type but Patient can be made some patient's.
pub fn owned_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUBJECTS.iter().copied().chain(PARTIES.iter().map(|(kind, at, _)| (*kind, *at)))
}

/// Where `kind` names parties, any of whom refuses the whole resource if they may be somebody else.
#[must_use]
pub fn parties(kind: &str) -> Vec<&'static str> {
    let found = PARTIES.iter().filter(|(known, ..)| *known == kind);
    found.flat_map(|(_, at, others)| std::iter::once(*at).chain(others.iter().copied())).collect()
}

/// Every type this module has an opinion on.
#[must_use]
pub fn known_types() -> Vec<&'static str> {
    let mut all: Vec<_> = owned_types().map(|(kind, _)| kind).collect();
    all.extend(["Patient", "Practitioner", "Organization", "Location", "Medication"]);
    all
}

/// Reads JSON and refuses duplicate members.
#[must_use]
pub fn read(text: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Strict>(text).ok().map(|strict| strict.0)
}

/// Whether the resource may be released to the session. Types it does not know may not.
#[must_use]
pub fn may_release(session: &Session<'_>, resource: &Value) -> bool {
    let (Some(kind), Some(id)) = (text(resource, "resourceType"), text(resource, "id")) else { return false };
    let owned = match kind {
        "Patient" => id == session.patient,
        kind if session.shared.contains(&kind) => !mentions_other(session, resource),
        kind if !parties(kind).is_empty() => {
            let found: Vec<&Value> = parties(kind).into_iter().flat_map(|path| at(resource, path)).collect();
            found.iter().any(|party| is_session(session, party))
                && found.iter().all(|party| !may_be_other(session, resource, party))
        }
        kind => SUBJECTS.iter().find(|(known, _)| *known == kind).is_some_and(|(_, element)| {
            let subjects = list(resource.get(*element));
            !subjects.is_empty() && subjects.iter().all(|subject| is_session(session, subject))
        }),
    };
    owned && granted(session, kind, resource) && contains_nothing_else(session, resource)
}

/// The first thing in a released body that must not be there: another patient's reference, a name or identifier at a
/// reference to something that is not in the body, or an upstream URL.
#[must_use]
pub fn leak(session: &Session<'_>, body: &Value) -> Option<String> {
    let mut there = Vec::new();
    visit(body, &mut |object| {
        if let (Some(Value::String(kind)), Some(Value::String(id))) = (object.get("resourceType"), object.get("id")) {
            there.push(format!("{kind}/{id}"));
        }
    });
    let mut found = None;
    visit(body, &mut |object| {
        if let Some(reference) = object.get("reference").and_then(Value::as_str) {
            let named = object.contains_key("display") || object.contains_key("identifier");
            let plain = reference.split("/_history/").next().unwrap_or("");
            let plain = plain.strip_prefix("https://pep/fhir/").unwrap_or(plain);
            let known = there.iter().any(|there| there == plain)
                || plain.starts_with('#')
                || plain.strip_prefix("Patient/") == Some(session.patient);
            if names_other(session, reference) || (named && !known) {
                found = Some(reference.to_owned());
            }
        }
        for value in object.values().filter_map(Value::as_str) {
            let below = value.strip_prefix(session.upstream);
            if below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#', '|'])) {
                found = Some(value.to_owned());
            }
        }
    });
    found
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

/// Everything at a dotted path, through lists.
fn at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.')
        .fold(vec![value], |found, name| {
            found.into_iter().flat_map(|value| list(Some(value))).filter_map(|value| value.get(name)).collect()
        })
        .into_iter()
        .flat_map(|value| list(Some(value)))
        .collect()
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(items)) => items.iter().flat_map(|item| list(Some(item))).collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    }
}

/// `Patient/id`, perhaps below the upstream base, perhaps with a version, and nothing else.
fn is_session(session: &Session<'_>, reference: &Value) -> bool {
    let Some(text) = text(reference, "reference") else { return false };
    let plain = format!("Patient/{}", session.patient);
    let absolute = format!("{}/{plain}", session.upstream);
    [plain, absolute].iter().any(|wanted| {
        text.strip_prefix(wanted.as_str()).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix("/_history/").is_some_and(|version| {
                    !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
                })
        })
    })
}

/// A reference text that speaks of some patient who is not provably the session's.
fn names_other(session: &Session<'_>, reference: &str) -> bool {
    let value = serde_json::json!({ "reference": reference });
    !is_session(session, &value)
        && !reference.starts_with('#')
        && reference.split(['/', '?', '#', '|']).any(|segment| segment == "Patient")
        && !public_own(session, reference)
}

/// A reference in public form to the session's own patient, as released bodies have.
fn public_own(session: &Session<'_>, reference: &str) -> bool {
    reference
        .strip_prefix("https://pep/fhir/Patient/")
        .is_some_and(|rest| rest.split('/').next() == Some(session.patient))
}

/// Anything that is neither the session's patient nor plainly a thing that is no person under care.
fn may_be_other(session: &Session<'_>, resource: &Value, reference: &Value) -> bool {
    if is_session(session, reference) {
        return false;
    }
    let Some(text) = text(reference, "reference") else { return true };
    if let Some(id) = text.strip_prefix('#') {
        // Something contained, which is judged apart; a person or a group there can stand for anybody.
        let inner = list(resource.get("contained"));
        let Some(inner) = inner.iter().find(|inner| inner.get("id").and_then(Value::as_str) == Some(id)) else {
            return true;
        };
        let kind = inner.get("resourceType").and_then(Value::as_str).unwrap_or("");
        return matches!(kind, "Patient" | "Group" | "Person") || kind.parse::<fhir::ResourceType>().is_err();
    }
    let text = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).map_or(text, |rest| {
        // What follows the host; a path above the type is the server's own business.
        rest.split_once('/').map_or("", |(_, path)| path)
    });
    let text = text.split("/_history/").next().unwrap_or("");
    match text.rsplit('/').collect::<Vec<_>>().as_slice() {
        [_, kind, ..] => matches!(*kind, "Patient" | "Group" | "Person") || kind.parse::<fhir::ResourceType>().is_err(),
        _ => true,
    }
}

fn mentions_other(session: &Session<'_>, resource: &Value) -> bool {
    let mut found = false;
    visit(resource, &mut |object| {
        let named = object.get("reference").and_then(Value::as_str).is_some_and(|text| names_other(session, text));
        found |= named;
    });
    found
}

fn granted(session: &Session<'_>, kind: &str, resource: &Value) -> bool {
    session.clauses.iter().any(|(wanted, pairs)| {
        *wanted == kind
            && pairs.iter().all(|(param, value)| {
                let found = match *param {
                    "category" | "code" | "status" | "identifier" => list(resource.get(*param)),
                    "_tag" => list(resource.get("meta").and_then(|meta| meta.get("tag"))),
                    _ => return false,
                };
                value.split(',').any(|wanted| found.iter().any(|found| has_token(wanted, found)))
            })
    })
}

fn has_token(wanted: &str, found: &Value) -> bool {
    let (system, code) = wanted.split_once('|').map_or((None, wanted), |(system, code)| (Some(system), code));
    match found {
        Value::String(text) => system.is_none() && text == code,
        Value::Bool(truth) => system.is_none() && code == if *truth { "true" } else { "false" },
        Value::Object(members) => {
            let codings = match members.get("coding") {
                Some(coding) => list(Some(coding)),
                None => vec![found],
            };
            codings.iter().any(|coding| {
                ["code", "value"].iter().any(|name| {
                    let Some(theirs) = text(coding, name) else { return false };
                    (code.is_empty() || theirs == code)
                        && match system {
                            None => true,
                            Some("") => coding.get("system").is_none(),
                            Some(system) => text(coding, "system") == Some(system),
                        }
                })
            })
        }
        _ => false,
    }
}

/// `contained` holds granted types only, no patient, nobody else's reference; and nowhere else stands a resource.
fn contains_nothing_else(session: &Session<'_>, resource: &Value) -> bool {
    let Value::Object(members) = resource else { return false };
    let inner = match members.get("contained") {
        None => &Vec::new(),
        Some(Value::Array(inner)) => inner,
        Some(_) => return false,
    };
    let contained_fit = inner.iter().all(|inner| {
        let Some(kind) = text(inner, "resourceType") else { return false };
        kind != "Patient"
            && granted(session, kind, inner)
            && !mentions_other(session, inner)
            && inner.get("contained").is_none()
    });
    let mut nested = 0;
    visit(resource, &mut |object| nested += usize::from(object.contains_key("resourceType")));
    contained_fit && nested == 1 + inner.len()
}

fn visit<'v>(value: &'v Value, each: &mut dyn FnMut(&'v Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            each(members);
            members.values().for_each(|value| visit(value, each));
        }
        Value::Array(items) => items.iter().for_each(|value| visit(value, each)),
        _ => {}
    }
}

/// A tree whose objects have no member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(out))
    }
}

#[test]
fn the_naive_opinion_on_the_fixture() {
    let session = Session {
        patient: "P1",
        upstream: "https://ehr/r4",
        clauses: &[("Observation", &[]), ("Patient", &[])],
        shared: &["Practitioner"],
    };
    for (body, expected) in [
        (r#"{"resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P1"}}"#, true),
        (r#"{"resourceType":"Observation","id":"O2","subject":{"reference":"Patient/P2"}}"#, false),
        (r#"{"resourceType":"Observation","id":"O3","subject":{"reference":"Patient/P12"}}"#, false),
        (r#"{"resourceType":"Observation","id":"O4","subject":{"reference":"Patient/P1/_history/3"}}"#, true),
        (r#"{"resourceType":"Observation","id":"O5"}"#, false),
        (r#"{"resourceType":"Patient","id":"P1"}"#, true),
        (r#"{"resourceType":"Patient","id":"P2"}"#, false),
        (r#"{"resourceType":"Condition","id":"C1","subject":{"reference":"Patient/P1"}}"#, false),
    ] {
        let value = read(body.as_bytes()).unwrap_or_default();
        assert_eq!(may_release(&session, &value), expected, "{body}");
    }
    assert!(read(br#"{"a":1,"a":2}"#).is_none());
}
