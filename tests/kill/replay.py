"""Do faults over: ``python -m tests.kill.replay SEED...``; ranges are written ``0:500``."""

from __future__ import annotations

import sys
import time

from fuzz.campaign import range_of

from .campaign import count, report, run


def main() -> None:
    begin, verdicts = time.monotonic(), []
    order = [seed for text in sys.argv[1:] for seed in range_of(text)]
    for verdict in run(order):
        verdicts.append(verdict)
        if len(order) <= 20:
            print(f"{verdict.seed}: {verdict.operation}, {verdict.fault}: {verdict.problem or 'as it must be'}")
            print(f"  the operation: {verdict.outcome}")
    print(report(verdicts, 100))
    failed = sum(bool(verdict.problem) for verdict in verdicts)
    print(f"{len(verdicts)} faults in {time.monotonic() - begin:.1f} s, {failed} failed: {count(verdicts)}")


if __name__ == "__main__":
    main()
