"""Guards of the speed: ``pytest -n 0 --benchmark-enable -m guard tests/performance``.

What the library does is compared with plain NumPy on the same data, in the same process and in turns, so that the
ratio hardly depends on the machine; times are never compared with fixed ones. The limits are two to four times what
was measured on two quiet cores: a change that exceeds one has to be explained. Without ``--benchmark-enable``
everything runs once, and nothing is compared.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture


# At the end: where the wheel is tested, the checkout's own `minari` must not come before it.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.rivals.libraries.minari_datasets import Arrow, Minari, Parquet, Zarr
from benchmarks.rivals.libraries.plain import NumPy
from benchmarks.rivals.operations import flush
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.source import FIELDS, Source, make


pytestmark = [pytest.mark.guard, pytest.mark.filterwarnings("ignore")]

FLOOR = NumPy()
FORMATS: dict[str, Rival] = {"hdf5": Minari(), "arrow": Arrow(), "parquet": Parquet(), "zarr": Zarr()}
PATIENCE = 10.0  # seconds
SOURCES = {"vectors": (200, 200), "frames-still": (10, 100)}


def limits(**by_format: float) -> Any:
    return pytest.mark.parametrize(("data_format", "limit"), by_format.items(), ids=by_format)


def seconds(operation: Callable[[], Any]) -> float:
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def compare(
    benchmark: BenchmarkFixture, limit: float, ours: Callable[[], Any], floor: Callable[[], Any], rounds: int = 15
) -> None:
    """Measure both in turns; raise if the ratio of their least times exceeds the limit, for seconds if need be."""
    floors = [seconds(floor)]
    ours()  # what happens once
    benchmark.pedantic(ours, setup=lambda: floors.append(seconds(floor)), rounds=rounds)
    if not benchmark.enabled:
        return
    least, end = benchmark.stats.stats.min, time.perf_counter() + PATIENCE
    while least > limit * min(floors) and time.perf_counter() < end:  # others may keep the machine busy
        floors.append(seconds(floor))
        least = min(least, seconds(ours))
    ratio = least / min(floors)
    benchmark.extra_info.update(ratio=ratio, limit=limit)
    print(f"\n{benchmark.name}: {ratio:.2f} times NumPy, expected at most {limit}")
    assert ratio <= limit, f"{ratio:.2f} times what NumPy takes, expected at most {limit}"


@pytest.fixture(scope="module")
def source() -> Callable[[str], Source]:
    made: dict[str, Source] = {}

    def of(kind: str) -> Source:
        if kind not in made:
            made[kind] = make(kind, *SOURCES[kind])
        return made[kind]

    return of


@pytest.fixture
def opened(source: Callable[[str], Source], tmp_path: Path) -> Callable[[str, str], tuple[Any, Any]]:
    """Write episodes with both, and return them as both open them."""

    def of(kind: str, data_format: str) -> tuple[Any, Any]:
        found = []
        for name, rival in (("ours", FORMATS[data_format]), ("floor", FLOOR)):
            (tmp_path / name).mkdir()
            rival.write(source(kind), tmp_path / name)
            found.append(rival.open(tmp_path / name))
        return found[0], found[1]

    return of


class Still(gym.Env[Any, Any]):
    """Costs nothing, so that the time is that of the recording; episodes have 22 steps."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)
    observation = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.time = 0
        return self.observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.observation, 1.0, self.time == 22, False, {}


@limits(hdf5=9.0, zarr=18.0)
def test_recording(benchmark: BenchmarkFixture, data_format: str, limit: float, tmp_path: Path) -> None:
    actions = [np.int64(number % 2) for number in range(22 * 450)]
    numbers = itertools.count()

    def record(rival: Rival) -> None:
        path = tmp_path / str(next(numbers))
        path.mkdir()
        rival.record(Still(), actions, path)

    compare(benchmark, limit, lambda: record(FORMATS[data_format]), lambda: record(FLOOR))


@limits(hdf5=4.0, arrow=30.0, parquet=30.0, zarr=6.0)
def test_writing(
    benchmark: BenchmarkFixture, data_format: str, limit: float, source: Callable[[str], Source], tmp_path: Path
) -> None:
    numbers = itertools.count()

    def write(rival: Rival) -> None:
        path = tmp_path / str(next(numbers))
        path.mkdir()
        rival.write(source("vectors"), path)
        flush(path)

    compare(benchmark, limit, lambda: write(FORMATS[data_format]), lambda: write(FLOOR), rounds=10)


@limits(hdf5=6.0, arrow=40.0, parquet=40.0, zarr=12.0)
def test_reading_all(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("vectors", data_format)
    rival = FORMATS[data_format]
    compare(benchmark, limit, lambda: rival.read_all(ours), lambda: FLOOR.read_all(floor))


@limits(hdf5=16.0)
def test_reading_episodes(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("vectors", data_format)
    compare(benchmark, limit, lambda: list(ours.iterate_episodes()), lambda: FLOOR.read_all(floor))


@limits(hdf5=16.0, zarr=20.0)
def test_reading_frames(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("frames-still", data_format)
    compare(benchmark, limit, lambda: FORMATS[data_format].read_all(ours), lambda: FLOOR.read_all(floor), rounds=7)


@limits(hdf5=2.0, arrow=2.0, zarr=4.0)
def test_transitions(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("vectors", data_format)
    rng = np.random.default_rng(0)
    draws = FORMATS[data_format].transitions(ours, 1000, rng), FLOOR.transitions(floor, 1000, rng)
    assert draws[0] is not None
    assert draws[1] is not None
    compare(benchmark, limit, *draws, rounds=100)


@limits(hdf5=2.5, arrow=2.5, zarr=3.5)
def test_windows(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("vectors", data_format)
    rng = np.random.default_rng(0)
    draws = FORMATS[data_format].windows(ours, 256, 32, rng), FLOOR.windows(floor, 256, 32, rng)
    assert draws[0] is not None
    assert draws[1] is not None
    compare(benchmark, limit, *draws, rounds=50)


@limits(hdf5=16.0)
def test_single_window(benchmark: BenchmarkFixture, data_format: str, limit: float, opened: Any) -> None:
    ours, floor = opened("vectors", data_format)
    floor = {name: np.asarray(values) for name, values in floor.items()}  # without the overhead of maps
    starts = (np.arange(200) * 7919) % 160

    def windows() -> None:
        for index, start in enumerate(starts.tolist()):
            ours.storage.get_window(index, start, start + 32)

    def slices() -> None:
        for index, start in enumerate(starts.tolist()):
            first = index * 200 + start
            for name in FIELDS:
                more = index + 1 if name == "observations" else 0
                floor[name][first + more : first + more + 32].copy()

    compare(benchmark, limit, windows, slices)
