"""Two worlds that agree about a few patients and about nothing else.

World A holds the corpus as it is. World B holds the same records of the chosen patients (`group`), of nobody (shared types) and
of several parties with one of the group among them; every other record is absent, changed in content, or the same, and there are
some more. Records stand at the same place in the order of loading, so that an upstream that numbers them does so alike.
"""

import base64
import copy
import hashlib
import json
import random
import re
import urllib.request

import corpus as corpora
import oracle as oracles

KEPT_NAMES = {"resourceType", "id", "meta", "url", "system", "profile", "contentType", "mode", "unit", "implicitRules", "language"}
TEXTS = {
    "family", "given", "text", "display", "line", "city", "postalCode", "district", "description", "title", "comment", "valueString",
    "name", "div", "prefix", "suffix", "reasonText", "patientInstruction", "note", "alias", "state",
}
PLACEHOLDER = "Basic"
FIRST = ["Organization", "Location", "Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Medication", "Device", "EpisodeOfCare",
         "Encounter", "Condition", "ServiceRequest", "Specimen", "Observation", "Procedure", "Goal", "CareTeam", "Coverage"]


class Everything:
    def __contains__(self, _):
        return True


def key_of(resource):
    return resource["resourceType"], resource["id"]


def rng_for(*words):
    return random.Random(hashlib.sha256("\0".join(map(str, words)).encode()).digest())


class Standing:
    """What a record is to the group, by membership alone (no token): computed once, by brute force."""

    def __init__(self, definitions, records, base, group):
        self.definitions, self.base, self.group = definitions, base, set(group)
        self.oracle = oracles.Oracle(definitions, records, base, Everything())

    def names_group(self, resource, paths):
        return any(
            (named := oracles.target(value, self.base)) and named[0] == "Patient" and named[1] in self.group
            for path in paths for value in oracles.at(resource, path) if isinstance(value, dict))

    def is_kept(self, resource):
        """Records that the two worlds share: the group's, nobody's, and what lists one of the group as a party."""
        kind = resource["resourceType"]
        if kind in oracles.SHARED or kind == PLACEHOLDER:
            return True
        if kind == "Patient":
            return resource["id"] in self.group
        if kind == "Binary":
            return resource["id"] in OWN_FILES
        paths = list(self.definitions.compartment.get(kind, []))
        if kind in oracles.ADDED:
            return self.names_group(resource, [oracles.ADDED[kind]])
        if kind in oracles.MULTI_PARTY:
            return self.names_group(resource, paths + self.definitions.parties.get(kind, []))
        if kind in self.definitions.primary:
            return self.names_group(resource, [self.definitions.primary[kind]])
        return False


class Pool:
    """Every value seen at a place, by type and path, so that a changed record stays valid."""

    def __init__(self, resources):
        self.values = {}
        for resource in resources:
            self.gather(resource, resource["resourceType"])

    def gather(self, value, path):
        if isinstance(value, dict):
            path = value.get("resourceType", path)
            for name, inner in value.items():
                self.gather(inner, f"{path}.{name}")
        elif isinstance(value, list):
            for inner in value:
                self.gather(inner, path)
        else:
            found = self.values.setdefault(path, [])
            if len(found) < 400:
                found.append(value)

    def pick(self, path, value, rng):
        found = [one for one in self.values.get(path, []) if type(one) is type(value)]
        return rng.choice(found) if found else value


def canary(rng):
    return "zq" + "".join(rng.choice("bcdfghklmnprstvwz") for _ in range(10))


