"""The recorded answers that every subject of the benchmark passes on: one Observation of 2 KB, one searchset of 50 KB."""

import json

ENTRIES = 25


def observation(base, number):
    """A vital sign of Patient/P1 as an EHR writes it; about 2 KB of JSON."""
    loinc = ["8867-4", "8480-6", "8462-4", "9279-1", "8310-5"][number % 5]
    return {
        "resourceType": "Observation", "id": f"obs-{number}",
        "meta": {"versionId": "1", "lastUpdated": "2026-01-05T09:30:10.000+00:00",
                 "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-vital-signs"]},
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Heart rate 72 beats per minute, measured in the clinic</p></div>'},
        "identifier": [{"system": f"{base}/identifiers/observation", "value": f"2026-{number:06}"}],
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs",
                                  "display": "Vital Signs"}], "text": "Vital Signs"}],
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc, "display": "Heart rate"},
                            {"system": "urn:oid:1.2.840.114350.1.13.0.1.7.2.707679", "code": f"{4000 + number}", "display": "PULSE"}],
                 "text": "Heart rate"},
        "subject": {"reference": "Patient/P1", "display": "Alpha, Fixture"},
        "encounter": {"reference": f"Encounter/enc-{number}", "display": "Office visit"},
        "effectiveDateTime": "2026-01-05T09:30:00+00:00", "issued": "2026-01-05T09:30:10.000+00:00",
        "performer": [{"reference": "Practitioner/pra-1", "display": "Dr Doctor"}],
        "valueQuantity": {"value": 72.10 + number, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        "interpretation": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "N",
                                        "display": "Normal"}]}],
        "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "368209003", "display": "Right upper arm structure"}]},
        "note": [{"authorReference": {"reference": "Practitioner/pra-1"}, "time": "2026-01-05T09:31:00+00:00",
                  "text": "Taken at rest after five minutes in the waiting room, sitting, right arm, automatic device. The patient reports no "
                          "palpitations, no shortness of breath and no change of medication since the last visit in autumn."}],
        "device": {"reference": f"Device/dev-{number % 3}"},
        "referenceRange": [{"low": {"value": 60, "unit": "/min"}, "high": {"value": 100, "unit": "/min"}, "text": "60 to 100 per minute at rest"}],
    }


def write(folder, base):
    """Writes the files; {name: length}."""
    files = {
        "observation": observation(base, 1),
        "bundle": {
            "resourceType": "Bundle", "id": "b1", "type": "searchset", "total": ENTRIES,
            "link": [{"relation": "self", "url": f"{base}/Observation?patient=Patient/P1"}],
            "entry": [{"fullUrl": f"{base}/Observation/obs-{number}", "resource": observation(base, number), "search": {"mode": "match"}}
                      for number in range(1, ENTRIES + 1)]},
        "patient": {"resourceType": "Patient", "id": "P1", "meta": {"versionId": "1"}, "active": True,
                    "name": [{"family": "Alpha", "given": ["Fixture"]}], "gender": "female", "birthDate": "1970-01-01"},
        "metadata": {"resourceType": "CapabilityStatement", "status": "active", "kind": "instance", "fhirVersion": "4.0.1",
                     "format": ["json"], "date": "2026-01-01"},
    }
    lengths = {}
    for name, resource in files.items():
        data = json.dumps(resource, separators=(",", ":")).encode()
        (folder / f"{name}.json").write_bytes(data)
        lengths[name] = len(data)
    return lengths
