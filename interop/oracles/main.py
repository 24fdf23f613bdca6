"""Nothing leaks: random tokens and random requests against two gates before two worlds, judged by three oracles.

1. Brute force: an independent reading of the policy over the raw records.
2. Non-interference: with every other patient's data replaced, each answer stays the same, byte for byte.
3. Monotonicity: a narrower token never sees more.
"""

import argparse
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "hapi"), str(HERE.parent)]

import generate  # noqa: E402
from cases import explain, one_case  # noqa: E402
from drive import drive  # noqa: E402
from misbehaved import MISBEHAVED, drive_hostile  # noqa: E402
from misbehaved_writes import drive_misbehaved_writes  # noqa: E402
from selfcheck import check_oracles  # noqa: E402
from stage import Stage, say  # noqa: E402
from writes import drive_writes  # noqa: E402

EPOCH = 100_000  # then other worlds: HAPI keeps every search in memory


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", help="these interactions alone, comma-separated: " + ",".join(generate.INTERACTIONS))
    parser.add_argument("--offered", default=",".join(generate.INTERACTIONS), help="interactions that must be answered, not only refused")
    parser.add_argument("--patients", help="the patients whose records both worlds share, comma-separated")
    parser.add_argument("--full", action="store_true", help="every patient of the data")
    parser.add_argument("--operations", action=argparse.BooleanOptionalAction, default=True, help="the task lists `everything` and `lastn`")
    parser.add_argument("--case", help="one case again: TOKEN.REQUEST")
    parser.add_argument("--writes", type=int, default=480, help="writes after the reads")
    parser.add_argument("--misbehaved", type=int, default=2400, help="requests before an upstream that misbehaves: every fault alone, then combinations")
    parser.add_argument("--ehr", choices=["hapi", "demo"], default="hapi", help="the upstream: HAPI FHIR, or the demonstration EHR with its own faults alone")
    parser.add_argument("--hostile", action="store_true", help="these alone")
    parser.add_argument("--faults", help="these faults alone and their combinations, comma-separated")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of gates before misbehaving upstreams at once")
    parser.add_argument("--ask", help="one request of your own, `GET Observation?code=1`, with --scopes and --patient")
    parser.add_argument("--scopes", default="patient/Patient.rs patient/Observation.rs", help="the token for --ask")
    parser.add_argument("--patient", default="fx-p1", help="the patient for --ask")
    parser.add_argument("--tolerate", action="append", help="do not count problems that begin so (known ones); says how many")
    parser.add_argument("--stay", action="store_true", help="wait for a key before the requests, to look at the worlds")
    parser.add_argument("--keep", action="store_true", help="keep logs")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "hilum"))
    options = parser.parse_args()
    options.hostile |= options.ehr == "demo"
    passed = failed = 0
    left = options.requests
    while True:
        size = min(left, EPOCH)
        more, fewer = epoch(options, size)
        passed, failed, left = passed + more, failed + fewer, left - size
        if left <= 0 or failed or options.case or options.ask:
            break
        options.seed += 1  # other patients, other worlds
    say(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def epoch(options, size):
    """One pair of worlds; (passed, failed)."""
    say(f"seed {options.seed}")
    stage = Stage(options)
    began = time.monotonic()
    problems, keep, total = [], options.keep, 0
    try:
        stage.build()
        check_oracles(stage)
        if options.stay:
            say(f"upstreams {stage.bases}, gates {[side.gate.base for side in stage.sides]}, logs in {stage.folder}; enter ends it")
            input()
        misbehaved = options.case and int(options.case.split(".")[0]) >= MISBEHAVED
        if (options.case or options.ask) and not misbehaved:
            problems, total = one_case(stage, options), 1
            for problem in problems:
                say(f"FAILS {problem[2]}: {problem[3]}")
        if not (options.case or options.ask or options.hostile):
            tally, problems, took = drive(stage, options, size)
            total += tally["requests"]
            told(tally)
            say(f"{tally['requests']} requests in {took:.0f} s, {tally['answers']} answers read, {tally['tokens']} tokens, {tally['exact']} told exactly, "
                f"{tally['released']} records compared")
            explain(stage, problems)
        if misbehaved or not (options.case or options.ask) and options.misbehaved and (options.hostile or not problems):
            tally, more, took = drive_hostile(stage, options)
            problems += more
            total += tally["requests"]
            told(tally)
            say(f"{tally['requests']} requests before a misbehaving upstream in {took:.0f} s, {tally['answers']} answers read")
        if options.ehr == "demo" and options.writes and (misbehaved or not problems):
            tally, more, took = drive_misbehaved_writes(stage, options)
            problems += more
            total += tally["requests"]
            told(tally)
            say(f"{tally['requests']} writes before a misbehaving upstream in {took:.0f} s, {tally['changes']} changes there")
        if not (options.case or options.ask or options.hostile) and options.writes and not problems:
            tally, problems, took = drive_writes(stage, options)
            total += tally["requests"]
            told(tally)
            say(f"{tally['requests']} writes in {took:.0f} s")
        say(f"interop/oracles took {time.monotonic() - began:.0f} s, seed {options.seed}")
        keep = keep or bool(problems)
        failed = len({(number, at) for number, at, *_ in problems})
        return max(0, total - failed), failed
    finally:
        if keep:
            say(f"logs are in {stage.folder}")
        stage.close(keep)


def told(tally):
    """The counts of a part, on as many lines as they need."""
    line = "  "
    for name, count in sorted(tally.items()):
        if name not in ("requests", "answers", "released", "exact", "tokens"):
            if len(line) > 110:
                say(line)
                line = "  "
            line += f"{name}: {count}, "
    say(line.rstrip(", "))


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
