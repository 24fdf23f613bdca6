//! The tables against HL7's raw definitions and examples, with expectations derived here and not by the generator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fhir::owner::{self, OwnerRule};
use fhir::params::{self, ParamKind};
use fhir::references::{self, Place, Reference};
use fhir::{ResourceType, compartment, summary};
use serde_json::Value;

/// The folder of raw data, or `None` with a printed reason: it is not part of the repository.
fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no `{}`", path.display());
    None
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// (type, parameter) to its definition, for parameters defined on concrete types.
fn definitions(bundle: &Value) -> BTreeMap<(ResourceType, String), &Value> {
    let mut all = BTreeMap::new();
    for entry in bundle["entry"].as_array().unwrap() {
        let param = &entry["resource"];
        for base in strings(&param["base"]).into_iter().filter_map(|base| base.parse().ok()) {
            all.insert((base, param["code"].as_str().unwrap().to_owned()), param);
        }
    }
    all
}

/// Stems of an expression on `kind`: `(element names, cast, only Patient)`, by cutting text at known words.
fn stems(expression: &str, kind: ResourceType) -> Vec<(String, Option<String>, bool)> {
    let mut found = Vec::new();
    for alternative in expression.split('|').map(str::trim) {
        let patient_only = alternative.contains("resolve() is Patient");
        let text = alternative.split(".where(").next().unwrap().replace(['(', ')'], " ").replace(".as ", " as ");
        let (path, cast) = text.split_once(" as ").map_or((text.as_str(), None), |(path, cast)| (path, Some(cast)));
        let Some(path) = path.trim().strip_prefix(&format!("{kind}.")) else { continue };
        let cast = cast.map(|cast| cast.split(['.', ' ']).find(|word| !word.is_empty()).unwrap().to_lowercase());
        found.push((path.to_owned(), cast, patient_only));
    }
    found
}

fn stands_for(path: &str, stem: &(String, Option<String>, bool)) -> bool {
    match &stem.1 {
        None => path.starts_with(&stem.0),
        // `value as Quantity` is `valueQuantity`; a cast on an element that is no choice changes nothing.
        Some(cast) => path.to_lowercase().starts_with(&format!("{}{cast}", stem.0.to_lowercase())),
    }
}

#[test]
fn the_compartment_is_the_one_of_the_definition() {
    let Some(folder) = data("definitions-r4") else { return };
    let raw = load(&folder.join("compartmentdefinition-patient.json"));
    let search = load(&folder.join("search-parameters.json"));
    let definitions = definitions(&search);
    let mut inside = 0;
    for item in raw["resource"].as_array().unwrap() {
        let kind: ResourceType = item["code"].as_str().unwrap().parse().unwrap();
        let mut expected: BTreeMap<String, bool> = BTreeMap::new();
        for name in strings(&item["param"]) {
            let definition = definitions[&(kind, name.to_owned())];
            for (path, cast, only) in stems(definition["expression"].as_str().unwrap(), kind) {
                assert!(cast.is_none_or(|cast| cast == "reference"), "{kind} {name}");
                let slot = expected.entry(path).or_insert(true);
                *slot &= only;
            }
        }
        let paths = compartment::patient_paths(kind);
        let actual: BTreeMap<String, bool> = paths.iter().map(|p| (p.elements.join("."), p.patient_only)).collect();
        assert_eq!(actual, expected, "{kind}");
        assert_eq!(actual.len(), paths.len(), "{kind}");
        inside += usize::from(!paths.is_empty());
        for path in paths {
            assert!(references::may_be_patient(kind, path.elements), "{kind} {path:?}");
        }
    }
    assert_eq!(inside, 66, "the R4 patient compartment has 66 types");
}

