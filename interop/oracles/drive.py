"""Random tokens and requests before honest upstreams, by several processes of several threads."""

import collections
import multiprocessing
import threading
import time
import traceback

import difference as differences
from cases import begin, judge
from stage import Hand, say

PER_TOKEN = 80
FAILURES_MAX = 25


def work(stage, counter, queue, stop):
    """One thread: takes token numbers until there are no more."""
    hand = Hand(stage)
    tally = collections.Counter()
    while not stop.is_set():
        with counter.get_lock():
            number = counter.value
            counter.value += 1
        if number >= stage.token_count:
            break
        try:
            patient, clauses, narrow, stranger = stage.token(number)
            sessions, problems = begin(stage, hand, patient, clauses, narrow, stranger)
            for oracle, problem in problems:
                queue.put(("problem", number, None, oracle, problem))
            tally["tokens"] += 1
            if sessions is None:
                tally["tokens refused"] += 1
                queue.put(("tally", tally))
                tally = collections.Counter()
                continue
            wide, less = stage.tokens.clauses(" ".join(clauses)), stage.tokens.clauses(" ".join(narrow))
            for at in range(PER_TOKEN):
                if stop.is_set():
                    break
                asked = stage.request(number, at, patient)
                problems, (here, there, lesser) = judge(stage, hand, sessions, patient, wide, less, asked)
                tally["requests"] += 1
                tally["answers"] += sum(len(played.pages) for played in (here, there, lesser) if played)
                tally[f"{asked['do']} {here.status}"] += 1
                tally["released"] += sum(len(differences.released(played)) for played in (here, lesser) if played)
                if asked.get("exact"):
                    tally["exact"] += 1
                for oracle, problem in problems[:2]:
                    queue.put(("problem", number, at, oracle, problem))
                if at % 10 == 9:
                    queue.put(("tally", tally))
                    tally = collections.Counter()
        except Exception:  # noqa: BLE001  (a broken check must not pass for a finished one)
            queue.put(("problem", number, None, "the suite itself", traceback.format_exc()[-1500:]))
        queue.put(("tally", tally))
        tally = collections.Counter()
    queue.put(("tally", tally))


def process(stage, counter, queue, stop, threads):
    pool = [threading.Thread(target=work, args=(stage, counter, queue, stop), daemon=True) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    queue.put(("tally", {**{f"tolerated: {text}": count for text, count in stage.tolerated.items()}, "in another order": stage.difference.reordered,
                        "not the same twice": stage.difference.unsteady, "$everything on more pages for strangers' records": stage.difference.paged}))
    queue.put(("done",))
    queue.close()
    queue.join_thread()


def drive(stage, options, size):
    """Runs all cases; (tally, problems)."""
    context = multiprocessing.get_context("fork")
    counter, queue, stop = context.Value("q", 0), context.Queue(), context.Event()
    stage.token_count = -(-size // PER_TOKEN)
    share = max(1, options.threads // options.processes)
    workers = [context.Process(target=process, args=(stage, counter, queue, stop, share), daemon=True) for _ in range(options.processes)]
    for worker in workers:
        worker.start()
    tally, problems, left = collections.Counter(), [], len(workers)
    began = shown = time.monotonic()
    while left:
        try:
            item = queue.get(timeout=5)
        except Exception:  # noqa: BLE001
            item = None
        if item is None:
            if not any(worker.is_alive() for worker in workers):
                problems.append((None, None, "the suite itself", "a worker process died"))
                break
        elif item[0] == "tally":
            tally.update(item[1])
        elif item[0] == "done":
            left -= 1
        else:
            problems.append(item[1:])
            if len(problems) <= 60:
                say(f"  FAILS {item[3]} ({item[1]}.{item[2]}): {item[4][:600]}")
            if len(problems) >= FAILURES_MAX:
                stop.set()
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            rate = tally["requests"] / (shown - began)
            say(f"  {shown - began:5.0f} s  {tally['requests']} requests ({rate:.0f}/s), {tally['answers']} answers, {tally['tokens']} tokens, "
                f"{tally['released']} records released, {len(problems)} failed")
    for worker in workers:
        worker.join(20)
    return tally, problems, time.monotonic() - began
