//! The CapabilityStatement: says what this is, and what it is not.

use fhir::params::ParamKind;
use serde_json::{Value, json};

use crate::search::table;
use crate::shelf::Shelf;
use crate::time;

/// The statement for what is on the shelf.
pub(crate) fn statement(shelf: &Shelf, base: &str, now: i64, token_url: Option<&str>) -> Value {
    let resources: Vec<Value> = shelf.kinds().map(resource).collect();
    let mut rest = json!({"mode": "server", "resource": resources});
    if let (Some(rest), Some(token_url)) = (rest.as_object_mut(), token_url) {
        let service = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]});
        let uris = json!([{"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": [{"url": "token", "valueUri": token_url}]}]);
        rest.insert("security".to_owned(), json!({"service": [service], "extension": uris}));
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": time::date(now),
        "publisher": "Hilum",
        "kind": "instance",
        "software": {"name": "Hilum demonstration upstream", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {
            "description": "A demonstration upstream with synthetic patients, held in memory; not a FHIR server product.",
            "url": base
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
    json!({
        "type": kind,
        "interaction": [{"code": "read"}, {"code": "vread"}, {"code": "search-type"}],
        "versioning": "versioned",
        "readHistory": true,
        "conditionalRead": "full-support",
        "searchInclude": includes,
        "searchParam": parameters
    })
}
