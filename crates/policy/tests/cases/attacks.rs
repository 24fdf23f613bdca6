//! Every owned type of R4, and every place in it where R4 has a Reference: nobody but the session's patient comes through.

use fhir::ResourceType;
use fhir::params::{self, ParamKind};
use policy::Decision;
use serde_json::{Value, json};
use testkit::naive::{self, Session};
use testkit::world::{UPSTREAM, World, answer, run};

/// `(type, dotted path)` of every Reference element that R4 puts directly into a resource.
fn reference_elements() -> Vec<(&'static str, &'static str)> {
    include_str!("../../../fhir/tables/structure.tsv")
        .lines()
        .filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [kind, path, "R" | "P"] if kind.parse::<ResourceType>().is_ok() => Some((kind, path)),
            _ => None,
        })
        .collect()
}

/// Puts `what` at a dotted path, beside what is there.
fn plant(into: &mut Value, path: &str, what: &Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut new = json!({});
    match rest {
        Some(rest) => plant(&mut new, rest, what),
        None => new = what.clone(),
    }
    let members = into.as_object_mut().unwrap();
    match members.remove(first) {
        None => members.insert(first.into(), json!([new])),
        Some(Value::Array(mut items)) => {
            items.push(new);
            members.insert(first.into(), Value::Array(items))
        }
        Some(old) => members.insert(first.into(), json!([old, new])),
    };
}

/// Ways to name P2.
fn foreign() -> Vec<Value> {
    let named = |text: &str| json!({"reference": text, "display": "Zwei", "identifier": {"value": "mrn2"}});
    vec![
        named("Patient/P2"),
        named("Patient/P2/_history/1"),
        named("https://ehr/r4/Patient/P2"),
        named("https://elsewhere/Patient/P2"),
        named("https://elsewhere/Patient/P2/Observation/O9"),
        named("HTTPS://ehr/r4/Patient/P2"),
        named("https://ehr:443/r4/Patient/P2"),
        named("Patient/P2/"),
        named("Patient/P2|1"),
        named("Patient?identifier=mrn2"),
        named("patient/P2"),
        named("urn:P2"),
        json!({"display": "Zwei"}),
        json!({"identifier": {"value": "mrn2"}, "type": "Patient"}),
        json!({"_reference": {"extension": [{"url": "u", "valueReference": named("Patient/P2")}]}, "display": "Zwei"}),
        json!({"extension": [{"url": "u", "valueUri": "https://elsewhere/Patient/P2"}]}),
        json!({"extension": [{"url": "u", "valueUrl": "Patient/P2"}]}),
        json!({"reference": ["Patient/P2"], "display": "Zwei"}),
    ]
}

fn names_p2(body: &str) -> bool {
    ["P2", "Zwei", "mrn2"].iter().any(|word| body.contains(word))
}

fn session<'a>(clauses: &'a [(&'a str, &'a [(&'a str, &'a str)])]) -> Session<'a> {
    Session { patient: "P1", upstream: UPSTREAM, clauses, shared: &[] }
}

/// Owned types that are read as resources; a Binary is had in ways of its own (b.15).
fn read_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    naive::owned_types().filter(|(kind, _)| *kind != "Binary")
}

fn own(kind: &str, at: &str) -> Value {
    let mut resource = json!({"resourceType": kind, "id": "X1"});
    plant(&mut resource, at, &json!({"reference": "Patient/P1"}));
    resource
}

/// The same JSON with every character of every string escaped.
fn escaped(value: &Value) -> String {
    let text = |text: &str| -> String {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => format!("[{}]", items.iter().map(escaped).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{} :\t{}", text(name), escaped(value))).collect();
            format!("{{{}}}", members.join(",\r\n"))
        }
        other => other.to_string(),
    }
}

