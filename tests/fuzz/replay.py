"""Do mutants over: ``python -m tests.fuzz.replay SEED... [--keep DIRECTORY] [--thorough]``."""

from __future__ import annotations

import argparse
import time

from .campaign import Order, range_of, run
from .verdicts import count, report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.replay", description="Do mutants over.")
    parser.add_argument("seeds", nargs="+", help="seeds, or ranges such as 0:5000 or 0:5000:5")
    parser.add_argument("--keep", default="", help="an empty directory for the files of the mutant, as they were used")
    parser.add_argument("--thorough", action="store_true", help="use it in every way")
    parser.add_argument("--only", default="", choices=("", "flip"), help="one flipped bit and nothing else")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which a mutant is taken to hang")
    arguments = parser.parse_args()
    seeds = [seed for text in arguments.seeds for seed in range_of(text)]
    begin = time.monotonic()
    verdicts = []
    order = Order(seeds, arguments.seconds, arguments.thorough, arguments.only, arguments.keep)
    for verdict in run(order):
        verdicts.append(verdict)
        if len(seeds) <= 20:
            print(f"{verdict.seed}: {verdict.kind} {verdict.error} in {verdict.step} ({verdict.subject})")
            print(f"  {verdict.mutation}\n{verdict.text}")
    print(report(verdicts, 100))
    print(f"{len(verdicts)} mutants in {time.monotonic() - begin:.1f} s: {count(verdicts)}")


if __name__ == "__main__":
    main()
