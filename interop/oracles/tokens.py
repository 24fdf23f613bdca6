"""Scopes as text, read by hand: letters, criteria, and which clause admits which record (SMART 2.2, FHIR R4 token search)."""

import re
import urllib.parse

import oracle as oracles

CLAUSE = re.compile(r"^patient/([A-Z][A-Za-z]+)\.(read|write|\*|c?r?u?d?s?)(\?(.+))?$")
WORDS = {"read": "rs", "write": "cud", "*": "cruds"}


class Clause:
    def __init__(self, text):
        match = CLAUSE.match(text)
        self.text, self.valid = text, bool(match and match[2])
        if not self.valid:
            return
        self.kind, self.criteria = match[1], []
        self.letters = set(WORDS.get(match[2], match[2]))
        if match[4] is not None:
            if match[2] in WORDS:
                self.valid = False  # a query belongs to v2 letters alone
            for pair in match[4].split("&"):
                name, equals, value = pair.partition("=")
                if not equals or not value or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                    self.valid = False
                self.criteria.append((name, urllib.parse.unquote(value)))


class Tokens:
    """Reads scope strings and judges records by them."""

    def __init__(self, definitions):
        self.definitions = definitions
        self.paths_of = {}

    def token_paths(self, kind, name):
        """Element paths of a token parameter that can be read off a record, or []."""
        if (kind, name) not in self.paths_of:
            self.paths_of[kind, name] = self.find_paths(kind, name)
        return self.paths_of[kind, name]

    def find_paths(self, kind, name):
        if name == "_tag":
            return [["meta", "tag"]]
        if name == "_security":
            return [["meta", "security"]]
        if name == "_id":
            return [["id"]]
        parameter = self.definitions.parameters.get((kind, name))
        if not parameter or parameter["type"] != "token":
            return []
        parts = [part.strip() for part in parameter.get("expression", "").split("|") if part.strip().startswith(kind + ".")]
        return self.definitions.paths(kind, name) if len(self.definitions.paths(kind, name)) == len(parts) else []

    def clauses(self, scope):
        return [clause for clause in map(Clause, scope.split()) if clause.valid]

    def covering(self, clauses, kind, letters):
        return [clause for clause in clauses if clause.kind == kind and clause.letters & set(letters)
                and all(self.token_paths(kind, name) and fits(value) for name, value in clause.criteria)]

    def admits(self, clauses, resource, letters):
        labels = [label for label in resource.get("meta", {}).get("security", []) if restricted(label)]
        return any(all(self.holds(resource, name, value) for name, value in clause.criteria)
                   and all(self.named(label, clause) for label in labels)
                   for clause in self.covering(clauses, resource["resourceType"], letters))

    def named(self, label, clause):
        """Whether a clause asks for the records under this very label (S3-10)."""
        return any(name == "_security" and any(matches(one, label) for one in value.split(",")) for name, value in clause.criteria)

    def holds(self, resource, name, value):
        found = [one for path in self.token_paths(resource["resourceType"], name) for one in oracles.at(resource, path)]
        return any(matches(alternative, one) for alternative in value.split(",") for one in found)


def restricted(label):
    """Labels that hold a record back: restricted confidentiality, and every sensitivity, refrain or obligation."""
    system, code = label.get("system"), label.get("code")
    if not code:
        return True
    if system and "v3-ActReason" in system:
        return False
    if system and "v3-ActCode" in system:
        return True
    if system and "v3-Confidentiality" in system or not system:
        return code not in ("U", "L", "M", "N")
    return code in ("R", "V")


def fits(value):
    return "\\" not in value and all(text.count("|") <= 1 and text.strip("|") for text in value.split(","))


def matches(wanted, found):
    """One `system|code`, `|code`, `system|` or `code` against one value of a record."""
    system, bar, code = wanted.partition("|") if "|" in wanted else (None, "", wanted)
    if isinstance(found, bool):
        return system is None and code == ("true" if found else "false")
    if isinstance(found, str):
        return system is None and code == found
    if not isinstance(found, dict):
        return False
    codings = found["coding"] if isinstance(found.get("coding"), list) else [found]
    for coding in codings:
        text = coding.get("code", coding.get("value"))
        if not isinstance(text, str):
            continue
        if (system is None or (system or None) == coding.get("system")) and (not code or code == text):
            return True
    return False
