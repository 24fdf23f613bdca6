"""The hard cases of the reference policy as records: several parties, foreign bases, odd references, masked content.

Three patients whose ids begin alike (`fx-p1`, `fx-p2`, `fx-p12`). The oracle judges these like any other record.
"""


def entries(upstream_base):
    """Bundle entries; `upstream_base` is the FHIR base under which the upstream knows itself."""
    return [{"resource": resource} for resource in resources(upstream_base)]


def reference(target, **more):
    return {"reference": target, **more}


def observation(name, subject, **more):
    resource = {
        "resourceType": "Observation", "id": f"fx-{name}", "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
        "valueQuantity": {"value": 72.10, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        **more,
    }
    if subject is not None:
        resource["subject"] = subject
    return resource


def patient(name, family, **more):
    return {
        "resourceType": "Patient", "id": f"fx-{name}", "active": True,
        "identifier": [{"system": "urn:hilum:fixture:mrn", "value": f"MRN-{name}"}],
        "name": [{"family": family, "given": ["Fixture"]}], "gender": "unknown", "birthDate": "1970-01-01", **more,
    }


def resources(base):
    p1, p2, p12 = "Patient/fx-p1", "Patient/fx-p2", "Patient/fx-p12"
    code = {"text": "fixture"}
    yield patient("p1", "Alpha", managingOrganization=reference("Organization/fx-org", display="Fixture Hospital"),
                  link=[{"other": reference(p2, display="Fixture Bravo"), "type": "seealso"}])
    yield patient("p2", "Bravo")
    yield patient("p12", "Charlie")
    yield {"resourceType": "Organization", "id": "fx-org", "name": "Fixture Hospital"}
    yield {"resourceType": "Practitioner", "id": "fx-pra", "name": [{"family": "Doctor", "given": ["Fixture"]}]}
    yield {"resourceType": "Medication", "id": "fx-med", "code": code}
    # A shared type that names a patient is not shared (p4).
    yield {"resourceType": "Practitioner", "id": "fx-prb", "name": [{"family": "Leak"}],
           "extension": [{"url": "urn:hilum:fixture:favourite", "valueReference": reference(p2)}]}

    yield observation("o1", reference(p1, display="Fixture Alpha"))
    yield observation("o2", reference(p2, display="Fixture Bravo"))
    yield observation("o12", reference(p12))
    yield observation("opf", reference(p2), performer=[reference(p1)])
    yield observation("oper", reference(p1), performer=[reference(p2, display="Fixture Bravo"), reference("Practitioner/fx-pra", display="Dr Doctor")])
    yield observation("ofo", reference(p2), focus=[reference(p1)])
    yield observation("ofo1", reference(p1), focus=[reference(p2, display="Fixture Bravo", identifier={"value": "MRN-p2"})])
    yield observation("oab", reference(f"{base}/{p1}"))
    yield observation("oex", reference(f"https://elsewhere.example/fhir/{p1}"))
    yield observation("oid", {"identifier": {"system": "urn:hilum:fixture:mrn", "value": "MRN-p1"}})
    yield observation("ono", None)
    yield observation("oder", reference(p1), derivedFrom=[reference("Observation/fx-o2", display="of Bravo")])
    yield observation("oext", reference(p1), extension=[{"url": "urn:hilum:fixture:sibling", "valueReference": reference(p2, display="Fixture Bravo")}])
    yield observation("onum", reference(p1), valueQuantity={"value": 1.10, "unit": "mg"})
    yield observation("octp", reference("#p"), contained=[{"resourceType": "Patient", "id": "p", "identifier": [{"value": "MRN-p1"}]}])
    yield observation("octd", reference(p1), device=reference("#d"), contained=[{"resourceType": "Device", "id": "d", "status": "active"}])

    yield {"resourceType": "Coverage", "id": "fx-cv", "status": "active", "subscriber": reference(p1),
           "beneficiary": reference(p2), "payor": [reference("Organization/fx-org")]}
    yield {"resourceType": "Coverage", "id": "fx-cv1", "status": "active", "subscriber": reference(p2, display="Fixture Bravo"),
           "beneficiary": reference(p1), "payor": [reference("Organization/fx-org")]}
    for name, actors in (("a12", (p1, p2, "Practitioner/fx-pra")), ("a1", (p1, "Practitioner/fx-pra"))):
        yield {"resourceType": "Appointment", "id": f"fx-{name}", "status": "booked",
               "start": "2030-01-01T10:00:00Z", "end": "2030-01-01T10:30:00Z",
               "participant": [{"actor": reference(actor), "status": "accepted"} for actor in actors]}
    yield {"resourceType": "Appointment", "id": "fx-aid", "status": "booked",
           "start": "2030-01-01T10:00:00Z", "end": "2030-01-01T10:30:00Z",
           "participant": [{"actor": reference(p1), "status": "accepted"},
                           {"actor": {"display": "Fixture Bravo"}, "status": "accepted"}]}
    yield {"resourceType": "Group", "id": "fx-g12", "type": "person", "actual": True,
           "member": [{"entity": reference(p1)}, {"entity": reference(p2)}]}
    yield {"resourceType": "Group", "id": "fx-g1", "type": "person", "actual": True, "member": [{"entity": reference(p1)}]}
    yield {"resourceType": "List", "id": "fx-l1", "status": "current", "mode": "working", "subject": reference(p1),
           "entry": [{"item": reference("Observation/fx-o1", display="own")}, {"item": reference("Observation/fx-o2", display="of Bravo")}]}
    yield {"resourceType": "List", "id": "fx-l2", "status": "current", "mode": "working", "subject": reference(p1),
           "entry": [{"item": reference(p2)}]}
    yield {"resourceType": "Communication", "id": "fx-com1", "status": "completed", "subject": reference(p1), "sender": reference(p1)}
    yield {"resourceType": "Communication", "id": "fx-com12", "status": "completed", "subject": reference(p1), "recipient": [reference(p2)]}
    yield {"resourceType": "Account", "id": "fx-acc1", "status": "active", "subject": [reference(p1)]}
    yield {"resourceType": "Account", "id": "fx-acc12", "status": "active", "subject": [reference(p1), reference(p2)]}
    yield {"resourceType": "Provenance", "id": "fx-pv12", "target": [reference("Observation/fx-o1"), reference("Observation/fx-o2")],
           "recorded": "2030-01-01T00:00:00Z", "agent": [{"who": reference("Practitioner/fx-pra")}]}
    yield {"resourceType": "Provenance", "id": "fx-pv1", "target": [reference(p1)],
           "recorded": "2030-01-01T00:00:00Z", "agent": [{"who": reference("Practitioner/fx-pra")}]}
    for name, who in (("t1", p1), ("t2", p2)):
        yield {"resourceType": "Task", "id": f"fx-{name}", "status": "requested", "intent": "order", "for": reference(who)}
    for name, who in (("d1", p1), ("d2", p2)):
        yield {"resourceType": "Device", "id": f"fx-{name}", "status": "active", "patient": reference(who)}
    yield {"resourceType": "Device", "id": "fx-d0", "status": "active"}
    yield {"resourceType": "RelatedPerson", "id": "fx-rp1", "patient": reference(p1), "name": [{"family": "Relative"}]}
    yield {"resourceType": "CarePlan", "id": "fx-cp1", "status": "active", "intent": "plan", "subject": reference(p1),
           "activity": [{"reference": reference("#px")}],
           "contained": [{"resourceType": "Patient", "id": "px", "name": [{"family": "Bravo"}]}]}
    for name, who in (("c1", p1), ("c2", p2)):
        yield {"resourceType": "Condition", "id": f"fx-{name}", "code": code, "subject": reference(who)}
        yield {"resourceType": "Encounter", "id": f"fx-e{name[1]}", "status": "finished",
               "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}, "subject": reference(who)}
        yield {"resourceType": "MedicationRequest", "id": f"fx-m{name[1]}", "status": "active", "intent": "order",
               "subject": reference(who), "medicationReference": reference("Medication/fx-med", display="a drug")}
    # Thirty more, so that every patient set has more than one page.
    for number in range(30):
        yield observation(f"many-{number:02}", reference(p1 if number % 3 else p12), effectiveDateTime=f"2030-02-{number % 28 + 1:02}T08:00:00Z")


# What the session of `fx-p1` may see of the above, written by hand from the case tables (RD-13, RD-20, RD-21, CT-04, SR-46,
# GL-01, GL-02 and so on), so that the oracle itself is checked before it judges anything.
RELEASED_TO_P1 = {
    "Patient/fx-p1", "Organization/fx-org", "Practitioner/fx-pra", "Medication/fx-med",
    "Observation/fx-o1", "Observation/fx-oper", "Observation/fx-ofo1", "Observation/fx-oab", "Observation/fx-oder", "Observation/fx-oext",
    "Observation/fx-onum", "Observation/fx-octd", "Coverage/fx-cv1", "Appointment/fx-a1", "Group/fx-g1", "List/fx-l1",
    "Communication/fx-com1", "Account/fx-acc1", "Provenance/fx-pv1", "Task/fx-t1", "Device/fx-d1", "RelatedPerson/fx-rp1",
    "Condition/fx-c1", "Encounter/fx-e1", "MedicationRequest/fx-m1",
    *(f"Observation/fx-many-{number:02}" for number in range(30) if number % 3),
}
