"""Everything a run needs, made once: two upstreams with a world each, a gate before each, and the hands that ask them."""

import collections
import functools
import importlib.util
import json
import pathlib
import shutil
import tempfile
import threading
import time

import brute as brutes
import checks
import corpus as corpora
import difference as differences
import ehr
import gate as gates
import generate
import lore as lores
import oracle as oracles
import tokens as scopes
import wire
import worlds

HERE = pathlib.Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("peers", HERE.parent / "hapi" / "main.py")
peers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(peers)

AGENT, LAUNCHER, TASK = "chart-agent", "chart-desk", "whole-chart"
LONG_RUN = 50_000  # requests behind which HAPI's own compiling pays


class Session:
    def __init__(self, gate, token):
        self.path, self.token = f"/{gate.tenant}/fhir", token


class Side:
    """One world with its gate."""

    def __init__(self, name, gate, keys):
        self.name, self.gate, self.keys = name, gate, keys

    def agent(self):
        return gates.Agent(self.gate, AGENT, self.keys[0], LAUNCHER, self.keys[1], TASK)


class Hand:
    """What one thread works with: connections of its own to both gates."""

    def __init__(self, stage):
        self.stage = stage
        self.agents = [side.agent() for side in stage.sides]
        self.wires = [wire.Wire(side.gate.public) for side in stage.sides]

    def session(self, at, patient, clauses):
        """A session with these scopes, or the reason why none was given."""
        agent = self.agents[at]
        status, answer = agent.launch(patient)
        if status != 201:
            return None, f"launch {status} {answer}"
        status, answer = agent.redeem(answer["launch"], " ".join(clauses))
        if status != 200:
            return None, f"token {status} {answer}"
        session = Session(self.stage.sides[at].gate, answer["access_token"])
        session.granted = answer.get("scope", "")
        return session, None


