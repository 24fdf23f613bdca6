"""Random tokens and random requests. Everything is made from a seed, and can be taken apart again to shrink a failure.

A request is a dict: `do` (the interaction), `method`, `path` (segments, raw text), `params` (pairs, not yet encoded), and for some
`form` (pairs of a POST), `body`, `headers`, `raw` (the whole target as it is sent). `exact` says that the oracle can tell the answer.
"""

import json
import urllib.parse

from lore import ABSENT

INTERACTIONS = {
    "read": 26, "search": 40, "vread": 6, "history": 5, "post-search": 8, "compartment": 4, "everything": 2, "lastn": 1, "operation": 2,
    "batch": 5, "binary": 3, "odd": 4, "head": 1, "conditional-read": 1, "metadata": 1, "system": 1, "typehistory": 1,
}
CONTROLS_ODD = [
    ("_filter", "subject eq Patient/fx-p2"), ("_query", "all"), ("_list", "fx-l1"), ("_list", "$current-allergies"), ("_content", "Bravo"),
    ("_text", "Bravo"), ("_contained", "both"), ("_contained", "true"), ("_containedType", "contained"), ("_type", "Condition"),
    ("_getpages", "00000000-0000-0000-0000-000000000000"), ("_getpagesoffset", "20"), ("_offset", "20"), ("_page", "2"), ("_cursor", "x"),
    ("_hilum", "AAAAAAAAAAAAAAAA"), ("_method", "DELETE"), ("_expunge", "true"), ("_assoc", "x"), (".fields", "subject"), ("_format", "xml"),
    ("_format", "html/json"), ("_elements:exclude", "subject"), ("_summary", "count"), ("_count", "0"), ("_count", "-1"), ("_count", "x"),
    ("_include", "*"), ("_include:recurse", "Observation:has-member"), ("_HAS:Observation:patient:code", "1"), ("_narrow", "x"),
    ("_at", "2020"), ("_since", "2000-01-01"), ("_total", "accurate"), ("_include:logical", "Observation:subject"), ("_id:not", "fx-p1"),
    ("_source", "x"), ("_profile", "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"), ("_language", "en"),
    ("_format", "application/fhir+json"), ("_pretty", "true"), ("_graph", "true"), ("_maxresults", "5"), ("_graphql", "{x}"),
]


def request(rng, lore, patient, only, lean=()):
    rng.lean = sorted(lean)
    names = [name for name in INTERACTIONS if name in only]
    do = rng.choices(names, weights=[INTERACTIONS[name] for name in names])[0]
    return MAKERS[do](rng, lore, patient)


# --- instance interactions

def read(rng, lore, patient):
    kind = lore.kind(rng, patient)
    asked = {"do": "read", "method": "GET", "path": [kind, lore.id(rng, kind, patient)], "params": [], "exact": kind != "Binary"}
    lot = rng.random()
    if lot < 0.12:
        asked["params"] = [view(rng, lore, kind)]
    elif lot < 0.16:
        asked["params"] = [rng.choice([("subject", f"Patient/{patient}"), ("patient", rng.choice(lore.patients)), ("_format", "xml"),
                                       ("_format", "json"), ("_pretty", "true"), ("nonsense", "1"), ("_include", "Observation:subject")])]
        asked["exact"] = False
    return asked


def view(rng, lore, kind):
    return rng.choice([
        ("_elements", "code"), ("_elements", "id"), ("_elements", "subject,status"), ("_elements", "identifier,name"), ("_elements", "status,nonsense"),
        ("_summary", "true"), ("_summary", "text"), ("_summary", "data"), ("_summary", "false")])


def vread(rng, lore, patient):
    kind = lore.kind(rng, patient)
    some = [key for key in lore.world.earlier if rng.random() < 0.2 or key[1].startswith("fx-om") or key[1] == "fx-ocat"]
    if rng.random() < 0.5 and some:
        kind, name = rng.choice(some)
    else:
        name = lore.id(rng, kind, patient)
    return {"do": "vread", "method": "GET", "path": [kind, name, "_history", rng.choice(["1", "1", "2", "2", "3", "4", "99", "x"])],
            "params": [view(rng, lore, kind)] if rng.random() < 0.08 else [], "exact": True}


