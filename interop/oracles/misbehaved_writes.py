"""Writes before the demonstration EHR with its own faults, which then says what changed."""

import collections
import copy
import json
import time
import traceback

import generate
import play as plays
import writes
from drive import FAILURES_MAX
from misbehaved import TOLD, before_the_ehr, chosen, granted, strange
from stage import say
from worlds import rng_for

FIRST = 3_000_000
# What most random tokens lack, so that something is written whatever the fault.
WIDE = ["patient/Patient.rs", "patient/Observation.cruds", "patient/Encounter.rs", "patient/Practitioner.rs"]


def drive_misbehaved_writes(stage, options):
    """(tally, problems, seconds)"""
    began, pair = time.monotonic(), before_the_ehr(stage)
    tally, problems = collections.Counter(), []
    pair.catalogue.misbehave((), 0)
    upstreams = [writes.Upstream(base, "theirs") for base in stage.bases]
    episodes, size = chosen(pair.catalogue, options, options.writes, stage.seed)
    todo = list(enumerate(episodes, FIRST))
    if options.case:
        todo = [one for one in todo if one[0] == int(options.case.split(".")[0])]

    def report(number, at, oracle, text):
        problems.append((number, at, oracle, text))
        say(f"  FAILS {oracle} (--case {number}.{at}): {text[:1200]}")
    for number, faults in todo:
        if len(problems) >= FAILURES_MAX:
            break
        try:
            episode(stage, pair, upstreams, faults, number, size, tally, report)
        except Exception:  # noqa: BLE001
            report(number, None, "the suite itself", f"[{'+'.join(faults)}] " + traceback.format_exc()[-1200:])
        tally["episodes"] += 1
    pair.catalogue.misbehave((), 0)
    return tally, problems, time.monotonic() - began


def episode(stage, pair, upstreams, faults, number, size, tally, report):
    if (got := granted(pair, number, faults, report, WIDE)) is None:
        return
    patient, clauses, _, sessions, token = got
    read = stage.tokens.clauses(" ".join(clauses))
    lean = {clause.kind for clause in read if clause.letters & set("cud")} & set(stage.kinds)
    for at in range(size):
        asked = plain(stage, token, at, patient) if at % 2 else writes.request(stage.seed, token, at, stage.lore, patient, lean)
        pair.catalogue.misbehave(faults, f"{stage.seed}/{number}")
        here = plays.play(pair.hand.wires[0], sessions[0], asked)
        there = plays.play(pair.hand.wires[1], sessions[1], asked, None, stage.bases)
        pair.catalogue.misbehave((), 0)
        found = differing(stage, patient, asked, here, there, tally)
        found += writes.returned(stage, patient, asked, here.pages[0])
        changes = upstreams[0].changes()
        found += writes.judge(stage, patient, read, changes, faults)
        tally["requests"] += 1
        tally["changes"] += len(changes)
        tally[f"{asked['do']} {here.status}"] += 1
        for text in found[:2]:
            report(number, at, "writes", f"[{'+'.join(faults)}] {generate.text(asked)[:700]} as {patient} with {' '.join(clauses)[:300]}: {text[:500]}")


def plain(stage, token, at, patient):
    """A write that nothing stands against but the fault: a new Observation of the patient, a changed one, or both together."""
    rng = rng_for(stage.seed, "plain write", token, at)
    new = {"resourceType": "Observation", "status": "final", "code": {"text": "plain"}, "subject": {"reference": f"Patient/{patient}"},
           "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}]}
    old = copy.deepcopy(stage.world.records["Observation", rng.choice(stage.lore.own[patient]["Observation"])])
    old["note"] = [{"text": f"changed {token}.{at}"}]
    create = {"method": "POST", "path": ["Observation"], "body": json.dumps(new)}
    update = {"method": "PUT", "path": ["Observation", old["id"]], "body": json.dumps(old)}
    lot = rng.random()
    if lot < 0.8:
        return {"do": "plain " + ("create" if lot < 0.5 else "update"), "params": [], "headers": writes.prefer(rng), **(create if lot < 0.5 else update)}
    entries = [{"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001", "resource": new, "request": {"method": "POST", "url": "Observation"}},
               {"resource": old, "request": {"method": "PUT", "url": "/".join(update["path"])}}]
    return {"do": "plain " + (kind := rng.choice(["transaction", "batch"])), "method": "POST", "path": [], "params": [], "headers": writes.prefer(rng),
            "body": json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})}


def differing(stage, patient, asked, here, there, tally):
    """A status that differs, but for what reads count too: an unreadable record of a stranger against an absent one."""
    if here.status == there.status:
        return []
    if {here.status, there.status} == {404, 502} and len(asked["path"]) == 2 and strange(stage, patient, {**asked, "do": "read"}):
        tally[TOLD] += 1
        return []
    return [f"status {here.status} in one world, {there.status} in the other"]
