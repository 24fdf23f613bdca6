"""One case: its sessions, its judgement, and its shrinking when it fails."""

import difference as differences
import generate
import play as plays
from stage import Hand, say


def begin(stage, hand, patient, clauses, narrow, stranger):
    """The sessions of one token: wide in both worlds, narrower, and a thief's token for each world; problems with the grant."""
    problems = []
    wide, why = hand.session(0, patient, clauses)
    other, why_other = hand.session(1, patient, clauses)
    if (wide is None) != (other is None):
        return None, [("non-interference", f"a session in one world only: {why} / {why_other}")]
    if wide is None:
        return None, []
    if wide.granted != other.granted:
        problems.append(("non-interference", f"granted `{wide.granted}` in one world and `{other.granted}` in the other"))
    asked = stage.tokens.clauses(" ".join(clauses))
    for granted in stage.tokens.clauses(wide.granted):
        if not any(granted.kind == one.kind and granted.letters <= one.letters and set(one.criteria) <= set(granted.criteria) for one in asked):
            problems.append(("brute force", f"the token was granted `{granted.text}`, which was not asked for"))
    less, _ = hand.session(0, patient, narrow)
    thieves = [hand.session(at, stranger, ["patient/Patient.rs", "patient/Observation.rs"])[0] for at in (0, 1)]
    return (wide, other, less, [thief.token for thief in thieves]), problems


def judge(stage, hand, sessions, patient, clauses, narrow, asked):
    """The problems of one request, by oracle; (problems, what was played)."""
    wide, other, less, thief = sessions
    here = plays.play(hand.wires[0], wide, asked, thief[0])
    problems = [("brute force", text) for text in stage.checker.brute_force(patient, clauses, asked, here)]
    there = None
    if other:
        there = plays.play(hand.wires[1], other, asked, thief[1], stage.bases)
        problems += [("non-interference", text) for text in differs(stage, hand, (wide, other), thief, asked, (here, there))]
    lesser = None
    if less:
        lesser = plays.play(hand.wires[0], less, asked, thief[0])
        problems += [("narrower token", text) for text in stage.checker.brute_force(patient, narrow, asked, lesser)]
        found, tries = differences.monotone(here, lesser, asked), 0
        while found and tries < 3:
            # An upstream may lose records between the pages of a sort by what has several values: the wider token asks again.
            found, tries = differences.monotone(plays.play(hand.wires[0], wide, asked, thief[0]), lesser, asked), tries + 1
        if tries and not found:
            stage.difference.unsteady += 1
        problems += [("monotonicity", text) for text in found]
    known = [text for _, text in problems if stage.options.tolerate and any(text.startswith(one) for one in stage.options.tolerate)]
    if known:
        stage.tolerated[known[0][:40]] += 1
        problems = [(oracle, text) for oracle, text in problems if text not in known]
    return problems, (here, there, lesser)


def differs(stage, hand, sessions, thief, asked, played):
    """What differs between the worlds. A sort is asked again: by what has several values an upstream may order and lose
    records anew each time; what a stranger's record does to an answer, it does every time."""
    found, tries = stage.difference.interference(*played, asked), 0
    while found and tries < 3 and sorts(asked):
        here = plays.play(hand.wires[0], sessions[0], asked, thief[0])
        there = plays.play(hand.wires[1], sessions[1], asked, thief[1], stage.bases)
        found, tries = stage.difference.interference(here, there, asked), tries + 1
    if tries and not found:
        stage.difference.unsteady += 1
    return found


def sorts(asked):
    return asked.get("sorted", False) or any(sorts(entry) for entry in asked.get("entries", []))


def fails(stage, hand, patient, clauses, narrow, stranger, asked, oracle):
    """The problems of that oracle that this case still has."""
    if not clauses:
        return []
    sessions, problems = begin(stage, hand, patient, clauses, narrow or clauses, stranger)
    if sessions:
        problems += judge(stage, hand, sessions, patient, stage.tokens.clauses(" ".join(clauses)),
                          stage.tokens.clauses(" ".join(narrow)), asked)[0]
    return [text for name, text in problems if name == oracle]


def smaller(asked):
    """The request with one thing taken out, every way."""
    for part in ("params", "form", "entries"):
        for at in range(len(asked.get(part, []))):
            yield {**asked, part: asked[part][:at] + asked[part][at + 1:]}
    for at, entry in enumerate(asked.get("entries", [])):
        for less in smaller(entry):
            yield {**asked, "entries": asked["entries"][:at] + [less] + asked["entries"][at + 1:]}
    if asked.get("headers"):
        yield {name: value for name, value in asked.items() if name != "headers"}


