"""What there is to ask for: the values of a world, and random tokens made of them. Everything is made from a seed."""

import urllib.parse

import oracle as oracles

KINDS_OFTEN = ["Observation", "Patient", "Condition", "Encounter", "MedicationRequest", "Procedure", "DiagnosticReport", "Claim",
               "ExplanationOfBenefit", "Immunization", "CarePlan", "Coverage", "Appointment", "List", "Group", "Provenance", "Device",
               "Task", "Practitioner", "Organization", "Location", "Medication", "DocumentReference", "AuditEvent", "Communication",
               "Goal", "Binary", "CareTeam", "AllergyIntolerance", "RelatedPerson", "Person", "ServiceRequest", "Account"]
LETTERS = ["rs", "rs", "rs", "rs", "r", "s", "cruds", "crs", "cud", "c", "u", "rus", "d", "ru"]
WORDS_V1 = ["read", "read", "*", "write"]
CRITERIA = ["category", "status", "code", "clinical-status", "verification-status", "intent", "class", "type", "gender", "active",
            "priority", "identifier", "_tag", "_security"]
CRITERIA_ODD = ["date=ge2020-01-01", "subject=Patient/fx-p1", "code:in=http://x", "patient.name=x", "_has:Group:member:_id=1", "nonsense=1"]
ABSENT = ["absent-0", "none", "0", "999999", "fx-p1x", "..", "A.b-c"]


class Lore:
    """What the world knows, to ask for: values by type and parameter, ids by type."""

    def __init__(self, definitions, tokens, world, brute, kinds, group, base):
        self.definitions, self.tokens, self.world, self.brute = definitions, tokens, world, brute
        self.kinds, self.group, self.base = list(kinds), list(group), base
        self.ids, self.patients = {}, []
        for kind, name in world.records:
            self.ids.setdefault(kind, []).append(name)
        self.patients = self.ids["Patient"]
        self.own = {patient: {} for patient in group}
        for patient in group:
            for kind, name in brute.own_keys(patient):
                self.own[patient].setdefault(kind, []).append(name)
        self.params = {}  # kind -> [(code, parameter)]
        for (base_kind, code), parameter in definitions.parameters.items():
            if base_kind in set(kinds):
                self.params.setdefault(base_kind, []).append((code, parameter))
        self.references = {  # kind -> [(code, targets)]
            kind: [(code, p.get("target", [])) for code, p in rows if p["type"] == "reference"] for kind, rows in self.params.items()}
        self.pointing = {}  # kind -> [(source, code)]
        for source, rows in self.references.items():
            for code, targets in rows:
                for kind in targets:
                    self.pointing.setdefault(kind, []).append((source, code))

    def kind(self, rng, patient=None):
        lot = rng.random()
        lean = getattr(rng, "lean", None)  # the types of the token, which is where there is something to see
        if lean and lot < 0.7:
            owned = [kind for kind in lean if kind in self.own.get(patient, ())]
            return rng.choice(owned if owned and rng.random() < 0.7 else lean)
        if patient and lot < 0.8:
            return rng.choice(sorted(self.own[patient]))
        if lot < 0.92:
            return rng.choice([kind for kind in KINDS_OFTEN if kind in self.kinds])
        return rng.choice(self.kinds)

    def id(self, rng, kind, patient):
        lot = rng.random()
        own = self.own[patient].get(kind)
        if own and lot < 0.55:
            return rng.choice(own)
        if lot < 0.9 and self.ids.get(kind):
            return rng.choice(self.ids[kind])
        return rng.choice(ABSENT[:5])

    def record(self, rng, kind, patient):
        own = self.own[patient].get(kind)
        ids = own if own and rng.random() < 0.65 else self.ids.get(kind)
        return self.world.records.get((kind, rng.choice(ids))) if ids else None

    def values(self, rng, kind, code, patient):
        """Values at a parameter's paths of some record of the type, own or foreign."""
        record = self.record(rng, kind, patient)
        if record is None:
            return []
        paths = self.tokens.token_paths(kind, code) or self.definitions.paths(kind, code)
        return [value for path in paths for value in oracles.at(record, path)]

    def token(self, rng, kind, code, patient):
        found = self.values(rng, kind, code, patient)
        for value in found:
            if isinstance(value, dict):
                coding = rng.choice(value["coding"]) if isinstance(value.get("coding"), list) and value["coding"] else value
                text = coding.get("code", coding.get("value"))
                if not isinstance(text, str) or any(c in text for c in ",|$\\"):
                    continue
                system = coding.get("system")
                lot = rng.random()
                if system and lot < 0.5:
                    return f"{system}|{text}"
                if not system and lot < 0.2:
                    return f"|{text}"
                return text
            if isinstance(value, bool):
                return "true" if value else "false"
            if isinstance(value, str) and not any(c in value for c in ",|$\\"):
                return value
        return rng.choice(["laboratory", "vital-signs", "final", "8867-4", "nothing-like-it", "http://loinc.org|8867-4", "active"])

    def text(self, rng, kind, code, patient):
        for value in self.values(rng, kind, code, patient):
            words = [value] if isinstance(value, str) else [
                word for word in (value.get("family"), value.get("city"), value.get("text")) if isinstance(word, str)] if isinstance(value, dict) else []
            if words and not any(c in words[0] for c in ",|$\\"):
                return words[0][:rng.choice([3, 6, 40])]
        return rng.choice(["Fixture", "Bravo", "Alpha", "a", "Smith", "zz"])

    def date(self, rng, kind, code, patient):
        text = next((value for value in self.values(rng, kind, code, patient) if isinstance(value, str)), "2019-05-01")
        return rng.choice(["", "", "ge", "le", "gt", "lt", "ne", "sa", "eb", "ap", "eq"]) + text[:rng.choice([4, 7, 10, 40])]

    def reference(self, rng, targets, patient):
        """(value, plain): a reference value; `plain` when it is one whose meaning is without doubt."""
        lot = rng.random()
        if "Patient" in targets and lot < 0.6:
            other = rng.choice(self.patients)
            return rng.choice([
                f"Patient/{patient}", f"Patient/{patient}", patient, f"{self.base}/Patient/{patient}", f"Patient/{other}", other,
                f"Patient/{patient},Patient/{other}", f"Patient/{other},Patient/{patient}", f"Patient/{other},Group/g", f"{patient},{other}",
                f"Patient/{patient},Group/g", f"https://elsewhere.example/fhir/Patient/{patient}", f"{self.base}/Patient/{other}",
                f"Patient/{patient}\\,Patient/{other}", "Patient/absent-0", f"Patient/{patient}/_history/1", f"patient/{patient}",
                f"Patient/{patient[:-1]}", f"Patient/{patient}2", f" Patient/{patient}", f"Patient/{patient}|{other}", "#p", ""])
        kind = rng.choice([kind for kind in targets if kind in self.ids] or ["Practitioner"])
        name = self.id(rng, kind, patient)
        return rng.choice([f"{kind}/{name}", f"{kind}/{name}", name, f"{self.base}/{kind}/{name}"])