def history(rng, lore, patient):
    asked = vread(rng, lore, patient)
    asked.update(do="history", path=asked["path"][:3])
    asked["params"] = []
    if rng.random() < 0.3:
        asked["params"] = [rng.choice([("_count", "1"), ("_count", "2"), ("_since", "2000-01-01"), ("_elements", "id"), ("_summary", "true"),
                                       ("_since", "2100-01-01"), ("_at", "2020-01-01"), ("_format", "json"), ("patient", "fx-p2")])]
        asked["exact"] = asked["params"][0][0] in ("_format",)
    if rng.random() < 0.1:
        asked["headers"] = {"Prefer": "return=minimal"}
    return asked


def head(rng, lore, patient):
    asked = rng.choice([read, search])(rng, lore, patient)
    asked.update(do="head", method="HEAD")
    return asked


def conditional_read(rng, lore, patient):
    asked = read(rng, lore, patient)
    asked.update(do="conditional-read", exact=False, headers=rng.choice([
        {"If-None-Match": 'W/"1"'}, {"If-None-Match": "*"}, {"If-None-Match": 'W/"99"'}, {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"If-Match": 'W/"1"'}]))
    return asked


def binary(rng, lore, patient):
    if rng.random() < 0.5:
        return {"do": "binary", "method": "GET", "path": ["DocumentReference", lore.id(rng, "DocumentReference", patient)], "params": [], "steal": True,
                "files": rng.choice(["text/plain", "*/*", "application/fhir+json"])}
    return {"do": "binary", "method": rng.choice(["GET", "GET", "HEAD"]), "path": ["Binary", rng.choice(lore.ids["Binary"] + ABSENT[:3])],
            "params": rng.choice([[], [], [], [("_hilum", "AAAAAAAAAAAAAAAAAAAAAAAA")], [("_elements", "data")]]),
            "headers": rng.choice([{}, {"Accept": "application/pdf"}, {"Accept": "*/*"}, {"Accept": "text/plain"}])}


# --- searches

def search(rng, lore, patient):
    kind = lore.kind(rng, patient)
    asked = {"do": "search", "method": "GET", "path": [kind], "params": [], "exact": True}
    params = asked["params"]
    subject = [code for code, targets in lore.references.get(kind, []) if "Patient" in targets]
    if rng.random() < 0.45 and subject:
        code = rng.choice([one for one in subject if one in ("patient", "subject")] or subject)
        if rng.random() < 0.6:
            params.append((code, rng.choice([f"Patient/{patient}", patient])))
            if code not in ("patient", "subject"):
                asked["exact"] = False
        else:
            params.append((code + rng.choice(["", "", "", ":Patient", ":Group", ":identifier", ":missing", ":not", ":Practitioner"]),
                           lore.reference(rng, ["Patient"], patient)))
            asked["exact"] = False
    if rng.random() < 0.18:
        ids = [lore.id(rng, kind, patient) for _ in range(rng.choice([1, 1, 2, 5]))]
        params.append(("_id", ",".join(ids)))
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        name, value, exact = parameter(rng, lore, kind, patient)
        params.append((name, value))
        asked["exact"] &= exact
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2])):
        pair, exact = inclusion(rng, lore, kind)
        if pair:
            params.append(pair)
            asked["exact"] &= exact
    if rng.random() < 0.1:
        code, other = rng.choice(lore.params.get(kind, [("_id", None)]))
        params.append(("_sort", rng.choice(["", "-"]) + rng.choice([code, code, "_id", "subject.name", "patient"])))
        # By what has several values HAPI sorts a record several times, and loses others between its pages.
        asked["exact"] &= params[-1][1].strip("-") == code and other is not None and other["type"] == "date"
        asked["sorted"] = True
    lot = rng.random()
    params.append(("_count", "200" if lot < 0.62 else rng.choice(["100", "20", "7", "3", "1000"]))) if lot < 0.82 else None
    if rng.random() < 0.1:
        params.append(view(rng, lore, kind))
    if rng.random() < 0.03:
        params.append(("_total", rng.choice(["none", "accurate", "estimate"])))
    if rng.random() < 0.09:
        params.append(rng.choice(CONTROLS_ODD))
        asked["exact"] = False
    if rng.random() < 0.06:
        params.append(chain(rng, lore, kind, patient))
        asked["exact"] = False
    rng.shuffle(params)
    if rng.random() < 0.15:
        asked["steal"] = True  # the next link is also tried with another session's token
    return asked


