//! The CapabilityStatement: says what this is, and what it is not.

use fhir::params::{ParamKind, SearchParam};
use serde_json::{Value, json};

use crate::search::table;
use crate::serve::route::State;
use crate::shelf::Shelf;
use crate::time;

/// The statement for what is on the shelf.
pub(crate) fn statement(shelf: &Shelf, state: &State) -> Value {
    let resources: Vec<Value> = shelf.kinds().map(resource).collect();
    let mut rest = json!({
        "mode": "server",
        "resource": resources,
        "interaction": [{"code": "transaction"}, {"code": "batch"}, {"code": "history-system"}]
    });
    let endpoints = [("token", &state.security), ("authorize", &state.authorize)];
    let endpoints: Vec<Value> =
        endpoints.into_iter().filter_map(|(name, url)| Some(json!({"url": name, "valueUri": url.as_ref()?}))).collect();
    if let (Some(rest), false) = (rest.as_object_mut(), endpoints.is_empty()) {
        let service = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]});
        let uris = json!([{"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": endpoints}]);
        rest.insert("security".to_owned(), json!({"service": [service], "extension": uris}));
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": time::date(state.now),
        "publisher": "Hilum",
        "kind": "instance",
        "software": {"name": "Hilum demonstration upstream", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {
            "description": "A demonstration upstream with synthetic patients, held in memory; not a FHIR server product.",
            "url": state.base
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [rest]
    })
}

fn resource(kind: &str) -> Value {
    let parameters: Vec<Value> =
        table::all(kind).map(|parameter| json!({"name": parameter.name, "type": parameter.kind.name()})).collect();
    let includes: Vec<String> = table::all(kind)
        .filter(|parameter| parameter.kind == ParamKind::Reference)
        .map(|parameter| format!("{kind}:{}", parameter.name))
        .collect();
    let reverse: Vec<String> = ["Encounter", "Observation", "Provenance"]
        .into_iter()
        .flat_map(|source| table::all(source).map(move |parameter| (source, parameter)))
        .filter(|(_, parameter)| parameter.kind == ParamKind::Reference && targets(parameter, kind))
        .map(|(source, parameter)| format!("{source}:{}", parameter.name))
        .collect();
    let interactions: Vec<Value> = INTERACTIONS.iter().map(|code| json!({ "code": code })).collect();
    let mut resource = json!({
        "type": kind,
        "interaction": interactions,
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": false,
        "conditionalRead": "full-support",
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
        "searchInclude": includes,
        "searchRevInclude": reverse,
        "searchParam": parameters
    });
    let operation = OPERATIONS.iter().find(|(owner, ..)| *owner == kind);
    if let (Some(members), Some((_, name, definition))) = (resource.as_object_mut(), operation) {
        members.insert("operation".to_owned(), json!([{"name": name, "definition": definition}]));
    }
    resource
}

/// What can be done with every type.
const INTERACTIONS: [&str; 7] = ["read", "vread", "history-instance", "search-type", "create", "update", "delete"];

/// Operations by the type they are called on.
const OPERATIONS: [(&str, &str, &str); 2] = [
    ("Patient", "everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything"),
    ("Observation", "lastn", "http://hl7.org/fhir/OperationDefinition/Observation-lastn"),
];

fn targets(parameter: &SearchParam, kind: &str) -> bool {
    kind.parse().is_ok_and(|kind| parameter.targets.contains(&kind))
}
