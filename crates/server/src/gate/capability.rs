//! `/metadata`: only what is enforced (ME-02, S1-35). Without a token it says the most that any session may be given, with one
//! what this session may do.

use std::collections::BTreeSet;

use domain::{Actions, Operation, Session};
use fhir::ResourceType;
use fhir::params::{self, ParamKind};
use policy::{Offer, TenantRules};
use serde_json::{Value, json};

use crate::registry::Standing;
use crate::settings::TenantSettings;

/// The date of the interface this statement describes; changes with it.
const INTERFACE_DATE: &str = "2026-11-24";

/// The CapabilityStatement of one tenant for everybody, as JSON.
pub fn statement(tenant: &TenantSettings) -> Vec<u8> {
    let offers = policy::offers_at_most(&|kind| tenant.upstream.shared.contains(&kind));
    document(tenant, &offers, &[Operation::Everything, Operation::LastN].into())
}

/// The same for one session.
pub fn own(tenant: &TenantSettings, rules: &TenantRules, session: &Session, standing: &Standing) -> Vec<u8> {
    let offers = policy::offers(&standing.integration, &standing.profile, session, rules);
    document(tenant, &offers, &standing.profile.operations)
}

fn document(tenant: &TenantSettings, offers: &[Offer], operations: &BTreeSet<Operation>) -> Vec<u8> {
    let resources: Vec<Value> = offers.iter().map(|offer| resource(*offer, offers, operations)).collect();
    let oauth =
        |name: &str, path: &str| json!({ "url": name, "valueUri": format!("{}/oauth/{path}", tenant.issuer()) });
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": INTERFACE_DATE,
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
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
            "resource": resources,
            "interaction": [{ "code": "batch" }, { "code": "transaction" }]
        }]
    })
    .to_string()
    .into_bytes()
}

/// The interactions of R4 that each letter opens (SMART App Launch 2.2, "Scopes for requesting FHIR Resources").
fn interactions(offer: Offer) -> Vec<Value> {
    let binary = offer.kind == ResourceType::BINARY;
    let letters: [(Actions, &[&str]); 5] = [
        (Actions::READ, if binary { &["read"] } else { &["read", "vread", "history-instance"] }),
        (Actions::SEARCH, if binary { &[] } else { &["search-type"] }),
        (Actions::CREATE, if offer.kind == ResourceType::PATIENT { &[] } else { &["create"] }),
        (Actions::UPDATE, &["update", "patch"]),
        (Actions::DELETE, if offer.kind == ResourceType::PATIENT { &[] } else { &["delete"] }),
    ];
    letters
        .iter()
        .filter(|(letter, _)| offer.actions.contains(*letter))
        .flat_map(|(_, codes)| codes.iter().map(|code| json!({ "code": code })))
        .collect()
}

fn resource(offer: Offer, offers: &[Offer], operations: &BTreeSet<Operation>) -> Value {
    let kind = offer.kind;
    let reads = offer.actions.contains(Actions::READ) && kind != ResourceType::BINARY;
    let mut out = json!({
        "type": kind.name(),
        "interaction": interactions(offer),
        "versioning": if offer.actions.contains(Actions::UPDATE) { "versioned-update" } else { "versioned" },
        "readHistory": reads,
        "updateCreate": false,
        "conditionalCreate": false,
        "conditionalRead": "not-match",
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
    });
    let Some(members) = out.as_object_mut() else { return out };
    if offer.actions.contains(Actions::SEARCH) && kind != ResourceType::BINARY {
        let included = |kind: ResourceType| offers.iter().any(|offer| offer.kind == kind && offer.included);
        let searched = params::all(kind).iter();
        let shown = searched.filter(|param| !matches!(param.kind, ParamKind::Composite | ParamKind::Special));
        let list: Vec<Value> = shown.map(|param| json!({ "name": param.name, "type": param.kind.name() })).collect();
        members.insert("searchParam".into(), json!(list));
        let references = |kind: ResourceType| params::all(kind).iter().filter(|p| p.kind == ParamKind::Reference);
        let includes: Vec<String> = references(kind)
            .filter(|param| param.targets.iter().any(|target| included(*target)))
            .map(|param| format!("{kind}:{}", param.name))
            .collect();
        let revincludes: Vec<String> = offers
            .iter()
            .filter(|other| other.included)
            .flat_map(|other| references(other.kind).map(move |param| (other.kind, param)))
            .filter(|(_, param)| param.targets.contains(&kind))
            .map(|(other, param)| format!("{other}:{}", param.name))
            .collect();
        for (name, list) in [("searchInclude", includes), ("searchRevInclude", revincludes)] {
            if !list.is_empty() {
                members.insert(name.into(), json!(list));
            }
        }
    }
    let own: Vec<Value> = operations
        .iter()
        .filter(|operation| match operation {
            Operation::Everything => kind == ResourceType::PATIENT && reads,
            Operation::LastN => kind == ResourceType::OBSERVATION && offer.actions.contains(Actions::SEARCH),
        })
        .map(|operation| {
            let definition = match operation {
                Operation::Everything => "http://hl7.org/fhir/OperationDefinition/Patient-everything",
                Operation::LastN => "http://hl7.org/fhir/OperationDefinition/Observation-lastn",
            };
            json!({ "name": operation.code(), "definition": definition })
        })
        .collect();
    if !own.is_empty() {
        members.insert("operation".into(), json!(own));
    }
    out
}