#[test]
fn every_parameter_of_r4_is_there_and_no_other() {
    let Some(folder) = data("definitions-r4") else { return };
    let raw = load(&folder.join("search-parameters.json"));
    let definitions = definitions(&raw);
    let common = ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"];
    for kind in ResourceType::all() {
        let own = definitions.keys().filter(|(base, _)| *base == kind).map(|(_, name)| name.as_str());
        let expected: BTreeSet<&str> = own.chain(common).collect();
        let actual: Vec<&str> = params::all(kind).iter().map(|param| param.name).collect();
        assert_eq!(actual, expected.into_iter().collect::<Vec<_>>(), "{kind}");
    }
    for ((kind, name), definition) in definitions {
        let param = params::find(kind, &name).unwrap();
        assert_eq!(format!("{:?}", param.kind).to_lowercase(), definition["type"].as_str().unwrap(), "{kind} {name}");
        let expression = definition["expression"].as_str().unwrap_or_default();
        let raw_targets = strings(&definition["target"]);
        let other_only = expression.contains("resolve() is ") && !expression.contains("resolve() is Patient");
        assert_eq!(param.patient, raw_targets.contains(&"Patient") && !other_only, "{kind} {name} {expression}");
        // Parameters is in R4 and in no list of targets.
        for target in param.targets.iter().filter(|target| target.name() != "Parameters") {
            assert!(raw_targets.contains(&target.name()), "{kind} {name} {target}");
        }
        let stems = stems(expression, kind);
        for path in param.paths {
            let joined = path.elements.join(".");
            assert!(stems.iter().any(|stem| stands_for(&joined, stem)), "{kind} {name} {joined}: {expression}");
        }
        if param.evaluable() {
            let paths: Vec<String> = param.paths.iter().map(|path| path.elements.join(".")).collect();
            for stem in &stems {
                assert!(paths.iter().any(|path| stands_for(path, stem)), "{kind} {name} {stem:?}");
            }
            assert!(!expression.contains("exists()") && !expression.contains("type="), "{kind} {name}");
        }
    }
}

#[test]
fn sr_03_parameters_that_can_name_a_patient_are_known() {
    for (kind, name, patient) in [
        (ResourceType::OBSERVATION, "patient", true),
        (ResourceType::OBSERVATION, "subject", true),
        (ResourceType::OBSERVATION, "performer", true),
        (ResourceType::OBSERVATION, "focus", true),
        (ResourceType::OBSERVATION, "encounter", false),
        (ResourceType::OBSERVATION, "code", false),
        (ResourceType::APPOINTMENT, "practitioner", false),
        (ResourceType::APPOINTMENT, "actor", true),
        (ResourceType::TASK, "focus", true),
        (ResourceType::AUDIT_EVENT, "patient", true),
    ] {
        assert_eq!(params::find(kind, name).unwrap().patient, patient, "{kind} {name}");
    }
    assert!(params::find(ResourceType::OBSERVATION, "Patient").is_none(), "case matters");
    assert!(params::find(ResourceType::OBSERVATION, "_filter").is_none());
}

#[test]
fn choices_become_the_names_on_the_wire() {
    let paths = |kind, name| -> Vec<String> {
        params::find(kind, name).unwrap().paths.iter().map(|path| path.elements.join(".")).collect()
    };
    assert_eq!(paths(ResourceType::OBSERVATION, "value-quantity"), ["valueQuantity", "valueSampledData"]);
    assert_eq!(
        paths(ResourceType::OBSERVATION, "date"),
        ["effectiveDateTime", "effectiveInstant", "effectivePeriod", "effectiveTiming"]
    );
    assert_eq!(paths(ResourceType::MEDICATION_REQUEST, "medication"), ["medicationReference"]);
    assert_eq!(paths(ResourceType::OBSERVATION, "category"), ["category"]);
    assert_eq!(params::find(ResourceType::OBSERVATION, "code-value-quantity").unwrap().kind, ParamKind::Composite);
    assert!(!params::find(ResourceType::PATIENT, "phone").unwrap().evaluable(), "it depends on a filter");
}

