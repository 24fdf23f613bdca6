"""Every fault alone and in combinations, between two more gates and the same servers."""

import collections
import copy
import threading
import time
import traceback

import checks
import difference as differences
import gate as gates
import generate
import hostile
import play as plays
import worlds
from cases import begin
from drive import FAILURES_MAX
from stage import Hand, Side, no_consents, peers, say

INSTANCES = {"read", "vread", "history", "conditional-read", "head", "binary"}


TOLD = "existence seen through an answer that cannot be read"


def interference(stage, patient, asked, here, there, tally):
    """Differences between the worlds, but for one: p10 wants 502 for what cannot be judged, p2 the answer of an absent
    instance, and for a stranger's record both cannot be had. These are counted."""
    found = stage.difference.interference(here, there, asked)
    if found and {here.status, there.status} == {404, 502} and strange(stage, patient, asked):
        tally[TOLD] += 1
        return []
    if found and asked["do"] == "batch":
        here, there, count = differences.without_unreadable(here, there, asked, lambda inner: strange(stage, patient, inner))
        if count and not (found := stage.difference.interference(here, there, asked)):
            tally[TOLD + ", in a batch"] += count
    return found


def strange(stage, patient, asked):
    """Whether a request is for one instance, and that is not the patient's own."""
    if asked["do"] not in INSTANCES or len(asked["path"]) < 2:
        return False
    key = tuple(asked["path"][:2])
    return not stage.brute.own(patient, key) and not (key[0] == "Binary" and key[1] in worlds.OWN_FILES)


class Pair:
    """Two more gates, each before a proxy that misbehaves, and the hand that plays with them, in lockstep."""

    def __init__(self, stage, number):
        self.stage, port = stage, peers.free_ports(6)
        strangers, other = {}, stage.other
        for key in stage.world.records:
            if key in other.records and not stage.standing.is_kept(stage.world.records[key]) and key[0] != worlds.PLACEHOLDER:
                strangers.setdefault(key[0], []).append(key)
        self.proxies = [hostile.Proxy(port + at, stage.hapis[at].authority, world, strangers) for at, world in enumerate((stage.world, other))]
        self.sides = []
        keys = stage.sides[0].keys
        for at, proxy in enumerate(self.proxies):
            gate = gates.Gate(stage.options.binary, stage.folder / f"hostile-{number}-{'AB'[at]}", port + 2 + 2 * at, proxy.base)
            no_consents(gate)
            gate.start()
            stage.onboard(gate, keys)
            self.sides.append(Side("AB"[at], gate, keys))
        self.stage_like = copy.copy(stage)
        self.stage_like.sides = self.sides
        self.stage_like.bases = [proxy.base for proxy in self.proxies]
        self.stage_like.brute = stage.brute.behind(self.proxies[0].base, self.sides[0].gate.base)
        self.stage_like.checker = checks.Checker(self.stage_like.brute, stage.lore, stage.group, [], honest=False)
        a, b = self.sides
        self.stage_like.difference = differences.Difference([(b.gate.public, a.gate.public), (self.proxies[1].base, self.proxies[0].base),
                                                        (stage.bases[1], stage.bases[0])])
        self.hand = Hand(self.stage_like)

    def misbehave(self, faults, seed):
        for proxy in self.proxies:
            proxy.faults, proxy.seed = tuple(faults), seed

    def prove(self):
        """The operator looks: the filters are proved again, so that one episode does not silence the next."""
        self.misbehave((), 0)
        for side in self.sides:
            side.gate.hilum("check", "--config", str(side.gate.config), "--tenant", side.gate.tenant,
                            *[f"--patient={name}" for name in self.stage.group[:2]], check=False)

    def episode(self, faults, number, size, tally, report):
        stage, seed = self.stage_like, f"{self.stage.seed}/{number}"
        patient, clauses, narrow, stranger = stage.token(number)
        self.misbehave((), 0)
        sessions, problems = begin(stage, self.hand, patient, clauses, narrow, stranger)
        if sessions is None:
            return
        wide, other, less, thief = sessions
        spare, _ = self.hand.session(1, patient, narrow)
        reads, lesser_reads = stage.tokens.clauses(" ".join(clauses)), stage.tokens.clauses(" ".join(narrow))
        self.misbehave(faults, seed)
        stage.checker.altered = bool(hostile.ALTERING & set(faults))
        silenced = False
        for at in range(size):
            asked = self.stage.request(number, at, patient)
            here = plays.play(self.hand.wires[0], wide, asked, thief[0], (self.stage.bases[0], stage.bases[0]))
            there = plays.play(self.hand.wires[1], other, asked, thief[1], (self.stage.bases[0], stage.bases[1]))
            problems += [("brute force", text) for text in stage.checker.brute_force(patient, reads, asked, here)]
            if not hostile.UNCOMPARABLE & set(faults):
                problems += [("non-interference", text) for text in interference(stage, patient, asked, here, there, tally)]
            lesser = None
            if less and spare:
                lesser = plays.play(self.hand.wires[0], less, asked, thief[0], (self.stage.bases[0], stage.bases[0]))
                plays.play(self.hand.wires[1], spare, asked, thief[1], (self.stage.bases[0], stage.bases[1]))
                problems += [("narrower token", text) for text in stage.checker.brute_force(patient, lesser_reads, asked, lesser)]
                if here.status == 200 and not hostile.UNCOMPARABLE & set(faults):
                    problems += [("monotonicity", text) for text in differences.monotone(here, lesser, asked)]
            tally["requests"] += 1
            tally["answers"] += sum(len(played.pages) for played in (here, there, lesser) if played)
            tally[f"status {here.status}"] += 1
            tally["released"] += sum(len(differences.released(played)) for played in (here, lesser) if played)
            silenced |= any(b"hilum check" in page.data for played in (here, there, lesser) if played for page in played.pages)
            silenced |= "foreign" in " ".join(faults) or "ignore" in " ".join(faults)
            for oracle, text in problems[:2]:
                report(number, at, oracle, f"[{'+'.join(faults)}] {generate.text(asked)[:300]} as {patient} with {' '.join(clauses)[:400]}: {text}")
            problems = []
        if silenced:
            self.prove()
            tally["proved again"] += 1

    def stop(self):
        for side in self.sides:
            side.gate.stop()
        for proxy in self.proxies:
            proxy.stop()


