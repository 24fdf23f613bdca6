"""An upstream that misbehaves: a proxy between gate and HAPI that changes requests and answers, by faults that can be switched.

What a fault does depends on the seed of the episode and on the request alone, so that the two worlds misbehave alike; the foreign
records that it slips in are those of its own world.
"""

import copy
import http.client
import http.server
import json
import re
import threading
import time
import urllib.parse

from worlds import rng_for

SUBJECTS = ("subject", "patient", "beneficiary", "for", "individual")
# What one answers under these depends on how many records strangers have, so two worlds cannot be compared.
UNCOMPARABLE = {"ignore-patient", "ignore-all", "next-unfiltered", "slow-headers", "slow-body", "cut-off"}
# These change the own records themselves; what is released is then judged by its words, not compared with the raw record.
ALTERING = {"foreign-subject", "subsetted", "deep-nesting", "contained-patient", "inner-resource", "number-text", "foreign-extension", "wrong-type",
            "duplicate-subject-first", "duplicate-subject-last", "duplicate-escaped", "duplicate-type", "same-id-foreign-content"}


class Proxy:
    def __init__(self, port, upstream, world, strangers):
        self.port, self.upstream, self.world, self.strangers = port, upstream, world, strangers
        self.base = f"http://127.0.0.1:{port}/fhir"
        self.faults, self.seed = (), 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def stranger(self, rng, kind=None):
        """A stranger's record that both worlds have, as this world has it."""
        keys = self.strangers.get(kind) or self.strangers["Observation"]
        return copy.deepcopy(self.world.records[rng.choice(keys)])


class Told:
    """One answer on its way, as faults see it."""

    def __init__(self, proxy, method, path, status, kind, data):
        self.proxy, self.method, self.path = proxy, method, path
        self.status, self.kind, self.data, self.headers, self.cut, self.wait = status, kind, data, [], None, (0, 0)
        self.rng = rng_for(proxy.seed, re.sub(r"_getpages=[^&]*", "", path))
        try:
            self.body = json.loads(data)
        except ValueError:
            self.body = None

    @property
    def asked(self):
        found = re.match(r"/fhir/([A-Z][A-Za-z]+)", self.path)
        return found[1] if found else None

    def entries(self):
        if isinstance(self.body, dict) and self.body.get("resourceType") == "Bundle":
            return self.body.setdefault("entry", [])
        return None

    def records(self):
        if not isinstance(self.body, dict) or self.status >= 400:
            return []
        if self.body.get("resourceType") == "Bundle":
            return [entry["resource"] for entry in self.body.get("entry", []) if isinstance(entry.get("resource"), dict)]
        return [self.body]

    def add(self, resource, **search):
        entries = self.entries()
        if entries is not None:
            entry = {"fullUrl": f"{self.proxy.base}/{resource['resourceType']}/{resource['id']}", "resource": resource}
            if search:
                entry["search"] = search
            entries.insert(self.rng.randrange(len(entries) + 1), entry)

    def each(self, change):
        for record in self.records():
            if record.get("resourceType") != "OperationOutcome":
                change(record)


def names_of(resource):
    """Some text by which the stranger could be told."""
    return json.dumps(resource)[:600]


def foreign_match(told):
    told.add(told.proxy.stranger(told.rng, told.asked), mode="match")


def foreign_include(told):
    told.add(told.proxy.stranger(told.rng, told.rng.choice(["Patient", "Observation", "Condition", told.asked])), mode="include")


def foreign_without_mode(told):
    told.add(told.proxy.stranger(told.rng, told.asked))


def foreign_patient_include(told):
    told.add(told.proxy.stranger(told.rng, "Patient"), mode="include")


def missing_mode(told):
    for entry in told.entries() or []:
        entry.pop("search", None)


def lying_mode(told):
    for entry in told.entries() or []:
        mode = entry.get("search", {}).get("mode")
        entry["search"] = {"mode": "include" if mode == "match" else "match"}
    told.add(told.proxy.stranger(told.rng, told.asked), mode="outcome")


def other_resource(told):
    if told.entries() is None and told.status == 200:
        told.body = told.proxy.stranger(told.rng, told.asked)


def same_id(told):
    if told.entries() is None and told.status == 200 and told.asked != "Patient" and isinstance(told.body, dict):
        stranger = told.proxy.stranger(told.rng, told.asked)
        told.body = {**stranger, "id": told.body.get("id"), "resourceType": stranger["resourceType"]}


