"""Oracle 1: every byte of an answer is allowed for the token, and searches and reads that can be told exactly are exactly so.

Independent of the product: membership from `interop/hapi/oracle.py` (the raw CompartmentDefinition), scopes from `tokens.py`.
"""

import base64
import copy
import json
import re

import oracle as oracles
from worlds import OWN_FILES, Everything, WORD, identifying, key_of

HEADERS = {
    "content-type", "cache-control", "x-content-type-options", "etag", "last-modified", "www-authenticate", "allow", "retry-after",
    "content-security-policy", "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age", "content-length", "date", "location", "connection", "content-disposition", "access-control-allow-origin", "keep-alive", "vary",
}
SUBSETTED = "SUBSETTED"
LENGTH = re.compile(rb"(?i)\r\ncontent-length: \d+|^HTTP/1.1 [^\r]*|\"last(?:Updated|Modified)\"\s*:\s*\"[^\"]*\"")


def words(text):
    return set(WORD.findall(text)) | set(re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+", text))


class Brute:
    def __init__(self, definitions, tokens, world, base, public, kinds, group):
        self.definitions, self.tokens, self.world, self.base, self.public = definitions, tokens, world, base, public
        self.kinds = set(kinds)
        self.oracle = oracles.Oracle(definitions, world.records, base, Everything())
        self.member = {}  # (patient, key) -> bool, the current version
        self.by_kind = {}
        self.order = {key: at for at, key in enumerate([*world.earlier, *(key for key in world.records if key not in world.earlier)])}
        self.known = {}  # (patient, key, view) -> [(record as answered, names of references that kept their display)]
        for key in world.records:
            self.by_kind.setdefault(key[0], []).append(key)
        self.forbidden = {patient: self.words_of_others(patient) for patient in group}

    def behind(self, base, public):
        """The same reading for a gate that knows its upstream as `base`, a proxy before the one that holds the records. That one
        keeps a reference to its own base as a relative one, so it means the same at any; an attachment's address it keeps as
        it came, and for this gate it is another host's: it must go (BI-08), and it proves no file."""
        other = copy.copy(self)
        other.base, other.public, other.known = base, public, {}
        other.world = self.world.with_relative_references(self.base)
        other.oracle = oracles.Oracle(self.definitions, other.world.records, base, Everything())
        return other

    # --- membership

    def own(self, patient, key):
        at = (patient, key)
        if at not in self.member:
            resource = self.world.records.get(key)
            self.member[at] = resource is not None and key not in self.world.deleted and self.oracle.is_own(resource, patient)
        return self.member[at]

    def own_keys(self, patient):
        return [key for key in self.world.records if self.own(patient, key)]

    def admissible(self, patient, clauses, resource, letters, own=None):
        """Member, covered by a clause, and nothing contained that no clause covers."""
        kind = resource["resourceType"]
        if kind not in self.kinds:
            return False
        if not (self.own(patient, key_of(resource)) if own is None else own):
            return False
        if not self.tokens.admits(clauses, resource, letters):
            return False
        return all(self.tokens.admits(clauses, inner, "rs") for inner in resource.get("contained", []))

    def may_have_file(self, patient, clauses, name):
        """A file by its security context, or by a document of the patient that leads to it and that the token lets read."""
        raw = self.world.records.get(("Binary", name))
        if raw is None or not self.tokens.covering(clauses, "Binary", "r"):
            return False
        context = oracles.target(raw.get("securityContext", {}), self.base)
        if context:
            return context == ("Patient", patient)
        urls = {f"Binary/{name}", f"{self.base}/Binary/{name}"}
        return any(
            key[0] == "DocumentReference" and self.own(patient, key) and self.admissible(patient, clauses, one, "rs")
            and any(content.get("attachment", {}).get("url") in urls for content in one.get("content", []))
            for key, one in self.world.records.items())

    def words_of_others(self, patient):
        """Identifying words of records that are not the patient's, which the patient's own do not have."""
        theirs, ours = set(), set()
        everything = list(self.world.records.items()) + [
            (key, version) for key, chain in self.world.earlier.items() for version in chain]
        for key, resource in everything:
            if self.oracle.is_own(resource, patient):
                ours |= words(json.dumps(self.masked(resource, "", patient), ensure_ascii=False))
                ours.update(key)
            elif not (key[0] == "Binary" and key[1] in OWN_FILES and patient == "fx-p1"):
                theirs |= identifying(resource)
                if key[0] == "Binary":
                    theirs |= words(base64.b64decode(resource["data"]).decode()) | {resource["data"]}
        # `_history` is a part of every address of a version: in a record's words it comes from a reference to one.
        types = {base for base, _ in self.definitions.parameters} | {"_history", "127.0.0.1", "Type", "Gateway", "FHIR", "SMART", "POST", "PATCH", "Created"}
        ids = {name for kind, name in self.world.records}
        # Plain words and short numbers are in every refusal; an id, a name or a number of five digits is somebody's.
        return {word for word in theirs - ours - types - {patient}
                if not re.fullmatch(r"\d{1,4}|[a-z.-]+", word) or word in ids and not re.fullmatch(r"[a-z]+|\d{1,4}", word)}

    def masked(self, value, name, patient):
        """A record as far as its own session may see it (p11), for its words."""
        if isinstance(value, dict):
            if oracles.is_reference(value, name):
                named = oracles.target(value, self.base)
                if "reference" not in value or oracles.names_patient(value) and named != ("Patient", patient):
                    return {}
                if named and named != ("Patient", patient) and not self.own(patient, named):
                    return {"reference": value["reference"]}
                return value
            return {inner: self.masked(one, inner, patient) for inner, one in value.items()}
        if isinstance(value, list):
            return [self.masked(one, name, patient) for one in value]
        return value

    # --- bytes

    def leaks(self, patient, answer, request_text, public):
        """Words in an answer by which another patient could be told; the public documents are the same for everybody."""
        if public:
            return []
        text = LENGTH.sub(b"", answer.raw).decode("utf-8", "replace").replace(self.public, "")
        found = words(text)
        if "\\u" in text and answer.body:
            found |= set(WORD.findall(json.dumps(answer.body, ensure_ascii=False)))
        if "%" in text:
            from urllib.parse import unquote
            found |= set(WORD.findall(unquote(text)))
        bad = found & self.forbidden[patient]
        if bad and answer.status == 200:
            # A search says in its self link what was applied, in the words of the one who asked.
            bad -= words(request_text)
        return sorted(bad)[:5]

    # --- one record as answered

    def same(self, patient, key, raw, actual, released, shortened, version=None):
        """Differences between a released record and the masked raw one."""
        at = (patient, key, version)
        for seen, kept in self.known.get(at, ()):
            if seen == actual:
                return [] if kept <= released else [f"display of a reference to {sorted(kept - released)[0]}, which is not in the answer"]
        compare = Strict(self.oracle, patient, self.public)
        compared, shown = raw, actual
        if shortened:
            compared = {name: value for name, value in raw.items() if name in actual or name == "resourceType"}
            shown = dict(actual)
            meta = dict(shown.get("meta", {}))
            tags = [tag for tag in meta.get("tag", []) if tag.get("code") != SUBSETTED]
            if len(tags) == len(meta.get("tag", [])) and shortened == "must":
                return ["was shortened without saying so (SUBSETTED)"]
            if tags:
                meta["tag"] = tags
            else:
                meta.pop("tag", None)
            shown["meta"] = meta
            if "meta" in raw:
                compared["meta"] = raw["meta"]
        differences = compare.run(compared, shown)
        if differences:
            return differences
        kept = frozenset(compare.kept)
        self.known.setdefault(at, [])
        if len(self.known[at]) < 6:
            self.known[at].append((actual, kept))
        return [] if kept <= released else [f"display of a reference to {sorted(kept - released)[0]}, which is not in the answer"]


class Strict(oracles.Comparison):
    """As in `interop/hapi`, but remembers whose display was kept: the caller checks that those are in the same answer."""

    def __init__(self, oracle, patient, public):
        super().__init__(oracle, patient, Everything(), public)
        self.kept = set()

    def same_text(self, raw, actual, path):
        if isinstance(raw, str) and isinstance(actual, str) and "?_hilum=" in actual:
            # A file's address carries its proof; whether the file may be had is judged when it is asked for.
            local = raw[len(self.oracle.base) + 1:] if raw.startswith(self.oracle.base + "/") else raw
            return local.startswith("Binary/") and actual.split("?_hilum=")[0] == f"{self.public}/{local}"
        return super().same_text(raw, actual, path)

    def reference(self, raw, actual, path):
        super().reference(raw, actual, path)
        named = oracles.target(raw, self.oracle.base)
        if isinstance(actual, dict) and ("display" in actual or "identifier" in actual) and named and named != ("Patient", self.patient):
            self.kept.add(named)