def parameter(rng, lore, kind, patient):
    """(name, value, exact) of one search parameter of the type."""
    rows = lore.params.get(kind)
    if not rows or rng.random() < 0.05:
        return rng.choice([("nonsense", "1", False), ("_lastUpdated", "gt2000-01-01", True), ("_lastUpdated", "gt2100-01-01", False),
                           ("_lastUpdated", "lt2000-01-01", False), ("_tag", "x", False), ("_security", "R", False), ("_profile", "http://x", False)])
    tokens = [row for row in rows if row[1]["type"] == "token" and lore.tokens.token_paths(kind, row[0])]
    if tokens and rng.random() < 0.5:
        code, _ = rng.choice(tokens)
        value = lore.token(rng, kind, code, patient)
        if rng.random() < 0.15:
            value += "," + lore.token(rng, kind, code, patient)
        lot = rng.random()
        if lot < 0.08:
            return code + rng.choice([":not", ":text", ":in", ":missing", ":of-type", ":above"]), rng.choice([value, "true"]), False
        return code, value, True
    code, known = rng.choice(rows)
    kind_of = known["type"]
    if kind_of == "reference":
        modifier = rng.choice(["", "", "", ":missing", ":identifier", ":" + rng.choice(known.get("target") or ["Patient"])])
        return code + modifier, lore.reference(rng, known.get("target", []), patient), False
    if kind_of == "date":
        return code, lore.date(rng, kind, code, patient), False
    if kind_of == "string":
        return code + rng.choice(["", "", ":exact", ":contains", ":text"]), lore.text(rng, kind, code, patient), False
    if kind_of == "token":
        return code + rng.choice(["", ":not", ":missing"]), lore.token(rng, kind, code, patient), False
    if kind_of == "uri":
        return code, rng.choice(["http://hl7.org/fhir", "urn:uuid:1", "http://x/Patient/fx-p2"]), False
    return code + rng.choice(["", ":missing"]), rng.choice(["1", "gt5", "72.1|http://unitsofmeasure.org|/min", "8867-4$72", "true", "lt1e400", "~"]), False


def inclusion(rng, lore, kind):
    lot = rng.random()
    if lot < 0.5:
        rows = lore.references.get(kind)
        if not rows:
            return None, True
        code, targets = rng.choice(rows)
        tail = f":{rng.choice(targets)}" if targets and rng.random() < 0.2 else ""
        iterate = rng.random() < 0.12
        return ("_include" + (":iterate" if iterate else ""), f"{kind}:{code}{tail}"), not iterate
    rows = [row for row in lore.pointing.get(kind, []) if row[0] in lore.kinds]
    if not rows or lot > 0.96:
        return rng.choice([("_include", f"{kind}:nonsense"), ("_revinclude", "Observation:nonsense"), ("_include", "Condition:subject"),
                           ("_revinclude", "*"), ("_include", "Patient:link"), ("_revinclude:iterate", "Provenance:target")]), False
    source, code = rng.choice(rows)
    iterate = rng.random() < 0.12
    return ("_revinclude" + (":iterate" if iterate else ""), f"{source}:{code}"), not iterate