def found_after_all(told):
    if told.status == 404:
        told.status, told.body = 200, told.proxy.stranger(told.rng, told.asked)


def foreign_subject(told):
    other = told.proxy.stranger(told.rng, "Patient")["id"]

    def change(record):
        for name in SUBJECTS:
            if isinstance(record.get(name), dict):
                record[name] = {"reference": f"Patient/{other}", "display": names_of(told.proxy.stranger(told.rng, "Patient"))[:80]}
    told.each(change)


def contained_patient(told):
    told.each(lambda record: record.setdefault("contained", []).append(told.proxy.stranger(told.rng, "Patient")))


def subsetted(told):
    def change(record):
        for name in SUBJECTS:
            record.pop(name, None)
        record.setdefault("meta", {}).setdefault("tag", []).append({"code": "SUBSETTED"})
    told.each(change)


def inner_resource(told):
    told.each(lambda record: record.update(related=told.proxy.stranger(told.rng, "Observation")))


def nested_bundle(told):
    inner = {"resourceType": "Bundle", "id": "nested", "type": "collection", "entry": [{"resource": told.proxy.stranger(told.rng, "Patient")}]}
    told.add(inner, mode="match")


def foreign_extension(told):
    other = told.proxy.stranger(told.rng, "Patient")
    told.each(lambda record: record.setdefault("extension", []).append(
        {"url": "urn:x", "valueReference": {"reference": f"Patient/{other['id']}", "display": names_of(other)[:60]}}))


def wrong_type(told):
    """A read answered with another type. In a search a wrong type cannot be told from a right one."""
    if told.entries() is None:
        told.each(lambda record: record.update(resourceType="Practitioner" if told.asked == "Observation" else "Observation"))


def spliced(name):
    """A second member written into the text of every record."""
    def fault(told):
        if not told.records():
            return
        other = told.proxy.stranger(told.rng, "Patient")["id"]
        text = json.dumps(told.body)
        subject = json.dumps({"reference": f"Patient/{other}"})
        if name == "duplicate-subject-first":
            text = re.sub(r'\{"resourceType": "(?!Bundle)', lambda m: f'{{"subject": {subject}, "resourceType": "', text)
        elif name == "duplicate-escaped":
            text = re.sub(r'\{"resourceType": "(?!Bundle)', lambda m: f'{{"\\u0073ubject": {subject}, "resourceType": "', text)
        elif name == "duplicate-type":
            text = re.sub(r'\{"resourceType": "(?!Bundle)', lambda m: '{"resourceType": "Practitioner", "resourceType": "', text)
        else:
            text = re.sub(r'("subject": \{[^{}]*\})', lambda m: f'{m[1]}, "subject": {subject}', text)
        told.body, told.data = None, text.encode()
    return fault


def text_of(change):
    def fault(told):
        data = told.data if told.body is None else json.dumps(told.body).encode()
        told.body, told.data = None, change(told, data)
    return fault


def deep_nesting(told):
    def change(record):
        value = {"url": "urn:x", "valueString": "x"}
        for _ in range(120):
            value = {"url": "urn:x", "extension": [value]}
        record.setdefault("extension", []).append(value)
    told.each(change)


def replaced(status, kind, body):
    def fault(told):
        told.status, told.kind, told.body = status, kind, None
        told.data = body(told).encode()
    return fault


def outcome(told):
    return json.dumps({"resourceType": "OperationOutcome", "issue": [
        {"severity": "error", "code": "processing", "diagnostics": "at Dao.java:77 SELECT * " + names_of(told.proxy.stranger(told.rng, "Patient"))}]})


def redirect(told):
    other = told.proxy.stranger(told.rng, "Patient")["id"]
    told.status, told.body, told.data = 302, None, b""
    told.headers.append(("Location", f"{told.proxy.base}/Patient/{other}"))


def odd_headers(told):
    other = told.proxy.stranger(told.rng, "Patient")["id"]
    told.headers += [("Set-Cookie", f"patient={other}"), ("X-Powered-By", other), ("Link", f'<{told.proxy.base}/Patient/{other}>; rel="next"'),
                     ("Content-Location", f"{told.proxy.base}/Patient/{other}"), ("X-Request-Id", other), ("Warning", f'199 x "{other}"')]


