"""For every patient and every type: what Hilum releases equals what the oracle computes, resource for resource, and nothing else."""

import time


class Run:
    def __init__(self, gate, agent, oracle, corpus, kinds, comparison, page=15):
        self.gate, self.agent, self.oracle, self.corpus, self.kinds = gate, agent, oracle, corpus, kinds
        self.comparison, self.page = comparison, page
        self.problems, self.outcomes = [], {}
        self.counts = {"patients": 0, "searches": 0, "pages": 0, "released": 0, "reads": 0, "refused": 0, "displays kept": 0}

    def problem(self, patient, text):
        self.problems.append(f"Patient/{patient}: {text}")
        if len(self.problems) <= 40:
            print(f"  differs: {self.problems[-1]}", flush=True)

    def patient(self, patient, reads=None, foreign=2):
        """One session: searches of every type, reads of every own resource (or the first `reads`), foreign ids."""
        began = time.monotonic()
        answer = self.agent.begin(patient)
        granted = {scope.split("/")[1].split(".")[0] for scope in answer["scope"].split()}
        if granted != set(self.kinds):
            self.problem(patient, f"granted types differ: {sorted(granted ^ set(self.kinds))}")
        expected = self.oracle.released(patient)
        own = {key for key in expected}
        compare = self.comparison(self.oracle, patient, own, self.gate.base)
        for kind in self.kinds:
            self.search(patient, kind, {key for key in expected if key[0] == kind}, compare)
        chosen = sorted(expected)
        for key in chosen if reads is None else chosen[:: max(1, len(chosen) // max(1, reads))]:
            self.read(patient, key, compare)
        for kind in self.kinds:
            others = sorted(key for key in self.corpus.resources if key[0] == kind and key not in expected)
            # Each refusal leaves on a 50 ms tick, so the quick run asks for fewer.
            for key in others[:1] if foreign == 1 else others[:foreign] + others[-1:]:
                self.refuse(patient, key)
            if foreign > 1 or kind in ("Patient", "Observation", "Condition"):
                self.refuse(patient, (kind, "absent-0"))
        self.counts["patients"] += 1
        self.counts["displays kept"] += compare.kept_displays
        print(f"  Patient/{patient}: {len(expected)} resources, {time.monotonic() - began:.1f} s", flush=True)

    def search(self, patient, kind, expected, compare):
        self.counts["searches"] += 1
        found, path, seen_pages = {}, f"{kind}?_count={self.page}", 0
        while path:
            status, bundle = self.agent.get(path)
            if status != 200 or bundle.get("type") != "searchset":
                self.problem(patient, f"search of {kind} answers {status} {str(bundle)[:300]}")
                return
            self.counts["pages"] += 1
            seen_pages += 1
            for entry in bundle.get("entry", []):
                resource = entry["resource"]
                if resource["resourceType"] == "OperationOutcome":
                    said = str([issue.get("diagnostics") or issue.get("details") for issue in resource.get("issue", [])])[:300]
                    self.outcomes[said] = self.outcomes.get(said, 0) + 1
                    continue
                key = (resource["resourceType"], resource["id"])
                found[key] = resource
                if entry.get("fullUrl") != f"{self.gate.base}/{key[0]}/{key[1]}":
                    self.problem(patient, f"fullUrl of {key[0]}/{key[1]} is {entry.get('fullUrl')}")
            links = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
            path = None
            if links:
                if not links[0].startswith(self.gate.base + "/") or seen_pages > 500:
                    self.problem(patient, f"next link of {kind} is {links[0][:200]}")
                    return
                path = links[0][links[0].index("/", len("http://")):]
        for key in sorted(set(found) - expected):
            self.problem(patient, f"search of {kind} RELEASED {key[0]}/{key[1]}, which is not the patient's")
        for key in sorted(expected - set(found)):
            self.problem(patient, f"search of {kind} left out {key[0]}/{key[1]}")
        for key in sorted(set(found) & expected):
            self.same(patient, key, found[key], compare)

    def read(self, patient, key, compare):
        self.counts["reads"] += 1
        status, resource = self.agent.get(f"{key[0]}/{key[1]}")
        if status != 200:
            self.problem(patient, f"read of own {key[0]}/{key[1]} answers {status} {str(resource)[:200]}")
            return
        self.same(patient, key, resource, compare)

    def same(self, patient, key, actual, compare):
        self.counts["released"] += 1
        for difference in compare.run(self.corpus.resources[key], actual):
            self.problem(patient, f"{key[0]}/{key[1]}: {difference}")

    def refuse(self, patient, key):
        self.counts["refused"] += 1
        status, body = self.agent.get(f"{key[0]}/{key[1]}")
        wanted = 403 if key[0] == "Patient" else 404
        if status != wanted:
            self.problem(patient, f"read of foreign {key[0]}/{key[1]} answers {status}, not {wanted}")
        elif not isinstance(body, dict) or body.get("resourceType") != "OperationOutcome":
            self.problem(patient, f"refusal of {key[0]}/{key[1]} is no OperationOutcome")
        elif key[1] != "absent-0" and key[1] in str(body):
            self.problem(patient, f"refusal of {key[0]}/{key[1]} names the foreign id")
