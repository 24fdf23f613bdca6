"""Every fault alone and in combinations: between two more gates and the same servers, or of the demonstration EHR itself."""

import collections
import copy
import threading
import time
import traceback

import checks
import difference as differences
import ehr
import gate as gates
import generate
import hostile
import play as plays
import worlds
from cases import begin
from drive import FAILURES_MAX
from stage import Hand, Side, no_consents, peers, say
from writes import RACED

INSTANCES = {"read", "vread", "history", "conditional-read", "head", "binary"}
EPISODE_MIN, EPISODE_MAX = 4, 24
MISBEHAVED, NEXT_TOKEN = 1_000_000, 10_000_000
TOLD = "existence seen through an answer that cannot be read"


def interference(stage, patient, asked, here, there, tally):
    """Differences between the worlds, but for one: p10 wants 502 for what cannot be judged, p2 the answer of an absent
    instance, and for a stranger's record both cannot be had. These are counted."""
    found = stage.difference.interference(here, there, asked)
    if found and {here.status, there.status} == {404, 502} and strange(stage, patient, asked):
        tally[TOLD] += 1
        return []
    if found and asked["do"] == "everything" and differences.cut_short(here, there):
        # Strangers' records that refer to the patient fill pages before they are left out: it comes sooner or later.
        tally["$everything cut short on another page"] += 1
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
    """Two gates, each before an upstream that misbehaves, and the hand that plays with them, in lockstep. `stage` is told as
    these gates see it: their upstreams, their addresses, an upstream whose word counts for little."""

    def __init__(self, stage, catalogue, asked_of):
        self.stage, self.catalogue, self.asked_of = stage, catalogue, asked_of
        stage.checker = checks.Checker(stage.brute, stage.lore, stage.group, [], honest=False)
        self.hand = Hand(stage)
        self.own = []

    def stop(self):
        for one in self.own:
            one.stop()


def behind_proxies(stage, number):
    """Two more gates before proxies before the same servers."""
    port, strangers = peers.free_ports(6), stage.strangers()
    proxies = [hostile.Proxy(port + at, stage.upstreams[at].authority, world, strangers) for at, world in enumerate((stage.world, stage.other))]
    like, keys = copy.copy(stage), stage.sides[0].keys
    like.sides, like.bases = [], [proxy.base for proxy in proxies]
    for at, proxy in enumerate(proxies):
        gate = gates.Gate(stage.options.binary, stage.folder / f"hostile-{number}-{'AB'[at]}", port + 2 + 2 * at, proxy.base)
        no_consents(gate)
        gate.start()
        stage.onboard(gate, keys)
        like.sides.append(Side("AB"[at], gate, keys))
    a, b = like.sides
    like.brute = stage.brute.behind(proxies[0].base, a.gate.base)
    like.difference = differences.Difference([(b.gate.public, a.gate.public), (proxies[1].base, proxies[0].base), (stage.bases[1], stage.bases[0])])
    pair = Pair(like, hostile.Catalogue(proxies), stage.bases[0])
    pair.own = [a.gate, b.gate, *proxies]
    return pair


def before_the_ehr(stage):
    """The two gates themselves, before the demonstration EHR with its own faults."""
    raced = {**stage.world.records["Observation", "fx-o2"], "id": RACED[1]}
    return Pair(copy.copy(stage), ehr.Catalogue(stage.upstreams, stage.strangers(), raced), stage.bases[0])


