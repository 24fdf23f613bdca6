"""What the Python scripts share: one line per check, and the upstream as the other side of each comparison."""

import json
import os
import urllib.error
import urllib.request

SETUP = json.loads(os.environ["HILUM_CLIENT"])
BASE, PATIENT, OTHER, FOREIGN = (SETUP[name] for name in ("base", "patient", "other", "foreign"))


def check(feature, what):
    """Decorates one check: runs it at once and prints its line; a feature that was not asked for is printed as skipped."""
    def run(body):
        if feature not in SETUP["features"]:
            print(f"skip {feature}: {what}", flush=True)
            return
        try:
            body()
            print(f"ok   {feature}: {what}", flush=True)
        except Exception as error:  # noqa: BLE001 a check that ends in any way but its own is a failed one
            said = " ".join(f"{type(error).__name__} {error}".split())[:900]
            print(f"FAIL {feature}: {what}: {said}", flush=True)
    return run


def equal(one, other):
    if one != other:
        raise AssertionError(f"{one!r} is not {other!r}")


def refused(kind, call, *arguments, **named):
    """The exception of this kind that the library must raise."""
    try:
        answer = call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"was not refused: {answer!r}"[:300])


def upstream(target):
    """A JSON answer of the upstream itself; `None` when it has none (404, 410)."""
    try:
        with urllib.request.urlopen(target if target.startswith("http") else f"{SETUP['upstream']}/{target}", timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return None
        raise


def mine(search):
    """`Type/id` of everything of the session's patient that the upstream's own search returns, all pages, sorted."""
    found, page = [], upstream(f"{search}{'&' if '?' in search else '?'}patient={PATIENT}")
    while page:
        found += [entry["resource"] for entry in page.get("entry", [])]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        page = upstream(following[0]) if following else None
    return names(found)


def names(resources):
    return sorted(f"{one['resourceType']}/{one['id']}" for one in resources)


def observation(patient=PATIENT, value=61):
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-01-05T10:00:00Z",
        "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }


def bundle(kind, *entries):
    """A Bundle of `(method, url)` or `(method, url, resource)`."""
    return {"resourceType": "Bundle", "type": kind, "entry": [
        {"request": {"method": method, "url": url}, **({"resource": rest[0]} if rest else {})} for method, url, *rest in entries]}


def statuses(answer):
    return [int(entry["response"]["status"][:3]) for entry in answer["entry"]]
