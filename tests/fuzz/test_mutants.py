"""Thousands of damaged and hostile datasets: no crash, no hang, no foreign exception, no wrong value.

How the harness works is said in ``fuzz/__init__.py``. Where a mutant fails, the report says how to do it over.
"""

from __future__ import annotations

import sys

import pytest

from fuzz.campaign import Order, missing, run, seeds_of
from fuzz.subjects import FAMILIES, SUBJECTS
from fuzz.verdicts import FAILURES, count, report


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits of the children are Linux'")

MUTANTS, SHARES = 2_000, 1
SOAKED, SOAK_SHARES = 100_000, 50


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("family", FAMILIES)
def test_mutants(family: str, share: int) -> None:
    check(family, MUTANTS // SHARES, share * (MUTANTS // SHARES))


@pytest.mark.soak
@pytest.mark.parametrize("share", range(SOAK_SHARES))
@pytest.mark.parametrize("family", FAMILIES)
def test_many_more_mutants(family: str, share: int) -> None:
    check(family, SOAKED // SOAK_SHARES, MUTANTS + share * (SOAKED // SOAK_SHARES))


def check(family: str, mutants: int, first: int) -> None:
    require(family)
    verdicts = list(run(Order(seeds_of(family, mutants, first))))
    assert len(verdicts) == mutants
    failed = [verdict for verdict in verdicts if verdict.kind in FAILURES]
    assert not failed, f"{len(failed)} of {mutants} mutants failed, {count(verdicts)}:\n{report(verdicts)}"
    harmless = sum(verdict.kind == "ok" for verdict in verdicts)
    assert harmless < mutants * 0.7, "the mutations change next to nothing"


def require(family: str) -> None:
    """Skip where none of the datasets can be made here."""
    reasons = missing()
    if all(subject.name in reasons for subject in SUBJECTS[family]):
        pytest.skip("; ".join(sorted(set(reasons.values()))))


def test_released_datasets_are_among_the_subjects() -> None:
    """Says why where they are not."""
    reasons = {name: reason for name, reason in missing().items() if "released" in name}
    if reasons:
        pytest.skip(next(iter(reasons.values())))