def changed(resource, rng, pool, keep, targets):
    """The record with another content; references for which `keep` holds stay, the others go to one of `targets` (type -> ids)."""

    def walk(value, name, path):
        if isinstance(value, dict):
            out, path = {}, value.get("resourceType", path)
            if isinstance(value.get("reference"), str):
                named = oracles.RELATIVE.match(value["reference"])
                if not named or keep((named[1], named[2])):
                    return copy.deepcopy(value)
                ids = targets.get(named[1])
                out = {inner: walk(one, inner, f"{path}.{inner}") for inner, one in value.items()}
                out["reference"] = f"{named[1]}/{rng.choice(ids) if ids else named[2]}"
                return out
            for inner, one in value.items():
                if inner in KEPT_NAMES:
                    out[inner] = copy.deepcopy(one)
                else:
                    out[inner] = walk(one, inner, f"{path}.{inner}")
            if name == "identifier" and isinstance(out.get("value"), str):
                out["value"] = canary(rng)
            if name == "telecom" and isinstance(out.get("value"), str):
                out["value"] = canary(rng)
            return out
        if isinstance(value, list):
            return [walk(one, name, path) for one in value]
        if name == "data":
            return base64.b64encode(canary(rng).encode()).decode()
        if name == "div":
            return f'<div xmlns="http://www.w3.org/1999/xhtml">{canary(rng)}</div>'
        if isinstance(value, str) and name in TEXTS:
            return canary(rng)
        if isinstance(value, str) and value.startswith("#"):
            return value
        return pool.pick(path, value, rng)

    return walk(resource, "", resource["resourceType"])


class World:
    """Records in the order in which they are loaded; `earlier` holds versions that stood before the last one."""

    def __init__(self, name):
        self.name = name
        self.records, self.earlier, self.deleted = {}, {}, set()

    def with_relative_references(self, base):
        """The records as an upstream at `base` tells them: references to itself are relative; other addresses stay."""
        def turn(value):
            if isinstance(value, dict):
                return {name: one.removeprefix(base + "/") if name == "reference" and isinstance(one, str) else turn(one) for name, one in value.items()}
            return [turn(one) for one in value] if isinstance(value, list) else value
        other = World(self.name)
        other.deleted = self.deleted
        other.records = {key: turn(one) if base in json.dumps(one) else one for key, one in self.records.items()}
        other.earlier = {key: [turn(one) for one in chain] for key, chain in self.earlier.items()}
        return other

    def load(self, base, step=100):
        """Puts everything into the upstream; what it refuses is returned, by key, with its reason."""
        refused = {}
        stages = [{}]
        depth = max([len(versions) for versions in self.earlier.values()], default=0)
        for level in range(depth):
            stages.append({key: versions[level] for key, versions in self.earlier.items() if level < len(versions)})
        stages = stages[1:] + [self.records]
        for stage in stages:
            todo = list(stage.items())
            for start in range(0, len(todo), step):
                chunk = todo[start:start + step]
                answer = corpora.post(base, {"resourceType": "Bundle", "type": "batch", "entry": [
                    {"resource": resource, "request": {"method": "PUT", "url": "/".join(key)}} for key, resource in chunk]})
                for (key, _), entry in zip(chunk, answer["entry"], strict=True):
                    if not entry["response"]["status"].startswith("20"):
                        issue = entry["response"].get("outcome", {}).get("issue", [{}])[0]
                        refused[key] = str(issue.get("diagnostics", "no reason given"))[:200]
        for kind, name in self.deleted:
            urllib.request.urlopen(urllib.request.Request(f"{base}/{kind}/{name}", method="DELETE"), timeout=60).close()
        return refused


def versions(records, seed, share=0.06):
    """Earlier versions for some records: the same subject with other content, and a few that were somebody else's before."""
    earlier = {}
    pool = Pool(records.values())
    for key, resource in records.items():
        rng = rng_for(seed, "version", *key)
        if key[0] in oracles.SHARED or key[0] == "Patient" or rng.random() > share:
            continue
        older = changed(resource, rng, pool, lambda _: True, {})
        older["extension"] = [*older.get("extension", []), {"url": "urn:hilum:fixture:older", "valueString": canary(rng)}]
        older["meta"] = copy.deepcopy(resource.get("meta", {}))
        earlier[key] = [older]
    return earlier