def chain(rng, lore, kind, patient):
    lot = rng.random()
    rows = lore.references.get(kind) or [("subject", ["Patient"])]
    code, targets = rng.choice(rows)
    target = rng.choice([one for one in targets if one in lore.params] or ["Patient"])
    inner, _ = rng.choice(lore.params.get(target, [("identifier", None)]))
    if lot < 0.4:
        return f"{code}.{inner}", lore.text(rng, target, inner, patient)
    if lot < 0.6:
        return f"{code}:{target}.{inner}", lore.text(rng, target, inner, patient)
    if lot < 0.65:
        return f"{code}:{target}.organization.name", "Fixture"
    source, link = rng.choice(lore.pointing.get(kind) or [("Observation", "subject")])
    inner, _ = rng.choice(lore.params.get(source, [("code", None)]))
    return f"_has:{source}:{link}:{inner}", lore.token(rng, source, inner, patient)


def post_search(rng, lore, patient):
    asked = search(rng, lore, patient)
    params = asked["params"]
    at = rng.randrange(len(params) + 1) if rng.random() < 0.4 else 0
    asked.update(do="post-search", method="POST", path=[asked["path"][0], "_search"], params=params[:at], form=params[at:])
    lot = rng.random()
    if lot < 0.08:
        asked["headers"] = {"Content-Type": rng.choice(["multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=utf-16",
                                                        "application/fhir+json", "text/plain"])}
        asked["exact"] = False
    return asked


def compartment(rng, lore, patient):
    kind = lore.kind(rng, patient)
    asked = search(rng, lore, patient)
    owner = rng.choice([["Patient", patient]] * 4 + [["Patient", rng.choice(lore.patients)], ["Patient", "absent-0"], ["Encounter", lore.id(rng, "Encounter", patient)],
                        ["Practitioner", lore.id(rng, "Practitioner", patient)], ["RelatedPerson", lore.id(rng, "RelatedPerson", patient)],
                        ["Device", lore.id(rng, "Device", patient)]])
    asked.update(do="compartment", path=[*owner, rng.choice([asked["path"][0]] * 6 + ["*", "Nonsense"])])
    if asked["path"][2] != kind and owner != ["Patient", patient]:
        asked["exact"] = False
    if owner != ["Patient", patient] or asked["path"][2] in ("*", "Nonsense"):
        asked["exact"] = False
    return asked


# --- operations, batches, oddities

def everything(rng, lore, patient):
    who = rng.choice([patient, patient, patient, rng.choice(lore.patients), "absent-0"])
    params = [rng.choice([("_count", "200"), ("_type", "Observation"), ("start", "2000-01-01"), ("_since", "2000-01-01"), ("end", "2100-01-01"),
                          ("_count", "10"), ("_elements", "id"), ("nonsense", "1")])] if rng.random() < 0.5 else []
    return {"do": "everything", "method": "GET", "path": ["Patient", who, rng.choice(["$everything"] * 8 + ["$Everything", "%24everything"])], "params": params}


def lastn(rng, lore, patient):
    params = rng.choice([[], [("patient", f"Patient/{patient}")], [("patient", rng.choice(lore.patients))], [("category", "vital-signs")],
                         [("patient", patient), ("category", "vital-signs"), ("max", "2")], [("subject", f"Patient/{patient}"), ("code", "8867-4")]])
    return {"do": "lastn", "method": "GET", "path": ["Observation", "$lastn"], "params": params}


