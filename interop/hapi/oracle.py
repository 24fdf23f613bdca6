"""What must be released for one patient, computed by brute force from the raw FHIR R4 definitions.

Shares no table and no function with the product: membership comes from the raw CompartmentDefinition and the raw search
parameter expressions, the primary subject from the raw `patient` and `subject` parameters. Reference policy: p3, p4, p11, p12.
"""

import json
import re

# p3 names these outright; every other type of the compartment has one primary subject.
MULTI_PARTY = {
    "Group", "List", "AuditEvent", "Provenance", "Person", "Schedule", "Account", "Appointment", "AppointmentResponse",
    "Communication", "CommunicationRequest",
}
# p4: owner rules for types outside of the compartment, and the shared list.
ADDED = {"Task": ["for"], "Device": ["patient"], "Contract": ["subject"], "GuidanceResponse": ["subject"]}
SHARED = {"Practitioner", "PractitionerRole", "Organization", "Location", "Medication"}

RELATIVE = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?$")
CODING_PLACES = {"coding", "valueCoding", "tag", "security", "class", "dataAbsentReason", "event", "type", "code", "purposeOfEvent"}
ATTACHMENTS = {"attachment", "content", "photo", "image", "document", "presentedForm", "contentAttachment", "valueAttachment"}
MASKED = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}


class Definitions:
    """Element paths by which R4 says that a resource concerns a patient."""

    def __init__(self, folder):
        parameters = {}
        for entry in json.loads((folder / "search-parameters.json").read_text())["entry"]:
            parameter = entry["resource"]
            for base in parameter.get("base", []):
                parameters[(base, parameter["code"])] = parameter
        self.parameters = parameters
        self.compartment = {}
        for row in json.loads((folder / "compartmentdefinition-patient.json").read_text())["resource"]:
            kind = row["code"]
            paths = []
            for name in row.get("param", []):
                paths += self.paths(kind, name)
            if paths and kind != "Patient":
                self.compartment[kind] = paths
        self.primary = {}
        for kind in self.compartment:
            if kind in MULTI_PARTY:
                continue
            for name in ("patient", "subject", "individual"):
                paths = self.paths(kind, name)
                if len(paths) == 1:
                    self.primary[kind] = paths[0]
                    break
        # Elements of a multi-party type that R4 lets point to a patient, as far as a search parameter says so.
        self.parties = {
            kind: [path for (base, code), p in parameters.items()
                   if base == kind and p["type"] == "reference" and "Patient" in p.get("target", [])
                   for path in self.paths(kind, code)]
            for kind in MULTI_PARTY}

    def paths(self, kind, name):
        parameter = self.parameters.get((kind, name))
        if not parameter:
            return []
        found = []
        for part in parameter.get("expression", "").split("|"):
            part = part.strip().strip("()").strip()
            part = re.sub(r"\.where\(resolve\(\) is [A-Za-z]+\)?$", "", part)
            if re.fullmatch(rf"{kind}(\.[a-zA-Z]+)+", part):
                found.append(part.split(".")[1:])
        return found


def at(value, path):
    """Every value at an element path; lists are flattened."""
    values = [value]
    for name in path:
        inner = []
        for one in values:
            got = one.get(name) if isinstance(one, dict) else None
            inner += got if isinstance(got, list) else [] if got is None else [got]
        values = inner
    return values


def target(reference, base):
    """(type, id) that a Reference names here, or None."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    if text.startswith(base + "/"):
        text = text[len(base) + 1:]
    match = RELATIVE.match(text)
    return (match[1], match[2]) if match else None


def references(value, skip=("contained",)):
    """Every object with a `reference` text, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value
        for name, inner in value.items():
            if name not in skip:
                yield from references(inner, skip)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner, skip)


def names_patient(reference):
    text = reference.get("reference", "")
    return bool(re.search(r"(^|/)Patient/", text))


class Oracle:
    def __init__(self, definitions, resources, base, granted):
        self.definitions = definitions
        self.resources = resources
        self.base = base
        self.granted = granted

    def is_own(self, resource, patient):
        """p3, p4, p12: whether the resource belongs to the patient, so that it may be released to the patient's session."""
        kind, me = resource["resourceType"], ("Patient", patient)
        if kind not in self.granted:
            return False
        for inner in resource.get("contained", []):
            if inner.get("resourceType") == "Patient" or inner.get("resourceType") not in self.granted:
                return False
            # A contained record about another patient cannot be taken out without changing its container's meaning.
            if any(names_patient(r) and target(r, self.base) != me for r in references(inner, skip=())):
                return False
        if kind == "Patient":
            return resource["id"] == patient
        if kind in SHARED:
            return not any(names_patient(r) and target(r, self.base) != me for r in references(resource, skip=()))
        here = lambda paths: any(target(value, self.base) == me for path in paths for value in at(resource, path))
        if kind in ADDED:
            return here([ADDED[kind]])
        if kind not in self.definitions.compartment or not here(self.definitions.compartment[kind]):
            return False
        if kind in MULTI_PARTY:
            for reference in references(resource, skip=("contained", "extension", "modifierExtension")):
                if names_patient(reference) and target(reference, self.base) != me:
                    return False
            for path in self.definitions.parties[kind] + self.definitions.compartment[kind]:
                for value in at(resource, path):
                    if isinstance(value, dict) and "reference" not in value and ("identifier" in value or "display" in value):
                        return False
            return True
        primary = at(resource, self.definitions.primary[kind])
        return bool(primary) and all(target(value, self.base) == me for value in primary)

    def released(self, patient):
        """{(type, id)} of everything that must come out for this patient."""
        return {key for key, resource in self.resources.items() if self.is_own(resource, patient)}


