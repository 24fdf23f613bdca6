"""Starts the demonstration EHR and a gate before it, opens a session per library, and runs the libraries' scripts."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import gate as gates  # noqa: E402

AGENT, LAUNCHER, TASK = "client-agent", "client-desk", "client-libraries"
PATIENT, OTHER = "pat-001", "pat-002"
SCOPES = ("patient/Patient.rs patient/Observation.cruds patient/Appointment.cruds patient/Condition.rs patient/Encounter.rs "
          "patient/DocumentReference.rs patient/Practitioner.r patient/Organization.r patient/Location.r")
FEATURES = ("metadata", "read", "search", "paging", "includes", "refusals", "post-search", "compartment", "history", "write",
            "patch", "batch", "transaction", "everything")
SECONDS_MAX = 60  # for one script, which needs about two


def scripts(python):
    """Name and command of every script."""
    return (("npm fhirclient", ["node", HERE / "npm-fhirclient.mjs"]),
            ("npm fhir-kit-client", ["node", HERE / "npm-fhir-kit-client.mjs"]),
            ("PyPI fhirpy (sync)", [python, HERE / "pypi_fhirpy.py", "sync"]),
            ("PyPI fhirpy (async)", [python, HERE / "pypi_fhirpy.py", "async"]),
            ("PyPI fhirclient", [python, HERE / "pypi_fhirclient.py"]))


def free_ports(count):
    """The first of `count` neighbouring free ports on loopback."""
    for port in range(20000 + os.getpid() % 20000, 60000, count):
        taken = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(taken):
                one.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
    raise SystemExit("no free ports on loopback")


class Ehr:
    """`hilum demo --ehr`, the upstream."""

    def __init__(self, binary, folder):
        authority = f"127.0.0.1:{free_ports(1)}"
        self.base, self.log = f"http://{authority}/fhir", folder / "ehr.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "demo", "--ehr", authority], stdout=log, stderr=log)
        for _ in range(300):
            try:
                self.get("metadata")
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.stop()
        raise SystemExit(f"the demonstration EHR did not start: {self.log.read_text()[-2000:]}")

    def get(self, target):
        with urllib.request.urlopen(f"{self.base}/{target}", timeout=10) as answer:
            return json.load(answer)

    def stop(self):
        gates.end(self.process)


def manifest(agent_key, launcher_key):
    """A task that the libraries can do all their kinds of request with, the integration that may run it, and its launcher."""
    common = (f'environment = "test"\nvendor = "Interoperability tests"\nexpires_at = "{gates.day(30)}"\n'
              'revocation_contact = "dana@mercy.example"\n'
              'owners = { business = "omar@mercy.example", technical = "dana@mercy.example" }\n')
    keys = lambda key: f"auth = {{ keys = {{ jwks = {json.dumps(json.dumps(key.jwks()))} }} }}\n"  # noqa: E731
    kinds = [scope.split("/")[1].split(".")[0] for scope in SCOPES.split()]
    return (
        f'[[task]]\nname = "{TASK}"\nversion = 1\npurpose = "Tries what client libraries can ask for"\npurpose_of_use = "TREAT"\n'
        f'scopes = "{SCOPES}"\noperations = ["everything"]\n\n'
        f'[[integration]]\nid = "{AGENT}"\nname = "Client libraries"\nclass = "clinical-ai"\n'
        f'purpose = "Tries what client libraries can ask for"\ndata_classes = ["clinical"]\nexpected = {json.dumps([*kinds, "Coverage"])}\n'
        f'{common}{keys(agent_key)}\n'
        f'[[integration.request]]\ntask = "{TASK}@1"\njustification = "Interoperability tests"\n'
        f'terms = {{ launch = [{{ mode = "ticket" }}], token_seconds = 900, budgets = {{ patients_per_hour = 100 }} }}\n\n'
        f'[[integration]]\nid = "{LAUNCHER}"\nname = "Client desk"\nclass = "launcher"\n'
        f'purpose = "Starts the client libraries"\ndata_classes = ["demographics"]\nexpected = []\nlaunches = ["{AGENT}"]\n'
        f'{common}{keys(launcher_key)}')


def onboard(gate):
    """People, check, manifest, approval: every step by the command line."""
    keys = [gates.Key(gate.folder, name) for name in (AGENT, LAUNCHER)]
    gate.people()
    gate.hilum("check", "--config", str(gate.config), f"--patient={PATIENT}", f"--patient={OTHER}")
    path = gate.folder / "clients.toml"
    path.write_text(manifest(*keys))
    gate.hilum("apply", "-f", str(path), person=gates.OPERATOR)
    if (approved := gate.approve_all(gates.day(20))) != 1:
        raise SystemExit(f"{approved} approvals were waiting, not 1")
    return gates.Agent(gate, AGENT, keys[0], LAUNCHER, keys[1], TASK)


def given(agent, ehr, features):
    """What one script is told: a token of its own, and for a library that signs in itself a ticket and an assertion."""
    status, ticket = agent.launch(PATIENT)
    if status != 201:
        raise SystemExit(f"no launch ticket: {status} {ticket}")
    return {
        "base": agent.gate.base, "upstream": ehr.base, "features": features, "patient": PATIENT, "other": OTHER,
        "foreign": ehr.get(f"Observation?patient={OTHER}&_count=1")["entry"][0]["resource"]["id"],
        "token": agent.begin(PATIENT)["access_token"], "token_url": agent.audience, "scope": SCOPES,
        "client_id": AGENT, "date": agent.get("metadata")[1]["date"], "launch": ticket["launch"], "assertion": agent.key.assertion(AGENT, agent.audience),
    }


def run(name, command, setup, counts):
    """One script; its lines are printed as they are and counted."""
    print(f"== {name}", flush=True)
    environment = {**os.environ, "HILUM_CLIENT": json.dumps(setup), "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS_MAX)
        said, noise, ended = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        said, noise, ended = (late.stdout or b"").decode(), f"was ended after {SECONDS_MAX} s", 1
    print(said, end="", flush=True)
    lines = [line.split(" ", 1)[0] for line in said.splitlines()]
    for word in counts:
        counts[word] += lines.count(word)
    if ended or not lines.count("ok"):
        counts["FAIL"] += 1
        print(f"FAIL {name}: ended with {ended} and {len(lines)} lines: {noise[-2000:]}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help=f"only these features, comma-separated, of {', '.join(FEATURES)}; the others are printed as skipped")
    parser.add_argument("--library", help="only the scripts whose name has this text")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--python", required=True, help="the interpreter that has the libraries")
    arguments = parser.parse_args()
    features = arguments.only.split(",") if arguments.only else list(FEATURES)
    if unknown := set(features) - set(FEATURES):
        parser.error(f"no such feature: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hilum-clients-"))
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    ehr = gate = None
    try:
        ehr = Ehr(arguments.binary, folder)
        gate = gates.Gate(arguments.binary, folder, free_ports(2), ehr.base)
        gate.start()
        agent = onboard(gate)
        for name, command in scripts(arguments.python):
            if not arguments.library or arguments.library in name:
                run(name, [str(part) for part in command], given(agent, ehr, features), counts)
        verified = gate.json("audit", "verify", "--config", str(gate.config))
        print(f"ledger verifies: {json.dumps(verified)[:300]}")
    finally:
        if gate:
            gate.stop()
        if ehr:
            ehr.stop()
    print(f"interop/clients took {time.monotonic() - began:.0f} s")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed" + (f", {counts['skip']} skipped" if counts["skip"] else ""))
    if counts["FAIL"]:
        print(f"logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
