"""Starts HAPI, loads the corpus, puts Hilum in front of it as a new user would, and compares with the oracle."""

import argparse
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import compare  # noqa: E402
import corpus  # noqa: E402
import fixtures  # noqa: E402
import gate as gates  # noqa: E402
import oracle as oracles  # noqa: E402
import protected  # noqa: E402

AGENT, LAUNCHER, TASK = "chart-agent", "chart-desk", "whole-chart"


def free_ports(count):
    """`count` neighbouring free ports on loopback. They lie below those that outgoing connections get, one of which could
    take a port before the server does that it was meant for."""
    for _ in range(50):
        port = random.randrange(20000, 32000)
        try:
            taken = []
            for offset in range(count):
                one = socket.socket()
                one.bind(("127.0.0.1", port + offset))
                taken.append(one)
            return port
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
    raise SystemExit("no free ports on loopback")


class Hapi:
    # A short run pays for compiling; a long one for code that is compiled badly and for a full heap.
    SHORT, LONG = ("-Xmx1500m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"), ("-Xmx3g", "-XX:+UseParallelGC")

    def __init__(self, folder, port, options=SHORT):
        self.base, self.authority = f"http://127.0.0.1:{port}/fhir", f"127.0.0.1:{port}"
        self.log = pathlib.Path(folder) / "hapi.log"
        server = HERE / "server"
        classpath = f"{server / 'target' / 'classes'}:{(server / 'target' / 'classpath').read_text().strip()}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["java", *options, "-cp", classpath, "interop.HapiServer", str(port)],
                stdout=log, stderr=log)

    def wait(self, seconds=180):
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.base}/metadata", timeout=30) as answer:
                    return json.load(answer)["software"]["version"]
            except OSError:
                time.sleep(0.5)
        raise SystemExit(f"HAPI did not start: {self.log.read_text()[-3000:]}")

    def stop(self):
        gates.end(self.process)


def check_oracle(definitions, records, base, kinds):
    """The oracle agrees with the hand-written expectation for the hard cases."""
    said = {f"{kind}/{name}" for kind, name in oracles.Oracle(definitions, records.resources, base, set(kinds)).released("fx-p1")
            if name.startswith("fx-")}
    if said != fixtures.RELEASED_TO_P1:
        raise SystemExit(f"the oracle is wrong about {sorted(said ^ fixtures.RELEASED_TO_P1)}")


def manifest(kinds, agent_key, launcher_key):
    """What a new user would write: a task, the integration that may run it, and its launcher."""
    scopes = " ".join(f"patient/{kind}.rs" for kind in kinds)
    common = (f'environment = "production"\nvendor = "Interoperability tests"\nexpires_at = "{gates.day(390)}T00:00:00Z"\n'
              'revocation_contact = "dana@mercy.example"\n'
              'owners = { business = "omar@mercy.example", technical = "dana@mercy.example" }\n')
    keys = lambda key: f"auth = {{ keys = {{ jwks = {json.dumps(json.dumps(key.jwks()))} }} }}\n"
    return (
        f'[[task]]\nname = "{TASK}"\nversion = 1\npurpose = "Reads everything of one patient, to compare it with the source"\n'
        f'purpose_of_use = "TREAT"\nscopes = "{scopes}"\n\n'
        f'[[integration]]\nid = "{AGENT}"\nname = "Chart agent"\nclass = "clinical-ai"\n'
        f'purpose = "Reads the whole chart of one patient"\ndata_classes = ["clinical"]\nexpected = {json.dumps(kinds)}\n{common}{keys(agent_key)}\n'
        f'[[integration.request]]\ntask = "{TASK}@1"\njustification = "Interoperability tests"\n'
        f'terms = {{ launch = [{{ mode = "ticket" }}], token_seconds = 900, budgets = {{ patients_per_hour = 10000, absent_per_session = 10000, requests_per_minute = 100000, pages_per_search = 10000, bytes_per_session = 10000000000, types_per_session = 200 }} }}\n\n'
        f'[[integration]]\nid = "{LAUNCHER}"\nname = "Chart desk"\nclass = "launcher"\n'
        f'purpose = "Starts the chart agent"\ndata_classes = ["demographics"]\nexpected = []\nlaunches = ["{AGENT}"]\n{common}{keys(launcher_key)}')


def onboard(gate, kinds, test_patients, algorithm):
    """People, check, manifest, approval: every step by the command line."""
    keys = [gates.Key(gate.folder, name, algorithm) for name in (AGENT, LAUNCHER)]
    gate.people()
    gate.hilum("check", "--config", str(gate.config), "--tenant", gate.tenant, *[f"--patient={name}" for name in test_patients])
    path = gate.folder / "chart.toml"
    path.write_text(manifest(kinds, *keys))
    gate.hilum("apply", "-f", str(path), person=gates.OPERATOR)
    approved = gate.approve_all(gates.day(300))
    if approved != 1:
        raise SystemExit(f"{approved} approvals were waiting, not 1")
    return gates.Agent(gate, AGENT, keys[0], LAUNCHER, keys[1], TASK)