def token_scopes(rng, lore, patient):
    """A random scope string: letters of both spellings, several clauses for a type, criteria, a malformed one now and then."""
    clauses = []
    kinds = set(rng.sample(lore.kinds, k=min(len(lore.kinds), rng.choice([1, 2, 4, 8, 20, 60]))))
    kinds |= set(rng.sample(KINDS_OFTEN, k=rng.choice([0, 2, 5, 12, 30]))) & set(lore.kinds)
    kinds |= set(rng.sample(sorted(lore.own[patient]), k=min(len(lore.own[patient]), rng.choice([1, 4, 10, 40]))))
    if rng.random() < 0.6:
        kinds.add("Observation")
    if rng.random() < 0.55:
        kinds.add("Patient")
    for kind in sorted(kinds):
        for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
            clauses.append(clause(rng, lore, kind, patient))
    if rng.random() < 0.1:
        clauses.append(rng.choice(["patient/Observation.sr", "patient/Observation.", "patient/Observation.rs?", "patient/observation.rs",
                                   "patient/Condition.read?category=x", "openid", "launch", "nonsense"]))
    return list(dict.fromkeys(clauses))[:200]


def clause(rng, lore, kind, patient):
    if rng.random() < 0.2:
        return f"patient/{kind}.{rng.choice(WORDS_V1)}"
    text = f"patient/{kind}.{rng.choice(LETTERS)}"
    if rng.random() < 0.3:
        names = [name for name in CRITERIA if lore.tokens.token_paths(kind, name)]
        pairs = []
        for name in rng.sample(names, k=min(len(names), rng.choice([1, 1, 1, 2]))):
            value = lore.token(rng, kind, name, patient)
            if rng.random() < 0.2:
                value += "," + lore.token(rng, kind, name, patient)
            pairs.append(f"{name}={urllib.parse.quote(value, safe='/:|,')}")
        if rng.random() < 0.06:
            pairs.append(rng.choice(CRITERIA_ODD))
        if pairs:
            text += "?" + "&".join(pairs)
    return text


def narrower(rng, lore, clauses, patient):
    """A token that allows strictly less: a clause fewer, a letter fewer, a criterion more."""
    out = list(clauses)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(out))
        if not lore.tokens.clauses(out[at]):
            continue  # malformed, so it allows nothing; taken apart it might
        head, _, query = out[at].partition("?")
        name, _, letters = head.rpartition(".")
        letters = {"read": "rs", "write": "cud", "*": "cruds"}.get(letters, letters)
        lot = rng.random()
        if lot < 0.4 and len(out) > 1:
            out.pop(at)
        elif lot < 0.7 and len(letters) > 1:
            gone = rng.choice(letters)
            out[at] = f"{name}.{letters.replace(gone, '')}" + ("?" + query if query else "")
        else:
            kind = name.split("/")[-1]
            names = [one for one in CRITERIA if lore.tokens.token_paths(kind, one)]
            if names and not query:
                code = rng.choice(names)
                value = urllib.parse.quote(lore.token(rng, kind, code, patient), safe="/:|,")
                out[at] = f"{name}.{letters}?{code}={value}"
            elif len(out) > 1:
                out.pop(at)
    return list(dict.fromkeys(out))