class Episode:
    """One set of faults, one token, some requests."""

    def __init__(self, pair):
        self.pair, self.stage, self.hand, self.catalogue = pair, pair.stage, pair.hand, pair.catalogue

    def prove(self):
        """The operator looks: the filters are proved again, so that one episode does not silence the next."""
        self.catalogue.misbehave((), 0)
        for side in self.stage.sides:
            side.gate.hilum("check", "--config", str(side.gate.config), "--tenant", side.gate.tenant,
                            *[f"--patient={name}" for name in self.stage.group[:2]], check=False)

    def show(self, faults, patient, clauses, narrow, asked, played):
        say(f"faults    {'+'.join(faults)}\npatient   {patient}\nscopes    {' '.join(clauses)}\nnarrower  {' '.join(narrow)}\nrequest   {generate.text(asked)}")
        for name, one in zip(("world A", "world B", "narrower"), played):
            for page in one.pages if one else []:
                say(f"{name:9} {page.status} {page.data[:3000].decode('utf-8', 'replace')}")

    def run(self, faults, number, size, tally, report):
        stage, seed = self.stage, f"{self.stage.seed}/{number}"
        self.catalogue.misbehave((), 0)
        if (got := granted(self.pair, number, faults, report)) is None:
            return
        patient, clauses, narrow, sessions, token = got
        problems = []
        wide, other, less, thief = sessions
        spare, _ = self.hand.session(1, patient, narrow)
        reads, lesser_reads = stage.tokens.clauses(" ".join(clauses)), stage.tokens.clauses(" ".join(narrow))
        self.catalogue.misbehave(faults, seed)
        stage.checker.altered = self.catalogue.altering(faults)
        silenced = False
        for at in range(size):
            asked = self.stage.request(token, at, patient)
            here = plays.play(self.hand.wires[0], wide, asked, thief[0], (self.pair.asked_of, stage.bases[0]))
            there = plays.play(self.hand.wires[1], other, asked, thief[1], (self.pair.asked_of, stage.bases[1]))
            problems += [("brute force", text) for text in stage.checker.brute_force(patient, reads, asked, here)]
            if not self.catalogue.uncomparable(faults, asked):
                problems += [("non-interference", text) for text in interference(stage, patient, asked, here, there, tally)]
            lesser = None
            if less and spare:
                lesser = plays.play(self.hand.wires[0], less, asked, thief[0], (self.pair.asked_of, stage.bases[0]))
                plays.play(self.hand.wires[1], spare, asked, thief[1], (self.pair.asked_of, stage.bases[1]))
                problems += [("narrower token", text) for text in stage.checker.brute_force(patient, lesser_reads, asked, lesser)]
                if here.status == 200 and not self.catalogue.uncomparable(faults, asked):
                    problems += [("monotonicity", text) for text in differences.monotone(here, lesser, asked)]
            if stage.options.case == f"{number}.{at}":
                self.show(faults, patient, clauses, narrow, asked, (here, there, lesser))
            tally["requests"] += 1
            tally["answers"] += sum(len(played.pages) for played in (here, there, lesser) if played)
            tally[f"status {here.status}"] += 1
            tally["released"] += sum(len(differences.released(played)) for played in (here, lesser) if played)
            silenced |= any(b"hilum check" in page.data for played in (here, there, lesser) if played for page in played.pages)
            silenced |= any(word in name for name in faults for word in ("foreign", "ignore", "every"))
            for oracle, text in problems[:2]:
                report(number, at, oracle, f"[{'+'.join(faults)}] {generate.text(asked)[:300]} as {patient} with {' '.join(clauses)[:400]}: {text}")
            problems = []
        if silenced:
            self.prove()
            tally["proved again"] += 1


def chosen(catalogue, options, total, seed):
    """Every fault alone, all at once, then random combinations; and how many requests each gets."""
    if options.faults:
        catalogue.names = options.faults.split(",")
    episodes = [(name,) for name in catalogue.names] + catalogue.together()
    # Each alone takes two thirds of the requests; the rest is for random combinations.
    size = min(EPISODE_MAX, max(EPISODE_MIN, total * 2 // 3 // len(episodes)))
    rng = worlds.rng_for(seed, "combinations", total)
    while len(episodes) * size < total:
        episodes.append(catalogue.combination(rng))
    return episodes, size


def granted(pair, number, faults, report, more=()):
    """(patient, clauses, narrower clauses, sessions, number of the token) of the first token from this one on that is granted,
    with some more clauses."""
    token = number
    for _ in range(10):  # a token that is refused shows nothing about the fault
        patient, clauses, narrow, stranger = pair.stage.token(token)
        clauses = list(dict.fromkeys([*clauses, *more]))
        sessions, problems = begin(pair.stage, pair.hand, patient, clauses, narrow, stranger)
        for oracle, text in problems:
            report(number, None, oracle, text)
        if sessions is not None:
            return patient, clauses, narrow, sessions, token
        token += NEXT_TOKEN
    report(number, None, "the suite itself", f"[{'+'.join(faults)}] no token was granted")
    return None


def drive_hostile(stage, options):
    """Every fault alone, then random combinations; (tally, problems, seconds)."""
    began = time.monotonic()
    if options.ehr == "demo":
        pairs = [before_the_ehr(stage)]
        say(f"without effect here: {', '.join(sorted(pairs[0].catalogue.idle))}")
    else:
        pairs = [behind_proxies(stage, number) for number in range(options.pairs)]
    say(f"{len(pairs)} pairs of gates before misbehaving upstreams after {time.monotonic() - began:.0f} s")
    catalogue = pairs[0].catalogue
    episodes, size = chosen(catalogue, options, options.misbehaved, stage.seed)
    todo = collections.deque(enumerate(episodes, MISBEHAVED))
    if options.case:
        todo = collections.deque(one for one in todo if one[0] == int(options.case.split(".")[0]))
    tally, problems, lock = collections.Counter(), [], threading.Lock()

    def report(number, at, oracle, text):
        with lock:
            problems.append((number, at, oracle, text))
            if len(problems) <= 40:
                say(f"  FAILS {oracle} (--case {number}.{at}): {text[:1200]}")

    def run(pair):
        while todo and len(problems) < FAILURES_MAX:
            number, faults = todo.popleft()
            mine = collections.Counter()
            try:
                Episode(pair).run(faults, number, size, mine, report)
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
