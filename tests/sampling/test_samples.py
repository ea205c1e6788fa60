"""Transitions and windows of random datasets, in every format, beside slow code over whole episodes."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari import MinariDataset
from support.sampling_model import (
    SPACES,
    assert_same,
    episode,
    info_at,
    row,
    rows_around,
    stacked,
    starts,
    steps_of,
    transition,
    window,
)


FORMATS = ("hdf5", "arrow", "parquet", "zarr")
COMPRESSIONS = (None, "gzip", "none")
_numbers = itertools.count()

pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")


@st.composite
def datasets(draw: st.DrawFn) -> MinariDataset:
    """A dataset, or a view of one, or a combination of two."""
    observation_space = SPACES[draw(st.sampled_from(sorted(SPACES)))]
    action_space = SPACES[draw(st.sampled_from(["vector", "discrete", "number", "nested"]))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reward_shape = draw(st.sampled_from([(), (), (2,)]))
    data_format = draw(st.sampled_from(FORMATS))
    compression = draw(st.sampled_from(COMPRESSIONS)) if data_format in ("hdf5", "zarr") else None

    def made(lengths: list[int]) -> MinariDataset:
        buffers = [
            episode(
                observation_space,
                action_space,
                length,
                rng,
                ends=draw(st.sampled_from(["terminated", "truncated", "cut"])),
                reward_shape=reward_shape,
                infos=True,
            )
            for length in lengths
        ]
        return minari.create_dataset_from_buffers(
            f"samples/{next(_numbers)}-v0",
            buffers,
            observation_space=observation_space,
            action_space=action_space,
            data_format=data_format,
            compression=compression,
        )

    lengths = st.lists(st.one_of(st.integers(1, 5), st.just(4), st.integers(33, 70)), min_size=1, max_size=5)
    dataset = made(draw(lengths))
    if draw(st.booleans()):
        dataset = minari.combine_datasets([dataset, made(draw(lengths))], f"samples/{next(_numbers)}-v0")
    if draw(st.booleans()):
        positions = st.integers(0, len(dataset) - 1)
        dataset = dataset[draw(st.lists(positions, min_size=1, max_size=4))]
        dataset = dataset[draw(st.permutations(range(len(dataset))))]
    return dataset


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_transitions_are_the_steps_of_the_episodes(data: st.DataObject, dataset: MinariDataset) -> None:
    n_step = data.draw(st.integers(1, 6))
    discount = data.draw(st.sampled_from([1.0, 0.9, 0.0]))
    found = dataset.transitions(n_step=n_step, discount=discount, returns_to_go=True, infos=["clock", "deep/word"])
    steps = steps_of(dataset)
    assert len(found) == len(steps) == dataset.total_steps
    assert found.episode_starts.tolist() == [0, *itertools.accumulate(map(len, dataset))]
    indices = data.draw(st.lists(st.integers(-len(steps), len(steps) - 1), min_size=1, max_size=20))
    expected = []
    for index in indices:
        of, step = steps[index]
        following = min(step + n_step, len(of))
        expected.append(
            {
                **transition(of, step, n_step, discount),
                "infos": {name: info_at(of, name, step) for name in ("clock", "deep/word")},
                "next_infos": {name: info_at(of, name, following) for name in ("clock", "deep/word")},
            }
        )
    assert_same(found[indices], stacked(expected))
    assert_same(found[indices[0]], expected[0])
    assert_same(pickle.loads(pickle.dumps(found))[indices], stacked(expected))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_windows_are_parts_of_the_episodes(data: st.DataObject, dataset: MinariDataset) -> None:
    pad = data.draw(st.sampled_from([None, "left", "right"]))
    longest = max(map(len, dataset))
    length = data.draw(st.integers(1, longest if pad is None else longest + 3))
    stride, edge = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    final, discount = data.draw(st.booleans()), data.draw(st.sampled_from([1.0, 0.9]))
    found = dataset.windows(
        length,
        stride=stride,
        pad=pad,
        pad_value="edge" if edge else "zero",
        discount=discount,
        returns_to_go=True,
        final_observation=final,
    )
    places = [(of, start) for of in dataset for start in starts(length, len(of), stride, pad)]
    assert len(found) == len(places)
    indices = data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=12))
    expected = [window(*places[index], length, edge=edge, final=final, discount=discount) for index in indices]
    assert_same(found[indices], stacked(expected))
    assert_same(found[indices[-1]], expected[-1])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_offsets_are_rows_around_a_step(data: st.DataObject, dataset: MinariDataset) -> None:
    some = st.lists(st.integers(-5, 9), min_size=1, max_size=5)
    offsets = {"observations": data.draw(some), "actions": data.draw(some), "rewards": data.draw(some)}
    edge = data.draw(st.booleans())
    found = dataset.windows(offsets=offsets, pad_value="edge" if edge else "zero")
    steps = steps_of(dataset)
    assert len(found) == len(steps)
    indices = data.draw(st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=12))
    expected = []
    for index in indices:
        of, step = steps[index]
        element: dict[str, Any] = {"episode_ids": np.int64(of.id), "timesteps": np.int64(step)}
        for name, more in (("observations", 1), ("actions", 0), ("rewards", 0)):
            values, mask = rows_around(
                lambda number, name=name, of=of: row(getattr(of, name), number),  # type: ignore[misc]
                [step + offset for offset in offsets[name]],
                0,
                len(of) - 1 + more,
                edge,
            )
            element |= {name: values, f"{name}_mask": mask}
        expected.append(element)
    assert_same(found[indices], stacked(expected))