def operation(rng, lore, patient):
    other = rng.choice(lore.patients)
    method, path, params = rng.choice([
        ("GET", ["$export"], []), ("GET", ["Patient", "$export"], []), ("GET", ["Patient", patient, "$export"], []), ("GET", ["Group", "fx-g1", "$export"], []),
        ("POST", ["Patient", "$match"], []), ("POST", ["$member-match"], []), ("GET", ["Composition", lore.id(rng, "Composition", patient), "$document"], []),
        ("GET", ["Patient", patient, "$summary"], []), ("GET", ["Observation", lore.id(rng, "Observation", patient), "$validate"], []),
        ("POST", ["Observation", "$validate"], []), ("POST", ["$expunge"], []), ("POST", ["$reindex"], []), ("GET", ["Encounter", lore.id(rng, "Encounter", patient), "$everything"], []),
        ("GET", ["ValueSet", "$expand"], [("url", "http://x")]), ("GET", ["CodeSystem", "$lookup"], [("code", "x")]),
        ("GET", ["Measure", "x", "$evaluate-measure"], [("subject", f"Patient/{other}")]), ("GET", ["PlanDefinition", "x", "$apply"], [("subject", f"Patient/{other}")]),
        ("GET", ["List", "fx-l1", "$find"], []), ("GET", ["Group", "fx-g12", "$everything"], []), ("GET", ["Patient", "$everything"], []),
        ("GET", ["Observation", lore.id(rng, "Observation", patient), "$meta"], []), ("GET", ["$meta"], []), ("GET", ["Observation", "$meta"], []),
        ("POST", ["$process-message"], []), ("POST", ["$graphql"], []), ("GET", ["$graphql"], [("query", "{Patient{id}}")]), ("GET", ["$get-resource-counts"], []),
        ("GET", ["Patient", other, "$graphql"], [("query", "{id}")]), ("GET", ["$export-poll-status"], [("_jobId", "1")]), ("POST", ["Patient", "$merge"], [])])
    asked = {"do": "operation", "method": method, "path": path, "params": params}
    if method == "POST":
        asked["body"] = json.dumps({"resourceType": "Parameters", "parameter": [{"name": "patient", "valueReference": {"reference": f"Patient/{other}"}}]})
    return asked


def metadata(rng, lore, patient):
    return {"do": "metadata", "method": rng.choice(["GET", "HEAD", "OPTIONS"]), "path": rng.choice([["metadata"], [".well-known", "smart-configuration"]]),
            "params": rng.choice([[], [("mode", "terminology")], [("_format", "json")], [("_elements", "rest")]])}


def system(rng, lore, patient):
    method = rng.choice(["GET", "GET", "POST"])
    params = rng.choice([[("_type", "Observation,Condition")], [("_id", "fx-o2")], [], [("_type", "Patient"), ("name", "Bravo")]])
    if method == "GET":
        return {"do": "system", "method": "GET", "path": rng.choice([[], [""], ["_search"]]), "params": params}
    return {"do": "system", "method": "POST", "path": ["_search"], "params": [], "form": params}


def typehistory(rng, lore, patient):
    path = rng.choice([["_history"], [lore.kind(rng, patient), "_history"], ["Patient", "_history"]])
    return {"do": "typehistory", "method": "GET", "path": path, "params": rng.choice([[], [("patient", patient)], [("_id", patient)], [("_count", "5")]])}


def batch(rng, lore, patient):
    entries = []
    for _ in range(rng.choice([1, 2, 3, 5, 8])):
        maker = rng.choice([read] * 4 + [search] * 4 + [vread, history, compartment, everything, typehistory, operation])
        inner = maker(rng, lore, patient)
        inner["params"] = [pair for pair in inner["params"] if pair]
        entries.append({key: inner[key] for key in ("do", "method", "path", "params", "exact") if key in inner})
    return {"do": "batch", "method": "POST", "path": [], "params": [], "entries": entries, "bundle": rng.choice(["batch"] * 9 + ["transaction"])}