def member(name, value):
    def fault(told):
        if told.entries() is not None:
            told.body[name] = value(told)
    return fault


def link(relation, url):
    def fault(told):
        if told.entries() is not None:
            kept = [one for one in told.body.get("link", []) if one.get("relation") != relation]
            told.body["link"] = kept + [{"relation": relation, "url": url(told)}]
    return fault


def full_url(told):
    for entry in told.entries() or []:
        entry["fullUrl"] = f"{told.proxy.base}/Patient/{told.proxy.stranger(told.rng, 'Patient')['id']}"


def outcome_entry(told):
    told.add({"resourceType": "OperationOutcome", "id": "o", "issue": [{"severity": "warning", "code": "informational", "diagnostics":
              names_of(told.proxy.stranger(told.rng, "Patient"))}]}, mode="outcome")


def foreign_versions(told):
    if isinstance(told.body, dict) and told.body.get("type") == "history":
        for number in range(3):
            stranger = told.proxy.stranger(told.rng, told.asked)
            stranger.setdefault("meta", {})["versionId"] = str(number + 7)
            told.add(stranger)


def reordered(told):
    if isinstance(told.body, dict) and str(told.body.get("type", "")).endswith("-response") or told.entries():
        told.rng.shuffle(told.body["entry"])


def etag(told):
    told.headers.append(("ETag", f'W/"{told.proxy.stranger(told.rng, "Patient")["id"]}"'))


def status(code):
    def fault(told):
        told.status = code
    return fault


def wait(head, body):
    def fault(told):
        told.wait = (head, body)
    return fault


def cut(told):
    data = told.data if told.body is None else json.dumps(told.body).encode()
    told.body, told.data, told.cut = None, data, len(data) // 2