def shrink(stage, hand, number, at, oracle):
    patient, clauses, narrow, stranger = stage.token(number)
    asked = stage.request(number, at, patient)
    tries = 0

    def still(less_clauses, less_narrow, less_asked):
        nonlocal tries
        tries += 1
        return tries < 400 and bool(fails(stage, hand, patient, less_clauses, less_narrow, stranger, less_asked, oracle))

    if not still(clauses, narrow, asked):
        return patient, clauses, narrow, asked, ["did not happen again"]
    again = True
    while again and tries < 400:
        again = False
        for less in smaller(asked):
            if still(clauses, narrow, less):
                asked, again = less, True
                break
    for which in ("narrow", "clauses"):
        size = max(1, len(clauses if which == "clauses" else narrow) // 2)
        while size >= 1:
            start = 0
            while start < len(clauses if which == "clauses" else narrow):
                now = clauses if which == "clauses" else narrow
                less = now[:start] + now[start + size:]
                if less and (covers(stage, less, narrow) and still(less, narrow, asked) if which == "clauses" else still(clauses, less, asked)):
                    clauses, narrow = (less, narrow) if which == "clauses" else (clauses, less)
                else:
                    start += size
            size //= 2
    return patient, clauses, narrow, asked, fails(stage, hand, patient, clauses, narrow, stranger, asked, oracle)


def covers(stage, clauses, narrow):
    """Whether each of the narrower clauses still comes from one of the others."""
    wide = stage.tokens.clauses(" ".join(clauses))
    return all(any(one.kind == less.kind and one.letters >= less.letters and set(one.criteria) <= set(less.criteria) for one in wide)
               for less in stage.tokens.clauses(" ".join(narrow)))


def explain(stage, problems, most=6):
    """Shrinks one failure of each kind and prints it whole."""
    hand, seen = Hand(stage), set()
    for number, at, oracle, text in problems:
        if at is None or len(seen) >= most:
            continue
        patient, *_ = stage.token(number)
        asked = stage.request(number, at, patient)
        sign = (oracle, asked["do"], text[:24])
        if sign in seen:
            continue
        seen.add(sign)
        patient, clauses, narrow, asked, found = shrink(stage, hand, number, at, oracle)
        say(f"\n--- {oracle}, seed {stage.seed}, case {number}.{at}")
        say(f"patient   {patient}\nscopes    {' '.join(clauses)}\nnarrower  {' '.join(narrow)}\nrequest   {generate.text(asked)}")
        for problem in found[:3]:
            say(f"problem   {problem[:1200]}")
        sessions, _ = begin(stage, hand, patient, clauses, narrow, patient)
        if sessions:
            _, played = judge(stage, hand, sessions, patient, stage.tokens.clauses(" ".join(clauses)), stage.tokens.clauses(" ".join(narrow)), asked)
            for name, one in zip(("world A", "world B", "narrower"), played):
                if one:
                    for page in one.pages[:2]:
                        say(f"{name:9} {page.status} {page.data[:1500].decode('utf-8', 'replace')}")
        say(f"again     interop/oracles/run --seed {stage.seed} --case {number}.{at}" + (f" --only {stage.options.only}" if stage.options.only else "")
            + (" --full" if stage.options.full else "") + (f" --patients {stage.options.patients}" if stage.options.patients else "")
            + ("" if stage.options.operations else " --no-operations"))


def one_case(stage, options):
    hand = Hand(stage)
    if options.ask:
        number, at = None, None
        method, _, raw = options.ask.partition(" ")
        asked = {"do": "odd", "method": method, "raw": raw}
        patient, clauses = options.patient, options.scopes.split()
        narrow, stranger = clauses[:1], options.patient
    else:
        number, at = map(int, options.case.split("."))
        patient, clauses, narrow, stranger = stage.token(number)
        asked = stage.request(number, at, patient)
    say(f"patient {patient}\nscopes {' '.join(clauses)}\nnarrower {' '.join(narrow)}\nrequest {generate.text(asked)}")
    sessions, problems = begin(stage, hand, patient, clauses, narrow, stranger)
    if sessions:
        more, played = judge(stage, hand, sessions, patient, stage.tokens.clauses(" ".join(clauses)), stage.tokens.clauses(" ".join(narrow)), asked)
        problems += more
        for name, one in zip(("world A", "world B", "narrower"), played):
            for page in one.pages if one else []:
                say(f"{name} {page.status} {page.data[:3000].decode('utf-8', 'replace')}")
    return [(number, at, oracle, text) for oracle, text in problems]
