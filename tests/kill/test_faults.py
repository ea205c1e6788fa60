"""Kills, torn writes, full disks and I/O errors in every operation and format: before or after, nothing between.

How the harness works is said in ``kill/__init__.py``. Where a fault fails, the report says how to do it over.
"""

from __future__ import annotations

import pytest

from kill.campaign import count, missing, report, run, seeds


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

FAULTS, SHARES = 500, 4
SOAKED, SOAK_SHARES = 5_000, 20


@pytest.mark.parametrize("share", range(SHARES))
def test_faults(share: int) -> None:
    check(FAULTS, share, SHARES)


@pytest.mark.soak
@pytest.mark.parametrize("share", range(SOAK_SHARES))
def test_many_more_faults(share: int) -> None:
    check(SOAKED, share, SOAK_SHARES)


def check(faults: int, share: int, shares: int) -> None:
    order = seeds(faults, share, shares)
    verdicts = list(run(order))
    assert len(verdicts) == len(order)
    failed = [verdict for verdict in verdicts if verdict.problem]
    assert not failed, f"{len(failed)} of {len(order)} faults failed, {count(verdicts)}:\n{report(verdicts)}"
    assert any(verdict.done for verdict in verdicts)
    assert any(not verdict.done for verdict in verdicts)
