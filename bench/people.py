"""The authorize page: from the request of an app to the sign-in page, the request kept durably on the way."""

import json
import subprocess
import urllib.parse

PATHS = ("static", "page")


def addresses(told):
    """A document that is ready in memory, and the page that asks a person to sign in."""
    asked = {
        "response_type": "code", "client_id": "patient-app", "redirect_uri": "http://127.0.0.1:9000/callback", "state": "bench", "aud": told["fhir"],
        "scope": "launch/patient openid fhirUser patient/Patient.rs patient/Observation.rs",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
    }
    return {"static": f"{told['fhir']}/.well-known/smart-configuration", "page": f"{told['issuer']}/oauth/authorize?{urllib.parse.urlencode(asked)}"}


def measure(bench):
    """{connections: {what: {rate, p50, p99}}} of a demonstration of its own: it has people."""
    fixtures = bench.folder / "fixtures.toml"
    demo = subprocess.Popen(["taskset", "-c", str(bench.subject_core), bench.options.binary, "demo", "--conformance", str(fixtures), "-o", "json"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = demo.stdout.readline()
        if not line:
            raise SystemExit("the demonstration did not start; is its port taken?")
        urls, rows = addresses(json.loads(line)), {}
        for connections in bench.options.connections:
            for what in PATHS:
                command = ["taskset", "-c", str(bench.load_core), "wrk", "-t1", f"-c{connections}", "--timeout", "10s", "-s", str(bench.folder / "report.lua")]
                done = subprocess.run([*command, f"-d{bench.options.seconds}s", urls[what]], capture_output=True, text=True, check=True)
                got = json.loads(done.stdout.split("JSON@", 1)[1].splitlines()[0])
                if got["status"] or got["socket"] or not got["requests"]:
                    raise SystemExit(f"{urls[what]} at {connections}: wrong answers under load: {got}")
                rows.setdefault(connections, {})[what] = {"rate": got["requests"] / (got["micros"] / 1e6), "p50": got["p50"], "p99": got["p99"]}
        return rows
    finally:
        demo.terminate()
        demo.wait(30)


def section(rows):
    """Its part of the results."""
    out = ["## Authorize page", "",
           "An app's request checked and kept in the database, and the page on which its person signs in, by the demonstration; beside a document that is ready in memory.", "",
           "| connections | pages/s | p50 µs | p99 µs | of the document's rate | document p50 µs | document p99 µs |", "|--:|--:|--:|--:|--:|--:|--:|"]
    for connections, row in rows.items():
        page, static = row["page"], row["static"]
        out.append(f"| {connections} | {page['rate']:,.0f} | {page['p50']:,.0f} | {page['p99']:,.0f} | {page['rate'] / static['rate']:.2f} | {static['p50']:,.0f} | {static['p99']:,.0f} |")
    return out + [""]
