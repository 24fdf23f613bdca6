//! Which element a search parameter looks at, for the types this upstream holds.

use std::collections::HashMap;
use std::sync::LazyLock;

/// How a parameter's values are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Token,
    Reference,
    Text,
    Date,
    Quantity,
    Uri,
}

impl Kind {
    /// Its name in a CapabilityStatement.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Text => "string",
            Self::Date => "date",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
        }
    }
}

/// One search parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) paths: Vec<Vec<&'static str>>,
    /// Only references to a Patient count.
    pub(crate) patient_only: bool,
}

/// Parameters every type has: `name kind path[,path]`.
const COMMON: &str = "\
_id token id
_lastUpdated date meta.lastUpdated
_tag token meta.tag
_security token meta.security
_profile uri meta.profile
_source uri meta.source";

/// `Type: name kind path[,path] ; …`. A kind `patient` is a reference of which only Patients count.
const TABLE: &str = "\
Account: identifier token identifier; patient patient subject; subject reference subject; status token status
AllergyIntolerance: patient patient patient; code token code,reaction.substance; clinical-status token clinicalStatus; verification-status token verificationStatus; category token category; criticality token criticality; date date recordedDate; recorder reference recorder; identifier token identifier; type token type
Appointment: patient patient participant.actor; actor reference participant.actor; practitioner reference participant.actor; location reference participant.actor; date date start; status token status; service-type token serviceType; specialty token specialty; appointment-type token appointmentType; part-status token participant.status; identifier token identifier; slot reference slot; reason-code token reasonCode
AuditEvent: patient patient agent.who,entity.what; agent reference agent.who; entity reference entity.what; date date recorded; type token type; action token action
CarePlan: patient patient subject; subject reference subject; status token status; category token category; date date period; identifier token identifier; encounter reference encounter; activity-reference reference activity.reference
CareTeam: patient patient subject; subject reference subject; status token status; category token category; participant reference participant.member; identifier token identifier; date date period; encounter reference encounter
Communication: patient patient subject; subject reference subject; sender reference sender; recipient reference recipient; status token status; sent date sent
Composition: patient patient subject; subject reference subject; status token status; type token type; date date date; entry reference section.entry
Condition: patient patient subject; subject reference subject; code token code; category token category; clinical-status token clinicalStatus; verification-status token verificationStatus; severity token severity; onset-date date onset; recorded-date date recordedDate; encounter reference encounter; asserter reference asserter; identifier token identifier
Coverage: patient patient beneficiary; beneficiary reference beneficiary; subscriber reference subscriber; policy-holder reference policyHolder; payor reference payor; status token status; identifier token identifier; type token type
Device: patient patient patient; identifier token identifier; status token status; type token type
DiagnosticReport: patient patient subject; subject reference subject; status token status; code token code; category token category; date date effective; result reference result; encounter reference encounter; identifier token identifier
DocumentReference: patient patient subject; subject reference subject; status token status; type token type; category token category; date date date; period date context.period; author reference author; encounter reference context.encounter; identifier token masterIdentifier,identifier; contenttype token content.attachment.contentType; relatesto reference relatesTo.target
Encounter: patient patient subject; subject reference subject; status token status; class token class; type token type; date date period; participant reference participant.individual; practitioner reference participant.individual; location reference location.location; service-provider reference serviceProvider; appointment reference appointment; identifier token identifier; reason-code token reasonCode
Goal: patient patient subject; subject reference subject; lifecycle-status token lifecycleStatus; start-date date start
Group: member reference member.entity; type token type; code token code; actual token actual; identifier token identifier; managing-entity reference managingEntity
Immunization: patient patient patient; status token status; vaccine-code token vaccineCode; date date occurrence; performer reference performer.actor; location reference location; identifier token identifier
List: patient patient subject; subject reference subject; item reference entry.item; status token status; code token code; date date date; title string title; source reference source
Location: name string name,alias; address string address; address-city string address.city; address-state string address.state; address-postalcode string address.postalCode; organization reference managingOrganization; status token status; type token type; identifier token identifier; partof reference partOf
Medication: code token code; status token status; identifier token identifier; form token form; ingredient-code token ingredient.item
MedicationRequest: patient patient subject; subject reference subject; status token status; intent token intent; code token medication; medication reference medication; authoredon date authoredOn; requester reference requester; encounter reference encounter; identifier token identifier; category token category; priority token priority
MedicationStatement: patient patient subject; subject reference subject; status token status; code token medication; medication reference medication; effective date effective
Observation: patient patient subject; subject reference subject; category token category; code token code,component.code; combo-code token code,component.code; component-code token component.code; date date effective; status token status; encounter reference encounter; performer reference performer; focus reference focus; has-member reference hasMember; derived-from reference derivedFrom; value-quantity quantity value; value-concept token value; value-string string value; identifier token identifier; specimen reference specimen; device reference device; based-on reference basedOn
Organization: name string name,alias; address string address; address-city string address.city; address-state string address.state; address-postalcode string address.postalCode; active token active; type token type; identifier token identifier; partof reference partOf
Patient: name string name; family string name.family; given string name.given; phonetic string name; birthdate date birthDate; gender token gender; identifier token identifier; active token active; telecom token telecom; phone token telecom; email token telecom; address string address; address-city string address.city; address-state string address.state; address-postalcode string address.postalCode; address-country string address.country; general-practitioner reference generalPractitioner; organization reference managingOrganization; link reference link.other; deceased token deceased; language token communication.language; death-date date deceased
Person: patient patient link.target; link reference link.target; name string name; identifier token identifier
Practitioner: name string name; family string name.family; given string name.given; gender token gender; active token active; identifier token identifier; telecom token telecom; address string address; address-city string address.city; address-state string address.state
PractitionerRole: practitioner reference practitioner; organization reference organization; location reference location; role token code; specialty token specialty; active token active; identifier token identifier; date date period
Procedure: patient patient subject; subject reference subject; code token code; status token status; date date performed; encounter reference encounter; performer reference performer.actor; identifier token identifier; category token category
Provenance: patient patient target; target reference target; agent reference agent.who; entity reference entity.what; recorded date recorded; agent-type token agent.type
RelatedPerson: patient patient patient; relationship token relationship; name string name; gender token gender; birthdate date birthDate; active token active; identifier token identifier; telecom token telecom; address string address
Schedule: actor reference actor; active token active; date date planningHorizon; specialty token specialty; identifier token identifier
ServiceRequest: patient patient subject; subject reference subject; code token code; status token status; intent token intent; authored date authoredOn; requester reference requester; encounter reference encounter; category token category; identifier token identifier
Slot: schedule reference schedule; status token status; start date start; service-type token serviceType; identifier token identifier
Specimen: patient patient subject; subject reference subject; status token status; type token type; identifier token identifier
Task: patient patient for; subject reference for; owner reference owner; requester reference requester; focus reference focus; status token status; intent token intent; code token code; authored-on date authoredOn; encounter reference encounter; identifier token identifier";