def moved(base):
    """Records that were another patient's before, or are now: (versions, oldest first)."""
    def observation(name, subject, category="vital-signs", **more):
        return {"resourceType": "Observation", "id": f"fx-{name}", "status": "final",
                "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}],
                "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": f"fixture {name} {subject[8:]}"},
                "subject": {"reference": subject}, **more}
    p1, p2 = "Patient/fx-p1", "Patient/fx-p2"
    yield [observation("omv", p2), observation("omv", p1)]
    yield [observation("omw", p1), observation("omw", p2)]
    yield [observation("ocat", p1, "laboratory"), observation("ocat", p1)]
    yield [observation("omx", p1), observation("omx", p2), observation("omx", p1)]
    yield [observation("omy", p2), observation("omy", "Patient/fx-p12")]


OWN_FILES = {"fx-b1", "fx-bs"}


def papers(base):
    """Files: of P1 by a document and by their security context, of P2 likewise, of nobody, and one that both refer to."""
    def file(name, words, **more):
        return {"resourceType": "Binary", "id": f"fx-{name}", "contentType": "text/plain", "data": base64.b64encode(words.encode()).decode(), **more}

    def document(name, patient, url):
        return {"resourceType": "DocumentReference", "id": f"fx-{name}", "status": "current", "subject": {"reference": f"Patient/fx-{patient}"},
                "content": [{"attachment": {"contentType": "text/plain", "url": url}}]}
    yield file("b1", "own file of Alpha")
    yield file("b2", "file-of-Bravo-zqbinary2")
    yield file("bx", "file-of-nobody-zqbinaryx")
    yield file("bs", "own file of Alpha by context", securityContext={"reference": "Patient/fx-p1"})
    yield file("bt", "file-of-Bravo-zqbinaryt", securityContext={"reference": "Patient/fx-p2"})
    yield document("dr1", "p1", "Binary/fx-b1")
    yield document("dr1b", "p1", f"{base}/Binary/fx-b1")
    yield document("dr2", "p2", "Binary/fx-b2")
    yield document("drt", "p1", "Binary/fx-bt")
    yield document("drx", "p1", "https://files.elsewhere.example/Patient/fx-p2/zqelsewhere")


def leftovers(group, records, rng, pool):
    """More records of strangers for world B, some of which refer to the group without being theirs."""
    own = {}
    for (kind, name) in records:
        own.setdefault(kind, []).append(name)
    out = []
    for number in range(12):
        out.append({"resourceType": "Patient", "id": f"xb-p{number}", "active": True, "name": [{"family": canary(rng)}],
                    "identifier": [{"system": "urn:hilum:fixture:mrn", "value": canary(rng)}], "gender": "unknown"})
    for number, patient in enumerate(sorted(group)):
        stranger = {"reference": f"Patient/xb-p{number % 12}"}
        me = {"reference": f"Patient/{patient}"}
        base = {"status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": canary(rng)},
                "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}]}
        theirs = [name for kind, name in records if kind == "Observation"]
        out += [
            {"resourceType": "Observation", "id": f"xb-perf-{number}", "subject": stranger, "performer": [me], **base},
            {"resourceType": "Observation", "id": f"xb-focus-{number}", "subject": stranger, "focus": [me], **base},
            {"resourceType": "Observation", "id": f"xb-der-{number}", "subject": stranger,
             "derivedFrom": [{"reference": f"Observation/{rng.choice(theirs)}"}], **base},
            {"resourceType": "Condition", "id": f"xb-ast-{number}", "subject": stranger, "asserter": me, "code": {"text": canary(rng)}},
            {"resourceType": "Coverage", "id": f"xb-cov-{number}", "status": "active", "beneficiary": stranger, "subscriber": me,
             "payor": [{"display": canary(rng)}]},
            {"resourceType": "Patient", "id": f"xb-link-{number}", "name": [{"family": canary(rng)}],
             "link": [{"other": me, "type": "seealso"}]},
        ]
    return {key_of(resource): resource for resource in out}


