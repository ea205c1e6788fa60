"""Rows of the episodes that were read last, beside rows of all episodes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minari._storages.recent_rows import RecentRows
from minari._storages.rows import RowRequest
from minari.errors import DatasetCorruptError
from minari.spaces import ColumnPath, Columns


OBSERVATIONS, ACTIONS = ("observations",), ("actions",)
SHAPES: dict[ColumnPath, tuple[int, ...]] = {OBSERVATIONS: (2, 1), ACTIONS: ()}


class Episodes:
    """Episodes that count how often they are read."""

    def __init__(self, lengths: list[int], limit: int, other_types: tuple[int, ...] = ()) -> None:
        self.lengths, self.limit = lengths, limit
        self.rows, self.state, self.reads = RecentRows(limit), 0, 0
        self.columns: list[Columns] = []
        for number, length in enumerate(lengths):
            dtype = np.int16 if number in other_types else np.int32
            steps = 100 * number + np.arange(length + 1)
            self.columns.append({OBSERVATIONS: np.stack([steps, -steps], 1).astype(dtype), ACTIONS: steps[:-1] / 2})

    def read(self, indices: list[int], paths: frozenset[ColumnPath]) -> Iterator[tuple[int, Columns]]:
        for index in indices:
            self.reads += 1
            yield index, {path: column for path, column in self.columns[index].items() if path in paths}

    def gather(self, *requests: RowRequest) -> list[Any]:
        totals = len(self.lengths), sum(self.lengths)
        found = self.rows.gather(requests, self.state, *totals, lambda path: int(path == OBSERVATIONS), self.read)
        assert self.rows.used_bytes <= self.limit
        return found

    def check(self, rng: np.random.Generator, paths: list[ColumnPath], count: int, length: int | None) -> None:
        """Draw random rows, one by one or several consecutive ones, and compare them."""
        lengths = np.array(self.lengths)
        usable = np.flatnonzero(lengths >= (length or 1))
        episodes = rng.choice(usable, count) if len(usable) else np.zeros(0, np.int64)
        rows = (rng.random(len(episodes)) * (lengths[episodes] - (length or 1) + 1)).astype(np.int64)
        requests = [RowRequest(path, SHAPES[path], episodes, rows, length) for path in paths]
        for request, found in zip(requests, self.gather(*requests), strict=True):
            expected = [
                self.columns[episode][request.path].reshape(-1, *request.shape)[each]
                for episode, each in zip(episodes.tolist(), request.all_rows, strict=True)
            ]
            assert found.shape == (*request.all_rows.shape, *request.shape)
            if expected:
                np.testing.assert_array_equal(found, np.array(expected))
            found[...] = 0  # belongs to the caller


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    limit=st.integers(0, 800),
    others=st.sets(st.integers(0, 29), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_rows_are_those_of_the_episodes(lengths: list[int], limit: int, others: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = Episodes(lengths, limit, tuple(others))
    for _ in range(25):
        paths = [[OBSERVATIONS], [ACTIONS], [OBSERVATIONS, ACTIONS]][rng.integers(3)]
        episodes.check(rng, paths, int(rng.integers(0, 20)), [None, 1, 3][rng.integers(3)])
        episodes.state += int(rng.random() < 0.1)


@pytest.mark.parametrize("lengths", [[5], [3, 4, 5], [1] * 50])
def test_episodes_within_the_limit_are_read_once(lengths: list[int]) -> None:
    episodes = Episodes(lengths, 2**20)
    for seed in range(30):
        episodes.check(np.random.default_rng(seed), [OBSERVATIONS, ACTIONS], 64, None)
    assert episodes.reads == len(lengths)
    episodes.state = 1
    episodes.check(np.random.default_rng(0), [OBSERVATIONS, ACTIONS], 1000, None)
    assert episodes.reads == 2 * len(lengths)


def test_episodes_that_were_read_first_are_read_again() -> None:
    episodes = Episodes([9] * 20, 16 * 10 * 10)  # 16 bytes a row, 10 rows an episode

    def draw(*numbers: int) -> int:
        before = episodes.reads
        several = np.array(numbers)
        episodes.gather(*(RowRequest(path, shape, several, several % 9) for path, shape in SHAPES.items()))
        return episodes.reads - before

    assert draw(*range(10)) == 10 * 1
    assert draw(*range(10)) == 0
    assert draw(15, 16) == 2
    assert draw(15, 16, *range(5, 10)) == 0
    assert draw(0) == 1


def test_threads_get_their_own_rows() -> None:
    episodes = Episodes([7] * 40, 16 * 8 * 11)
    with ThreadPoolExecutor(6) as pool:
        checks = [
            pool.submit(episodes.check, np.random.default_rng(seed), [OBSERVATIONS, ACTIONS], 16, None)
            for seed in range(200)
        ]
        for check in checks:
            check.result()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda columns: columns.pop(ACTIONS), "Episode 1 has no actions"),
        (lambda columns: columns.update({ACTIONS: columns[ACTIONS][:2]}), "expected at least 4 rows"),
        (lambda columns: columns.update({ACTIONS: columns[ACTIONS].astype(object)}), "object values"),
        (lambda columns: columns.update({ACTIONS: np.zeros((5, 3))}), r"float64 values of shape \(5, 3\)"),
    ],
)
def test_damaged_episodes_raise_an_error_each_time(damage: Any, message: str) -> None:
    episodes = Episodes([5, 5, 5], 2**20)
    damage(episodes.columns[1])
    requests = [RowRequest(path, shape, np.arange(3), np.full(3, 3)) for path, shape in SHAPES.items()]
    for _ in range(3):
        with pytest.raises(DatasetCorruptError, match=message):
            episodes.gather(*requests)
    intact = [request._replace(episodes=np.array([0, 2]), rows=np.array([3, 3])) for request in requests]
    assert episodes.gather(*intact)[1].tolist() == [1.5, 101.5]
