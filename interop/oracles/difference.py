"""The second and the third oracle: the same answer in both worlds, and no more of it for a narrower token."""

import json
import re

import play
import wire

BINARY = re.compile(r"^http://127\.0\.0\.1:\d+/[a-z0-9-]+/fhir/(?=Binary/)")
SEALED = re.compile(rb"_hilum=[A-Za-z0-9_.-]+")
UPDATED = re.compile(rb'"last(Updated|Modified)"\s*:\s*"[^"]*"')
SOURCE = re.compile(rb'"source"\s*:\s*"#[A-Za-z0-9]+"')
FREE_HEADERS = {"date", "last-modified", "content-length", "x-file"}


class Difference:
    """Bytes of world B in the words of world A: addresses, sealed page tokens, what the upstream writes by its clock."""

    def __init__(self, pairs):
        self.pairs = [(old.encode(), new.encode()) for old, new in pairs]
        self.reordered = self.paged = self.unsteady = 0

    def plain(self, data):
        for old, new in self.pairs:
            data = data.replace(old, new)
        data = SEALED.sub(lambda found: b"_hilum=%d" % len(found[0]), data)
        data = UPDATED.sub(b'"lastUpdated":""', data)
        return SOURCE.sub(b'"source":""', data)

    def interference(self, here, there, asked):
        """Differences; where only the order of entries differs, the upstream's own choice among equals, it is counted."""
        problems = self.strictly(here, there)
        if problems and here.status == there.status == 200 and asked["do"] in ("search", "post-search", "compartment", "everything", "lastn", "odd", "batch"):
            less = self.unordered(here, there, asked)
            if not less:
                self.reordered += 1
            return less
        return problems

    def strictly(self, here, there):
        if len(here.pages) != len(there.pages):
            return [f"{len(here.pages)} pages in one world, {len(there.pages)} in the other"]
        for number, (one, other) in enumerate(zip(here.pages, there.pages)):
            at = f"page {number + 1}: " if number else ""
            if one.status != other.status:
                return [f"{at}status {one.status} in one world, {other.status} in the other"]
            heads = [[(name, self.plain(value.encode()) if name not in FREE_HEADERS else b"") for name, value in answer.headers]
                     for answer in (one, other)]
            if heads[0] != heads[1]:
                return [f"{at}headers {heads[0]} in one world, {heads[1]} in the other"]
            a, b = self.plain(one.data), self.plain(other.data)
            if a != b:
                at_byte = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                return [f"{at}bodies differ at byte {at_byte}: …{a[max(0, at_byte - 80):at_byte + 120]!r}… and …{b[max(0, at_byte - 80):at_byte + 120]!r}…"]
        return []


    def unordered(self, here, there, asked):
        """The same entries, in any order and on any page; where not all pages were read, nothing that can be said."""
        if not here.whole and not there.whole:
            return []
        both = []
        for played in (here, there):
            entries = []
            for page in played.pages:
                body = json.loads(self.plain(page.data) or b"{}")
                if body.get("type") in ("batch-response", "transaction-response"):
                    entries.append(json.dumps(canonical(whole_only(body)), sort_keys=True))
                elif asked["do"] == "lastn":
                    entries += [json.dumps(canonical(measured(entry))) for entry in body.get("entry", [])]
                else:
                    entries += [json.dumps(canonical(entry), sort_keys=True) for entry in body.get("entry", [])]
            both.append(sorted(set(entries)))
        if both[0] == both[1] and len(here.pages) == len(there.pages):
            return []
        if both[0] == both[1] and (asked["do"] == "everything" or "$everything" in asked.get("raw", "")):
            self.paged += 1  # strangers' records that refer to the patient fill pages before they are left out
            return []
        if both[0] == both[1]:
            return [f"pages differ: {len(here.pages)} in one world, {len(there.pages)} in the other, with the same entries"]
        return [f"entries differ: {[one[:300] for one in set(both[0]) ^ set(both[1])][:2]}, {len(here.pages)} and {len(there.pages)} pages"]


def statuses(entry):
    return str(entry.get("response", {}).get("status", ""))[:3]