def one_pass(title, binary, folder, upstream, known_as, setup, records, kinds, patients, options):
    """One gate before one upstream; the run's problems."""
    print(f"== {title}", flush=True)
    gate = gates.Gate(binary, folder, free_ports(2), upstream)
    stop = setup(gate)
    try:
        print(f"  hilum ready in {gate.start():.2f} s", flush=True)
        agent = onboard(gate, kinds, options["test_patients"], options["algorithm"])
        oracle = oracles.Oracle(options["definitions"], records.resources, known_as, set(kinds))
        run = compare.Run(gate, agent, oracle, records, kinds, oracles.Comparison)
        for patient in patients:
            run.patient(patient, reads=options["reads"], foreign=options["foreign"])
        verified = gate.json("audit", "verify", "--config", str(gate.config))
        print(f"  ledger verifies: {json.dumps(verified)[:400]}", flush=True)
        print(f"  {json.dumps(run.counts)}", flush=True)
        for said, many in run.outcomes.items():
            print(f"  {many} answers carried an OperationOutcome: {said}")
        if guard := getattr(gate, "guard", None):
            print(f"  upstream tokens {guard.counts['tokens']}, requests passed {guard.counts['passed']}, refused {guard.counts['refused']}")
            if not guard.counts["tokens"]:
                run.problem("-", "no upstream token was asked for")
        return run
    finally:
        gate.stop()
        if stop:
            stop()


def backend(hapi, folder):
    """Setup of the second pass: the same HAPI behind a token endpoint; Hilum must authenticate itself to it."""
    port = free_ports(1)

    def setup(gate):
        key = gates.Key(folder, "upstream")
        guard = protected.Protected(port, hapi.authority, "hilum-at-hapi", f"{gate.issuer}/broker/upstream/jwks")
        guard.start()
        gate.guard = guard
        auth = (f'{{ kind = "smart-backend", client_id = "hilum-at-hapi", key = "file:{key.path}", '
                f'token_url = "{guard.token_url}", scope = "system/Patient.rs system/Observation.rs" }}')
        gate.edit_config(lambda text: text.replace('auth = { kind = "none" }', f"auth = {auth}", 1))
        return guard.stop

    return f"http://127.0.0.1:{port}/fhir", setup


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="every patient of the data, every read")
    parser.add_argument("--sample", action="store_true", help="with --full: 60 reads a patient, and three patients in the second pass")
    parser.add_argument("--binary", default=str(ROOT / "target" / "debug" / "hilum"))
    parser.add_argument("--patients", help="only these, comma-separated")
    arguments = parser.parse_args()
    whole = arguments.full and not arguments.sample
    began = time.monotonic()
    data = corpus.find_data(HERE)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hilum-hapi-"))
    hapi = Hapi(folder, free_ports(1))
    try:
        print(f"HAPI FHIR {hapi.wait()} ready after {time.monotonic() - began:.0f} s at {hapi.base}", flush=True)
        records = corpus.read(data, arguments.full, hapi.base)
        loading = time.monotonic()
        corpus.load(records, hapi.base)
        print(f"loaded {len(records.resources)} resources of {len(records.types())} types, {len(records.patients())} patients, "
              f"in {time.monotonic() - loading:.0f} s; left out: {len(records.refused)}")
        for source, reason in records.refused:
            print(f"  left out ({source}): {reason}")
        if data is None:
            print("skip: without ../shared/data there are no raw definitions, so there is no oracle; nothing was compared")
            print("0 passed, 0 failed, 1 skipped")
            return 0
        definitions = oracles.Definitions(data / "definitions-r4")
        every = {"Patient"} | set(definitions.compartment) | set(oracles.ADDED) | oracles.SHARED
        kinds = sorted(every & set(records.types()))
        check_oracle(definitions, records, hapi.base, kinds)
        patients = arguments.patients.split(",") if arguments.patients else records.patients()
        options = {"definitions": definitions, "test_patients": ("fx-p1", "smart-patient-A"), "algorithm": "ES384",
                   "reads": None if whole else 60, "foreign": 2 if whole else 1}
        runs = [one_pass("Hilum before HAPI", arguments.binary, folder / "plain", hapi.base, hapi.base, lambda gate: None,
                         records, kinds, patients, options)]
        base, setup = backend(hapi, folder)
        some = patients if whole else [name for name in patients if name in ("fx-p1", "85", "smart-patient-A")] or patients[:1]
        runs.append(one_pass("Hilum before HAPI behind SMART Backend Services", arguments.binary, folder / "backend", base, hapi.base, setup,
                             records, kinds, some, {**options, "algorithm": "RS384", "reads": 20}))
        problems = [problem for run in runs for problem in run.problems]
        checks = sum(run.counts["searches"] + run.counts["reads"] + run.counts["refused"] for run in runs)
        print(f"interop/hapi took {time.monotonic() - began:.0f} s")
        print(f"{checks - len(problems)} passed, {len(problems)} failed" if problems else f"{checks} passed, 0 failed")
        if problems:
            print(f"logs are in {folder}")
        return 1 if problems else 0
    finally:
        hapi.stop()


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
