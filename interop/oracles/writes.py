"""Writes: whatever is asked, no record of another patient is changed, made or returned, and both worlds answer with the same status.

The upstream itself is asked what changed (its system history), so that an answer cannot hide a change.
"""

import collections
import copy
import datetime
import json
import time
import urllib.parse
import urllib.request

import checks
import generate
import play as plays
from cases import begin
from drive import FAILURES_MAX
from stage import Hand, say
from worlds import rng_for

RACED = ("Observation", "fx-raced")  # what another system is made to write, and nobody asks for
SUBJECTS = {"subject", "patient", "beneficiary", "for", "individual"}


def body_for(rng, lore, patient, kind):
    """A resource to write: somebody's record with the subject turned, mixed up or left out."""
    record = copy.deepcopy(lore.record(rng, kind, patient)) if lore.ids.get(kind) else None
    if record is None:
        record = {"resourceType": kind}
    other = rng.choice(lore.patients)
    lot = rng.random()
    who = patient if lot < 0.6 else other
    for name in SUBJECTS & set(record):
        if isinstance(record[name], dict):
            record[name] = {"reference": f"Patient/{who}"} if lot < 0.9 else rng.choice([
                {"identifier": {"system": "urn:hilum:fixture:mrn", "value": "MRN-p2"}}, {"reference": f"https://elsewhere.example/fhir/Patient/{patient}"},
                {"reference": f"Patient/{patient}/_history/1"}, {"reference": "#p"}, {"display": "somebody"}])
            if rng.random() < 0.04:
                record.pop(name)
    lot = rng.random()
    if lot < 0.08:
        record["performer"] = [{"reference": f"Patient/{other}"}]
    elif lot < 0.12:
        record["contained"] = [{"resourceType": "Patient", "id": "p", "name": [{"family": "Bravo"}]}]
    elif lot < 0.16:
        record.setdefault("meta", {})["security"] = [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "U"}]
    elif lot < 0.2:
        record["extension"] = [{"url": "urn:x", "valueReference": {"reference": f"Patient/{other}"}}]
    elif lot < 0.24:
        record["derivedFrom"] = [{"reference": f"Observation/{rng.choice(lore.ids['Observation'])}"}]
    elif lot < 0.26:
        record["resourceType"] = rng.choice(["Condition", "Patient", "Subscription", "Bundle"])
    return record


def prefer(rng):
    return rng.choice([{}, {}, {"Prefer": "return=representation"}, {"Prefer": "return=minimal"}, {"Prefer": "return=OperationOutcome"}])


def create(rng, lore, patient):
    kind = lore.kind(rng, patient)
    record = body_for(rng, lore, patient, kind)
    if rng.random() < 0.9:
        record.pop("id", None)
    path = [kind] if rng.random() < 0.93 else [kind, lore.id(rng, kind, patient)]
    headers = prefer(rng)
    if rng.random() < 0.1:
        headers = {**headers, "If-None-Exist": rng.choice(["identifier=MRN-p2", f"patient={patient}", "_id=fx-o2"])}
    return {"do": "create", "method": "POST", "path": path, "params": [], "body": json.dumps(record), "headers": headers}


def update(rng, lore, patient):
    kind = lore.kind(rng, patient)
    name = lore.id(rng, kind, patient)
    record = body_for(rng, lore, patient, kind)
    if rng.random() < 0.93:
        record["id"] = name
    headers = {**prefer(rng), **rng.choice([{}, {}, {"If-Match": 'W/"1"'}, {"If-Match": 'W/"2"'}, {"If-Match": 'W/"9"'}, {"If-None-Match": "*"}])}
    conditional = rng.random() < 0.08
    return {"do": "update", "method": "PUT", "path": [kind] if conditional else [kind, name],
            "params": rng.choice([[("subject", f"Patient/{patient}")], [("_id", name)], [("identifier", "MRN-p2")]]) if conditional else [],
            "body": json.dumps(record), "headers": headers}


