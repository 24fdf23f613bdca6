"""The oracles are shown answers made up here that leak in one way each: one that lets them by would prove nothing."""

import collections
import json

import difference as differences
import wire
from checks import Checker
from misbehaved import interference
from play import Played


def check_oracles(stage):
    """Answers made up here that leak in one way each: an oracle that lets one by would prove nothing."""
    public, patient = stage.brute.public, "fx-p1"
    clauses = stage.tokens.clauses("patient/Observation.rs?category=vital-signs patient/Patient.rs")
    own, foreign = stage.world.records["Observation", "fx-o1"], stage.world.records["Observation", "fx-o2"]
    asked = {"do": "search", "method": "GET", "path": ["Observation"], "params": [], "exact": False}

    def answer(*resources, head=b"HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json", **more):
        bundle = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "self", "url": f"{public}/Observation"}], "entry": [
            {"fullUrl": f"{public}/{one['resourceType']}/{one['id']}", "resource": one, "search": {"mode": "match"}} for one in resources], **more}
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")[1:]]
        return Played([wire.Answer(200, head, headers, json.dumps(bundle).encode())], True)

    laboratory = stage.world.records["Observation", "fx-ocat"] | {"category": [{"coding": [{"code": "laboratory"}]}]}
    stage.world.records["Observation", "fx-oracle-lab"] = {**laboratory, "id": "fx-oracle-lab"}
    cases = {
        "another patient's record": answer(own, foreign),
        "a record out of the slice": answer(own, stage.world.records["Observation", "fx-oracle-lab"]),
        "a type that is not granted": answer(stage.world.records["Condition", "fx-c1"]),
        "a display that is not the session's": answer(stage.world.records["Observation", "fx-oper"]),
        "a changed value": answer({**own, "status": "amended"}),
        "a total": answer(own, total=3),
        "a name in a header": answer(own, head=b"HTTP/1.1 200 OK\r\netag: W/\"MRN-p2\""),
        "an unknown header": answer(own, head=b"HTTP/1.1 200 OK\r\nset-cookie: a=b"),
        "a name in a link": answer(own, link=[{"relation": "self", "url": f"{public}/Observation?x=MRN-p2"}]),
    }
    for name, played in cases.items():
        if not stage.checker.brute_force(patient, clauses, asked, played):
            raise SystemExit(f"the brute-force oracle does not see {name}")
    if found := stage.checker.brute_force(patient, clauses, asked, answer(own)):
        raise SystemExit(f"the brute-force oracle sees what is not there: {found}")
    if not stage.checker.brute_force(patient, clauses, {**asked, "exact": True}, answer(own)):
        raise SystemExit("the brute-force oracle does not miss a record")
    del stage.world.records["Observation", "fx-oracle-lab"]
    misbehaving(stage, patient, answer)
    if not stage.difference.interference(answer(own), answer({**own, "status": "amended"}), asked) or stage.difference.interference(answer(own), answer(own), asked):
        raise SystemExit("the oracle of non-interference is wrong")
    if not differences.monotone(answer(own), answer(own, foreign), asked) or not differences.monotone(answer(own), answer({**own, "status": "amended"}), asked):
        raise SystemExit("the oracle of monotonicity is wrong")
    part = {name: own[name] for name in ("resourceType", "id", "status")}
    if differences.monotone(answer(own, part), answer(part, own), asked) or not differences.monotone(answer(part), answer(part, own), asked):
        raise SystemExit("the oracle of monotonicity is wrong about a record in two forms")


def misbehaving(stage, patient, answer):
    """What is expected otherwise before a proxy, and the one difference that is counted instead."""
    brute = stage.brute.behind("http://127.0.0.1:9/fhir", stage.brute.public)
    checker = Checker(brute, stage.lore, stage.group, [], honest=False)
    clauses = stage.tokens.clauses("patient/DocumentReference.rs")
    asked = {"do": "search", "method": "GET", "path": ["DocumentReference"], "params": [], "exact": False}
    kept = brute.world.records["DocumentReference", "fx-dr1b"]
    bare = {**kept, "content": [{"attachment": {"contentType": "text/plain"}}]}
    if not checker.brute_force(patient, clauses, asked, answer(kept)) or (found := checker.brute_force(patient, clauses, asked, answer(bare))):
        raise SystemExit(f"the brute-force oracle is wrong about an address behind a proxy: {found}")

    def batch(*entries):
        body = {"resourceType": "Bundle", "type": "batch-response", "entry": [
            {"response": {"status": status}, **({"resource": one} if one else {})} for status, one in entries]}
        return Played([wire.Answer(200, b"HTTP/1.1 200 OK", [], json.dumps(body).encode())], True)

    def found(names, here, there):
        entries = [{"do": "read", "method": "GET", "path": ["Observation", name], "params": []} for name in names]
        return interference(stage, patient, {"do": "batch", "method": "POST", "entries": entries}, here, there, collections.Counter())
    two, own = ("fx-o2", "fx-o1"), stage.world.records["Observation", "fx-o1"]
    if problems := found(two, batch(("404", None), ("200", own)), batch(("502", None), ("200", own))):
        raise SystemExit(f"an unreadable record of a stranger in a batch is not counted: {problems}")

    def pages(*records, end=502):
        body = lambda one: json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one}]}).encode()
        return Played([wire.Answer(200, b"HTTP/1.1 200 OK", [], body(one)) for one in records] + [wire.Answer(end, b"HTTP/1.1 %d x" % end, [], b"{}")], False)
    everything = {"do": "everything", "method": "GET", "path": ["Patient", patient, "$everything"], "params": []}
    apart = [interference(stage, patient, everything, *both, collections.Counter()) for both in (
        (pages(), pages(own)), (pages(), pages(own, end=200)), (pages(end=404), pages(own)))]
    if apart[0] or not apart[1] or not apart[2]:
        raise SystemExit(f"the oracle of non-interference is wrong about a list that is cut short: {apart}")
    for name, names, here, there in (
            ("of an own record", ("fx-o1", "fx-o2"), batch(("404", None), ("404", None)), batch(("502", None), ("404", None))),
            ("beside another difference", two, batch(("404", None), ("200", own)), batch(("502", None), ("404", None))),
            ("with a record", two, batch(("404", None), ("200", own)), batch(("502", own), ("200", own))),
            ("of other statuses", two, batch(("404", None), ("200", own)), batch(("403", None), ("200", own)))):
        if not found(names, here, there):
            raise SystemExit(f"the oracle of non-interference lets a difference by: 404 and 502 {name}")
