"""The first oracle, applied to what came back for one request."""

import base64
import json
import urllib.parse

import generate
import oracle as oracles
from brute import HEADERS
from play import Played, next_link
from worlds import key_of

REFUSALS = {400, 401, 403, 404, 405, 406, 413, 414, 415, 416, 422, 428, 431, 501}


class Checker:
    def __init__(self, brute, lore, group, offered, honest=True):
        self.offered = offered
        self.brute, self.lore, self.group, self.honest = brute, lore, group, honest
        self.tokens = brute.tokens
        self.altered = False  # whether the upstream changes records that are the session's own

    def brute_force(self, patient, clauses, asked, played):
        """What is wrong with an answer, by brute force over the raw records."""
        problems = []
        request_text = generate.text(asked) + " " + " ".join(clause.text for clause in clauses)
        request_text += " " + urllib.parse.unquote(request_text)
        for answer in played.pages:
            stolen = ("x-stolen", "1") in answer.headers
            if stolen and answer.status == 200:
                problems.append(f"another session's page link was answered {answer.status}")
            problems += self.envelope(answer, asked)
            leaked = self.brute.leaks(patient, answer, request_text, asked["do"] == "metadata")
            if leaked:
                problems.append(f"identifying words of other patients: {leaked}")
            file = dict(answer.headers).get("x-file")
            if file is None and asked.get("path", [])[:1] == ["Binary"] and len(asked["path"]) == 2:
                file = asked["path"][1]
            if answer.status == 200 and file is not None and not stolen:
                problems += self.file(patient, clauses, file, answer)
            elif answer.status == 200 and answer.body is not None and not stolen:
                problems += self.content(patient, clauses, asked, answer, versions=asked["do"] in ("vread", "history"))
        if not problems:
            problems += self.exactly(patient, clauses, asked, played)
        return problems

    def envelope(self, answer, asked):
        problems = []
        if answer.status == 502 and not asked.get("exact") and (b"cannot be released" in answer.data or asked["method"] == "HEAD"):
            return []  # the upstream refused the question itself
        for name, _ in answer.headers:
            if name not in HEADERS and name not in ("x-stolen", "x-file"):
                problems.append(f"header `{name}`")
        if answer.status >= 300 and answer.status not in REFUSALS | {304, 429} and self.honest:
            problems.append(f"status {answer.status} from an honest upstream: {answer.data[:200]!r}")
        if answer.status != 200 and answer.data and not (200 < answer.status < 300):
            if not isinstance(answer.body, dict) or answer.body.get("resourceType") != "OperationOutcome":
                problems.append(f"status {answer.status} without OperationOutcome: {answer.data[:200]!r}")
        return problems

    def content(self, patient, clauses, asked, answer, versions=False):
        body = answer.body
        if not isinstance(body, dict):
            return [f"a body that is no object: {answer.data[:100]!r}"]
        if asked["do"] == "metadata" or body.get("resourceType") == "CapabilityStatement":
            return []
        if body.get("resourceType") == "OperationOutcome":
            return []
        if body.get("resourceType") != "Bundle":
            return self.record(patient, clauses, body, "r", {key_of(body)}, asked, versions)
        kind = body.get("type")
        problems = []
        extra = set(body) - {"resourceType", "type", "link", "entry"}
        if extra:
            problems.append(f"Bundle members {sorted(extra)}")
        for link in body.get("link", []):
            if link.get("relation") not in ("self", "next") or not str(link.get("url", "")).startswith(self.brute.public):
                problems.append(f"link {link}")
        if kind in ("batch-response", "transaction-response"):
            return problems + self.batch(patient, clauses, asked, body)
        if kind not in ("searchset", "history"):
            return problems + [f"Bundle of type {kind}"]
        entries = [entry.get("resource", {}) for entry in body.get("entry", [])]
        released = {key_of(one) for one in entries if one.get("resourceType") != "OperationOutcome" and "id" in one}
        for entry in body.get("entry", []):
            one = entry.get("resource", {})
            mode = entry.get("search", {}).get("mode")
            if one.get("resourceType") == "OperationOutcome":
                continue
            if "id" not in one:
                problems.append(f"an entry without resource: {str(entry)[:200]}")
                continue
            letters = "r" if kind == "history" else "rs" if mode == "include" or asked["do"] == "everything" else "s"
            if entry.get("fullUrl") != f"{self.brute.public}/{one['resourceType']}/{one['id']}":
                problems.append(f"fullUrl {entry.get('fullUrl')} of {one['resourceType']}/{one['id']}")
            if set(entry) - {"fullUrl", "resource", "search", "request", "response"}:
                problems.append(f"entry members {sorted(entry)}")
            problems += self.record(patient, clauses, one, letters, released, asked, kind == "history")
        return problems

    def file(self, patient, clauses, name, answer):
        """A released Binary: the session's by proof, and its bytes."""
        raw = self.brute.world.records.get(("Binary", name))
        if raw is None or not self.brute.may_have_file(patient, clauses, name):
            return [f"RELEASED Binary/{name}, which is not proved the session's"]
        if isinstance(answer.body, dict):
            return [] if answer.body.get("data") == raw["data"] else [f"Binary/{name}: its data differ"]
        return [] if answer.data == base64.b64decode(raw["data"]) or not answer.data else [f"Binary/{name}: its bytes differ"]

    def record(self, patient, clauses, one, letters, released, asked, versions):
        """One released resource: admissible for the token, and the masked raw record."""
        key = key_of(one) if "id" in one else (one.get("resourceType"), None)
        if key[0] == "Binary":
            return [] if self.brute.may_have_file(patient, clauses, key[1]) else [f"RELEASED Binary/{key[1]}, which is not proved the session's"]
        shown = "/".join(map(str, key))
        raws = self.versions_of(key, one) if versions else [(None, self.brute.world.records.get(key))]
        shortened = any(name in ("_elements", "_summary") for name, _ in asked.get("params", []) + asked.get("form", [])) or "_elements" in asked.get("raw", "") or "_summary" in asked.get("raw", "")
        why = []
        for version, raw in raws:
            if raw is None:
                continue
            own = None if version is None else self.brute.oracle.is_own(raw, patient)
            if not self.brute.admissible(patient, clauses, raw, letters, own):
                why.append(f"RELEASED {shown}, which is not the session's to have (letters {letters})")
                continue
            differences = [] if self.altered else self.brute.same(patient, key, raw, one, released, shortened, version)
            if not differences:
                return []
            why.append(f"{shown}: {differences[:3]}")
        return why[:1] or [f"RELEASED {shown}, which does not exist"]

    def versions_of(self, key, one):
        chain = self.brute.world.earlier.get(key, []) + ([self.brute.world.records[key]] if key in self.brute.world.records else [])
        number = str(one.get("meta", {}).get("versionId", ""))
        if number.isdigit() and 1 <= int(number) <= len(chain):
            return [(int(number), chain[int(number) - 1])]
        if self.altered and not number:
            return list(enumerate(chain, 1))  # an upstream that tells no version: it must be one of these
        return []

    def batch(self, patient, clauses, asked, body):
        problems = []
        entries = body.get("entry", [])
        if len(entries) != len(asked.get("entries", [])):
            return [f"{len(entries)} answers for {len(asked.get('entries', []))} entries"]
        for inner, entry in zip(asked["entries"], entries):
            status = str(entry.get("response", {}).get("status", ""))[:3]
            one = entry.get("resource")
            if status == "200" and one:
                class Part:
                    pass
                part = Part()
                part.status, part.body, part.data = 200, one, b""
                problems += self.content(patient, clauses, inner, part, versions=inner["do"] in ("vread", "history"))
                if not problems and not (isinstance(one, dict) and next_link(part)):
                    # A page within a transaction cannot be filled: where something on it is held back it is short, and ends there.
                    problems += self.exactly(patient, clauses, inner, Played([part], asked.get("bundle") != "transaction"))
            elif one and one.get("resourceType") != "OperationOutcome":
                problems.append(f"batch entry with status {status} and {str(one)[:100]}")
            elif status.isdigit() and inner.get("exact"):
                said = json.dumps(entry["response"].get("outcome")).encode()  # a refusal's words count as outside of a batch
                part = type("Part", (), {"status": int(status), "body": None, "data": said})()
                problems += self.exactly(patient, clauses, inner, Played([part], True))
        return [f"batch entry {text}" for text in problems]

    # --- exactness

    def exactly(self, patient, clauses, asked, played):
        do = asked["do"]
        if not asked.get("exact") or do not in self.offered or "Binary" in asked.get("path", ()):
            return []
        if do == "read":
            return self.exact_read(patient, clauses, asked, played)
        if do in ("vread", "history"):
            return self.exact_versions(patient, clauses, asked, played)
        if do in ("search", "post-search", "compartment"):
            return self.exact_search(patient, clauses, asked, played)
        return []

    def type_refused(self, clauses, kind, letter):
        if kind not in self.brute.kinds or not self.tokens.covering(clauses, kind, letter):
            return True
        return False

    def exact_read(self, patient, clauses, asked, played):
        key = (asked["path"][0], asked["path"][1])
        if self.type_refused(clauses, key[0], "r") or key[0] == "Patient" and key[1] != patient:
            wanted = 403
        elif key in self.brute.world.records and self.brute.admissible(patient, clauses, self.brute.world.records[key], "r"):
            wanted = 200
        else:
            wanted = 404
        return [] if played.status == wanted else [f"status {played.status}, not {wanted}"]

    def exact_versions(self, patient, clauses, asked, played):
        key = (asked["path"][0], asked["path"][1])
        if self.type_refused(clauses, key[0], "r") or key[0] == "Patient" and key[1] != patient:
            return [] if played.status == 403 else [f"status {played.status}, not 403"]
        chain = self.brute.world.earlier.get(key, []) + ([self.brute.world.records[key]] if key in self.brute.world.records else [])
        if not chain or not self.brute.admissible(patient, clauses, chain[-1], "r"):
            chain = []  # the past of a record is for those who may read it now
        fit = [number for number, raw in enumerate(chain, 1)
               if self.brute.admissible(patient, clauses, raw, "r", self.brute.oracle.is_own(raw, patient))]
        if asked["do"] == "vread":
            if not asked["path"][3].isdigit():
                return [] if played.status in (400, 404) else [f"status {played.status}, not 404"]
            wanted = 200 if int(asked["path"][3]) in fit else 404
            return [] if played.status == wanted else [f"status {played.status}, not {wanted}"]
        if not fit:
            return [] if played.status == 404 else [f"status {played.status}, not 404: no version is the session's"]
        if played.status != 200:
            return [f"status {played.status}, not 200: versions {fit} are the session's"]
        seen = sorted(int(entry["resource"]["meta"]["versionId"]) for page in played.pages for entry in page.body.get("entry", [])
                      if entry.get("resource", {}).get("resourceType") == key[0])
        if played.whole and seen != fit:
            return [f"versions {seen}, not {fit}"]
        return []

    def exact_search(self, patient, clauses, asked, played):
        kind = asked["path"][-1] if asked["do"] != "post-search" else asked["path"][0]
        params = list(asked.get("params", [])) + list(asked.get("form", []))
        named = [value for name, value in params if kind == "Patient" and name == "_id"]
        if played.status == 400 and b"include`" in played.pages[0].data:
            return []  # which types a parameter points to is read more narrowly than its `target` says
        if self.type_refused(clauses, kind, "s"):
            return [] if played.status == 403 else [f"status {played.status}, not 403"]
        if any(patient not in value.split(",") for value in named):
            return [] if played.status == 403 else [f"status {played.status}, not 403: the search names another patient"]
        names = [name for name, _ in params]
        if any(names.count(name) > 1 for name in names if name.startswith("_") and name not in ("_id", "_include", "_revinclude", "_include:iterate", "_revinclude:iterate")):
            return []
        if {"_elements", "_summary"} <= set(names):
            return []
        if played.status == 400 and any(name == "_sort" for name in names):
            return []
        if asked["do"] == "compartment" and kind in oracles.SHARED:
            return [] if played.status == 400 else [f"status {played.status}, not 400: the type is in no patient's compartment"]
        if played.status == 400 and b"cannot be narrowed" in played.pages[0].data:
            return []
        if played.status != 200:
            return [f"status {played.status} for a plain search: {bytes(played.pages[0].data)[:160]!r}"]
        if not played.whole:
            return []
        matches = set()
        for key in self.brute.by_kind.get(kind, []):
            resource = self.brute.world.records[key]
            if self.brute.admissible(patient, clauses, resource, "s") and all(
                    self.param_holds(resource, patient, name, value) for name, value in params):
                matches.add(key)
        included, may, sure = self.included(kind, patient, clauses, params, matches)
        seen = {"match": set(), "include": set()}
        for page in played.pages:
            for entry in page.body.get("entry", []):
                one = entry.get("resource", {})
                if one.get("resourceType") != "OperationOutcome":
                    seen.setdefault(entry.get("search", {}).get("mode"), set()).add(key_of(one))
        problems = []
        if seen["match"] != matches:
            more, fewer = sorted(seen["match"] - matches), sorted(matches - seen["match"])
            problems.append(f"matches: {more[:3]} too many ({len(more)}), {fewer[:3]} missing ({len(fewer)})")
        elif sure:
            include = seen["include"] - matches
            more, fewer = sorted(include - included - may), sorted(included - matches - include)
            loose = [key for key in more if not self.anchored(key, matches)]
            if more and not fewer and len(loose) == len(more):
                problems.append(f"include without its match: {loose[:3]} came along with a record that was withheld")
            elif more or fewer:
                problems.append(f"includes: {more[:3]} too many ({len(more)}), {fewer[:3]} missing ({len(fewer)})")
        return problems

    def param_holds(self, resource, patient, name, value):
        if name in ("_count", "_elements", "_summary", "_sort", "_total", "_lastUpdated") or name.startswith(("_include", "_revinclude")):
            return True
        if name in ("patient", "subject") and value in (f"Patient/{patient}", patient):
            return self.points(resource, name, ("Patient", patient))
        return self.tokens.holds(resource, name, value)

    def points(self, resource, name, wanted):
        kind = resource["resourceType"]
        return any(oracles.target(value, self.brute.base) == wanted for path in self.brute.definitions.paths(kind, name)
                   for value in oracles.at(resource, path) if isinstance(value, dict))

    def included(self, kind, patient, clauses, params, matches):
        """What must come along, what may (a reference older than its target), and whether that can be told (one hop, simple paths)."""
        out, may, sure = set(), set(), True
        order = self.brute.order

        def take(key, source, aim):
            (out if order.get(aim, 1 << 40) < order.get(source, -1) or source in self.brute.world.earlier else may).add(key)
        for name, value in params:
            parts = value.split(":")
            if name.endswith(":iterate"):
                sure = False
            elif name == "_include":
                paths = self.brute.definitions.paths(parts[0], parts[1])
                sure &= self.simple(parts[0], parts[1])
                for key in matches:
                    for path in paths:
                        for found in oracles.at(self.brute.world.records[key], path):
                            named = oracles.target(found, self.brute.base) if isinstance(found, dict) else None
                            if named and (len(parts) < 3 or named[0] == parts[2]) and named[0] in self.targets(parts[0], parts[1]):
                                take(named, key, named)
            elif name == "_revinclude" and kind in oracles.SHARED and parts[0] not in oracles.SHARED:
                continue  # from a type that is nobody's it would look through everybody's records
            elif name == "_revinclude":
                paths = self.brute.definitions.paths(parts[0], parts[1])
                sure &= self.simple(parts[0], parts[1])
                for key in self.brute.by_kind.get(parts[0], []):
                    for path in paths:
                        for found in oracles.at(self.brute.world.records[key], path):
                            named = oracles.target(found, self.brute.base) if isinstance(found, dict) else None
                            if named in matches:
                                take(key, key, named)
        fit = lambda keys: {key for key in keys if key in self.brute.world.records
                            and self.brute.admissible(patient, clauses, self.brute.world.records[key], "rs")}
        return fit(out), fit(may), sure

    def anchored(self, key, matches):
        """Whether a released match refers to the record, or the other way round."""
        records = self.brute.world.records
        names = lambda source: {oracles.target(one, self.brute.base) for one in oracles.references(records[source], skip=())}
        return any(key in names(match) for match in matches) or bool(names(key) & matches)

    def targets(self, kind, code):
        return set(self.brute.definitions.parameters[kind, code].get("target", []))

    def simple(self, kind, code):
        parts = [part for part in self.brute.definitions.parameters[kind, code].get("expression", "").split("|") if part.strip().strip("(").startswith(kind + ".")]
        return len(parts) == len(self.brute.definitions.paths(kind, code))