class Stage:
    """Everything a run needs; made once, shared by the workers."""

    def __init__(self, options):
        self.options, self.seed = options, options.seed
        self.only = set(options.only.split(",")) if options.only else set(generate.INTERACTIONS)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hilum-oracles-"))
        self.upstreams, self.sides, self.broken, self.tolerated = [], [], None, collections.Counter()

    def build(self):
        began = time.monotonic()
        data = corpora.find_data(HERE)
        if data is None:
            print("skip: without ../shared/data there are no records and no definitions\n0 passed, 0 failed, 1 skipped")
            raise SystemExit(0)
        port = peers.free_ports(8)
        self.upstreams = [self.upstream(self.make(name), port + at) for at, name in enumerate("AB")]
        bases = self.bases = [upstream.base for upstream in self.upstreams]
        self.definitions = oracles.Definitions(data / "definitions-r4")
        corpus = corpora.read(data, self.options.full, bases[0])
        if self.options.ehr == "demo":
            corpus.resources = ehr.shortened(corpus.resources)
        for upstream in self.upstreams:
            upstream.wait()
        say(f"two upstreams ({'HAPI FHIR' if self.options.ehr == 'hapi' else 'the demonstration EHR'}) ready after {time.monotonic() - began:.0f} s")
        # What the upstream refuses is in neither world: asked once, of world B's server, before anything is chosen.
        corpora.load(corpus, bases[1])
        self.upstreams[1].stop()
        self.upstreams[1] = self.upstream(self.folder / "B", port + 1)
        every = {"Patient"} | set(self.definitions.compartment) | set(oracles.ADDED) | oracles.SHARED
        self.kinds = sorted(every & set(corpus.types()) | {"Binary"})
        self.group = self.choose(corpus, bases[0])
        self.world, self.other, self.standing, counts = worlds.build(self.definitions, corpus, bases[0], self.group, self.seed)
        worlds.rebase(self.other, bases[0], bases[1])
        self.upstreams[1].wait()
        threads = [threading.Thread(target=self.load, args=(world, base)) for world, base in ((self.world, bases[0]), (self.other, bases[1]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.broken:
            raise SystemExit(self.broken)
        say(f"world A: {len(self.world.records)} records; world B: {len(self.other.records)}, {json.dumps(counts)}; group {self.group}; "
            f"loaded after {time.monotonic() - began:.0f} s")
        self.tokens = scopes.Tokens(self.definitions)
        keys = [gates.Key(self.folder, name) for name in (AGENT, LAUNCHER)]
        for at, name in enumerate("AB"):
            gate = gates.Gate(self.options.binary, self.folder / f"gate-{name}", port + 2 + 2 * at, bases[at])
            no_consents(gate)
            gate.start()
            self.onboard(gate, keys)
            self.sides.append(Side(name, gate, keys))
        self.brute = brutes.Brute(self.definitions, self.tokens, self.world, bases[0], self.sides[0].gate.base, self.kinds, self.group)
        self.lore = lores.Lore(self.definitions, self.tokens, self.world, self.brute, self.kinds, self.group, bases[0])
        self.checker = checks.Checker(self.brute, self.lore, self.group, self.options.offered.split(","))
        a, b = self.sides
        self.difference = differences.Difference([(b.gate.public, a.gate.public), (bases[1], bases[0])])
        say(f"ready after {time.monotonic() - began:.0f} s; own records: "
            f"{ {patient: sum(map(len, self.lore.own[patient].values())) for patient in self.group} }")

    def make(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def upstream(self, folder, port):
        if self.options.ehr == "demo":
            return ehr.Ehr(self.options.binary, folder, port)
        return peers.Hapi(folder, port, peers.Hapi.LONG if self.options.requests > LONG_RUN else peers.Hapi.SHORT)

    def strangers(self):
        """type -> keys of the records of strangers that both worlds have, though not alike."""
        found = {}
        for key, record in self.world.records.items():
            if key in self.other.records and not self.standing.is_kept(record) and key[0] != worlds.PLACEHOLDER:
                found.setdefault(key[0], []).append(key)
        return found

    def choose(self, corpus, base):
        """The patients of the two worlds: the fixture's first, and some others with enough of a record."""
        if self.options.patients:
            return self.options.patients.split(",")
        oracle = oracles.Oracle(self.definitions, corpus.resources, base, worlds.Everything())
        shared = sum(kind in oracles.SHARED for kind, _ in corpus.resources)
        rng = worlds.rng_for(self.seed, "group")
        names = [name for name in corpus.patients() if name != "fx-p1"
                 and not any(link.get("type") == "replaced-by" for link in corpus.resources["Patient", name].get("link", []))]
        rng.shuffle(names)
        rich = []
        for name in names:
            size = len(oracle.released(name)) - shared
            if 12 <= size <= 500:
                rich.append(name)
            if len(rich) == 3:
                break
        return ["fx-p1", *rich]

    def load(self, world, base):
        try:
            refused = world.load(base)
        except SystemExit as why:  # ends a thread without a word
            self.broken = str(why)
            return
        for key, why in refused.items():
            print(f"  world {world.name}: the upstream refused {key}: {why}")
            world.records.pop(key, None)

    def onboard(self, gate, keys):
        gate.people()
        gate.hilum("check", "--config", str(gate.config), "--tenant", gate.tenant, *[f"--patient={name}" for name in self.group[:2]])
        path = gate.folder / "chart.toml"
        path.write_text(manifest(self.kinds, *keys, operations=self.options.operations))
        gate.hilum("apply", "-f", str(path), person=gates.OPERATOR)
        approved = gate.approve_all(gates.day(300))
        if approved != 1:
            raise SystemExit(f"{approved} approvals were waiting, not 1")

    def close(self, keep=False):
        for side in self.sides:
            side.gate.stop()
        for upstream in self.upstreams:
            upstream.stop()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- cases

    @functools.lru_cache(maxsize=64)
    def token(self, number):
        """(patient, clauses, narrower clauses, another patient) of the token with this number."""
        rng = worlds.rng_for(self.seed, "token", number)
        patient = rng.choice(self.group)
        clauses = lores.token_scopes(rng, self.lore, patient)
        return patient, clauses, lores.narrower(rng, self.lore, clauses, patient), rng.choice(self.group)

    def request(self, number, at, patient):
        lean = {clause.kind for clause in self.tokens.clauses(" ".join(self.token(number)[1]))} & set(self.kinds)
        return generate.request(worlds.rng_for(self.seed, "request", number, at), self.lore, patient, self.only, lean)


def no_consents(gate):
    """What patients' Consents take away is proved elsewhere; here it would hide what the other rules let by."""
    gate.edit_config(lambda text: text.replace('auth = { kind = "none" }', 'auth = { kind = "none" }\nconsent = "none"', 1))


def manifest(kinds, agent_key, launcher_key, operations=False):
    text = peers.manifest(kinds, agent_key, launcher_key)
    text = text.replace('.rs ', '.cruds ').replace('.rs"', '.cruds"')
    if operations:
        text = text.replace('purpose_of_use = "TREAT"\n', 'purpose_of_use = "TREAT"\noperations = ["everything", "lastn"]\n', 1)
    return text


def say(text):
    print(text, flush=True)
