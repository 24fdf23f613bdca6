"""The records that the interoperability run works on: read from ../shared/data, given stable ids, loaded into an upstream.

Every bundle entry becomes `PUT {type}/{id}`; `urn:uuid:X` becomes `{type}/X`; a conditional reference
(`Practitioner?identifier=s|v`) is resolved by identifier within the corpus. Nothing else is changed.
"""

import hashlib
import json
import pathlib
import re
import urllib.error
import urllib.request

import fixtures

# Smallest records of varied shape; enough to meet every resource type in the data within a few minutes.
QUICK = [
    "luigi_wiegand_1ae0605d", "clemente_kreiger_d78af07c", "liz_conn_ee9f8dd8", "enda_schaefer_d070e7dd",
    "chet_thompson_9e2f7a3b", "marcos_delagarza_963dabe4",
]
# Not records: definitions, envelopes, and what a server keeps for itself.
SKIPPED = {
    "Bundle", "Binary", "Parameters", "OperationOutcome", "StructureDefinition", "SearchParameter", "Subscription",
    "CapabilityStatement", "CompartmentDefinition", "OperationDefinition", "ValueSet", "CodeSystem", "ConceptMap",
    "NamingSystem", "ImplementationGuide", "TestScript", "TestReport", "MessageHeader", "MessageDefinition",
}
ID = re.compile(r"^[A-Za-z0-9.-]{1,64}$")


def find_data(start):
    """`shared/data` beside the repository, or None."""
    here = pathlib.Path(start).resolve()
    for folder in [here, *here.parents]:
        for candidate in (folder / "shared" / "data", folder.parent / "shared" / "data"):
            if (candidate / "MANIFEST.tsv").is_file():
                return candidate
    return None


def walk(value, change):
    """Applies `change` to every object, innermost first."""
    if isinstance(value, dict):
        for inner in value.values():
            walk(inner, change)
        change(value)
    elif isinstance(value, list):
        for inner in value:
            walk(inner, change)


class Corpus:
    def __init__(self):
        self.resources = {}  # (type, id) -> resource
        self.refused = []  # (source, reason)

    def add_bundle(self, source, bundle):
        entries = bundle.get("entry", []) if bundle.get("resourceType") == "Bundle" else [{"resource": bundle}]
        names = {}  # fullUrl -> Type/id
        taken = []
        for entry in entries:
            resource = entry.get("resource")
            if not resource:
                continue
            kind = resource["resourceType"]
            if kind in SKIPPED:
                self.refused.append((source, f"{kind} is not a patient record"))
                continue
            url = entry.get("request", {}).get("url", "")
            full = entry.get("fullUrl", "")
            if entry.get("request", {}).get("method") == "PUT" and url.startswith(kind + "/"):
                name = url.split("/", 1)[1]
            elif resource.get("id"):
                name = resource["id"]
            elif full.startswith("urn:uuid:"):
                name = full[len("urn:uuid:"):]
            else:
                name = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()[:32]
            if not ID.match(name):
                self.refused.append((source, f"{kind}: `{name}` is no id"))
                continue
            resource["id"] = name
            if full:
                names[full] = f"{kind}/{name}"
            taken.append(resource)

        def relink(value):
            target = value.get("reference")
            if isinstance(target, str) and target in names:
                value["reference"] = names[target]
            # Synthea writes the encounter of a document and the like as plain urn values too; those stay as they are.

        for resource in taken:
            walk(resource, relink)
            key = (resource["resourceType"], resource["id"])
            if key in self.resources and self.resources[key] != resource:
                if resource["resourceType"] in ("Organization", "Practitioner", "Location", "PractitionerRole"):
                    continue  # the same shared resource, written by two bundles
                self.refused.append((source, f"{key[0]}/{key[1]} exists already with other content"))
                continue
            self.resources[key] = resource

    def resolve_conditional(self):
        """Replaces `Type?identifier=s|v` by the one resource of that type with that identifier."""
        known = {}
        for (kind, name), resource in self.resources.items():
            for identifier in as_list(resource.get("identifier")):
                if isinstance(identifier, dict):
                    known[(kind, f"{identifier.get('system', '')}|{identifier.get('value', '')}")] = name

        def relink(value):
            target = value.get("reference")
            if isinstance(target, str) and "?identifier=" in target:
                kind, token = target.split("?identifier=", 1)
                name = known.get((kind, token))
                if name:
                    value["reference"] = f"{kind}/{name}"

        for resource in self.resources.values():
            walk(resource, relink)

    def patients(self):
        return sorted(name for kind, name in self.resources if kind == "Patient")

    def types(self):
        return sorted({kind for kind, _ in self.resources})


def as_list(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def read(data, full, upstream_base):
    """The corpus: the quick choice or everything, plus the project's own hard cases."""
    corpus = Corpus()
    if data is None:
        print("skip: ../shared/data is not here; the corpus is the project's own fixtures alone")
    else:
        for name in ("00_hospitals", "01_practitioners"):
            add(corpus, data / "synthea-uscore-2021" / f"{name}.json")
        newer = sorted(p for p in (data / "synthea-uscore-2021").glob("*.json") if not p.name.startswith("0"))
        for path in newer if full else newer[:1]:
            add(corpus, path)
        for path in sorted((data / "synthea-r4-2019").glob("*.json")):
            if full or path.stem in QUICK:
                add(corpus, path)
        for name in ("patient_85", "patient_355", "patient_client_test") if full else ("patient_85", "patient_client_test"):
            add(corpus, data / "uscore-inferno" / f"uscore_bundle_{name}.json")
        add(corpus, data / "uscore-inferno" / "uscore_group_1a.json")
        for path in sorted((data / "smart-scope-fixtures-microsoft").glob("Smart*.json")):
            add(corpus, path)
        for path in sorted((data / "spec-examples-r4").glob("*.json")):
            add(corpus, path)
    corpus.add_bundle("fixtures", {"resourceType": "Bundle", "entry": fixtures.entries(upstream_base)})
    corpus.resolve_conditional()
    return corpus


def add(corpus, path):
    corpus.add_bundle(path.name, json.loads(path.read_text(encoding="utf-8")))


def load(corpus, base, step=150):
    """Puts every resource into the upstream at `base`; what it refuses leaves the corpus, with its reason kept."""
    todo = list(corpus.resources.items())
    # Patients and shared types first, so that a strict upstream could resolve references.
    todo.sort(key=lambda item: (item[0][0] not in ("Organization", "Location", "Practitioner", "Patient"), item[0]))
    for start in range(0, len(todo), step):
        chunk = todo[start:start + step]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [
            {"resource": resource, "request": {"method": "PUT", "url": f"{kind}/{name}"}}
            for (kind, name), resource in chunk]}
        answer = post(base, bundle)
        for (key, _), entry in zip(chunk, answer.get("entry", []), strict=True):
            if not entry["response"]["status"].startswith("20"):
                outcome = entry["response"].get("outcome", {}).get("issue", [{}])[0].get("diagnostics", "no reason given")
                corpus.refused.append(("upstream", f"{key[0]}/{key[1]}: {outcome[:160]}"))
                del corpus.resources[key]
    return len(corpus.resources)


def post(base, bundle):
    request = urllib.request.Request(
        base, data=json.dumps(bundle).encode(), method="POST",
        headers={"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"loading failed: {error.code} {error.read()[:600]!r}") from error
