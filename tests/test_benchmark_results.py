"""Figures derived by the benchmark suite: ratios, targets, tables, charts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner


# At the end: where the wheel is tested, the checkout's own `minari` must not come before it.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import charts, cli, growth, memory, sampling, tables
from benchmarks.results import Result, as_json, missed, quotient, targets
from benchmarks.workloads import Floor, Workload
from benchmarks.workloads.holding import CASES


WORKLOAD = Workload(name="read_all", title="Read all", target=10, floor=Floor(note="a copy", at_most=3))
FACTS: dict[str, Any] = {
    "machine": {"cpu": "CPU", "cores": 2, "memory_gb": 8.0, "system": "System", "python": "CPython 3.12"},
    "versions": {"ours": {"minari": "0.6.0"}, "released": {"minari": "0.5.4"}},
    "settings": {"repeat": 3, "quick": False},
}


def result(ours: Sequence[float], released: Sequence[float], floor: Sequence[float] = (1.0,), **changes: Any) -> Result:
    return Result(replace(WORKLOAD, **changes), tuple(ours), tuple(released), tuple(floor))


def met(one: Result, *others: Result) -> list[bool]:
    return [target.met for target in targets(one, [one, *others])]


def test_minimum_of_repeats_counts() -> None:
    one = result([2.0, 1.0, 9.0], [50.0, 20.0, 90.0], [0.5, 4.0])
    assert (one.ratio, one.over_floor) == (20.0, 2.0)


@pytest.mark.parametrize(
    ("ours", "expected"), [(1.0, [True, True]), (2.0, [True, True]), (2.5, [False, True]), (4.0, [False, False])]
)
def test_targets_are_speedup_and_ratio_to_floor(ours: float, expected: list[bool]) -> None:
    assert met(result([ours], [20.0])) == expected


def test_cost_of_entry_must_not_grow() -> None:
    few = result([1.0], [10.0], name="list_few", per="entry")
    for cost, flat in ((1.1, True), (1.3, False)):
        many = result([cost], [20.0], name="list_many", per="entry", flat_with="list_few")
        assert met(many, few) == [True, True, flat]
        assert met(many) == [True, True]


def test_zero_cost_gives_infinite_ratio() -> None:
    one = result([-1e-6], [1e-3])
    assert quotient(1.0, 0.0) == float("inf")
    assert tables.comparison([one], FACTS).splitlines()[2].split(" | ")[3] == "∞ ×"
    written = json.loads(json.dumps(as_json([one], FACTS), allow_nan=False))
    assert written["workloads"][0]["ratio"] is None


def test_json_has_every_figure() -> None:
    (written,) = as_json([result([2.0, 1.0], [20.0, 30.0], [0.25])], FACTS)["workloads"]
    assert {key: written[key] for key in ("ours", "released", "floor", "ratio", "over_floor")} == {
        "ours": {"seconds": [2.0, 1.0], "minimum": 1.0},
        "released": {"seconds": [20.0, 30.0], "minimum": 20.0},
        "floor": {"seconds": [0.25], "minimum": 0.25, "what": "a copy"},
        "ratio": 20.0,
        "over_floor": 4.0,
    }


def test_missed_targets_are_named() -> None:
    one = result([2.0, 1.0], [20.0, 30.0], [0.25])
    assert met(one) == [True, False]
    assert missed([one]) == [
        "read_all: expected at most 3 times the floor; measured 20 times the speed of the released package and "
        "4 times the floor"
    ]


def test_charts_are_images(tmp_path: Path) -> None:
    charts.ratios([result([1.0], [100.0]), result([1.0], [0.5]), result([0.0], [1.0])], tmp_path / "ratios.png")
    charts.growth({kind: {1000: 1e-4, 3000: 2e-4} for kind in growth.KINDS}, tmp_path / "growth.png")
    figures = {case: {"numpy": 1e-4, "minari": 1.2e-4} for case in sampling.CASES}
    figures[sampling.CASES[0]] |= {"torchrl": 3e-4, "tianshou": None, "released": 0.1}
    charts.sampling(figures, tmp_path / "sampling.png")
    for name in ("ratios.png", "growth.png", "sampling.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_times_of_batches_are_relative_to_the_floor() -> None:
    found = {"numpy": 2.0, "released": 100.0, "minari": 3.0, "tianshou": None, "d3rlpy": 8.0}
    assert list(sampling.over_floor(found).items()) == [("minari", 1.5), ("d3rlpy", 4.0), ("released", 50.0)]
    assert sampling.over_floor({"decoding": 4.0, "minari": 3.0}) == {"minari": 0.75}
    assert sampling.over_floor({"minari": 3.0}) == {}


def test_memory_is_compared_with_limit() -> None:
    held = [memory.Held(CASES[0], peak, 2_000_000_000) for peak in (100_000_000, 300_000_000)]
    assert [each.within_limit for each in held] == [True, False]
    assert memory.missed(held) == [f"{CASES[0].name}: expected a peak below 200 MB, measured 300 MB"]


#: Numbers, sizes, times and tables are as on these pages, which are compared with what is rendered now.
@pytest.mark.parametrize(
    "name", ["results", "growth", "memory", "formats", "sampling", "interchange", "remotes", "reliability"]
)
def test_published_pages_are_rendered_from_stored_results(name: str, tmp_path: Path) -> None:
    published = Path(__file__).parents[1] / "docs" / "benchmarks"
    shutil.copy(published / f"{name}.json", tmp_path)
    done = CliRunner().invoke(cli.app, ["render", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / f"{name}.md").read_text(encoding="utf-8") == (published / f"{name}.md").read_text(
        encoding="utf-8"
    )
    charts_of = [{path.name for path in directory.glob(f"{name}.png")} for directory in (tmp_path, published)]
    assert charts_of[0] == charts_of[1]
