"""A file of a bulk export through the gate, every line judged, beside the same file passed on by nginx."""

import http.client
import json
import time
import urllib.parse

import answers
import gate as gates

LINES = 25_000
SECOND_OFFICER = "olga@mercy.example"
MANIFEST = """
[[task]]
name = "cohort"
version = 1
purpose = "bench"
purpose_of_use = "HOPERAT"
scopes = "system/Observation.rs"

[[integration]]
id = "bench-export"
name = "bench"
class = "analytics"
environment = "production"
vendor = "bench"
purpose = "bench"
data_classes = ["clinical"]
expected = ["Observation"]
expires_at = "{end}T00:00:00Z"
revocation_contact = "bench"
owners = {{ business = "omar@mercy.example", technical = "dana@mercy.example" }}
auth = {{ keys = {{ jwks = {jwks} }} }}

[[integration.request]]
task = "cohort@1"
justification = "bench"
terms = {{ launch = [{{ mode = "export", of = "Group/G1" }}], token_seconds = 300, budgets = {{ patients_per_hour = 10000, bytes_per_session = 1099511627776 }} }}
"""


def write(folder, base):
    """The files the upstream answers an export with; {name: length}."""
    group = {"resourceType": "Group", "id": "G1", "type": "person", "actual": True, "active": True,
             "member": [{"entity": {"reference": "Patient/P1"}}]}
    manifest = {"transactionTime": "2026-01-01T00:00:00Z", "request": f"{base}/Group/G1/$export", "requiresAccessToken": True,
                "output": [{"type": "Observation", "url": f"{base}/export/1.ndjson"}], "error": []}
    (folder / "group.json").write_text(json.dumps(group))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with open(folder / "export.ndjson", "w") as file:
        length = sum(file.write(json.dumps(answers.observation(base, number), separators=(",", ":")) + "\n") for number in range(1, LINES + 1))
    return {"export": length}


def locations(folder, base):
    """Nginx's places: a job that is complete at once."""
    lines = "default_type application/fhir+ndjson; etag off;"
    return (f"location = /fhir/Group/G1 {{ default_type application/fhir+json; alias {folder}/group.json; }} "
            f'location ~ ^/fhir/Group/G1/.export$ {{ add_header Content-Location "{base}/export/job" always; return 202; }} '
            f"location = /fhir/export/job {{ default_type application/json; alias {folder}/manifest.json; }} "
            f"location = /fhir/export/1.ndjson {{ {lines} alias {folder}/export.ndjson; }} ")


def prepare(bench):
    """Registers the client and has its approval given by two people."""
    bench.export_key = gates.Key(bench.folder, "bench-export")
    at = bench.folder / "export.toml"
    at.write_text(MANIFEST.format(end=gates.day(390), jwks=json.dumps(json.dumps(bench.export_key.jwks()))))
    bench.gate.hilum("apply", "-f", str(at), person=gates.OPERATOR)
    bench.gate.approve_all(gates.day(300))
    for row in bench.gate.json("approval", "list", "--status", "requested", person=gates.OFFICER):
        bench.gate.hilum("approval", "approve", row["id"], "--until", gates.day(300), person=SECOND_OFFICER)


def token(bench):
    gate = bench.gate
    form = {"grant_type": "client_credentials", "scope": "system/Observation.rs", "client_assertion_type": gates.ASSERTION,
            "client_assertion": bench.export_key.assertion("bench-export", f"{gate.issuer}/oauth/token")}
    status, _, body = gates.Http(gate.public).call("POST", f"/{gate.tenant}/oauth/token", urllib.parse.urlencode(form),
                                                   {"Content-Type": "application/x-www-form-urlencoded"})
    if status != 200:
        raise SystemExit(f"no token for the export: {status} {body[:500]!r}")
    return json.loads(body)["access_token"]


def take(authority, path, headers, length=None):
    """Seconds and bytes of one file, taken whole."""
    connection = http.client.HTTPConnection(authority, timeout=300)
    began, taken = time.monotonic(), 0
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{authority}{path}: {answer.status} {answer.read()[:500]!r}")
    while part := answer.read(1 << 20):
        taken += len(part)
    return time.monotonic() - began, taken


def measure(bench, proxy, rounds):
    """{subject: MB/s}, the middle of the rounds; they take turns."""
    headers = {"Authorization": f"Bearer {token(bench)}", "Prefer": "respond-async"}
    http_ = gates.Http(bench.gate.public)
    base = f"/{bench.gate.tenant}/fhir"
    status, answered, body = http_.call("GET", f"{base}/Group/G1/$export?_type=Observation", headers=headers)
    if status != 202:
        raise SystemExit(f"no export: {status} {body[:500]!r}")
    job = urllib.parse.urlsplit(answered["content-location"]).path
    status, _, body = http_.call("GET", job, headers=headers)
    if status != 200:
        raise SystemExit(f"the export is not complete: {status} {body[:500]!r}")
    path = urllib.parse.urlsplit(json.loads(body)["output"][0]["url"]).path
    rates = {"nginx proxy_pass": [], "Hilum": []}
    for _ in range(max(rounds, 3)):
        for subject, place in (("nginx proxy_pass", (proxy, "/fhir/export/1.ndjson", {})), ("Hilum", (bench.gate.public, path, headers))):
            seconds, taken = take(*place)
            if taken < bench.lengths["export"] * 0.8:
                raise SystemExit(f"{subject} gave {taken} bytes of {bench.lengths['export']}")
            rates[subject].append(taken / seconds / 1e6)
    return {subject: sorted(found)[len(found) // 2] for subject, found in rates.items()}


def section(bench, rates):
    """Its part of the results."""
    share = rates["Hilum"] / rates["nginx proxy_pass"]
    return ["## Bulk export", "",
            f"One file of {bench.lengths['export'] / 1e6:.0f} MB with {LINES:,} Observations of a member, by one client: nginx proxy_pass {rates['nginx proxy_pass']:,.0f} MB/s, "
            f"Hilum {rates['Hilum']:,.0f} MB/s ({share:.2f}), each line judged and written anew, opened and closed on record.", ""]
