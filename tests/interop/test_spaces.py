"""Every space the released package knows, written by one side, read, extended and combined by the other."""

from __future__ import annotations

from typing import Any

import pytest

from support.cases import PICTURES, SPACES
from support.checks import assert_holds, forgotten


RANDOM = [f"random:{seed}" for seed in range(10)]
every_case = pytest.mark.parametrize("case", [*SPACES, *PICTURES, *RANDOM])
every_way = pytest.mark.parametrize("how", ["collector", "buffers", "steps"])


@every_way
@every_case
def test_the_release_reads_extends_and_combines_what_we_write(case: str, how: str, reference: Any) -> None:
    from support import operations

    infos = how != "buffers"
    truth = operations.record("ours/data-v0", case, how=how, infos=infos, seed=1)
    assert_holds(reference.dump("ours/data-v0", case), truth)

    added = reference.append("ours/data-v0", case, how=how, infos=infos, seed=10)
    truth += forgotten(added) if how == "collector" else added
    assert_holds(reference.dump("ours/data-v0", case), truth)
    assert_holds(operations.dump("ours/data-v0", case), truth)

    if case in PICTURES:
        return  # 0.5.4 turns lossless frames into JPEG when it combines.
    theirs = reference.record("theirs/data-v0", case, infos=infos, seed=20)
    reference.combine(["ours/data-v0", "theirs/data-v0"], "both-v0")
    combined = operations.dump("both-v0", case)
    assert_holds(combined, forgotten(truth + theirs))
    assert combined["combined_datasets"] == ["ours/data-v0", "theirs/data-v0"]


@every_way
@every_case
def test_we_read_extend_and_combine_what_the_release_writes(case: str, how: str, reference: Any) -> None:
    from support import operations

    infos = how != "buffers"
    truth = reference.record("theirs/data-v0", case, how=how, infos=infos, seed=1)
    assert_holds(operations.dump("theirs/data-v0", case), truth)

    truth += operations.append("theirs/data-v0", case, how=how, infos=infos, seed=10)
    assert_holds(operations.dump("theirs/data-v0", case), truth)
    assert_holds(reference.dump("theirs/data-v0", case), truth)

    ours = operations.record("ours/data-v0", case, infos=infos, seed=20)
    operations.combine(["theirs/data-v0", "ours/data-v0"], "both-v0")
    for dump in (operations.dump("both-v0", case), reference.dump("both-v0", case)):
        assert_holds(dump, truth + ours)
        assert dump["combined_datasets"] == ["theirs/data-v0", "ours/data-v0"]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_random_spaces(seed: int, reference: Any) -> None:
    from support import operations

    case = f"random:{seed}"
    truth = operations.record("ours-v0", case, infos=True, seed=seed)
    truth += forgotten(reference.append("ours-v0", case, infos=True, seed=2 * seed))
    truth += operations.append("ours-v0", case, infos=True, seed=3 * seed)
    assert_holds(operations.dump("ours-v0", case), truth)
    assert_holds(reference.dump("ours-v0", case), truth)


#: 0.5.4 kills its own process when an Arrow file should hold an array without elements.
ARROW_CASES = [case for case in SPACES if case not in ("box-empty", "box-scalar")]


@pytest.mark.parametrize("case", [*ARROW_CASES, *RANDOM])
@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_columnar_formats_both_ways(case: str, data_format: str, reference: Any) -> None:
    from support import operations

    if data_format not in operations.formats():
        pytest.skip(f"this release has no storage format {data_format!r}")
    ours = operations.record("ours-v0", case, data_format=data_format, seed=1)
    theirs = reference.record("theirs-v0", case, data_format=data_format, seed=20)
    ours += forgotten(reference.append("ours-v0", case, seed=10))
    theirs += operations.append("theirs-v0", case, seed=30)
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), ours)
        assert_holds(dump("theirs-v0", case), theirs)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_holds(reference.dump("both-v0", case), theirs + ours)