/// Projection and escapes happen around the edits; neither may bring back what was taken out.
#[test]
fn views_and_escapes_bring_nobody_back() {
    let mut released_count = 0;
    for (kind, path) in reference_elements() {
        let Some((_, at)) = naive::owned_types().find(|(known, _)| *known == kind) else { continue };
        let world = World::new(&format!("patient/{kind}.rs"));
        for foreign in foreign().into_iter().step_by(3) {
            let mut resource = own(kind, at);
            resource["meta"] =
                json!({"tag": [{"code": "x", "extension": [{"url": "u", "valueReference": foreign.clone()}]}]});
            plant(&mut resource, path, &foreign);
            let first = path.split('.').next().unwrap();
            for view in ["", "?_summary=true", "?_summary=data", "?_summary=text", &format!("?_elements={first}")] {
                // A Binary is shown whole or not at all.
                if kind == "Binary" && !view.is_empty() {
                    continue;
                }
                let body = escaped(&resource);
                let released = world.released(&format!("{kind}/X1{view}"), &body);
                released_count += u32::from(released.status() == 200);
                let shown = naive::read(released.body()).unwrap().to_string();
                assert!(!names_p2(&shown), "{view} {resource}\n{shown}");
            }
        }
    }
    assert!(released_count > 1_000, "{released_count}");
}

#[test]
fn p3_p12_naive_and_tables_know_the_same_owned_types() {
    let mut naive: Vec<&str> = naive::owned_types().map(|(kind, _)| kind).chain(["Patient"]).collect();
    naive.sort_unstable();
    let mut ours: Vec<&str> = ResourceType::all()
        .filter(|kind| !matches!(fhir::owner::rule(*kind), fhir::owner::OwnerRule::Outside))
        .map(ResourceType::name)
        .collect();
    ours.sort_unstable();
    assert_eq!(ours, naive);
}

