//! `/metadata`: only what is enforced (ME-02, S1-35). Without a token it says the most that any session may be given, with one
//! what this session may do.

use std::collections::BTreeSet;

use domain::{Actions, Operation, Session};
use fhir::ResourceType;
use fhir::params::{self, ParamKind};
use fhir::request::ExportOf;
use orgpolicy::Action;
use policy::{Offer, TenantRules};
use serde_json::{Value, json};

use super::veil;
use crate::registry::Standing;
use crate::settings::TenantSettings;

/// The date of the interface this statement describes; changes with it.
const INTERFACE_DATE: &str = "2026-12-01";

/// The CapabilityStatement of one tenant for everybody, as JSON.
pub fn statement(tenant: &TenantSettings) -> Vec<u8> {
    let offers = policy::offers_at_most(&|kind| tenant.upstream.shared.contains(&kind));
    document(tenant, &offers, &[Operation::Everything, Operation::LastN].into(), Seen::AsItIs, &|_, _| true)
}

/// How a session is told of its patient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// As everything is.
    AsItIs,
    /// Under surrogates: it reads and searches, and nothing else.
    DeIdentified,
}

/// The same for one session; what the organisation's policies or its role do not permit is not offered.
pub fn own(
    tenant: &TenantSettings,
    rules: &TenantRules,
    session: &Session,
    standing: &Standing,
    seen: Seen,
    permits: Permits<'_>,
) -> Vec<u8> {
    let veiled = |action: Action, kind: ResourceType| {
        matches!(action, Action::Read | Action::Search | Action::LastN)
            && kind != ResourceType::BINARY
            && permits(action, kind)
    };
    let permits: Permits<'_> = if seen == Seen::DeIdentified { &veiled } else { permits };
    let mut offers = policy::offers(&standing.integration, &standing.profile, session, rules);
    offers.iter_mut().for_each(|offer| offer.included &= permits(Action::Search, offer.kind));
    document(tenant, &offers, &standing.profile.operations, seen, permits)
}

/// Whether an action on a type may be offered.
type Permits<'a> = &'a dyn Fn(Action, ResourceType) -> bool;

fn document(
    tenant: &TenantSettings,
    offers: &[Offer],
    operations: &BTreeSet<Operation>,
    seen: Seen,
    permits: Permits<'_>,
) -> Vec<u8> {
    let resources: Vec<Value> =
        offers.iter().filter_map(|offer| resource(*offer, offers, operations, seen, permits)).collect();
    let whole: &[&str] = if seen == Seen::DeIdentified { &["batch"] } else { &["batch", "transaction"] };
    written(
        tenant,
        "Every answer is confined to the patient of the session and to the scopes of its token.",
        resources,
        whole,
    )
}

/// For a session of a population: what may be exported, by the one operation that begins it; nothing is read one by one.
pub fn population(tenant: &TenantSettings, of: &ExportOf, kinds: &[ResourceType]) -> Vec<u8> {
    let (base, operation) = match of {
        ExportOf::Group(_) => (ResourceType::GROUP, "group-export"),
        ExportOf::AllPatients => (ResourceType::PATIENT, "patient-export"),
    };
    let definition = format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{operation}");
    let export = json!([{ "name": "export", "definition": definition }]);
    let without = (!kinds.contains(&base)).then_some(base);
    let resources = kinds.iter().copied().chain(without).map(|kind| {
        let mut out = json!({ "type": kind.name() });
        if let Some(members) = out.as_object_mut().filter(|_| kind == base) {
            members.insert("operation".into(), export.clone());
        }
        out
    });
    let says = "What may be had is the export of one approved population, in the types that are listed.";
    written(tenant, says, resources.collect(), &[])
}

fn written(tenant: &TenantSettings, says: &str, resources: Vec<Value>, whole: &[&str]) -> Vec<u8> {
    let whole: Vec<Value> = whole.iter().map(|code| json!({ "code": code })).collect();
    let oauth =
        |name: &str, path: &str| json!({ "url": name, "valueUri": format!("{}/oauth/{path}", tenant.issuer()) });
    let mut endpoints = vec![oauth("token", "token"), oauth("revoke", "revoke"), oauth("introspect", "introspect")];
    if tenant.offers().people() {
        endpoints.extend([oauth("authorize", "authorize"), oauth("register", "register"), oauth("manage", "grants")]);
    }
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
            "documentation": says,
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
                    "extension": endpoints
                }]
            },
            "resource": resources,
            "interaction": whole
        }]
    })
    .to_string()
    .into_bytes()
}

/// The interactions of R4 that each letter opens (SMART App Launch 2.2, "Scopes for requesting FHIR Resources").
fn interactions(offer: Offer, permits: Permits<'_>) -> Vec<&'static str> {
    type Opened = &'static [(&'static str, Action)];
    let (binary, patient) = (offer.kind == ResourceType::BINARY, offer.kind == ResourceType::PATIENT);
    let reads: Opened = if binary {
        &[("read", Action::Binary)]
    } else {
        &[("read", Action::Read), ("vread", Action::Vread), ("history-instance", Action::History)]
    };
    let letters: [(Actions, Opened); 5] = [
        (Actions::READ, reads),
        (Actions::SEARCH, if binary { &[] } else { &[("search-type", Action::Search)] }),
        (Actions::CREATE, if patient { &[] } else { &[("create", Action::Create)] }),
        (Actions::UPDATE, &[("update", Action::Update), ("patch", Action::Patch)]),
        (Actions::DELETE, if patient { &[] } else { &[("delete", Action::Delete)] }),
    ];
    let granted = letters.iter().filter(|(letter, _)| offer.actions.contains(*letter));
    let opened = granted.flat_map(|(_, opened)| opened.iter());
    opened.filter(|(_, action)| permits(*action, offer.kind)).map(|(code, _)| *code).collect()
}

/// `None` if nothing is left of it.
fn resource(
    offer: Offer,
    offers: &[Offer],
    operations: &BTreeSet<Operation>,
    seen: Seen,
    permits: Permits<'_>,
) -> Option<Value> {
    let kind = offer.kind;
    let codes = interactions(offer, permits);
    if codes.is_empty() {
        return None;
    }
    let reads = offer.actions.contains(Actions::READ) && kind != ResourceType::BINARY;
    let mut out = json!({
        "type": kind.name(),
        "interaction": codes.iter().map(|code| json!({ "code": code })).collect::<Vec<_>>(),
        "versioning": match seen {
            Seen::DeIdentified => "no-version",
            Seen::AsItIs if codes.contains(&"update") => "versioned-update",
            Seen::AsItIs => "versioned",
        },
        "readHistory": codes.contains(&"history-instance"),
        "updateCreate": false,
        "conditionalCreate": false,
        "conditionalRead": if seen == Seen::DeIdentified { "not-supported" } else { "not-match" },
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
    });
    let members = out.as_object_mut()?;
    if codes.contains(&"search-type") {
        let included = |kind: ResourceType| offers.iter().any(|offer| offer.kind == kind && offer.included);
        let searched = params::all(kind).iter();
        let shown = searched.filter(|param| match seen {
            Seen::AsItIs => !matches!(param.kind, ParamKind::Composite | ParamKind::Special),
            Seen::DeIdentified => veil::is_offered(kind, param),
        });
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
            Operation::Everything => kind == ResourceType::PATIENT && reads && permits(Action::Everything, kind),
            Operation::LastN => {
                kind == ResourceType::OBSERVATION
                    && offer.actions.contains(Actions::SEARCH)
                    && permits(Action::LastN, kind)
            }
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
    Some(out)
}
