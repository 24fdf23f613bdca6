"""The demonstration EHR in the place of HAPI, with the faults that it has itself (`hilum demo --help` lists them).

A fault stands alike in both worlds: what it takes is chosen by the seed among the records that strangers have in both.
"""

import http.client
import json
import pathlib
import subprocess
import time
import urllib.request

import gate as gates
from worlds import rng_for

# These answer something else altogether, or nothing that can be read: in a combination they hide what the others do.
HIDING = {"html", "xml", "redirect", "not-modified", "stack-trace", "outcome-with-200", "malformed-json", "truncated-json", "byte-order-mark",
          "invalid-utf8", "deep-nesting", "cut-off", "cut-before-answer", "content-type", "gone", "status", "accepted", "duplicate-type", "oversized",
          "oversized-chunked", "duplicate-subject-first", "duplicate-subject-last", "duplicate-subject-escaped", "bundle-type"}
# These change the own records themselves; what is released is then judged by its words, not compared with the raw record.
ALTERING = {"foreign-subject", "contained-patient", "subsetted", "duplicate-subject-first", "duplicate-subject-last", "duplicate-subject-escaped",
            "duplicate-type", "invalid-utf8", "deep-nesting", "oversized", "oversized-chunked", "long-narrative", "number-text", "etag-only",
            "binary-bytes", "binary-type"}
# What one answers under these depends on how many records strangers have, so two worlds cannot be compared: in which
# interactions (none named: in all).
UNCOMPARABLE = {"ignore-parameter": (), "ignore-all-parameters": (), "include-everything": (), "everything-of-everyone": ("everything", "batch", "odd"),
                "lastn-ignores-patient": ("lastn", "batch")}
# Without effect here, said so by the run: the gates need no token for this EHR and start no launch at it, and know its
# capabilities by then.
IDLE = {"malformed-capabilities", "export-of-everyone", "export-files-at", "export-line", "export-manifest", "refresh-patient"}
IDLE_KINDS = ("authorize-", "id-token-", "revocation-", "token-")
STATUSES = [202, 203, 206, 401, 403, 404, 500]


def shortened(value):
    """The records as this EHR can keep them: it reads decimals as binary numbers, and not to the last of 17 digits."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shortened(inner) for inner in value]
    return float(f"{value:.15g}") if isinstance(value, float) else value


class Ehr:
    def __init__(self, binary, folder, port):
        self.authority = f"127.0.0.1:{port}"
        self.base = f"http://{self.authority}/fhir"
        self.log = pathlib.Path(folder) / "ehr.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "demo", "--ehr", self.authority, "--empty"], stdout=log, stderr=log)

    def wait(self, seconds=30):
        began = time.monotonic()
        while time.monotonic() - began < seconds and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.base}/metadata", timeout=10) as answer:
                    return json.load(answer)["software"]["version"]
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"the demonstration EHR did not start: {self.log.read_text()[-3000:]}")

    def call(self, method, body=""):
        connection = http.client.HTTPConnection(self.authority, timeout=30)
        connection.request(method, "/faults", body.encode())
        answer = connection.getresponse()
        data = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"the demonstration EHR's faults: {answer.status} {data}")
        return data

    def faults(self):
        """name -> what it takes."""
        return {one["name"]: one["takes"] for one in self.call("GET")}

    def switch(self, lines):
        self.call("PUT", "\n".join(lines))

    def stop(self):
        gates.end(self.process)


class Catalogue:
    """The faults of this EHR, as `misbehaved.py` wants to know them."""

    def __init__(self, upstreams, strangers, raced):
        self.upstreams, self.strangers, self.raced = upstreams, strangers, raced
        self.takes = upstreams[0].faults()
        self.idle = IDLE | {name for name in self.takes if name.startswith(IDLE_KINDS)}
        self.names = sorted(set(self.takes) - self.idle)
        unknown = (HIDING | ALTERING | set(UNCOMPARABLE) | IDLE) - set(self.takes)
        if unknown:
            raise SystemExit(f"the demonstration EHR has no fault {sorted(unknown)}")

    def altering(self, faults):
        return bool(ALTERING & set(faults))

    def uncomparable(self, faults, asked):
        return any(name in UNCOMPARABLE and (not UNCOMPARABLE[name] or asked["do"] in UNCOMPARABLE[name]) for name in faults)

    def together(self):
        """Everything at once; then without what hides the others."""
        return [tuple(self.names), tuple(name for name in self.names if name not in HIDING),
                tuple(name for name in self.names if name not in HIDING | ALTERING)]

    def combination(self, rng):
        names = self.names if rng.random() < 0.25 else [name for name in self.names if name not in HIDING]
        return tuple(rng.sample(names, k=min(len(names), rng.choice([2, 2, 3, 4, 6, 10]))))

    def misbehave(self, faults, seed):
        for upstream in self.upstreams:
            upstream.switch([self.line(rng_for(seed, name), name, upstream.base) for name in faults])

    def stranger(self, rng, *kinds):
        kind = rng.choice([kind for kind in kinds or ("Patient", "Observation", rng.choice(sorted(self.strangers))) if kind in self.strangers])
        return "/".join(rng.choice(self.strangers[kind]))

    def line(self, rng, name, base):
        """The fault with what it takes; the same for both worlds, but for the EHR's own address."""
        takes, patient = self.takes[name], self.stranger(rng, "Patient")
        if takes is None:
            return name
        value = {
            "TYPE/ID": lambda: patient if "subject" in name else self.stranger(rng), "ID": lambda: patient.split("/")[1], "TEXT": lambda: f"{patient} was here",
            "URL": lambda: rng.choice([f"{base}/{patient}", f"{base}/Observation/?_id={patient[8:]}", f"http://127.0.0.2:9/fhir/{patient}"]),
            "NAME": lambda: rng.choice(["patient", "subject", "_id", "category"]), "BYTES": lambda: "60" if name == "truncated-json" else "300000", "DEPTH": lambda: "300",
            "MILLISECONDS": lambda: "100", "STATUS": lambda: str(rng.choice(STATUSES)), "COUNT": lambda: "1" if name == "response-short" else "4711",
            "DIGITS": lambda: rng.choice(["1.10", "1e400", "-0"]), "RESOURCE": lambda: json.dumps(self.raced),
            "TYPE": lambda: {"duplicate-type": "Practitioner", "binary-type": "text/html", "content-type": rng.choice(["text/plain", "text/html"]),
                             "bundle-type": rng.choice(["collection", "history", "batch-response"])}[name],
        }[takes]()
        if name == "binary-bytes":
            value = "bytes of nobody"  # what an own file holds is the upstream's word
        return f"{name}={value}"
