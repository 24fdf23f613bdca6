//! `/metadata`: only what is enforced (ME-02), the same for everybody, made once at start.

use fhir::ResourceType;
use fhir::owner::OwnerRule;
use fhir::params::ParamKind;
use serde_json::{Value, json};

use crate::settings::TenantSettings;

/// The date of the interface this statement describes; changes with it.
const INTERFACE_DATE: &str = "2026-11-23";

/// The CapabilityStatement of one tenant, as JSON.
pub fn statement(tenant: &TenantSettings) -> Vec<u8> {
    let resources: Vec<Value> = ResourceType::all().filter(|kind| offered(tenant, *kind)).map(resource).collect();
    let oauth =
        |name: &str, path: &str| json!({ "url": name, "valueUri": format!("{}/oauth/{path}", tenant.issuer()) });
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": INTERFACE_DATE,
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "software": { "name": "Hilum", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": format!("{}: the FHIR gate", tenant.name), "url": tenant.fhir_base() },
        "rest": [{
            "mode": "server",
            "documentation": "Every answer is confined to the patient of the session and to the scopes of its token.",
            "security": {
                "cors": false,
                "service": [{
                    "coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR"
                    }],
                    "text": "SMART on FHIR: tokens are bound to one patient, one task and one integration"
                }],
                "extension": [{
                    "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                    "extension": [oauth("token", "token"), oauth("revoke", "revoke"), oauth("introspect", "introspect")]
                }]
            },
            "resource": resources
        }]
    })
    .to_string()
    .into_bytes()
}

/// Types some session could be granted here: Patient, the compartment, owner rules, and what this tenant shares.
fn offered(tenant: &TenantSettings, kind: ResourceType) -> bool {
    if kind == ResourceType::BINARY {
        return false;
    }
    match fhir::owner::rule(kind) {
        OwnerRule::Outside => tenant.upstream.shared.contains(&kind) && fhir::owner::shareable(kind),
        _ => true,
    }
}

fn resource(kind: ResourceType) -> Value {
    let params: Vec<Value> = fhir::params::all(kind)
        .iter()
        .filter(|param| !matches!(param.kind, ParamKind::Composite | ParamKind::Special))
        .map(|param| json!({ "name": param.name, "type": param.kind.name() }))
        .collect();
    let includes: Vec<String> = fhir::params::all(kind)
        .iter()
        .filter(|param| param.kind == ParamKind::Reference)
        .map(|param| format!("{kind}:{}", param.name))
        .collect();
    let mut out = json!({
        "type": kind.name(),
        "interaction": [{ "code": "read" }, { "code": "search-type" }],
        "versioning": "no-version",
        "readHistory": false,
        "searchParam": params,
    });
    if let (false, Some(object)) = (includes.is_empty(), out.as_object_mut()) {
        object.insert("searchInclude".into(), json!(includes));
    }
    out
}