FAULTS = {
    "foreign-match": foreign_match, "foreign-include": foreign_include, "foreign-without-mode": foreign_without_mode,
    "foreign-patient-include": foreign_patient_include, "missing-mode": missing_mode, "lying-mode": lying_mode, "other-resource": other_resource,
    "same-id-foreign-content": same_id, "found-after-all": found_after_all, "foreign-subject": foreign_subject, "contained-patient": contained_patient,
    "subsetted": subsetted, "inner-resource": inner_resource, "nested-bundle": nested_bundle, "foreign-extension": foreign_extension,
    "wrong-type": wrong_type, "deep-nesting": deep_nesting,
    "total": member("total", lambda told: 4711), "bundle-type": member("type", lambda told: told.rng.choice(["collection", "batch-response", "document", "history"])),
    "next-foreign-host": link("next", lambda told: f"http://127.0.0.2:9/fhir?x={told.proxy.stranger(told.rng, 'Patient')['id']}"),
    "next-unfiltered": link("next", lambda told: f"{told.proxy.base}/{told.asked or 'Patient'}?_count=50"),
    "next-foreign-patient": link("next", lambda told: f"{told.proxy.base}/Patient/{told.proxy.stranger(told.rng, 'Patient')['id']}"),
    "self-foreign": link("self", lambda told: f"{told.proxy.base}/Patient/{told.proxy.stranger(told.rng, 'Patient')['id']}"),
    "previous-foreign": link("previous", lambda told: f"{told.proxy.base}/Observation?patient={told.proxy.stranger(told.rng, 'Patient')['id']}"),
    "full-url": full_url, "outcome-entry": outcome_entry, "foreign-versions": foreign_versions, "reordered": reordered,
    "odd-headers": odd_headers, "foreign-etag": etag,
    "duplicate-subject-first": spliced("duplicate-subject-first"), "duplicate-subject-last": spliced("duplicate-subject-last"),
    "duplicate-escaped": spliced("duplicate-escaped"), "duplicate-type": spliced("duplicate-type"),
    "malformed": text_of(lambda told, data: b"{" + data[2:]), "truncated": text_of(lambda told, data: data[:len(data) * 2 // 3]),
    "bom": text_of(lambda told, data: b"\xef\xbb\xbf" + data), "invalid-utf8": text_of(lambda told, data: data.replace(b'"id": "', b'"id": "\xff', 1)),
    "trailing": text_of(lambda told, data: data + json.dumps(told.proxy.stranger(told.rng, "Patient")).encode()),
    "padded": text_of(lambda told, data: data + b" " * 300_000),
    "html": replaced(200, "text/html", lambda told: "<html>" + names_of(told.proxy.stranger(told.rng, "Patient")) + "</html>"),
    "xml": replaced(200, "application/fhir+xml", lambda told: '<Patient xmlns="http://hl7.org/fhir"><id value="' + told.proxy.stranger(told.rng, "Patient")["id"] + '"/></Patient>'),
    "outcome-200": replaced(200, "application/fhir+json", outcome), "stack-trace": replaced(500, "application/fhir+json", outcome),
    "refused-400": replaced(400, "application/fhir+json", outcome), "refused-403": replaced(403, "application/fhir+json", outcome),
    "gone": replaced(410, "application/fhir+json", outcome), "redirect": redirect,
    "status-202": status(202), "status-203": status(203), "status-206": status(206), "status-204": status(204), "status-304": status(304), "status-201": status(201),
    "slow-headers": wait(0.4, 0), "slow-body": wait(0, 0.4), "cut-off": cut, "ignore-patient": None, "ignore-all": None,
}


def handler(proxy):
    local = threading.local()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments):
            pass

        def pass_on(self, method, path, body):
            headers = {name: self.headers[name] for name in ("Host", "Accept", "Content-Type", "If-Match", "If-None-Match", "Prefer") if self.headers.get(name)}
            for attempt in (1, 2):
                try:
                    if getattr(local, "connection", None) is None:
                        local.connection = http.client.HTTPConnection(proxy.upstream, timeout=60)
                    local.connection.request(method, path, body=body, headers=headers)
                    answer = local.connection.getresponse()
                    return answer, answer.read()
                except (OSError, http.client.HTTPException):
                    local.connection = None
                    if attempt == 2:
                        raise

        def serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            faults, path = proxy.faults, self.path
            if "ignore-all" in faults or "ignore-patient" in faults:
                head, _, query = path.partition("?")
                pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
                dropped = {"patient", "subject", "_id", "beneficiary", "actor", "individual", "member"}
                kept = [pair for pair in pairs if "ignore-all" not in faults and pair[0].split(":")[0] not in dropped or pair[0].startswith(("_getpages", "_count", "_include", "_rev"))]
                path = head + ("?" + urllib.parse.urlencode(kept) if kept else "")
            try:
                answer, data = self.pass_on(self.command, path, body)
            except (OSError, http.client.HTTPException):
                return self.send_error(502)
            told = Told(proxy, self.command, self.path, answer.status, answer.getheader("Content-Type", "application/json"), data)
            for name in ("ETag", "Last-Modified", "Location", "Content-Location"):
                if answer.getheader(name):
                    told.headers.append((name, answer.getheader(name)))
            if not self.path.startswith("/fhir/metadata"):
                for name in faults:
                    if FAULTS[name]:
                        FAULTS[name](told)
            data = told.data if told.body is None else json.dumps(told.body).encode()
            time.sleep(told.wait[0])
            self.send_response(told.status)
            self.send_header("Content-Type", told.kind)
            bodyless = told.status in (204, 304)
            if not bodyless:
                self.send_header("Content-Length", str(len(data)))
            for name, value in told.headers:
                self.send_header(name, value)
            self.end_headers()
            if bodyless:
                return None
            if told.cut is not None:
                self.wfile.write(data[:told.cut])
                self.close_connection = True
                return None
            if told.wait[1]:
                self.wfile.write(data[:len(data) // 2])
                self.wfile.flush()
                time.sleep(told.wait[1])
                self.wfile.write(data[len(data) // 2:])
            else:
                self.wfile.write(data)
            return None

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve

    return Handler


class Catalogue:
    """These faults, as `misbehaved.py` wants to know them."""

    def __init__(self, proxies):
        self.proxies, self.names = proxies, sorted(FAULTS)

    def altering(self, faults):
        return bool(ALTERING & set(faults))

    def uncomparable(self, faults, asked):
        return bool(UNCOMPARABLE & set(faults))

    def together(self):
        return []

    def combination(self, rng):
        return tuple(rng.sample(self.names, k=min(len(self.names), rng.choice([1, 2, 2, 3, 4, 6]))))

    def misbehave(self, faults, seed):
        for proxy in self.proxies:
            proxy.faults, proxy.seed = tuple(faults), seed
