"""Starts HAPI with a Group of four patients, the gate before it, and lets smart-fetch export the Group; then compares."""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "interop" / "hapi"), str(ROOT / "interop")]

import corpus  # noqa: E402
import gate as gates  # noqa: E402
import main as hapis  # noqa: E402

CLIENT, CLINICAL, TASK = "cohort-export", "ward-agent", "cohort"
SECOND_OFFICER = "olga@mercy.example"
KINDS = ["Patient", "Condition", "Observation", "Encounter", "Immunization", "Procedure", "DiagnosticReport"]
# Elements by which a record of these types is its patient's, and nobody else's.
OWNED = {kind: "patient" if kind == "Immunization" else "subject" for kind in KINDS}


def manifest(key, clinical_key):
    common = (f'environment = "production"\nvendor = "Interoperability tests"\nexpires_at = "{gates.day(390)}T00:00:00Z"\n'
              'revocation_contact = "dana@mercy.example"\nowners = { business = "omar@mercy.example", technical = "dana@mercy.example" }\n')
    keys = lambda one: f"auth = {{ keys = {{ jwks = {json.dumps(json.dumps(one.jwks()))} }} }}\n"
    return (
        f'[[task]]\nname = "{TASK}"\nversion = 1\npurpose = "Quality measures of one cohort"\npurpose_of_use = "HOPERAT"\n'
        f'scopes = "{" ".join(f"system/{kind}.rs" for kind in KINDS)}"\n\n'
        f'[[task]]\nname = "ward"\nversion = 1\npurpose = "Reads one chart"\npurpose_of_use = "TREAT"\nscopes = "patient/Patient.rs"\n\n'
        f'[[integration]]\nid = "{CLIENT}"\nname = "Cohort export"\nclass = "analytics"\npurpose = "Exports one cohort"\n'
        f'data_classes = ["clinical"]\nexpected = {json.dumps(KINDS)}\n{common}{keys(key)}\n'
        f'[[integration.request]]\ntask = "{TASK}@1"\njustification = "Quality measures of the diabetes cohort"\n'
        'terms = { launch = [{ mode = "export", of = "Group/cohort" }], token_seconds = 300, budgets = { patients_per_hour = 10000, requests_per_minute = 1000 } }\n\n'
        f'[[integration]]\nid = "{CLINICAL}"\nname = "Ward agent"\nclass = "clinical-ai"\npurpose = "Reads one chart"\n'
        f'data_classes = ["demographics"]\nexpected = ["Patient"]\n{common}{keys(clinical_key)}\n'
        '[[integration.request]]\ntask = "ward@1"\njustification = "Interoperability tests"\n'
        'terms = { launch = [{ mode = "ticket" }], token_seconds = 300, budgets = { patients_per_hour = 10000 } }\n\n'
        f'[[integration]]\nid = "desk"\nname = "Desk"\nclass = "launcher"\npurpose = "Starts the ward agent"\ndata_classes = ["demographics"]\n'
        f'expected = []\nlaunches = ["{CLINICAL}"]\n{common}')


def put(base, resource):
    request = urllib.request.Request(f"{base}/{resource['resourceType']}/{resource['id']}", json.dumps(resource).encode(),
                                     {"Content-Type": "application/fhir+json"}, method="PUT")
    urllib.request.urlopen(request).close()


def onboard(gate, folder):
    """People, one manifest, and the approval by two: every step by the command line."""
    key, clinical, desk = (gates.Key(folder, name) for name in (CLIENT, CLINICAL, "desk"))
    # Of a PEM file smart-fetch takes the key's thumbprint (RFC 7638) for its name.
    members = {name: value for name, value in sorted(key.jwk().items()) if name in ("crv", "kty", "x", "y")}
    key.kid = gates.b64(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())
    gate.people({SECOND_OFFICER: "privacy-officer"})
    path = folder / "cohort.toml"
    path.write_text(manifest(key, clinical) + f"auth = {{ keys = {{ jwks = {json.dumps(json.dumps(desk.jwks()))} }} }}\n")
    gate.hilum("apply", "-f", str(path), person=gates.OPERATOR)
    gate.approve_all(gates.day(30))
    waiting = gate.json("approval", "list", "--status", "requested", person=gates.OFFICER)
    assert len(waiting) == 1, f"after one approver the export waits for another: {waiting}"
    gate.hilum("approval", "approve", waiting[0]["id"], "--until", gates.day(30), person=SECOND_OFFICER)
    return key, gates.Agent(gate, CLINICAL, clinical, "desk", desk, "ward")