#[test]
fn nobody_named_beside_the_patient_comes_through_in_any_type() {
    let elements = reference_elements();
    let mut tried = 0;
    for (kind, at) in read_types() {
        let world = World::new(&format!("patient/{kind}.rs"));
        let target = format!("{kind}/X1");
        let clauses: [(&str, &[(&str, &str)]); 1] = [(kind, &[])];
        let session = session(&clauses);
        let plain = world.released(&target, &own(kind, at).to_string());
        assert_eq!(plain.status(), 200, "{kind}: its own patient's");
        let places = elements.iter().filter(|(known, _)| *known == kind).map(|(_, path)| *path);
        for path in
            places.chain(["note.authorReference", "extension.valueReference", "modifierExtension.valueReference"])
        {
            for foreign in foreign() {
                let mut resource = own(kind, at);
                plant(&mut resource, path, &foreign);
                let body = resource.to_string();
                let released = world.released(&target, &body);
                tried += 1;
                let text = String::from_utf8_lossy(released.body()).into_owned();
                assert!(!names_p2(&text), "{body}\n{text}");
                if released.status() == 200 {
                    assert!(naive::may_release(&session, &resource), "{body}");
                    assert_eq!(naive::leak(&session, &naive::read(released.body()).unwrap()), None, "{body}\n{text}");
                }
                let may_be_party = foreign.get("reference").is_some() || foreign.get("display").is_some();
                if may_be_party && (path == at || naive::parties(kind).contains(&path)) {
                    assert_eq!(released.status(), 404, "a party who is or may be somebody else: {body}");
                }
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}

/// The patient in every place but the one that says whose the resource is.
#[test]
fn p3_to_be_mentioned_is_not_to_own() {
    let elements = reference_elements();
    for (kind, at) in read_types() {
        let world = World::new(&format!("patient/{kind}.rs"));
        for owner in foreign().into_iter().chain([
            json!({}),
            json!(null),
            json!({"reference": "Group/G"}),
            json!({"reference": "#p"}),
        ]) {
            let mut resource = json!({"resourceType": kind, "id": "X1"});
            plant(&mut resource, at, &owner);
            for (_, path) in elements.iter().filter(|(known, path)| *known == kind && *path != at) {
                if naive::parties(kind).is_empty() || owner.get("reference").is_some() {
                    plant(&mut resource, path, &json!({"reference": "Patient/P1"}));
                }
            }
            let released = world.released(&format!("{kind}/X1"), &resource.to_string());
            assert_eq!(released.status(), 404, "{resource}");
            let bundle = json!({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": resource}]});
            if let Ok(Decision::Permit(permit)) = world.get(kind) {
                let released = testkit::world::release(permit, bundle.to_string().as_bytes());
                assert_eq!(released.counts().released, 0, "{bundle}");
                assert!(!names_p2(&String::from_utf8_lossy(released.body())), "{bundle}");
            }
        }
    }
}

#[test]
fn p4_a_shared_resource_that_names_any_patient_is_not_shared() {
    for kind in ["Practitioner", "PractitionerRole", "Organization", "Location", "Medication"] {
        let world = World::new(&format!("patient/{kind}.rs"));
        for (index, foreign) in foreign().into_iter().enumerate() {
            for path in ["extension.valueReference", "contact.extension.valueReference", "contact.valueReference"] {
                let mut resource = json!({"resourceType": kind, "id": "X1"});
                plant(&mut resource, path, &foreign);
                let released = world.released(&format!("{kind}/X1"), &resource.to_string());
                // Where a reference cannot be told to be a patient's, masking is enough.
                assert!(!names_p2(&String::from_utf8_lossy(released.body())), "{resource}");
                assert!(index > 5 || released.status() == 404, "{resource}: {}", released.status());
            }
        }
    }
}

/// CT-04: whatever stands in `contained`, of any type and granted or not, brings nobody along.
#[test]
fn ct_04_contained_resources_bring_nobody_along() {
    let elements = reference_elements();
    let world = World::new(
        "patient/Observation.rs patient/Practitioner.rs patient/RelatedPerson.rs patient/Person.rs patient/Group.rs patient/Condition.rs patient/Coverage.rs",
    );
    let own = json!({"resourceType": "Observation", "id": "X1", "subject": {"reference": "Patient/P1"}, "performer": [{"reference": "#c"}]});
    for kind in ResourceType::all().map(ResourceType::name) {
        let places = elements.iter().filter(|(known, _)| *known == kind).map(|(_, path)| *path);
        for path in places.chain(["extension.valueReference"]) {
            for foreign in foreign().into_iter().take(6) {
                let mut inner = json!({"resourceType": kind, "id": "c"});
                plant(&mut inner, path, &foreign);
                let mut resource = own.clone();
                resource["contained"] = json!([inner]);
                let released = world.released("Observation/X1", &resource.to_string());
                assert_eq!(released.status(), 404, "{resource}");
            }
        }
    }
    for inner in [
        json!({"resourceType": "Patient", "id": "c"}),
        json!({"resourceType": "Person", "id": "c", "name": [{"text": "Zwei"}]}),
        json!({"resourceType": "Bundle", "id": "c"}),
        json!({"resourceType": "Parameters", "id": "c"}),
        json!({"resourceType": "practitioner", "id": "c"}),
        json!({"resourceType": ["Practitioner"], "id": "c"}),
        json!({"id": "c", "name": [{"text": "Zwei"}]}),
        json!("Zwei"),
        json!([{"resourceType": "Practitioner", "id": "c"}]),
        json!({"resourceType": "Practitioner", "id": "c", "contained": []}),
    ] {
        let mut resource = own.clone();
        resource["contained"] = json!([inner]);
        assert_eq!(world.released("Observation/X1", &resource.to_string()).status(), 404, "{resource}");
    }
}

/// Ways to write a reference value in a search, some of them another patient's.
const VALUES: [&str; 22] = [
    "P2",
    "P12",
    "P1",
    "Patient/P1",
    "Patient/P2",
    "Patient/P2/_history/1",
    "Patient/P1,Patient/P2",
    "P1,P2",
    "Patient/P2,Group/g,Practitioner/x",
    "https://ehr/r4/Patient/P2",
    "https://pep/fhir/Patient/P2",
    "https://ehr/r4/Patient/P1,https://elsewhere/Patient/P1",
    "https://elsewhere/Patient/P2",
    "HTTPS://ehr/r4/Patient/P2",
    "https://ehr/r4/Patient/P2/",
    "https://ehr:443/r4/Patient/P2",
    "urn:uuid:P2",
    "Patient/P1%7Cx",
    "P1%5C,P2",
    "P1%2CP2",
    "%50atient/P2",
    "Group/g",
];

#[test]
fn no_search_by_reference_asks_after_another_patient() {
    let (mut permitted, mut denied) = (0, 0);
    for kind in ResourceType::all() {
        let world = World::new(&format!("patient/{kind}.rs patient/Patient.rs"));
        for param in params::all(kind).iter().filter(|param| param.kind == ParamKind::Reference && param.patient) {
            for modifier in
                ["", ":Patient", ":Group", ":Practitioner", ":identifier", ":missing", ":not", ":above", ":in"]
            {
                for value in VALUES {
                    let query = format!("{kind}?{}{modifier}={value}", param.name);
                    let Ok(Decision::Permit(permit)) = world.get(&query) else {
                        denied += 1;
                        continue;
                    };
                    permitted += 1;
                    let call = &permit.call().query;
                    assert!(!call.contains("Patient/P2") && !call.contains("Patient/P12"), "{query}: {call}");
                    let narrowed = params::narrow_by(kind).unwrap();
                    let imposed = if kind == ResourceType::PATIENT {
                        "_id=P1".to_owned()
                    } else {
                        format!("{narrowed}=Patient/P1")
                    };
                    // `_id=0…0` where nothing can match.
                    assert!(
                        call.split('&').any(|pair| pair == imposed) || call.starts_with("_id=0000"),
                        "{query}: {call}"
                    );
                    for pair in call.split('&') {
                        let (name, values) = pair.split_once('=').unwrap();
                        assert!(!name.contains(':'), "{query}: {call}");
                        let reference = params::find(kind, name).is_some_and(|param| param.patient);
                        assert!(
                            !reference || values.split(',').all(|value| value.contains('/')),
                            "a bare id: {query}: {call}"
                        );
                    }
                }
            }
        }
    }
    assert!(permitted > 500 && denied > 5_000, "{permitted} {denied}");
}

/// p3: a party by name alone is nobody one could vouch for, in whatever element the name stands.
#[test]
fn p3_an_audit_event_with_a_party_by_name_alone_is_not_released() {
    let world = World::new("patient/AuditEvent.rs");
    for (party, released) in [
        (json!({"entity": [{"name": "Zwei"}]}), false),
        (json!({"entity": [{"query": "UGF0aWVudC9QMg=="}]}), false),
        (json!({"entity": [{"detail": [{"type": "mrn", "valueString": "mrn2"}]}]}), false),
        (json!({"agent": [{"name": "Zwei", "requestor": true}]}), false),
        (json!({"agent": [{"altId": "mrn2", "requestor": true}]}), false),
        (json!({"agent": [{"who": {"reference": "Practitioner/PRA"}, "name": "Arzt", "requestor": true}]}), true),
        (json!({"agent": [{"requestor": false}]}), true),
    ] {
        let mut resource = own("AuditEvent", "entity.what");
        for (element, party) in party.as_object().unwrap() {
            party.as_array().unwrap().iter().for_each(|party| plant(&mut resource, element, party));
        }
        let status = world.released("AuditEvent/X1", &resource.to_string()).status();
        assert_eq!(status == 200, released, "{resource}");
    }
}

/// What p11 masks cannot be sorted out of the upstream either.
#[test]
fn masked_references_are_no_sort_order() {
    let world = World::new("patient/Observation.rs");
    assert!(matches!(world.get("Observation?_sort=performer"), Ok(Decision::Deny(_))));
    assert!(matches!(world.get("Observation?_sort=-date,code"), Ok(Decision::Permit(_))));
    assert!(matches!(world.get("Observation?_sort=patient"), Ok(Decision::Permit(_))));
}

/// A search of a shared type is not narrowed, so it must not look through everybody's records on the way.
#[test]
fn shared_searches_have_no_reverse_includes_of_owned_types() {
    let world = World::new(
        "patient/Medication.rs patient/MedicationRequest.rs patient/Practitioner.rs patient/PractitionerRole.rs patient/Condition.rs",
    );
    for (query, kept) in [
        ("Medication?code=x&_revinclude=MedicationRequest:medication", false),
        ("Practitioner?name=x&_revinclude=Condition:asserter", false),
        ("Practitioner?name=x&_revinclude=PractitionerRole:practitioner", true),
        ("MedicationRequest?_include=MedicationRequest:medication", true),
    ] {
        let permit = world.permit(query);
        assert_eq!(permit.call().query.contains("include="), kept, "{query}: {}", permit.call().query);
    }
}

/// That somebody else's resource refers to the patient's is not told, not even as something left out.
#[test]
fn in_05_includes_that_are_left_out_leave_no_trace() {
    let world = World::new("patient/Patient.rs patient/Observation.rs");
    let patient = json!({"resource": {"resourceType": "Patient", "id": "P1"}, "search": {"mode": "match"}});
    let foreign = json!({"resource": {"resourceType": "Observation", "id": "O2", "subject": {"reference": "Patient/P2"},
        "performer": [{"reference": "Patient/P1"}]}, "search": {"mode": "include"}});
    let bundle =
        |entries: &[&Value]| json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string();
    let query = "Patient?_revinclude=Observation:performer";
    let with = world.released(query, &bundle(&[&patient, &foreign]));
    assert_eq!(with.body(), world.released(query, &bundle(&[&patient])).body());
    assert_eq!((with.counts().released, with.counts().filtered), (1, 1));
    // Where nothing can match, nothing the upstream says changes the answer.
    let query = "Observation?subject=https://elsewhere/Patient/P1";
    assert_eq!(world.released(query, &bundle(&[&foreign])).body(), world.released(query, &bundle(&[])).body());
}

/// A slice is no oracle: what lies outside of it changes nothing in the answer, even where the upstream ignores it (SR-28).
#[test]
fn sr_28_what_lies_outside_the_slice_leaves_no_trace() {
    let lab = json!({"resource": {"resourceType": "Observation", "id": "O1L", "subject": {"reference": "Patient/P1"},
        "category": [{"coding": [{"code": "laboratory"}]}], "code": {"coding": [{"code": "hiv"}]}}});
    // Each slice is asked for by itself, and what was held back of each answer is on record.
    for (scopes, filtered) in [
        ("patient/Observation.rs?category=vital-signs", 1),
        ("patient/Observation.rs?category=vital-signs patient/Observation.rs?status=final", 2),
    ] {
        let world = World::new(scopes);
        let bundle =
            |entries: &[&Value]| json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string();
        let query = "Observation?code=hiv";
        let ask = |entries: &[&Value]| {
            let upstream = bundle(entries);
            run(world.get(query).unwrap(), &mut |_| answer(200, upstream.as_bytes())).released()
        };
        let with = ask(&[&lab]);
        assert_eq!(with.body(), ask(&[]).body(), "{scopes}");
        assert_eq!((with.counts().released, with.counts().filtered), (0, filtered), "{scopes}");
    }
}

/// Token criteria in every form against elements in every form, held to the naive second opinion both ways.
#[test]
fn sc_12_sc_15_criteria_are_those_of_the_naive_opinion() {
    let tokens = ["c", "s|c", "|c", "s|", "C", "c,d", "s|c,t|d", "S|c", "s|C", "c\\,d", "true", "t|c,x"];
    let values = [
        json!(null),
        json!("c"),
        json!(["c"]),
        json!({"text": "c"}),
        json!([{"text": "c", "coding": []}]),
        json!({"coding": [{"code": "c"}]}),
        json!([{"coding": [{"system": "s", "code": "c"}]}]),
        json!([{"coding": [{"system": "t", "code": "c"}]}]),
        json!([{"coding": [{"system": "t", "code": "x"}]}, {"coding": [{"system": "s", "code": "c"}]}]),
        json!([{"coding": [{"system": "s", "code": "x"}, {"system": "x", "code": "c"}]}]),
        json!([{"coding": [{"system": "s", "display": "c"}]}]),
        json!([{"coding": {"system": "s", "code": "c"}}]),
        json!([{"coding": [{"system": null, "code": "c"}]}]),
        json!([{"coding": [{"system": 1, "code": "c"}]}]),
        json!([{"coding": [{"system": "s", "code": 1}]}]),
        json!([{"coding": [{"system": "s", "code": "c "}]}]),
        json!([{"coding": [{"system": "s", "code": ["c"]}]}]),
        json!({"system": "s", "code": "c"}),
        json!(true),
        json!([{"coding": [{"_code": "c", "system": "s"}]}]),
    ];
    let mut released_count = 0;
    for token in tokens {
        for other in [None, Some("final"), Some("amended")] {
            let pairs: Vec<(&str, &str)> =
                [("category", token)].into_iter().chain(other.map(|other| ("status", other))).collect();
            let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let scope = format!("patient/Observation.rs?{}", query.join("&"));
            let Ok(Ok(world)) =
                std::panic::catch_unwind(|| scope.parse::<domain::ScopeSet>().map(|_| World::new(&scope)))
            else {
                continue;
            };
            let clauses = [("Observation", pairs.as_slice())];
            for value in &values {
                let resource = json!({"resourceType": "Observation", "id": "O1", "status": "final", "subject": {"reference": "Patient/P1"}, "category": value});
                let Ok(Decision::Permit(permit)) = world.get("Observation/O1") else { continue };
                let ours = testkit::world::release(permit, resource.to_string().as_bytes()).status() == 200;
                released_count += u32::from(ours);
                // The naive opinion does not know escapes: there it is only asked whether too much comes through.
                if ours || !token.contains('\\') {
                    assert_eq!(ours, naive::may_release(&session(&clauses), &resource), "{scope}: {value}");
                }
            }
        }
    }
    assert!(released_count > 50, "{released_count}");
}

/// Text places where an address can name a patient.
#[test]
fn addresses_of_other_patients_are_taken_out_wherever_they_stand() {
    let world = World::new("patient/Observation.rs");
    for rest in [
        json!({"extension": [{"url": "u", "valueUri": "https://elsewhere/Patient/P2"}]}),
        json!({"extension": [{"url": "u", "valueString": "https://elsewhere/fhir/Patient/P2?x=1"}]}),
        json!({"extension": [{"url": "u", "valueCanonical": "HTTPS://EHR/r4/Patient/P2|1"}]}),
        json!({"extension": [{"url": "u", "valueUrl": "https://ehr:443/r4/Patient/P2/Observation/O9"}]}),
        json!({"meta": {"source": "https://ehr/r4/Patient/P2#1"}}),
        json!({"extension": [{"url": "u", "valueUri": "/Patient/P2"}]}),
        json!({"extension": [{"url": "u", "valueUri": "../r4/Patient/P2/_history/1"}]}),
        json!({"extension": [{"url": "u", "valueRelatedArtifact": {"url": "https://elsewhere/Patient/P2"}}]}),
        json!({"extension": [{"url": "u", "valueUrl": "Observation?patient=Patient/P1&x=Patient/P2"}]}),
        json!({"extension": [{"url": "u", "valueUrl": "https://ehr/r4%2FPatient%2FP2"}]}),
        json!({"extension": [{"url": "u", "valueUrl": "https://elsewhere/%50atient/P2"}]}),
        json!({"extension": [{"url": "u", "valueUrl": "https://elsewhere/launch?next=Patient/P2&x"}]}),
        json!({"text": {"status": "generated", "div": "<div><a href=\"Patient/P2\">x</a></div>"}}),
        json!({"text": {"status": "generated", "div": "<div><a href='https://ehr/r4/Patient/P2/_history/1'>x</a></div>"}}),
        json!({"x": {"type": "Patient", "display": "Zwei"}}),
        json!({"x": [[{"identifier": {"value": "mrn2"}, "type": "Patient"}]]}),
        json!({"valueAttachment": {"url": "https://elsewhere/P2.pdf"}}),
        json!({"form": {"url": "https://elsewhere/P2.pdf"}}),
    ] {
        let mut resource = own("Observation", "subject");
        resource.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let plain = resource.to_string();
        // The same, spelt with the escapes that JSON allows.
        for (what, escaped) in
            [("", ""), ("/", r"\/"), ("Patient", r"\u0050atient"), ("P2", r"P\u0032"), ("h", r"\u0068")]
        {
            let spelt = if what.is_empty() { plain.clone() } else { plain.replace(what, escaped) };
            let released = world.released("Observation/X1", &spelt);
            let text = String::from_utf8_lossy(released.body()).into_owned();
            let read = naive::read(text.as_bytes()).map(|read| read.to_string());
            assert_eq!(released.status(), 200, "{spelt}");
            assert!(read.is_some_and(|read| !names_p2(&read)), "{spelt}\n{text}");
        }
    }
    // What only looks like one stays as it is.
    for rest in [
        json!({"text": {"status": "generated", "div": "<div>Patient/caregiver, <a href=\"Patient/P1\">me</a></div>"}}),
        json!({"code": {"coding": [{"system": "http://x.org/Patient/kinds", "display": "Patient/Family"}]}}),
        json!({"meta": {"profile": ["http://hl7.org/fhir/us/core/StructureDefinition/Patient"]}}),
        json!({"extension": [{"url": "http://x.org/Patient/ext", "valueString": "and/or Patient/carer"}]}),
        json!({"extension": [{"url": "u", "valueUri": "/Patient/P1/Observation"}]}),
    ] {
        let mut resource = own("Observation", "subject");
        resource.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let released = world.released("Observation/X1", &resource.to_string());
        assert_eq!(naive::read(released.body()), Some(resource));
    }
}

/// What an off-the-shelf client sends is not refused without need.
#[test]
fn ordinary_requests_of_ordinary_clients_are_taken() {
    let world = World::new(
        "patient/Patient.rs patient/Observation.rs patient/Condition.rs patient/Encounter.rs patient/MedicationRequest.rs patient/Appointment.rs",
    );
    for query in [
        "Observation?patient=P1&category=laboratory&_sort=-date&_count=1000",
        "Observation?subject=Patient/P1&code=http://loinc.org%7C8867-4,http://loinc.org%7C8302-2&date=ge2020-01-01&date=lt2021",
        "Observation?patient=Patient/P1&_lastUpdated=ge2020-01-01T00:00:00Z&_format=json",
        "Observation?patient=P1&_format=application/fhir%2Bjson",
        "Observation?patient=P1&_format=application/fhir+json&_pretty=true",
        "Observation?patient=P1&_include=Observation:performer",
        "Observation?patient=P1&performer=Practitioner/x",
        "Observation?patient=P1&performer=x",
        "Observation?patient=P1&encounter=E1",
        "Observation?patient=P1&value-quantity=gt5.4%7Chttp://unitsofmeasure.org%7Cmg",
        "Observation?patient=P1&_elements=code,value&_total=accurate",
        "Condition?patient=P1&clinical-status=active&onset-date=ge2020",
        "Encounter?patient=P1&date=sa2020&status=finished",
        "MedicationRequest?patient=P1&intent=order&status=active,completed&_include=MedicationRequest:medication",
        "Appointment?patient=P1&date=ge2026-01-01",
        "Appointment?actor=Patient/P1",
        "Patient?_id=P1",
        "Patient/P1?_format=json",
        "Patient",
    ] {
        assert!(matches!(world.get(query), Ok(Decision::Permit(_))), "{query}");
    }
}