def patch(rng, lore, patient):
    kind, other = lore.kind(rng, patient), rng.choice(lore.patients)
    name = lore.id(rng, kind, patient)
    operations = rng.choice([
        [{"op": "replace", "path": "/status", "value": "final"}], [{"op": "replace", "path": "/subject/reference", "value": f"Patient/{other}"}],
        [{"op": "test", "path": "/subject/reference", "value": f"Patient/{other}"}], [{"op": "add", "path": "/performer", "value": [{"reference": f"Patient/{other}"}]}],
        [{"op": "copy", "from": "/id", "path": "/subject/reference"}], [{"op": "move", "from": "/code", "path": "/category/0"}], [{"op": "remove", "path": "/subject"}],
        [{"op": "add", "path": "/note", "value": [{"text": "changed"}]}], [{"op": "replace", "path": "/id", "value": "fx-o2"}],
        [{"op": "add", "path": "/meta/tag", "value": [{"code": "x"}]}], [{"op": "test", "path": "/status", "value": "final"}, {"op": "add", "path": "/language", "value": "en"}]])
    kinds = rng.choice(["application/json-patch+json"] * 6 + ["application/merge-patch+json", "application/fhir+json", "text/plain"])
    conditional = rng.random() < 0.08
    return {"do": "patch", "method": "PATCH", "path": [kind] if conditional else [kind, name], "params": [("subject", f"Patient/{patient}")] if conditional else [],
            "body": json.dumps(operations), "type": kinds, "headers": rng.choice([{}, {"If-Match": 'W/"1"'}, {"If-Match": 'W/"2"'}])}


def delete(rng, lore, patient):
    kind = lore.kind(rng, patient)
    name = lore.id(rng, kind, patient)
    lot = rng.random()
    path, params = ([kind, name], []) if lot < 0.8 else ([kind], [("patient", patient), ("status", "final")]) if lot < 0.88 else (
        [kind, name, "_history"], []) if lot < 0.92 else ([kind, name], [("_expunge", "true")]) if lot < 0.96 else ([kind], [])
    return {"do": "delete", "method": "DELETE", "path": path, "params": params, "headers": rng.choice([{}, {}, {"If-Match": 'W/"1"'}])}


def transaction(rng, lore, patient):
    entries = []
    for at in range(rng.choice([1, 2, 2, 3, 5])):
        inner = rng.choice([create, create, update, update, patch, delete, generate.read, generate.search])(rng, lore, patient)
        entry = {"request": {"method": inner["method"], "url": generate.target(inner)}}
        if "body" in inner and inner["method"] != "PATCH":
            entry["resource"] = json.loads(inner["body"])
            if isinstance(entry["resource"], dict) and inner["method"] == "POST":
                entry["fullUrl"] = rng.choice([f"urn:uuid:00000000-0000-4000-8000-00000000000{at}", f"urn:uuid:00000000-0000-4000-8000-00000000000{at}", f"Patient/{patient}"])
        for header, member in (("If-Match", "ifMatch"), ("If-None-Exist", "ifNoneExist"), ("If-None-Match", "ifNoneMatch")):
            if header in inner.get("headers", {}):
                entry["request"][member] = inner["headers"][header]
        entries.append(entry)
    if rng.random() < 0.05:
        entries.append({"request": {"method": "POST", "url": "Bundle"}, "resource": {"resourceType": "Bundle", "type": "transaction", "entry": entries[:1]}})
    if len(entries) > 1 and rng.random() < 0.3 and "fullUrl" in entries[0] and entries[1].get("resource"):
        entries[1]["resource"]["encounter"] = {"reference": entries[0]["fullUrl"]}
    kind = rng.choice(["transaction", "transaction", "batch"])
    return {"do": "transaction", "method": "POST", "path": [], "params": [], "body": json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}), "headers": prefer(rng)}


MAKERS = [create] * 4 + [update] * 4 + [patch] * 2 + [delete] * 2 + [transaction] * 3


def request(seed, number, at, lore, patient, lean):
    rng = rng_for(seed, "write", number, at)
    rng.lean = sorted(lean)
    return rng.choice(MAKERS)(rng, lore, patient)


class Upstream:
    """What changed at the upstream since the last look."""

    def __init__(self, base, clock="ours"):
        self.base, self.clock, self.seen = base, clock, {}
        self.since, self.latest = self.now(), "2000-01-01T00:00:00Z"
        self.changes()

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc)

    def get(self, url):
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)

    def changes(self):
        """[(key, version, deleted, resource, resource before)] since the last look."""
        started = self.now()
        text = (self.since - datetime.timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if self.clock == "theirs":  # the demonstration EHR dates its writes by their number
            text = self.latest
        url = f"{self.base}/_history?_count=200&_since={urllib.parse.quote(text)}"
        found = []
        while url:
            bundle = self.get(url)
            for entry in bundle.get("entry", []):
                method = entry.get("request", {}).get("method")
                resource = entry.get("resource")
                path = (entry.get("request", {}).get("url") or entry["fullUrl"]).split("/fhir/")[-1].split("/")
                key = (resource["resourceType"], resource["id"]) if resource else (path[0], path[1])
                told = entry.get("response", {})
                self.latest = max(self.latest, told.get("lastModified", self.latest))
                version = int(resource["meta"]["versionId"]) if resource else int(path[3]) if len(path) > 3 else int(told["etag"].strip('W/"'))
                if self.seen.get((key, version)):
                    continue
                self.seen[key, version] = True
                before = None
                if version > 1:
                    before = self.get(f"{self.base}/{key[0]}/{key[1]}/_history/{version - 1}")
                found.append((key, version, method == "DELETE", resource, before))
            url = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)
        self.since = started
        return found


