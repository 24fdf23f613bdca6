"""Starts the demonstration, runs the suite with both of its fixture files, and judges what came of it.

The second file has a public client that must prove possession (DPoP) and one with a key that must push its requests (PAR); a row
passes when it passes with one of the files and fails with none.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ORDER = {"failed": 2, "passed": 1, "skipped": 0}


def suite(options, base, file):
    """One run: its findings by id. Exit code 1 is a failed row, which is judged here; anything else ends the script."""
    command = [options.binary, "conformance", base, "--with", str(file), "-o", "json"]
    if options.only:
        command += ["--only", options.only]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode not in (0, 1):
        sys.exit(f"interop/conformance: the suite ended with {ran.returncode}")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    return {row["id"]: row for row in rows}


def judged(runs):
    """Of each row the worst that failed, else the best."""
    out = {}
    for run in runs:
        for id, row in run.items():
            if id not in out or ORDER[row["status"]] > ORDER[out[id]["status"]]:
                out[id] = row
    return list(out.values())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only")
    parser.add_argument("--slow", action="store_true", help="also the rows that wait for minutes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "fixtures.toml"
        log = open(pathlib.Path(folder) / "demo.log", "w+", encoding="utf-8")
        demo = subprocess.Popen(
            [options.binary, "demo", "--conformance", str(file), "-o", "json"], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            line = demo.stdout.readline()
            if not line:
                log.seek(0)
                sys.exit(f"interop/conformance: the demonstration did not start: {log.read()}")
            base = json.loads(line)["fhir"]
            if options.slow:
                file.write_text("slow = true\n" + file.read_text())
            runs = [suite(options, base, path) for path in (file, file.with_suffix(".bound.toml"))]
        finally:
            demo.terminate()
            demo.wait(timeout=60)
    rows = judged(runs)
    of = {status: [row for row in rows if row["status"] == status] for status in ORDER}
    for row in of["skipped"]:
        print(f"skipped {row['id']:10} {row['detail'].splitlines()[0] if row['detail'] else ''}")
    for row in of["failed"]:
        print(f"FAILED  {row['id']:10} {row['sends']} -> {row['expects']} ({row['clause']})\n        {row['detail']}")
    cases = sum(len(row["cases"]) for row in rows)
    print(f"{len(rows)} rows, {cases} cases: {len(of['passed'])} passed, {len(of['failed'])} failed, {len(of['skipped'])} skipped")
    if of["failed"] or not of["passed"]:
        sys.exit(1)


main()