def odd(rng, lore, patient):
    kind, other = lore.kind(rng, patient), rng.choice(lore.patients)
    name, foreign = lore.id(rng, "Observation", patient), rng.choice(lore.ids["Observation"])
    raw = rng.choice([
        f"Observation/./{name}", f"Observation//{name}", f"/Observation/{foreign}", f"./Observation/{foreign}", f"Observation/{foreign}/", f"observation/{foreign}",
        f"Observation%2F{foreign}", f"Observation/%2e%2e/Patient/{other}", f"Observation/{name}/../{foreign}", f"DEFAULT/Observation/{foreign}", f"Observation/{name};x={foreign}",
        f"Observation;v=1/{foreign}", f"Observation/{foreign}%00", f"Observation/{foreign}%20", f"Observation,Condition?patient={patient}", f"Observation?patient={patient}&%70atient={other}",
        f"Observation?patient={patient};subject={other}", f"Observation?patient={patient}%26subject%3D{other}", f"Observation?patient={patient}%2C{other}", f"Observation?%70atient={other}",
        f"Observation?patient%5B%5D={other}", f"Observation?patient={other}&patient={patient}", f"Observation?subject:Patient={other}", f"Observation?PATIENT={other}",
        f"Observation/_search?patient={other}", f"Observation?_id={foreign}&_id={name}", f"Patient/{patient}/../{other}", f"Patient/{other}/Observation", f"Patient?_id={other}",
        f"Patient?_id={patient},{other}", f"Patient?identifier=MRN-p2", f"Patient/{other}?_elements=id", f"Patient/{patient}?_summary=true", f"Patient/{other}%23", f"Patient/{patient}%2F..%2F{other}",
        f"Patient?_id:not={patient}", f"Patient?_sort=name&_id={patient},{other}", "Observation?", "Observation?&&", "Observation?=x", "Observation?_id=", "", "?", "//", "%2F", "Observation/%FF", "Nonsense/1",
        f"Observation?code=%00", "Observation?code=" + "x" * 3000, "Observation/" + "x" * 200, f"Observation?subject=Patient/{patient}&subject:Group=Group/fx-g12",
        f"Observation?_include=Observation:subject&_include=Observation:subject:Group", f"{kind}?_has:Observation:subject:_id={foreign}", f"{kind}/{name}/$everything", f"{kind}?_id={patient}"])
    headers = rng.choice([{}, {}, {}, {"X-Forwarded-Host": "evil.example"}, {"X-HTTP-Method-Override": "DELETE"}, {"X-Patient-Id": other}, {"Range": "bytes=0-99"},
                          {"Prefer": "handling=lenient"}, {"Prefer": "respond-async"}, {"Accept": "application/fhir+xml"}, {"Accept": "text/html"}, {"X-Original-URL": f"/fhir/Patient/{other}"},
                          {"Forwarded": "host=evil.example"}, {"Cookie": "a=b"}, {"Accept": "application/json;q=0.1, */*"}, {"X-Request-Id": "x"}, {"Accept-Encoding": "gzip"}])
    return {"do": "odd", "method": rng.choice(["GET"] * 8 + ["HEAD", "OPTIONS", "TRACE"]), "raw": raw, "headers": headers}


MAKERS = {
    "read": read, "search": search, "vread": vread, "history": history, "post-search": post_search, "compartment": compartment, "everything": everything,
    "lastn": lastn, "operation": operation, "batch": batch, "binary": binary, "odd": odd, "head": head, "conditional-read": conditional_read,
    "metadata": metadata, "system": system, "typehistory": typehistory,
}


# --- as text

def encode(pairs):
    return "&".join(f"{urllib.parse.quote(name, safe=':.')}={urllib.parse.quote(value, safe='/:,|$')}" for name, value in pairs)


def target(asked):
    """What follows the FHIR base."""
    if "raw" in asked:
        return asked["raw"]
    path = "/".join(asked["path"])
    query = encode(asked.get("params", []))
    return path + ("?" + query if query else "")


def body(asked):
    """(bytes or None, headers) of a request."""
    headers = {}
    if "entries" in asked:
        bundle = {"resourceType": "Bundle", "type": asked["bundle"],
                  "entry": [{"request": {"method": entry["method"], "url": target(entry)}} for entry in asked["entries"]]}
        return json.dumps(bundle).encode(), {"Content-Type": "application/fhir+json"}
    if "form" in asked:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return encode(asked["form"]).encode(), {**headers, **asked.get("headers", {})}
    if "body" in asked:
        return asked["body"].encode(), {"Content-Type": asked.get("type", "application/fhir+json")}
    return None, headers


def text(asked):
    """One line that a person can read."""
    sent, _ = body(asked)
    shown = sent.decode() if sent else ""
    return f"{asked['method']} {target(asked)}" + (f" {asked['headers']}" if asked.get("headers") else "") + (f"  <- {shown}" if shown else "")