def judge(stage, patient, clauses, changes, faults=()):
    """What changed that must not have. What the upstream did by itself is no word against the gate."""
    problems = []
    for key, version, gone, resource, before in changes:
        shown = f"{key[0]}/{key[1]} version {version}"
        if "raced" in faults and key == RACED:
            continue
        if "rewrite-subject" in faults:
            resource = None  # it is not what was sent
        for state, name in ((before, "before"), (resource, "after")):
            if state is not None and not stage.brute.oracle.is_own(state, patient):
                problems.append(f"WRITTEN {shown}, which was not the session's {name}")
        letter = "d" if gone else "u" if version > 1 else "c"
        for state in (before, resource):
            if state is not None and not stage.tokens.admits(clauses, state, letter):
                problems.append(f"WRITTEN {shown} without the letter {letter} for it")
        if key[0] == "Patient" and (gone or version == 1):
            problems.append(f"WRITTEN {shown}: a Patient was {'deleted' if gone else 'made'}")
    return problems


def returned(stage, patient, asked, answer):
    """Records of others in the answer to a write."""
    problems = []
    text = generate.text(asked)
    bad = stage.brute.leaks(patient, answer, text, False)
    # The words of the request come back in what was written.
    words = [word for word in bad if word not in text]
    if words:
        problems.append(f"identifying words of other patients: {words}")
    body = answer.body if isinstance(answer.body, dict) else {}
    for one in [body] + [entry.get("resource") or {} for entry in body.get("entry", [])]:
        if one.get("id") and one.get("resourceType") not in ("OperationOutcome", "Bundle", None):
            key = one["resourceType"], one["id"]
            if key in stage.world.records and not stage.brute.own(patient, key) and not stage.brute.oracle.is_own(one, patient):
                problems.append(f"RETURNED {key[0]}/{key[1]}")
    return problems


def drive_writes(stage, options):
    """Writes in both worlds, one after the other; the upstream says what changed. (tally, problems, seconds)"""
    began = time.monotonic()
    hand, tally, problems = Hand(stage), collections.Counter(), []
    upstreams = [Upstream(base) for base in stage.bases]
    number = 2_000_000
    while tally["requests"] < options.writes and len(problems) < FAILURES_MAX:
        number += 1
        patient, clauses, _, stranger = stage.token(number)
        sessions, found = begin(stage, hand, patient, clauses, clauses[:1], stranger)
        problems += [(number, None, oracle, text) for oracle, text in found]
        if sessions is None:
            continue
        read = stage.tokens.clauses(" ".join(clauses))
        lean = {clause.kind for clause in read if clause.letters & set("cud")} & set(stage.kinds)
        for at in range(24):
            asked = request(stage.seed, number, at, stage.lore, patient, lean)
            here = plays.play(hand.wires[0], sessions[0], asked)
            there = plays.play(hand.wires[1], sessions[1], asked, None, stage.bases)
            found = [f"status {here.status} in one world, {there.status} in the other"] if here.status != there.status else []
            if here.status not in checks.REFUSALS | {200, 201, 204, 409, 412}:
                found.append(f"status {here.status}: {here.pages[0].data[:200]!r}")
            found += returned(stage, patient, asked, here.pages[0])
            found += judge(stage, patient, read, upstreams[0].changes())
            tally["requests"] += 1
            tally[f"{asked['do']} {here.status}"] += 1
            for text in found[:2]:
                problems.append((number, at, "writes", text))
                say(f"  FAILS writes ({number}.{at}): {generate.text(asked)[:700]} as {patient} with {' '.join(clauses)[:300]}: {text[:500]}")
        if tally["requests"] % 240 == 0:
            say(f"  {time.monotonic() - began:5.0f} s  {tally['requests']} writes, {len(problems)} failed")
    return tally, problems, time.monotonic() - began