def build(definitions, corpus, base, group, seed):
    """(world A, world B, standing). `corpus.resources` are the records in any order; B is told in terms of the base of A."""
    # An upstream without referential integrity resolves a reference only if its target is there already.
    rank = {kind: at for at, kind in enumerate(FIRST)}
    order = sorted(corpus.resources, key=lambda key: (rank.get(key[0], len(FIRST)), key))
    first = World("A")
    first.records = {key: corpus.resources[key] for key in order}
    first.earlier = versions(first.records, seed)
    for chain in moved(base):
        key = key_of(chain[-1])
        first.records[key] = chain[-1]
        first.earlier[key] = chain[:-1]
    for resource in papers(base):
        first.records[key_of(resource)] = resource
    standing = Standing(definitions, first.records, base, group)
    kept = {key for key, resource in first.records.items() if standing.is_kept(resource)}
    others = [key for key in first.records if key not in kept]
    pool = Pool(first.records.values())
    targets = {}
    for kind, name in others:
        targets.setdefault(kind, []).append(name)
    for number in range(12):
        targets.setdefault("Patient", []).append(f"xb-p{number}")

    def keep(named):
        return named in kept or named[0] == "Patient" and named[1] in standing.group

    second = World("B")
    counts = {"kept": len(kept), "absent": 0, "changed": 0, "same": 0}
    instead = {}
    for key, resource in first.records.items():
        rng = rng_for(seed, "world", *key)
        if key in kept:
            second.records[key] = resource
        elif (lot := rng.random()) < 0.25 and not any(standing.is_kept(older) for older in first.earlier.get(key, [])):
            name = "none-" + hashlib.sha256("/".join(key).encode()).hexdigest()[:24]
            instead[key] = (PLACEHOLDER, name)
            second.records[instead[key]] = {"resourceType": PLACEHOLDER, "id": name, "code": {"text": "nothing"}}
            counts["absent"] += 1
        elif lot < 0.9:
            second.records[key] = changed(resource, rng, pool, keep, targets)
            counts["changed"] += 1
        else:
            second.records[key] = resource
            counts["same"] += 1
    for key, chain in first.earlier.items():
        rng = rng_for(seed, "earlier", *key)
        if key in instead:
            second.earlier[instead[key]] = [{**second.records[instead[key]], "code": {"text": f"nothing {at}"}} for at in range(len(chain))]
        else:
            second.earlier[key] = [
                older if standing.is_kept(older) else changed(older, rng, pool, keep, targets) for older in chain]
    more = leftovers(group, [key for key in kept], rng_for(seed, "more"), pool)
    second.records.update(more)
    counts["more"] = len(more)
    return first, second, standing, counts


def rebase(world, old, new):
    """The world's absolute references to its own upstream, for another address of it."""
    def turn(value):
        return json.loads(json.dumps(value).replace(old, new))
    world.records = {key: turn(value) if old in json.dumps(value) else value for key, value in world.records.items()}
    world.earlier = {key: turn(value) for key, value in world.earlier.items()}


WORD = re.compile(r"[\w.\-]{4,}")


def identifying(resource):
    """Words of a record by which somebody could be told: ids, names, addresses, identifiers, notes, exact times."""
    words = set()

    def take(text):
        words.update(WORD.findall(text))
        words.update(re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+", text))

    def walk(value, name):
        if isinstance(value, dict):
            for inner, one in value.items():
                walk(one, inner)
        elif isinstance(value, list):
            for one in value:
                walk(one, name)
        elif isinstance(value, str):
            if name in ("id", "reference", "value", "family", "given", "line", "city", "postalCode", "valueString", "div", "birthDate") or (
                    re.match(r"\d{4}-\d\d-\d\dT", value)):
                take(value)

    walk({key: value for key, value in resource.items() if key != "meta"}, "")
    return words