class Comparison:
    """Compares a released resource with its raw record, member for member, modulo p11 and what the upstream itself changes."""

    def __init__(self, oracle, patient, own, public_base):
        self.oracle, self.patient, self.own, self.public = oracle, patient, own, public_base
        self.differences = []
        self.kept_displays = 0

    def run(self, raw, actual):
        self.differences = []
        self.object(raw, actual, raw["resourceType"], top=True)
        return self.differences

    def differ(self, path, why):
        self.differences.append(f"{path}: {why}")

    def value(self, raw, actual, path, name):
        if isinstance(raw, dict) and isinstance(actual, dict):
            if is_reference(raw, name):
                self.reference(raw, actual, path)
            else:
                if name in ATTACHMENTS and self.is_foreign_url(raw.get("url")):
                    raw = {key: value for key, value in raw.items() if key != "url"}  # BI-08: removed, whoever serves it
                self.object(raw, actual, path)
        elif isinstance(raw, list) and isinstance(actual, list):
            if len(raw) != len(actual):
                self.differ(path, f"{len(raw)} items became {len(actual)}")
            if path.endswith(".meta.profile"):  # the upstream keeps profiles as a set
                raw, actual = sorted(raw), sorted(actual)
            for index, (one, other) in enumerate(zip(raw, actual)):
                self.value(one, other, f"{path}[{index}]", name)
        elif raw != actual and not self.same_text(raw, actual, path):
            self.differ(path, f"{short(raw)} became {short(actual)}")

    def is_foreign_url(self, url):
        return isinstance(url, str) and not url.startswith(self.oracle.base + "/") and not RELATIVE.match(url)

    def same_text(self, raw, actual, path):
        if not isinstance(raw, str) or not isinstance(actual, str):
            return False
        if path.endswith((".data", ".carrierAIDC")):  # base64Binary: the upstream drops white space
            return re.sub(r"\s", "", raw) == re.sub(r"\s", "", actual)
        if raw.startswith(self.oracle.base + "/"):
            return actual == self.public + raw[len(self.oracle.base):]
        return False

    def object(self, raw, actual, path, top=False):
        for name in raw.keys() | actual.keys():
            if top and name == "meta":
                self.meta(raw.get("meta", {}), actual.get("meta", {}), path)
            elif name not in actual:
                self.differ(f"{path}.{name}", "is missing")
            elif name not in raw:
                self.differ(f"{path}.{name}", f"is new: {short(actual[name])}")
            else:
                self.value(raw[name], actual[name], f"{path}.{name}", name)

    def meta(self, raw, actual, path):
        changed = ("versionId", "lastUpdated", "source")  # the upstream's own
        self.object({k: v for k, v in raw.items() if k not in changed},
                    {k: v for k, v in actual.items() if k not in changed}, f"{path}.meta")

    def reference(self, raw, actual, path):
        named = target(raw, self.oracle.base)
        text = raw.get("reference")
        if text is None or (names_patient(raw) and named != ("Patient", self.patient)):
            # Nobody's, or another patient's: masked (p11).
            if any(name in actual for name in ("reference", "identifier", "display")) or MASKED not in actual.get("extension", []):
                self.differ(path, f"{short(raw)} must be masked, is {short(actual)}")
            return
        seen = actual.get("reference")
        if named and (seen is None or target({"reference": seen}, self.public) != named) or not named and seen != text:
            self.differ(f"{path}.reference", f"{short(text)} became {short(seen)}")
        proved = named == ("Patient", self.patient) or named in self.own or text.startswith("#")
        for name in ("identifier", "display"):
            if name in actual and not proved:
                self.differ(f"{path}.{name}", "of a reference that is not proved the session's is still there")
            elif name in actual and actual[name] != raw.get(name):
                self.differ(f"{path}.{name}", f"{short(raw.get(name))} became {short(actual[name])}")
            elif name in actual:
                self.kept_displays += 1
            elif name in raw and named == ("Patient", self.patient):
                self.differ(f"{path}.{name}", "of the session's own patient is gone")


def is_reference(value, name):
    """Whether a raw object is a Reference: it has the text, or nothing but what a Reference without text has."""
    if isinstance(value.get("reference"), str):
        return True
    if name in CODING_PLACES or not value:
        return False
    names = set(value) - {"extension", "id", "_display"}
    return bool(names) and names <= {"type", "identifier", "display"} and bool(names & {"identifier", "display"}) and (
        not isinstance(value.get("identifier"), list))


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