def exported(folder):
    """{type: {id: resource}} of what the client has written."""
    out = {}
    for path in sorted(folder.glob("*.ndjson")):
        if path.name == "log.ndjson":
            continue
        for line in path.read_text().splitlines():
            resource = json.loads(line)
            out.setdefault(resource["resourceType"], {})[resource["id"]] = resource
    return out


class Checks:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def holds(self, what, so):
        self.passed, self.failed = self.passed + bool(so), self.failed + (not so)
        if not so:
            print(f"FAILED {what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--client", required=True, help="the smart-fetch program")
    arguments = parser.parse_args()
    began = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hilum-bulk-"))
    hapi = hapis.Hapi(folder, hapis.free_ports(1))
    gate, checks = None, Checks()
    try:
        print(f"HAPI FHIR {hapi.wait()} ready after {time.monotonic() - began:.0f} s", flush=True)
        data = corpus.find_data(HERE)
        records = corpus.read(data, False, hapi.base)
        corpus.load(records, hapi.base)
        # Without the shared data there are the hand-written patients alone.
        members = [one for one in records.patients() if not one.startswith("fx-")][:4] or records.patients()[:1]
        put(hapi.base, {"resourceType": "Group", "id": "cohort", "type": "person", "actual": True, "active": True,
                        "member": [{"entity": {"reference": f"Patient/{one}"}} for one in members]})
        gate = gates.Gate(arguments.binary, folder / "hilum", hapis.free_ports(2), hapi.base)
        gate.start()
        key, agent = onboard(gate, folder)
        out = folder / "out"
        out.mkdir()
        run = [arguments.client, "bulk", "--fhir-url", gate.base, "--group", "cohort", "--type", ",".join(KINDS), "--no-compression", "--no-default-filters",
               "--smart-client-id", CLIENT, "--smart-key", str(key.path), str(out)]
        exporting = time.monotonic()
        done = subprocess.run(run, capture_output=True, text=True, timeout=900)
        print(f"smart-fetch bulk took {time.monotonic() - exporting:.0f} s, exit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}", flush=True)
        checks.holds("smart-fetch exports to the end", done.returncode == 0)
        found = exported(out)
        wanted = {kind: set() for kind in KINDS}
        for (kind, name), resource in records.resources.items():
            if kind in OWNED and (name in members if kind == "Patient" else
                                  resource.get(OWNED[kind], {}).get("reference", "").removeprefix(f"{hapi.base}/") in [f"Patient/{one}" for one in members]):
                wanted[kind].add(name)
        for kind in OWNED:
            checks.holds(f"{kind}: {sorted(wanted[kind] ^ set(found.get(kind, {})))[:5]} differ", wanted[kind] == set(found.get(kind, {})))
            print(f"  {kind}: {len(found.get(kind, {}))} of {len(wanted[kind])}")
        checks.holds(f"only what was asked for: {sorted(set(found) - set(KINDS))}", set(found) <= set(KINDS))
        records_said = gate.json("audit", "search", "--kind", "fhir-export", person=gates.OFFICER)
        closed = [one for one in records_said if one["phase"] == "close"]
        checks.holds(f"each file has a record of its end: {len(closed)}", len(closed) == len(list(out.glob("[A-Z]*.ndjson"))))
        checks.holds("and that of a success", all(one["outcome"] == "success" for one in closed))
        checks.holds("a person was told", any(one["reason"] == "export-started" for one in gate.json("alert", "list", person=gates.OFFICER)))

        # The same by an agent at the bedside: refused, plainly, before HAPI hears of it.
        token = agent.begin(members[0])["access_token"]
        bearer = folder / "bearer"
        bearer.write_text(token)
        refused = folder / "refused"
        refused.mkdir()
        run = [arguments.client, "bulk", "--fhir-url", gate.base, "--group", "cohort", "--type", "Patient", "--no-compression",
               "--bearer-token", str(bearer), str(refused)]
        done = subprocess.run(run, capture_output=True, text=True, timeout=300)
        said = done.stdout + done.stderr
        print(f"as clinical-ai, exit {done.returncode}: {said.strip()[-600:]}", flush=True)
        checks.holds("as clinical-ai it is refused with 403", done.returncode != 0 and "403" in said)
        checks.holds("and gets nothing", not exported(refused))
        verified = gate.json("audit", "verify", "--config", str(gate.config))
        print(f"  ledger verifies: {json.dumps(verified)[:200]}")
        print(f"interop/bulk took {time.monotonic() - began:.0f} s")
        print(f"{checks.passed} passed, {checks.failed} failed")
        if checks.failed:
            print(f"logs are in {folder}")
        return 1 if checks.failed else 0
    finally:
        if gate:
            gate.stop()
        hapi.stop()


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