def drive_hostile(stage, options):
    """Every fault alone, then random combinations; (tally, problems, seconds)."""
    began = time.monotonic()
    pairs = [Pair(stage, number) for number in range(options.pairs)]
    say(f"{len(pairs)} pairs of gates before misbehaving upstreams after {time.monotonic() - began:.0f} s")
    size = 24
    names = options.faults.split(",") if options.faults else sorted(hostile.FAULTS)
    episodes = [(name,) for name in names]
    rng = worlds.rng_for(stage.seed, "combinations")
    while len(episodes) * size < options.misbehaved:
        episodes.append(tuple(rng.sample(names, k=min(len(names), rng.choice([1, 2, 2, 3, 4, 6])))))
    todo = collections.deque(enumerate(episodes, 1_000_000))
    tally, problems, lock = collections.Counter(), [], threading.Lock()

    def report(number, at, oracle, text):
        with lock:
            problems.append((number, at, oracle, text))
            if len(problems) <= 40:
                say(f"  FAILS {oracle} ({number}.{at}): {text[:1200]}")

    def run(pair):
        while todo and len(problems) < FAILURES_MAX:
            number, faults = todo.popleft()
            mine = collections.Counter()
            try:
                pair.episode(faults, number, size, mine, report)
            except Exception:  # noqa: BLE001
                report(number, None, "the suite itself", f"[{'+'.join(faults)}] " + traceback.format_exc()[-1200:])
            with lock:
                tally.update(mine)
                tally["episodes"] += 1

    threads = [threading.Thread(target=run, args=(pair,), daemon=True) for pair in pairs]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(10 / len(threads))
        say(f"  {time.monotonic() - began:5.0f} s  {tally['requests']} requests, {tally['answers']} answers, {tally['episodes']} of {len(episodes)} episodes, "
            f"{tally['released']} records released, {len(problems)} failed")
    took = time.monotonic() - began
    for pair in pairs:
        pair.stop()
    return tally, problems, took
