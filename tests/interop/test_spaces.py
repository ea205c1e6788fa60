"""Every space and format of the released package: written by one side, read, extended and combined by the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from support import operations
from support.cases import PICTURES, SPACES
from support.checks import assert_holds, forgotten


RANDOM = [f"random:{seed}" for seed in range(10)]
#: 0.5.4 kills its own process when an Arrow file should hold an array without elements.
IN_COLUMNS = [case for case in SPACES if case not in ("box-empty", "box-scalar")]
#: Those that are tried in columnar formats in every way.
COLUMNAR_CASES = [
    *("box-float16", "box-float64-matrix", "box-bool", "discrete-start", "multi-discrete-matrix", "random:3"),
    *("multi-binary-matrix", "text-unicode", "dict-nested", "tuple-of-eleven", "dict-of-tuples"),
]
COLUMNAR = ["arrow", "parquet"]

every_way = pytest.mark.parametrize("how", ["collector", "buffers", "steps"])
every_case = pytest.mark.parametrize(
    ("data_format", "case"),
    [
        *(("hdf5", case) for case in [*SPACES, *PICTURES, *RANDOM]),
        *((data_format, case) for data_format in COLUMNAR for case in COLUMNAR_CASES),
    ],
)


def nested(dump: dict[str, Any]) -> dict[str, Any]:
    """Return what 0.5.4 read, with nested infos as columns: of columnar formats it returns them as arrays of dicts."""
    for episode in dump["episodes"]:
        infos = episode["infos"] or {}
        for key, values in infos.items():
            if not isinstance(values, dict) and isinstance(values[0], dict):
                infos[key] = _columns(values)
    return dump


def _columns(values: Any) -> Any:
    if isinstance(values[0], dict):
        return {key: _columns([value[key] for value in values]) for key in values[0]}
    return np.array(values).reshape(len(values))  # numbers, which it may have stored as arrays of one


@every_way
@every_case
def test_release_reads_extends_and_combines_what_we_write(
    case: str, how: str, data_format: str, reference: Any
) -> None:
    infos, name, is_columnar = how != "buffers", "ours/data-v0", data_format != "hdf5"
    truth = operations.record(name, case, how=how, data_format=data_format, infos=infos, seed=1)
    assert_holds(nested(reference.dump(name, case)), truth)
    # In columnar formats, neither its collector can append nested infos, nor can it combine them; whole columns it
    # would store in the order of their dict, and not read again beside others.
    added = reference.append(name, case, how="steps" if is_columnar else how, infos=infos, seed=10)
    truth += forgotten(added) if how == "collector" and not is_columnar else added
    truth += operations.append(name, case, how=how, infos=infos, seed=30)
    assert_holds(nested(reference.dump(name, case)), truth)
    assert_holds(operations.dump(name, case), truth)

    if case in PICTURES:
        return  # 0.5.4 turns lossless frames into JPEG when it combines
    if is_columnar:
        infos, name = False, "plain/ours-v0"
        truth = operations.record(name, case, how=how, data_format=data_format, seed=1)
    theirs = reference.record("theirs/data-v0", case, data_format=data_format, infos=infos, seed=20)
    reference.combine([name, "theirs/data-v0"], "both-v0")
    combined = operations.dump("both-v0", case)
    assert_holds(combined, forgotten(truth + theirs))
    assert combined["combined_datasets"] == [name, "theirs/data-v0"]


@every_way
@every_case
def test_we_read_extend_and_combine_what_the_release_writes(
    case: str, how: str, data_format: str, reference: Any
) -> None:
    """In buffers it keeps dicts in the order in which they were given, which we have to follow in columnar formats."""
    name, is_columnar = "theirs/data-v0", data_format != "hdf5"
    infos = is_columnar or how != "buffers"
    truth = reference.record(name, case, how=how, data_format=data_format, infos=infos, seed=1)
    assert_holds(operations.dump(name, case), truth)
    for ours in ("collector", "buffers") if is_columnar else (how,):
        truth += operations.append(name, case, how=ours, infos=infos, seed=10)
    assert_holds(operations.dump(name, case), truth)
    assert_holds(nested(reference.dump(name, case)), truth)

    more = operations.record("ours/data-v0", case, data_format=data_format, infos=infos, seed=20)
    operations.combine([name, "ours/data-v0"], "both-v0")
    for dump in (operations.dump("both-v0", case), nested(reference.dump("both-v0", case))):
        assert_holds(dump, truth + more)
        assert dump["combined_datasets"] == [name, "ours/data-v0"]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_random_spaces(seed: int, reference: Any) -> None:
    case = f"random:{seed}"
    truth = operations.record("ours-v0", case, infos=True, seed=seed)
    truth += forgotten(reference.append("ours-v0", case, infos=True, seed=2 * seed))
    truth += operations.append("ours-v0", case, infos=True, seed=3 * seed)
    assert_holds(operations.dump("ours-v0", case), truth)
    assert_holds(reference.dump("ours-v0", case), truth)


@pytest.mark.parametrize("case", [*IN_COLUMNS, *PICTURES, *RANDOM])
@pytest.mark.parametrize("data_format", COLUMNAR)
def test_columnar_formats_both_ways(case: str, data_format: str, reference: Any) -> None:
    ours = operations.record("ours-v0", case, data_format=data_format, seed=1)
    theirs = reference.record("theirs-v0", case, data_format=data_format, seed=20)
    ours += forgotten(reference.append("ours-v0", case, seed=10))
    theirs += operations.append("theirs-v0", case, seed=30)
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), ours)
        assert_holds(dump("theirs-v0", case), theirs)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_holds(reference.dump("both-v0", case), theirs + ours)


@pytest.mark.filterwarnings("ignore:.* is set to None:UserWarning")
@pytest.mark.parametrize("data_format", COLUMNAR)
def test_types_that_the_release_would_not_choose(data_format: str, reference: Any) -> None:
    """Whole rewards and a small Discrete lie beside what it appends, as it writes them."""
    buffer = minari.data_collector.EpisodeBuffer(
        observations=np.arange(4, dtype=np.uint8), actions=np.array([-2, 1, 0], np.int8), rewards=[1, 0, 1],
        terminations=[False, False, True], truncations=[False] * 3,
    )  # fmt: skip
    small = spaces.Discrete(5, dtype=np.uint8), spaces.Discrete(4, start=-2, dtype=np.int8)
    minari.create_dataset_from_buffers(
        "ours-v0", [buffer], observation_space=small[0], action_space=small[1], data_format=data_format
    )
    truth = reference.append("ours-v0", "discrete", seed=3)
    fields = ("observations", "actions", "rewards")
    ours = operations.dump("ours-v0")["episodes"]
    for first, *others in (ours, reference.dump("ours-v0")["episodes"]):
        assert [first[field].tolist() for field in fields] == [[0, 1, 2, 3], [-2, 1, 0], [1, 0, 1]]
        for episode, expected in zip(others, truth, strict=True):
            assert all(np.array_equal(episode[field], expected[field]) for field in fields)
    assert [ours[0][field].dtype.name for field in fields] == ["uint8", "int8", "int64"]
    assert {episode["observations"].dtype.name for episode in ours} == {"uint8"}


@pytest.mark.parametrize("data_format", ["hdf5", *COLUMNAR])
def test_what_one_creates_empty_the_other_fills(data_format: str, reference: Any) -> None:
    operations.create_empty("ours-v0", data_format)
    reference.create_empty("theirs-v0", data_format)
    assert reference.fill("ours-v0", 3) == operations.fill("theirs-v0", 3) == [3]
    assert operations.fill("ours-v0", 2) == reference.fill("theirs-v0", 2) == [3, 2]


def test_what_is_combined_of_nothing_can_be_filled(reference: Any) -> None:
    operations.create_empty("ours-v0", "hdf5")
    operations.combine(["ours-v0", "ours-v0"], "both-v0")
    assert reference.fill("both-v0", 4) == [4]


@pytest.mark.parametrize("case", ["box-bounds-by-element", "text-unicode", "multi-binary"])
def test_long_episodes(case: str, reference: Any) -> None:
    """Long leaves lie in several chunks of a file that the release writes."""
    long = {"episodes": 2, "episode_length": 6_000}
    theirs = reference.record("theirs-v0", case, seed=1, **long)
    assert_holds(operations.dump("theirs-v0", case), theirs)
    ours = operations.record("ours-v0", case, seed=2, **long)
    assert_holds(reference.dump("ours-v0", case), ours)
    theirs += operations.append("theirs-v0", case, seed=3, **long)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_holds(reference.dump("both-v0", case), theirs + ours)


@pytest.mark.parametrize("data_format", COLUMNAR)
def test_long_episodes_in_columns(data_format: str, reference: Any) -> None:
    """The release reads ours whole, and adds to them. What it writes itself it reads up to 32,767 rows; we read all."""
    name, case, long = "ours-v0", "box-float32", {"how": "buffers", "episodes": 1}
    truth = operations.record(name, case, seed=0, episode_length=40_000, data_format=data_format, **long)
    truth += operations.append(name, case, seed=1, episode_length=32_767, **long)
    assert [len(episode["rewards"]) for episode in truth] == [40_000, 32_767]
    truth += reference.append(name, case, seed=9, **long)
    for dump in (reference.dump, operations.dump):
        assert_holds(dump(name, case), truth)
    truth += reference.append(name, case, seed=10, episode_length=40_000, **long)
    assert_holds(operations.dump(name, case), truth)
