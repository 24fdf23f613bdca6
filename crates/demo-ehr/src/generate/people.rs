//! Patients, practitioners, and the organisation they meet in.

use serde_json::{Value, json};

use super::tables::{CITIES, FAMILIES, MEN, SPECIALTIES, STREETS, WOMEN};
use super::{LOCATIONS, Maker, PRACTITIONERS, SNOMED, concept, hl7, patient_id, reference};
use crate::time::{self, DAY};

/// The organisation, its locations and its practitioners with their roles.
pub(super) fn organisation(maker: &mut Maker) {
    let long_ago = maker.now - 900 * DAY;
    for (id, name, parent) in [
        ("org-mercy", "Mercy Demonstration Hospital", None),
        ("org-clinic", "Mercy Riverside Clinic", Some("org-mercy")),
    ] {
        let mut organisation = json!({
            "resourceType": "Organization", "id": id, "active": true, "name": name,
            "type": [hl7("organization-type", "prov")],
            "identifier": [{"system": "https://mercy.example/organizations", "value": id}],
            "telecom": [{"system": "phone", "value": "555-0100"}],
            "address": [{"line": ["1 Harbour Road"], "city": "Fairview", "state": "MA", "postalCode": "01999", "country": "US"}]
        });
        if let (Some(members), Some(parent)) = (organisation.as_object_mut(), parent) {
            members.insert("partOf".to_owned(), reference("Organization", parent));
        }
        maker.put(organisation, long_ago);
    }
    for number in 1..=LOCATIONS {
        let names = ["Main outpatient desk", "Riverside exam room 2", "Cardiology suite", "Laboratory"];
        let name = names.get(number - 1).copied().unwrap_or("Room");
        let location = json!({
            "resourceType": "Location", "id": format!("loc-{number}"), "status": "active", "name": name, "mode": "instance",
            "type": [hl7("v3-RoleCode", "OF")],
            "address": {"line": ["1 Harbour Road"], "city": "Fairview", "state": "MA", "postalCode": "01999"},
            "managingOrganization": reference("Organization", if number == 2 { "org-clinic" } else { "org-mercy" })
        });
        maker.put(location, long_ago);
    }
    for number in 1..=PRACTITIONERS {
        let woman = maker.random.chance(55);
        let given = if woman { maker.random.pick(&WOMEN) } else { maker.random.pick(&MEN) };
        let family = maker.random.pick(&FAMILIES);
        let id = format!("prac-{number:02}");
        let practitioner = json!({
            "resourceType": "Practitioner", "id": id, "active": true,
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": format!("99900000{number:02}")}],
            "name": [{"use": "official", "family": family, "given": [given], "prefix": ["Dr."]}],
            "gender": if woman { "female" } else { "male" },
            "telecom": [{"system": "email", "value": format!("{}@mercy.example", given.to_lowercase()), "use": "work"}]
        });
        maker.put(practitioner, long_ago);
        let (code, text) = maker.random.pick(&SPECIALTIES);
        let location = maker.location();
        let role = json!({
            "resourceType": "PractitionerRole", "id": format!("role-{number:02}"), "active": true,
            "practitioner": reference("Practitioner", &id),
            "organization": reference("Organization", "org-mercy"),
            "location": [location],
            "code": [concept(SNOMED, "158965000", "Medical practitioner")],
            "specialty": [concept(SNOMED, code, text)]
        });
        maker.put(role, long_ago);
    }
}

/// One patient; returned as well, for what is made around it.
pub(super) fn patient(maker: &mut Maker, index: usize) -> Value {
    let id = patient_id(index);
    let woman = maker.random.chance(52);
    let given = if woman { maker.random.pick(&WOMEN) } else { maker.random.pick(&MEN) };
    let middle = if woman { maker.random.pick(&WOMEN) } else { maker.random.pick(&MEN) };
    let family = maker.random.pick(&FAMILIES);
    let (city, state, postcode) = maker.random.pick(&CITIES);
    let street = maker.random.pick(&STREETS);
    let house = maker.random.between(1, 240);
    // Mostly adults; about every tenth a child.
    let days_old =
        if maker.random.chance(10) { maker.random.between(300, 6200) } else { maker.random.between(6600, 33_500) };
    let phone = format!("555-01{:02}", maker.random.below(100));
    let language = if maker.random.chance(12) { "es" } else { "en" };
    let practitioner = maker.practitioner();
    let patient = json!({
        "resourceType": "Patient", "id": id, "active": true,
        "identifier": [{
            "use": "usual", "type": hl7("v2-0203", "MR"), "system": "https://mercy.example/mrn",
            "value": format!("MRN-{:06}", 100_000 + index * 37), "assigner": {"display": "Mercy Demonstration Hospital"}
        }],
        "name": [{"use": "official", "family": family, "given": [given, middle]}],
        "telecom": [
            {"system": "phone", "value": phone, "use": "mobile"},
            {"system": "email", "value": format!("{}.{}{index}@mail.example", given.to_lowercase(), family.to_lowercase().replace('\'', ""))}
        ],
        "gender": if woman { "female" } else { "male" },
        "birthDate": time::date(maker.now - days_old * DAY),
        "address": [{"use": "home", "line": [format!("{house} {street}")], "city": city, "state": state, "postalCode": postcode, "country": "US"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": language}]}, "preferred": true}],
        "generalPractitioner": [practitioner],
        "managingOrganization": reference("Organization", "org-mercy")
    });
    let updated = maker.moment(5, 700);
    let mut stored = patient.clone();
    // pat-002 took the place of an older record of the same person; `shared` makes that record.
    if index == 2
        && let Some(members) = stored.as_object_mut()
    {
        let link = json!([{"other": reference("Patient", "pat-002-old"), "type": "replaces"}]);
        members.insert("link".to_owned(), link);
    }
    maker.put(stored, updated);
    patient
}
