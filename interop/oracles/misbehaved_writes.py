"""Writes before the demonstration EHR with its own faults, which then says what changed."""

import collections
import time
import traceback

import generate
import play as plays
import writes
from drive import FAILURES_MAX
from misbehaved import TOLD, before_the_ehr, chosen, granted, strange
from stage import say

FIRST = 3_000_000


def drive_misbehaved_writes(stage, options):
    """(tally, problems, seconds)"""
    began, pair = time.monotonic(), before_the_ehr(stage)
    tally, problems = collections.Counter(), []
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
    if (got := granted(pair, number, faults, report)) is None:
        return
    patient, clauses, _, sessions, token = got
    read = stage.tokens.clauses(" ".join(clauses))
    lean = {clause.kind for clause in read if clause.letters & set("cud")} & set(stage.kinds)
    for at in range(size):
        asked = writes.request(stage.seed, token, at, stage.lore, patient, lean)
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


def differing(stage, patient, asked, here, there, tally):
    """A status that differs, but for what reads count too: an unreadable record of a stranger against an absent one."""
    if here.status == there.status:
        return []
    if {here.status, there.status} == {404, 502} and len(asked["path"]) == 2 and strange(stage, patient, {**asked, "do": "read"}):
        tally[TOLD] += 1
        return []
    return [f"status {here.status} in one world, {there.status} in the other"]