def without_unreadable(here, there, asked, excused):
    """Both answers to a batch without the entries that tell a record that cannot be read (502) from an absent one (404), as
    far as `excused` says so of what the entry asks; and how many these were."""
    bodies = [played.pages[0].body for played in (here, there)]
    if not all(len(played.pages) == 1 and played.status == 200 for played in (here, there)) or not all(
            isinstance(body, dict) and len(body.get("entry", [])) == len(asked["entries"]) for body in bodies):
        return here, there, 0
    count = 0
    for inner, *pair in zip(asked["entries"], *[body["entry"] for body in bodies]):
        if {statuses(entry) for entry in pair} == {"404", "502"} and not any("resource" in entry for entry in pair) and excused(inner):
            count += 1
            for entry in pair:
                entry.clear()
    if not count:
        return here, there, 0
    return *[play.Played([wire.Answer(200, played.pages[0].head, played.pages[0].headers, json.dumps(body).encode())], True)
             for played, body in zip((here, there), bodies)], count


def cut_short(here, there):
    """Whether both `$everything` end where a page cannot be read, some pages apart, and what came before is in both."""
    if not all(played.pages[-1].status == 502 and all(page.status == 200 for page in played.pages[:-1]) for played in (here, there)):
        return False
    both = [{json.dumps(canonical(entry), sort_keys=True) for page in played.pages[:-1] for entry in page.body.get("entry", [])} for played in (here, there)]
    return len(here.pages) != len(there.pages) and (both[0] <= both[1] or both[1] <= both[0])


def canonical(value):
    """Without what depends on the order in which the upstream tells equals."""
    value = without_names(value)
    if isinstance(value, dict):
        out = {name: canonical(inner) for name, inner in value.items()}
        if out.get("type") == "searchset":
            out["entry"] = sorted(out.get("entry", []), key=lambda entry: json.dumps(entry, sort_keys=True))
        return out
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return value


def has_more(one):
    """Whether a Bundle within a batch is one page of several."""
    return isinstance(one, dict) and any(link.get("relation") == "next" or "everything" in link.get("url", "") for link in one.get("link", []))


def whole_only(body):
    """A batch's answer without the entries of searches that have more pages: which come first is the upstream's choice."""
    entries = [{**entry, "resource": {"resourceType": "Bundle"}} if has_more(entry.get("resource")) else entry for entry in body.get("entry", [])]
    return {**body, "entry": entries}


def measured(entry):
    """What was observed when: of two at the same time either may be the last."""
    one = entry.get("resource", {})
    times = {name: inner for name, inner in one.items() if name.startswith("effective")}
    return [one.get("resourceType"), one.get("code"), times]


def released(played):
    """(type, id, version) -> the record of everything in the answers, in each form it has there: whole, or by `_elements`."""
    out = {}

    def take(one):
        if not isinstance(one, dict):
            return
        if one.get("resourceType") == "Bundle":
            for entry in one.get("entry", []):
                take(entry.get("resource"))
        elif one.get("resourceType") not in (None, "OperationOutcome", "CapabilityStatement") and "id" in one:
            out.setdefault((one["resourceType"], one["id"], str(one.get("meta", {}).get("versionId"))), []).append(one)
    for page in played.pages:
        if page.status in (200, 201):
            take(page.body)
    return out


def without_names(value):
    """A resource without what depends on the token: names beside references, and how the address of a Binary is written, which
    is absolute and sealed only for who may read one."""
    if isinstance(value, dict):
        named = isinstance(value.get("reference"), str)
        return {name: without_names(inner) for name, inner in value.items() if not (named and name in ("display", "identifier", "_display"))}
    if isinstance(value, list):
        return [without_names(inner) for inner in value]
    return BINARY.sub("", value.split("?_hilum=")[0]) if isinstance(value, str) else value


def monotone(wide, narrow, asked):
    """The narrower token sees no more, and nothing different. `$lastn` apart: without the last, the one before it is the last."""
    if not wide.whole or asked["do"] == "lastn":
        return []
    if asked["do"] == "batch" and any(has_more(entry.get("resource")) for page in wide.pages if isinstance(page.body, dict) for entry in page.body.get("entry", [])):
        return []
    here, there = released(wide), released(narrow)
    more = sorted(set(there) - set(here))
    if more:
        return [f"the narrower token got {more[:3]} ({len(more)}), the wider one (status {wide.status}) did not"]
    for key, forms in there.items():
        wider = [without_names(one) for one in here[key]]
        if any(without_names(one) not in wider for one in forms):
            return [f"{key} differs for the narrower token"]
    return []
