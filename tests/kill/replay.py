"""Do faults over: ``python -m tests.kill.replay SEED...``; ranges are written ``0:500``."""

from __future__ import annotations

import sys
import time

from .campaign import count, report, run


def main() -> None:
    begin, verdicts = time.monotonic(), []
    order = [seed for text in sys.argv[1:] for seed in _seeds(text)]
    for verdict in run(order):
        verdicts.append(verdict)
        if len(order) <= 20:
            print(f"{verdict.seed}: {verdict.operation}, {verdict.fault}: {verdict.problem or 'as it must be'}")
            print(f"  the operation: {verdict.outcome}")
    print(report(verdicts, 100))
    failed = sum(bool(verdict.problem) for verdict in verdicts)
    print(f"{len(verdicts)} faults in {time.monotonic() - begin:.1f} s, {failed} failed: {count(verdicts)}")


def _seeds(text: str) -> range:
    parts = [int(part) for part in text.split(":")]
    return range(parts[0], parts[0] + 1) if len(parts) == 1 else range(*parts)


if __name__ == "__main__":
    main()