#[test]
fn owners_follow_the_policy_row_by_row() {
    let multi_party = "Account Appointment AppointmentResponse AuditEvent Communication CommunicationRequest Group List \
                       Person Provenance Schedule";
    let multi_party: BTreeSet<&str> = multi_party.split_whitespace().collect();
    for kind in ResourceType::all() {
        let member = compartment::patient_paths(kind);
        match owner::rule(kind) {
            OwnerRule::Own => assert_eq!(kind, ResourceType::PATIENT),
            OwnerRule::Primary(paths) => {
                assert_eq!(paths.len(), 1, "{kind}: one primary subject");
                assert!(member.iter().any(|path| path.elements == paths[0].elements), "{kind}");
                assert!(!multi_party.contains(kind.name()), "{kind}: p3");
            }
            OwnerRule::EveryParty(paths) => {
                assert!(multi_party.contains(kind.name()), "{kind}");
                for path in member {
                    assert!(paths.iter().any(|party| party.elements == path.elements), "{kind} {path:?}");
                }
            }
            OwnerRule::Added(paths) => {
                assert!(member.is_empty(), "{kind}");
                assert!(paths.iter().all(|path| references::is_reference(kind, path.elements)), "{kind}");
            }
            OwnerRule::Outside => assert!(member.is_empty(), "{kind}: in the compartment without an owner"),
        }
        let owned = !matches!(owner::rule(kind), OwnerRule::Outside);
        // A Binary has no parameter to search by; nobody searches one.
        let searched = owned && kind != ResourceType::BINARY;
        assert_eq!(params::narrow_by(kind).is_some(), searched, "{kind}");
        assert!(!(owned && owner::shareable(kind)), "{kind} is somebody's and cannot be shared (p4)");
    }
    let added: Vec<String> = ResourceType::all()
        .filter_map(|kind| match owner::rule(kind) {
            OwnerRule::Added(paths) => Some(format!("{kind}.{}", paths[0].elements.join("."))),
            _ => None,
        })
        .collect();
    let expected =
        ["Binary.securityContext", "Contract.subject", "Device.patient", "GuidanceResponse.subject", "Task.for"];
    assert_eq!(added, expected, "p4");
    let primary = |kind| match owner::rule(kind) {
        OwnerRule::Primary(paths) => paths[0].elements.join("."),
        other => format!("{other:?}"),
    };
    assert_eq!(primary(ResourceType::COVERAGE), "beneficiary", "CV is about its beneficiary");
    assert_eq!(primary(ResourceType::CLAIM), "patient");
    assert_eq!(primary(ResourceType::SUPPLY_REQUEST), "deliverTo");
    assert_eq!(primary(ResourceType::ENROLLMENT_REQUEST), "candidate");
    assert_eq!(primary(ResourceType::RESEARCH_SUBJECT), "individual");
    for kind in owner::SHARED_DEFAULT {
        assert!(owner::shareable(*kind));
    }
    for kind in [ResourceType::PATIENT, ResourceType::BINARY, ResourceType::BUNDLE, ResourceType::SUBSCRIPTION] {
        assert!(!owner::shareable(kind), "{kind}");
    }
}

#[test]
fn a_search_is_narrowed_where_the_owner_stands() {
    for (kind, name) in [
        (ResourceType::PATIENT, Some("_id")),
        (ResourceType::OBSERVATION, Some("patient")),
        (ResourceType::APPOINTMENT, Some("patient")),
        (ResourceType::COVERAGE, Some("patient")),
        (ResourceType::GROUP, Some("member")),
        (ResourceType::SCHEDULE, Some("actor")),
        (ResourceType::SUPPLY_REQUEST, Some("subject")),
        (ResourceType::TASK, Some("patient")),
        (ResourceType::PRACTITIONER, None),
        (ResourceType::BUNDLE, None),
    ] {
        assert_eq!(params::narrow_by(kind), name, "{kind}");
    }
}

/// Every file of HL7's examples and of two sets of synthetic records.
fn examples() -> Vec<PathBuf> {
    let folders = ["spec-examples-r4", "synthea-uscore-2021", "uscore-inferno"];
    let files = folders.iter().filter_map(|name| data(name)).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

/// Calls `found` for every object with a `reference` text, with its place; entered anew for each inner resource.
fn walk(value: &Value, place: Place, trail: &str, found: &mut dyn FnMut(&str, Place, &str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, place, trail, found)),
        Value::Object(members) => {
            let (place, trail) = match members.get("resourceType").and_then(Value::as_str) {
                Some(name) => (Place::root(name.parse().unwrap()), name.to_owned()),
                None => (place, trail.to_owned()),
            };
            // `DetectedIssue.reference` is an element of a resource, not the text of a Reference.
            let text = members.get("reference").filter(|_| !members.contains_key("resourceType"));
            if let Some(text) = text.and_then(Value::as_str) {
                found(&trail, place, text);
            }
            members.iter().for_each(|(name, inner)| walk(inner, place.child(name), &format!("{trail}.{name}"), found));
        }
        _ => {}
    }
}

#[test]
fn references_of_real_resources_stand_where_the_table_says() {
    let (mut seen, mut strange) = (0, BTreeSet::new());
    for file in examples() {
        let resource = load(&file);
        walk(&resource, Place::root(ResourceType::BUNDLE), "", &mut |trail, place, text| {
            seen += 1;
            let to_patient = matches!(
                references::parse(text),
                Reference::Relative { kind: ResourceType::PATIENT, .. }
                    | Reference::Absolute { kind: ResourceType::PATIENT, .. }
            );
            if !place.is_reference() || (to_patient && !place.may_be_patient()) {
                strange.insert(trail.to_owned());
            }
        });
    }
    assert_eq!(strange, BTreeSet::new(), "of {seen}");
    assert!(seen > 1000 || data("spec-examples-r4").is_none(), "{seen}");
}

