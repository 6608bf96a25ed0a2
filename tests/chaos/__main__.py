"""`python -m tests.chaos --minutes 10 --runner process`: rounds until the time is over, or one of them fails.

A failing round is repeated by `--seed N --rounds 1` with its runner: the same graph and faults, at about the same
moments.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.chaos.rounds import START, Round, RoundFailed
from tests.chaos.service_round import ServiceRound

SERVICE = "service"  # agents and their drivers, in place of workers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="begin rounds for so long")
    parser.add_argument("--runner", choices=[*START, SERVICE, "all"], default="all", help="all: in turn")
    parser.add_argument("--seed", type=int, help="of the first round; those after it count on")
    parser.add_argument("--rounds", type=int, default=0, help="end after this many rounds")
    given = parser.parse_args()
    kinds = [*START, SERVICE] if given.runner == "all" else [given.runner]
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    end = time.monotonic() + 60 * given.minutes
    totals: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    played = 0
    while time.monotonic() < end and (not given.rounds or played < given.rounds):
        kind = kinds[played % len(kinds)]
        if not play(seed + played, kind, totals[kind]):
            print_table(totals)
            return 1
        played += 1
    print_table(totals)
    return 0


def play(seed: int, kind: str, totals: Counter[str]) -> bool:
    """One round, told of in a line; False when it failed."""
    began = time.monotonic()
    round = ServiceRound(seed) if kind == SERVICE else Round(seed, kind)
    failure: Exception | None = None
    try:
        round.play()
    except (RoundFailed, AssertionError) as error:  # the second from what starts and waits for processes
        failure = error
    totals.update({"rounds": 1, "task runs": round.runs, "resumes": round.resumes, **round.done})
    took = time.monotonic() - began
    print(f"seed {seed} {kind}: {round.runs} task runs, {took:.1f} s; {'; '.join(round.told) or 'nothing broken'}")
    if failure is not None:
        print(f"FAILED: {failure}\nthe round's folder is {round.folder}")
        print(f"again: python -m tests.chaos --runner {kind} --seed {seed} --rounds 1")
    sys.stdout.flush()
    return failure is None


def print_table(totals: dict[str, Counter[str]]) -> None:
    columns = list(dict.fromkeys(name for found in totals.values() for name in found))
    rows = [["runner", *columns], *([kind, *(str(found[name]) for name in columns)] for kind, found in totals.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