static TABLES: LazyLock<HashMap<&'static str, Vec<Parameter>>> =
    LazyLock::new(|| TABLE.lines().filter_map(row).collect());
static COMMON_TABLE: LazyLock<Vec<Parameter>> = LazyLock::new(|| COMMON.lines().filter_map(parameter).collect());

fn row(line: &'static str) -> Option<(&'static str, Vec<Parameter>)> {
    let (kind, parameters) = line.split_once(": ")?;
    Some((kind, parameters.split("; ").filter_map(parameter).collect()))
}

fn parameter(text: &'static str) -> Option<Parameter> {
    let mut words = text.split(' ');
    let (name, kind, paths) = (words.next()?, words.next()?, words.next()?);
    let patient_only = kind == "patient";
    let kind = match kind {
        "token" => Kind::Token,
        "reference" | "patient" => Kind::Reference,
        "string" => Kind::Text,
        "date" => Kind::Date,
        "quantity" => Kind::Quantity,
        "uri" => Kind::Uri,
        _ => return None,
    };
    let paths = paths.split(',').map(|path| path.split('.').collect()).collect();
    Some(Parameter { name, kind, paths, patient_only })
}

/// The parameter of that name on that type.
pub(crate) fn find(kind: &str, name: &str) -> Option<&'static Parameter> {
    let own = TABLES.get(kind).map(Vec::as_slice).unwrap_or_default();
    own.iter().chain(COMMON_TABLE.iter()).find(|parameter| parameter.name == name)
}

/// Every parameter of a type.
pub(crate) fn all(kind: &str) -> impl Iterator<Item = &'static Parameter> {
    TABLES.get(kind).into_iter().flatten().chain(COMMON_TABLE.iter())
}

#[test]
fn the_table_reads_whole() {
    assert_eq!(TABLES.len(), TABLE.lines().count());
    assert_eq!(COMMON_TABLE.len(), 6);
    for (line, kind) in TABLE.lines().map(|line| (line, line.split(':').next().unwrap())) {
        assert!(kind.parse::<fhir::ResourceType>().is_ok(), "`{kind}`");
        assert_eq!(TABLES[kind].len(), line.split("; ").count(), "`{kind}`");
    }
    assert!(find("Observation", "patient").is_some_and(|p| p.patient_only));
    assert!(find("Observation", "nonsense").is_none());
}