#[test]
fn mandatory_elements_are_there_in_real_resources() {
    for file in examples() {
        let resource = load(&file);
        let Some(kind) = resource["resourceType"].as_str().and_then(|name| name.parse::<ResourceType>().ok()) else {
            continue;
        };
        let mandatory = summary::mandatory(kind);
        for name in mandatory {
            // Of a choice one name is there: skip names of which the table has a sibling with the same beginning.
            let choice =
                mandatory.iter().any(|other| other != name && other[..4.min(other.len())] == name[..4.min(name.len())]);
            let there = resource.get(name).is_some() || resource.get(format!("_{name}")).is_some();
            assert!(choice || there, "{} lacks {name}", file.display());
        }
    }
    assert_eq!(summary::mandatory(ResourceType::OBSERVATION), ["status", "code"]);
    assert!(summary::summary(ResourceType::OBSERVATION).contains(&"valueQuantity"));
    assert!(!summary::summary(ResourceType::OBSERVATION).contains(&"category"), "EL-03");
    assert!(ResourceType::all().all(|kind| summary::summary(kind).contains(&"id")));
}

/// `lists.tsv` by type and element: the words of a row.
fn list_rows() -> BTreeMap<(&'static str, &'static str), Vec<&'static str>> {
    let rows = include_str!("../tables/lists.tsv").lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let columns: Vec<&str> = row.split('\t').collect();
        ((columns[0], columns[1]), columns[2].split(' ').collect())
    })
    .collect()
}

/// The word of `rows` for the member `name` below (type, element), and what it holds.
fn list_word(
    rows: &BTreeMap<(&'static str, &'static str), Vec<&'static str>>,
    at: (&str, &str),
    name: &str,
) -> Option<(bool, Option<(String, String)>)> {
    for word in rows.get(&at)? {
        let (head, what) = word.split_once(':').unwrap_or((word, ""));
        if let Some(base) = head.strip_suffix("[x]") {
            let listed = what.split('|').find(|kind| name.to_lowercase() == format!("{base}{kind}").to_lowercase());
            let open = || name.strip_prefix(base).filter(|kind| what == "any" && !kind.is_empty());
            if let Some(kind) = listed.or_else(open) {
                return Some((false, Some((kind.to_owned(), "-".to_owned()))));
            }
        } else if head.trim_end_matches('*') == name {
            let inner = match what.strip_prefix('^') {
                Some(path) => (at.0.to_owned(), path.to_owned()),
                None if what == "+" && at.1 == "-" => (at.0.to_owned(), name.to_owned()),
                None if what == "+" => (at.0.to_owned(), format!("{}.{name}", at.1)),
                None => (what.to_owned(), "-".to_owned()),
            };
            return Some((head.ends_with('*'), Some(inner).filter(|(kind, _)| !kind.is_empty())));
        }
    }
    None
}

#[test]
fn lists_of_real_resources_are_those_of_the_patch_table() {
    fn walk(
        rows: &BTreeMap<(&'static str, &'static str), Vec<&'static str>>,
        value: &Value,
        at: (&str, &str),
        seen: &mut u32,
        strange: &mut BTreeSet<String>,
    ) {
        let Value::Object(members) = value else { return };
        let own = members.get("resourceType").and_then(Value::as_str);
        let at = own.map_or(at, |kind| (kind, "-"));
        let shared = if own.is_some() { "DomainResource" } else { "BackboneElement" };
        for (name, member) in members.iter().filter(|(name, _)| *name != "resourceType") {
            let plain = name.trim_start_matches('_');
            let word = list_word(rows, at, plain).or_else(|| list_word(rows, (shared, "-"), plain));
            if word.as_ref().map(|(repeats, _)| *repeats) != Some(member.is_array()) {
                strange.insert(format!("{at:?} {name}"));
            }
            *seen += 1;
            // Primitive extensions are Elements, which hold what a backbone element holds.
            let inner = match word {
                _ if name.starts_with('_') => ("BackboneElement".to_owned(), "-".to_owned()),
                Some((_, Some(inner))) => inner,
                _ => continue,
            };
            let values = member.as_array().map_or(std::slice::from_ref(member), Vec::as_slice);
            values.iter().for_each(|value| walk(rows, value, (&inner.0, &inner.1), seen, strange));
        }
    }
    let (rows, mut seen, mut strange) = (list_rows(), 0, BTreeSet::new());
    for file in examples() {
        walk(&rows, &load(&file), ("", ""), &mut seen, &mut strange);
    }
    assert_eq!(strange, BTreeSet::new(), "of {seen}");
    assert!(seen > 10_000 || data("spec-examples-r4").is_none(), "{seen}");
}
