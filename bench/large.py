"""Large and many-part answers: a 2 MB searchset, a transaction of 20 entries, and an upstream answer of 100 MB.

The upstream is static here too. It answers a transaction as if it had done it: what is measured is the gate.
"""

import http.client
import json
import pathlib
import statistics
import subprocess
import time

import answers
import gate as gates

ENTRIES, PARTS = 1_000, 20
SEARCH = "Observation?code=large&patient=Patient/P1"
HUGE = "Observation?code=huge&patient=Patient/P1"
TRANSACTION = "transaction of 20"
# Of the parts: creates first, then updates of these, then as many reads.
CREATES, UPDATES = 10, range(1, 6)
HUGE_ENTRIES = 4_500

POST = """wrk.method = "POST"; wrk.headers["Content-Type"] = "application/fhir+json"
local file = io.open("{body}"); wrk.body = file:read("*a"); file:close()
"""


def searchset(base, numbers, pad=0):
    """A searchset as text, one entry after another."""
    yield ('{"resourceType":"Bundle","id":"b2","type":"searchset","link":[{"relation":"self","url":"%s/Observation"}],"entry":[' % base)
    for at, number in enumerate(numbers):
        resource = answers.observation(base, number)
        if pad:
            resource["note"].append({"text": "Taken at rest. " * (pad // 15)})
        entry = {"fullUrl": f"{base}/Observation/obs-{number}", "resource": resource, "search": {"mode": "match"}}
        yield ("," if at else "") + json.dumps(entry, separators=(",", ":"))
    yield "]}"


def write(folder, base, huge_mib):
    """The files the upstream answers with; {name: length}."""
    lengths = {}
    pad = max(0, (huge_mib << 20) // HUGE_ENTRIES - 2_100)
    for name, numbers, more in (("large", range(1, ENTRIES + 1), 0), ("huge", range(1, HUGE_ENTRIES + 1), pad)):
        with open(folder / f"{name}.json", "w") as file:
            lengths[name] = sum(file.write(piece) for piece in searchset(base, numbers, more))
    stored = [answers.observation(base, number) for number in UPDATES]
    for resource in stored:
        (folder / f"{resource['id']}.json").write_text(json.dumps(resource, separators=(",", ":")))
    done = [{"response": {"status": "201 Created", "location": f"Observation/new-{at}/_history/1", "etag": 'W/"1"'}} for at in range(CREATES)]
    done += [{"response": {"status": "200 OK", "etag": 'W/"2"'}} for _ in UPDATES]
    done += [{"resource": resource, "response": {"status": "200 OK", "etag": 'W/"1"'}} for resource in stored]
    data = json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": done}, separators=(",", ":"))
    (folder / "transaction.json").write_text(data)
    return {**lengths, "transaction": len(data)}


# Which file a search is answered with, in nginx's words.
MAP = "map $arg_code $answer { default bundle; large large; huge huge; }"


def locations(folder, fixed):
    """Nginx's places: the instances a transaction looks up, and the base, where a POST is answered with a file."""
    places = [f"location = /fhir/Observation/obs-{number} {{ {fixed} alias {folder}/obs-{number}.json; }}" for number in UPDATES if number != 1]
    places += [f"location = {base} {{ {fixed} error_page 405 =200 /transaction; alias {folder}/transaction.json; }}" for base in ("/fhir", "/fhir/")]
    return " ".join([*places, f"location = /transaction {{ internal; {fixed} alias {folder}/transaction.json; }}"])


def transaction(bench):
    """The client's Bundle: new observations, changes of what it has read through the gate, and reads."""
    entries = []
    for number in range(CREATES):
        made = {"resourceType": "Observation", "status": "final", "code": {"text": f"pulse {number}"},
                "subject": {"reference": "Patient/P1"}, "valueQuantity": {"value": 60 + number, "unit": "/min"}}
        entries.append({"fullUrl": f"urn:uuid:0000-{number}", "resource": made, "request": {"method": "POST", "url": "Observation"}})
    for number in UPDATES:
        status, seen = bench.agent.get(f"Observation/obs-{number}")
        if status != 200:
            raise SystemExit(f"obs-{number} cannot be read through the gate: {status} {seen}")
        entries.append({"resource": {**seen, "status": "amended"}, "request": {"method": "PUT", "url": f"Observation/obs-{number}", "ifMatch": 'W/"1"'}})
    entries += [{"request": {"method": "GET", "url": f"Observation/obs-{number}"}} for number in UPDATES]
    assert len(entries) == PARTS
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def probe(bench, subject):
    """One transaction by hand: every part of it done; the length of the answer."""
    authority, base, headers = bench.where(subject)
    status, _, body = gates.Http(authority, timeout=10).call(
        "POST", base, (bench.folder / "parts.json").read_bytes(), {**headers, "Content-Type": "application/fhir+json"})
    parts = json.loads(body).get("entry", []) if status == 200 else []
    if len(parts) != PARTS or not all(part["response"]["status"][:3] in ("200", "201") for part in parts):
        raise SystemExit(f"{subject} answers a transaction with {status}: {body[:600]!r}")
    return len(body)


def prepare(bench):
    """The transaction's body, and the script that has wrk post it."""
    bench.agent.begin("P1")
    (bench.folder / "parts.json").write_bytes(transaction(bench))
    script = (bench.folder / "report.lua").read_text()
    (bench.folder / "post.lua").write_text(POST.format(body=bench.folder / "parts.json") + script)


def cost(bench, tool, name="large.json"):
    """CPU of what a tool does to an answer, against a strict parse of it, on the subject's core."""
    done = subprocess.run(["taskset", "-c", str(bench.subject_core), str(tool), str(bench.folder / name), bench.upstream],
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tool.name}: {done.stderr}")
    return json.loads(done.stdout)


def peak(pid):
    """Most memory a process held since the last call, in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    high = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return high


def passing(bench, rounds):
    """Memory while the large answer passes a fresh gate; where it does not pass, why."""
    bench.gate.stop()
    bench.gate.start()
    bench.agent.begin("P1")
    for _ in range(20):
        bench.agent.get("Observation/obs-1")
    authority, base, headers = bench.where("Hilum")
    pid, above, spent = bench.gate.process.pid, [], []
    for _ in range(rounds):
        peak(pid)
        idle, began = peak(pid), time.monotonic()
        connection = http.client.HTTPConnection(authority, timeout=120)
        connection.request("GET", f"{base}/{HUGE}", headers={**headers, "Accept": "application/fhir+json"})
        answer, length = connection.getresponse(), 0
        while piece := answer.read(1 << 20):
            length += len(piece)
        connection.close()
        if answer.status != 200 or length < bench.lengths["huge"] // 2:
            return {"skipped": f"the gate answers {answer.status}, {length:,} bytes, to an upstream answer of {bench.lengths['huge']:,}"}
        spent.append(time.monotonic() - began)
        above.append(peak(pid) - idle)
    return {"above": statistics.median(above), "seconds": statistics.median(spent), "idle": idle}
